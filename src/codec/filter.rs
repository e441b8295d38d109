//! A filter between the synthesis transform and the pixels, which the encoder fits to a
//! tile: what the networks do to pictures in general they do too much or too little to the
//! one at hand, and what its colours have in common they cannot know.
//!
//! Its linear part corrects each colour of a pixel by a weighted sum of all three colours of the
//! pixels around it, its clipped part (`super::clipped`) by what is close to it alone. The
//! adaptive loop filters of ITU-T H.266 (Karczewicz et al. 2021)
//! do as much within a colour and across colours, there for classes of blocks.

use std::ops::Range;

use super::clipped::Clipped;
use super::lines::{Filtering, Line};
use super::reading::Reading;
use crate::entropy::{Costs, LatentWriter};
use crate::error::{Error, Result};
use crate::model::arch::{PIXEL_BLOCK, PIXEL_CHANNELS};
use crate::nn::{LANES, Lanes, Network, Tensor, WeightPair};

/// Rows down and columns to the right of half the pixels around one; the other half
/// lies opposite, and the two of a pair weigh the same.
pub(super) const PAIRS: [(usize, isize); 10] =
    [(0, 1), (0, 2), (1, -2), (1, -1), (1, 0), (1, 1), (1, 2), (2, -1), (2, 0), (2, 1)];
/// Pixels that a filter reaches to each side.
pub(super) const REACH: usize = 2;
/// What a filter weighs of a colour: pairs, then the pixel itself.
const OF_COLOUR: usize = PAIRS.len() + 1;
/// What a filter weighs: three colours and a constant.
pub(super) const TAPS: usize = 3 * OF_COLOUR + 1;
/// What the last tap weighs twice.
const CONSTANT: i16 = 256;
/// No weight is further from 0.
pub(super) const MAX_WEIGHT: i16 = 511;
/// Fraction bits that weights can have.
pub(super) const SHIFTS: Range<u32> = 6..12;
/// The bin of the symbol that says which parts a filter has, and how many fraction bits the
/// weights of a linear one: 0 for none, then the linear part alone with so many, with the
/// clipped part as well, and the clipped part alone.
const PARTS_BIN: u8 = 40;
/// How many fraction bits there are to choose from.
const CHOICES: u32 = SHIFTS.end - SHIFTS.start;

/// The filter of a tile, of which at least one part is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Filter {
    pub linear: Option<Linear>,
    pub clipped: Option<Clipped>,
}

/// The part that weighs all colours around a pixel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Linear {
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

impl Linear {
    /// Bits of a weight.
    pub fn cost(costs: &Costs, colour: usize, tap: usize, weight: i16) -> f32 {
        costs.bits(bin(colour, tap), weight)
    }

    fn write(&self, writer: &mut LatentWriter<'_>) {
        for (colour, weights) in self.weights.iter().enumerate() {
            for (tap, &weight) in weights.iter().enumerate() {
                writer.write(0, bin(colour, tap), weight);
            }
        }
    }

    fn read(shift: u32, reading: &mut Reading<'_>) -> Result<Linear> {
        let mut weights = [[0; TAPS]; 3];
        for (colour, weights) in weights.iter_mut().enumerate() {
            for (tap, weight) in weights.iter_mut().enumerate() {
                *weight = reading.symbol(bin(colour, tap));
                if weight.unsigned_abs() > MAX_WEIGHT as u16 {
                    return Err(Error::Format(format!("a filter with the weight {weight}")));
                }
            }
        }
        Ok(Linear { shift, weights })
    }

    /// Bits of all weights.
    fn bits(&self, costs: &Costs) -> f64 {
        let of_colour = |(colour, weights): (usize, &[i16; TAPS])| -> f64 {
            weights.iter().enumerate().map(|(tap, &w)| f64::from(Linear::cost(costs, colour, tap, w))).sum()
        };
        self.weights.iter().enumerate().map(of_colour).sum()
    }

    /// What corrects a gradient of the corrected output to one of the uncorrected: what
    /// one pixel gives to another, the other gives back.
    pub fn adjoint(&self) -> Linear {
        let mut weights = [[0; TAPS]; 3];
        for (to, weights) in weights.iter_mut().enumerate() {
            for (from, weights) in weights.chunks_exact_mut(OF_COLOUR).enumerate() {
                weights.copy_from_slice(&self.weights[from][to * OF_COLOUR..][..OF_COLOUR]);
            }
        }
        Linear { shift: self.shift, weights }
    }

