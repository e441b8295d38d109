//! What callers may choose.

use std::sync::Arc;

use super::prepared::PreparedModel;
use super::refine;
use super::view::{Region, Scale};
use crate::container::Metadata;
use crate::limits::Limits;

/// The quality of [`EncodeOptions::default`].
pub const DEFAULT_QUALITY: f32 = 50.0;

/// The effort of [`EncodeOptions::default`].
pub const DEFAULT_EFFORT: u8 = 2;

/// The most effort a caller can ask for.
pub const MAX_EFFORT: u8 = refine::MAX_EFFORT;

/// How to encode a picture.
#[derive(Debug, Clone)]
pub struct EncodeOptions {
    /// From 0, the smallest file, to 100, the best picture. Fractions count.
    pub quality: f32,
    /// How long to look for a smaller file and a better picture, up to [`MAX_EFFORT`]. From 1 on
    /// pixels may go through a filter fitted to the picture, from 2 on there is a search for
    /// better symbols.
    pub effort: u8,
    /// The quality of alpha; without one, alpha is kept without loss.
    pub alpha_quality: Option<f32>,
    /// The model; without one, the default of this build.
    pub model: Option<Arc<PreparedModel>>,
    /// What the file carries beside the pixels.
    pub metadata: Metadata,
}

impl Default for EncodeOptions {
    fn default() -> Self {
        EncodeOptions {
            quality: DEFAULT_QUALITY,
            effort: DEFAULT_EFFORT,
            alpha_quality: None,
            model: None,
            metadata: Metadata::default(),
        }
    }
}

/// How to decode a picture.
#[derive(Debug, Clone, Default)]
pub struct DecodeOptions {
    /// Models besides those of this build.
    pub models: Vec<Arc<PreparedModel>>,
    /// The largest picture to decode.
    pub limits: Limits,
    /// Decode these pixels only; all, if left out. Only the tiles they depend on
    /// are read.
    pub region: Option<Region>,
    /// How much smaller to decode.
    pub scale: Scale,
}
