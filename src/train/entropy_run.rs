//! A codec's predictions being trained alone: the hyperprior's two transforms and the
//! context network, for the symbols that its files hold. The pictures stay as good as
//! they are for fewer bits.
//!
//! What a latent costs is the least, over all ways through the trellis, of bits and of
//! what its error is worth in bits. The derivative of a least value is that of the cost
//! at the symbols that attain it (the envelope theorem): with respect to the scale that
//! of the bits, with respect to the mean that of the error. No noise and no
//! straight-through gradient is needed. Only the hyper-latents, which are rounded, have
//! the noise of [`super::codec_run`].

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use candle_core::{Device, Tensor, Var};
use image::DynamicImage;
use rayon::prelude::*;
use serde_json::{Value, json};

use super::checkpoint::Checkpoint;
use super::config::TrainArgs;
use super::dataset::Dataset;
use super::fit::bin_of;
use super::import::{import, read_model, y_bits};
use super::kernels::{Geometry, Precision};
use super::model::{Batch, CodecModel, Grids, Quantized, anchored, grids, image_of_rows, numbers, position};
use super::net::Anchored;
use super::quantize::{LOG2_SCALE_MAX, LOG2_SCALE_MIN, Rounding};
use super::trainer::{Crop, Trainee};
use super::validate;
use crate::codec::PreparedModel;
use crate::codec::training::{choose, latents};
use crate::model::arch::{LATENT_STRIDE, in_first_half};
use crate::model::quality::{LOG2_BITS, STEPS};
use crate::model::{Arch, Layer, Part, QualityIndex};

/// Bits per pixel that every crop is taken to have beside its own: what has hardly any
/// matters less.
const SPARE_RATE: f64 = 0.02;
/// Quality indices looked at in validation.
const LOOKED_AT: [u8; 5] = [16, 64, 112, 160, 208];

/// The variables, the codec and the pictures of a run.
pub struct EntropyRun {
    model: CodecModel,
    coder: Coder,
    data: Dataset,
    val: Vec<Vec<Analysed>>,
    batch: usize,
    crop: usize,
    workers: usize,
    seed: u64,
}

/// The codec whose files are to be smaller.
struct Coder {
    model: Arc<PreparedModel>,
    /// Fraction bits of its latents once they are floats.
    y_bits: i32,
}

/// The latents of some crops.
pub struct Analysed {
    /// At 1/8.
    fine: Geometry,
    qualities: Vec<Anchored>,
    /// `(positions at 1/16, M)`.
    y: Vec<f32>,
    /// `(crops, M)`: log2 of the steps.
    steps: Vec<f32>,
}

/// What one half of the latents costs.
struct Half {
    /// `(positions, M)`: as a decoder has them, 0 elsewhere.
    known: Tensor,
    /// Of each crop. Its derivative is that of the cost; its value is not.
    cost: Tensor,
    /// Of each crop, bits and what errors are worth in bits.
    bits: Vec<[f64; 2]>,
}

impl Coder {
    /// Analyses every crop of a batch, at the index nearest to its quality.
    fn analyse(&self, mut batch: Batch) -> Result<Analysed> {
        let model = self.model.model();
        let size = batch.pixels.len() / batch.geometry.batch;
        let one = Geometry { batch: 1, ..batch.geometry };
        let unit = (-self.y_bits as f32).exp2();
        let (mut y, mut steps) = (Vec::new(), Vec::new());
        for (pixels, quality) in batch.pixels.chunks_exact(size).zip(&mut batch.qualities) {
            let index = (quality.0 as f32 + quality.1) * STEPS as f32;
            let index = QualityIndex(index.round().min(255.0) as u8);
            *quality = anchored(index);
            let picture = DynamicImage::ImageRgb8(image_of_rows(one, pixels));
            let found = latents(&picture, &self.model, index)?;
            y.extend(found.data.iter().map(|y| f32::from(*y) * unit));
            let log2 = index.lerp(&model.y_step_log2, model.arch.latents);
            let octave = (1 << LOG2_BITS) as f32;
            steps.extend(log2.iter().map(|log2| *log2 as f32 / octave - self.y_bits as f32));
        }
        Ok(Analysed { fine: batch.geometry, qualities: batch.qualities, y, steps })
    }