    /// What is added to [`LANES`] values of each colour.
    fn corrections(&self, network: &Network, features: &[WeightPair]) -> [[i32; LANES]; 3] {
        // Kernels like four rows better than three.
        let mut weights = [0; 4 * TAPS];
        weights[..3 * TAPS].copy_from_slice(self.weights.as_flattened());
        let mut sums = [Lanes([0; LANES]); 4];
        let half = 1 << (self.shift - 1);
        network.products(features, &weights, &mut sums);
        [0, 1, 2].map(|colour| sums[colour].0.map(|sum| (sum + half) >> self.shift))
    }
}

impl Filter {
    /// The symbol that says which parts there are.
    fn parts(&self) -> i16 {
        let both = if self.clipped.is_some() { CHOICES } else { 0 };
        let parts = self.linear.as_ref().map_or(2 * CHOICES, |linear| linear.shift - SHIFTS.start + both);
        parts as i16 + 1
    }

    /// Codes a tile's filter, or that there is none.
    pub fn write(filter: Option<&Filter>, writer: &mut LatentWriter<'_>) {
        writer.write(0, PARTS_BIN, filter.map_or(0, Filter::parts));
        if let Some(linear) = filter.and_then(|filter| filter.linear.as_ref()) {
            linear.write(writer);
        }
        if let Some(clipped) = filter.and_then(|filter| filter.clipped.as_ref()) {
            clipped.write(writer);
        }
    }

    /// Decodes what [`Self::write`] coded.
    pub fn read(reading: &mut Reading<'_>) -> Result<Option<Filter>> {
        let symbol = reading.symbol(PARTS_BIN);
        let parts = match u32::try_from(symbol) {
            Ok(0) => return Ok(None),
            Ok(symbol) if symbol <= 2 * CHOICES + 1 => symbol - 1,
            _ => return Err(Error::Format(format!("a filter of the unknown parts {symbol}"))),
        };
        let shift = (parts < 2 * CHOICES).then_some(SHIFTS.start + parts % CHOICES);
        let linear = shift.map(|shift| Linear::read(shift, reading)).transpose()?;
        let clipped = (parts >= CHOICES).then(|| Clipped::read(reading)).transpose()?;
        Ok(Some(Filter { linear, clipped }))
    }

    /// Bits of all that is said of it.
    pub fn bits(&self, costs: &Costs) -> f64 {
        f64::from(costs.bits(PARTS_BIN, self.parts()))
            + self.linear.as_ref().map_or(0.0, |linear| linear.bits(costs))
            + self.clipped.as_ref().map_or(0.0, |clipped| clipped.bits(costs))
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

    /// Corrects pixels `at` of the line in the middle of five: red, green and blue of each.
    /// `features` are those of the line where there is a linear part.
    pub fn apply(
        &self,
        network: &Network,
        features: &Features,
        lines: &[&Line; 2 * REACH + 1],
        at: Range<usize>,
        out: &mut [i16],
    ) {
        for first in (at.start / LANES * LANES..at.end).step_by(LANES) {
            let linear = self.linear.as_ref();
            let sums = linear.map(|linear| linear.corrections(network, features.chunk(first / LANES)));
            let mut sums = sums.unwrap_or([[0; LANES]; 3]);
            if let Some(clipped) = &self.clipped {
                for (colour, sums) in sums.iter_mut().enumerate() {
                    let more = clipped.corrections(network, lines, colour, first);
                    sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
                }
            }
            let mut pixels = [[0i16; 3]; LANES];
            for (colour, sums) in sums.iter().enumerate() {
                let values = &lines[REACH].pixels(colour)[first..][..LANES];
                for ((pixel, sum), &v) in pixels.iter_mut().zip(sums).zip(values) {
                    pixel[colour] = (i32::from(v) + sum).clamp(i16::MIN.into(), i16::MAX.into()) as i16;
                }
            }
            let within = at.start.max(first)..at.end.min(first + LANES);
            let from = &pixels.as_flattened()[3 * (within.start - first)..][..3 * within.len()];
            out[3 * (within.start - at.start)..][..from.len()].copy_from_slice(from);
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
    pub fn new(width: usize) -> Features {
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
    pub fn set(&mut self, lines: [&Line; 2 * REACH + 1]) {
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
