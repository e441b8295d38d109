//! The integer distributions of the latents: a table for each bin.
//!
//! A bin codes `symbol >> low_bits` (the *cell*, floored) with a table and the
//! low bits raw, so that a wide distribution needs few entries. Entry `i` of a
//! table is the cell `first + i`; the last entry is the escape, which stands
//! for every cell outside. Frequencies are multiples of 2^-16, none is zero,
//! and they sum to one. Bin 0 has no table: its symbols are 0 and not coded.
//!
//! Tables come out of a model file and are checked here; where they came from
//! (see [`super::logistic`]) makes no difference to a decoder.

use std::num::NonZeroU16;

use super::PRECISION;
use super::escape::Overshoot;
use crate::error::{Error, Result};
use crate::model::quality::LOG2_BITS;

/// How many bins there are.
pub const BINS: usize = 96;
/// Bins from one doubling of the scale to the next.
pub const BINS_PER_OCTAVE: i32 = 8;
/// log2 of the scale of bin 0, in quantisation steps.
pub const MIN_LOG2_SCALE: i32 = -4;

/// Most entries of a table, the escape among them.
const MAX_ENTRIES: usize = 255;
/// Most low bits of a bin.
const MAX_LOW_BITS: u8 = 12;
/// Stands for symbols that an entry alone does not tell.
const BEYOND: i16 = i16::MIN;
/// The upper bits of a quantile that index [`CodedBin::coarse`].
const COARSE_BITS: usize = 6;

/// The smallest log2 of a scale that may fall into a bin above 0, less half a bin
/// for rounding, where a quantisation step's logarithm is `step_log2`, in -8..=14
/// octaves. Logarithms have [`LOG2_BITS`] fraction bits.
pub fn bin_start(step_log2: i32) -> i16 {
    let start = step_log2 + (MIN_LOG2_SCALE << LOG2_BITS) - (1 << (BIN_SHIFT - 1));
    start.clamp(i16::MIN.into(), i16::MAX.into()) as i16
}

/// The bin of a scale, by its logarithm and what [`bin_start`] makes of the
/// step's: bin `i` stands for `2^(i / 8 - 4)` quantisation steps.
#[inline(always)]
pub fn scale_bin(log2_scale: i16, bin_start: i16) -> u8 {
    // A difference that saturates is far outside all bins.
    (log2_scale.saturating_sub(bin_start) >> BIN_SHIFT).clamp(0, BINS as i16 - 1) as u8
}

/// Fraction bits of a logarithm that are below its bin.
const BIN_SHIFT: u32 = LOG2_BITS - BINS_PER_OCTAVE.ilog2();

/// One bin's distribution as it stands in a model file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BinTable {
    /// Bits of a symbol below its cell, coded raw.
    pub low_bits: u8,
    /// The cell of the first entry.
    pub first: i16,
    /// A frequency per entry, the last one for the escape; none in bin 0.
    pub frequencies: Vec<u16>,
}

/// The distributions of all bins, checked and ready for the coder.
#[derive(Debug, Clone)]
pub struct ScaleTables {
    bins: Vec<BinTable>,
    /// For all bins; those that are not coded have one of no use.
    coded: Vec<CodedBin>,
}

impl PartialEq for ScaleTables {
    fn eq(&self, other: &Self) -> bool {
        self.bins == other.bins
    }
}

impl Eq for ScaleTables {}

impl ScaleTables {
    /// Checks and prepares [`BINS`] tables for each quantiser, of which there are one or two.
    pub fn new(bins: Vec<BinTable>) -> Result<ScaleTables> {
        if ![BINS, 2 * BINS].contains(&bins.len()) {
            return Err(Error::Model(format!(
                "{} probability tables instead of {BINS} or twice that",
                bins.len()
            )));
        }
        let empty = CodedBin::empty();
        let coded = bins
            .iter()
            .enumerate()
            .map(|(i, bin)| match (i.is_multiple_of(BINS), CodedBin::new(bin)) {
                (true, None) if *bin == BinTable::default() => Ok(empty.clone()),
                (true, _) => Err(Error::Model("bin 0 has a probability table".into())),
                (false, Some(coded)) => Ok(coded),
                (false, None) => Err(Error::Model(format!("the probability table of bin {i} is unsound"))),
            })
            .collect::<Result<Vec<CodedBin>>>()?;
        Ok(ScaleTables { bins, coded })
    }

    /// How many quantisers the tables are for: two where latents are quantised dependently.
    pub fn quantisers(&self) -> usize {
        self.bins.len() / BINS
    }

    /// The tables as a model file holds them.
    pub fn bins(&self) -> &[BinTable] {
        &self.bins
    }

    /// Bits that `symbol` costs under a bin that is coded. For people: no decoder
    /// depends on it.
    pub fn cost(&self, bin: u8, symbol: i16) -> f64 {
        let bin = self.coded(bin);
        let cell = i32::from(symbol) >> bin.low_bits;
        let bits = |entry| f64::from(bin.low_bits) + 16.0 - f64::from(bin.span(entry).1.get()).log2();
        match bin.entry(cell) {
            Some(entry) => bits(entry),
            None => bits(bin.escape()) + f64::from(super::escape::bits(bin.overshoot(cell))),
        }
    }

    #[inline]
    pub(super) fn coded(&self, bin: u8) -> &CodedBin {
        &self.coded[usize::from(bin)]
    }
}

