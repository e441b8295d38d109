//! The scale at which weights become integers.

/// Bound on the sum of a row's weight magnitudes: with 16-bit activations it
/// leaves the 32-bit accumulator one bit of headroom against the worst case
/// that real activations never come near.
const ROW_SUM: f64 = (1 << 17) as f64;
/// Largest shift that is worth having.
const MOST: u8 = 24;

/// `2^exponent`, exactly.
pub fn power(exponent: i32) -> f64 {
    f64::from_bits(((exponent.clamp(-1022, 1023) + 1023) as u64) << 52)
}

/// The largest shift at which a row of weights fits 16 bits, its magnitudes sum
/// to at most 2^17 and its offsets fit 30 bits; `None` where there is none.
pub fn row_shift(row: &[f64], offsets: &[f64]) -> Option<u8> {
    let sum: f64 = row.iter().map(|w| w.abs()).sum();
    let largest = |values: &[f64]| values.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    let (peak, offset) = (largest(row), largest(offsets));
    (0..=MOST).rev().find(|&shift| {
        let scale = power(shift.into());
        sum * scale <= ROW_SUM && peak * scale <= 32767.0 && offset * scale <= f64::from(1 << 30)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_get_the_finest_scale_that_fits() {
        assert_eq!((power(0), power(-3), power(10)), (1.0, 0.125, 1024.0));
        assert_eq!(row_shift(&[0.5], &[]), Some(15));
        assert_eq!(row_shift(&[1.0; 8], &[]), Some(14));
        assert_eq!(row_shift(&[1.0; 16], &[]), Some(13));
        assert_eq!(row_shift(&[1.0], &[f64::from(1 << 20)]), Some(10));
        assert_eq!(row_shift(&[0.0], &[0.0]), Some(MOST));
        assert_eq!(row_shift(&[40000.0], &[]), None);
    }
}
