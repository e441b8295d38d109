//! The specification: plain loops, the meaning of every other kernel.
//!
//! The `inline(always)` functions are also compiled into the other kernels,
//! where the loop is one that the compiler vectorises well by itself.

use super::{
    Accumulators, Differences, Epilogue, Kernel, Pair, SUM_LANES, assert_differences, assert_tile,
    assert_weighed,
};
use crate::model::layer::LEAKY_SHIFT;
use crate::nn::requant::{Gate, leaky_relu, narrow};
use crate::nn::weights::{Activation, Depthwise, LANES, Lanes, WeightPair};

/// Needs nothing from the processor.
#[derive(Debug)]
pub struct Scalar;

impl Kernel for Scalar {
    fn accumulate(
        &self,
        weights: &[WeightPair],
        inputs: usize,
        x: &[i16],
        acc: &mut [Accumulators],
        lanes: usize,
    ) {
        assert_tile(weights, inputs, x, acc);
        for (x, acc) in x.chunks_exact(inputs).zip(acc) {
            *acc = Lanes([0; LANES]);
            for (pair, weights) in x.chunks(2).zip(weights) {
                let first = i32::from(pair[0]);
                let second = pair.get(1).map_or(0, |&x| i32::from(x));
                for (acc, &[a, b]) in acc.0[..lanes].iter_mut().zip(&weights.0) {
                    *acc = acc.wrapping_add(i32::from(a) * first).wrapping_add(i32::from(b) * second);
                }
            }
        }
    }

    fn finish(&self, acc: &[Accumulators], epilogue: &Epilogue<'_>, add: Option<&[i16]>, output: &mut [i16]) {
        finish(acc, epilogue, add, output);
    }

    fn depthwise_row(&self, layer: &Depthwise, rows: [&[i16]; 3], before: usize, output: &mut [i16]) {
        depthwise_row(layer, rows, before, 0, output);
    }
}

/// See [`Kernel::finish`].
#[inline(always)]
pub fn finish(acc: &[Accumulators], epilogue: &Epilogue<'_>, add: Option<&[i16]>, output: &mut [i16]) {
    let requant = |acc: &Accumulators, lane: usize| {
        let sum = acc.0[lane].wrapping_add(epilogue.offsets.0[lane]);
        narrow(sum, epilogue.shifts.0[lane])
    };
    match epilogue.activation {
        Activation::None => store::<LANES>(acc, epilogue, add, output, requant),
        Activation::LeakyRelu => {
            store::<LANES>(acc, epilogue, add, output, |acc, lane| leaky_relu(requant(acc, lane)))
        }
        Activation::Gate(gate) => {
            const HALF: usize = LANES / 2;
            store::<HALF>(acc, epilogue, add, output, |acc, lane| {
                gate.apply(requant(acc, lane), requant(acc, lane + HALF))
            });
        }
    }
}

/// Stores `value` of every position and lane, a block being `WIDTH` channels
/// wide unless it is the layer's last.
#[inline(always)]
fn store<const WIDTH: usize>(
    acc: &[Accumulators],
    epilogue: &Epilogue<'_>,
    add: Option<&[i16]>,
    output: &mut [i16],
    value: impl Fn(&Accumulators, usize) -> i16,
) {
    for (position, acc) in acc.iter().enumerate() {
        let at = position * epilogue.stride + epilogue.channel;
        // Two calls, so that the usual one has a constant length.
        if epilogue.count == WIDTH {
            let add = add.map(|add| &add[at..][..WIDTH]);
            store_row(&mut output[at..][..WIDTH], add, |lane| value(acc, lane));
        } else {
            let add = add.map(|add| &add[at..][..epilogue.count]);
            let output = &mut output[at..][..epilogue.count];
            store_row(output, add, |lane| value(acc, lane));
        }
    }
}

#[inline(always)]
fn store_row(output: &mut [i16], add: Option<&[i16]>, value: impl Fn(usize) -> i16) {
    match add {
        None => {
            for (lane, y) in output.iter_mut().enumerate() {
                *y = value(lane);
            }
        }
        Some(add) => {
            for (lane, (y, x)) in output.iter_mut().zip(add).enumerate() {
                *y = x.saturating_add(value(lane));
            }
        }
    }
}

/// A gradient's factor in a gate is divided by this power of two.
pub const GATE_SHIFT: u32 = 12;

/// See [`Kernel::leaky_backward`].
#[inline(always)]
pub fn leaky_backward(gradient: &mut [i16], y: &[i16]) {
    for (g, y) in gradient.iter_mut().zip(y) {
        *g = if *y < 0 { *g >> LEAKY_SHIFT } else { *g };
    }
}

