//! Symbols to bytes and back: one asymmetric numeral system per tile.
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

type Ans = AnsCoder<u16, u32>;

/// Collects the symbols of one tile, then codes them.
pub struct LatentWriter<'t> {
    tables: &'t ScaleTables,
    symbols: Vec<(u8, i16)>,
}

impl<'t> LatentWriter<'t> {
    /// A writer without symbols.
    pub fn new(tables: &'t ScaleTables) -> Self {
        LatentWriter { tables, symbols: Vec::new() }
    }

    /// Appends `symbol`, coded under `bin`. In bin 0 the symbol must be 0.
    #[inline]
    pub fn write(&mut self, bin: u8, symbol: i16) {
        if bin == 0 {
            debug_assert_eq!(symbol, 0, "bin 0 holds zeros only");
        } else {
            self.symbols.push((bin, symbol));
        }
    }

    /// The bytes of all symbols, and their checksum.
    pub fn finish(self) -> (Vec<u8>, crc32fast::Hasher) {
        let mut ans = Ans::new();
        for &(bin, symbol) in self.symbols.iter().rev() {
            let bin = self.tables.coded(bin);
            let cell = i32::from(symbol) >> bin.low_bits;
            push_raw(&mut ans, u32::from(symbol as u16) & ((1 << bin.low_bits) - 1), bin.low_bits);
            let entry = match bin.entry(cell) {
                Some(entry) => entry,
                None => {
                    escape::push(&mut ans, bin.overshoot(cell));
                    bin.escape()
                }
            };
            let (start, width) = bin.span(entry);
            push(&mut ans, Span { start, width });
        }
        let words = ans.into_compressed().unwrap_or_else(|never| match never {});
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        // The last word is never zero, but its upper byte may be.
        if bytes.last() == Some(&0) {
            bytes.pop();
        }
        let mut hash = SymbolHash::new();
        for &(_, symbol) in &self.symbols {
            hash.add(symbol);
        }
        (bytes, hash.finish())
    }
}

/// CRC-32 over symbols as little-endian pairs of bytes, gathered into blocks.
struct SymbolHash {
    hasher: crc32fast::Hasher,
    block: [u8; 1024],
    filled: usize,
}

impl SymbolHash {
    fn new() -> Self {
        SymbolHash { hasher: crc32fast::Hasher::new(), block: [0; 1024], filled: 0 }
    }

    #[inline]
    fn add(&mut self, symbol: i16) {
        self.block[self.filled..self.filled + 2].copy_from_slice(&symbol.to_le_bytes());
        self.filled += 2;
        if self.filled == self.block.len() {
            self.hasher.update(&self.block);
            self.filled = 0;
        }
    }

    fn finish(mut self) -> crc32fast::Hasher {
        self.hasher.update(&self.block[..self.filled]);
        self.hasher
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
