//! A codec's synthesis transform being trained alone, on the latents that the codec's
//! files hold: of two quantisers, which the noise of [`super::codec_run`] only resembles.
//! Everything else stays as it is, and so do the files' bits.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use candle_core::{Device, Tensor, Var};
use image::DynamicImage;
use rayon::prelude::*;
use serde_json::{Value, json};

use super::checkpoint::Checkpoint;
use super::config::{TrainArgs, middle, scaled};
use super::dataset::Dataset;
use super::grow::grow;
use super::import::{import, read_model, units};
use super::kernels::{Geometry, Precision};
use super::model::{Batch, CodecModel, anchored, image_of_rows, lambda, position};
use super::quantize::Rounding;
use super::shrink::shrink;
use super::trainer::{Crop, Trainee};
use super::{klt, validate};
use crate::codec::PreparedModel;
use crate::codec::training::coded_latents;
use crate::eval::decibel;
use crate::model::quality::STEPS;
use crate::model::{Arch, Layer, Part, QualityIndex};

/// Mean squared errors that photographs have at a lambda are about this over its root.
const USUAL_ERROR: f64 = 3.5;
/// Quality indices looked at in validation of a run for all of them; others have as many,
/// as far apart for their range.
const LOOKED_AT: [u8; 5] = [16, 64, 112, 160, 208];

/// The variable, the codec and the pictures of a run.
pub struct SynthesisRun {
    model: CodecModel,
    coder: Coder,
    data: Dataset,
    val: Vec<Vec<Coded>>,
    batch: usize,
    crop: usize,
    workers: usize,
    seed: u64,
}

/// The codec whose files are to look better.
struct Coder {
    model: Arc<PreparedModel>,
    /// What a latent of the integers is in floats.
    unit: f32,
}

/// Crops, and their latents as a decoder has them.
pub struct Coded {
    batch: Batch,
    /// `(positions at 1/16, M)`.
    latents: Vec<f32>,
}

impl Coder {
    /// Codes every crop of a batch, at the index nearest to its quality.
    fn code(&self, mut batch: Batch) -> Result<Coded> {
        let size = batch.pixels.len() / batch.geometry.batch;
        let one = Geometry { batch: 1, ..batch.geometry };
        let mut latents = Vec::new();
        for (pixels, quality) in batch.pixels.chunks_exact(size).zip(&mut batch.qualities) {
            let index = (quality.0 as f32 + quality.1) * STEPS as f32;
            let index = QualityIndex(index.round().min(255.0) as u8);
            *quality = anchored(index);
            let picture = DynamicImage::ImageRgb8(image_of_rows(one, pixels));
            let coded = coded_latents(&picture, &self.model, index)?;
            latents.extend(coded.data.iter().map(|y| f32::from(*y) * self.unit));
        }
        Ok(Coded { batch, latents })
    }
}

impl SynthesisRun {
    /// A new run, or the one that the run's folder holds.
    pub fn open(args: &TrainArgs) -> Result<(SynthesisRun, Checkpoint)> {
        let path = args.from.as_ref().context("--task synthesis needs the codec: --from MODEL")?;
        let (codec, id) = read_model(path)?;
        let data = Dataset::open(&args.data, args.crop, args.false_colours, args.indices.clone())?;
        let Arch { synthesis_channels, synthesis_blocks, synthesis_inner, .. } = args.codec.arch();
        let arch = Arch { synthesis_channels, synthesis_blocks, synthesis_inner, ..codec.arch.clone() };
        let mut model = CodecModel::new(arch.clone(), args.seed)?;
        let checkpoint = match Checkpoint::load(&args.run)? {
            Some(old) if old.arch == arch => old,
            Some(old) => {
                bail!("{} holds a run of another architecture: {:?}", args.run.display(), old.arch)
            }
            None => {
                let crops =
                    (0..32).map(|i| data.batch(args.seed ^ 0x5eed, i, 8, args.crop)).collect::<Vec<_>>();
                let start = narrowed(import(&codec, middle(&args.indices))?, &arch, &crops)?;
                grow(start, &model, &klt::sample(crops))?
            }
        };
        model.precision = Precision::fastest();
        let unit = (-units(&codec).y as f32).exp2();
        let coder = Coder { model: PreparedModel::new(codec, id), unit };
        let pictures = match &args.val {
            Some(folder) => validate::pictures(folder, 16)?,
            None => Vec::new(),
        };
        let coded_at = |index: u8| {
            pictures
                .par_iter()
                .map(|(geometry, pixels)| {
                    let qualities = vec![anchored(QualityIndex(index))];
                    coder.code(Batch { pixels: pixels.clone(), geometry: *geometry, qualities })
                })
                .collect::<Result<Vec<Coded>>>()
        };
        let val = match pictures.len() {
            0 => Vec::new(),
            _ => LOOKED_AT
                .into_iter()
                .map(|index| coded_at(scaled(index, &args.indices)))
                .collect::<Result<_>>()?,
        };
        eprintln!("{:.2} kMAC/pixel in the decoder", arch.decoder_macs_per_pixel() / 1000.0);
        let TrainArgs { batch, crop, workers, seed, .. } = *args;
        Ok((SynthesisRun { model, coder, data, val, batch, crop, workers, seed }, checkpoint))
    }
}

