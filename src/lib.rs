//! aecodec: a learned image codec whose files decode to the same pixels on
//! every machine.
#![allow(missing_docs)] // TODO remove

pub mod entropy;
pub mod error;
pub mod model;
pub mod nn;

pub use error::{Error, Result};
