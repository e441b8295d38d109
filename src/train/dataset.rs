//! Training pictures in memory, and random crops of them.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rayon::prelude::*;

use super::kernels::Geometry;
use super::model::{Batch, pixel_rows};
use crate::model::arch::PIXEL_BLOCK;
use crate::model::quality::{ANCHORS, STEPS};

/// A decoded picture: 8-bit RGB.
pub struct Picture {
    /// Pixels across.
    pub width: usize,
    /// Pixels down.
    pub height: usize,
    /// `height x width x 3`.
    pub rgb: Vec<u8>,
}

/// All pictures of a folder.
pub struct Dataset {
    pictures: Vec<Picture>,
    /// Running sums of the pictures' areas, to draw crops evenly over pixels.
    areas: Vec<u64>,
    /// Share of the crops in false colours.
    false_colours: f64,
    indices: RangeInclusive<u8>,
}

/// The picture files of a folder, in name order.
pub fn picture_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .with_context(|| format!("cannot read the folder {}", folder.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("").to_ascii_lowercase();
            ["png", "jpg", "jpeg", "webp", "ppm", "bmp", "tif", "tiff"].contains(&extension.as_str())
        })
        .collect();
    files.sort();
    Ok(files)
}

/// Decodes one picture file.
pub fn load(path: &Path) -> Result<Picture> {
    let rgb = image::open(path).with_context(|| path.display().to_string())?.into_rgb8();
    Ok(Picture { width: rgb.width() as usize, height: rgb.height() as usize, rgb: rgb.into_raw() })
}

impl Dataset {
    /// Decodes every picture of `folder` that is at least `side` on both sides.
    /// What cannot be read or is too small is skipped and counted on stderr. A
    /// share `false_colours` of the crops has its colours mixed at random; those of a
    /// [`Self::batch`] have quality indices within `indices`.
    pub fn open(
        folder: &Path,
        side: usize,
        false_colours: f64,
        indices: RangeInclusive<u8>,
    ) -> Result<Dataset> {
        let files = picture_files(folder)?;
        let loaded: Vec<Result<Picture>> = files.par_iter().map(|path| load(path)).collect();
        let (mut unreadable, mut small) = (0, 0);
        let mut pictures = Vec::new();
        for picture in loaded {
            match picture {
                Err(error) => {
                    unreadable += 1;
                    eprintln!("skipped: {error:#}");
                }
                Ok(picture) if picture.width < side || picture.height < side => small += 1,
                Ok(picture) => pictures.push(picture),
            }
        }
        if pictures.is_empty() {
            bail!("{}: no readable picture of at least {side}x{side} pixels", folder.display());
        }
        let mut total = 0;
        let areas = pictures
            .iter()
            .map(|p| {
                // Large pictures have more to see, but should not crowd out the others.
                total += ((p.width * p.height) as u64).min(1 << 20);
                total
            })
            .collect();
        eprintln!(
            "{} pictures in memory, {unreadable} unreadable, {small} smaller than {side} pixels",
            pictures.len()
        );
        Ok(Dataset { pictures, areas, false_colours, indices })
    }

    /// The batch of step `step`: the same for the same seed, whatever was drawn before.
    pub fn batch(&self, seed: u64, step: u64, count: usize, side: usize) -> Batch {
        let mut rng = rng_of(seed, step);
        let blocks = side / PIXEL_BLOCK;
        let mut pixels = Vec::with_capacity(count * side * side * 3);
        let mut qualities = Vec::with_capacity(count);
        let (first, end) = (f32::from(*self.indices.start()), f32::from(*self.indices.end()) + 1.0);
        for index in 0..count {
            let crop = self.crop(&mut rng, side);
            pixel_rows(&crop, side, side, &mut pixels);
            // Stratified over the batch, so that every step sees low and high rates.
            let share = (index as f32 + rng.random_range(0.0..1.0)) / count as f32;
            let position = (first + share * (end - first)) / STEPS as f32;
            let anchor = (position as usize).min(ANCHORS - 2);
            qualities.push((anchor, position - anchor as f32));
        }
        Batch { pixels, geometry: Geometry { batch: count, height: blocks, width: blocks }, qualities }
    }

