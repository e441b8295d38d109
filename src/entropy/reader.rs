//! Reading symbols: section 6 of `docs/format.md`.
//!
//! Each symbol waits for the state that the one before it leaves, so what counts
//! is the length of that chain. Most symbols are 0; guessing that they are, as branches
//! do, takes the look-ups in tables out of the chain, and the trellis with them.

use std::num::TryFromIntError;

use super::escape::Overshoot;
use super::tables::CodedBin;
use super::{PRECISION, ScaleTables, SymbolHash};
use crate::error::{Error, Result};

/// The longest prefix of an escape: 16-bit symbols overshoot by less than 2^15.
const MAX_ESCAPE_BITS: u32 = 16;

/// An asymmetric numeral system.
struct Ans {
    state: u32,
    /// The stream's words that are left.
    words: Vec<u16>,
}

impl Ans {
    /// `None` if the last word is zero.
    fn new(bytes: &[u8]) -> Option<Ans> {
        let pairs = bytes.chunks(2).map(|pair| [pair[0], pair.get(1).copied().unwrap_or(0)]);
        let mut ans = Ans { state: 0, words: pairs.map(u16::from_le_bytes).collect() };
        if ans.words.last() == Some(&0) {
            return None;
        }
        ans.refill();
        ans.refill();
        Some(ans)
    }

    #[inline(always)]
    fn refill(&mut self) {
        if self.state < 1 << PRECISION
            && let Some(word) = self.words.pop()
        {
            self.state = self.state << 16 | u32::from(word);
        }
    }

    /// The lower half of the state, which lies in the span to [`Ans::pop`].
    #[inline(always)]
    fn quantile(&self) -> u16 {
        self.state as u16
    }

    #[inline(always)]
    fn pop(&mut self, start: u16, width: u32) {
        self.state = (self.state >> PRECISION) * width + u32::from(self.quantile() - start);
        self.refill();
    }

    /// An equally likely value of `bits`, from 0 to 16.
    #[inline(always)]
    fn raw(&mut self, bits: u32) -> u32 {
        if bits == 0 {
            return 0;
        }
        let shift = PRECISION as u32 - bits;
        let value = u32::from(self.quantile()) >> shift;
        self.pop((value << shift) as u16, 1 << shift);
        value
    }

    /// What [`super::escape::push`] encoded; `None` where no writer makes such a
    /// code.
    fn overshoot(&mut self) -> Option<Overshoot> {
        let mut bits = 0;
        while self.raw(1) == 1 {
            bits += 1;
            if bits > MAX_ESCAPE_BITS {
                return None;
            }
        }
        let code = (1 << bits) | self.raw(bits);
        Some(Overshoot { distance: (code - 1) / 2, below: (code - 1) % 2 == 1 })
    }
}

/// Reads the symbols of one tile.
///
/// Reading never fails: after damage it goes on with arbitrary symbols, and
/// [`LatentReader::finish`] tells.
pub struct LatentReader<'t> {
    tables: &'t ScaleTables,
    ans: Ans,
    hash: SymbolHash,
    damaged: bool,
}

impl<'t> LatentReader<'t> {
    /// A reader of what [`super::LatentWriter::finish`] returned.
    pub fn new(tables: &'t ScaleTables, bytes: &[u8]) -> Result<Self> {
        let ans =
            Ans::new(bytes).ok_or_else(|| Error::Format("a tile's stream ends in a zero word".into()))?;
        Ok(LatentReader { tables, ans, hash: SymbolHash::new(), damaged: false })
    }

    /// The next symbol, coded under `bin`.
    #[inline(always)]
    pub fn read(&mut self, bin: u8) -> i16 {
        if bin == 0 {
            return 0;
        }
        let zero = self.tables.zero(bin);
        let symbol = if self.ans.quantile().wrapping_sub(zero.start) < zero.width {
            self.ans.pop(zero.start, zero.width.into());
            0
        } else {
            self.look_up(bin)
        };
        self.hash.add(symbol);
        symbol
    }

    /// The next symbol, whatever it is.
    #[inline]
    fn look_up(&mut self, bin: u8) -> i16 {
        let bin = self.tables.coded(bin);
        let (entry, start, width) = bin.find(self.ans.quantile());
        self.ans.pop(start, width);
        let symbol = if entry == bin.escape() {
            self.read_beyond(bin)
        } else {
            let low = self.ans.raw(bin.low_bits);
            i16::try_from(bin.cell(entry) << bin.low_bits | low as i32)
        };
        symbol.unwrap_or_else(|_| {
            self.damaged = true;
            0
        })
    }

    /// A symbol outside the support of its table.
    #[cold]
    fn read_beyond(&mut self, bin: &CodedBin) -> std::result::Result<i16, TryFromIntError> {
        let cell = self.ans.overshoot().map_or(i32::MAX, |overshoot| bin.cell_beyond(overshoot));
        let low = self.ans.raw(bin.low_bits);
        i16::try_from(i64::from(cell) << bin.low_bits | i64::from(low))
    }

    /// The checksum of all symbols read; an error where the bytes were not
    /// those of exactly these symbols.
    pub fn finish(self) -> Result<crc32fast::Hasher> {
        if self.damaged {
            return Err(Error::Format("a latent lies outside the 16-bit range".into()));
        }
        if !self.ans.words.is_empty() || self.ans.state > 0 {
            return Err(Error::Format("a tile's stream holds more than its symbols".into()));
        }
        Ok(self.hash.finish())
    }
}
