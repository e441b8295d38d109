//! How close a decoded picture is to its original, by every metric.

use anyhow::{Result, ensure};
use butteraugli::{ButteraugliParams, ButteraugliReference};
use fast_ssim2::{PixelDescriptor, PixelSlice, Ssimulacra2Reference};
use image::DynamicImage;
use serde::{Deserialize, Serialize};

use super::description::error_bits;
use super::ms_ssim::MsSsim;
use super::psnr::psnr;

/// Goes up when a value below would come out differently: it is part of what
/// cached measurements are known by.
pub const SCORES_VERSION: u32 = 1;

/// The least side, in pixels, that SSIMULACRA2 and Butteraugli are defined for.
const SHORTEST_SIDE: u32 = 8;

/// The metrics of one decoded picture.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// PSNR over all samples, in dB; `None` where the pictures are equal.
    pub psnr_rgb: Option<f64>,
    /// PSNR of the BT.601 luma, in dB; `None` where the lumas are equal.
    pub psnr_y: Option<f64>,
    /// MS-SSIM, up to 1; `None` for pictures it is not defined for.
    pub ms_ssim: Option<f64>,
    /// SSIMULACRA2, up to 100; `None` for pictures it is not defined for.
    pub ssimulacra2: Option<f64>,
    /// Butteraugli's 3-norm at 80 nits: a distance, 0 for equal pictures;
    /// `None` for pictures it is not defined for.
    pub butteraugli: Option<f64>,
    /// Bits that the error would take, see [`error_bits`].
    pub error_bits: u64,
}

/// What a codec is held equal by when rates are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// PSNR over all samples.
    PsnrRgb,
    /// PSNR of the luma.
    PsnrY,
    /// MS-SSIM.
    MsSsim,
    /// SSIMULACRA2.
    Ssimulacra2,
    /// Butteraugli, 3-norm.
    Butteraugli,
}

impl Metric {
    /// All of them, the one that is quoted first.
    pub const ALL: [Metric; 5] =
        [Metric::PsnrRgb, Metric::PsnrY, Metric::MsSsim, Metric::Ssimulacra2, Metric::Butteraugli];

    /// How the metric is printed.
    pub fn name(self) -> &'static str {
        match self {
            Metric::PsnrRgb => "PSNR-RGB",
            Metric::PsnrY => "PSNR-Y",
            Metric::MsSsim => "MS-SSIM",
            Metric::Ssimulacra2 => "SSIMULACRA2",
            Metric::Butteraugli => "Butteraugli",
        }
    }

    /// The unit of [`Metric::quality`].
    pub fn unit(self) -> &'static str {
        match self {
            Metric::Ssimulacra2 => "points",
            _ => "dB",
        }
    }

    /// The metric's value, as it is printed.
    pub fn value(self, scores: &Scores) -> Option<f64> {
        match self {
            Metric::PsnrRgb => scores.psnr_rgb,
            Metric::PsnrY => scores.psnr_y,
            Metric::MsSsim => scores.ms_ssim,
            Metric::Ssimulacra2 => scores.ssimulacra2,
            Metric::Butteraugli => scores.butteraugli,
        }
    }

    /// A value on the scale that curves are drawn and integrated on, where more
    /// is better and equal steps look about equally large: MS-SSIM as
    /// `-10 log10(1 - v)`, Butteraugli's distance as `-10 log10(v)`.
    pub fn quality(self, value: f64) -> f64 {
        match self {
            Metric::PsnrRgb | Metric::PsnrY | Metric::Ssimulacra2 => value,
            Metric::MsSsim => -10.0 * (1.0 - value).max(1e-12).log10(),
            Metric::Butteraugli => -10.0 * value.max(1e-12).log10(),
        }
    }
}

/// One original, ready to have many decoded pictures compared with it.
pub struct Judge {
    original: DynamicImage,
    ms_ssim: Option<MsSsim>,
    perceptual: Option<(Ssimulacra2Reference, ButteraugliReference)>,
}

impl Judge {
    /// Prepares an original, 8-bit RGB or grey.
    pub fn new(original: DynamicImage) -> Result<Judge> {
        ensure!(
            matches!(original, DynamicImage::ImageRgb8(_) | DynamicImage::ImageLuma8(_)),
            "colour type {:?}: only 8-bit RGB and grey pictures can be measured",
            original.color()
        );
        let ms_ssim = MsSsim::new(&original);
        let (width, height) = (original.width(), original.height());
        let perceptual = if width.min(height) < SHORTEST_SIDE {
            None
        } else {
            let rgb = original.to_rgb8();
            let ssimulacra2 = Ssimulacra2Reference::new(&slice(&rgb)?)?;
            let butteraugli = ButteraugliReference::new(
                rgb.as_raw(),
                width as usize,
                height as usize,
                ButteraugliParams::default(),
            )?;
            Some((ssimulacra2, butteraugli))
        };
        Ok(Judge { original, ms_ssim, perceptual })
    }

    /// The original.
    pub fn original(&self) -> &DynamicImage {
        &self.original
    }

    /// A decoded picture in the original's colour type: peers may return grey
    /// as three equal channels.
    pub fn same_colour(&self, decoded: DynamicImage) -> DynamicImage {
        match self.original {
            DynamicImage::ImageLuma8(_) => decoded.into_luma8().into(),
            _ => decoded.into_rgb8().into(),
        }
    }

    /// All metrics of a decoded picture of the same size and colour type, rounded
    /// to the digits that reports hold.
    pub fn scores(&self, decoded: &DynamicImage) -> Result<Scores> {
        let psnr = psnr(&self.original, decoded)?;
        let perceptual = self.perceptual.as_ref().map(|(ssimulacra2, butteraugli)| -> Result<_> {
            let rgb = decoded.to_rgb8();
            Ok((ssimulacra2.compare(&slice(&rgb)?)?, butteraugli.compare(rgb.as_raw())?.pnorm_3))
        });
        let perceptual = perceptual.transpose()?;
        Ok(Scores {
            psnr_rgb: finite(psnr.rgb, 4),
            psnr_y: finite(psnr.y, 4),
            ms_ssim: self.ms_ssim.as_ref().and_then(|original| finite(original.similarity(decoded), 6)),
            ssimulacra2: perceptual.and_then(|(ssimulacra2, _)| finite(ssimulacra2, 4)),
            butteraugli: perceptual.and_then(|(_, butteraugli)| finite(butteraugli, 5)),
            error_bits: error_bits(&self.original, decoded),
        })
    }
}

fn slice(rgb: &image::RgbImage) -> Result<PixelSlice<'_>> {
    let stride = 3 * rgb.width() as usize;
    PixelSlice::new(rgb.as_raw(), rgb.width(), rgb.height(), stride, PixelDescriptor::RGB8_SRGB)
        .map_err(|error| anyhow::anyhow!("SSIMULACRA2: {error}"))
}

/// A number with so many decimals; none for infinity.
fn finite(value: f64, decimals: i32) -> Option<f64> {
    let scale = 10f64.powi(decimals);
    value.is_finite().then(|| (value * scale).round() / scale)
}
