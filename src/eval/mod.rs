//! Measuring codecs: rate-distortion sweeps, times, and the reports of them.
//!
//! Everything is measured on real bytes: a rate is the size of a file on disk,
//! a quality is that of the pixels read back from it, a time is that of a whole
//! process. [`Contender`] is a codec that can be measured; [`ours`] is this
//! program, [`peers`] are the others.
//!
//! ```text
//! pictures --sweep: every contender x setting--> Run --summary--> BD-rates, reports
//!               \--timing: in turns-----------/
//! ```

pub mod bd_rate;
pub mod cache;
pub mod contender;
pub mod description;
pub mod equal;
pub mod ms_ssim;
pub mod ours;
pub mod pchip;
pub mod peers;
pub mod process;
pub mod psnr;
pub mod report;
pub mod restoration;
pub mod run;
pub mod score;
pub mod summary;
pub mod sweep;
pub mod timing;

pub use bd_rate::{BdRate, Point, bd_rate};
pub use contender::Contender;
pub use psnr::{Psnr, decibel, psnr};
pub use run::{Run, bits_per_pixel};
pub use score::{Judge, Metric, Scores};
