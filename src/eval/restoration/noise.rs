//! Noise from a fixed seed.

use std::fmt;

use super::Plane;
use crate::restore::Loss;

/// What is done to a picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Harm {
    /// Gaussian noise of this standard deviation is added, neither clipped nor rounded.
    Gaussian(f32),
    /// This share of the samples becomes black or white.
    SaltAndPepper(f64),
    /// This share of the pixels becomes black.
    Masking(f64),
}

impl Harm {
    /// All that is measured.
    pub const ALL: [Harm; 7] = [
        Harm::Gaussian(15.0),
        Harm::Gaussian(25.0),
        Harm::Gaussian(50.0),
        Harm::SaltAndPepper(0.1),
        Harm::SaltAndPepper(0.3),
        Harm::SaltAndPepper(0.5),
        Harm::Masking(0.5),
    ];

    /// The picture afterwards, how samples were lost, and the standard deviation.
    pub fn apply(self, clean: &Plane, seed: u64) -> (Plane, Loss, f32) {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5eed);
        let mut noisy = clean.clone();
        match self {
            Harm::Gaussian(sigma) => {
                noisy.rgb.iter_mut().for_each(|v| *v += sigma * random.normal());
                (noisy, Loss::None, sigma)
            }
            Harm::SaltAndPepper(share) => {
                for v in &mut noisy.rgb {
                    if random.uniform() < share {
                        *v = if random.uniform() < 0.5 { 0.0 } else { 255.0 };
                    }
                }
                (noisy, Loss::SaltAndPepper, 0.0)
            }
            Harm::Masking(share) => {
                for pixel in noisy.rgb.chunks_exact_mut(3) {
                    if random.uniform() < share {
                        pixel.fill(0.0);
                    }
                }
                (noisy, Loss::Masking, 0.0)
            }
        }
    }
}

impl fmt::Display for Harm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Harm::Gaussian(sigma) => write!(f, "sigma {sigma}"),
            Harm::SaltAndPepper(share) => write!(f, "salt and pepper {:.0} %", 100.0 * share),
            Harm::Masking(share) => write!(f, "{:.0} % of the pixels missing", 100.0 * share),
        }
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Within 0..1.
    fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// From the standard normal distribution (Box and Muller 1958).
    fn normal(&mut self) -> f32 {
        let u = 1.0 - self.uniform();
        ((-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_as_strong_as_it_says() {
        let clean = Plane { width: 100, height: 100, rgb: vec![100.0; 30_000] };
        let (noisy, _, sigma) = Harm::Gaussian(25.0).apply(&clean, 1);
        let square: f64 = noisy.rgb.iter().map(|v| f64::from(v - 100.0).powi(2)).sum();
        assert!(((square / 30_000.0).sqrt() / f64::from(sigma) - 1.0).abs() < 0.02);
        let (noisy, loss, _) = Harm::SaltAndPepper(0.3).apply(&clean, 1);
        let hit = noisy.rgb.iter().filter(|&&v| v != 100.0).count();
        assert!((hit as f64 / 9000.0 - 1.0).abs() < 0.05 && loss == Loss::SaltAndPepper);
        let (noisy, ..) = Harm::Masking(0.5).apply(&clean, 1);
        let hit = noisy.rgb.chunks(3).filter(|p| p == &[0.0; 3]).count();
        assert!((hit as f64 / 5000.0 - 1.0).abs() < 0.05);
    }
}
