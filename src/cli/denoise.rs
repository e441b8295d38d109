//! `aecodec denoise`, and `image-denoise`: pictures without their noise.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use image::DynamicImage;

use aecodec::restore::{DenoiseOptions, Denoised, Loss, MAX_SIGMA, Noise, Restorer, Sigma, denoise};

use super::limits::LimitArgs;
use super::paths::{Conversion, Input, InputsOutput, plan};
use super::picture;
use super::{batch, model, within};

/// Remove noise from pictures; the output's extension says in which format
#[derive(Debug, Args)]
pub struct DenoiseArgs {
    /// Where to read and to write
    #[command(flatten)]
    io: InputsOutput,
    /// How much to remove
    #[command(flatten)]
    how: Denoising,
    /// What a picture may cost
    #[command(flatten)]
    limits: LimitArgs,
}

/// What noise there is and how much of it to remove.
#[derive(Debug, Args)]
struct Denoising {
    /// Standard deviation of the noise on the scale of 0 to 255; auto estimates it
    #[arg(long, default_value = "auto", value_name = "N", value_parser = parse_sigma)]
    sigma: SigmaArg,
    /// A grey picture of the same size whose values are the standard deviations
    #[arg(long, value_name = "FILE", conflicts_with = "sigma")]
    sigma_map: Option<PathBuf>,
    /// Above 1 smoother, below 1 more detail and more noise
    #[arg(long, default_value_t = 1.0, value_name = "0..4", value_parser = parse_strength)]
    strength: f32,
    /// The kind of noise
    #[arg(long, value_enum, default_value_t = NoiseArg::Auto)]
    noise: NoiseArg,
    /// The model file to denoise with, instead of that of this program
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
}

/// A standard deviation, as typed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SigmaArg {
    /// To be estimated.
    Auto,
    /// Given.
    Value(f32),
}

impl From<SigmaArg> for Sigma {
    fn from(sigma: SigmaArg) -> Sigma {
        match sigma {
            SigmaArg::Auto => Sigma::Auto,
            SigmaArg::Value(sigma) => Sigma::Uniform(sigma),
        }
    }
}

/// Kinds of noise, as typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum NoiseArg {
    /// Whatever is found
    Auto,
    /// In every sample
    Gaussian,
    /// Samples that are black or white
    SaltAndPepper,
    /// Pixels that are missing, and black
    Masking,
}

impl DenoiseArgs {
    /// Denoises every input.
    pub fn run(self) -> Result<()> {
        let Denoising { sigma, sigma_map, strength, noise, model } = self.how;
        let sigma = match &sigma_map {
            None => sigma.into(),
            Some(path) => {
                let input = Input::File(path.clone());
                let read = || picture::read_pixels(&input, &std::fs::read(path)?);
                Sigma::Map(read().with_context(|| format!("cannot read {}", path.display()))?)
            }
        };
        let noise = match noise {
            NoiseArg::Auto => Noise::Auto,
            NoiseArg::Gaussian => Noise::Gaussian,
            NoiseArg::SaltAndPepper => Noise::SaltAndPepper,
            NoiseArg::Masking => Noise::Masking,
        };
        let model: Option<Arc<Restorer>> = model.as_deref().map(model::restorer).transpose()?;
        let options = DenoiseOptions { noise, sigma, strength, limits: self.limits.limits(), model };
        let conversion = Conversion { wanted: picture::is_picture, what: "pictures", extension: "png" };
        let jobs = plan(&self.io.inputs, &self.io.output, conversion)?;
        batch::run(&jobs, "denoise", |job| {
            picture::rework(job, &options.limits, self.io.force, |pixels| {
                Ok(format!(", {}", apply(pixels, &options)?))
            })
        })
    }
}

/// Denoises pixels in place, and says of what.
pub fn apply(pixels: &mut DynamicImage, options: &DenoiseOptions) -> Result<String> {
    let Denoised { picture, sigma, loss } = denoise(pixels, options)?;
    *pixels = picture;
    let lost = match loss {
        Loss::None => "",
        Loss::SaltAndPepper => "salt and pepper, ",
        Loss::Masking => "missing pixels, ",
    };
    let origin = match (&options.sigma, loss) {
        (Sigma::Auto, Loss::None) => " (estimated)",
        (Sigma::Auto, _) => " (assumed)",
        (Sigma::Uniform(_), _) => "",
        (Sigma::Map(_), _) => " (mean of the map)",
    };
    Ok(format!("{lost}sigma {sigma:.1}{origin}"))
}

/// `auto` or a standard deviation.
pub fn parse_sigma(text: &str) -> Result<SigmaArg, String> {
    if text == "auto" {
        return Ok(SigmaArg::Auto);
    }
    within(text, MAX_SIGMA).map(SigmaArg::Value)
}

fn parse_strength(text: &str) -> Result<f32, String> {
    within(text, 4.0)
}
