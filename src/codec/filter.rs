//! A linear filter between the synthesis transform and the pixels, which the encoder
//! fits to a tile: what the networks do to pictures in general they do too much or too
//! little to the one at hand, and what its colours have in common they cannot know.
//!
//! Each colour of a pixel is corrected by a weighted sum of all three colours of the
//! pixels around it. The adaptive loop filters of ITU-T H.266 (Karczewicz et al. 2021)
//! do as much within a colour and across colours, there for classes of blocks.

use std::ops::Range;

use super::reading::Reading;
use crate::entropy::{Costs, LatentWriter};
use crate::error::{Error, Result};
use crate::model::arch::{PIXEL_BLOCK, PIXEL_CHANNELS};
use crate::nn::{LANES, Lanes, Network, Tensor, WeightPair};

/// Rows down and columns to the right of half the pixels around one; the other half
/// lies opposite, and the two of a pair weigh the same.
const PAIRS: [(usize, isize); 10] =
    [(0, 1), (0, 2), (1, -2), (1, -1), (1, 0), (1, 1), (1, 2), (2, -1), (2, 0), (2, 1)];
/// Pixels that a filter reaches to each side.
const REACH: usize = 2;
/// What a filter weighs of a colour: pairs, then the pixel itself.
const OF_COLOUR: usize = PAIRS.len() + 1;
/// What a filter weighs: three colours and a constant.
pub(super) const TAPS: usize = 3 * OF_COLOUR + 1;
/// The synthesis output of the darkest and of the brightest pixel there is.
const DARKEST: i16 = -8192;
const BRIGHTEST: i16 = 8191;
/// What the last tap weighs twice.
const CONSTANT: i16 = 256;
/// No weight is further from 0.
pub(super) const MAX_WEIGHT: i16 = 511;
/// Fraction bits that weights can have.
pub(super) const SHIFTS: Range<u32> = 6..12;
/// The bin of the symbol that says whether there is a filter, and how many fraction
/// bits its weights have.
const SHIFT_BIN: u8 = 40;

/// The filter of a tile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Filter {
    /// Fraction bits of the weights.
    pub shift: u32,
    /// For each colour that is corrected.
    pub weights: [[i16; TAPS]; 3],
}

/// The bin of a weight: how large it is, as a rule.
fn bin(colour: usize, tap: usize) -> u8 {
    match (tap / OF_COLOUR, tap % OF_COLOUR) {
        (3, _) => 48,
        (_, pair) if pair == PAIRS.len() => 26,
        (from, pair) => {
            let near = if matches!(PAIRS[pair], (0, 1) | (1, 0)) { 10 } else { 0 };
            near + if from == colour { 49 } else { 43 }
        }
    }
}

impl Filter {
    /// Bits of a weight.
    pub fn cost(costs: &Costs, colour: usize, tap: usize, weight: i16) -> f32 {
        costs.bits(bin(colour, tap), weight)
    }

    /// Codes a tile's filter, or that there is none.
    pub fn write(filter: Option<&Filter>, writer: &mut LatentWriter<'_>) {
        let Some(filter) = filter else { return writer.write(0, SHIFT_BIN, 0) };
        writer.write(0, SHIFT_BIN, (filter.shift - SHIFTS.start) as i16 + 1);
        for (colour, weights) in filter.weights.iter().enumerate() {
            for (tap, &weight) in weights.iter().enumerate() {
                writer.write(0, bin(colour, tap), weight);
            }
        }
    }

    /// Decodes what [`Self::write`] coded.
    pub fn read(reading: &mut Reading<'_>) -> Result<Option<Filter>> {
        let shift = match reading.symbol(SHIFT_BIN) {
            0 => return Ok(None),
            symbol => i32::from(symbol) - 1 + SHIFTS.start as i32,
        };
        let shift = u32::try_from(shift)
            .ok()
            .filter(|shift| SHIFTS.contains(shift))
            .ok_or_else(|| Error::Format(format!("a filter with {shift} fraction bits")))?;
        let mut weights = [[0; TAPS]; 3];
        for (colour, weights) in weights.iter_mut().enumerate() {
            for (tap, weight) in weights.iter_mut().enumerate() {
                *weight = reading.symbol(bin(colour, tap));
                if weight.unsigned_abs() > MAX_WEIGHT as u16 {
                    return Err(Error::Format(format!("a filter with the weight {weight}")));
                }
            }
        }
        Ok(Some(Filter { shift, weights }))
    }

