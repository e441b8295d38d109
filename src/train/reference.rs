//! The same layer lists run by plain candle ops, one per step.
//!
//! Slow and obvious: the oracle that [`super::net`]'s hand-written backward
//! passes are tested against, and what runs on devices other than the CPU.

use candle_core::{D, Result, Tensor};

use super::kernels::{Geometry, LEAKY_SLOPE};
use super::net::{Anchored, Layout, Slot};
use crate::model::layer::{GATE_LIMIT, Layer};
use crate::model::quality::ANCHORS;

/// Runs `layers` on `(rows, channels)` activations with the flat `params`.
pub fn apply(
    layers: &[Layer],
    geometry: Geometry,
    qualities: &[Anchored],
    input: &Tensor,
    params: &Tensor,
) -> Result<Tensor> {
    let layout = Layout::new(layers);
    let mut pass = Pass { params, slots: layout.slots.iter(), geometry, blend: blend(qualities, input)? };
    pass.run(layers, input.clone())
}

/// `batch x ANCHORS` interpolation weights.
pub fn blend(qualities: &[Anchored], like: &Tensor) -> Result<Tensor> {
    let mut weights = vec![0.0f32; qualities.len() * ANCHORS];
    for (row, (anchor, f)) in weights.chunks_exact_mut(ANCHORS).zip(qualities) {
        row[*anchor] += 1.0 - f;
        row[(anchor + 1).min(ANCHORS - 1)] += f;
    }
    Tensor::from_vec(weights, (qualities.len(), ANCHORS), like.device())
}

struct Pass<'a> {
    params: &'a Tensor,
    slots: std::slice::Iter<'a, Slot>,
    geometry: Geometry,
    blend: Tensor,
}

impl Pass<'_> {
    fn run(&mut self, layers: &[Layer], mut x: Tensor) -> Result<Tensor> {
        for layer in layers {
            let g = self.geometry;
            x = match layer {
                Layer::Pointwise { outputs, .. } => {
                    let slot = self.slots.next().expect("a slot per site");
                    let weight = self.params.narrow(0, slot.weight, slot.shape.0 * slot.shape.1)?;
                    let bias = self.params.narrow(0, slot.bias, slot.bias_rows * slot.shape.1)?;
                    let bias = self.blend.matmul(&bias.reshape((slot.bias_rows, slot.shape.1))?)?;
                    let y = x.matmul(&weight.reshape(slot.shape)?)?;
                    y.reshape((g.batch, g.positions(), *outputs))?
                        .broadcast_add(&bias.unsqueeze(1)?)?
                        .reshape((g.rows(), *outputs))?
                }
                Layer::Depthwise { channels } => {
                    let slot = self.slots.next().expect("a slot per site");
                    let weight = self.params.narrow(0, slot.weight, 9 * channels)?.reshape((9, *channels))?;
                    let bias = self.params.narrow(0, slot.bias, *channels)?;
                    let padded = x
                        .reshape((g.batch, g.height, g.width, *channels))?
                        .pad_with_zeros(1, 1, 1)?
                        .pad_with_zeros(2, 1, 1)?;
                    let mut sum = None;
                    for tap in 0..9 {
                        let shifted = padded.narrow(1, tap / 3, g.height)?.narrow(2, tap % 3, g.width)?;
                        let term = shifted.broadcast_mul(&weight.get(tap)?)?;
                        sum = Some(match sum {
                            None => term,
                            Some(sum) => (sum + term)?,
                        });
                    }
                    sum.expect("nine taps").broadcast_add(&bias)?.reshape((g.rows(), *channels))?
                }
                Layer::LeakyRelu => candle_nn::ops::leaky_relu(&x, f64::from(LEAKY_SLOPE))?,
                Layer::Gate { channels } => {
                    let limit = f64::from(GATE_LIMIT);
                    let factor = x.narrow(D::Minus1, *channels, *channels)?.clamp(-limit, limit)?;
                    (x.narrow(D::Minus1, 0, *channels)? * factor)?
                }
                Layer::Unshuffle => {
                    let c = x.dim(1)?;
                    self.geometry = Geometry { height: g.height / 2, width: g.width / 2, ..g };
                    x.reshape((g.batch, g.height / 2, 2, g.width / 2, 2 * c))?
                        .transpose(2, 3)?
                        .contiguous()?
                        .reshape((g.rows() / 4, 4 * c))?
                }
                Layer::Shuffle => {
                    let c = x.dim(1)? / 4;
                    self.geometry = Geometry { height: g.height * 2, width: g.width * 2, ..g };
                    x.reshape((g.batch, g.height, g.width, 2, 2 * c))?
                        .transpose(2, 3)?
                        .contiguous()?
                        .reshape((g.rows() * 4, c))?
                }
                Layer::Residual(body) => (self.run(body, x.clone())? + x)?,
            };
        }
        Ok(x)
    }
}
