//! Restoring pictures: without their noise ([`denoise`]), or larger ([`upscale`]).
//!
//! ```text
//! picture --samples--> fixed point --noise: levels, losses--> input --engine: network--> + picture
//! picture --samples--> fixed point --input--> engine: network --> + bicubic enlargement
//! ```
//!
//! Integers from pixel to pixel: a picture is restored to the same pixels on
//! every machine.

pub mod bicubic;
mod denoise;
mod engine;
pub mod input;
pub mod noise;
pub mod samples;
mod upscale;

use std::sync::Arc;

pub use denoise::{DenoiseOptions, Denoised, MAX_SIGMA, Noise, Sigma, denoise, denoise_samples};
pub use engine::Restorer;
pub use input::Loss;
pub use samples::Samples;
pub use upscale::{UpscaleOptions, upscale, upscale_samples};

use crate::error::{Error, Result};
use crate::model::Task;

/// The caller's model, or the embedded one; it has to be for this task.
fn restorer(task: Task, own: &Option<Arc<Restorer>>) -> Result<Arc<Restorer>> {
    match own {
        Some(own) if own.model().arch.task == task => Ok(Arc::clone(own)),
        Some(own) => Err(Error::Parameter(format!(
            "model '{}' is for {}, not for {}",
            own.model().name,
            own.model().arch.task.name(),
            task.name()
        ))),
        None => engine::embedded(task)?
            .ok_or_else(|| Error::Unsupported(format!("this build has no model for {}", task.name()))),
    }
}
