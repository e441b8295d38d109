//! A trainable denoiser or enlarger: its variable, one forward pass, the objective.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{Device, Result, Tensor, Var};
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::checkpoint::Checkpoint;
use super::degrade::Example;
use super::kernels::{Geometry, Precision};
use super::model::{PIXEL_SCALE, SquaredError, initial_params};
use super::net::{Anchored, Layout, Network};
use crate::model::restoration::PART;
use crate::model::{Layer, RestorationArch};

/// Restoring networks know no quality.
pub const ANY: Anchored = (0, 0.0);

/// Added to squared errors (on the 0..255 scale) before their logarithm, so that
/// flat crops do not outweigh all others.
const FLOOR: f64 = 0.5;

/// A restoring network in floats.
pub struct Restoration {
    /// Shape of the network.
    pub arch: RestorationArch,
    /// Its flat variable, under the name [`PART`].
    pub vars: BTreeMap<String, Var>,
    /// How its products are computed.
    pub precision: Precision,
    layers: Arc<Vec<Layer>>,
}

impl Restoration {
    /// Random weights, of which nothing reaches the output yet.
    pub fn new(arch: RestorationArch, seed: u64) -> Result<Restoration> {
        let layers = arch.layers();
        let layout = Layout::new(&layers);
        let mut params = initial_params(&layers, &mut StdRng::seed_from_u64(seed));
        let last = layout.slots.last().expect("an output layer");
        params[last.weight..][..last.shape.0 * last.shape.1].fill(0.0);
        let var = Var::from_vec(params, layout.len, &Device::Cpu)?;
        let vars = BTreeMap::from([(PART.to_string(), var)]);
        Ok(Restoration { arch, vars, precision: Precision::Full, layers: Arc::new(layers) })
    }

    /// The network with a checkpoint's averaged weights.
    pub fn averaged(checkpoint: &Checkpoint<RestorationArch>) -> Result<Restoration> {
        let new = Restoration::new(checkpoint.arch.clone(), 0)?;
        let weights = checkpoint.states[PART].ema.as_slice();
        new.vars[PART].set(&Tensor::from_slice(weights, weights.len(), &Device::Cpu)?)?;
        Ok(new)
    }

    /// The mean over examples of one size of their error in dB, and the squared
    /// error of each on the 0..255 scale.
    pub fn forward(&self, examples: &[Example]) -> Result<(Tensor, Tensor)> {
        let geometry = Geometry { batch: examples.len(), ..examples[0].geometry };
        let tensor = |rows: &dyn Fn(&Example) -> &[f32], channels: usize| {
            let values: Vec<f32> = examples.iter().flat_map(rows).copied().collect();
            Tensor::from_vec(values, (geometry.rows(), channels), &Device::Cpu)
        };
        let input = tensor(&|e| &e.input, self.arch.task.inputs())?;
        let target = tensor(&|e| &e.target, self.arch.task.outputs())?;
        let (layers, qualities) = (self.layers.clone(), Arc::new(vec![ANY; examples.len()]));
        let network = Network { layers, geometry, qualities, precision: self.precision };
        let output = network.apply(&input, self.vars[PART].as_tensor())?;
        let squared = output.apply_op2(&target, SquaredError { batch: geometry.batch })?;
        let samples = (geometry.positions() * self.arch.task.outputs()) as f64;
        let mse = (squared * (f64::from(PIXEL_SCALE).powi(2) / samples))?;
        let loss = ((mse.clone() + FLOOR)?.log()?.mean(0)? * (10.0 / std::f64::consts::LN_10))?;
        Ok((loss, mse.detach()))
    }
}
