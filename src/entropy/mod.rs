//! Symbols to bytes and back: asymmetric numeral systems, one for each lane of a tile.
//!
//! A decoder waits for each symbol before it can look up the next one of the same
//! lane; those of other lanes it looks up meanwhile. The symbols of a tile are of one lane
//! or take turns in [`LANES`].
//!
//! This is the only folder that knows the coder (a 32-bit state, 16-bit words;
//! the crate `constriction` encodes, `reader` decodes). The coder is a stack, what
//! is written first is read last; [`LatentWriter`] therefore collects symbols and
//! encodes them backwards, so that callers write and read in the same order.
//!
//! A symbol is coded under a *bin*, the index of one of the distributions of
//! [`ScaleTables`]. Symbols of bin 0 are always 0 and cost nothing.
//!
//! Read next: [`tables`], the integer distributions.

mod costs;
mod escape;
pub mod logistic;
mod reader;
pub mod tables;

use constriction::stream::Encode;
use constriction::stream::model::{EncoderModel, EntropyModel};
use constriction::stream::stack::AnsCoder;
use std::borrow::Borrow;
use std::num::NonZeroU16;

pub use costs::Costs;
pub use reader::LatentReader;
pub use tables::{BINS, BINS_PER_OCTAVE, BinTable, ScaleTables, bin_start, scale_bin};

/// Probabilities are multiples of `2^-PRECISION`.
pub const PRECISION: usize = 16;

/// How many lanes there are where there is more than one.
pub const LANES: usize = 2;

type Ans = AnsCoder<u16, u32>;

/// A symbol of a tile and how it is coded.
struct Written {
    lane: u8,
    bin: u8,
    symbol: i16,
}

/// Collects the symbols of one tile, then codes them.
pub struct LatentWriter<'t> {
    tables: &'t ScaleTables,
    lanes: usize,
    symbols: Vec<Written>,
}

impl<'t> LatentWriter<'t> {
    /// A writer without symbols, of 1 lane or [`LANES`].
    pub fn new(tables: &'t ScaleTables, lanes: usize) -> Self {
        LatentWriter { tables, lanes, symbols: Vec::new() }
    }

    /// Appends `symbol` to a lane, coded under `bin`. In bin 0 the symbol must be 0.
    #[inline]
    pub fn write(&mut self, lane: u8, bin: u8, symbol: i16) {
        if bin == 0 {
            debug_assert_eq!(symbol, 0, "bin 0 holds zeros only");
        } else {
            self.symbols.push(Written { lane, bin, symbol });
        }
    }

    /// The bytes of each lane, and the checksum of all symbols.
    pub fn finish(self) -> (Vec<Vec<u8>>, crc32fast::Hasher) {
        let mut lanes = vec![Ans::new(); self.lanes];
        for &Written { lane, bin, symbol } in self.symbols.iter().rev() {
            let (ans, bin) = (&mut lanes[usize::from(lane)], self.tables.coded(bin));
            let cell = i32::from(symbol) >> bin.low_bits;
            push_raw(ans, u32::from(symbol as u16) & ((1 << bin.low_bits) - 1), bin.low_bits);
            let entry = match bin.entry(cell) {
                Some(entry) => entry,
                None => {
                    escape::push(ans, bin.overshoot(cell));
                    bin.escape()
                }
            };
            let (start, width) = bin.span(entry);
            push(ans, Span { start, width });
        }
        let mut hash = SymbolHash::default();
        self.symbols.chunks(256).for_each(|part| hash.add(part.iter().map(|written| written.symbol)));
        (lanes.into_iter().map(bytes).collect(), hash.0)
    }
}

/// What a lane has become.
fn bytes(ans: Ans) -> Vec<u8> {
    let words = ans.into_compressed().unwrap_or_else(|never| match never {});
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    // The last word is never zero, but its upper byte may be.
    if bytes.last() == Some(&0) {
        bytes.pop();
    }
    bytes
}

/// CRC-32 over symbols as little-endian pairs of bytes.
#[derive(Default)]
struct SymbolHash(crc32fast::Hasher);

impl SymbolHash {
    fn add(&mut self, symbols: impl Iterator<Item = i16>) {
        let bytes: Vec<u8> = symbols.flat_map(i16::to_le_bytes).collect();
        self.0.update(&bytes);
    }
}

/// A part of the probability range, as the encoder wants it.
struct Span {
    start: u16,
    width: NonZeroU16,
}

impl EntropyModel<PRECISION> for Span {
    type Symbol = ();
    type Probability = u16;
}

impl EncoderModel<PRECISION> for Span {
    #[inline]
    fn left_cumulative_and_probability(&self, _: impl Borrow<()>) -> Option<(u16, NonZeroU16)> {
        Some((self.start, self.width))
    }
}

fn push(ans: &mut Ans, span: Span) {
    ans.encode_symbol((), span).expect("a stack in memory takes every symbol of nonzero width");
}

fn push_raw(ans: &mut Ans, value: u32, bits: u32) {
    if bits > 0 {
        let shift = PRECISION as u32 - bits;
        let width = NonZeroU16::new(1 << shift).expect("at least one bit");
        push(ans, Span { start: (value << shift) as u16, width });
    }
}

#[cfg(test)]
mod tests;
