//! What a network is: its description, its integer weights, its file. No
//! arithmetic on pictures happens here; see `nn` for that.

pub mod arch;
pub mod file;
pub mod layer;
pub mod quality;
pub mod step;

pub use arch::{Arch, Part};
pub use layer::Layer;
pub use quality::QualityIndex;

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
