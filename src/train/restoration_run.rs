//! A denoiser or an enlarger being trained.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use candle_core::{Tensor, Var};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rayon::prelude::*;
use serde_json::{Value, json};

use super::checkpoint::Checkpoint;
use super::config::{Purpose, TrainArgs};
use super::dataset::{Dataset, Picture, load, picture_files, rng_of};
use super::degrade::{Degradation, Example, clean, example};
use super::import::import_restoration;
use super::kernels::Precision;
use super::model::numbers;
use super::net::Layout;
use super::quantize::Rounding;
use super::restoration::Restoration;
use super::trainer::{Crop, Trainee};
use crate::eval::decibel;
use crate::model::restoration::PART;
use crate::model::{Layer, RestorationArch, RestorationModel};
use crate::restore::Samples;

/// Held-out pictures looked at, and the side of the part of them that is, a
/// multiple of all factors.
const HELD_OUT: (usize, usize) = (16, 240);

/// The variable and pictures of a run.
pub struct RestorationRun {
    net: Restoration,
    data: Dataset,
    val: Vec<Samples>,
    batch: usize,
    crop: usize,
    workers: usize,
    seed: u64,
}

/// A crop and how strongly it was degraded.
pub struct Drawn {
    positions: Vec<f32>,
    examples: Vec<Example>,
}

impl RestorationRun {
    /// A new run, or the one that the run's folder holds.
    pub fn open(args: &TrainArgs) -> Result<(RestorationRun, Checkpoint<RestorationArch>)> {
        let arch = args.restoration.arch(args.task == Purpose::Denoise);
        if !args.crop.is_multiple_of(arch.multiple() * arch.task.block().max(arch.task.output_block())) {
            bail!("--crop {} is not a multiple of what {} levels need", args.crop, arch.levels);
        }
        let data = Dataset::open(&args.data, args.crop, args.false_colours, args.indices.clone())?;
        let val = match &args.val {
            Some(folder) => held_out(folder, HELD_OUT.0)?,
            None => Vec::new(),
        };
        let mut net = Restoration::new(arch.clone(), args.seed)?;
        net.precision = Precision::fastest();
        let checkpoint = match (Checkpoint::<RestorationArch>::load(&args.run)?, &args.from) {
            (Some(old), _) if old.arch == arch => old,
            (Some(old), _) => {
                bail!("{} holds a run of another architecture: {:?}", args.run.display(), old.arch)
            }
            (None, Some(path)) => start_from(&net, path)?,
            (None, None) => {
                Checkpoint::start(arch, BTreeMap::from([(PART.to_string(), numbers(&net.vars[PART])?)]))
            }
        };
        let TrainArgs { batch, crop, workers, seed, .. } = *args;
        Ok((RestorationRun { net, data, val, batch, crop, workers, seed }, checkpoint))
    }
}

/// The middle of the first pictures of a folder.
pub fn held_out(folder: &Path, count: usize) -> Result<Vec<Samples>> {
    picture_files(folder)?
        .iter()
        .take(count)
        .map(|path| {
            let Picture { width, height, rgb } = load(path)?;
            let side = HELD_OUT.1.min(width / 48 * 48).min(height / 48 * 48);
            if side == 0 {
                bail!("{}: {width}x{height} pixels are too few", path.display());
            }
            let (x, y) = ((width - side) / 2, (height - side) / 2);
            let rows = (y..y + side).flat_map(|y| &rgb[(y * width + x) * 3..][..side * 3]);
            Ok(clean(&rows.copied().collect::<Vec<u8>>(), side, side))
        })
        .collect()
}

