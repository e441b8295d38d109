//! Measuring denoisers and enlargers: quality and time, beside other methods.
//!
//! Noise is added with a fixed seed and, if it is Gaussian, neither clipped nor
//! rounded: every method gets the same floats. Enlargers get bicubically shrunk
//! pictures of 8 bits and are judged on luma, as papers do. Times are those of
//! the method alone: in process for ours, without the start of the interpreter
//! for others.

mod median;
mod noise;
mod peers;
mod table;

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use image::DynamicImage;

use super::decibel;
use crate::model::Task;
use crate::model::restoration::FACTORS;
use crate::restore::samples::{Samples, sample_of, value_of};
use crate::restore::{DenoiseOptions, Loss, Noise, Sigma, UpscaleOptions, denoise_samples, upscale_samples};

pub use noise::Harm;
pub use peers::runs;
pub use table::{Row, Table};

/// A picture to measure on, on the 0..255 scale.
#[derive(Debug, Clone)]
pub struct Plane {
    /// Pixels across.
    pub width: usize,
    /// Pixels down.
    pub height: usize,
    /// `height x width x 3`.
    pub rgb: Vec<f32>,
}

impl Plane {
    /// The colours of a picture, as 8 bits.
    pub fn of(picture: &DynamicImage) -> Plane {
        let rgb = picture.to_rgb8();
        let (width, height) = (rgb.width() as usize, rgb.height() as usize);
        Plane { width, height, rgb: rgb.iter().map(|&v| f32::from(v)).collect() }
    }

    fn of_samples(samples: &Samples) -> Plane {
        let rgb = samples.rgb.iter().map(|&v| value_of(v)).collect();
        Plane { width: samples.width, height: samples.height, rgb }
    }

    fn samples(&self) -> Samples {
        let rgb = self.rgb.iter().map(|&v| sample_of(v)).collect();
        Samples { width: self.width, height: self.height, rgb }
    }

    /// Stored as 8 bits.
    fn stored(mut self) -> Plane {
        self.rgb.iter_mut().for_each(|v| *v = v.round().clamp(0.0, 255.0));
        self
    }

    /// Luma, ITU-R BT.601 in the range of 16 to 235.
    fn luma(&self) -> Vec<f64> {
        let weigh = |p: &[f32]| {
            16.0 + (65.481 * f64::from(p[0]) + 128.553 * f64::from(p[1]) + 24.966 * f64::from(p[2])) / 255.0
        };
        self.rgb.chunks_exact(3).map(weigh).collect()
    }
}

/// PSNR in dB of a mean squared error, finite where there is none.
fn psnr(mse: f64) -> f64 {
    decibel(mse.max(1e-6))
}

/// PSNR over RGB.
fn psnr_rgb(a: &Plane, b: &Plane) -> f64 {
    let square: f64 = a.rgb.iter().zip(&b.rgb).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    psnr(square / a.rgb.len() as f64)
}

/// PSNR over luma, less a border.
fn psnr_luma(a: &Plane, b: &Plane, border: usize) -> f64 {
    let (x, y) = (a.luma(), b.luma());
    let (mut square, mut count) = (0.0, 0);
    for row in border..a.height.saturating_sub(border) {
        for column in border..a.width.saturating_sub(border) {
            square += (x[row * a.width + column] - y[row * a.width + column]).powi(2);
            count += 1;
        }
    }
    psnr(square / f64::from(count.max(1)))
}

/// What is measured, on which pictures.
pub struct Bench<'a> {
    /// Names and pictures.
    pub pictures: &'a [(String, DynamicImage)],
    /// How ours denoises; noise and sigma are set by the bench.
    pub denoise: DenoiseOptions,
    /// How ours enlarges; the factor is set by the bench.
    pub upscale: UpscaleOptions,
    /// The interpreter that runs other methods, and a folder for what passes between.
    pub python: Option<(&'a Path, &'a Path)>,
    /// Told of each step.
    pub progress: &'a (dyn Fn(&str) + Sync),
}

/// A restored picture and the seconds it took.
type Restored = Result<(Plane, f64)>;

