//! The specification: plain loops, the meaning of every other kernel.
//!
//! The `inline(always)` functions are also compiled into the other kernels,
//! where the loop is one that the compiler vectorises well by itself.

use super::{Accumulators, Epilogue, Kernel};
use crate::nn::requant::{leaky_relu, narrow};
use crate::nn::weights::{Activation, Depthwise, LANES, Lanes, WeightPair};

/// Needs nothing from the processor.
#[derive(Debug)]
pub struct Scalar;

impl Kernel for Scalar {
    fn accumulate(&self, weights: &[WeightPair], inputs: usize, x: &[i16], acc: &mut [Accumulators]) {
        for (x, acc) in x.chunks_exact(inputs).zip(acc) {
            *acc = Lanes([0; LANES]);
            for (pair, weights) in x.chunks(2).zip(weights) {
                let first = i32::from(pair[0]);
                let second = pair.get(1).map_or(0, |&x| i32::from(x));
                for (acc, &[a, b]) in acc.0.iter_mut().zip(&weights.0) {
                    *acc = acc.wrapping_add(i32::from(a) * first).wrapping_add(i32::from(b) * second);
                }
            }
        }
    }

    fn finish(&self, acc: &[Accumulators], epilogue: &Epilogue<'_>, add: Option<&[i16]>, output: &mut [i16]) {
        finish(acc, epilogue, add, output);
    }

    fn depthwise_row(&self, layer: &Depthwise, rows: [&[i16]; 3], output: &mut [i16]) {
        depthwise_row(layer, rows, 0, output);
    }
}

/// See [`Kernel::finish`].
#[inline(always)]
pub fn finish(acc: &[Accumulators], epilogue: &Epilogue<'_>, add: Option<&[i16]>, output: &mut [i16]) {
    for (position, acc) in acc.iter().enumerate() {
        let at = position * epilogue.stride + epilogue.channel;
        let mut y = [0i16; LANES];
        for (lane, y) in y.iter_mut().enumerate() {
            let sum = acc.0[lane].wrapping_add(epilogue.offsets.0[lane]);
            *y = narrow(sum, epilogue.shifts.0[lane]);
        }
        match epilogue.activation {
            Activation::None => {}
            Activation::LeakyRelu => y.iter_mut().for_each(|y| *y = leaky_relu(*y)),
            Activation::Gate(gate) => {
                let (values, gates) = y.split_at_mut(LANES / 2);
                for (y, &by) in values.iter_mut().zip(&*gates) {
                    *y = gate.apply(*y, by);
                }
            }
        }
        if let Some(add) = add {
            let mut x = [0; LANES];
            copy(&mut x[..epilogue.count], &add[at..][..epilogue.count]);
            for (y, x) in y.iter_mut().zip(x) {
                *y = x.saturating_add(*y);
            }
        }
        copy(&mut output[at..][..epilogue.count], &y[..epilogue.count]);
    }
}

/// `copy_from_slice` without a call for the widths of whole blocks.
#[inline(always)]
fn copy(to: &mut [i16], from: &[i16]) {
    const HALF: usize = LANES / 2;
    if let (Ok(to), Ok(from)) = (<&mut [i16; LANES]>::try_from(&mut *to), <&[i16; LANES]>::try_from(from)) {
        *to = *from;
    } else if let (Ok(to), Ok(from)) =
        (<&mut [i16; HALF]>::try_from(&mut *to), <&[i16; HALF]>::try_from(from))
    {
        *to = *from;
    } else {
        to.copy_from_slice(from);
    }
}

/// See [`Kernel::depthwise_row`]; only the channels from `first` on.
#[inline(always)]
pub fn depthwise_row(layer: &Depthwise, rows: [&[i16]; 3], first: usize, output: &mut [i16]) {
    let channels = layer.channels;
    let width = output.len() / channels;
    for column in 0..width {
        for block in (first..channels).step_by(LANES) {
            let count = LANES.min(channels - block);
            let mut acc = [0i32; LANES];
            for (dy, row) in rows.into_iter().enumerate() {
                // Column `column + dx - 1`; those outside the row are zero.
                for dx in 0..3 {
                    if column + dx == 0 || column + dx > width {
                        continue;
                    }
                    let x = &row[(column + dx - 1) * channels + block..][..count];
                    let weights = &layer.weights[(dy * 3 + dx) * channels + block..][..count];
                    for ((acc, &x), &weight) in acc.iter_mut().zip(x).zip(weights) {
                        *acc = acc.wrapping_add(i32::from(weight) * i32::from(x));
                    }
                }
            }
            let output = &mut output[column * channels + block..][..count];
            for (lane, y) in output.iter_mut().enumerate() {
                let sum = acc[lane].wrapping_add(layer.offsets[block + lane]);
                *y = narrow(sum, layer.shifts[block + lane]);
                if layer.leaky {
                    *y = leaky_relu(*y);
                }
            }
        }
    }
}
