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
use super::lines::Line;
use super::reading::Reading;
use crate::entropy::{Costs, LatentWriter};
use crate::error::{Error, Result};
use crate::model::class_filters;
use crate::nn::{Network, Pair};

/// Rows down and columns to the right of half the pixels around one; the other half
/// lies opposite, and the two of a pair weigh the same.
pub(super) const PAIRS: [(usize, isize); class_filters::PAIRS] =
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

    /// Adds to sums what corrects the pixels from `first` on of the line in the middle of five, in
    /// units of its weights.
    pub fn correct(
        &self,
        network: &Network,
        lines: &[&Line; 2 * REACH + 1],
        first: usize,
        sums: &mut [Vec<i32>; 3],
    ) {
        for (sums, weights) in sums.iter_mut().zip(&self.weights) {
            let constant = 2 * i32::from(CONSTANT) * i32::from(weights[TAPS - 1]);
            sums.iter_mut().for_each(|sum| *sum += constant + (1 << (self.shift - 1)));
        }
        let (mut pairs, mut of_pairs) = ([[&[][..]; 2]; TAPS - 1], [[0; 3]; TAPS - 1]);
        for (tap, (pair, of_pair)) in pairs.iter_mut().zip(&mut of_pairs).enumerate() {
            *pair = taps_pair(lines, tap).map(|row| &row[first..]);
            *of_pair = self.weights.map(|weights| weights[tap]);
        }
        // A pair's tap sees how far it is from twice what is in the middle.
        for of_colour in of_pairs.chunks_exact_mut(OF_COLOUR) {
            let (middle, around) = of_colour.split_last_mut().expect("pairs and the pixel itself");
            for pair in around {
                middle.iter_mut().zip(pair).for_each(|(middle, weight)| *middle -= *weight);
            }
        }
        network.weigh(&pairs, &of_pairs, sums);
        sums.iter_mut().flatten().for_each(|sum| *sum >>= self.shift);
    }
}

/// What is added up for a tap that is no constant, in the middle of five lines: a pair, or twice
/// the pixel itself.
fn taps_pair<'a>(lines: &[&'a Line; 2 * REACH + 1], tap: usize) -> Pair<'a> {
    let (colour, pair) = (tap / OF_COLOUR, tap % OF_COLOUR);
    if pair < PAIRS.len() { around(lines, colour, pair) } else { [lines[REACH].pixels(colour); 2] }
}

/// One colour in the middle of five lines, and of a pair one and the other neighbour.
pub(super) fn around<'a>(lines: &[&'a Line; 2 * REACH + 1], colour: usize, pair: usize) -> Pair<'a> {
    let (down, right) = PAIRS[pair];
    let at = |row: usize, column: usize| &lines[row].colour(colour)[column..];
    [at(REACH + down, REACH.wrapping_add_signed(right)), at(REACH - down, REACH.wrapping_add_signed(-right))]
}

/// What a tap sees at the pixels `at` in the middle of five lines.
pub(super) fn see<'a>(
    lines: &[&'a Line; 2 * REACH + 1],
    tap: usize,
    at: Range<usize>,
) -> Box<dyn Iterator<Item = i16> + 'a> {
    if tap == TAPS - 1 {
        return Box::new(at.map(|_| 2 * CONSTANT));
    }
    let [a, b] = taps_pair(lines, tap).map(|row| &row[at.clone()]);
    let sums = a.iter().zip(b).map(|(a, b)| a + b);
    if tap % OF_COLOUR == PAIRS.len() {
        return Box::new(sums);
    }
    let middle = &lines[REACH].pixels(tap / OF_COLOUR)[at];
    Box::new(sums.zip(middle).map(|(sum, middle)| sum - 2 * middle))
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
}
