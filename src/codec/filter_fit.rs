//! The encoder's choice of a filter (`super::filter`): least squares over a tile, then
//! for each weight the integer that is cheapest in bits and errors.
//!
//! Floats here are only added, multiplied, divided and compared, in a fixed order.

use std::ops::Range;

use super::clipped::{CLIPPED_TAPS, Clipped, FRACTION_BITS, LIMITS, MAX_CLIPPED_WEIGHT, limits};
use super::filter::{Filter, Linear, MAX_WEIGHT, SHIFTS, TAPS};
use super::lines::Ready;
use crate::entropy::Costs;
use crate::model::class_filters::{self, QualityFilters};
use crate::nn::{Network, SUM_LANES};

/// Passes over the weights, one at a time, towards the least squares.
const SWEEPS: usize = 100;
/// At most so many in integers.
const INTEGER_SWEEPS: usize = 12;
/// All weights: the linear part's of each colour, then the clipped part's.
const LINEAR: usize = 3 * TAPS;
const WEIGHTS: usize = LINEAR + CLIPPED_TAPS;

/// What the taps have in common with each other and with the errors.
pub(super) struct Fit {
    /// log2 of the narrower limit of the clipped part, where the model has no limits.
    limit: Option<u32>,
    /// Of the clipped part.
    limits: [i16; 2],
    /// Sums of the products of two linear taps.
    linear: Vec<[f64; TAPS]>,
    /// Of the products of a clipped tap and a linear one, for each colour.
    mixed: [[[f64; TAPS]; CLIPPED_TAPS]; 3],
    /// Of the products of two clipped taps.
    clipped: [[f64; CLIPPED_TAPS]; CLIPPED_TAPS],
    /// Of the products of a weight's tap and an error.
    errors: [f64; WEIGHTS],
    rows: Rows,
}

/// A line's taps and errors in floats.
struct Rows {
    linear: Vec<Vec<f32>>,
    clipped: Vec<Vec<f32>>,
    errors: Vec<f32>,
}

/// The squares that are to be least, by all weights.
struct Problem {
    squares: Vec<[f64; WEIGHTS]>,
    errors: [f64; WEIGHTS],
}

impl Fit {
    /// Beside the model's filters, of errors whose mean square is about `square`.
    pub fn new(filters: Option<&QualityFilters>, square: u64) -> Fit {
        // Half their root for the narrower limit, twice it for the wider one.
        let limit = ((square / 2).max(1).ilog2() / 2).clamp(LIMITS.start, LIMITS.end - 1);
        let (limit, limits) = match filters {
            Some(filters) => (None, class_filters::limits(filters.unit)),
            None => (Some(limit), limits(limit)),
        };
        let rows = |count: usize| vec![Vec::new(); count];
        Fit {
            limit,
            limits,
            linear: vec![[0.0; TAPS]; TAPS],
            mixed: [[[0.0; TAPS]; CLIPPED_TAPS]; 3],
            clipped: [[0.0; CLIPPED_TAPS]; CLIPPED_TAPS],
            errors: [0.0; WEIGHTS],
            rows: Rows { linear: rows(TAPS), clipped: rows(CLIPPED_TAPS), errors: Vec::new() },
        }
    }

    /// Counts segments of a line in: what a picture has more than the synthesis gives, for each
    /// colour.
    pub fn add(
        &mut self,
        network: &Network,
        line: &Ready<'_>,
        segments: &[Range<usize>],
        errors: &[Vec<i16>; 3],
    ) {
        let Rows { linear, clipped, errors: wanted } = &mut self.rows;
        for (tap, row) in linear.iter_mut().enumerate() {
            floats(row, segments.iter().flat_map(|at| line.linear(tap, at.clone())));
        }
        for (i, row) in linear.iter().enumerate() {
            network.sums_of_products(row, &linear[..=i], &mut self.linear[i][..=i]);
        }
        for (colour, errors) in errors.iter().enumerate() {
            floats(wanted, errors.iter().copied());
            for (pair, rows) in clipped.chunks_exact_mut(2).enumerate() {
                let seen = segments.iter().flat_map(|at| line.clipped(colour, pair, self.limits, at.clone()));
                let (narrow, wide): (Vec<i16>, Vec<i16>) = seen.map(<(i16, i16)>::from).unzip();
                floats(&mut rows[0], narrow.into_iter());
                floats(&mut rows[1], wide.into_iter());
            }
            network.sums_of_products(wanted, linear, &mut self.errors[colour * TAPS..][..TAPS]);
            network.sums_of_products(wanted, clipped, &mut self.errors[LINEAR..]);
            for (i, row) in clipped.iter().enumerate() {
                network.sums_of_products(row, &clipped[..=i], &mut self.clipped[i][..=i]);
                network.sums_of_products(row, linear, &mut self.mixed[colour][i]);
            }
        }
    }

