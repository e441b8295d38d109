//! The quality index, and the integer interpolation between trained anchors.

/// Quality anchors with parameters of their own; indices between two anchors
/// interpolate.
pub const ANCHORS: usize = 9;
/// Indices from one anchor to the next.
pub const STEPS: i32 = 32;
/// Fraction bits of every base-2 logarithm in a model: quantisation steps and scales.
pub const LOG2_BITS: u32 = 10;

/// Lambda of quality index 0, in bits per pixel per unit of squared error on
/// the 0..255 scale.
pub const LAMBDA_MIN: f64 = 0.00018;
/// Lambda grows by this factor from anchor to anchor.
pub const LAMBDA_RATIO: f64 = 2.756;
/// And by its 32nd root from index to index.
const LAMBDA_STEP: f64 = 1.0321878090710561;

/// Where a picture stands on the rate-distortion curve: 0 is the smallest file,
/// 255 the best picture. One index is a step of 3.2 % in lambda.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QualityIndex(pub u8);

impl QualityIndex {
    /// The anchor below, and how far on to the next, in `0..STEPS`.
    pub fn split(self) -> (usize, i32) {
        (self.0 as usize / STEPS as usize, i32::from(self.0) % STEPS)
    }

    /// The trade-off this index was trained for: bits per pixel that may be
    /// spent to lower the mean squared error (0..255 scale) by one. Products alone, which are the
    /// same on every machine, as powers are not: an encoder's choices depend on it.
    pub fn lambda(self) -> f64 {
        (0..self.0).fold(LAMBDA_MIN, |lambda, _| lambda * LAMBDA_STEP)
    }

    /// Interpolates one row out of `ANCHORS` rows of `width` integers, rounding
    /// halves up: `(a * (STEPS - f) + b * f + STEPS / 2) / STEPS`, floored.
    pub fn lerp<T: Copy + Into<i64>>(self, rows: &[T], width: usize) -> Vec<i32> {
        assert_eq!(rows.len(), ANCHORS * width, "anchored rows of another width");
        let (anchor, f) = self.split();
        let (a, b) = (&rows[anchor * width..][..width], &rows[(anchor + 1) * width..][..width]);
        let (f, steps) = (i64::from(f), i64::from(STEPS));
        a.iter()
            .zip(b)
            .map(|(&a, &b)| (a.into() * (steps - f) + b.into() * f + steps / 2).div_euclid(steps) as i32)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lambda_grows_by_the_ratio_from_anchor_to_anchor() {
        for index in 0..=255u8 {
            let power = LAMBDA_MIN * LAMBDA_RATIO.powf(f64::from(index) / f64::from(STEPS));
            let lambda = QualityIndex(index).lambda();
            assert!((lambda / power - 1.0).abs() < 1e-13, "{lambda} instead of {power} at {index}");
        }
    }
}
