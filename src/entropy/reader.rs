//! Reading symbols: section 6 of `docs/format.md`.
//!
//! Each symbol waits for the state that the one before it in its lane leaves, some
//! twenty cycles, and a branch on what the symbol is costs as much wherever it is not
//! foreseen. So nothing here branches on what symbols usually are, and lanes are read in
//! turns, for which the processor does not have to wait.

use std::hint::select_unpredictable;

use super::escape::Overshoot;
use super::tables::CodedBin;
use super::{BINS, LANES, PRECISION, ScaleTables, SymbolHash};
use crate::error::{Error, Result};
use crate::model::trellis::{State, half_steps};

/// The longest prefix of an escape: 16-bit symbols overshoot by less than 2^15.
const MAX_ESCAPE_BITS: u32 = 16;

/// How many words are left where a symbol lay outside the 16-bit range. None is taken then.
const DAMAGED: usize = usize::MAX;

/// An asymmetric numeral system.
#[derive(Clone, Copy)]
struct Ans<'w> {
    state: u32,
    /// The words of the stream.
    words: &'w [u16],
    /// How many of them are left.
    left: usize,
}

/// The words of a stream; `None` if the last one is zero.
fn words(bytes: &[u8]) -> Option<Vec<u16>> {
    let pairs = bytes.chunks(2).map(|pair| [pair[0], pair.get(1).copied().unwrap_or(0)]);
    let words: Vec<u16> = pairs.map(u16::from_le_bytes).collect();
    (words.last() != Some(&0)).then_some(words)
}

impl<'w> Ans<'w> {
    fn start(words: &'w [u16]) -> Self {
        let mut ans = Ans { state: 0, words, left: words.len() };
        ans.refill();
        ans.refill();
        ans
    }

    #[inline(always)]
    fn refill(&mut self) {
        // Whether there is a word is easy to foresee, whether it is due is not.
        if let Some(&word) = self.words.get(self.left.wrapping_sub(1)) {
            let due = self.state < 1 << PRECISION;
            self.state = select_unpredictable(due, self.state << 16 | u32::from(word), self.state);
            self.left -= usize::from(due);
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
    lanes: Vec<Lane>,
    /// Symbols that the checksum does not hold yet.
    recent: Vec<i16>,
    hash: SymbolHash,
}

/// One lane's stream, and where its reader is.
struct Lane {
    words: Vec<u16>,
    state: u32,
    left: usize,
}

impl Lane {
    fn new(bytes: &[u8]) -> Result<Lane> {
        let words =
            words(bytes).ok_or_else(|| Error::Format("a tile's stream ends in a zero word".into()))?;
        let Ans { state, left, .. } = Ans::start(&words);
        Ok(Lane { words, state, left })
    }

    fn ans(&self) -> Ans<'_> {
        Ans { state: self.state, words: &self.words, left: self.left }
    }
}

/// The next symbol of a lane.
#[inline(always)]
fn look_up(ans: &mut Ans<'_>, bin: &CodedBin) -> i16 {
    let (entry, start, width) = bin.find(ans.quantile());
    ans.pop(start, width);
    bin.symbol(entry).unwrap_or_else(|| {
        let symbol;
        (symbol, *ans) = look_beyond(*ans, bin, entry);
        symbol
    })
}

/// A symbol that its entry alone does not tell. By value, so that callers keep theirs
/// in registers.
#[inline(never)]
fn look_beyond<'w>(mut ans: Ans<'w>, bin: &CodedBin, entry: u8) -> (i16, Ans<'w>) {
    let cell = match entry == bin.escape() {
        true => ans.overshoot().map_or(i32::MAX, |overshoot| bin.cell_beyond(overshoot)),
        false => bin.cell(entry),
    };
    let low = ans.raw(bin.low_bits);
    let symbol = i16::try_from(i64::from(cell) << bin.low_bits | i64::from(low));
    if symbol.is_err() {
        ans.left = DAMAGED;
    }
    (symbol.unwrap_or(0), ans)
}

