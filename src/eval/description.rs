//! The description length in full: latents, error and model.
//!
//! A picture can be told to somebody who has only the decoder by the coded file
//! and then the error that it leaves. The sum is a lossless description, and
//! what a learned codec saves in it has to pay for its model once.

use image::DynamicImage;

use serde::Serialize;

use super::pchip::Pchip;
use super::run::{Point, Run};
use super::summary::averages;

/// Differences of two 8-bit samples.
const DIFFERENCES: usize = 511;

/// The length in bits of the error between two pictures of the same size and
/// colour type, sample by sample, under an adaptive code of order 0.
///
/// Each channel is coded on its own with the estimator of Krichevsky and
/// Trofimov (1981): a difference that was seen `n` times among `N` before has
/// the probability `(n + 1/2) / (N + 511/2)`. The decoder learns the same counts,
/// so nothing else has to be sent.
pub fn error_bits(original: &DynamicImage, decoded: &DynamicImage) -> u64 {
    let channels = usize::from(original.color().channel_count());
    let (a, b) = (original.as_bytes(), decoded.as_bytes());
    let mut bits = 0.0;
    for channel in 0..channels {
        let mut counts = [0u32; DIFFERENCES];
        for (a, b) in a.iter().zip(b).skip(channel).step_by(channels) {
            counts[usize::from(255 + u16::from(*a) - u16::from(*b))] += 1;
        }
        bits += code_length(&counts);
    }
    bits.ceil() as u64
}

/// Bits of a sequence with these counts; its order makes no difference.
fn code_length(counts: &[u32; DIFFERENCES]) -> f64 {
    let rising = |from: f64, times: u32| (0..times).map(|n| (f64::from(n) + from).log2()).sum::<f64>();
    let total = counts.iter().sum();
    rising(DIFFERENCES as f64 / 2.0, total) - counts.iter().map(|&count| rising(0.5, count)).sum::<f64>()
}

/// A curve of one codec on one picture: file size and error over the PSNR.
#[derive(Debug)]
pub struct Described {
    low: f64,
    high: f64,
    log_bits: Pchip,
    error_bits: Pchip,
}

impl Described {
    /// The curve through points of `(PSNR, bits of the file, bits of the error)`.
    /// Points that are no better than a cheaper one are left out; `None` with
    /// fewer than two others.
    pub fn new(mut points: Vec<(f64, f64, f64)>) -> Option<Described> {
        points.sort_by(|a, b| a.1.total_cmp(&b.1));
        let mut kept: Vec<(f64, f64, f64)> = Vec::new();
        for point in points {
            if kept.last().is_none_or(|last| point.0 > last.0 && point.1 > last.1) {
                kept.push(point);
            }
        }
        let [low, .., high] = &kept[..] else { return None };
        let psnr: Vec<f64> = kept.iter().map(|point| point.0).collect();
        let curve = |value: fn(&(f64, f64, f64)) -> f64| {
            Pchip::new(&psnr, &kept.iter().map(value).collect::<Vec<f64>>())
        };
        Some(Described {
            low: low.0,
            high: high.0,
            log_bits: curve(|point| point.1.ln()),
            error_bits: curve(|point| point.2),
        })
    }

    /// Bits of the file and of the error at a PSNR that the curve reaches.
    pub fn at(&self, psnr: f64) -> Option<(f64, f64)> {
        (self.low..=self.high)
            .contains(&psnr)
            .then(|| (self.log_bits.value(psnr).exp(), self.error_bits.value(psnr)))
    }
}

/// The description length of one codec at one setting, beside that of an anchor
/// at the same PSNR on each picture; means over the pictures on which the anchor
/// reaches it, in bits per pixel.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DescriptionLength {
    /// The setting.
    pub setting: f64,
    /// Mean PSNR-RGB of these pictures.
    pub psnr_rgb: f64,
    /// Pictures on which the anchor reaches the PSNR.
    pub pictures: usize,
    /// The coded files.
    pub latents_bpp: f64,
    /// The error they leave.
    pub error_bpp: f64,
    /// The anchor's coded files.
    pub anchor_bpp: f64,
    /// The error those leave.
    pub anchor_error_bpp: f64,
    /// Bits saved on a picture of this set, on average.
    pub saved_bits: f64,
    /// How many such pictures it takes until the model's own bytes are saved;
    /// `None` where nothing is saved.
    pub pictures_to_pay: Option<u64>,
}

