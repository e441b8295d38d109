//! Everything that corrects pixels behind the synthesis transform, made ready: the model's
//! filters for classes of blocks and the filter of a tile.

use std::ops::Range;

use super::classes::{BLOCK, Class, TURNED, TURNS};
use super::clipped::{self, FRACTION_BITS};
use super::filter::{Filter, Linear, PAIRS, REACH, around};
use super::lines::{Filtering, Line};
use crate::model::arch::{PIXEL_BLOCK, PIXEL_CHANNELS};
use crate::model::class_filters::{self, CLASS_BITS, CLASS_TAPS, QualityFilters};
use crate::nn::{Differences, LANES, Network, Tensor};

/// What corrects the pixels of a tile.
pub(super) struct Correction<'f> {
    linear: Option<&'f Linear>,
    clipped: Option<Weights>,
}

/// What differences within limits weigh.
struct Weights {
    limits: [i16; 2],
    /// What errors are like, where blocks have classes.
    unit: Option<i16>,
    /// Of each class and turn, of each pair where it then lies. Blocks that have no classes are
    /// of the first one.
    of_classes: Vec<[[i16; 2]; PAIRS.len()]>,
}

impl<'f> Correction<'f> {
    /// By a model's filters for a quality and by a tile's own; nothing where there are neither.
    pub fn new(filters: Option<&QualityFilters>, filter: Option<&'f Filter>) -> Option<Correction<'f>> {
        if filters.is_none() && filter.is_none() {
            return None;
        }
        let own = filter.and_then(|filter| filter.clipped.as_ref());
        let alike = QualityFilters { unit: 0, weights: vec![[0; CLASS_TAPS]] };
        let limits = match (filters, own) {
            (Some(filters), _) => Some(class_filters::limits(filters.unit)),
            (None, own) => own.and_then(|own| own.limit).map(clipped::limits),
        };
        let clipped = limits.map(|limits| {
            let turns = if filters.is_some() { &TURNED[..] } else { &TURNED[..1] };
            let of_class = |weights: &[i16; CLASS_TAPS]| {
                let mut all = *weights;
                if let Some(own) = own {
                    let more = own.weights.iter().map(|weight| weight << (CLASS_BITS - FRACTION_BITS));
                    all.iter_mut().zip(more).for_each(|(weight, more)| *weight += more);
                }
                let all: [[i16; 2]; PAIRS.len()] = std::array::from_fn(|i| [all[2 * i], all[2 * i + 1]]);
                turns.iter().map(move |turned| turned.map(|pair| all[pair]))
            };
            let of_classes = filters.unwrap_or(&alike).weights.iter().flat_map(of_class).collect();
            Weights { limits, unit: filters.map(|filters| filters.unit), of_classes }
        });
        Some(Correction { linear: filter.and_then(|filter| filter.linear.as_ref()), clipped })
    }

    /// By a linear part alone.
    pub fn linear(linear: &'f Linear) -> Correction<'f> {
        Correction { linear: Some(linear), clipped: None }
    }

    /// Corrects all of a synthesis output.
    pub fn correct(&self, network: &Network, output: &mut Tensor) {
        let width = output.width * PIXEL_BLOCK;
        let mut corrected = vec![0; output.data.len()];
        let mut pixels = vec![0; 3 * width];
        let unit = self.clipped.as_ref().and_then(|weights| weights.unit);
        Filtering::each_line(output, unit, |y, line| {
            line.through(network, Some(self), 0..width, &mut pixels);
            let row = &mut corrected[y / PIXEL_BLOCK * output.width * PIXEL_CHANNELS..];
            let blocks = row.as_chunks_mut::<PIXEL_CHANNELS>().0.iter_mut();
            for (block, pixels) in blocks.zip(pixels.chunks_exact(3 * PIXEL_BLOCK)) {
                block[y % PIXEL_BLOCK * 3 * PIXEL_BLOCK..][..3 * PIXEL_BLOCK].copy_from_slice(pixels);
            }
        });
        output.data = corrected;
    }

    /// Corrects pixels `at` of line `y` in the middle of five, whose blocks have these classes:
    /// red, green and blue of each.
    pub fn apply(
        &self,
        network: &Network,
        (y, lines): (usize, &[&Line; 2 * REACH + 1]),
        classes: &[Class],
        at: Range<usize>,
        room: &mut Room,
        out: &mut [i16],
    ) {
        let first = at.start / LANES * LANES;
        let width = (at.end - first).next_multiple_of(LANES);
        room.start(width);
        if let Some(linear) = self.linear {
            linear.correct(network, lines, first, &mut room.sums);
        }
        if let Some(weights) = &self.clipped {
            // Pixels of other tiles are others.
            let place = (y / BLOCK, at.clone());
            if room.weighed.as_ref() != Some(&place) {
                weights.lay_out(classes, first..first + width, &mut room.weights);
                room.weighed = Some(place);
            }
        }
        for (colour, corrections) in room.sums.iter_mut().enumerate() {
            if let Some(weights) = &self.clipped {
                let pairs: [_; PAIRS.len()] =
                    std::array::from_fn(|pair| around(lines, colour, pair).map(|row| &row[first..]));
                let differences = Differences {
                    middle: &lines[REACH].pixels(colour)[first..][..width],
                    pairs: &pairs,
                    limits: weights.limits,
                    weights: &room.weights.each_ref().map(|row| &row[..]),
                };
                room.clipped.fill(1 << (CLASS_BITS - 1));
                network.differences(&differences, &mut room.clipped);
                corrections.iter_mut().zip(&room.clipped).for_each(|(sum, more)| *sum += more >> CLASS_BITS);
            }
            let corrections = &corrections[at.start - first..];
            let values = &lines[REACH].pixels(colour)[at.clone()];
            for ((pixel, sum), &v) in out.as_chunks_mut::<3>().0.iter_mut().zip(corrections).zip(values) {
                pixel[colour] = (i32::from(v) + sum).clamp(i16::MIN.into(), i16::MAX.into()) as i16;
            }
        }
    }
}

impl Weights {
    /// The weights of each pair at pixels `at`.
    fn lay_out(&self, classes: &[Class], at: Range<usize>, rows: &mut [Vec<[i16; 2]>; PAIRS.len()]) {
        rows.iter_mut().for_each(|row| row.resize(at.len(), [0; 2]));
        for (i, block) in (at.start / BLOCK..at.end / BLOCK).enumerate() {
            // Whole lanes end beyond the picture.
            let class = classes.get(block).copied().unwrap_or_default();
            let weights = &self.of_classes[usize::from(class.class) * TURNS + usize::from(class.turn)];
            for (row, weights) in rows.iter_mut().zip(weights) {
                row[i * BLOCK..][..BLOCK].fill(*weights);
            }
        }
    }
}

/// Room for the corrections of a line.
#[derive(Debug, Default)]
pub(super) struct Room {
    sums: [Vec<i32>; 3],
    clipped: Vec<i32>,
    /// Of each pair at each pixel.
    weights: [Vec<[i16; 2]>; PAIRS.len()],
    /// The row of blocks and the pixels that these are for.
    weighed: Option<(usize, Range<usize>)>,
}

impl Room {
    /// Zeros.
    fn start(&mut self, width: usize) {
        for sums in &mut self.sums {
            sums.clear();
            sums.resize(width, 0);
        }
        self.clipped.resize(width, 0);
    }
}
