//! Runs a prepared network, step by step, on rayon's current thread pool.

use rayon::prelude::*;

use super::kernel::{self, Accumulators, Epilogue, Kernel, TILE};
use super::level::Level;
use super::plan::{Step, plan};
use super::requant::leaky_relu;
use super::shuffle::{shuffle, unshuffle};
use super::tensor::{Pool, Tensor};
use super::weights::{Depthwise, LANES, Lanes, Pointwise};
use crate::model::{IntegerNetwork, QualityIndex};
use crate::{Error, Result};

/// Positions of a pointwise layer that are one piece of work: few enough that
/// they stay in the first-level cache while every block of weights passes over
/// them.
const CHUNK: usize = 8 * TILE;

/// A network with packed weights, ready to run.
#[derive(Debug)]
pub struct Network {
    steps: Vec<Step>,
    kernel: Box<dyn Kernel>,
}

impl Network {
    /// Checks and packs a network. A description and parameters that do not fit
    /// together are [`Error::Model`]; a level that this processor lacks is
    /// [`Error::Parameter`].
    pub fn new(network: &IntegerNetwork, level: Level) -> Result<Network> {
        let kernel = kernel::of(level)
            .ok_or_else(|| Error::Parameter(format!("this processor has no {}", level.name())))?;
        Ok(Network { steps: plan(network)?, kernel })
    }

    /// What the network makes of `input` at a quality. The result depends on
    /// neither the level nor the number of threads.
    ///
    /// Panics if `input` does not have the channels the network reads, or if a
    /// size that is to be halved is odd.
    pub fn run(&self, input: &Tensor, quality: QualityIndex) -> Tensor {
        assert_eq!(input.data.len(), input.positions() * input.channels, "a tensor's data against its sizes");
        let mut run = Run { kernel: &*self.kernel, quality, pool: Pool::default() };
        run.steps(&self.steps, input, None)
    }
}

/// One pass through a network.
struct Run<'a> {
    kernel: &'a dyn Kernel,
    quality: QualityIndex,
    pool: Pool,
}

