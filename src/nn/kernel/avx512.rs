//! AVX-512 with VNNI: a tile is 12 positions x 32 outputs, 24 of the 32
//! registers, and `vpdpwssd` (which wraps; its neighbour `vpdpwssds` saturates)
//! does the work of three instructions.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::{
    Accumulators, Differences, Epilogue, Kernel, Pair, TILE, assert_differences, assert_tile, assert_weighed,
    avx2, scalar,
};
use crate::model::layer::LEAKY_SHIFT;
use crate::nn::requant::Gate;
use crate::nn::weights::{Activation, Depthwise, LANES, Lanes, WeightPair};

/// Proof that this processor has AVX-512 F, BW and VNNI.
#[derive(Debug)]
pub struct Avx512(());

impl Avx512 {
    /// `None` where the processor lacks one of the features that the functions
    /// of this file enable.
    pub fn new() -> Option<Avx512> {
        (is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vnni"))
        .then_some(Avx512(()))
    }
}

impl Kernel for Avx512 {
    fn accumulate(
        &self,
        weights: &[WeightPair],
        inputs: usize,
        x: &[i16],
        acc: &mut [Accumulators],
        lanes: usize,
    ) {
        assert_tile(weights, inputs, x, acc);
        // With the row length known to the compiler every address is a constant
        // away from one register; a row length in a register costs a quarter of
        // the speed.
        // SAFETY: `self` proves the features, `assert_tile` the lengths.
        unsafe {
            match inputs {
                48 => tiles::<48>(weights, inputs, x, acc, lanes),
                64 => tiles::<64>(weights, inputs, x, acc, lanes),
                80 => tiles::<80>(weights, inputs, x, acc, lanes),
                96 => tiles::<96>(weights, inputs, x, acc, lanes),
                128 => tiles::<128>(weights, inputs, x, acc, lanes),
                192 => tiles::<192>(weights, inputs, x, acc, lanes),
                256 => tiles::<256>(weights, inputs, x, acc, lanes),
                304 => tiles::<304>(weights, inputs, x, acc, lanes),
                384 => tiles::<384>(weights, inputs, x, acc, lanes),
                512 => tiles::<512>(weights, inputs, x, acc, lanes),
                _ => tiles::<0>(weights, inputs, x, acc, lanes),
            }
        }
    }

    fn finish(&self, acc: &[Accumulators], epilogue: &Epilogue<'_>, add: Option<&[i16]>, output: &mut [i16]) {
        // SAFETY: `self` proves the features.
        unsafe { finish(acc, epilogue, add, output) }
    }

    fn depthwise_row(&self, layer: &Depthwise, rows: [&[i16]; 3], before: usize, output: &mut [i16]) {
        // SAFETY: `self` proves the features.
        unsafe { depthwise_row(layer, rows, before, output) }
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
        // SAFETY: `self` proves the features, `assert_weighed` the lengths.
        unsafe { self::weigh(pairs, weights, sums) }
    }

    fn differences(&self, differences: &Differences<'_>, sums: &mut [i32]) {
        assert_differences(differences, sums.len());
        // SAFETY: `self` proves the features, `assert_differences` the lengths.
        unsafe { self::differences(differences, sums) }
    }

    fn sums_of_products(&self, row: &[f32], others: &[Vec<f32>], sums: &mut [f64]) {
        // SAFETY: `self` proves the features, AVX2 among them.
        unsafe { avx2::sums_of_products(row, others, sums) }
    }
}

/// Adds to 32 sums those that `unpack` took from the lower halves of each four 128 bits, and those
/// from the upper ones.
///
/// # Safety
///
/// There must be 32 sums.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn add_in_order(sums: *mut i32, [lower, upper]: [__m512i; 2]) {
    let orders = [_mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15)];
    for (i, order) in orders.into_iter().enumerate() {
        let total = _mm512_permutex2var_epi64(lower, order, upper);
        // SAFETY: both are 16 numbers, and no alignment is asked for.
        unsafe {
            let to = sums.add(16 * i).cast();
            _mm512_storeu_si512(to, _mm512_add_epi32(_mm512_loadu_si512(to), total));
        }
    }
}

