//! The two pipelines; the only place where bytes, symbols, tensors and pixels meet.
//!
//! ```text
//! encode  pixels -> g_a -> y | per tile: refine, filter_fit, latents::write | container -> bytes
//! decode  bytes -> container | per tile: reading::read | y_hat -> g_s -> correction -> pixels
//! ```
//!
//! Both directions walk a tile's latents with the same code, see `latents`.

mod alpha;
mod classes;
mod clipped;
mod correction;
mod decode;
mod encode;
mod filter;
mod filter_fit;
mod hidden;
mod latents;
mod lines;
mod map;
mod options;
mod pixels;
mod prediction;
mod prepared;
mod reading;
mod refine;
mod row;
mod synthesis;
mod tensors;
#[cfg(feature = "train")]
pub(crate) mod training;
mod trellis;
mod view;

pub use decode::{Info, decode, metadata, probe};
pub use encode::encode;
#[cfg(feature = "train")]
pub(crate) use map::symbols;
pub use map::{BitMap, bit_map};
pub use options::{DEFAULT_EFFORT, DEFAULT_QUALITY, DecodeOptions, EncodeOptions, MAX_EFFORT};
pub use prepared::PreparedModel;
pub use view::{Region, Scale};

#[cfg(test)]
mod tests;
