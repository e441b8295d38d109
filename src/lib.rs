//! aecodec: a learned image codec whose files decode to the same pixels on
//! every machine.

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
pub mod tile;
#[cfg(feature = "train")]
pub mod train;

pub use codec::{DecodeOptions, EncodeOptions, Info, PreparedModel, decode, encode, metadata, probe};
pub use container::{Cicp, Colour, Metadata};
pub use error::{Error, Result};
pub use hooks::register_image_hooks;
pub use limits::Limits;

/// Lets the tests inside this crate share code with those outside.
#[cfg(test)]
extern crate self as aecodec;
