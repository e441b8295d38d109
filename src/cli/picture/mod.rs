//! Pictures in and out: [`read`] what can be coded, [`write`] what was decoded.
//!
//! Nothing of a picture is lost without a word: what cannot be kept is an error
//! or a note to the user.

mod cmyk;
mod colour;
mod read;
mod write;

use std::path::Path;

use anyhow::Result;
use image::{DynamicImage, ImageFormat};

use aecodec::{Limits, Metadata};

use super::batch::with_notes;
use super::paths::Job;

pub use read::{read, read_pixels};
pub use write::{output_format, write};

/// A picture with what it carries.
#[derive(Debug)]
pub struct Picture {
    /// The pixels as they are stored, not turned upright.
    pub pixels: DynamicImage,
    /// Colour space, orientation, payloads.
    pub metadata: Metadata,
    /// What the user should know, in the order it happened.
    pub notes: Vec<String>,
}

/// Reads a job's picture, lets `change` at its pixels, and writes it with what it
/// carries. Returns the line to print about it; `change` says how the line ends.
pub fn rework(
    job: &Job,
    limits: &Limits,
    force: bool,
    change: impl FnOnce(&mut DynamicImage) -> Result<String>,
) -> Result<String> {
    let format = output_format(&job.output)?;
    job.output.check(force)?;
    let mut picture = read(&job.input, &job.input.read()?, limits, false)?;
    let told = change(&mut picture.pixels)?;
    job.output.write(&write(&mut picture, format)?, force)?;
    let (width, height) = (picture.pixels.width(), picture.pixels.height());
    let line = format!("{}: {width}x{height} from {}{told}", job.output, job.input);
    Ok(with_notes(line, &picture.notes))
}

impl From<DynamicImage> for Picture {
    /// Pixels that carry nothing.
    fn from(pixels: DynamicImage) -> Picture {
        Picture { pixels, metadata: Metadata::default(), notes: Vec::new() }
    }
}

/// Whether a file of this name may be a picture, going by its extension.
pub fn is_picture(path: &Path) -> bool {
    ImageFormat::from_path(path).is_ok_and(|format| format.reading_enabled())
}
