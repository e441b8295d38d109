//! Training and export, the only folder that knows candle.
//!
//! Read [`trainer`] first: it is the whole loop. [`model`] is the forward pass
//! and the objective, [`net`] interprets the layer lists of `crate::model` in
//! floats, [`export`] turns the result into the integers that ship.

#[cfg_attr(not(target_arch = "x86_64"), path = "amx_absent.rs")]
pub mod amx;
pub mod buffer;
pub mod calibrate;
pub mod checkerboard;
pub mod checkpoint;
pub mod class_fit;
pub mod codec_run;
pub mod coded;
pub mod config;
pub mod cut;
pub mod dataset;
pub mod degrade;
pub mod export;
pub mod fit;
pub mod grow;
pub mod hyper_fit;
pub mod import;
pub mod kernels;
pub mod klt;
pub mod model;
pub mod net;
pub mod new_latents;
pub mod optimizer;
pub mod quantize;
pub mod reference;
pub mod release;
pub mod requantise;
pub mod restoration;
pub mod restoration_release;
pub mod restoration_run;
pub mod shrink;
pub mod synthesis_run;
#[cfg(test)]
mod tests;
pub mod trainer;
pub mod validate;

pub use config::TrainArgs;
pub use release::ExportArgs;
pub use requantise::FitArgs;
