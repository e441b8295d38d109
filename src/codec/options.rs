//! What callers may choose.

use std::sync::Arc;

use super::prepared::PreparedModel;
use crate::limits::Limits;

/// The quality of [`EncodeOptions::default`].
pub const DEFAULT_QUALITY: f32 = 50.0;

/// Bits, in 1/256, that a squared error of one quantisation step is worth when
/// the encoder decides whether to move a symbol towards zero. The networks are
/// trained at 4.3 (high rates) to 8.7 bits.
pub const RDOQ_KAPPA_Q8: i32 = 8 << 8;

/// How to encode a picture.
#[derive(Debug, Clone)]
pub struct EncodeOptions {
    /// From 0, the smallest file, to 100, the best picture. Fractions count.
    pub quality: f32,
    /// The model; without one, the default of this build.
    pub model: Option<Arc<PreparedModel>>,
    /// See [`RDOQ_KAPPA_Q8`]. Any value makes a valid file.
    #[doc(hidden)]
    pub rdoq_kappa_q8: i32,
}

impl Default for EncodeOptions {
    fn default() -> Self {
        EncodeOptions { quality: DEFAULT_QUALITY, model: None, rdoq_kappa_q8: RDOQ_KAPPA_Q8 }
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
