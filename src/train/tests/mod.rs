//! The trainer's arithmetic against slow and obvious versions of itself, and
//! the whole path from a folder of pictures to a model file.

mod class_fit;
mod coded;
mod gradients;
mod restoration;
mod runs;
mod synthesis;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::model::Arch;

/// An architecture small enough to train in a test.
fn tiny_arch() -> Arch {
    Arch {
        analysis_channels: 16,
        analysis_blocks: 1,
        synthesis_channels: 16,
        synthesis_blocks: 1,
        latents: 32,
        hyper_analysis_channels: 16,
        hyper_synthesis_channels: 16,
        hyper_latents: 16,
        analysis_inner: 16,
        synthesis_inner: 16,
    }
}

/// `n` numbers in -1..1.
fn random(n: usize, seed: u64) -> Vec<f32> {
    let mut rng = StdRng::seed_from_u64(seed);
    (0..n).map(|_| rng.random_range(-1.0..1.0)).collect()
}