    /// Bits of all weights.
    pub fn bits(&self, costs: &Costs) -> f64 {
        let of_colour = |(colour, weights): (usize, &[i16; TAPS])| -> f64 {
            weights.iter().enumerate().map(|(tap, &w)| f64::from(Filter::cost(costs, colour, tap, w))).sum()
        };
        self.weights.iter().enumerate().map(of_colour).sum()
    }

    /// What corrects a gradient of the corrected output to one of the uncorrected: what
    /// one pixel gives to another, the other gives back.
    pub fn adjoint(&self) -> Filter {
        let mut weights = [[0; TAPS]; 3];
        for (to, weights) in weights.iter_mut().enumerate() {
            for (from, weights) in weights.chunks_exact_mut(OF_COLOUR).enumerate() {
                weights.copy_from_slice(&self.weights[from][to * OF_COLOUR..][..OF_COLOUR]);
            }
        }
        Filter { shift: self.shift, weights }
    }

    /// Corrects all of a synthesis output.
    pub fn correct(&self, network: &Network, output: &mut Tensor) {
        let width = output.width * PIXEL_BLOCK;
        let mut corrected = vec![0; output.data.len()];
        let mut pixels = vec![0; 3 * width];
        Filtering::each_line(output, |y, line| {
            line.through(network, Some(self), 0..width, &mut pixels);
            let row = &mut corrected[y / PIXEL_BLOCK * output.width * PIXEL_CHANNELS..];
            let blocks = row.as_chunks_mut::<PIXEL_CHANNELS>().0.iter_mut();
            for (block, pixels) in blocks.zip(pixels.chunks_exact(3 * PIXEL_BLOCK)) {
                block[y % PIXEL_BLOCK * 3 * PIXEL_BLOCK..][..3 * PIXEL_BLOCK].copy_from_slice(pixels);
            }
        });
        output.data = corrected;
    }

    /// Corrects pixels `at` of a line: red, green and blue of each.
    fn apply(&self, network: &Network, features: &Features, line: &Line, at: Range<usize>, out: &mut [i16]) {
        // Kernels like four rows better than three.
        let mut weights = [0; 4 * TAPS];
        weights[..3 * TAPS].copy_from_slice(self.weights.as_flattened());
        let half = 1 << (self.shift - 1);
        for first in (at.start / LANES * LANES..at.end).step_by(LANES) {
            let mut sums = [Lanes([0; LANES]); 4];
            network.products(features.chunk(first / LANES), &weights, &mut sums);
            let mut pixels = [[0i16; 3]; LANES];
            for (colour, sums) in sums[..3].iter().enumerate() {
                let values = &line.pixels(colour)[first..][..LANES];
                for ((pixel, sum), &v) in pixels.iter_mut().zip(&sums.0).zip(values) {
                    let v = i32::from(v) + ((sum + half) >> self.shift);
                    pixel[colour] = v.clamp(i16::MIN.into(), i16::MAX.into()) as i16;
                }
            }
            let within = at.start.max(first)..at.end.min(first + LANES);
            let from = &pixels.as_flattened()[3 * (within.start - first)..][..3 * within.len()];
            out[3 * (within.start - at.start)..][..from.len()].copy_from_slice(from);
        }
    }
}

/// A line of pixels, colour by colour, with its first and last pixel repeated at the ends.
#[derive(Debug, Clone)]
pub(super) struct Line {
    values: Vec<i16>,
    stride: usize,
}

impl Line {
    fn new(width: usize) -> Line {
        let stride = width.next_multiple_of(LANES) + 2 * REACH;
        Line { values: vec![0; 3 * stride], stride }
    }

