//! NEON, which every aarch64 processor has: a tile is 4 positions x 16 outputs,
//! 16 of the 32 registers. Depthwise rows and epilogues are the scalar loops,
//! which the compiler vectorises with the same instructions.
#![allow(unsafe_code)]

use std::arch::aarch64::*;

use super::{Accumulators, Epilogue, Kernel, assert_tile, scalar};
use crate::nn::weights::{Depthwise, WeightPair};

/// Proof that this processor has NEON.
#[derive(Debug)]
pub struct Neon(());

impl Neon {
    /// `None` where the processor lacks the feature that the functions of this
    /// file enable.
    pub fn new() -> Option<Neon> {
        std::arch::is_aarch64_feature_detected!("neon").then_some(Neon(()))
    }
}

impl Kernel for Neon {
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
            for first in (0..lanes).step_by(16) {
                // SAFETY: `self` proves the feature, `assert_tile` that there are
                // `step` positions of `inputs` values and a weight for each.
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

/// `P` positions and 16 lanes from `first` on.
///
/// # Safety
///
/// `weights` must hold `inputs.div_ceil(2)` entries, `x` at least `P * inputs`
/// values, `acc` be `P` long, and `first` be 0 or 16.
#[target_feature(enable = "neon")]
unsafe fn tile<const P: usize>(
    weights: &[WeightPair],
    inputs: usize,
    first: usize,
    x: &[i16],
    acc: &mut [Accumulators],
) {
    let mut sums = [[vdupq_n_s32(0); 4]; P];
    for pair in 0..inputs.div_ceil(2) {
        // SAFETY: `first + 16` lanes of an entry exist. De-interleaved, the first
        // register of each group belongs to input `2 * pair`, the second to the next.
        let groups = unsafe {
            let weights = weights.as_ptr().add(pair).cast::<i16>().add(2 * first);
            [vld2q_s16(weights), vld2q_s16(weights.add(16))]
        };
        for half in 0..2.min(inputs - 2 * pair) {
            for (position, sums) in sums.iter_mut().enumerate() {
                // SAFETY: `2 * pair + half < inputs` and `position < P`.
                let x = unsafe { *x.as_ptr().add(position * inputs + 2 * pair + half) };
                for (sums, group) in sums.chunks_exact_mut(2).zip(groups) {
                    let weights = if half == 0 { group.0 } else { group.1 };
                    sums[0] = vmlal_n_s16(sums[0], vget_low_s16(weights), x);
                    sums[1] = vmlal_high_n_s16(sums[1], weights, x);
                }
            }
        }
    }
    for (acc, sums) in acc.iter_mut().zip(sums) {
        for (index, sum) in sums.into_iter().enumerate() {
            // SAFETY: `first + 4 * index + 4` is at most `LANES`.
            unsafe { vst1q_s32(acc.0.as_mut_ptr().add(first + 4 * index), sum) };
        }
    }
}