/// The description lengths of a codec with a model, by rising rate. Settings that
/// the anchor does not reach on any picture are left out.
pub fn description_lengths(
    run: &Run,
    anchor: usize,
    codec: usize,
    model_bytes: u64,
) -> Vec<DescriptionLength> {
    let curves: Vec<Option<Described>> = (0..run.pictures.len())
        .map(|picture| {
            let points = run.points.iter().filter(|point| point.codec == anchor && point.picture == picture);
            Described::new(points.filter_map(described).collect())
        })
        .collect();
    let settings = averages(run, codec).into_iter().map(|average| average.setting);
    settings.filter_map(|setting| description_length(run, &curves, codec, setting, model_bytes)).collect()
}

fn description_length(
    run: &Run,
    anchors: &[Option<Described>],
    codec: usize,
    setting: f64,
    model_bytes: u64,
) -> Option<DescriptionLength> {
    let mut out = DescriptionLength {
        setting,
        psnr_rgb: 0.0,
        pictures: 0,
        latents_bpp: 0.0,
        error_bpp: 0.0,
        anchor_bpp: 0.0,
        anchor_error_bpp: 0.0,
        saved_bits: 0.0,
        pictures_to_pay: None,
    };
    for point in run.points.iter().filter(|point| point.codec == codec && point.setting == setting) {
        let Some((psnr, bits, error)) = described(point) else { continue };
        let Some((anchor_bits, anchor_error)) =
            anchors[point.picture].as_ref().and_then(|curve| curve.at(psnr))
        else {
            continue;
        };
        let picture = &run.pictures[point.picture];
        let pixels = f64::from(picture.width) * f64::from(picture.height);
        out.pictures += 1;
        out.psnr_rgb += psnr;
        out.latents_bpp += bits / pixels;
        out.error_bpp += error / pixels;
        out.anchor_bpp += anchor_bits / pixels;
        out.anchor_error_bpp += anchor_error / pixels;
        out.saved_bits += anchor_bits + anchor_error - bits - error;
    }
    if out.pictures == 0 {
        return None;
    }
    for sum in [
        &mut out.psnr_rgb,
        &mut out.latents_bpp,
        &mut out.error_bpp,
        &mut out.anchor_bpp,
        &mut out.anchor_error_bpp,
        &mut out.saved_bits,
    ] {
        *sum /= out.pictures as f64;
    }
    out.pictures_to_pay =
        (out.saved_bits > 0.0).then(|| (8.0 * model_bytes as f64 / out.saved_bits).ceil() as u64);
    Some(out)
}

/// PSNR, bits of the file, bits of the error.
fn described(point: &Point) -> Option<(f64, f64, f64)> {
    Some((point.scores.psnr_rgb?, 8.0 * point.bytes as f64, point.scores.error_bits as f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{GrayImage, Luma};

    fn grey(f: impl Fn(u32, u32) -> u8) -> DynamicImage {
        GrayImage::from_fn(64, 64, |x, y| Luma([f(x, y)])).into()
    }

    #[test]
    fn a_constant_error_costs_little_and_a_fair_coin_one_bit_a_sample() {
        let original = grey(|x, y| (x * 3 + y) as u8 / 2 + 40);
        let none = error_bits(&original, &original);
        // log2 of the product of (n + 255.5) / (n + 0.5): the cost of learning.
        assert!((1..2000).contains(&none), "{none}");
        let coin = grey(|x, y| ((x * 3 + y) as u8 / 2 + 40) ^ ((x ^ y) & 1) as u8);
        let bits = error_bits(&original, &coin);
        assert!(bits > 4096 && bits < 4096 * 2 + none, "{bits}");
    }

    #[test]
    fn the_code_length_is_that_of_the_sequential_estimator() {
        let symbols = [3usize, 3, 500, 3, 7];
        let mut counts = [0u32; DIFFERENCES];
        let mut expected = 0.0;
        for (seen, &symbol) in symbols.iter().enumerate() {
            expected -= ((f64::from(counts[symbol]) + 0.5) / (seen as f64 + 255.5)).log2();
            counts[symbol] += 1;
        }
        assert!((code_length(&counts) - expected).abs() < 1e-9);
    }

    #[test]
    fn curves_go_through_their_points_and_end_with_them() {
        let curve = Described::new(vec![(30.0, 100.0, 900.0), (40.0, 400.0, 500.0), (35.0, 200.0, 700.0)]);
        let curve = curve.unwrap();
        let (bits, error) = curve.at(35.0).unwrap();
        assert!((bits - 200.0).abs() < 1e-9 && (error - 700.0).abs() < 1e-9);
        assert!(curve.at(29.9).is_none() && curve.at(40.1).is_none());
    }
}
