//! What a restoring network is shown: pictures with noise, or shrunk.

use rand::Rng;
use rand::rngs::StdRng;

use super::kernels::Geometry;
use crate::model::{RestorationArch, Task};
use crate::nn::Source;
use crate::restore::input::{DenoiseInput, NoiseLevels, UpscaleInput};
use crate::restore::samples::{BITS, BLACK, Samples, WHITE, sample_of, value_of};
use crate::restore::{Loss, MAX_SIGMA};

/// Fraction bits of the networks' integers relative to the trainer's floats,
/// whose unit is [`super::model::PIXEL_SCALE`].
pub const UNIT_BITS: i32 = 6 + BITS as i32;
/// Floats are integers divided by this.
const UNIT: f32 = (1 << UNIT_BITS) as f32;

/// One crop as the network sees it, and what it should add.
pub struct Example {
    /// `positions x inputs`.
    pub input: Vec<f32>,
    /// `positions x outputs`.
    pub target: Vec<f32>,
    /// Positions down and across.
    pub geometry: Geometry,
}

/// What was done to a picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Degradation {
    /// Gaussian noise whose level changes from left to right.
    Gaussian {
        /// Standard deviation at the left edge.
        left: f32,
        /// Standard deviation at the right edge.
        right: f32,
        /// Whether the result is rounded and clamped to 8 bits.
        stored: bool,
    },
    /// Samples that became black or white.
    SaltAndPepper {
        /// The share of them.
        share: f64,
        /// Standard deviation of Gaussian noise in the others.
        sigma: f32,
    },
    /// Squares that became black.
    Masking {
        /// The share of them.
        share: f64,
        /// Their side in pixels.
        side: usize,
        /// Standard deviation of Gaussian noise in the others.
        sigma: f32,
    },
    /// It was shrunk bicubically and stored as 8 bits.
    Shrunk {
        /// So many times; its sides are multiples.
        factor: usize,
    },
}

impl Degradation {
    /// Draws one for a task; `position` in 0..1 says how strong.
    pub fn draw(task: Task, rng: &mut StdRng, position: f32) -> Degradation {
        match task {
            Task::Denoise => Degradation::draw_noise(rng, position),
            Task::Upscale(factor) => Degradation::Shrunk { factor },
        }
    }

    /// What networks for a task are measured with.
    pub fn looks(task: Task) -> Vec<Degradation> {
        let gaussian = |sigma| Degradation::Gaussian { left: sigma, right: sigma, stored: false };
        match task {
            Task::Denoise => vec![
                gaussian(15.0),
                gaussian(25.0),
                gaussian(50.0),
                Degradation::SaltAndPepper { share: 0.3, sigma: 0.0 },
                Degradation::Masking { share: 0.5, side: 1, sigma: 0.0 },
            ],
            Task::Upscale(factor) => vec![Degradation::Shrunk { factor }],
        }
    }

    fn draw_noise(rng: &mut StdRng, position: f32) -> Degradation {
        // Faint noise, which leaves more to be kept, is drawn more often.
        let sigma = MAX_SIGMA * position * position.sqrt();
        let faint = if rng.random_bool(0.3) { rng.random_range(0.0..25.0) } else { 0.0 };
        match rng.random_range(0..20) {
            0 => Degradation::SaltAndPepper { share: f64::from(0.02 + 0.68 * position), sigma: faint },
            1 if rng.random_bool(0.3) => {
                Degradation::Masking { share: f64::from(0.02 + 0.48 * position), side: 8, sigma: faint }
            }
            1 => Degradation::Masking { share: f64::from(0.05 + 0.75 * position), side: 1, sigma: faint },
            2..4 => {
                let other = rng.random_range(0.0..MAX_SIGMA);
                Degradation::Gaussian { left: sigma, right: other, stored: rng.random_bool(0.5) }
            }
            _ => Degradation::Gaussian { left: sigma, right: sigma, stored: rng.random_bool(0.5) },
        }
    }