    /// A random crop of `side x side` pixels, 8-bit RGB: shrunk by up to two in half of the draws, flipped, transposed.
    pub fn crop(&self, rng: &mut StdRng, side: usize) -> Vec<u8> {
        let draw = rng.random_range(0..*self.areas.last().expect("not empty"));
        let picture = &self.pictures[self.areas.partition_point(|total| *total <= draw)];
        let longest = picture.width.min(picture.height).min(2 * side);
        let source = if rng.random_bool(0.5) { rng.random_range(side..=longest) } else { side };
        let x0 = rng.random_range(0..=picture.width - source);
        let y0 = rng.random_range(0..=picture.height - source);
        let mut crop = Vec::with_capacity(source * source * 3);
        for y in y0..y0 + source {
            let start = (y * picture.width + x0) * 3;
            crop.extend_from_slice(&picture.rgb[start..start + source * 3]);
        }
        if source != side {
            crop = shrink(&crop, source, side);
        }
        let (flip, turn, transpose) = (rng.random_bool(0.5), rng.random_bool(0.5), rng.random_bool(0.5));
        if rng.random_bool(self.false_colours) {
            false_colours(rng, &mut crop);
        }
        let mut out = Vec::with_capacity(side * side * 3);
        for y in 0..side {
            for x in 0..side {
                let (y, x) = if transpose { (x, y) } else { (y, x) };
                let y = if turn { side - 1 - y } else { y };
                let x = if flip { side - 1 - x } else { x };
                out.extend_from_slice(&crop[(y * side + x) * 3..][..3]);
            }
        }
        out
    }
}

/// What draws the crops of a step: the same for the same seed and step.
pub fn rng_of(seed: u64, step: u64) -> StdRng {
    StdRng::seed_from_u64(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ step)
}

/// Mixes the colour channels at random, far beyond what photographs show, so
/// that the networks have met saturated and inverted colours.
fn false_colours(rng: &mut StdRng, rgb: &mut [u8]) {
    let mix: [[f32; 3]; 3] = std::array::from_fn(|_| std::array::from_fn(|_| rng.random_range(-1.5..1.5)));
    for pixel in rgb.chunks_exact_mut(3) {
        let p: [f32; 3] = std::array::from_fn(|i| f32::from(pixel[i]) - 128.0);
        for (out, row) in pixel.iter_mut().zip(&mix) {
            let v: f32 = row.iter().zip(&p).map(|(m, p)| m * p).sum();
            *out = (v + 128.5).clamp(0.0, 255.0) as u8;
        }
    }
}

/// Shrinks a square picture with a triangle filter as wide as the reduction.
fn shrink(rgb: &[u8], from: usize, to: usize) -> Vec<u8> {
    let ratio = from as f32 / to as f32;
    // For each output: first input and its weights.
    let taps: Vec<(usize, Vec<f32>)> = (0..to)
        .map(|o| {
            let centre = (o as f32 + 0.5) * ratio - 0.5;
            let first = (centre - ratio).ceil().max(0.0) as usize;
            let last = ((centre + ratio).floor() as usize).min(from - 1);
            let weights: Vec<f32> =
                (first..=last).map(|i| (1.0 - (i as f32 - centre).abs() / ratio).max(0.0)).collect();
            let sum: f32 = weights.iter().sum();
            (first, weights.iter().map(|w| w / sum).collect())
        })
        .collect();
    let mut rows = vec![0.0f32; to * from * 3];
    for (out, (first, weights)) in rows.chunks_exact_mut(from * 3).zip(&taps) {
        for (i, w) in weights.iter().enumerate() {
            let line = &rgb[(first + i) * from * 3..][..from * 3];
            for (o, p) in out.iter_mut().zip(line) {
                *o += w * f32::from(*p);
            }
        }
    }
    let mut out = Vec::with_capacity(to * to * 3);
    for row in rows.chunks_exact(from * 3) {
        for (first, weights) in &taps {
            for c in 0..3 {
                let sum: f32 = weights.iter().enumerate().map(|(i, w)| w * row[(first + i) * 3 + c]).sum();
                out.push((sum + 0.5).clamp(0.0, 255.0) as u8);
            }
        }
    }
    out
}