impl Run<'_> {
    /// Runs a list of steps; `add`, if any, is added to the last one's output.
    fn steps(&mut self, steps: &[Step], input: &Tensor, add: Option<&Tensor>) -> Tensor {
        let mut current: Option<Tensor> = None;
        for (index, step) in steps.iter().enumerate() {
            let x = current.as_ref().unwrap_or(input);
            let add = add.filter(|_| index + 1 == steps.len());
            let y = self.step(step, x, add);
            if let Some(x) = current.replace(y) {
                self.pool.give(x);
            }
        }
        current.unwrap_or_else(|| {
            let mut y = input.clone();
            add.inspect(|add| saturating_add(&mut y, add));
            y
        })
    }

    fn step(&mut self, step: &Step, x: &Tensor, add: Option<&Tensor>) -> Tensor {
        let mut y = match step {
            Step::Pointwise(layer) => return self.pointwise(layer, x, add),
            Step::Depthwise(layer) => self.depthwise(layer, x),
            Step::LeakyRelu => {
                let mut y = self.pool.take(x.height, x.width, x.channels);
                for (y, &x) in y.data.iter_mut().zip(&x.data) {
                    *y = leaky_relu(x);
                }
                y
            }
            &Step::Gate { channels, gate } => {
                assert_eq!(x.channels, 2 * channels, "channels of a gate");
                let mut y = self.pool.take(x.height, x.width, channels);
                for (y, x) in y.data.chunks_exact_mut(channels).zip(x.data.chunks_exact(2 * channels)) {
                    for (channel, y) in y.iter_mut().enumerate() {
                        *y = gate.apply(x[channel], x[channel + channels]);
                    }
                }
                y
            }
            Step::Unshuffle => {
                assert!(
                    x.height.is_multiple_of(2) && x.width.is_multiple_of(2),
                    "a tensor of {}x{} positions cannot be halved",
                    x.height,
                    x.width
                );
                let mut y = self.pool.take(x.height / 2, x.width / 2, 4 * x.channels);
                unshuffle(x, &mut y);
                y
            }
            Step::Shuffle => {
                assert!(x.channels.is_multiple_of(4), "{} channels", x.channels);
                let mut y = self.pool.take(2 * x.height, 2 * x.width, x.channels / 4);
                shuffle(x, &mut y);
                y
            }
            Step::Residual(body) => self.steps(body, x, Some(x)),
        };
        add.inspect(|add| saturating_add(&mut y, add));
        y
    }

    fn pointwise(&mut self, layer: &Pointwise, x: &Tensor, add: Option<&Tensor>) -> Tensor {
        assert_eq!(x.channels, layer.inputs, "channels of a pointwise layer");
        let mut y = self.pool.take(x.height, x.width, layer.outputs);
        let offsets = layer.offsets(self.quality);
        let stored = CHUNK * layer.outputs;
        for_each_chunk(&mut y.data, stored, |index, y| {
            let x = &x.data[index * CHUNK * layer.inputs..];
            let add = add.map(|add| &add.data[index * stored..][..y.len()]);
            pointwise_chunk(self.kernel, layer, &offsets, x, add, y);
        });
        y
    }

    fn depthwise(&mut self, layer: &Depthwise, x: &Tensor) -> Tensor {
        assert_eq!(x.channels, layer.channels, "channels of a depthwise layer");
        let mut y = self.pool.take(x.height, x.width, x.channels);
        let stride = x.width * x.channels;
        let outside = vec![0; stride];
        let row = |y: Option<usize>| match y {
            Some(y) if y < x.height => &x.data[y * stride..][..stride],
            _ => &outside,
        };
        for_each_chunk(&mut y.data, stride, |y, output| {
            let rows = [row(y.checked_sub(1)), row(Some(y)), row(Some(y + 1))];
            self.kernel.depthwise_row(layer, rows, output);
        });
        y
    }
}

/// Calls `f` with the index and the contents of every chunk, in parallel where
/// there is more than one.
fn for_each_chunk(data: &mut [i16], size: usize, f: impl Fn(usize, &mut [i16]) + Sync) {
    if data.len() <= size {
        if !data.is_empty() {
            f(0, data);
        }
    } else {
        data.par_chunks_mut(size).enumerate().for_each(|(index, chunk)| f(index, chunk));
    }
}

/// A pointwise layer on the positions that `output` has room for. Blocks of
/// weights are the outer loop: one block fits the first-level cache.
fn pointwise_chunk(
    kernel: &dyn Kernel,
    layer: &Pointwise,
    offsets: &[Lanes<i32>],
    x: &[i16],
    add: Option<&[i16]>,
    output: &mut [i16],
) {
    let (inputs, outputs) = (layer.inputs, layer.outputs);
    let mut acc: [Accumulators; TILE] = [Lanes([0; LANES]); TILE];
    for (block, offsets) in offsets.iter().enumerate() {
        let channel = block * layer.block_width();
        let epilogue = Epilogue {
            offsets,
            shifts: layer.shifts(block),
            activation: layer.activation,
            channel,
            count: layer.block_width().min(outputs - channel),
            stride: outputs,
        };
        let weights = layer.weights(block);
        for (tile, output) in output.chunks_mut(TILE * outputs).enumerate() {
            let acc = &mut acc[..output.len() / outputs];
            let x = &x[tile * TILE * inputs..][..acc.len() * inputs];
            let add = add.map(|add| &add[tile * TILE * outputs..][..output.len()]);
            kernel.accumulate(weights, inputs, x, acc);
            kernel.finish(acc, &epilogue, add, output);
        }
    }
}

fn saturating_add(y: &mut Tensor, x: &Tensor) {
    for (y, &x) in y.data.iter_mut().zip(&x.data) {
        *y = x.saturating_add(*y);
    }
}
