//! The inner loops, one file per instruction set.
//!
//! A [`Kernel`] has three loops; everything around them (blocking, threads,
//! borders between rows) is written once in `network`. Adding an instruction
//! set is a file here, a line in [`of`] and a [`Level`].

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
mod neon;
mod scalar;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod simd128;

use super::level::Level;
use super::requant::Gate;
use super::weights::{Activation, Depthwise, LANES, Lanes, WeightPair};
use crate::{Error, Result};

/// Most positions that [`Kernel::accumulate`] takes at once.
pub const TILE: usize = 12;

/// The accumulators of one position and one block of outputs.
pub type Accumulators = Lanes<i32>;

/// What [`Kernel::finish`] makes of a block's accumulators, and where it goes.
pub struct Epilogue<'a> {
    /// Biases with the rounding term.
    pub offsets: &'a Lanes<i32>,
    /// Right shifts.
    pub shifts: &'a Lanes<u32>,
    /// What follows the layer.
    pub activation: Activation,
    /// First channel to store.
    pub channel: usize,
    /// Channels to store, at most as many as the block has.
    pub count: usize,
    /// Channels of the tensor stored to.
    pub stride: usize,
}

impl Epilogue<'_> {
    /// How many lanes of each accumulator are read.
    pub fn lanes(&self) -> usize {
        match self.activation {
            Activation::None | Activation::LeakyRelu => self.count,
            Activation::Gate(_) => LANES,
        }
    }
}

/// The loops that depend on the instruction set. All implementations must
/// equal [`scalar::Scalar`] in every bit.
pub trait Kernel: Send + Sync + std::fmt::Debug {
    /// Multiplies the packed weights of one block with at most [`TILE`]
    /// positions of `inputs` channels each: one `acc` entry per position, of
    /// which only the first `lanes` will be looked at.
    fn accumulate(
        &self,
        weights: &[WeightPair],
        inputs: usize,
        x: &[i16],
        acc: &mut [Accumulators],
        lanes: usize,
    );

    /// Rounds, shifts, saturates and activates accumulators and stores them,
    /// after adding the same channels of `add`. `output` and `add` start at the
    /// first accumulator's position.
    fn finish(&self, acc: &[Accumulators], epilogue: &Epilogue<'_>, add: Option<&[i16]>, output: &mut [i16]);

    /// One row of a depthwise layer from the rows above, at and below it. The
    /// rows begin `before` (0 or 1) columns to the left of the output; what lies
    /// outside them is zero.
    fn depthwise_row(&self, layer: &Depthwise, rows: [&[i16]; 3], before: usize, output: &mut [i16]);

    /// Of gradients those that pass a leaky ReLU, which wrote `y`.
    fn leaky_backward(&self, gradient: &mut [i16], y: &[i16]) {
        scalar::leaky_backward(gradient, y);
    }

    /// The gradients of what a gate of `channels` has read, `x`, by those of what it wrote, see
    /// [`scalar::gate_backward`].
    fn gate_backward(&self, gate: Gate, channels: usize, x: &[i16], gradient: &[i16], out: &mut [i16]) {
        scalar::gate_backward(gate, channels, x, gradient, out);
    }

    /// Adds to each of three rows of sums what pairs of rows of values weigh in it. Two values of a
    /// pair add up to 16 bits, sums wrap; rows are whole numbers of [`LANES`].
    fn weigh(&self, pairs: &[Pair<'_>], weights: &[[i16; 3]], sums: &mut [Vec<i32>; 3]) {
        scalar::weigh(pairs, weights, sums);
    }

    /// Adds what [`Differences`] say to a row of sums.
    fn differences(&self, differences: &Differences<'_>, sums: &mut [i32]) {
        scalar::differences(differences, sums);
    }

    /// Adds the sums of the products of a row and each of others, all as long: whole numbers of
    /// [`SUM_LANES`], each of which is added up alone.
    fn sums_of_products(&self, row: &[f32], others: &[Vec<f32>], sums: &mut [f64]) {
        scalar::sums_of_products(row, others, sums);
    }
}

pub use scalar::GATE_SHIFT;

/// Sums that `sums_of_products` has side by side.
pub const SUM_LANES: usize = 8;

/// Two rows of values, which are looked at together.
pub type Pair<'a> = [&'a [i16]; 2];

/// Pairs of values around others, whose differences from these count no more than limits.
pub struct Differences<'a> {
    /// What is in the middle: whole numbers of [`LANES`].
    pub middle: &'a [i16],
    /// The pairs around it, in rows at least as long; differences fit 16 bits.
    pub pairs: &'a [Pair<'a>],
    /// At most 8192.
    pub limits: [i16; 2],
    /// Of each pair, what the sum of its differences weighs within either limit, in rows at least
    /// as long.
    pub weights: &'a [&'a [[i16; 2]]],
}

/// The kernel of a level, if this processor has the instructions.
pub fn of(level: Level) -> Option<Box<dyn Kernel>> {
    match level {
        Level::Scalar => Some(Box::new(scalar::Scalar)),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => Some(Box::new(avx2::Avx2::new()?)),
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => Some(Box::new(avx512::Avx512::new()?)),
        #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
        Level::Neon => Some(Box::new(neon::Neon::new()?)),
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        Level::Simd128 => Some(Box::new(simd128::Simd128)),
        _ => None,
    }
}

/// The kernel of a level; one that this processor lacks is [`Error::Parameter`].
pub fn required(level: Level) -> Result<Box<dyn Kernel>> {
    of(level).ok_or_else(|| Error::Parameter(format!("this processor has no {}", level.name())))
}

/// What [`Kernel::weigh`] may rely on.
fn assert_weighed(pairs: &[Pair<'_>], weights: &[[i16; 3]], sums: &[Vec<i32>; 3]) {
    assert!(sums.iter().all(|row| row.len() == sums[0].len()), "sums of other lengths");
    assert_pairs(pairs, weights.len(), sums[0].len());
}

/// Of pairs, their weights and a row of sums.
fn assert_pairs(pairs: &[Pair<'_>], weights: usize, length: usize) {
    let long = |row: &&[i16]| row.len() >= length;
    assert!(length.is_multiple_of(LANES) && pairs.iter().flatten().all(long), "rows of other lengths");
    assert_eq!(pairs.len(), weights, "weights for each pair");
}

/// What [`Kernel::differences`] may rely on.
fn assert_differences(differences: &Differences<'_>, length: usize) {
    assert_pairs(differences.pairs, differences.weights.len(), length);
    let long = differences.weights.iter().all(|row| row.len() >= length);
    assert!(long && differences.middle.len() == length, "a row of another length");
}

/// What [`Kernel::accumulate`] may rely on.
fn assert_tile(weights: &[WeightPair], inputs: usize, x: &[i16], acc: &[Accumulators]) {
    assert!(weights.len() == inputs.div_ceil(2) && x.len() == inputs * acc.len(), "a tile of other sizes");
}
