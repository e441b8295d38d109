//! AVX2: a tile is 6 positions x 16 outputs, 12 of the 16 registers, and
//! `vpmaddwd` with `vpaddd` does what VNNI does in one instruction.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::{
    Accumulators, Differences, Epilogue, Kernel, Pair, assert_differences, assert_tile, assert_weighed,
    scalar,
};
use crate::model::layer::LEAKY_SHIFT;
use crate::nn::requant::Gate;
use crate::nn::weights::{Activation, Depthwise, Lanes, WeightPair};

/// Proof that this processor has AVX2.
#[derive(Debug)]
pub struct Avx2(());

impl Avx2 {
    /// `None` where the processor lacks the feature that the functions of this
    /// file enable.
    pub fn new() -> Option<Avx2> {
        is_x86_feature_detected!("avx2").then_some(Avx2(()))
    }
}

impl Kernel for Avx2 {
    fn accumulate(
        &self,
        weights: &[WeightPair],
        inputs: usize,
        x: &[i16],
        acc: &mut [Accumulators],
        lanes: usize,
    ) {
        assert_tile(weights, inputs, x, acc);
        // SAFETY: `self` proves the feature, `assert_tile` the lengths.
        unsafe { tiles(weights, inputs, x, acc, lanes) }
    }

    fn finish(&self, acc: &[Accumulators], epilogue: &Epilogue<'_>, add: Option<&[i16]>, output: &mut [i16]) {
        // SAFETY: `self` proves the feature.
        unsafe { finish(acc, epilogue, add, output) }
    }

    fn depthwise_row(&self, layer: &Depthwise, rows: [&[i16]; 3], before: usize, output: &mut [i16]) {
        // SAFETY: `self` proves the feature.
        unsafe { depthwise_row(layer, rows, before, 0, output) }
    }

    fn leaky_backward(&self, gradient: &mut [i16], y: &[i16]) {
        // SAFETY: `self` proves the features.
        unsafe { leaky_backward(gradient, y) }
    }

    fn gate_backward(&self, gate: Gate, channels: usize, x: &[i16], gradient: &[i16], out: &mut [i16]) {
        // SAFETY: `self` proves the features.
        unsafe { gate_backward(gate, channels, x, gradient, out) }
    }

    fn weigh(&self, pairs: &[Pair<'_>], weights: &[[i16; 3]], sums: &mut [Vec<i32>; 3]) {
        assert_weighed(pairs, weights, sums);
        // SAFETY: `self` proves the feature, `assert_weighed` the lengths.
        unsafe { self::weigh(pairs, weights, sums) }
    }

    fn differences(&self, differences: &Differences<'_>, sums: &mut [i32]) {
        assert_differences(differences, sums.len());
        // SAFETY: `self` proves the feature, `assert_differences` the lengths.
        unsafe { self::differences(differences, sums) }
    }

    fn sums_of_products(&self, row: &[f32], others: &[Vec<f32>], sums: &mut [f64]) {
        // SAFETY: `self` proves the feature.
        unsafe { self::sums_of_products(row, others, sums) }
    }
}

/// [`Kernel::sums_of_products`].
#[target_feature(enable = "avx2")]
pub(super) fn sums_of_products(row: &[f32], others: &[Vec<f32>], sums: &mut [f64]) {
    scalar::sums_of_products(row, others, sums);
}

/// Adds to 16 sums those of values 0-3 and 8-11, and those of the others.
///
/// # Safety
///
/// There must be 16 sums.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn add_in_order(sums: *mut i32, totals: [__m256i; 2]) {
    let in_order = [
        _mm256_permute2x128_si256::<0x20>(totals[0], totals[1]),
        _mm256_permute2x128_si256::<0x31>(totals[0], totals[1]),
    ];
    for (i, total) in in_order.into_iter().enumerate() {
        // SAFETY: both are 8 numbers, and no alignment is asked for.
        unsafe {
            let to = sums.add(8 * i).cast();
            _mm256_storeu_si256(to, _mm256_add_epi32(_mm256_loadu_si256(to), total));
        }
    }
}

