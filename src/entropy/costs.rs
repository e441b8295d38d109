//! What symbols cost, for encoders that weigh bits against errors.

use super::escape::{self, Overshoot};
use super::tables::{BINS, ScaleTables};

/// Bits of every symbol under every bin: the same numbers on every machine.
#[derive(Debug)]
pub struct Costs {
    bins: Vec<BinCosts>,
}

/// Symbols of each sign whose costs are listed one by one.
const NEAR: i16 = 24;

#[derive(Debug)]
struct BinCosts {
    /// Of the symbols from -1 on, and of the same with the other sign.
    near: [[f32; NEAR as usize]; 2],
    /// Of each entry, its raw low bits included.
    entries: Vec<f32>,
    low_bits: u32,
    first: i32,
}

/// `log2` of a positive number with 16 fraction bits, rounded down: by squaring,
/// since the last bit of a library's logarithm may differ between machines.
fn log2_q16(n: u32) -> u32 {
    let whole = n.ilog2();
    let mut mantissa = u64::from(n) << (31 - whole);
    let mut fraction = 0;
    for _ in 0..16 {
        mantissa = (mantissa * mantissa) >> 31;
        let bit = (mantissa >> 32) as u32;
        mantissa >>= bit;
        fraction = (fraction << 1) | bit;
    }
    (whole << 16) | fraction
}

impl Costs {
    /// The costs under `tables`.
    pub fn new(tables: &ScaleTables) -> Costs {
        let bins = (0..tables.bins().len()).map(|index| {
            if index.is_multiple_of(BINS) {
                return BinCosts { near: [[0.0; _]; 2], entries: Vec::new(), low_bits: 0, first: 0 };
            }
            let bin = tables.coded(index as u8);
            let bits = |entry| {
                let width = u32::from(bin.span(entry).1.get());
                let q16 = (bin.low_bits << 16) + (16 << 16) - log2_q16(width);
                q16 as f32 / 65536.0
            };
            let entries = (0..=bin.escape()).map(bits).collect();
            let mut costs =
                BinCosts { near: [[0.0; _]; 2], entries, low_bits: bin.low_bits, first: bin.cell(0) };
            costs.near = [1, -1].map(|sign| std::array::from_fn(|i| costs.bits(sign * (i as i16 - 1))));
            costs
        });
        Costs { bins: bins.collect() }
    }

    /// Bits of `symbol` under `bin`. In bin 0 symbols are not coded.
    pub fn bits(&self, bin: u8, symbol: i16) -> f32 {
        self.bins[usize::from(bin)].bits(symbol)
    }

    /// Bits of four symbols from `first` on, which is at least -1, or of the same with
    /// the other sign.
    #[inline(always)]
    pub fn bits_of_four(&self, bin: u8, negative: bool, first: i16) -> [f32; 4] {
        let bin = &self.bins[usize::from(bin)];
        let start = (first + 1) as usize;
        match bin.near[usize::from(negative)].get(start..start + 4) {
            Some(bits) => bits.try_into().expect("four of them"),
            None => [0, 1, 2, 3].map(|i| bin.bits(if negative { -first - i } else { first + i })),
        }
    }
}

impl BinCosts {
    fn bits(&self, symbol: i16) -> f32 {
        let Some(escape) = self.entries.len().checked_sub(1) else { return 0.0 };
        let cell = i32::from(symbol) >> self.low_bits;
        match usize::try_from(cell - self.first) {
            Ok(entry) if entry < escape => self.entries[entry],
            _ => self.entries[escape] + escape::bits(Overshoot::of(cell, self.first, escape as i32)) as f32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logarithm_is_one() {
        for n in (1..=65536).step_by(7) {
            let exact = f64::from(n).log2();
            let got = f64::from(log2_q16(n)) / 65536.0;
            assert!((-1e-9..2e-5).contains(&(exact - got)), "{n}: {got}, not {exact}");
        }
    }

    #[test]
    fn four_costs_are_those_of_four_symbols() {
        let costs = Costs::new(&ScaleTables::dependent());
        for bin in (1..BINS as u8).chain(BINS as u8 + 1..2 * BINS as u8) {
            for first in (-1..60).chain([900, 29_000]) {
                for sign in [1, -1] {
                    let expected = [0, 1, 2, 3].map(|i| costs.bits(bin, sign * (first + i)));
                    assert_eq!(costs.bits_of_four(bin, sign < 0, first), expected, "bin {bin}, {first}");
                }
            }
        }
    }

    #[test]
    fn costs_are_those_of_the_probabilities() {
        let tables = ScaleTables::logistic();
        let costs = Costs::new(&tables);
        for bin in 1..BINS as u8 {
            for symbol in [-3000, -40, -7, -1, 0, 1, 2, 19, 300, 9000] {
                let (got, exact) = (f64::from(costs.bits(bin, symbol)), tables.cost(bin, symbol));
                assert!((got - exact).abs() < 1e-3, "bin {bin}, {symbol}: {got}, not {exact}");
            }
        }
        assert_eq!(costs.bits(0, 0), 0.0);
    }
}
