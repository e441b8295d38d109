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
/// The upper bits of a quantile that index [`CodedBin::coarse`].
const COARSE_BITS: usize = 8;

/// The bin of a scale: bin `i` stands for `2^(i / 8 - 4)` quantisation steps.
/// Both logarithms have [`LOG2_BITS`] fraction bits.
#[inline]
pub fn scale_bin(log2_scale: i32, step_log2: i32) -> u8 {
    const SHIFT: u32 = LOG2_BITS - BINS_PER_OCTAVE.ilog2();
    let relative = log2_scale - step_log2 - (MIN_LOG2_SCALE << LOG2_BITS);
    ((relative + (1 << (SHIFT - 1))) >> SHIFT).clamp(0, BINS as i32 - 1) as u8
}

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
    /// For the bins from 1 on.
    coded: Vec<CodedBin>,
}

impl PartialEq for ScaleTables {
    fn eq(&self, other: &Self) -> bool {
        self.bins == other.bins
    }
}

impl Eq for ScaleTables {}

impl ScaleTables {
    /// Checks and prepares [`BINS`] tables.
    pub fn new(bins: Vec<BinTable>) -> Result<ScaleTables> {
        if bins.len() != BINS {
            return Err(Error::Model(format!("{} probability tables instead of {BINS}", bins.len())));
        }
        if bins[0] != BinTable::default() {
            return Err(Error::Model("bin 0 has a probability table".into()));
        }
        let coded = bins[1..]
            .iter()
            .enumerate()
            .map(|(i, bin)| {
                CodedBin::new(bin)
                    .ok_or_else(|| Error::Model(format!("the probability table of bin {} is unsound", i + 1)))
            })
            .collect::<Result<_>>()?;
        Ok(ScaleTables { bins, coded })
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
        let bits = |entry: usize| f64::from(bin.low_bits) + 16.0 - f64::from(bin.spans[entry].1.get()).log2();
        match bin.entry(cell) {
            Some(entry) => bits(entry),
            None => bits(bin.escape()) + f64::from(super::escape::bits(bin.overshoot(cell))),
        }
    }

    #[inline]
    pub(super) fn coded(&self, bin: u8) -> &CodedBin {
        &self.coded[usize::from(bin) - 1]
    }
}

/// One bin's distribution in the form the coder wants.
#[derive(Debug, Clone)]
pub(super) struct CodedBin {
    /// Bits of a symbol below its cell.
    pub low_bits: u32,
    first: i32,
    /// Start and width of each entry in the probability range.
    spans: Vec<(u16, NonZeroU16)>,
    /// The entry at the start of each 1/256 of the probability range.
    coarse: [u8; 1 << COARSE_BITS],
}

impl CodedBin {
    /// `None` where the table breaks one of its rules.
    fn new(bin: &BinTable) -> Option<CodedBin> {
        let entries = bin.frequencies.len();
        let cells = entries.checked_sub(1)? as i32;
        let first = i32::from(bin.first);
        let holds_zero = first <= 0 && first + cells > 0;
        if entries > MAX_ENTRIES || !holds_zero || bin.low_bits > MAX_LOW_BITS {
            return None;
        }
        let mut spans = Vec::with_capacity(entries);
        let mut start = 0u32;
        for &frequency in &bin.frequencies {
            spans.push((u16::try_from(start).ok()?, NonZeroU16::new(frequency)?));
            start += u32::from(frequency);
        }
        if start != 1 << PRECISION {
            return None;
        }
        let mut coarse = [0; 1 << COARSE_BITS];
        let mut entry = 0;
        for (i, slot) in coarse.iter_mut().enumerate() {
            let quantile = (i << (PRECISION - COARSE_BITS)) as u16;
            while entry + 1 < entries && spans[entry + 1].0 <= quantile {
                entry += 1;
            }
            *slot = entry as u8;
        }
        Some(CodedBin { low_bits: u32::from(bin.low_bits), first, spans, coarse })
    }

    /// The entry whose span holds `quantile`.
    #[inline]
    pub fn find(&self, quantile: u16) -> usize {
        let mut entry = usize::from(self.coarse[usize::from(quantile) >> (PRECISION - COARSE_BITS)]);
        while let Some(next) = self.spans.get(entry + 1)
            && next.0 <= quantile
        {
            entry += 1;
        }
        entry
    }

    /// Start and width of an entry in the probability range.
    #[inline]
    pub fn span(&self, entry: usize) -> (u16, NonZeroU16) {
        self.spans[entry]
    }

    /// The entry that stands for every cell outside the support.
    #[inline]
    pub fn escape(&self) -> usize {
        self.spans.len() - 1
    }

    /// The cell of an entry that is not the escape.
    #[inline]
    pub fn cell(&self, entry: usize) -> i64 {
        i64::from(self.first) + entry as i64
    }

    /// The entry of a cell, unless it lies outside.
    #[inline]
    pub fn entry(&self, cell: i32) -> Option<usize> {
        let entry = usize::try_from(cell - self.first).ok()?;
        (entry < self.escape()).then_some(entry)
    }

    /// How far a cell lies outside.
    pub fn overshoot(&self, cell: i32) -> Overshoot {
        let below = cell < self.first;
        let distance = if below { self.first - 1 - cell } else { cell - self.first - self.escape() as i32 };
        Overshoot { distance: distance as u32, below }
    }

    /// The cell that lies so far outside.
    pub fn cell_beyond(&self, overshoot: Overshoot) -> i64 {
        let distance = i64::from(overshoot.distance);
        if overshoot.below { self.cell(0) - 1 - distance } else { self.cell(self.escape()) + distance }
    }
}
