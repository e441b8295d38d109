//! What callers may choose.

use std::sync::Arc;

use super::prepared::PreparedModel;
use crate::container::Metadata;
use crate::limits::Limits;

/// The quality of [`EncodeOptions::default`].
pub const DEFAULT_QUALITY: f32 = 50.0;

/// How to encode a picture.
#[derive(Debug, Clone)]
pub struct EncodeOptions {
    /// From 0, the smallest file, to 100, the best picture. Fractions count.
    pub quality: f32,
    /// The same for alpha; without one, alpha is kept without loss.
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
}