/// Two weights of 16 bits as one number.
#[inline(always)]
pub(super) fn both(first: i16, second: i16) -> i32 {
    i32::from(first as u16) | i32::from(second) << 16
}

/// [`Kernel::weigh`]: 16 values at a time, two pairs next to each other, so that one instruction
/// weighs both.
///
/// # Safety
///
/// The lengths must satisfy `assert_weighed`.
#[target_feature(enable = "avx2")]
unsafe fn weigh(pairs: &[Pair<'_>], weights: &[[i16; 3]], sums: &mut [Vec<i32>; 3]) {
    let pairs = pairs.chunks(2).zip(weights.chunks(2));
    for first in (0..sums[0].len()).step_by(16) {
        let load = |row: &[i16]| {
            // SAFETY: rows are as long as sums, and no alignment is asked for.
            unsafe { _mm256_loadu_si256(row.as_ptr().add(first).cast()) }
        };
        let mut totals = [[_mm256_setzero_si256(); 2]; 3];
        for (pairs, weights) in pairs.clone() {
            let one = _mm256_add_epi16(load(pairs[0][0]), load(pairs[0][1]));
            let (two, second) = match (pairs.get(1), weights.get(1)) {
                (Some(pair), Some(second)) => (_mm256_add_epi16(load(pair[0]), load(pair[1])), *second),
                _ => (_mm256_setzero_si256(), [0; 3]),
            };
            let seen = [_mm256_unpacklo_epi16(one, two), _mm256_unpackhi_epi16(one, two)];
            for (totals, (a, b)) in totals.iter_mut().zip(weights[0].into_iter().zip(second)) {
                let weight = _mm256_set1_epi32(both(a, b));
                for (total, seen) in totals.iter_mut().zip(seen) {
                    *total = _mm256_add_epi32(*total, _mm256_madd_epi16(seen, weight));
                }
            }
        }
        for (sums, totals) in sums.iter_mut().zip(totals) {
            // SAFETY: sums are whole numbers of 32.
            unsafe { add_in_order(sums.as_mut_ptr().add(first), totals) };
        }
    }
}

/// [`Kernel::differences`]: 16 values at a time, what either limit leaves of them next to each
/// other, so that one instruction weighs both.
///
/// # Safety
///
/// The lengths must satisfy `assert_differences`.
#[target_feature(enable = "avx2")]
unsafe fn differences(differences: &Differences<'_>, sums: &mut [i32]) {
    let Differences { middle, pairs, limits, weights } = *differences;
    let splat = |v: i16| _mm256_set1_epi16(v);
    let bounds = limits.map(|limit| [splat(-limit), splat(limit)]);
    let within = |v: __m256i, [least, most]: [__m256i; 2]| _mm256_min_epi16(_mm256_max_epi16(v, least), most);
    for first in (0..sums.len()).step_by(16) {
        let load = |row: &[i16]| {
            // SAFETY: rows are as long as sums, and no alignment is asked for.
            unsafe { _mm256_loadu_si256(row.as_ptr().add(first).cast()) }
        };
        let middle = load(middle);
        let mut totals = [_mm256_setzero_si256(); 2];
        for ([a, b], weights) in pairs.iter().zip(weights) {
            let (a, b) = (_mm256_sub_epi16(load(a), middle), _mm256_sub_epi16(load(b), middle));
            let [n, w] = bounds.map(|bounds| _mm256_add_epi16(within(a, bounds), within(b, bounds)));
            let seen = [_mm256_unpacklo_epi16(n, w), _mm256_unpackhi_epi16(n, w)];
            // SAFETY: rows are as long as sums, and no alignment is asked for.
            let [low, high] =
                [0, 8].map(|at| unsafe { _mm256_loadu_si256(weights.as_ptr().add(first + at).cast()) });
            // In the order of what is seen.
            let weights =
                [_mm256_permute2x128_si256::<0x20>(low, high), _mm256_permute2x128_si256::<0x31>(low, high)];
            for ((total, seen), weights) in totals.iter_mut().zip(seen).zip(weights) {
                *total = _mm256_add_epi32(*total, _mm256_madd_epi16(seen, weights));
            }
        }
        // SAFETY: sums are whole numbers of 32.
        unsafe { add_in_order(sums.as_mut_ptr().add(first), totals) };
    }
}

/// Splits a tile into sizes that have code of their own.
///
/// # Safety
///
/// The lengths must satisfy [`assert_tile`].
#[target_feature(enable = "avx2")]
unsafe fn tiles(weights: &[WeightPair], inputs: usize, x: &[i16], acc: &mut [Accumulators], lanes: usize) {
    let (mut x, mut acc) = (x, acc);
    while !acc.is_empty() {
        let step = match acc.len() {
            6.. => 6,
            2.. => 2,
            _ => 1,
        };
        let (now, later) = acc.split_at_mut(step);
        for half in 0..lanes.div_ceil(WIDTH) {
            // SAFETY: `x` and `now` have `step` positions, as the caller promised.
            unsafe {
                match step {
                    6 => tile::<6>(weights, inputs, half, x, now),
                    2 => tile::<2>(weights, inputs, half, x, now),
                    _ => tile::<1>(weights, inputs, half, x, now),
                }
            }
        }
        (x, acc) = (&x[step * inputs..], later);
    }
}

/// `P` positions and one half of a block's lanes. Unlike on AVX-512, a row
/// length known to the compiler gains nothing here.
///
/// # Safety
///
/// `weights` must hold `inputs.div_ceil(2)` entries, `x` at least `P * inputs`
/// values, `acc` be `P` long and `half` below 2.
#[target_feature(enable = "avx2")]
unsafe fn tile<const P: usize>(
    weights: &[WeightPair],
    inputs: usize,
    half: usize,
    x: &[i16],
    acc: &mut [Accumulators],
) {
    let mut sums = [[_mm256_setzero_si256(); 2]; P];
    let multiply = |sums: &mut [[__m256i; 2]; P], pair: usize, read: &dyn Fn(usize) -> i32| {
        // SAFETY: callers pass a `pair` below `inputs.div_ceil(2)`, and an entry
        // is four aligned registers long.
        let weights = unsafe {
            let weights = weights.as_ptr().add(pair).cast::<__m256i>().add(2 * half);
            [_mm256_load_si256(weights), _mm256_load_si256(weights.add(1))]
        };
        for (position, sums) in sums.iter_mut().enumerate() {
            let x = _mm256_set1_epi32(read(position));
            sums[0] = _mm256_add_epi32(sums[0], _mm256_madd_epi16(weights[0], x));
            sums[1] = _mm256_add_epi32(sums[1], _mm256_madd_epi16(weights[1], x));
        }
    };
    for pair in 0..inputs / 2 {
        // SAFETY: `2 * pair + 1 < inputs`, so both values are the position's.
        multiply(&mut sums, pair, &|position| unsafe {
            x.as_ptr().add(position * inputs + 2 * pair).cast::<i32>().read_unaligned()
        });
    }
    if inputs % 2 == 1 {
        multiply(&mut sums, inputs / 2, &|position| i32::from(x[(position + 1) * inputs - 1] as u16));
    }
    for (acc, sums) in acc.iter_mut().zip(sums) {
        // SAFETY: `Accumulators` is four aligned registers.
        unsafe {
            let acc = acc.0.as_mut_ptr().cast::<__m256i>().add(2 * half);
            _mm256_store_si256(acc, sums[0]);
            _mm256_store_si256(acc.add(1), sums[1]);
        }
    }
}

/// See [`Kernel::finish`]: whole registers here, what is left in the scalar loop.
#[target_feature(enable = "avx2")]
fn finish(acc: &[Accumulators], epilogue: &Epilogue<'_>, add: Option<&[i16]>, output: &mut [i16]) {
    if !epilogue.count.is_multiple_of(WIDTH) {
        return scalar::finish(acc, epilogue, add, output);
    }
    let halves = [0, 1].map(|half| Requant::new(epilogue, half));
    for (position, acc) in acc.iter().enumerate() {
        for half in 0..epilogue.count / WIDTH {
            let value = match epilogue.activation {
                Activation::None => halves[half].apply(acc, half),
                Activation::LeakyRelu => leaky_relu(halves[half].apply(acc, half)),
                Activation::Gate(by) => gate(by, halves[0].apply(acc, 0), halves[1].apply(acc, 1)),
            };
            let at = position * epilogue.stride + epilogue.channel + half * WIDTH;
            let sum = add.map_or(value, |add| _mm256_adds_epi16(load(&add[at..]), value));
            store(&mut output[at..], sum);
        }
    }
}

/// What turns half of a block's accumulators into 16 values of i16.
struct Requant {
    offsets: [__m256i; 2],
    shifts: [__m256i; 2],
}

impl Requant {
    #[target_feature(enable = "avx2")]
    fn new(epilogue: &Epilogue<'_>, half: usize) -> Requant {
        Requant { offsets: load_half(epilogue.offsets, half), shifts: load_half(epilogue.shifts, half) }
    }

    #[target_feature(enable = "avx2")]
    fn apply(&self, acc: &Accumulators, half: usize) -> __m256i {
        let [a, b] = load_half(acc, half);
        let a = _mm256_srav_epi32(_mm256_add_epi32(a, self.offsets[0]), self.shifts[0]);
        let b = _mm256_srav_epi32(_mm256_add_epi32(b, self.offsets[1]), self.shifts[1]);
        // Packing interleaves the quarters of its operands.
        _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(a, b))
    }
}

