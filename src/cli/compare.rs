//! `aecodec compare`: how close two pictures are.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;
use image::{DynamicImage, Rgb, RgbImage};
use serde::Serialize;

use aecodec::DecodeOptions;
use aecodec::container::MAGIC;
use aecodec::eval::{Judge, Metric, Scores};

use super::output::Output;
use super::paths::Input;
use super::picture::{self, Picture};
use super::{note, print};

/// Compare two pictures by every metric
///
/// Any pictures of the same size, .aec files among them. They are compared as
/// 8-bit RGB, or as grey if both are; the second is taken for a copy of the first.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// The original, or - for standard input
    original: PathBuf,
    /// What is compared with it
    copy: PathBuf,
    /// Write a picture of the differences: grey where there is none
    #[arg(long, value_name = "FILE")]
    diff: Option<PathBuf>,
    /// What differences are multiplied by in that picture
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u8).range(1..), requires = "diff")]
    gain: u8,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Replace a picture of the differences that exists
    #[arg(long)]
    force: bool,
}

/// What is shown, in this order.
#[derive(Debug, Serialize)]
struct Report {
    original: String,
    copy: String,
    width: u32,
    height: u32,
    #[serde(flatten)]
    scores: Scores,
    differing_samples: u64,
    largest_difference: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    psnr_alpha: Option<f64>,
}

impl CompareArgs {
    /// Prints the metrics, writes the picture.
    pub fn run(self) -> Result<()> {
        let output = self.diff.clone().map(Output::File);
        let format = output.as_ref().map(|output| -> Result<_> {
            output.check(self.force)?;
            picture::output_format(output)
        });
        let format = format.transpose()?;
        let [original, copy] = [Input::from_path(self.original), Input::from_path(self.copy)];
        let read = |input: &Input| read(input).with_context(|| format!("cannot read {input}"));
        let (mut a, mut b) = (read(&original)?, read(&copy)?);
        ensure!(
            (a.width(), a.height()) == (b.width(), b.height()),
            "{original} has {} x {} pixels, {copy} {} x {}",
            a.width(),
            a.height(),
            b.width(),
            b.height()
        );
        let psnr_alpha = psnr_alpha(&a, &b)?;
        for (picture, input) in [(&a, &original), (&b, &copy)] {
            if picture.color().bytes_per_pixel() > picture.color().channel_count() {
                note(&format!("{input}: samples of more than 8 bits are compared as 8 bits"));
            }
        }
        if a.color().has_color() || b.color().has_color() {
            (a, b) = (a.into_rgb8().into(), b.into_rgb8().into());
        } else {
            (a, b) = (a.into_luma8().into(), b.into_luma8().into());
        }
        if let (Some(output), Some(format)) = (output, format) {
            let mut drawn = Picture::from(difference(&a, &b, self.gain));
            output.write(&picture::write(&mut drawn, format)?, self.force)?;
        }
        let apart = || a.as_bytes().iter().zip(b.as_bytes()).map(|(a, b)| a.abs_diff(*b));
        let report = Report {
            original: original.to_string(),
            copy: copy.to_string(),
            width: a.width(),
            height: a.height(),
            scores: Judge::new(a.clone())?.scores(&b)?,
            differing_samples: apart().filter(|difference| *difference > 0).count() as u64,
            largest_difference: apart().max().unwrap_or_default(),
            psnr_alpha,
        };
        print(&if self.json { serde_json::to_string_pretty(&report)? + "\n" } else { lines(&report) })
    }
}

/// Any picture, upright.
fn read(input: &Input) -> Result<DynamicImage> {
    let bytes = input.read()?;
    if !bytes.starts_with(&MAGIC) {
        return picture::read_pixels(input, &bytes);
    }
    let options = DecodeOptions::default();
    let orientation = aecodec::metadata(&bytes, &options.limits)?.orientation;
    let mut picture = aecodec::decode(&bytes, &options)?;
    picture.apply_orientation(orientation);
    Ok(picture)
}

/// PSNR of the opacity; nothing where both are opaque or the same.
fn psnr_alpha(a: &DynamicImage, b: &DynamicImage) -> Result<Option<f64>> {
    if !a.color().has_alpha() && !b.color().has_alpha() {
        return Ok(None);
    }
    let alpha = |picture: &DynamicImage| -> Result<DynamicImage> {
        let rgba = picture.to_rgba8();
        let samples = rgba.pixels().map(|pixel| pixel.0[3]).collect();
        let plane = image::GrayImage::from_raw(rgba.width(), rgba.height(), samples);
        Ok(plane.context("a sample for each pixel")?.into())
    };
    let psnr = aecodec::eval::psnr(&alpha(a)?, &alpha(b)?)?.rgb;
    Ok(psnr.is_finite().then_some(psnr))
}

/// `128 + gain * (copy - original)`, sample by sample.
fn difference(original: &DynamicImage, copy: &DynamicImage, gain: u8) -> DynamicImage {
    let (a, b) = (original.to_rgb8(), copy.to_rgb8());
    RgbImage::from_fn(a.width(), a.height(), |x, y| {
        let (a, b) = (a.get_pixel(x, y).0, b.get_pixel(x, y).0);
        let sample = |c: usize| 128 + i32::from(gain) * (i32::from(b[c]) - i32::from(a[c]));
        Rgb([0, 1, 2].map(|c| sample(c).clamp(0, 255) as u8))
    })
    .into()
}

fn lines(report: &Report) -> String {
    let mut out = format!("original     {}\ncopy         {}\n", report.original, report.copy);
    let _ = writeln!(out, "pixels       {} x {}", report.width, report.height);
    for (metric, decimals) in Metric::ALL.into_iter().zip([2, 2, 5, 2, 3]) {
        let is_psnr = matches!(metric, Metric::PsnrRgb | Metric::PsnrY);
        let value = match metric.value(&report.scores) {
            Some(value) if is_psnr => format!("{value:.decimals$} dB"),
            Some(value) if metric == Metric::MsSsim => {
                format!("{value:.decimals$} ({:.2} dB)", metric.quality(value))
            }
            Some(value) => format!("{value:.decimals$}"),
            None if is_psnr => "infinite: no difference".into(),
            None => "not defined for pictures this small".into(),
        };
        let _ = writeln!(out, "{:12} {value}", metric.name());
    }
    if let Some(psnr) = report.psnr_alpha {
        let _ = writeln!(out, "PSNR-alpha   {psnr:.2} dB");
    }
    let pixels = f64::from(report.width) * f64::from(report.height);
    let _ = writeln!(
        out,
        "difference   {} samples, by at most {}; {:.3} bpp to describe it",
        report.differing_samples,
        report.largest_difference,
        report.scores.error_bits as f64 / pixels
    );
    out
}
