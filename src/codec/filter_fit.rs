//! The encoder's choice of a filter (`super::filter`): least squares over a tile, then
//! for each weight the integer that is cheapest in bits and errors.
//!
//! Floats here are only added, multiplied, divided and compared, in a fixed order.

use super::filter::{Features, Filter, MAX_WEIGHT, SHIFTS, TAPS};
use crate::entropy::Costs;

/// Passes over the weights, one at a time, towards the least squares.
const SWEEPS: usize = 100;
/// At most so many in integers.
const INTEGER_SWEEPS: usize = 12;
/// Products that are added up side by side.
const LANES: usize = 8;

/// What the taps have in common with each other and with the errors.
pub(super) struct Fit {
    /// Sums of the products of two taps.
    taps: Vec<[f64; TAPS]>,
    /// Sums of the products of a tap and an error, for each colour.
    errors: [[f64; TAPS]; 3],
    rows: Vec<Vec<f32>>,
}

impl Fit {
    pub fn new() -> Fit {
        Fit { taps: vec![[0.0; TAPS]; TAPS], errors: [[0.0; TAPS]; 3], rows: vec![Vec::new(); TAPS + 3] }
    }

    /// Counts pixels of a line in: what a picture has more than the synthesis gives, for
    /// each colour, from pixel `first` on.
    pub fn add(&mut self, features: &Features, first: usize, errors: &[Vec<i16>; 3]) {
        let count = errors[0].len();
        let floats = |row: &mut Vec<f32>, values: &mut dyn Iterator<Item = i16>| {
            row.clear();
            row.extend(values.map(f32::from));
            row.resize(count.next_multiple_of(LANES), 0.0);
        };
        let (taps, colours) = self.rows.split_at_mut(TAPS);
        for (tap, row) in taps.iter_mut().enumerate() {
            floats(row, &mut features.tap(tap).skip(first).take(count));
        }
        for (row, errors) in colours.iter_mut().zip(errors) {
            floats(row, &mut errors.iter().copied());
        }
        for i in 0..TAPS {
            for j in 0..=i {
                self.taps[i][j] += dot(&taps[i], &taps[j]);
            }
            for (sums, errors) in self.errors.iter_mut().zip(&*colours) {
                sums[i] += dot(&taps[i], errors);
            }
        }
    }

    /// The filter that lowers bits plus lambda times the squared error the most, if any
    /// does, and by how many bits.
    pub fn choose(mut self, lambda: f64, costs: &Costs) -> Option<(Filter, f64)> {
        for i in 0..TAPS {
            for j in 0..i {
                self.taps[j][i] = self.taps[i][j];
            }
        }
        let ideal = [0, 1, 2].map(|colour| self.least_squares(colour));
        let (mut least, mut best) = (0.0, None);
        for shift in SHIFTS {
            let mut filter = Filter { shift, weights: [[0; TAPS]; 3] };
            let objective: f64 = (0..3)
                .map(|colour| {
                    self.round(colour, &ideal[colour], &mut filter, |tap, weight| {
                        f64::from(Filter::cost(costs, colour, tap, weight)) / lambda
                    })
                })
                .sum();
            if objective < least {
                (least, best) = (objective, Some(filter));
            }
        }
        best.map(|filter| (filter, -least * lambda))
    }

    /// The weights of least error, by Gauss and Seidel.
    fn least_squares(&self, colour: usize) -> [f64; TAPS] {
        let (mut weights, mut slopes) = ([0.0; TAPS], self.errors[colour]);
        for _ in 0..SWEEPS {
            for tap in 0..TAPS {
                if self.taps[tap][tap] > 0.0 {
                    let change = slopes[tap] / self.taps[tap][tap];
                    weights[tap] += change;
                    self.descend(&mut slopes, tap, change);
                }
            }
        }
        weights
    }

    /// Brings half the falls of the squared error up to date when a weight changes.
    fn descend(&self, slopes: &mut [f64; TAPS], tap: usize, change: f64) {
        slopes.iter_mut().zip(&self.taps[tap]).for_each(|(slope, product)| *slope -= product * change);
    }

    /// Integers for the weights of a colour. Returns what the squared error changes by
    /// and what the weights cost in the same unit.
    fn round(
        &self,
        colour: usize,
        ideal: &[f64; TAPS],
        filter: &mut Filter,
        cost: impl Fn(usize, i16) -> f64,
    ) -> f64 {
        let unit = 1.0 / f64::from(1u32 << filter.shift);
        let limit = f64::from(MAX_WEIGHT);
        let integer = |weight: f64| weight.clamp(-limit, limit) as i16;
        let weights = &mut filter.weights[colour];
        let mut slopes = self.errors[colour];
        for tap in 0..TAPS {
            weights[tap] = integer((ideal[tap] / unit).round_ties_even());
            self.descend(&mut slopes, tap, f64::from(weights[tap]) * unit);
        }
        for _ in 0..INTEGER_SWEEPS {
            let mut changed = false;
            for tap in 0..TAPS {
                let (square, now) = (self.taps[tap][tap], weights[tap]);
                let least = integer(f64::from(now) + slopes[tap] / square.max(1.0) / unit);
                let mut best = (f64::INFINITY, now);
                for weight in [0, least / 2, least - 1, least, least + 1, now - 1, now, now + 1] {
                    let weight = weight.clamp(-MAX_WEIGHT, MAX_WEIGHT);
                    let change = f64::from(weight - now) * unit;
                    let objective = change * (change * square - 2.0 * slopes[tap]) + cost(tap, weight);
                    if objective < best.0 {
                        best = (objective, weight);
                    }
                }
                if best.1 != now {
                    self.descend(&mut slopes, tap, f64::from(best.1 - now) * unit);
                    weights[tap] = best.1;
                    changed = true;
                }
            }
            if !changed {
                break;
            }
        }
        // The squared error falls by w (b + s), s being what is left of b.
        (0..TAPS)
            .map(|tap| {
                let weight = f64::from(weights[tap]) * unit;
                cost(tap, weights[tap]) - weight * (self.errors[colour][tap] + slopes[tap])
            })
            .sum()
    }
}

/// The sum of products, in the same order everywhere.
fn dot(a: &[f32], b: &[f32]) -> f64 {
    let mut sums = [0.0f32; LANES];
    for (a, b) in a.as_chunks::<LANES>().0.iter().zip(b.as_chunks::<LANES>().0) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().map(|&sum| f64::from(sum)).sum()
}