/// [`crate::nn::requant::leaky_relu`] of 16 values.
#[target_feature(enable = "avx2")]
pub(super) fn leaky_relu(x: __m256i) -> __m256i {
    _mm256_max_epi16(x, _mm256_srai_epi16::<{ LEAKY_SHIFT as i32 }>(x))
}

/// The second factor of [`Gate::apply`] within its limits.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn clamp(gate: Gate, by: __m256i) -> __m256i {
    let limit = _mm256_set1_epi16(gate.limit);
    let by = _mm256_max_epi16(by, _mm256_sub_epi16(_mm256_setzero_si256(), limit));
    _mm256_min_epi16(by, limit)
}

/// [`Gate::apply`] to 16 pairs of values.
#[target_feature(enable = "avx2")]
fn gate(gate: Gate, x: __m256i, by: __m256i) -> __m256i {
    let by = clamp(gate, by);
    let (low, high) = (_mm256_mullo_epi16(x, by), _mm256_mulhi_epi16(x, by));
    let shift = _mm_cvtsi32_si128(gate.shift as i32);
    let rounding = _mm256_set1_epi32(1 << ((gate.shift - 1) & 31));
    let narrow = |product: __m256i| _mm256_sra_epi32(_mm256_add_epi32(product, rounding), shift);
    let products = [_mm256_unpacklo_epi16(low, high), _mm256_unpackhi_epi16(low, high)];
    _mm256_packs_epi32(narrow(products[0]), narrow(products[1]))
}