/// One bin's distribution in the form the coder wants. Tables are small and
/// start on cache lines, since a reader goes from bin to bin with every symbol
/// and waits for two look-ups in each.
#[derive(Debug, Clone)]
#[repr(C, align(64))]
pub(super) struct CodedBin {
    /// The entry at the start of each 1/64 of the probability range.
    coarse: [u8; 1 << COARSE_BITS],
    /// The start of each entry in the probability range in the upper half, its
    /// width less one in the lower; then more than any entry has.
    spans: [u32; MAX_ENTRIES + 3],
    /// The symbol of each entry, or [`BEYOND`].
    symbols: [i16; MAX_ENTRIES + 1],
    /// Bits of a symbol below its cell.
    pub low_bits: u32,
    first: i32,
    /// The last entry.
    escape: u8,
}

impl CodedBin {
    /// What stands for a bin without a table.
    fn empty() -> CodedBin {
        CodedBin {
            coarse: [0; 1 << COARSE_BITS],
            spans: [u32::MAX; MAX_ENTRIES + 3],
            symbols: [BEYOND; MAX_ENTRIES + 1],
            low_bits: 0,
            first: 0,
            escape: 0,
        }
    }

    /// `None` where the table breaks one of its rules.
    fn new(bin: &BinTable) -> Option<CodedBin> {
        let entries = bin.frequencies.len();
        let cells = entries.checked_sub(1)? as i32;
        let first = i32::from(bin.first);
        let holds_zero = first <= 0 && first + cells > 0;
        if entries > MAX_ENTRIES || !holds_zero || bin.low_bits > MAX_LOW_BITS {
            return None;
        }
        let mut spans = [u32::MAX; MAX_ENTRIES + 3];
        let mut start = 0u32;
        for (span, &frequency) in spans.iter_mut().zip(&bin.frequencies) {
            *span = u32::from(u16::try_from(start).ok()?) << 16 | u32::from(frequency.checked_sub(1)?);
            start += u32::from(frequency);
        }
        if start != 1 << PRECISION {
            return None;
        }
        let mut coarse = [0; 1 << COARSE_BITS];
        let mut entry = 0;
        for (i, slot) in coarse.iter_mut().enumerate() {
            let quantile = (i << (PRECISION - COARSE_BITS)) as u32;
            while entry + 1 < entries && spans[entry + 1] >> 16 <= quantile {
                entry += 1;
            }
            *slot = entry as u8;
        }
        let mut symbols = [BEYOND; MAX_ENTRIES + 1];
        if bin.low_bits == 0 {
            symbols
                .iter_mut()
                .zip(bin.first..)
                .take(cells as usize)
                .for_each(|(symbol, cell)| *symbol = cell);
        }
        Some(CodedBin {
            low_bits: u32::from(bin.low_bits),
            first,
            escape: cells as u8,
            spans,
            symbols,
            coarse,
        })
    }

    /// The entry whose span holds `quantile`, and its start and width.
    #[inline(always)]
    pub fn find(&self, quantile: u16) -> (u8, u16, u32) {
        // A span that starts at the quantile is at most this.
        let last = u32::from(quantile) << 16 | 0xfffe;
        let mut entry = self.coarse[usize::from(quantile) >> (PRECISION - COARSE_BITS)];
        let near = &self.spans[usize::from(entry)..][..3];
        // The second is taken without a branch, which could not be predicted.
        let second = near[1] <= last;
        let mut span = std::hint::select_unpredictable(second, near[1], near[0]);
        entry += u8::from(second);
        if near[2] <= last {
            while self.spans[usize::from(entry) + 1] <= last {
                entry += 1;
            }
            span = self.spans[usize::from(entry)];
        }
        (entry, (span >> 16) as u16, (span & 0xffff) + 1)
    }

    /// Start and width of an entry in the probability range.
    #[inline]
    pub fn span(&self, entry: u8) -> (u16, NonZeroU16) {
        let span = self.spans[usize::from(entry)];
        ((span >> 16) as u16, NonZeroU16::MIN.saturating_add(span as u16))
    }

    /// The symbol of an entry, if that is all it takes.
    #[inline(always)]
    pub fn symbol(&self, entry: u8) -> Option<i16> {
        let symbol = self.symbols[usize::from(entry)];
        (symbol != BEYOND).then_some(symbol)
    }

    /// The entry that stands for every cell outside the support.
    #[inline]
    pub fn escape(&self) -> u8 {
        self.escape
    }

    /// The cell of an entry that is not the escape.
    #[inline]
    pub fn cell(&self, entry: u8) -> i32 {
        self.first + i32::from(entry)
    }

    /// The entry of a cell, unless it lies outside.
    #[inline]
    pub fn entry(&self, cell: i32) -> Option<u8> {
        let entry = u8::try_from(cell - self.first).ok()?;
        (entry < self.escape).then_some(entry)
    }

    /// How far a cell lies outside.
    pub fn overshoot(&self, cell: i32) -> Overshoot {
        Overshoot::of(cell, self.first, self.escape.into())
    }

    /// The cell that lies so far outside.
    pub fn cell_beyond(&self, overshoot: Overshoot) -> i32 {
        let distance = overshoot.distance as i32;
        if overshoot.below { self.cell(0) - 1 - distance } else { self.cell(self.escape()) + distance }
    }
}
