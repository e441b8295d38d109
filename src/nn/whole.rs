//! One step at a time over whole tensors, on rayon's current thread pool: for passes that need
//! what lies between the steps, where a [`Network`](super::Network) keeps no more than some rows.

use std::sync::Arc;

use rayon::prelude::*;

use super::kernel::Kernel;
use super::plan::Step;
use super::requant::leaky_relu;
use super::shuffle::{shuffle_row, unshuffle_row};
use super::stream::{CHUNK, pointwise_chunk};
use super::tensor::Tensor;
use crate::model::QualityIndex;

/// Chunks of a pointwise layer that a thread takes at once.
const CHUNKS: usize = 4;

/// Memory of tensors, to be used again: fresh memory costs more than the arithmetic.
#[derive(Debug, Default)]
pub struct Memory(Vec<Vec<i16>>);

impl Memory {
    /// A tensor of whatever numbers.
    pub fn tensor(&mut self, [height, width, channels]: [usize; 3]) -> Tensor {
        let length = height * width * channels;
        let fits = self.0.iter().rposition(|data| data.capacity() >= length);
        let mut data = match fits {
            Some(index) => self.0.swap_remove(index),
            None => Vec::new(),
        };
        data.resize(length, 0);
        Tensor { height, width, channels, data }
    }

    /// Takes the memory of a tensor that nobody else looks at.
    pub fn give_back(&mut self, tensor: Arc<Tensor>) {
        if let Ok(tensor) = Arc::try_unwrap(tensor) {
            self.0.push(tensor.data);
        }
    }
}

/// What a linear step makes of `x`, plus `add` where there is something to add.
///
/// Panics if `x` does not have the channels the step reads, and at steps that are not linear.
pub fn run(
    kernel: &dyn Kernel,
    step: &Step,
    quality: QualityIndex,
    x: &Tensor,
    add: Option<&Tensor>,
    memory: &mut Memory,
) -> Tensor {
    let mut y = memory.tensor(step.output_size([x.height, x.width, x.channels]));
    let added = |at: usize, length: usize| add.map(|add| &add.data[at..][..length]);
    if let Step::Pointwise(layer) = step {
        let offsets = layer.offsets(quality);
        let chunk = CHUNK * layer.outputs;
        y.data.par_chunks_mut(chunk).with_min_len(CHUNKS).enumerate().for_each(|(index, y)| {
            let positions = y.len() / layer.outputs;
            let x = &x.data[index * CHUNK * layer.inputs..][..positions * layer.inputs];
            pointwise_chunk(kernel, layer, &offsets, x, added(index * chunk, y.len()), y);
        });
        return y;
    }
    let outside = vec![0; x.width * x.channels];
    let row = |y: usize| x.row(y, 0..x.width);
    let stride = y.width * y.channels;
    y.data.par_chunks_mut(stride).with_min_len(CHUNKS).enumerate().for_each(|(index, out)| {
        match step {
            Step::Depthwise(layer) => {
                let near = |y: usize| match y.checked_sub(1) {
                    Some(y) if y < x.height => row(y),
                    _ => &outside,
                };
                kernel.depthwise_row(layer, [near(index), near(index + 1), near(index + 2)], 0, out);
            }
            Step::Unshuffle => unshuffle_row([row(2 * index), row(2 * index + 1)], x.channels, out),
            Step::Shuffle => shuffle_row(row(index / 2), index % 2 == 1, x.channels, out),
            other => panic!("{} by itself", other.name()),
        }
        if let Some(add) = added(index * stride, out.len()) {
            sum(out, add);
        }
    });
    y
}

/// [`leaky_relu`] of all values.
pub fn leaky(x: &mut Tensor) {
    x.data.iter_mut().for_each(|v| *v = leaky_relu(*v));
}

/// Adds, saturating.
pub fn sum(y: &mut [i16], x: &[i16]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y = x.saturating_add(*y));
}