    /// Codes one half of the latents with the predictions `params`, `(positions, 2 M)`.
    fn code(&self, analysed: &Analysed, params: &Tensor, first: bool) -> Result<Half> {
        let grid = grids(analysed.fine).grid;
        let m = self.model.model().arch.latents;
        let predictions = numbers(params)?;
        let mut offsets = vec![0.0f32; grid.rows() * m];
        let mut mask = vec![0.0f32; grid.rows() * m];
        let mut slopes = vec![0.0f32; grid.rows() * 2 * m];
        let mut bits = Vec::new();
        for crop in 0..grid.batch {
            let steps = &analysed.steps[crop * m..][..m];
            let (mut places, mut wanted) = (Vec::new(), Vec::new());
            for position in 0..grid.positions() {
                let (row, column) = (position / grid.width, position % grid.width);
                let position = crop * grid.positions() + position;
                let (means, scales) = predictions[position * 2 * m..][..2 * m].split_at(m);
                let start = usize::from(in_first_half(row, column, 0) != first);
                for c in (start..m).step_by(2) {
                    let distance = (analysed.y[position * m + c] - means[c]) * (1.0 - steps[c]).exp2();
                    wanted.push((bin_of(scales[c] - steps[c]) as u8, distance));
                    places.push((position, c));
                }
            }
            let mut sums = [0.0f64; 2];
            for (chosen, (position, c)) in choose(&wanted, &self.model).iter().zip(places) {
                let half_step = (steps[c] - 1.0).exp2();
                let (cost, by_distance) = chosen.error_cost();
                sums[0] += f64::from(chosen.bits);
                sums[1] += f64::from(cost);
                offsets[position * m + c] = chosen.value * half_step;
                mask[position * m + c] = 1.0;
                slopes[position * 2 * m + c] = -by_distance / half_step;
                let scale = predictions[position * 2 * m + m + c] - steps[c];
                let by_scale = chosen.bits_by_octave;
                // Outside the tables' range only a slope that leads back in counts.
                let blocked =
                    (scale < LOG2_SCALE_MIN && by_scale > 0.0) || (scale > LOG2_SCALE_MAX && by_scale < 0.0);
                slopes[position * 2 * m + m + c] = if blocked { 0.0 } else { by_scale };
            }
            bits.push(sums);
        }
        let tensor =
            |values: Vec<f32>, width: usize| Tensor::from_vec(values, (grid.rows(), width), &Device::Cpu);
        let known = ((params.narrow(1, 0, m)? * tensor(mask, m)?)? + tensor(offsets, m)?)?;
        let cost = (params * tensor(slopes, 2 * m)?)?.reshape((grid.batch, grid.positions() * 2 * m))?;
        Ok(Half { known, cost: cost.sum(1)?, bits })
    }
}

/// What crops cost.
struct Cost {
    /// Of each crop. Its derivative is that of the cost; its value is not.
    cost: Tensor,
    /// Of each crop, bits per pixel and what errors are worth in bits per pixel.
    rates: Vec<[f64; 2]>,
}

fn cost(model: &CodecModel, coder: &Coder, analysed: &Analysed, rounding: Rounding) -> Result<Cost> {
    let Grids { grid, hyper, .. } = grids(analysed.fine);
    let (m, n) = (model.arch.latents, model.arch.hyper_latents);
    let qualities = Arc::new(analysed.qualities.clone());
    let y = Tensor::from_slice(&analysed.y, (grid.rows(), m), &Device::Cpu)?;
    let z = model.run(Part::HyperAnalysis, &y, grid, &qualities)?;
    let Quantized { coded, features } = model.quantize_hyper(&z, hyper, &qualities, rounding)?;
    let prior = model.run(Part::Prior, &features, grid, &qualities)?;
    let first = coder.code(analysed, &prior, true)?;
    let known = Tensor::cat(&[&features, &first.known], 1)?;
    let context = model.run(Part::Context, &known, grid, &qualities)?;
    let second = coder.code(analysed, &context, false)?;
    let hyper_bits = coded.narrow(1, n, 1)?.reshape((hyper.batch, hyper.positions()))?.sum(1)?;
    let pixels = (grid.positions() * LATENT_STRIDE * LATENT_STRIDE) as f64;
    let rates = hyper_bits
        .to_vec1::<f32>()?
        .iter()
        .zip(first.bits.iter().zip(&second.bits))
        .map(|(hyper, (a, b))| [(f64::from(*hyper) + a[0] + b[0]) / pixels, (a[1] + b[1]) / pixels])
        .collect();
    let cost = (((first.cost + second.cost)? + hyper_bits)? / pixels)?;
    Ok(Cost { cost, rates })
}

