//! Larger pictures.

use std::sync::Arc;

use image::DynamicImage;

use super::bicubic::resize;
use super::engine::Restorer;
use super::input::UpscaleInput;
use super::restorer;
use super::samples::{Samples, alpha_of};
use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::model::Task;
use crate::model::restoration::FACTORS;

/// How to enlarge.
#[derive(Debug, Clone)]
pub struct UpscaleOptions {
    /// How many times the width and height: 2, 3 or 4.
    pub factor: usize,
    /// What the enlarged picture may cost.
    pub limits: Limits,
    /// A model of the caller's.
    pub model: Option<Arc<Restorer>>,
}

impl Default for UpscaleOptions {
    fn default() -> Self {
        UpscaleOptions { factor: 2, limits: Limits::default(), model: None }
    }
}

/// Enlarges a picture; its alpha bicubically. Another factor than there is a
/// model for is [`Error::Parameter`].
pub fn upscale(picture: &DynamicImage, options: &UpscaleOptions) -> Result<DynamicImage> {
    let factor = options.factor;
    if !FACTORS.contains(&factor) {
        return Err(Error::Parameter(format!("factor {factor}: pictures are enlarged by 2, 3 or 4")));
    }
    let side = |pixels: u32| u32::try_from(u64::from(pixels) * factor as u64).unwrap_or(u32::MAX);
    options.limits.check(side(picture.width()), side(picture.height()))?;
    let samples = Samples::of(picture)?;
    let large = upscale_samples(&samples, options)?;
    let alpha = alpha_of(picture).map(|alpha| {
        let (from, to) = ((samples.width, samples.height), (large.width, large.height));
        resize(&alpha, 1, from, to)
    });
    Ok(large.to_picture(picture, alpha.as_deref()))
}

/// The same for samples.
pub fn upscale_samples(samples: &Samples, options: &UpscaleOptions) -> Result<Samples> {
    let factor = options.factor;
    let restorer = restorer(Task::Upscale(factor), &options.model)?;
    let mut large = samples.resized(samples.width * factor, samples.height * factor);
    restorer.add_to(&mut large, &UpscaleInput::new(&restorer.model().arch, samples));
    Ok(large)
}
