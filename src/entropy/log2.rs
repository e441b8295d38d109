//! Base-2 logarithms in integers, equal on every machine.

/// `log2(value)` in units of 1/256, rounded down; `value` is at least 1.
pub(super) fn log2_q8(value: u32) -> u32 {
    let whole = value.ilog2();
    // The mantissa in [1, 2), 31 fraction bits; each squaring yields one bit.
    let mut mantissa = u64::from(value) << (31 - whole);
    let mut log = whole;
    for _ in 0..8 {
        mantissa = (mantissa * mantissa) >> 31;
        let bit = (mantissa >> 32) as u32;
        log = 2 * log + bit;
        mantissa >>= bit;
    }
    log
}

#[cfg(test)]
mod tests {
    use super::log2_q8;

    #[test]
    fn agrees_with_floats() {
        for value in 1..=65536u32 {
            let exact = f64::from(value).log2() * 256.0;
            let got = f64::from(log2_q8(value));
            assert!(got <= exact && got > exact - 1.001, "{value}: {got} {exact}");
        }
    }
}
