//! What symbols cost, for encoders that weigh bits against errors.

use super::escape;
use super::tables::{BINS, ScaleTables};

/// Bits of every symbol under every bin: the same numbers on every machine.
#[derive(Debug)]
pub struct Costs<'t> {
    tables: &'t ScaleTables,
    /// Of each entry of each bin from 1 on, its raw low bits included.
    entries: Vec<Vec<f32>>,
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

impl<'t> Costs<'t> {
    /// The costs under `tables`.
    pub fn new(tables: &'t ScaleTables) -> Costs<'t> {
        let entries = (1..BINS)
            .map(|bin| {
                let bin = tables.coded(bin as u8);
                let bits = |entry| {
                    let width = u32::from(bin.span(entry).1.get());
                    let q16 = (bin.low_bits << 16) + (16 << 16) - log2_q16(width);
                    q16 as f32 / 65536.0
                };
                (0..=bin.escape()).map(bits).collect()
            })
            .collect();
        Costs { tables, entries }
    }

    /// Bits of `symbol` under `bin`. In bin 0 symbols are not coded.
    pub fn bits(&self, bin: u8, symbol: i16) -> f32 {
        if bin == 0 {
            return 0.0;
        }
        let entries = &self.entries[usize::from(bin) - 1];
        let bin = self.tables.coded(bin);
        let cell = i32::from(symbol) >> bin.low_bits;
        match bin.entry(cell) {
            Some(entry) => entries[usize::from(entry)],
            None => entries[usize::from(bin.escape())] + escape::bits(bin.overshoot(cell)) as f32,
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