    /// One colour: [`REACH`] repeated values, then those of the line.
    fn colour(&self, colour: usize) -> &[i16] {
        &self.values[colour * self.stride..][..self.stride]
    }

    /// One colour of the pixels.
    pub fn pixels(&self, colour: usize) -> &[i16] {
        &self.colour(colour)[REACH..]
    }

    /// Line `dy` of a row of the synthesis output.
    fn set(&mut self, row: &[i16], dy: usize) {
        for (colour, values) in self.values.chunks_exact_mut(self.stride).enumerate() {
            let blocks = row.as_chunks::<PIXEL_CHANNELS>().0;
            let mut last = 0;
            for (values, block) in values[REACH..].chunks_exact_mut(PIXEL_BLOCK).zip(blocks) {
                let line = &block[dy * 3 * PIXEL_BLOCK..][..3 * PIXEL_BLOCK];
                for (value, pixel) in values.iter_mut().zip(line.as_chunks::<3>().0) {
                    *value = pixel[colour].clamp(DARKEST, BRIGHTEST);
                    last = *value;
                }
            }
            let first = values[REACH];
            values[..REACH].fill(first);
            values[REACH + blocks.len() * PIXEL_BLOCK..].fill(last);
        }
    }
}

/// What the taps of a filter see at each pixel of a line.
pub(super) struct Features {
    /// Two taps at a time of [`LANES`] pixels at a time: to the kernels of the networks
    /// pixels are outputs, what taps see is weights, and a filter's weights are the input.
    taps: Vec<WeightPair>,
    constant: Vec<i16>,
    zero: Vec<i16>,
}

impl Features {
    fn new(width: usize) -> Features {
        let width = width.next_multiple_of(LANES);
        Features {
            taps: vec![WeightPair([[0; 2]; LANES]); TAPS / 2 * width / LANES],
            constant: vec![CONSTANT; width],
            zero: vec![0; width],
        }
    }

    /// All taps of [`LANES`] pixels.
    fn chunk(&self, index: usize) -> &[WeightPair] {
        &self.taps[TAPS / 2 * index..][..TAPS / 2]
    }

    /// What a tap sees at every pixel.
    pub fn tap(&self, tap: usize) -> impl Iterator<Item = i16> {
        let chunks = self.taps.chunks_exact(TAPS / 2);
        chunks.flat_map(move |chunk| chunk[tap / 2].0.iter().map(move |pair| pair[tap % 2]))
    }

    /// Looks at the line in the middle of five.
    fn set(&mut self, lines: [&Line; 2 * REACH + 1]) {
        let width = self.zero.len();
        // A tap sees a + b - 2 m, which 16 bits hold.
        let slices = |tap: usize| -> [&[i16]; 3] {
            let (colour, pair) = (tap / OF_COLOUR, tap % OF_COLOUR);
            if colour == 3 {
                return [&self.constant, &self.constant, &self.zero];
            }
            let at = |row: usize, column: usize| &lines[row].colour(colour)[column..][..width];
            let middle = at(REACH, REACH);
            match PAIRS.get(pair) {
                None => [middle, middle, &self.zero],
                Some(&(down, right)) => [
                    at(REACH + down, REACH.wrapping_add_signed(right)),
                    at(REACH - down, REACH.wrapping_add_signed(-right)),
                    middle,
                ],
            }
        };
        for index in 0..TAPS / 2 {
            let taps = self.taps.iter_mut().skip(index).step_by(TAPS / 2);
            see(taps, slices(2 * index), slices(2 * index + 1));
        }
    }
}

/// Values that are looked at together.
const TOGETHER: usize = 8;

