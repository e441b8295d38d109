//! The float model with truly rounded latents on held-out pictures: a quick
//! look at where a run stands. Real bytes are `crate::eval`'s business.

use std::path::Path;

use anyhow::Result;
use rayon::prelude::*;
use serde::Serialize;

use super::dataset::{load, picture_files};
use super::kernels::Geometry;
use super::model::{Batch, CodecModel, pixel_rows};
use super::quantize::Rounding;
use crate::eval::decibel;
use crate::model::arch::PIXEL_BLOCK;

/// Points on the quality axis, in anchors.
const POSITIONS: [(usize, f32); 5] = [(0, 0.5), (2, 0.0), (3, 0.5), (5, 0.0), (6, 0.5)];

/// Means over the pictures at one quality.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Point {
    /// Position on the quality axis, in anchors.
    pub position: f32,
    /// Estimated bits per pixel.
    pub bpp: f64,
    /// Of which hyper-latents.
    pub hyper_bpp: f64,
    /// Mean of the pictures' PSNR over RGB, dB, before rounding to bytes.
    pub psnr_rgb: f64,
    /// The objective.
    pub loss: f64,
    /// The geometric mean of the pictures' objectives, to which each counts alike.
    pub relative: f64,
}

/// The first `count` pictures of a folder, cropped to multiples of 64.
pub fn pictures(folder: &Path, count: usize) -> Result<Vec<(Geometry, Vec<f32>)>> {
    picture_files(folder)?
        .iter()
        .take(count)
        .map(|path| {
            let picture = load(path)?;
            let (height, width) = (picture.height / 64 * 64, picture.width / 64 * 64);
            let mut rgb = Vec::with_capacity(height * width * 3);
            for row in picture.rgb.chunks_exact(picture.width * 3).take(height) {
                rgb.extend_from_slice(&row[..width * 3]);
            }
            let mut rows = Vec::new();
            pixel_rows(&rgb, height, width, &mut rows);
            Ok((Geometry { batch: 1, height: height / PIXEL_BLOCK, width: width / PIXEL_BLOCK }, rows))
        })
        .collect()
}

/// Runs the model over all pictures and qualities.
pub fn run(model: &CodecModel, pictures: &[(Geometry, Vec<f32>)]) -> Result<Vec<Point>> {
    POSITIONS
        .iter()
        .map(|quality| {
            let sums = pictures
                .par_iter()
                .map(|(geometry, pixels)| {
                    let batch =
                        Batch { pixels: pixels.clone(), geometry: *geometry, qualities: vec![*quality] };
                    let outcome = model.forward(&batch, Rounding::Hard)?;
                    let first = |t: &candle_core::Tensor| {
                        Ok::<f64, candle_core::Error>(f64::from(t.to_vec1::<f32>()?[0]))
                    };
                    let mse = first(&outcome.mse)?;
                    let psnr = decibel(mse);
                    let objective = first(&outcome.objectives)?;
                    Ok([first(&outcome.bpp)?, first(&outcome.hyper_bpp)?, psnr, objective, objective.ln()])
                })
                .collect::<Result<Vec<[f64; 5]>>>()?;
            let mean = |i: usize| sums.iter().map(|s| s[i]).sum::<f64>() / sums.len() as f64;
            Ok(Point {
                position: quality.0 as f32 + quality.1,
                bpp: mean(0),
                hyper_bpp: mean(1),
                psnr_rgb: mean(2),
                loss: mean(3),
                relative: mean(4).exp(),
            })
        })
        .collect()
}

/// One line for people.
pub fn describe(points: &[Point]) -> String {
    let loss = points.iter().map(|p| p.loss).sum::<f64>() / points.len() as f64;
    let logs = points.iter().map(|p| p.relative.ln()).sum::<f64>() / points.len() as f64;
    let mut text = format!("loss {loss:.4} (relative {:.4})", logs.exp());
    for p in points {
        text += &format!("   {:.4} ({:.4}) bpp {:.3} dB", p.bpp, p.hyper_bpp, p.psnr_rgb);
    }
    text
}
