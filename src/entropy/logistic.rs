//! Builds integer tables from real distributions. Only exporters of models use
//! this; codecs read the tables from the model.

use super::PRECISION;
use crate::model::trellis::half_steps;

use super::tables::{BINS, BINS_PER_OCTAVE, BinTable, MIN_LOG2_SCALE, ScaleTables};

/// A cell is at most this part of the scale wide; within it the density is
/// taken as flat, which costs less than 0.003 bits a symbol.
const CELLS_PER_SCALE: f64 = 4.0;
/// Cells less likely than this are left to the escape.
const MIN_PROBABILITY: f64 = 1.0 / 65536.0;

/// The scale of a bin in quantisation steps.
pub fn bin_scale(bin: usize) -> f64 {
    (bin as f64 / f64::from(BINS_PER_OCTAVE) + f64::from(MIN_LOG2_SCALE)).exp2()
}

impl ScaleTables {
    /// Logistic distributions, `P(k) = sigmoid((k + 1/2) / s) - sigmoid((k - 1/2) / s)`.
    pub fn logistic() -> ScaleTables {
        ScaleTables::new(logistic_bins(0)).expect("logistic tables obey the rules")
    }

    /// Logistic distributions over the values of two quantisers (`model::trellis`): each
    /// symbol has what lies nearer to its value than to those of its quantiser's others.
    pub fn dependent() -> ScaleTables {
        let bins = [0, 1].into_iter().flat_map(logistic_bins);
        ScaleTables::new(bins.collect()).expect("logistic tables obey the rules")
    }
}

fn logistic_bins(quantiser: u8) -> Vec<BinTable> {
    let bin = |bin| if bin == 0 { BinTable::default() } else { logistic_bin(bin_scale(bin), quantiser) };
    (0..BINS).map(bin).collect()
}

/// Half way between the values of a symbol and the one below, in steps.
fn boundary(quantiser: u8, symbol: i32) -> f64 {
    f64::from(half_steps(quantiser, symbol as i16) + half_steps(quantiser, symbol as i16 - 1)) / 4.0
}

fn logistic_bin(scale: f64, quantiser: u8) -> BinTable {
    let low_bits = (scale / CELLS_PER_SCALE).log2().floor().max(0.0) as u8;
    // The probability of all symbols below the cell; a cell's symbols run from
    // cell << low_bits to ((cell + 1) << low_bits) - 1.
    let below = |cell: i32| 1.0 / (1.0 + (-boundary(quantiser, cell << low_bits) / scale).exp());
    let pmf = |cell: i32| below(cell + 1) - below(cell);
    let last = (1..).find(|&cell| pmf(cell) < MIN_PROBABILITY).expect("the tail ends") - 1;
    let first = (1..).find(|&cell| pmf(-cell) < MIN_PROBABILITY).map_or(0, |cell| 1 - cell);
    let cells: Vec<f64> = (first..=last).map(pmf).collect();
    let escape = 1.0 - (below(last + 1) - below(first));
    from_pmf(low_bits, first as i16, &cells, escape)
}

/// The integer table of a distribution over cells, and over everything else.
pub fn from_pmf(low_bits: u8, first: i16, cells: &[f64], escape: f64) -> BinTable {
    let whole = f64::from(1u32 << PRECISION);
    let total: f64 = cells.iter().sum::<f64>() + escape;
    let mut frequencies: Vec<i32> =
        cells.iter().chain([&escape]).map(|p| ((p / total * whole).round() as i32).max(1)).collect();
    // What rounding added or took away, the likeliest entries return.
    loop {
        let excess = frequencies.iter().sum::<i32>() - (1 << PRECISION);
        if excess == 0 {
            break;
        }
        let largest = frequencies.iter_mut().max().expect("the escape at least");
        *largest -= excess.clamp(-1, 1);
    }
    BinTable { low_bits, first, frequencies: frequencies.into_iter().map(|f| f as u16).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_cost_what_the_logistic_costs() {
        let tables = ScaleTables::logistic();
        for bin in 1..BINS {
            let scale = bin_scale(bin);
            let p = |k: i32| {
                let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
                let k = -f64::from(k.abs());
                sigmoid((k + 0.5) / scale) - sigmoid((k - 0.5) / scale)
            };
            let (mut entropy, mut cost) = (0.0, 0.0);
            for k in -4000..=4000 {
                let p = p(k);
                if p > 0.0 {
                    entropy -= p * p.log2();
                    cost += p * tables.cost(bin as u8, k as i16);
                }
            }
            assert!(cost < entropy * 1.001 + 0.006, "bin {bin}: {cost} {entropy}");
        }
    }
}