/// [`Kernel::weigh`]: two pairs next to each other, so that one instruction weighs both.
///
/// # Safety
///
/// The lengths must satisfy `assert_weighed`.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn weigh(pairs: &[Pair<'_>], weights: &[[i16; 3]], sums: &mut [Vec<i32>; 3]) {
    let pairs = pairs.chunks(2).zip(weights.chunks(2));
    for first in (0..sums[0].len()).step_by(LANES) {
        let load = |row: &[i16]| {
            // SAFETY: rows are as long as sums, and no alignment is asked for.
            unsafe { _mm512_loadu_si512(row.as_ptr().add(first).cast()) }
        };
        let mut totals = [[_mm512_setzero_si512(); 2]; 3];
        for (pairs, weights) in pairs.clone() {
            let one = _mm512_add_epi16(load(pairs[0][0]), load(pairs[0][1]));
            let (two, second) = match (pairs.get(1), weights.get(1)) {
                (Some(pair), Some(second)) => (_mm512_add_epi16(load(pair[0]), load(pair[1])), *second),
                _ => (_mm512_setzero_si512(), [0; 3]),
            };
            let seen = [_mm512_unpacklo_epi16(one, two), _mm512_unpackhi_epi16(one, two)];
            for (totals, (a, b)) in totals.iter_mut().zip(weights[0].into_iter().zip(second)) {
                let weight = _mm512_set1_epi32(avx2::both(a, b));
                for (total, seen) in totals.iter_mut().zip(seen) {
                    *total = _mm512_dpwssd_epi32(*total, seen, weight);
                }
            }
        }
        for (sums, totals) in sums.iter_mut().zip(totals) {
            // SAFETY: sums are whole numbers of 32.
            unsafe { add_in_order(sums.as_mut_ptr().add(first), totals) };
        }
    }
}

