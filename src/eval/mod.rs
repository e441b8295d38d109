//! Measuring codecs: PSNR, rate-distortion sweeps and Bjontegaard rates.
//!
//! Everything is measured on real bytes: a rate is the size of a file on disk,
//! a quality is that of the pixels read back from it. [`Contender`] is what a
//! codec implements to be measured; [`Aecodec`] is ours, [`OpenJpeg`] the peer.
//!
//! ```text
//! pictures --sweep: every contender x setting--> rows --summary--> averages, BD-rates
//! ```

pub mod bd_rate;
mod openjpeg;
mod ours;
pub mod pchip;
pub mod psnr;
pub mod summary;
pub mod sweep;

pub use bd_rate::{BdRate, Point, bd_rate};
pub use openjpeg::OpenJpeg;
pub use ours::Aecodec;
pub use psnr::{Psnr, psnr};
pub use summary::{Summary, summarize};
pub use sweep::{Contender, Row, Sample, Trial, measure};
