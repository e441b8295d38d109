//! One measurement: a picture through a codec at one setting, and back.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use image::{DynamicImage, ImageFormat};
use serde::Serialize;

use super::psnr::psnr;

/// A codec that can be measured.
pub trait Contender {
    /// The name rows carry.
    fn name(&self) -> String;
    /// The settings to sweep, in the codec's own unit.
    fn settings(&self) -> &[f64];
    /// Writes the coded file into `folder`, reads the pixels back from it, and
    /// times both ways.
    fn run(&self, sample: &Sample, setting: f64, folder: &Path) -> Result<Trial>;
}

/// A picture to measure on.
#[derive(Debug)]
pub struct Sample {
    /// The name rows carry.
    pub name: String,
    /// The original pixels, 8-bit RGB or grey.
    pub picture: DynamicImage,
    /// The same pixels as a PPM or PGM file, for codecs that run as programs.
    pub pnm: PathBuf,
}

impl Sample {
    /// Writes the PNM file into `folder`.
    pub fn new(name: String, picture: DynamicImage, folder: &Path) -> Result<Sample> {
        let pnm = folder.join(format!("original.{}", pnm_extension(&picture)));
        picture
            .save_with_format(&pnm, ImageFormat::Pnm)
            .with_context(|| format!("cannot write {}", pnm.display()))?;
        Ok(Sample { name, picture, pnm })
    }
}

/// `ppm` for colour, `pgm` for grey.
pub(super) fn pnm_extension(picture: &DynamicImage) -> &'static str {
    if picture.color().has_color() { "ppm" } else { "pgm" }
}

/// What one run of a codec gave.
#[derive(Debug)]
pub struct Trial {
    /// Size of the coded file on disk.
    pub bytes: u64,
    /// The pixels read back from it.
    pub decoded: DynamicImage,
    /// Wall time from pixels to coded bytes.
    pub encode: Duration,
    /// Wall time from coded bytes to pixels.
    pub decode: Duration,
}

/// One measurement, as it is written to a report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Name of the codec.
    pub codec: String,
    /// The setting, in the codec's own unit.
    pub setting: f64,
    /// Name of the picture.
    pub image: String,
    /// Columns of the picture.
    pub width: u32,
    /// Rows of the picture.
    pub height: u32,
    /// Size of the coded file on disk.
    pub bytes: u64,
    /// Bits of the coded file per pixel.
    pub bpp: f64,
    /// PSNR over all samples, in dB.
    pub psnr_rgb: f64,
    /// PSNR of the luma, in dB.
    pub psnr_y: f64,
    /// Seconds to encode, by the wall clock: the median of all repeats.
    pub enc_wall: f64,
    /// Seconds to decode, likewise.
    pub dec_wall: f64,
}

/// Measures a codec on one picture at one setting. Times are medians of
/// `repeat` runs; all runs must give a file of the same size.
pub fn measure(
    codec: &dyn Contender,
    setting: f64,
    sample: &Sample,
    folder: &Path,
    repeat: usize,
) -> Result<Row> {
    let trials = (0..repeat.max(1))
        .map(|_| codec.run(sample, setting, folder))
        .collect::<Result<Vec<Trial>>>()
        .with_context(|| format!("{} at {setting} on {}", codec.name(), sample.name))?;
    let first = &trials[0];
    ensure!(
        trials.iter().all(|trial| trial.bytes == first.bytes),
        "{} at {setting} on {}: the size of the file changes from run to run",
        codec.name(),
        sample.name
    );
    let quality = psnr(&sample.picture, &first.decoded)
        .with_context(|| format!("{} at {setting} on {}", codec.name(), sample.name))?;
    let (width, height) = (sample.picture.width(), sample.picture.height());
    Ok(Row {
        codec: codec.name(),
        setting,
        image: sample.name.clone(),
        width,
        height,
        bytes: first.bytes,
        bpp: bits_per_pixel(first.bytes, width, height),
        psnr_rgb: quality.rgb,
        psnr_y: quality.y,
        enc_wall: median(trials.iter().map(|trial| trial.encode)),
        dec_wall: median(trials.iter().map(|trial| trial.decode)),
    })
}

/// Bits of a file of `bytes` per pixel of its picture.
pub fn bits_per_pixel(bytes: u64, width: u32, height: u32) -> f64 {
    8.0 * bytes as f64 / (f64::from(width) * f64::from(height))
}

/// The middle of an odd number of times, the mean of the middle two otherwise; in seconds.
fn median(times: impl Iterator<Item = Duration>) -> f64 {
    let mut seconds: Vec<f64> = times.map(|time| time.as_secs_f64()).collect();
    seconds.sort_by(f64::total_cmp);
    let n = seconds.len();
    (seconds[(n - 1) / 2] + seconds[n / 2]) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        let seconds = |list: &[u64]| median(list.iter().map(|&s| Duration::from_secs(s)));
        assert_eq!(seconds(&[7]), 7.0);
        assert_eq!(seconds(&[9, 1, 2]), 2.0);
        assert_eq!(seconds(&[9, 1, 2, 4]), 3.0);
    }

    #[test]
    fn rates_count_every_byte() {
        assert_eq!(bits_per_pixel(49_152, 768, 512), 1.0);
    }
}