/// Half of a block's lanes.
#[target_feature(enable = "avx2")]
fn load_half<T>(lanes: &Lanes<T>, half: usize) -> [__m256i; 2] {
    load_two(lanes.0[half * WIDTH..][..WIDTH].try_into().unwrap())
}

/// 16 values of i32 in their order.
#[target_feature(enable = "avx2")]
fn load_two<T>(values: &[T; WIDTH]) -> [__m256i; 2] {
    const { assert!(size_of::<T>() == 4) };
    // SAFETY: the array is two registers long.
    unsafe {
        let values = values.as_ptr().cast::<__m256i>();
        [_mm256_loadu_si256(values), _mm256_loadu_si256(values.add(1))]
    }
}

/// Values of i16 in one register: channels of a depthwise layer, half of the
/// lanes of a block.
const WIDTH: usize = 16;

/// A register of i16 pairs: the low and the high half of what interleaving two
/// registers gives. Packing i32 results undoes the order.
type Pairs = [__m256i; 2];

#[target_feature(enable = "avx2")]
fn interleave(a: __m256i, b: __m256i) -> Pairs {
    [_mm256_unpacklo_epi16(a, b), _mm256_unpackhi_epi16(a, b)]
}

#[target_feature(enable = "avx2")]
fn multiply_add(acc: Pairs, x: Pairs, weights: Pairs) -> Pairs {
    [
        _mm256_add_epi32(acc[0], _mm256_madd_epi16(x[0], weights[0])),
        _mm256_add_epi32(acc[1], _mm256_madd_epi16(x[1], weights[1])),
    ]
}

