//! aecodec: a learned image codec whose files decode to the same pixels on
//! every machine.

#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
pub mod codec;
pub mod container;
pub mod entropy;
pub mod error;
#[cfg(feature = "cli")]
pub mod eval;
pub mod hooks;
pub mod limits;
pub mod model;
pub mod nn;
pub mod restore;
pub mod tile;
#[cfg(feature = "train")]
pub mod train;

pub use codec::{
    DecodeOptions, EncodeOptions, Info, PreparedModel, Region, Scale, decode, encode, metadata, probe,
};
pub use container::{Cicp, Colour, Metadata};
pub use error::{Error, Result};
pub use hooks::register_image_hooks;
pub use limits::Limits;
pub use restore::{DenoiseOptions, UpscaleOptions, denoise, upscale};

/// Lets the commands, and the tests inside this crate that share code with
/// those outside, use it as others do.
#[cfg(any(test, feature = "cli"))]
extern crate self as aecodec;