/// A run whose weights are those of a model file, where the shapes agree: an
/// enlarger can start from one by another factor.
fn start_from(net: &Restoration, path: &Path) -> Result<Checkpoint<RestorationArch>> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let model = RestorationModel::read(&bytes).with_context(|| path.display().to_string())?;
    let old = import_restoration(&model)?;
    let (from, to) = (Layout::new(&model.arch.layers()), Layout::new(&net.arch.layers()));
    let mut params = numbers(&net.vars[PART])?;
    if from.slots.len() != to.slots.len() {
        bail!("{} is a model of another depth: {:?}", path.display(), model.arch);
    }
    for (a, b) in from.slots.iter().zip(&to.slots).filter(|(a, b)| a.shape == b.shape) {
        params[b.weight..][..a.shape.0 * a.shape.1].copy_from_slice(a.weights(&old));
        params[b.bias..][..a.bias_rows * a.shape.1].copy_from_slice(a.biases(&old));
    }
    Ok(Checkpoint::start(net.arch.clone(), BTreeMap::from([(PART.to_string(), params)])))
}

impl Trainee for RestorationRun {
    type Arch = RestorationArch;
    type Share = Drawn;

    fn arch(&self) -> &RestorationArch {
        &self.net.arch
    }

    fn vars(&self) -> &BTreeMap<String, Var> {
        &self.net.vars
    }

    fn networks(&self) -> Vec<(String, Vec<Layer>)> {
        vec![(PART.to_string(), self.net.arch.layers())]
    }

    fn macs_per_pixel(&self) -> f64 {
        self.net.arch.macs_per_pixel()
    }

    fn shares(&self, step: u64) -> Vec<Drawn> {
        let mut rng = rng_of(self.seed, step);
        let count = self.batch / self.workers;
        (0..self.workers)
            .map(|worker| {
                let (mut positions, mut examples) = (Vec::new(), Vec::new());
                for index in 0..count {
                    let crop = clean(&self.data.crop(&mut rng, self.crop), self.crop, self.crop);
                    // Stratified over the batch, so that every step sees faint and strong noise.
                    let place = (index * self.workers + worker) as f32 + rng.random_range(0.0..1.0);
                    let position = place / self.batch as f32;
                    let degradation = Degradation::draw(self.net.arch.task, &mut rng, position);
                    examples.push(example(&self.net.arch, &crop, degradation, &mut rng));
                    positions.push(position);
                }
                Drawn { positions, examples }
            })
            .collect()
    }

    fn loss(&self, share: &Drawn, _: Rounding) -> Result<(Tensor, Vec<Crop>)> {
        let (loss, mse) = self.net.forward(&share.examples)?;
        let crops = share
            .positions
            .iter()
            .zip(mse.to_vec1::<f32>()?)
            .map(|(position, mse)| Crop { position: f64::from(*position), numbers: vec![psnr(mse)] });
        Ok((loss, crops.collect()))
    }

    fn validate(&self, checkpoint: &Checkpoint<RestorationArch>) -> Result<Option<(String, Value)>> {
        if self.val.is_empty() {
            return Ok(None);
        }
        let net = Restoration::averaged(checkpoint)?;
        let mean = |look: Degradation| -> Result<f64> {
            let found = self.val.par_iter().enumerate().map(|(i, picture)| {
                let example = example(&net.arch, picture, look, &mut StdRng::seed_from_u64(i as u64));
                Ok(psnr(net.forward(&[example])?.1.to_vec1::<f32>()?[0]))
            });
            Ok(found.collect::<Result<Vec<f64>>>()?.iter().sum::<f64>() / self.val.len() as f64)
        };
        let found: Vec<f64> =
            Degradation::looks(net.arch.task).into_iter().map(mean).collect::<Result<_>>()?;
        let text: Vec<String> = found.iter().map(|psnr| format!("{psnr:.3} dB")).collect();
        Ok(Some((text.join("  "), json!(found))))
    }

    fn describe(&self, numbers: &[f64]) -> String {
        format!("{:.2} dB", numbers[0])
    }
}

/// PSNR in dB of a squared error on the 0..255 scale.
pub fn psnr(mse: f32) -> f64 {
    decibel(f64::from(mse).max(1e-3))
}
