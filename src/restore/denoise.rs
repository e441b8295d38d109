//! Pictures without their noise.

use std::sync::Arc;

use image::DynamicImage;

use super::engine::Restorer;
use super::input::{DenoiseInput, Loss, NoiseLevels};
use super::samples::{BITS, Samples, alpha_of};
use super::{noise, restorer};
use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::model::Task;

/// The largest standard deviation that the networks have seen.
pub const MAX_SIGMA: f32 = 75.0;

/// What kind of noise a picture suffers from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Noise {
    /// Whatever is found in it.
    #[default]
    Auto,
    /// Additive and normally distributed, in every sample.
    Gaussian,
    /// Single samples are black or white; Gaussian noise in the others.
    SaltAndPepper,
    /// Pixels are missing, which are black; Gaussian noise in the others.
    Masking,
}

impl From<Loss> for Noise {
    fn from(loss: Loss) -> Noise {
        match loss {
            Loss::None => Noise::Gaussian,
            Loss::SaltAndPepper => Noise::SaltAndPepper,
            Loss::Masking => Noise::Masking,
        }
    }
}

/// The standard deviation of the Gaussian noise, on the 0..255 scale.
#[derive(Debug, Clone, Default)]
pub enum Sigma {
    /// As estimated from the picture.
    #[default]
    Auto,
    /// The same everywhere, from 0 to [`MAX_SIGMA`].
    Uniform(f32),
    /// At each pixel the grey value of a picture of the same size, 8 or 16 bits
    /// on the 0..255 scale.
    Map(DynamicImage),
}

/// How to denoise.
#[derive(Debug, Clone)]
pub struct DenoiseOptions {
    /// What to remove.
    pub noise: Noise,
    /// How much of it there is.
    pub sigma: Sigma,
    /// Multiplies the standard deviations that the network is told, from 0 to
    /// 4: above 1 smoother, below 1 more detail and more noise.
    pub strength: f32,
    /// What a picture may cost.
    pub limits: Limits,
    /// A model of the caller's.
    pub model: Option<Arc<Restorer>>,
}

impl Default for DenoiseOptions {
    fn default() -> Self {
        DenoiseOptions {
            noise: Noise::default(),
            sigma: Sigma::default(),
            strength: 1.0,
            limits: Limits::default(),
            model: None,
        }
    }
}

/// A denoised picture, and what was taken to be wrong with it.
#[derive(Debug, Clone)]
pub struct Denoised {
    /// The picture, of the type that was given; its alpha is untouched.
    pub picture: DynamicImage,
    /// The standard deviation of the Gaussian noise, given or estimated; of a
    /// map the mean.
    pub sigma: f32,
    /// How samples were lost.
    pub loss: Loss,
}

/// Removes noise. A standard deviation or a strength out of range and a map of
/// another size are [`Error::Parameter`].
pub fn denoise(picture: &DynamicImage, options: &DenoiseOptions) -> Result<Denoised> {
    options.limits.check(picture.width(), picture.height())?;
    let samples = Samples::of(picture)?;
    let (restored, sigma, loss) = denoise_samples(&samples, options)?;
    let picture = restored.to_picture(picture, alpha_of(picture).as_deref());
    Ok(Denoised { picture, sigma, loss })
}

/// The same for samples, which may lie beyond black and white: the restored
/// ones, the standard deviation and the loss as in [`Denoised`].
pub fn denoise_samples(samples: &Samples, options: &DenoiseOptions) -> Result<(Samples, f32, Loss)> {
    if !(0.0..=4.0).contains(&options.strength) {
        return Err(Error::Parameter(format!("strength {} is not within 0..4", options.strength)));
    }
    let restorer = restorer(Task::Denoise, &options.model)?;
    let loss = match options.noise {
        Noise::Auto => noise::losses(&samples.rgb, samples.width, samples.height),
        Noise::Gaussian => Loss::None,
        Noise::SaltAndPepper => Loss::SaltAndPepper,
        Noise::Masking => Loss::Masking,
    };
    let level = |sigma: f32| fixed((sigma * options.strength).min(MAX_SIGMA));
    let (levels, sigma) = match &options.sigma {
        Sigma::Auto => {
            let sigma = match loss {
                Loss::None => noise::estimate_sigma(&samples.rgb, samples.width, samples.height) as f32,
                // What is lost looks like noise of its own.
                Loss::SaltAndPepper | Loss::Masking => 0.0,
            };
            (NoiseLevels::Uniform(level(sigma)), sigma)
        }
        Sigma::Uniform(sigma) if (0.0..=MAX_SIGMA).contains(sigma) => {
            (NoiseLevels::Uniform(level(*sigma)), *sigma)
        }
        Sigma::Uniform(sigma) => {
            return Err(Error::Parameter(format!("sigma {sigma} is not within 0..{MAX_SIGMA}")));
        }
        Sigma::Map(map) => {
            if (map.width() as usize, map.height() as usize) != (samples.width, samples.height) {
                return Err(Error::Parameter(format!(
                    "a map of {}x{} pixels for a picture of {}x{}",
                    map.width(),
                    map.height(),
                    samples.width,
                    samples.height
                )));
            }
            let sigmas: Vec<f32> = map.to_luma16().pixels().map(|p| f32::from(p.0[0]) / 257.0).collect();
            let sum: f64 = sigmas.iter().map(|&sigma| f64::from(sigma)).sum();
            let mean = (sum / sigmas.len() as f64) as f32;
            (NoiseLevels::Map(sigmas.into_iter().map(level).collect()), mean)
        }
    };
    let input = DenoiseInput::new(&restorer.model().arch, samples, loss, &levels);
    let mut restored = samples.clone();
    restorer.add_to(&mut restored, &input);
    Ok((restored, sigma, loss))
}

/// A standard deviation in fixed point.
fn fixed(sigma: f32) -> i16 {
    (sigma * (1 << BITS) as f32 + 0.5) as i16
}
