//! Pictures in and out: [`read`] what can be coded, [`write`] what was decoded.
//!
//! Nothing of a picture is lost without a word: what cannot be kept is an error
//! or a note to the user.

mod cmyk;
mod colour;
mod read;
mod write;

use std::path::Path;

use image::{DynamicImage, ImageFormat};

use aecodec::Metadata;

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