/// The synthesis transform cut down to what `arch` has less of; everything else stays.
fn narrowed(mut start: Checkpoint, arch: &Arch, sample: &[Batch]) -> Result<Checkpoint> {
    let old = &start.arch;
    let smaller = Arch {
        synthesis_channels: old.synthesis_channels.min(arch.synthesis_channels),
        synthesis_blocks: old.synthesis_blocks.min(arch.synthesis_blocks),
        synthesis_inner: old.synthesis_inner.min(arch.synthesis_inner),
        ..old.clone()
    };
    if smaller != *old {
        let cut = shrink(&start, &smaller, sample)?;
        let part = Part::Synthesis.name().to_string();
        start.weights.insert(part.clone(), cut.weights[&part].clone());
        start = Checkpoint::start(smaller, start.weights);
    }
    Ok(start)
}

/// The mean squared error of each crop.
fn errors(model: &CodecModel, coded: &Coded) -> Result<Tensor> {
    let rows = coded.latents.len() / model.arch.latents;
    let latents = Tensor::from_slice(&coded.latents, (rows, model.arch.latents), &Device::Cpu)?;
    Ok(model.synthesis_errors(&coded.batch, &latents)?)
}

impl Trainee for SynthesisRun {
    type Arch = Arch;
    type Share = Coded;

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
        self.model.arch.macs_per_pixel(Part::Synthesis)
    }

    fn shares(&self, step: u64) -> Vec<Coded> {
        self.data
            .batch(self.seed, step, self.batch, self.crop)
            .split(self.batch / self.workers)
            .into_iter()
            .map(|batch| self.coder.code(batch).expect("a crop is a picture that can be coded"))
            .collect()
    }

    /// The logarithm of the error, as a mean BD-rate counts pictures; what has less
    /// than the usual error counts as much as in the picture around it.
    fn loss(&self, share: &Coded, _: Rounding) -> Result<(Tensor, Vec<Crop>)> {
        let mse = errors(&self.model, share)?;
        let usual: Vec<f32> =
            share.batch.qualities.iter().map(|q| (USUAL_ERROR / lambda(*q).sqrt()) as f32).collect();
        let loss = (&mse + Tensor::from_vec(usual, mse.shape(), &Device::Cpu)?)?.log()?.mean(0)?;
        let crops = share.batch.qualities.iter().zip(mse.to_vec1::<f32>()?).map(|(q, mse)| Crop {
            position: position(*q),
            numbers: vec![decibel(f64::from(mse).max(1e-3))],
        });
        Ok((loss, crops.collect()))
    }

    fn validate(&self, checkpoint: &Checkpoint) -> Result<Option<(String, Value)>> {
        if self.val.is_empty() {
            return Ok(None);
        }
        let model = CodecModel::averaged(checkpoint)?;
        let mean = |pictures: &Vec<Coded>| -> Result<f64> {
            let found = pictures.par_iter().map(|picture| {
                let mse = errors(&model, picture)?.to_vec1::<f32>()?[0];
                Ok(decibel(f64::from(mse)))
            });
            Ok(found.collect::<Result<Vec<f64>>>()?.iter().sum::<f64>() / pictures.len() as f64)
        };
        let found: Vec<f64> = self.val.iter().map(mean).collect::<Result<_>>()?;
        let text: Vec<String> = found.iter().map(|psnr| format!("{psnr:.3} dB")).collect();
        Ok(Some((text.join("  "), json!(found))))
    }

    fn describe(&self, numbers: &[f64]) -> String {
        format!("{:.2} dB", numbers[0])
    }
}
