//! What the networks read.

use std::ops::Range;

use super::samples::{BITS, BLACK, Samples, WHITE};
use crate::model::{RestorationArch, Task};
use crate::nn::Source;

/// The value of a lost sample's mark.
const MARK: i16 = 64 << BITS;

/// How samples were lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Loss {
    /// None was.
    #[default]
    None,
    /// Single samples became black or white.
    SaltAndPepper,
    /// Whole pixels became black.
    Masking,
}

impl Loss {
    /// Which samples of a pixel are suspected to be lost.
    #[inline]
    fn of(self, pixel: &[i16; 3]) -> [bool; 3] {
        match self {
            Loss::None => [false; 3],
            Loss::SaltAndPepper => pixel.map(|v| v == BLACK || v == WHITE),
            Loss::Masking => [*pixel == [BLACK; 3]; 3],
        }
    }
}

/// Standard deviations of the noise, with [`BITS`] fraction bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoiseLevels {
    /// The same everywhere.
    Uniform(i16),
    /// One for each pixel.
    Map(Vec<i16>),
}

impl NoiseLevels {
    /// The level of a pixel.
    #[inline]
    pub fn at(&self, pixel: usize) -> i16 {
        match self {
            NoiseLevels::Uniform(level) => *level,
            NoiseLevels::Map(levels) => levels[pixel],
        }
    }
}

/// The input of a denoiser.
#[derive(Debug)]
pub struct DenoiseInput<'a> {
    /// The noisy picture.
    pub samples: &'a Samples,
    /// How samples were lost.
    pub loss: Loss,
    /// The noise of the others.
    pub levels: &'a NoiseLevels,
    /// The size in positions, beyond the picture where that is too small.
    size: [usize; 3],
}

impl<'a> DenoiseInput<'a> {
    /// An input for networks of this shape. Pixels beyond the picture repeat its last ones.
    pub fn new(
        arch: &RestorationArch,
        samples: &'a Samples,
        loss: Loss,
        levels: &'a NoiseLevels,
    ) -> DenoiseInput<'a> {
        let size = size_of_input(arch, samples);
        DenoiseInput { samples, loss, levels, size }
    }
}

/// Rows, columns and channels of the input that a picture becomes.
fn size_of_input(arch: &RestorationArch, samples: &Samples) -> [usize; 3] {
    let positions = |pixels: usize| pixels.div_ceil(arch.task.block()).next_multiple_of(arch.multiple());
    [positions(samples.height), positions(samples.width), arch.task.inputs()]
}

impl Source for DenoiseInput<'_> {
    fn size(&self) -> [usize; 3] {
        self.size
    }

    fn read(&self, y: usize, columns: Range<usize>, out: &mut [i16]) {
        let Samples { width, height, .. } = *self.samples;
        let (pixels, _) = self.samples.rgb.as_chunks::<3>();
        for (x, out) in columns.zip(out.chunks_exact_mut(Task::Denoise.inputs())) {
            let (values, rest) = out.split_at_mut(12);
            let mut level = 0i32;
            for k in 0..4 {
                let at = (2 * y + k / 2).min(height - 1) * width + (2 * x + k % 2).min(width - 1);
                values[3 * k..][..3].copy_from_slice(&pixels[at]);
                let lost = self.loss.of(&pixels[at]);
                rest[3 * k..][..3].copy_from_slice(&lost.map(|lost| if lost { MARK } else { 0 }));
                level += i32::from(self.levels.at(at));
            }
            rest[12] = ((level + 2) >> 2) as i16;
        }
    }
}

/// The input of an enlarger.
#[derive(Debug)]
pub struct UpscaleInput<'a> {
    samples: &'a Samples,
    size: [usize; 3],
}

impl<'a> UpscaleInput<'a> {
    /// An input for networks of this shape. Pixels beyond the picture repeat its last ones.
    pub fn new(arch: &RestorationArch, samples: &'a Samples) -> UpscaleInput<'a> {
        UpscaleInput { samples, size: size_of_input(arch, samples) }
    }
}

impl Source for UpscaleInput<'_> {
    fn size(&self) -> [usize; 3] {
        self.size
    }

    fn read(&self, y: usize, columns: Range<usize>, out: &mut [i16]) {
        let Samples { width, height, .. } = *self.samples;
        let (pixels, _) = self.samples.rgb.as_chunks::<3>();
        let line = &pixels[y.min(height - 1) * width..][..width];
        for (x, out) in columns.zip(out.as_chunks_mut::<3>().0) {
            *out = line[x.min(width - 1)];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_marks_and_levels_lie_where_the_network_expects_them() {
        let mut samples = Samples { width: 3, height: 3, rgb: (0..27).map(|v| v * 10).collect() };
        samples.rgb[0..3].copy_from_slice(&[BLACK; 3]);
        samples.rgb[4] = WHITE;
        let levels = NoiseLevels::Map((0..9).map(|v| v * 100).collect());
        let arch =
            RestorationArch { task: Task::Denoise, channels: 8, levels: 2, blocks: 1, inner_blocks: 1 };
        let read = |loss, y, x| {
            let input = DenoiseInput::new(&arch, &samples, loss, &levels);
            assert_eq!(input.size(), [2, 2, 25]);
            let mut out = vec![0; 25];
            input.read(y, x..x + 1, &mut out);
            out
        };
        let out = read(Loss::SaltAndPepper, 0, 0);
        assert_eq!(out[..12], [BLACK, BLACK, BLACK, 30, WHITE, 50, 90, 100, 110, 120, 130, 140]);
        assert_eq!(out[12..24], [MARK, MARK, MARK, 0, MARK, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(out[24], (100 + 300 + 400) / 4);
        let out = read(Loss::Masking, 0, 0);
        assert_eq!(out[12..24], [MARK, MARK, MARK, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        // The last column and row are repeated.
        let out = read(Loss::None, 1, 1);
        assert_eq!(out[..12], [240, 250, 260].repeat(4));
        assert_eq!((out[12..24].iter().sum::<i16>(), out[24]), (0, 800));
    }
}
