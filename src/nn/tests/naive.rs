//! The documentation of the layers, transcribed: reads the description and the
//! unpacked parameters and knows nothing of steps, blocks or kernels.

use crate::model::layer::LEAKY_SHIFT;
use crate::model::{IntegerNetwork, Layer, QualityIndex, SiteParams};
use crate::nn::Tensor;

/// Runs a network one value at a time.
pub fn run(network: &IntegerNetwork, input: &Tensor, quality: QualityIndex) -> Tensor {
    list(&network.layers, &mut network.params.iter(), input, quality)
}

fn list<'a>(
    layers: &[Layer],
    params: &mut impl Iterator<Item = &'a SiteParams>,
    input: &Tensor,
    quality: QualityIndex,
) -> Tensor {
    let mut x = input.clone();
    for layer in layers {
        x = match layer {
            Layer::Pointwise { inputs, outputs } => {
                let Some(SiteParams::Pointwise { weights, shifts, biases }) = params.next() else {
                    panic!("parameters");
                };
                let biases = quality.lerp(biases, *outputs);
                build(x.height, x.width, *outputs, |v, u, o| {
                    let sum = (0..*inputs)
                        .map(|i| i64::from(weights[o * inputs + i]) * i64::from(x.at(v, u)[i]))
                        .sum();
                    requant(sum, biases[o], shifts[o])
                })
            }
            Layer::Depthwise { channels } => {
                let Some(SiteParams::Depthwise { weights, shifts, biases }) = params.next() else {
                    panic!("parameters");
                };
                build(x.height, x.width, *channels, |v, u, c| {
                    let mut sum = 0;
                    for k in 0..9 {
                        let (row, column) = (v + k / 3, u + k % 3);
                        if (1..=x.height).contains(&row) && (1..=x.width).contains(&column) {
                            let value = x.at(row - 1, column - 1)[c];
                            sum += i64::from(weights[k * channels + c]) * i64::from(value);
                        }
                    }
                    requant(sum, biases[c], shifts[c])
                })
            }
            Layer::LeakyRelu => build(x.height, x.width, x.channels, |v, u, c| {
                let value = x.at(v, u)[c];
                value.max(value >> LEAKY_SHIFT)
            }),
            Layer::Gate { channels } => {
                let Some(&SiteParams::Gate { limit, shift }) = params.next() else {
                    panic!("parameters");
                };
                build(x.height, x.width, *channels, |v, u, c| {
                    let by = x.at(v, u)[c + channels].clamp(-limit, limit);
                    let product = i64::from(x.at(v, u)[c]) * i64::from(by);
                    saturate((product + (1 << (shift - 1))) >> shift)
                })
            }
            Layer::Unshuffle => build(x.height / 2, x.width / 2, 4 * x.channels, |v, u, c| {
                let (quarter, c) = (c / x.channels, c % x.channels);
                x.at(2 * v + quarter / 2, 2 * u + quarter % 2)[c]
            }),
            Layer::Shuffle => {
                let channels = x.channels / 4;
                build(2 * x.height, 2 * x.width, channels, |v, u, c| {
                    x.at(v / 2, u / 2)[(v % 2 * 2 + u % 2) * channels + c]
                })
            }
            Layer::Residual(body) => {
                let y = list(body, params, &x, quality);
                build(x.height, x.width, x.channels, |v, u, c| {
                    saturate(i64::from(x.at(v, u)[c]) + i64::from(y.at(v, u)[c]))
                })
            }
        };
    }
    x
}

fn build(height: usize, width: usize, channels: usize, value: impl Fn(usize, usize, usize) -> i16) -> Tensor {
    let mut y = Tensor::new(height, width, channels);
    for index in 0..y.data.len() {
        let (position, c) = (index / channels, index % channels);
        y.data[index] = value(position / width, position % width, c);
    }
    y
}

/// The exact sum is reduced modulo 2^32, which is what wrapping additions do.
fn requant(sum: i64, bias: i32, shift: u8) -> i16 {
    let rounding = if shift == 0 { 0 } else { 1 << (shift - 1) };
    let acc = (sum + i64::from(bias) + rounding) as i32;
    saturate(i64::from(acc >> shift))
}

fn saturate(value: i64) -> i16 {
    value.clamp(i64::from(i16::MIN), i64::from(i16::MAX)) as i16
}
