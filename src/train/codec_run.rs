//! A codec being trained.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use candle_core::{Tensor, Var};
use serde_json::{Value, json};

use super::checkpoint::Checkpoint;
use super::coded::Coder;
use super::config::{TrainArgs, middle};
use super::dataset::Dataset;
use super::grow::grow;
use super::import::{import, read_model};
use super::kernels::{Geometry, Precision};
use super::model::{Batch, CodecModel, Y_STEP, Z_STEP, numbers, position};
use super::quantize::Rounding;
use super::shrink::shrink;
use super::trainer::{Crop, Trainee};
use super::{klt, validate};
use crate::eval::decibel;
use crate::model::{Arch, Layer, Part, QualityIndex};

/// The variables and pictures of a run.
pub struct CodecRun {
    model: CodecModel,
    data: Dataset,
    val: Vec<(Geometry, Vec<f32>)>,
    batch: usize,
    crop: usize,
    workers: usize,
    seed: u64,
}

impl CodecRun {
    /// A new run, or the one that the run's folder holds.
    pub fn open(args: &TrainArgs) -> Result<(CodecRun, Checkpoint)> {
        let data = Dataset::open(&args.data, args.crop, args.false_colours, args.indices.clone())?;
        let val = match &args.val {
            Some(folder) => validate::pictures(folder, 16)?,
            None => Vec::new(),
        };
        let arch = args.codec.arch();
        let mut model = CodecModel::new(arch.clone(), args.seed)?;
        let crops = || (0..32).map(|i| data.batch(args.seed ^ 0x5eed, i, 8, args.crop)).collect::<Vec<_>>();
        let (found, origin) = match (Checkpoint::load(&args.run)?, &args.from) {
            (None, Some(path)) => (Some(start_from(path, middle(&args.indices))?), path),
            (found, _) => (found, &args.run),
        };
        let checkpoint = match found {
            Some(old) if old.arch == arch => old,
            Some(old) if args.grow => grow(old, &model, &klt::sample(crops()))?,
            Some(old) if args.shrink => shrink(&old, &arch, &crops())?,
            Some(old) => bail!("{} holds a run of another architecture: {:?}", origin.display(), old.arch),
            None => {
                klt::start(&model, &klt::sample(crops()))?;
                let weights = model.vars.iter().map(|(name, var)| Ok((name.clone(), numbers(var)?)));
                Checkpoint::start(arch.clone(), weights.collect::<candle_core::Result<_>>()?)
            }
        };
        model.precision = Precision::fastest();
        if args.coded {
            let path =
                args.from.as_ref().context("--coded needs the model whose files are meant: --from MODEL")?;
            let coder = Coder::of(&read_model(path)?.0).with_context(|| path.display().to_string())?;
            model.coder = Some(Arc::new(coder));
        }
        eprintln!("{:.2} kMAC/pixel in the decoder", arch.decoder_macs_per_pixel() / 1000.0);
        let TrainArgs { batch, crop, workers, seed, .. } = *args;
        Ok((CodecRun { model, data, val, batch, crop, workers, seed }, checkpoint))
    }
}

/// A run whose weights are those of a model file at an index.
fn start_from(path: &Path, index: QualityIndex) -> Result<Checkpoint> {
    let (model, _) = read_model(path)?;
    import(&model, index).with_context(|| path.display().to_string())
}

impl Trainee for CodecRun {
    type Arch = Arch;
    type Share = Batch;

    fn arch(&self) -> &Arch {
        &self.model.arch
    }

    fn vars(&self) -> &BTreeMap<String, Var> {
        &self.model.vars
    }

    fn networks(&self) -> Vec<(String, Vec<Layer>)> {
        self.model.networks()
    }

    /// With rounded latents the encoder: no gradient leads there, and that of the
    /// steps would not see zeros become ones. Coded ones have the steps of the model whose
    /// tables they are coded with.
    fn holds(&self, name: &str, rounding: Rounding) -> bool {
        let encoder = [Part::Analysis.name(), Part::HyperAnalysis.name(), Y_STEP, Z_STEP];
        let held = self.model.coder.is_some() && [Y_STEP, Z_STEP].contains(&name);
        held || matches!(rounding, Rounding::Hard) && encoder.contains(&name)
    }

    fn macs_per_pixel(&self) -> f64 {
        Part::ALL.iter().map(|part| self.model.arch.macs_per_pixel(*part)).sum()
    }

    fn shares(&self, step: u64) -> Vec<Batch> {
        self.data.batch(self.seed, step, self.batch, self.crop).split(self.batch / self.workers)
    }

    fn loss(&self, share: &Batch, rounding: Rounding) -> Result<(Tensor, Vec<Crop>)> {
        let outcome = self.model.forward(share, rounding)?;
        let (bpp, hyper, mse): (Vec<f32>, Vec<f32>, Vec<f32>) =
            (outcome.bpp.to_vec1()?, outcome.hyper_bpp.to_vec1()?, outcome.mse.to_vec1()?);
        let crops = share.qualities.iter().enumerate().map(|(i, q)| Crop {
            position: position(*q),
            numbers: vec![f64::from(bpp[i]), f64::from(hyper[i]), decibel(f64::from(mse[i]).max(1e-3))],
        });
        Ok((outcome.loss, crops.collect()))
    }

    fn validate(&self, checkpoint: &Checkpoint) -> Result<Option<(String, Value)>> {
        if self.val.is_empty() {
            return Ok(None);
        }
        let mut model = CodecModel::averaged(checkpoint)?;
        model.coder = self.model.coder.clone();
        let points = validate::run(&model, &self.val)?;
        Ok(Some((validate::describe(&points), json!(points))))
    }

    fn describe(&self, numbers: &[f64]) -> String {
        format!("{:.3}({:.3}) {:.2}", numbers[0], numbers[1], numbers[2])
    }
}
