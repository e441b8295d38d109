//! Quantisation steps in integers: `2^v` for a fixed-point `v`, and the two
//! products the codec forms with it.

use super::quality::LOG2_BITS;

/// `2^(i / 32)` in Q15.
const COARSE: [u32; 32] = [
    32768, 33486, 34219, 34968, 35734, 36516, 37316, 38133, 38968, 39821, 40693, 41584, 42495, 43425, 44376,
    45348, 46341, 47356, 48393, 49452, 50535, 51642, 52773, 53928, 55109, 56316, 57549, 58809, 60097, 61413,
    62757, 64132,
];
/// `2^(i / 1024)` in Q15.
const FINE: [u32; 32] = [
    32768, 32790, 32812, 32835, 32857, 32879, 32901, 32924, 32946, 32968, 32991, 33013, 33035, 33058, 33080,
    33102, 33125, 33147, 33170, 33192, 33215, 33237, 33260, 33282, 33305, 33327, 33350, 33372, 33395, 33418,
    33440, 33463,
];

/// A positive quantisation step, `mantissa * 2^(exponent - 15)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// In `32768..=65535`.
    mantissa: u32,
    exponent: i32,
}

impl Step {
    /// The step `2^(log2 / 1024)`. `log2` is clamped to the range -8..14 octaves
    /// that a model may use.
    pub fn from_log2(log2: i32) -> Step {
        let log2 = log2.clamp(-8 << LOG2_BITS, 14 << LOG2_BITS);
        let fraction = (log2 & ((1 << LOG2_BITS) - 1)) as usize;
        let mantissa = (COARSE[fraction >> 5] * FINE[fraction & 31] + (1 << 14)) >> 15;
        Step { mantissa: mantissa.min(65535), exponent: log2 >> LOG2_BITS }
    }

    /// `round(symbol * step)`, halves up. `symbol` has up to 17 bits: the result is below
    /// 2^31 in magnitude, since the largest step is 2^14.
    #[inline]
    pub fn dequantize(self, symbol: i32) -> i32 {
        let product = i64::from(symbol) * i64::from(self.mantissa);
        // Rounding after all bits but one are gone gives the same.
        (((product >> (14 - self.exponent)) + 1) >> 1) as i32
    }

    /// Half the step.
    pub fn half(self) -> Step {
        Step { exponent: self.exponent - 1, ..self }
    }

    /// The step as a float, exactly.
    pub fn to_f32(self) -> f32 {
        // 16 bits of mantissa and an exponent of at most 14 are exact.
        self.mantissa as f32 * f32::from_bits(((127 + self.exponent - 15) as u32) << 23)
    }

    /// `value / step` in units of 1/256, rounded to nearest, halves away from zero.
    pub fn quotient_q8(self, value: i32) -> i32 {
        let numerator = i64::from(value.unsigned_abs()) << (15 - self.exponent + 8);
        let half = i64::from(self.mantissa) / 2;
        let magnitude = ((numerator + half) / i64::from(self.mantissa)).min(1 << 30) as i32;
        if value < 0 { -magnitude } else { magnitude }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_powers_of_two_to_four_digits() {
        for log2 in (-8 << LOG2_BITS)..(14 << LOG2_BITS) {
            let step = Step::from_log2(log2);
            let exact = (f64::from(log2) / 1024.0).exp2();
            let got = f64::from(step.mantissa) * f64::from(step.exponent - 15).exp2();
            assert!((got / exact - 1.0).abs() < 1e-4, "{log2}: {got} {exact}");
        }
    }

    #[test]
    fn quotient_undoes_dequantize() {
        for log2 in [0, 1500, 4000, 9000] {
            let step = Step::from_log2(log2);
            for symbol in [-120, -3, -1, 0, 1, 2, 17, 130] {
                let q8 = step.quotient_q8(step.dequantize(symbol));
                assert!((q8 - symbol * 256).abs() <= 128, "{log2} {symbol} {q8}");
            }
        }
    }
}
