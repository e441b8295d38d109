//! What a network is: its description, its integer weights, its file. No
//! arithmetic on pictures happens here; see `nn` for that.

pub mod arch;
pub mod by_quality;
pub mod class_filters;
pub mod file;
pub mod layer;
pub mod quality;
pub mod registry;
pub mod restoration;
pub mod scale;
pub mod step;
mod tensors;
pub mod trellis;

use std::fmt;

pub use arch::{Arch, Part};
pub use by_quality::ByQuality;
pub use class_filters::ClassFilters;
pub use layer::Layer;
pub use quality::QualityIndex;
pub use restoration::{RestorationArch, RestorationModel, Task};
pub(crate) use tensors::Tensors;

use crate::entropy::ScaleTables;
use class_filters::QualityFilters;
use trellis::Trellis;

/// Everything a codec needs besides code. [`Model::read`] and [`Model::write`]
/// are its file, see `file`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// What people call it: lower-case letters, digits, `-`, `.` and `_`.
    pub name: String,
    /// The numbers its networks follow from.
    pub arch: Arch,
    /// In the order of [`Part::ALL`]; none where they were not read.
    pub networks: [ByQuality<Option<IntegerNetwork>>; 6],
    /// `ANCHORS x latents`: log2 of the quantisation steps, in y's integer units.
    pub y_step_log2: Vec<i16>,
    /// `ANCHORS x hyper_latents`: log2 of the quantisation steps, in z's integer units.
    pub z_step_log2: Vec<i16>,
    /// `ANCHORS x hyper_latents`: log2 of the scales of z, in quantisation steps.
    pub z_scale_log2: Vec<i16>,
    /// `hyper_latents x 2`: what the hyper-latents to the left and above predict of one, with
    /// [`PREDICTION_BITS`] fraction bits; empty where nothing is predicted.
    pub z_prediction: Vec<i16>,
    /// The states that latents go through; as many quantisers as the tables have.
    pub trellis: Trellis,
    /// The distributions of all symbols.
    pub tables: ScaleTables,
    /// The quality index of each whole quality from 0 to [`MAX_QUALITY`].
    pub quality_map: Vec<u8>,
    /// What corrects the pixels, if anything does.
    pub class_filters: Option<ClassFilters>,
    /// The model of this build whose file holds what this one's leaves out, since it is equal.
    pub base: Option<ModelId>,
}

/// Fraction bits of [`Model::z_prediction`].
pub const PREDICTION_BITS: u32 = 12;

/// The best quality a caller can ask for; 0 is the smallest file.
pub const MAX_QUALITY: u8 = 100;

impl Model {
    /// What corrects the pixels at a quality, if anything does.
    pub fn filters_at(&self, quality: QualityIndex) -> Option<QualityFilters> {
        self.class_filters.as_ref().map(|filters| filters.at(quality))
    }

    /// The quality index of a quality in `0.0..=100.0`, interpolated between the
    /// whole ones; `None` for other values.
    pub fn quality_index(&self, quality: f32) -> Option<QualityIndex> {
        if !(0.0..=f32::from(MAX_QUALITY)).contains(&quality) {
            return None;
        }
        // In 1/256: from here on integers, equal on every machine.
        let fixed = (quality * 256.0).round() as usize;
        let (whole, part) = (fixed / 256, (fixed % 256) as i32);
        let low = i32::from(self.quality_map[whole]);
        let high = i32::from(self.quality_map[(whole + 1).min(MAX_QUALITY.into())]);
        Some(QualityIndex(((low * 256 + (high - low) * part + 128) >> 8) as u8))
    }
}

/// What an encoded picture calls its model by: the first four bytes of the
/// SHA-256 of the model's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelId(pub [u8; 4]);

#[cfg(feature = "cli")]
impl ModelId {
    /// The id of a model file.
    pub fn of(file: &[u8]) -> ModelId {
        use sha2::{Digest, Sha256};
        let [a, b, c, d, ..] = Sha256::digest(file)[..] else { unreachable!("a digest has 32 bytes") };
        ModelId([a, b, c, d])
    }
}

impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

/// The integer parameters of one [`layer::Site`].
///
/// Accumulators are i32 and wrap. `requant` means
/// `saturate_i16((acc + bias + 2^(shift - 1)) >> shift)`, without the rounding
/// term where `shift` is 0; every addition wraps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SiteParams {
    /// `y[o] = requant(sum_i weights[o][i] * x[i])`.
    Pointwise {
        /// `outputs x inputs`, row-major.
        weights: Vec<i16>,
        /// Right shift per output, at most 30.
        shifts: Vec<u8>,
        /// `ANCHORS x outputs`, interpolated by [`QualityIndex::lerp`], at the accumulator's scale.
        biases: Vec<i32>,
    },
    /// `y[c] = requant(sum_k weights[k][c] * x[k][c])`, `k` over rows then columns of the 3x3 window.
    Depthwise {
        /// `9 x channels`, row-major.
        weights: Vec<i16>,
        /// Right shift per channel, at most 30.
        shifts: Vec<u8>,
        /// One per channel, at the accumulator's scale.
        biases: Vec<i32>,
    },
    /// `y[c] = saturate_i16((x[c] * clamp(x[c + channels], -limit, limit) + 2^(shift - 1)) >> shift)`.
    Gate {
        /// `GATE_LIMIT` at the second factor's scale.
        limit: i16,
        /// Right shift of the product, in `1..=30`.
        shift: u8,
    },
}

/// A network ready for the integer engine: a description and its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntegerNetwork {
    /// What to run.
    pub layers: Vec<Layer>,
    /// One entry for each of [`layer::sites`], in the same order.
    pub params: Vec<SiteParams>,
}