impl Bench<'_> {
    /// Every kind of noise, every method.
    pub fn denoise(&self) -> Result<Table> {
        let mut table = Table::new("noise", "PSNR-RGB, dB");
        for harm in Harm::ALL {
            let mut row = Row::new(harm.to_string());
            for (index, (name, picture)) in self.pictures.iter().enumerate() {
                (self.progress)(&format!("{harm}: {name}"));
                let clean = Plane::of(picture);
                let (noisy, loss, sigma) = harm.apply(&clean, index as u64);
                let note = |row: &mut Row, method: &str, restored: Restored| -> Result<()> {
                    let (plane, seconds) = restored.with_context(|| format!("{method} on {name}"))?;
                    row.add(method, psnr_rgb(&clean, &plane.stored()), seconds);
                    Ok(())
                };
                row.add("noisy", psnr_rgb(&clean, &noisy), 0.0);
                let told = DenoiseOptions {
                    noise: loss.into(),
                    sigma: Sigma::Uniform(sigma),
                    ..self.denoise.clone()
                };
                note(&mut row, "aecodec", ours(&noisy, &told))?;
                let found = DenoiseOptions { noise: Noise::Auto, sigma: Sigma::Auto, ..self.denoise.clone() };
                note(&mut row, "aecodec auto", ours(&noisy, &found))?;
                if loss == Loss::SaltAndPepper {
                    let start = Instant::now();
                    let restored = median::adaptive_median(&noisy);
                    note(&mut row, "adaptive median", Ok((restored, start.elapsed().as_secs_f64())))?;
                }
                if let Some((python, folder)) = self.python {
                    for method in peers::denoisers(loss) {
                        note(&mut row, method, peers::run(python, folder, method, &noisy, sigma, 1))?;
                    }
                }
            }
            table.rows.push(row);
        }
        Ok(table)
    }

    /// How far the estimated noise levels are off, and what becomes of clean pictures.
    pub fn estimates(&self) -> Result<String> {
        let mut text = String::from(
            "| sigma | estimated, mean | largest error | within 10 % |\n|---:|---:|---:|---:|\n",
        );
        for sigma in [5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0f32] {
            let mut found = Vec::new();
            for (index, (_, picture)) in self.pictures.iter().enumerate() {
                let (noisy, ..) = Harm::Gaussian(sigma).apply(&Plane::of(picture), index as u64);
                let Samples { width, height, rgb } = noisy.samples();
                found.push(crate::restore::noise::estimate_sigma(&rgb, width, height));
            }
            let n = found.len() as f64;
            let errors = found.iter().map(|f| (f / f64::from(sigma) - 1.0).abs());
            text += &format!(
                "| {sigma} | {:.2} | {:.1} % | {:.0} % |\n",
                found.iter().sum::<f64>() / n,
                100.0 * errors.clone().fold(0.0, f64::max),
                100.0 * errors.filter(|e| *e <= 0.1).count() as f64 / n
            );
        }
        let mut least = f64::INFINITY;
        let mut mean = 0.0;
        for (_, picture) in self.pictures {
            let clean = Plane::of(picture);
            let restored = ours(&clean, &self.denoise)?.0.stored();
            let psnr = psnr_rgb(&clean, &restored).min(99.0);
            least = least.min(psnr);
            mean += psnr / self.pictures.len() as f64;
        }
        Ok(text
            + &format!(
                "\nPictures without noise: {mean:.1} dB to the input (mean), {least:.1} dB (least).\n"
            ))
    }

    /// Every factor, every method.
    pub fn upscale(&self) -> Result<Table> {
        let mut table = Table::new("factor", "PSNR-Y, dB");
        // A model of the caller's knows one factor.
        let own = self.upscale.model.as_ref().map(|model| model.model().arch.task);
        let wanted = |factor: &usize| own.is_none_or(|task| task == Task::Upscale(*factor));
        for factor in FACTORS.into_iter().filter(wanted) {
            let mut row = Row::new(format!("x{factor}"));
            for (name, picture) in self.pictures {
                (self.progress)(&format!("x{factor}: {name}"));
                let mut clean = Plane::of(picture);
                clean.crop_to_multiple(factor);
                let samples = clean.samples();
                let small = samples.resized(samples.width / factor, samples.height / factor).stored();
                let mut note = |method: &str, plane: Plane, seconds: f64| {
                    row.add(method, psnr_luma(&clean, &plane.stored(), factor), seconds);
                };
                let start = Instant::now();
                let bicubic = small.resized(clean.width, clean.height);
                note("bicubic", Plane::of_samples(&bicubic), start.elapsed().as_secs_f64());
                let options = UpscaleOptions { factor, ..self.upscale.clone() };
                let start = Instant::now();
                let large = upscale_samples(&small, &options)?;
                note("aecodec", Plane::of_samples(&large), start.elapsed().as_secs_f64());
                if let Some((python, folder)) = self.python {
                    let small = Plane::of_samples(&small);
                    for method in peers::ENLARGERS {
                        let (plane, seconds) = peers::run(python, folder, method, &small, 0.0, factor)
                            .with_context(|| format!("{method} on {name}"))?;
                        note(method, plane, seconds);
                    }
                }
            }
            table.rows.push(row);
        }
        Ok(table)
    }
}

/// Ours, on floats.
fn ours(noisy: &Plane, options: &DenoiseOptions) -> Restored {
    let samples = noisy.samples();
    let start = Instant::now();
    let (restored, ..) = denoise_samples(&samples, options)?;
    let seconds = start.elapsed().as_secs_f64();
    Ok((Plane::of_samples(&restored), seconds))
}

impl Plane {
    /// Drops what exceeds a multiple of `factor` at the right and below.
    fn crop_to_multiple(&mut self, factor: usize) {
        let (width, height) = (self.width / factor * factor, self.height / factor * factor);
        let rows = self.rgb.chunks_exact(self.width * 3).take(height);
        self.rgb = rows.flat_map(|row| &row[..width * 3]).copied().collect();
        (self.width, self.height) = (width, height);
    }
}