impl EntropyRun {
    /// A new run, or the one that the run's folder holds.
    pub fn open(args: &TrainArgs) -> Result<(EntropyRun, Checkpoint)> {
        let path = args.from.as_ref().context("--task entropy needs the codec: --from MODEL")?;
        let (codec, id) = read_model(path)?;
        if !codec.is_dependent() {
            bail!("{}: a model with one quantiser", path.display());
        }
        let data = Dataset::open(&args.data, args.crop, args.false_colours)?;
        let arch = codec.arch.clone();
        let mut model = CodecModel::new(arch.clone(), args.seed)?;
        let checkpoint = match Checkpoint::load(&args.run)? {
            Some(old) if old.arch == arch => old,
            Some(old) => {
                bail!("{} holds a run of another architecture: {:?}", args.run.display(), old.arch)
            }
            None => import(&codec)?,
        };
        model.precision = Precision::fastest();
        let y_bits = y_bits(&codec);
        let coder = Coder { model: PreparedModel::new(codec, id), y_bits };
        let pictures = match &args.val {
            Some(folder) => validate::pictures(folder, 16)?,
            None => Vec::new(),
        };
        let analysed_at = |index: u8| {
            pictures
                .par_iter()
                .map(|(geometry, pixels)| {
                    let qualities = vec![anchored(QualityIndex(index))];
                    coder.analyse(Batch { pixels: pixels.clone(), geometry: *geometry, qualities })
                })
                .collect::<Result<Vec<Analysed>>>()
        };
        let val = match pictures.len() {
            0 => Vec::new(),
            _ => LOOKED_AT.into_iter().map(analysed_at).collect::<Result<_>>()?,
        };
        let TrainArgs { batch, crop, workers, seed, .. } = *args;
        Ok((EntropyRun { model, coder, data, val, batch, crop, workers, seed }, checkpoint))
    }
}

impl Trainee for EntropyRun {
    type Arch = Arch;
    type Share = Analysed;

    fn arch(&self) -> &Arch {
        &self.model.arch
    }

    fn vars(&self) -> &BTreeMap<String, Var> {
        &self.model.vars
    }

    fn networks(&self) -> Vec<(String, Vec<Layer>)> {
        self.model.networks()
    }

    fn macs_per_pixel(&self) -> f64 {
        let parts = [Part::HyperAnalysis, Part::HyperSynthesis, Part::Prior, Part::Context];
        parts.iter().map(|part| self.model.arch.macs_per_pixel(*part)).sum()
    }

    fn shares(&self, step: u64) -> Vec<Analysed> {
        self.data
            .batch(self.seed, step, self.batch, self.crop)
            .split(self.batch / self.workers)
            .into_iter()
            .map(|batch| self.coder.analyse(batch).expect("a crop is a picture that can be coded"))
            .collect()
    }

    /// The growth of the logarithm of what a crop costs.
    fn loss(&self, share: &Analysed, rounding: Rounding) -> Result<(Tensor, Vec<Crop>)> {
        let Cost { cost, rates } = cost(&self.model, &self.coder, share, rounding)?;
        let weights: Vec<f32> = rates.iter().map(|[bpp, _]| (1.0 / (bpp + SPARE_RATE)) as f32).collect();
        let loss = (&cost * Tensor::from_vec(weights, cost.shape(), &Device::Cpu)?)?.mean(0)?;
        let crops = share
            .qualities
            .iter()
            .zip(rates)
            .map(|(q, [bits, errors])| Crop { position: position(*q), numbers: vec![bits, bits + errors] });
        Ok((loss, crops.collect()))
    }

    fn validate(&self, checkpoint: &Checkpoint) -> Result<Option<(String, Value)>> {
        if self.val.is_empty() {
            return Ok(None);
        }
        let model = CodecModel::averaged(checkpoint)?;
        let mean = |pictures: &Vec<Analysed>| -> Result<[f64; 2]> {
            let found = pictures.par_iter().map(|picture| {
                let [bits, errors] = cost(&model, &self.coder, picture, Rounding::Hard)?.rates[0];
                Ok([bits.ln(), (bits + errors).ln()])
            });
            let found = found.collect::<Result<Vec<_>>>()?;
            Ok([0, 1].map(|i| (found.iter().map(|rates| rates[i]).sum::<f64>() / found.len() as f64).exp()))
        };
        let found: Vec<[f64; 2]> = self.val.iter().map(mean).collect::<Result<_>>()?;
        let text: Vec<String> =
            found.iter().map(|[bits, cost]| format!("{bits:.4} of {cost:.4} bpp")).collect();
        Ok(Some((text.join("  "), json!(found))))
    }

    fn describe(&self, numbers: &[f64]) -> String {
        format!("{:.3}({:.3})", numbers[0], numbers[1])
    }
}