    /// The samples afterwards, how they were lost, and the noise levels.
    pub fn apply(self, rng: &mut StdRng, clean: &Samples) -> (Samples, Loss, NoiseLevels) {
        let Samples { width, height, .. } = *clean;
        let mut noisy = clean.clone();
        let level = |sigma: f32| (sigma * (1 << BITS) as f32) as i16;
        let add = |rng: &mut StdRng, noisy: &mut Samples, left: f32, right: f32, stored: bool| {
            for (i, v) in noisy.rgb.iter_mut().enumerate() {
                let across = (i / 3 % width) as f32 / width as f32;
                let value = value_of(*v) + (left + (right - left) * across) * normal(rng);
                *v = sample_of(if stored { value.round().clamp(0.0, 255.0) } else { value });
            }
        };
        match self {
            Degradation::Gaussian { left, right, stored } => {
                add(rng, &mut noisy, left, right, stored);
                let levels = match left == right {
                    true => NoiseLevels::Uniform(level(left)),
                    false => NoiseLevels::Map(
                        (0..width * height)
                            .map(|i| level(left + (right - left) * (i % width) as f32 / width as f32))
                            .collect(),
                    ),
                };
                (noisy, Loss::None, levels)
            }
            Degradation::SaltAndPepper { share, sigma } => {
                add(rng, &mut noisy, sigma, sigma, true);
                for v in &mut noisy.rgb {
                    if rng.random_bool(share) {
                        *v = if rng.random_bool(0.5) { BLACK } else { WHITE };
                    }
                }
                (noisy, Loss::SaltAndPepper, NoiseLevels::Uniform(level(sigma)))
            }
            Degradation::Masking { share, side, sigma } => {
                add(rng, &mut noisy, sigma, sigma, true);
                let across = width.div_ceil(side);
                let masked: Vec<bool> =
                    (0..across * height.div_ceil(side)).map(|_| rng.random_bool(share)).collect();
                for (i, pixel) in noisy.rgb.chunks_exact_mut(3).enumerate() {
                    if masked[i / width / side * across + i % width / side] {
                        pixel.fill(BLACK);
                    }
                }
                (noisy, Loss::Masking, NoiseLevels::Uniform(level(sigma)))
            }
            Degradation::Shrunk { factor } => {
                let small = clean.resized(width / factor, height / factor).stored();
                (small, Loss::None, NoiseLevels::Uniform(0))
            }
        }
    }
}

/// A draw from the standard normal distribution (Box and Muller 1958).
fn normal(rng: &mut StdRng) -> f32 {
    let (u, v): (f32, f32) = (rng.random_range(f32::MIN_POSITIVE..1.0), rng.random_range(0.0..1.0));
    (-2.0 * u.ln()).sqrt() * (std::f32::consts::TAU * v).cos()
}

/// The clean samples of 8-bit RGB.
pub fn clean(rgb: &[u8], width: usize, height: usize) -> Samples {
    Samples { width, height, rgb: rgb.iter().map(|&v| sample_of(f32::from(v))).collect() }
}

/// A picture, degraded, as a network sees it.
pub fn example(
    arch: &RestorationArch,
    clean: &Samples,
    degradation: Degradation,
    rng: &mut StdRng,
) -> Example {
    let (degraded, loss, levels) = degradation.apply(rng, clean);
    match arch.task {
        Task::Denoise => {
            difference(arch, &DenoiseInput::new(arch, &degraded, loss, &levels), &degraded, clean)
        }
        Task::Upscale(_) => {
            let base = degraded.resized(clean.width, clean.height);
            difference(arch, &UpscaleInput::new(arch, &degraded), &base, clean)
        }
    }
}

/// What is read, and the difference between `clean` and what it is added to.
fn difference(arch: &RestorationArch, source: &impl Source, base: &Samples, clean: &Samples) -> Example {
    let [height, width, channels] = source.size();
    let mut row = vec![0i16; width * channels];
    let mut input = Vec::with_capacity(height * width * channels);
    for y in 0..height {
        source.read(y, 0..width, &mut row);
        input.extend(row.iter().map(|&v| f32::from(v) / UNIT));
    }
    let block = arch.task.output_block();
    let mut target = Vec::with_capacity(height * width * arch.task.outputs());
    for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
        for dy in 0..block {
            // Positions beyond the picture repeat its last pixels.
            let y = (y * block + dy).min(clean.height - 1);
            for dx in 0..block {
                let at = (y * clean.width + (x * block + dx).min(clean.width - 1)) * 3;
                target
                    .extend((at..at + 3).map(|i| (f32::from(clean.rgb[i]) - f32::from(base.rgb[i])) / UNIT));
            }
        }
    }
    Example { input, target, geometry: Geometry { batch: 1, height, width } }
}