#[target_feature(enable = "avx2")]
pub(super) fn load(values: &[i16]) -> __m256i {
    let values: &[i16; WIDTH] = values[..WIDTH].try_into().unwrap();
    // SAFETY: the array is one register long.
    unsafe { _mm256_loadu_si256(values.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
pub(super) fn store(values: &mut [i16], register: __m256i) {
    let values: &mut [i16; WIDTH] = (&mut values[..WIDTH]).try_into().unwrap();
    // SAFETY: the array is one register long.
    unsafe { _mm256_storeu_si256(values.as_mut_ptr().cast(), register) };
}

/// 16 values of i32 in the order of [`Pairs`].
#[target_feature(enable = "avx2")]
fn load_wide<T>(values: &[T; WIDTH]) -> Pairs {
    let [a, b] = load_two(values);
    [_mm256_permute2x128_si256::<0x20>(a, b), _mm256_permute2x128_si256::<0x31>(a, b)]
}

/// See [`Kernel::depthwise_row`]; only the channels from `start` on.
#[target_feature(enable = "avx2")]
pub fn depthwise_row(layer: &Depthwise, rows: [&[i16]; 3], before: usize, start: usize, output: &mut [i16]) {
    let channels = layer.channels;
    let (width, columns) = (output.len() / channels, rows[0].len() / channels);
    let whole = channels - (channels - start) % WIDTH;
    let zero = _mm256_setzero_si256();
    for first in (start..whole).step_by(WIDTH) {
        let tap = |k: usize| load(&layer.weights[k * channels + first..]);
        let upper: [Pairs; 3] = std::array::from_fn(|dx| interleave(tap(dx), tap(3 + dx)));
        let (lower, last) = (interleave(tap(6), tap(7)), interleave(tap(8), zero));
        let offsets = load_wide(layer.offsets[first..][..WIDTH].try_into().unwrap());
        let shifts = load_wide(layer.shifts[first..][..WIDTH].try_into().unwrap());
        // One column of the rows: the upper two rows interleaved, and the lower row.
        let column = |x: usize| {
            if x >= columns {
                return ([zero; 2], zero);
            }
            let [above, at, below] = rows.map(|row| load(&row[x * channels + first..]));
            (interleave(above, at), below)
        };
        let mut left = if before == 0 { ([zero; 2], zero) } else { column(0) };
        let mut middle = column(before);
        for x in 0..width {
            let right = column(x + before + 1);
            let mut acc = multiply_add(offsets, left.0, upper[0]);
            acc = multiply_add(acc, middle.0, upper[1]);
            acc = multiply_add(acc, right.0, upper[2]);
            acc = multiply_add(acc, interleave(left.1, middle.1), lower);
            acc = multiply_add(acc, interleave(right.1, zero), last);
            let mut y = _mm256_packs_epi32(
                _mm256_srav_epi32(acc[0], shifts[0]),
                _mm256_srav_epi32(acc[1], shifts[1]),
            );
            if layer.leaky {
                y = leaky_relu(y);
            }
            store(&mut output[x * channels + first..], y);
            (left, middle) = (middle, right);
        }
    }
    if whole < channels {
        scalar::depthwise_row(layer, rows, before, whole, output);
    }
}

/// The scalar loop, for the compiler to vectorise.
#[target_feature(enable = "avx2")]
fn leaky_backward(gradient: &mut [i16], y: &[i16]) {
    scalar::leaky_backward(gradient, y);
}

/// The scalar loop, for the compiler to vectorise.
#[target_feature(enable = "avx2")]
fn gate_backward(gate: Gate, channels: usize, x: &[i16], gradient: &[i16], out: &mut [i16]) {
    scalar::gate_backward(gate, channels, x, gradient, out);
}
