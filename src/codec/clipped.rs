//! The part of a filter that looks at how far neighbours are from a pixel only up to a limit:
//! it sharpens or smooths fine structure and leaves edges alone, which is more than the
//! networks can do, whose last layer is linear in blocks of 8x8 pixels.
//!
//! Each colour is corrected by its own pairs of opposite neighbours, whose differences from the
//! pixel are clipped twice, at a narrow and at a wide limit. The weights are those of all
//! three colours, and of every block, to whose direction a model may turn them
//! (`super::classes`). Clipping in adaptive loop filters: Taquet et al. 2019, adopted in ITU-T
//! H.266.

use std::ops::Range;

use super::filter::{REACH, around};
use super::lines::Line;
use super::reading::Reading;
use crate::entropy::{Costs, LatentWriter};
use crate::error::{Error, Result};
use crate::model::class_filters::CLASS_TAPS;

/// Weights of a clipped part.
pub(super) const CLIPPED_TAPS: usize = CLASS_TAPS;
/// log2 of the narrower limit, in units of the synthesis output.
pub(super) const LIMITS: Range<u32> = 2..12;
/// Fraction bits of the weights.
pub(super) const FRACTION_BITS: u32 = 6;
/// No weight is further from 0.
pub(super) const MAX_CLIPPED_WEIGHT: i16 = 127;
/// The bins of the limit and of the weights.
const LIMIT_BIN: u8 = 40;
const WEIGHT_BIN: u8 = 43;

/// See [`self`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Clipped {
    /// log2 of the narrower limit, where the model has no limits of its own.
    pub limit: Option<u32>,
    /// Of each pair within the narrower and within the wider limit.
    pub weights: [i16; CLIPPED_TAPS],
}

/// The sums of two differences within a narrow and within a wide limit.
#[inline(always)]
fn within([a, b, middle]: [i16; 3], [narrow, wide]: [i16; 2]) -> [i16; 2] {
    let (a, b) = (a.wrapping_sub(middle), b.wrapping_sub(middle));
    [narrow, wide].map(|limit| a.max(-limit).min(limit).wrapping_add(b.max(-limit).min(limit)))
}

/// Both limits, by log2 of the narrower one.
pub(super) fn limits(limit: u32) -> [i16; 2] {
    [1 << limit, 4 << limit]
}

/// What the taps of a pair see at the pixels `at` of a colour.
pub(super) fn see(
    lines: &[&Line; 2 * REACH + 1],
    colour: usize,
    pair: usize,
    limits: [i16; 2],
    at: Range<usize>,
) -> impl Iterator<Item = [i16; 2]> {
    let [a, b] = around(lines, colour, pair);
    let middle = lines[REACH].pixels(colour);
    a[at.clone()]
        .iter()
        .zip(&b[at.clone()])
        .zip(&middle[at])
        .map(move |((a, b), m)| within([*a, *b, *m], limits))
}

impl Clipped {
    /// Bits of a weight.
    pub fn cost(costs: &Costs, weight: i16) -> f32 {
        costs.bits(WEIGHT_BIN, weight)
    }

    /// The symbol of the limit, if it is coded.
    fn limit_symbol(&self) -> Option<i16> {
        self.limit.map(|limit| limit as i16 - LIMITS.start as i16)
    }

    /// Bits of the limit and of all weights.
    pub fn bits(&self, costs: &Costs) -> f64 {
        let weights = self.weights.iter().map(|&weight| f64::from(Clipped::cost(costs, weight)));
        let limit = self.limit_symbol().map_or(0.0, |symbol| costs.bits(LIMIT_BIN, symbol));
        f64::from(limit) + weights.sum::<f64>()
    }

    pub fn write(&self, writer: &mut LatentWriter<'_>) {
        if let Some(symbol) = self.limit_symbol() {
            writer.write(0, LIMIT_BIN, symbol);
        }
        self.weights.iter().for_each(|&weight| writer.write(0, WEIGHT_BIN, weight));
    }

    pub fn read(reading: &mut Reading<'_>) -> Result<Clipped> {
        let limit = if reading.has_limits { None } else { Some(Clipped::read_limit(reading)?) };
        let mut weights = [0; CLIPPED_TAPS];
        for weight in &mut weights {
            *weight = reading.symbol(WEIGHT_BIN);
            if weight.unsigned_abs() > MAX_CLIPPED_WEIGHT as u16 {
                return Err(Error::Format(format!("a filter with the clipped weight {weight}")));
            }
        }
        Ok(Clipped { limit, weights })
    }

    fn read_limit(reading: &mut Reading<'_>) -> Result<u32> {
        let limit = i32::from(reading.symbol(LIMIT_BIN)) + LIMITS.start as i32;
        u32::try_from(limit)
            .ok()
            .filter(|limit| LIMITS.contains(limit))
            .ok_or_else(|| Error::Format(format!("a filter with the limit 2^{limit}")))
    }
}