/// [`Kernel::differences`]: what either limit leaves of values next to each other, so that one
/// instruction weighs both.
///
/// # Safety
///
/// The lengths must satisfy `assert_differences`.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn differences(differences: &Differences<'_>, sums: &mut [i32]) {
    let Differences { middle, pairs, limits, weights } = *differences;
    let splat = |v: i16| _mm512_set1_epi16(v);
    let bounds = limits.map(|limit| [splat(-limit), splat(limit)]);
    let within = |v: __m512i, [least, most]: [__m512i; 2]| _mm512_min_epi16(_mm512_max_epi16(v, least), most);
    for first in (0..sums.len()).step_by(LANES) {
        let load = |row: &[i16]| {
            // SAFETY: rows are as long as sums, and no alignment is asked for.
            unsafe { _mm512_loadu_si512(row.as_ptr().add(first).cast()) }
        };
        let middle = load(middle);
        let mut totals = [_mm512_setzero_si512(); 2];
        for ([a, b], weights) in pairs.iter().zip(weights) {
            let (a, b) = (_mm512_sub_epi16(load(a), middle), _mm512_sub_epi16(load(b), middle));
            let [n, w] = bounds.map(|bounds| _mm512_add_epi16(within(a, bounds), within(b, bounds)));
            let seen = [_mm512_unpacklo_epi16(n, w), _mm512_unpackhi_epi16(n, w)];
            // SAFETY: rows are as long as sums, and no alignment is asked for.
            let [low, high] =
                [0, 16].map(|at| unsafe { _mm512_loadu_si512(weights.as_ptr().add(first + at).cast()) });
            // In the order of what is seen.
            let weights = [
                _mm512_shuffle_i32x4::<0b10_00_10_00>(low, high),
                _mm512_shuffle_i32x4::<0b11_01_11_01>(low, high),
            ];
            for ((total, seen), weights) in totals.iter_mut().zip(seen).zip(weights) {
                *total = _mm512_dpwssd_epi32(*total, seen, weights);
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
/// The lengths must satisfy [`assert_tile`], and `K` be `inputs` or 0.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn tiles<const K: usize>(
    weights: &[WeightPair],
    inputs: usize,
    x: &[i16],
    acc: &mut [Accumulators],
    lanes: usize,
) {
    let (mut x, mut acc) = (x, acc);
    while !acc.is_empty() {
        let step = match acc.len() {
            TILE.. => TILE,
            4.. => 4,
            _ => 1,
        };
        let (now, later) = acc.split_at_mut(step);
        // SAFETY: `x` and `now` have `step` positions, as the caller promised.
        unsafe {
            match (step, lanes) {
                (TILE, 17..) => tile::<K, TILE, 2>(weights, inputs, x, now),
                (4, 17..) => tile::<K, 4, 2>(weights, inputs, x, now),
                (_, 17..) => tile::<K, 1, 2>(weights, inputs, x, now),
                (TILE, _) => tile::<K, TILE, 1>(weights, inputs, x, now),
                (4, _) => tile::<K, 4, 1>(weights, inputs, x, now),
                _ => tile::<K, 1, 1>(weights, inputs, x, now),
            }
        }
        (x, acc) = (&x[step * inputs..], later);
    }
}

/// `P` positions and the first `R` registers of their lanes.
///
/// # Safety
///
/// `weights` must hold `inputs.div_ceil(2)` entries, `x` at least `P * inputs`
/// values, `acc` be `P` long, `R` be 1 or 2, and `K` be `inputs` or 0.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn tile<const K: usize, const P: usize, const R: usize>(
    weights: &[WeightPair],
    inputs: usize,
    x: &[i16],
    acc: &mut [Accumulators],
) {
    let inputs = if K == 0 { inputs } else { K };
    let mut sums = [[_mm512_setzero_si512(); R]; P];
    let multiply = |sums: &mut [[__m512i; R]; P], pair: usize, read: &dyn Fn(usize) -> i32| {
        let mut loaded = [_mm512_setzero_si512(); R];
        for (register, loaded) in loaded.iter_mut().enumerate() {
            // SAFETY: callers pass a `pair` below `inputs.div_ceil(2)`, and an entry
            // is two aligned registers long.
            *loaded =
                unsafe { _mm512_load_si512(weights.as_ptr().add(pair).cast::<__m512i>().add(register)) };
        }
        for (position, sums) in sums.iter_mut().enumerate() {
            let x = _mm512_set1_epi32(read(position));
            for (sum, weights) in sums.iter_mut().zip(loaded) {
                *sum = _mm512_dpwssd_epi32(*sum, weights, x);
            }
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
        // SAFETY: `Accumulators` is two aligned registers.
        unsafe {
            let acc = acc.0.as_mut_ptr().cast::<__m512i>();
            for (register, sum) in sums.into_iter().enumerate() {
                _mm512_store_si512(acc.add(register), sum);
            }
        }
    }
}

/// Lanes of i32 in one register, which narrow to half a register of i16.
const HALF: usize = LANES / 2;

/// See [`Kernel::finish`]: half blocks here, what is left in the scalar loop.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn finish(acc: &[Accumulators], epilogue: &Epilogue<'_>, add: Option<&[i16]>, output: &mut [i16]) {
    if !epilogue.count.is_multiple_of(HALF) {
        return scalar::finish(acc, epilogue, add, output);
    }
    let halves = [0, 1].map(|half| Requant {
        offsets: load_half(epilogue.offsets, half),
        shifts: load_half(epilogue.shifts, half),
    });
    for (position, acc) in acc.iter().enumerate() {
        for half in 0..epilogue.count / HALF {
            let value = match epilogue.activation {
                Activation::None => halves[half].apply(acc, half),
                Activation::LeakyRelu => avx2::leaky_relu(halves[half].apply(acc, half)),
                Activation::Gate(by) => gate(by, halves[0].apply(acc, 0), halves[1].apply(acc, 1)),
            };
            let at = position * epilogue.stride + epilogue.channel + half * HALF;
            let sum = add.map_or(value, |add| _mm256_adds_epi16(avx2::load(&add[at..]), value));
            avx2::store(&mut output[at..], sum);
        }
    }
}

/// What turns half of a block's accumulators into 16 values of i16.
struct Requant {
    offsets: __m512i,
    shifts: __m512i,
}

impl Requant {
    #[target_feature(enable = "avx512f")]
    fn apply(&self, acc: &Accumulators, half: usize) -> __m256i {
        let sum = _mm512_add_epi32(load_half(acc, half), self.offsets);
        _mm512_cvtsepi32_epi16(_mm512_srav_epi32(sum, self.shifts))
    }
}

/// [`Gate::apply`] to 16 pairs of values.
#[target_feature(enable = "avx512f")]
fn gate(gate: Gate, x: __m256i, by: __m256i) -> __m256i {
    let by = avx2::clamp(gate, by);
    let product = _mm512_mullo_epi32(_mm512_cvtepi16_epi32(x), _mm512_cvtepi16_epi32(by));
    let rounded = _mm512_add_epi32(product, _mm512_set1_epi32(1 << ((gate.shift - 1) & 31)));
    _mm512_cvtsepi32_epi16(_mm512_sra_epi32(rounded, _mm_cvtsi32_si128(gate.shift as i32)))
}

/// Half of a block's lanes.
#[target_feature(enable = "avx512f")]
fn load_half<T>(lanes: &Lanes<T>, half: usize) -> __m512i {
    const { assert!(size_of::<T>() == 4) };
    let values: &[T; HALF] = lanes.0[half * HALF..][..HALF].try_into().unwrap();
    // SAFETY: the array is one register long.
    unsafe { _mm512_loadu_si512(values.as_ptr().cast()) }
}

/// Channels of a depthwise layer in one register.
const WIDTH: usize = 32;

/// A register of i16 pairs: the low and the high half of what interleaving two
/// registers gives. Packing i32 results undoes the order.
type Pairs = [__m512i; 2];

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn interleave(a: __m512i, b: __m512i) -> Pairs {
    [_mm512_unpacklo_epi16(a, b), _mm512_unpackhi_epi16(a, b)]
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn multiply_add(acc: Pairs, x: Pairs, weights: Pairs) -> Pairs {
    [_mm512_dpwssd_epi32(acc[0], x[0], weights[0]), _mm512_dpwssd_epi32(acc[1], x[1], weights[1])]
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn load(values: &[i16]) -> __m512i {
    let values: &[i16; WIDTH] = values[..WIDTH].try_into().unwrap();
    // SAFETY: the array is one register long.
    unsafe { _mm512_loadu_si512(values.as_ptr().cast()) }
}

/// 32 values of i32 in the order of [`Pairs`].
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn load_wide<T>(values: &[T; WIDTH]) -> Pairs {
    const { assert!(size_of::<T>() == 4) };
    // SAFETY: the array is two registers long.
    let [a, b] = unsafe {
        let values = values.as_ptr().cast::<__m512i>();
        [_mm512_loadu_si512(values), _mm512_loadu_si512(values.add(1))]
    };
    [_mm512_shuffle_i32x4::<0b10_00_10_00>(a, b), _mm512_shuffle_i32x4::<0b11_01_11_01>(a, b)]
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn depthwise_row(layer: &Depthwise, rows: [&[i16]; 3], before: usize, output: &mut [i16]) {
    let channels = layer.channels;
    let columns = rows[0].len() / channels;
    assert!(rows.iter().all(|row| row.len() == rows[0].len()), "rows of other lengths");
    let whole = channels - channels % WIDTH;
    let zero = _mm512_setzero_si512();
    for first in (0..whole).step_by(WIDTH) {
        let tap = |k: usize| load(&layer.weights[k * channels + first..]);
        let upper: [Pairs; 3] = std::array::from_fn(|dx| interleave(tap(dx), tap(3 + dx)));
        // Columns of the lower row are paired two by two; those of an even column of the
        // output begin with its left neighbour, those of an odd one a column further left.
        let even = [interleave(tap(6), tap(7)), interleave(tap(8), zero)];
        let odd = [interleave(zero, tap(6)), interleave(tap(7), tap(8))];
        let offsets = load_wide(layer.offsets[first..][..WIDTH].try_into().unwrap());
        let shifts = load_wide(layer.shifts[first..][..WIDTH].try_into().unwrap());
        // One column of the rows: the upper two rows interleaved, and the lower row.
        let column = |x: usize| {
            if x >= columns {
                return ([zero; 2], zero);
            }
            // SAFETY: all rows have this many columns, and `first` is a whole register of
            // channels before their end.
            let [above, at, below] =
                rows.map(|row| unsafe { _mm512_loadu_si512(row.as_ptr().add(x * channels + first).cast()) });
            (interleave(above, at), below)
        };
        let finish = |acc: Pairs, output: &mut [i16]| {
            let mut y = _mm512_packs_epi32(
                _mm512_srav_epi32(acc[0], shifts[0]),
                _mm512_srav_epi32(acc[1], shifts[1]),
            );
            if layer.leaky {
                y = _mm512_max_epi16(y, _mm512_srai_epi16::<LEAKY_SHIFT>(y));
            }
            let output: &mut [i16; WIDTH] = (&mut output[first..][..WIDTH]).try_into().unwrap();
            // SAFETY: the array is one register long.
            unsafe { _mm512_storeu_si512(output.as_mut_ptr().cast(), y) };
        };
        let mut left = if before == 0 { ([zero; 2], zero) } else { column(0) };
        let mut middle = column(before);
        let mut lower = interleave(left.1, middle.1);
        for (pair, output) in output.chunks_mut(2 * channels).enumerate() {
            let right = column(2 * pair + before + 1);
            let next = column(2 * pair + before + 2);
            let lower_right = interleave(right.1, next.1);
            let sum = |columns: [Pairs; 3], taps: [Pairs; 2]| {
                let mut acc = multiply_add(offsets, lower, taps[0]);
                for (column, taps) in columns.into_iter().zip(upper) {
                    acc = multiply_add(acc, column, taps);
                }
                multiply_add(acc, lower_right, taps[1])
            };
            let (here, beside) = output.split_at_mut(channels);
            finish(sum([left.0, middle.0, right.0], even), here);
            if !beside.is_empty() {
                finish(sum([middle.0, right.0, next.0], odd), beside);
            }
            (left, middle, lower) = (right, next, lower_right);
        }
    }
    if whole < channels {
        avx2::depthwise_row(layer, rows, before, whole, output);
    }
}

/// The scalar loop, for the compiler to vectorise.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn leaky_backward(gradient: &mut [i16], y: &[i16]) {
    scalar::leaky_backward(gradient, y);
}

/// The scalar loop, for the compiler to vectorise.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn gate_backward(gate: Gate, channels: usize, x: &[i16], gradient: &[i16], out: &mut [i16]) {
    scalar::gate_backward(gate, channels, x, gradient, out);
}