/// `a + b - 2 m` of two taps.
fn see<'a>(taps: impl Iterator<Item = &'a mut WeightPair>, first: [&'a [i16]; 3], second: [&'a [i16]; 3]) {
    let chunks = |three: [&'a [i16]; 3]| three.map(|values| values.as_chunks::<TOGETHER>().0.iter());
    let [[a, b, m], [c, d, n]] = [first, second].map(chunks);
    let values = a.zip(b).zip(m).zip(c.zip(d).zip(n));
    let pairs = taps.flat_map(|pairs| pairs.0.as_chunks_mut::<TOGETHER>().0);
    for (pairs, (((a, b), m), ((c, d), n))) in pairs.zip(values) {
        let sum = |a: &[i16; TOGETHER], b: &[i16; TOGETHER], m: &[i16; TOGETHER]| -> [i16; TOGETHER] {
            std::array::from_fn(|i| a[i].wrapping_add(b[i]).wrapping_sub(m[i].wrapping_mul(2)))
        };
        let (left, right) = (sum(a, b, m), sum(c, d, n));
        *pairs = std::array::from_fn(|i| [left[i], right[i]]);
    }
}

/// Rows of the synthesis output on their way through a filter: rows of blocks go in,
/// lines of pixels come out, two lines later.
pub(super) struct Filtering {
    /// The last lines, each at its number modulo their count.
    lines: Vec<Line>,
    features: Features,
    /// Lines that came in.
    came: Range<usize>,
    /// The next line to go out.
    next: usize,
}

impl Filtering {
    /// Of `width` pixels a line, the first being `first`.
    pub fn new(width: usize, first: usize) -> Filtering {
        let lines = vec![Line::new(width); PIXEL_BLOCK + 2 * REACH];
        Filtering { lines, features: Features::new(width), came: first..first, next: first }
    }

    /// Shows all lines of a synthesis output.
    pub fn each_line(output: &Tensor, mut show: impl FnMut(usize, &mut Ready<'_>)) {
        let mut filtering = Filtering::new(output.width * PIXEL_BLOCK, 0);
        for row in output.data.chunks_exact(output.width * PIXEL_CHANNELS) {
            filtering.push(row, &mut show);
        }
        filtering.finish(&mut show);
    }

    /// Takes a row of blocks, and shows lines that are complete.
    pub fn push(&mut self, row: &[i16], show: impl FnMut(usize, &mut Ready<'_>)) {
        for dy in 0..PIXEL_BLOCK {
            let slot = self.came.end % self.lines.len();
            self.lines[slot].set(row, dy);
            self.came.end += 1;
        }
        self.show(self.came.end.saturating_sub(REACH), show);
    }

    /// Shows the lines that are left.
    pub fn finish(mut self, show: impl FnMut(usize, &mut Ready<'_>)) {
        self.show(self.came.end, show);
    }

    fn show(&mut self, end: usize, mut show: impl FnMut(usize, &mut Ready<'_>)) {
        while self.next < end {
            let line = |y: usize| &self.lines[y.clamp(self.came.start, self.came.end - 1) % self.lines.len()];
            let y = self.next;
            let lines = std::array::from_fn(|i| line((y + i).saturating_sub(REACH)));
            let mut ready = Ready { lines, features: &mut self.features, seen: false };
            show(y, &mut ready);
            self.next += 1;
        }
    }
}

/// A line of pixels whose neighbours are there.
pub(super) struct Ready<'a> {
    lines: [&'a Line; 2 * REACH + 1],
    features: &'a mut Features,
    /// Whether `features` are this line's.
    seen: bool,
}

impl Ready<'_> {
    /// The line as it came.
    pub fn line(&self) -> &Line {
        self.lines[REACH]
    }

    /// What taps see of it.
    pub fn features(&mut self) -> &Features {
        if !self.seen {
            self.features.set(self.lines);
            self.seen = true;
        }
        self.features
    }

    /// Pixels `at` of the line, red, green and blue of each, through a filter.
    pub fn through(&mut self, network: &Network, filter: Option<&Filter>, at: Range<usize>, out: &mut [i16]) {
        match filter {
            Some(filter) => {
                self.features();
                filter.apply(network, self.features, self.lines[REACH], at, out);
            }
            None => {
                for colour in 0..3 {
                    let values = &self.line().pixels(colour)[at.clone()];
                    let pixels = out.chunks_exact_mut(3);
                    pixels.zip(values).for_each(|(pixel, &value)| pixel[colour] = value);
                }
            }
        }
    }
}
