//! What a picture suffers from: the strength of its white noise (`sigma`), and
//! whether samples or pixels were struck out (`impulses`).
//!
//! Only `+ - * /`, square roots and integers, in a fixed order: the answers are
//! the same on every machine.

mod impulses;
mod sigma;
#[cfg(test)]
mod tests;

use super::input::Loss;
use super::samples::{BITS, BLACK, WHITE};

/// Steps of a sample to one of 0 to 255.
const LEVEL: i16 = 1 << BITS;

/// The standard deviation of the white noise of a picture, on the scale of 0 to
/// 255; 0 where there is too little to tell. `samples` holds `height` rows of
/// `width` pixels of three channels, as in [`super::Samples`]. It means nothing
/// where samples were lost.
pub fn estimate_sigma(samples: &[i16], width: usize, height: usize) -> f64 {
    Picture::new(samples, width, height).map_or(0.0, |picture| picture.sigma())
}

/// Whether samples or pixels of a picture were lost, and how: salt and pepper
/// from 2 % to 70 % of the samples, black pixels or blocks from 5 % to 80 % of
/// them.
pub fn losses(samples: &[i16], width: usize, height: usize) -> Loss {
    Picture::new(samples, width, height).map_or(Loss::None, |picture| picture.losses())
}

/// Samples with their measures.
struct Picture<'s> {
    samples: &'s [i16],
    width: usize,
    height: usize,
    /// Channels that differ: 3, or 1.
    channels: usize,
}

impl<'s> Picture<'s> {
    /// None for empty pictures, and for measures the samples do not have.
    fn new(samples: &'s [i16], width: usize, height: usize) -> Option<Picture<'s>> {
        let count = width.checked_mul(height)?.checked_mul(3)?;
        if count == 0 {
            return None;
        }
        let samples = samples.get(..count)?;
        let grey = samples.as_chunks().0.iter().all(|&[r, g, b]: &[i16; 3]| r == g && g == b);
        Some(Picture { samples, width, height, channels: if grey { 1 } else { 3 } })
    }
}

fn is_extreme(sample: i16) -> bool {
    sample == BLACK || sample == WHITE
}