    /// The filter that lowers bits plus lambda times the squared error the most, if any does.
    pub fn choose(self, lambda: f64, costs: &Costs) -> Option<Filter> {
        let limit = self.limit;
        let problem = self.problem();
        let [alone, both] =
            [0..LINEAR, 0..WEIGHTS].map(|range| (problem.least_squares(range.clone()), range));
        let clipped = (problem.least_squares(LINEAR..WEIGHTS), LINEAR..WEIGHTS);
        let linear = SHIFTS.flat_map(|shift| [(Some(shift), &alone), (Some(shift), &both)]);
        let (mut least, mut best) = (0.0, None);
        for (shift, (ideal, range)) in linear.chain([(None, &clipped)]) {
            let unit = |weight: usize| {
                let bits = if weight < LINEAR { shift.unwrap_or_default() } else { FRACTION_BITS };
                1.0 / f64::from(1u32 << bits)
            };
            let cost = |weight: usize, value: i16| {
                let bits = if weight < LINEAR {
                    Linear::cost(costs, weight / TAPS, weight % TAPS, value)
                } else {
                    Clipped::cost(costs, value)
                };
                f64::from(bits) / lambda
            };
            let (weights, fall) = problem.round(range.clone(), ideal, unit, cost);
            let (linear, clipped) = weights.split_at(LINEAR);
            let linear = linear.as_chunks().0.try_into().expect("taps of three colours");
            let weights = clipped.try_into().expect("as many as there are clipped taps");
            let filter = Filter {
                linear: shift.map(|shift| Linear { shift, weights: linear }),
                clipped: (range.end > LINEAR).then_some(Clipped { limit, weights }),
            };
            let objective = filter.bits(costs) / lambda - fall;
            if objective < least {
                (least, best) = (objective, Some(filter));
            }
        }
        best
    }

    fn problem(self) -> Problem {
        let mut squares = vec![[0.0; WEIGHTS]; WEIGHTS];
        for i in 0..TAPS {
            for j in 0..=i {
                for colour in [0, TAPS, 2 * TAPS] {
                    squares[colour + i][colour + j] = self.linear[i][j];
                }
            }
        }
        for i in 0..CLIPPED_TAPS {
            for (colour, mixed) in self.mixed.iter().enumerate() {
                squares[LINEAR + i][colour * TAPS..][..TAPS].copy_from_slice(&mixed[i]);
            }
            squares[LINEAR + i][LINEAR..][..=i].copy_from_slice(&self.clipped[i][..=i]);
        }
        for i in 0..WEIGHTS {
            let (before, from) = squares.split_at_mut(i);
            before.iter_mut().zip(&from[0]).for_each(|(row, square)| row[i] = *square);
        }
        Problem { squares, errors: self.errors }
    }
}

impl Problem {
    /// The weights of a range with the least error, by Gauss and Seidel.
    fn least_squares(&self, range: Range<usize>) -> [f64; WEIGHTS] {
        let (mut weights, mut slopes) = ([0.0; WEIGHTS], self.errors);
        for _ in 0..SWEEPS {
            for tap in range.clone() {
                if self.squares[tap][tap] > 0.0 {
                    let change = slopes[tap] / self.squares[tap][tap];
                    weights[tap] += change;
                    self.descend(&mut slopes, tap, change);
                }
            }
        }
        weights
    }

    /// Brings half the falls of the squared error up to date when a weight changes.
    fn descend(&self, slopes: &mut [f64; WEIGHTS], tap: usize, change: f64) {
        slopes.iter_mut().zip(&self.squares[tap]).for_each(|(slope, product)| *slope -= product * change);
    }

    /// Integers for the weights of a range, whose units and costs are given, and by how much
    /// the squared error falls.
    fn round(
        &self,
        range: Range<usize>,
        ideal: &[f64; WEIGHTS],
        unit: impl Fn(usize) -> f64,
        cost: impl Fn(usize, i16) -> f64,
    ) -> ([i16; WEIGHTS], f64) {
        let most = |tap: usize| if tap < LINEAR { MAX_WEIGHT } else { MAX_CLIPPED_WEIGHT };
        let integer = |tap: usize, weight: f64| weight.clamp(-f64::from(most(tap)), most(tap).into()) as i16;
        let (mut weights, mut slopes) = ([0; WEIGHTS], self.errors);
        for tap in range.clone() {
            weights[tap] = integer(tap, (ideal[tap] / unit(tap)).round_ties_even());
            self.descend(&mut slopes, tap, f64::from(weights[tap]) * unit(tap));
        }
        for _ in 0..INTEGER_SWEEPS {
            let mut changed = false;
            for tap in range.clone() {
                let (square, now) = (self.squares[tap][tap], weights[tap]);
                let least = integer(tap, f64::from(now) + slopes[tap] / square.max(1.0) / unit(tap));
                let mut best = (f64::INFINITY, now);
                for weight in [0, least / 2, least - 1, least, least + 1, now - 1, now, now + 1] {
                    let weight = weight.clamp(-most(tap), most(tap));
                    let change = f64::from(weight - now) * unit(tap);
                    let objective = change * (change * square - 2.0 * slopes[tap]) + cost(tap, weight);
                    if objective < best.0 {
                        best = (objective, weight);
                    }
                }
                if best.1 != now {
                    self.descend(&mut slopes, tap, f64::from(best.1 - now) * unit(tap));
                    weights[tap] = best.1;
                    changed = true;
                }
            }
            if !changed {
                break;
            }
        }
        // The squared error falls by w (b + s), s being what is left of b.
        let fall = range.map(|tap| {
            let weight = f64::from(weights[tap]) * unit(tap);
            weight * (self.errors[tap] + slopes[tap])
        });
        (weights, fall.sum())
    }
}

/// Sets a row, filled up with zeros to whole lanes.
fn floats(row: &mut Vec<f32>, values: impl Iterator<Item = i16>) {
    row.clear();
    row.extend(values.map(f32::from));
    row.resize(row.len().next_multiple_of(SUM_LANES), 0.0);
}
