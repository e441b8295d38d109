//! WebAssembly's 128-bit SIMD: a tile is 4 positions x 8 outputs, which leaves
//! engines with 16 registers some to spare. `i32x4.dot_i16x8_s` is `vpmaddwd`,
//! it wraps. Depthwise rows and epilogues are the scalar loops, which the
//! compiler vectorises.
#![allow(unsafe_code)]

use std::arch::wasm32::*;

use super::{Accumulators, Epilogue, Kernel, assert_tile, scalar};
use crate::nn::weights::{Depthwise, WeightPair};

/// Exists where the whole module was compiled for SIMD, see [`super::of`].
#[derive(Debug)]
pub struct Simd128;

impl Kernel for Simd128 {
    fn accumulate(
        &self,
        weights: &[WeightPair],
        inputs: usize,
        x: &[i16],
        acc: &mut [Accumulators],
        lanes: usize,
    ) {
        assert_tile(weights, inputs, x, acc);
        let (mut x, mut acc) = (x, acc);
        while !acc.is_empty() {
            let step = if acc.len() >= 4 { 4 } else { 1 };
            let (now, later) = acc.split_at_mut(step);
            for first in (0..lanes).step_by(8) {
                // SAFETY: `assert_tile` has seen to it that there are `step`
                // positions of `inputs` values and a weight for each.
                unsafe {
                    match step {
                        4 => tile::<4>(weights, inputs, first, x, now),
                        _ => tile::<1>(weights, inputs, first, x, now),
                    }
                }
            }
            (x, acc) = (&x[step * inputs..], later);
        }
    }

    fn finish(&self, acc: &[Accumulators], epilogue: &Epilogue<'_>, add: Option<&[i16]>, output: &mut [i16]) {
        scalar::finish(acc, epilogue, add, output);
    }

    fn depthwise_row(&self, layer: &Depthwise, rows: [&[i16]; 3], before: usize, output: &mut [i16]) {
        scalar::depthwise_row(layer, rows, before, 0, output);
    }
}

/// `P` positions and 8 lanes from `first` on.
///
/// # Safety
///
/// `weights` must hold `inputs.div_ceil(2)` entries, `x` at least `P * inputs`
/// values, `acc` be `P` long, and `first` be a multiple of 8 below 32.
unsafe fn tile<const P: usize>(
    weights: &[WeightPair],
    inputs: usize,
    first: usize,
    x: &[i16],
    acc: &mut [Accumulators],
) {
    let mut sums = [[i32x4_splat(0); 2]; P];
    let multiply = |sums: &mut [[v128; 2]; P], pair: usize, read: &dyn Fn(usize) -> v128| {
        // SAFETY: callers pass a `pair` below `inputs.div_ceil(2)`, and `first + 8`
        // lanes of an entry exist.
        let weights = unsafe {
            let weights = weights.as_ptr().add(pair).cast::<[i16; 2]>().add(first).cast::<v128>();
            [v128_load(weights), v128_load(weights.add(1))]
        };
        for (position, sums) in sums.iter_mut().enumerate() {
            let x = read(position);
            sums[0] = i32x4_add(sums[0], i32x4_dot_i16x8(weights[0], x));
            sums[1] = i32x4_add(sums[1], i32x4_dot_i16x8(weights[1], x));
        }
    };
    for pair in 0..inputs / 2 {
        // SAFETY: `2 * pair + 1 < inputs`, so both values are the position's.
        multiply(&mut sums, pair, &|position| unsafe {
            v128_load32_splat(x.as_ptr().add(position * inputs + 2 * pair).cast())
        });
    }
    if inputs % 2 == 1 {
        multiply(&mut sums, inputs / 2, &|position| {
            i32x4_splat(i32::from(x[(position + 1) * inputs - 1] as u16))
        });
    }
    for (acc, sums) in acc.iter_mut().zip(sums) {
        // SAFETY: `first + 8` is at most `LANES`.
        unsafe {
            let acc = acc.0.as_mut_ptr().add(first).cast::<v128>();
            v128_store(acc, sums[0]);
            v128_store(acc.add(1), sums[1]);
        }
    }
}