impl<'t> LatentReader<'t> {
    /// A reader of what [`super::LatentWriter::finish`] returned, lane by lane: 1 or [`LANES`].
    pub fn new(tables: &'t ScaleTables, lanes: &[&[u8]]) -> Result<Self> {
        debug_assert!([1, LANES].contains(&lanes.len()));
        let lanes = lanes.iter().map(|bytes| Lane::new(bytes)).collect::<Result<_>>()?;
        Ok(LatentReader { tables, lanes, recent: Vec::new(), hash: SymbolHash::default() })
    }

    /// The next symbol of the first lane, coded under `bin`.
    #[inline]
    pub fn read(&mut self, bin: u8) -> i16 {
        if bin == 0 {
            return 0;
        }
        let lane = &mut self.lanes[0];
        let mut ans = lane.ans();
        let symbol = look_up(&mut ans, self.tables.coded(bin));
        (lane.state, lane.left) = (ans.state, ans.left);
        self.recent.push(symbol);
        symbol
    }

    /// The next symbols of all lanes in turns, one for each of `bins`, which are those of
    /// quantiser 0, and none of them 0. `states` are the lanes', and `values` become
    /// how many half steps the symbols stand for.
    pub fn read_row(&mut self, states: &mut [State], bins: &[u8], values: &mut [i32]) {
        match self.lanes.len() {
            1 => self.read_in_turns::<1>(states, bins, values),
            _ => self.read_in_turns::<LANES>(states, bins, values),
        }
    }

    fn read_in_turns<const L: usize>(&mut self, states: &mut [State], bins: &[u8], values: &mut [i32]) {
        let LatentReader { tables, lanes, recent, hash } = self;
        let lanes: &mut [Lane; L] = lanes.as_mut_slice().try_into().expect("as many lanes as were counted");
        let states: &mut [State; L] = states.try_into().expect("a state for each lane");
        // Copies, which stay in registers.
        let (mut ans, mut at) = (lanes.each_ref().map(Lane::ans), *states);
        let (turns, last) = bins.as_chunks::<L>();
        let (of_turns, of_last) = values[..bins.len()].as_chunks_mut::<L>();
        for (bins, values) in turns.iter().zip(of_turns) {
            for lane in 0..L {
                values[lane] = read(tables, &mut ans[lane], &mut at[lane], bins[lane]);
            }
        }
        for ((ans, at), (&bin, value)) in ans.iter_mut().zip(&mut at).zip(last.iter().zip(of_last)) {
            *value = read(tables, ans, at, bin);
        }
        *states = at;
        let now = ans.map(|ans| (ans.state, ans.left));
        lanes.iter_mut().zip(now).for_each(|(lane, now)| (lane.state, lane.left) = now);
        recent.extend(values.iter().map(|value| (value >> 1) as i16));
        values.iter_mut().for_each(|value| *value = half_steps((*value & 1) as u8, (*value >> 1) as i16));
        hash.add(recent.drain(..));
    }

    /// The checksum of all symbols read; an error where the bytes were not
    /// those of exactly these symbols.
    pub fn finish(mut self) -> Result<crc32fast::Hasher> {
        if self.lanes.iter().any(|lane| lane.left == DAMAGED) {
            return Err(Error::Format("a latent lies outside the 16-bit range".into()));
        }
        if self.lanes.iter().any(|lane| lane.left > 0 || lane.state > 0) {
            return Err(Error::Format("a tile's stream holds more than its symbols".into()));
        }
        self.hash.add(self.recent.drain(..));
        Ok(self.hash.0)
    }
}

/// The next symbol of a lane, twice, and its quantiser. Both become the half steps that
/// they stand for later, for many at a time.
#[inline(always)]
fn read(tables: &ScaleTables, ans: &mut Ans<'_>, at: &mut State, bin: u8) -> i32 {
    let quantiser = at.quantiser();
    let symbol = look_up(ans, tables.coded(bin + quantiser * BINS as u8));
    at.advance(symbol);
    2 * i32::from(symbol) + i32::from(quantiser)
}