/// See [`Kernel::gate_backward`]: each factor's is the other one times the product's, divided by
/// `2^`[`GATE_SHIFT`], and that of a factor beyond the limit 0.
#[inline(always)]
pub fn gate_backward(gate: Gate, channels: usize, x: &[i16], gradient: &[i16], out: &mut [i16]) {
    let half = 1 << (GATE_SHIFT - 1);
    let rows = x.chunks_exact(2 * channels).zip(gradient.chunks_exact(channels));
    for (out, (x, g)) in out.chunks_exact_mut(2 * channels).zip(rows) {
        let ((a, b), (da, db)) = (x.split_at(channels), out.split_at_mut(channels));
        for (((&a, &b), &g), (da, db)) in a.iter().zip(b).zip(g).zip(da.iter_mut().zip(db)) {
            let clamped = b.max(-gate.limit).min(gate.limit);
            *da = narrow(i32::from(g) * i32::from(clamped) + half, GATE_SHIFT);
            let by = narrow(i32::from(g) * i32::from(a) + half, GATE_SHIFT);
            *db = if clamped == b { by } else { 0 };
        }
    }
}

/// See [`Kernel::depthwise_row`]; only the channels from `first` on.
#[inline(always)]
pub fn depthwise_row(layer: &Depthwise, rows: [&[i16]; 3], before: usize, first: usize, output: &mut [i16]) {
    let channels = layer.channels;
    let (width, columns) = (output.len() / channels, rows[0].len() / channels);
    for column in 0..width {
        for block in (first..channels).step_by(LANES) {
            let count = LANES.min(channels - block);
            let mut acc = [0i32; LANES];
            for (dy, row) in rows.into_iter().enumerate() {
                for dx in 0..3 {
                    // One more than the column of the rows.
                    let x = column + before + dx;
                    if x == 0 || x > columns {
                        continue;
                    }
                    let x = &row[(x - 1) * channels + block..][..count];
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

/// The values of a row from `first` on.
#[inline(always)]
fn lanes<T>(row: &[T], first: usize) -> &[T; LANES] {
    row[first..].first_chunk().expect("rows are whole numbers of lanes")
}

/// [`Kernel::weigh`], which compilers make vectors of.
#[inline(always)]
pub fn weigh(pairs: &[Pair<'_>], weights: &[[i16; 3]], sums: &mut [Vec<i32>; 3]) {
    assert_weighed(pairs, weights, sums);
    for first in (0..sums[0].len()).step_by(LANES) {
        let mut totals = [[0i32; LANES]; 3];
        for (pair, weights) in pairs.iter().zip(weights) {
            let [a, b] = pair.map(|row| lanes(row, first));
            for (totals, &weight) in totals.iter_mut().zip(weights) {
                for i in 0..LANES {
                    totals[i] =
                        totals[i].wrapping_add(i32::from(a[i].wrapping_add(b[i])) * i32::from(weight));
                }
            }
        }
        for (sums, totals) in sums.iter_mut().zip(&totals) {
            sums[first..].iter_mut().zip(totals).for_each(|(sum, total)| *sum = sum.wrapping_add(*total));
        }
    }
}

/// [`Kernel::differences`], which compilers make vectors of.
#[inline(always)]
pub fn differences(differences: &Differences<'_>, sums: &mut [i32]) {
    assert_differences(differences, sums.len());
    let Differences { middle, pairs, limits, weights } = *differences;
    for (part, sums) in sums.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        let middle = lanes(middle, part * LANES);
        for (pair, weights) in pairs.iter().zip(weights) {
            let [a, b] = pair.map(|row| lanes(row, part * LANES));
            let weights = lanes(weights, part * LANES);
            for i in 0..LANES {
                let [narrow, wide] = weights[i].map(i32::from);
                let (a, b) = (a[i].wrapping_sub(middle[i]), b[i].wrapping_sub(middle[i]));
                let [n, w] = limits.map(|limit| a.max(-limit).min(limit) + b.max(-limit).min(limit));
                sums[i] += i32::from(n) * narrow + i32::from(w) * wide;
            }
        }
    }
}

/// [`Kernel::sums_of_products`], which compilers make vectors of.
#[inline(always)]
pub fn sums_of_products(row: &[f32], others: &[Vec<f32>], sums: &mut [f64]) {
    assert_eq!(others.len(), sums.len(), "a sum for each row");
    let (fours, rest) = others.as_chunks::<4>();
    let (sums_of_fours, sums_of_rest) = sums.as_chunks_mut::<4>();
    for (others, sums) in fours.iter().zip(sums_of_fours) {
        of_some(row, others, sums);
    }
    for (other, sum) in rest.iter().zip(sums_of_rest) {
        of_some(row, std::array::from_ref(other), std::array::from_mut(sum));
    }
}

#[inline(always)]
fn of_some<const N: usize>(row: &[f32], others: &[Vec<f32>; N], sums: &mut [f64; N]) {
    let (row, _) = row.as_chunks::<SUM_LANES>();
    let others = others.each_ref().map(|other| &other.as_chunks::<SUM_LANES>().0[..row.len()]);
    let mut lanes = [[0.0f32; SUM_LANES]; N];
    for (i, row) in row.iter().enumerate() {
        for (lanes, other) in lanes.iter_mut().zip(others) {
            for (lane, (a, b)) in lanes.iter_mut().zip(row.iter().zip(&other[i])) {
                *lane += a * b;
            }
        }
    }
    for (sum, lanes) in sums.iter_mut().zip(lanes) {
        *sum += lanes.iter().map(|&lane| f64::from(lane)).sum::<f64>();
    }
}
