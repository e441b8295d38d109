//! Pixels to the analysis input and back: level shift, 8x8 blocks, edges.
//! Alpha is not seen here.

use std::ops::Range;

use image::DynamicImage;

use crate::container::Colour;
use crate::error::{Error, Result};
use crate::model::arch::{LATENT_STRIDE, PIXEL_BLOCK, PIXEL_CHANNELS};
use crate::nn::{Source, Tensor};

/// Fraction bits of the analysis input.
pub const ANALYSIS_INPUT_BITS: u32 = 7;
/// Fraction bits of the synthesis output.
pub const SYNTHESIS_OUTPUT_BITS: u32 = 6;
/// The 8-bit pixel value that becomes 0.
const LEVEL: i16 = 128;
/// Samples of one row of one 8x8 block.
const BLOCK_ROW: usize = PIXEL_BLOCK * 3;

/// A sample of a picture.
pub(super) trait Sample: Copy + Send + Sync + Default + Into<u32> + 'static {
    /// The analysis input that stands for it.
    fn to_input(self) -> i16;
    /// A value of the synthesis output, rounded and clamped.
    fn from_output(v: i16) -> Self;
    /// The mean of three, rounded, which fits.
    fn mean(sum: u32) -> Self;
}

impl Sample for u8 {
    #[inline]
    fn to_input(self) -> i16 {
        (i16::from(self) - LEVEL) << ANALYSIS_INPUT_BITS
    }

    #[inline]
    fn from_output(v: i16) -> u8 {
        const HALF: i16 = 1 << (SYNTHESIS_OUTPUT_BITS - 1);
        // Saturating sums stay far outside the range that is clamped to.
        ((v.saturating_add(HALF) >> SYNTHESIS_OUTPUT_BITS) + LEVEL).clamp(0, 255) as u8
    }

    #[inline]
    fn mean(sum: u32) -> u8 {
        ((sum + 1) / 3) as u8
    }
}

/// 257 steps of 16 bits are one of 8.
impl Sample for u16 {
    #[inline]
    fn to_input(self) -> i16 {
        let scaled = ((u32::from(self) << ANALYSIS_INPUT_BITS) + 128) / 257;
        scaled as i16 - (LEVEL << ANALYSIS_INPUT_BITS)
    }

    #[inline]
    fn from_output(v: i16) -> u16 {
        const HALF: i32 = 1 << (SYNTHESIS_OUTPUT_BITS - 1);
        let level = i32::from(LEVEL) << SYNTHESIS_OUTPUT_BITS;
        (((i32::from(v) + level) * 257 + HALF) >> SYNTHESIS_OUTPUT_BITS).clamp(0, 65535) as u16
    }

    #[inline]
    fn mean(sum: u32) -> u16 {
        ((sum + 1) / 3) as u16
    }
}

/// What a picture's pixels are beside alpha; an error where they cannot be coded.
pub(super) fn colour(picture: &DynamicImage) -> Result<Colour> {
    if picture.width() == 0 || picture.height() == 0 {
        return Err(Error::Parameter(format!(
            "a picture of {}x{} pixels",
            picture.width(),
            picture.height()
        )));
    }
    match picture {
        DynamicImage::ImageRgb8(_) | DynamicImage::ImageRgba8(_) => Ok(Colour::Rgb8),
        DynamicImage::ImageLuma8(_) | DynamicImage::ImageLumaA8(_) => Ok(Colour::Grey8),
        DynamicImage::ImageRgb16(_) | DynamicImage::ImageRgba16(_) => Ok(Colour::Rgb16),
        DynamicImage::ImageLuma16(_) | DynamicImage::ImageLumaA16(_) => Ok(Colour::Grey16),
        other => Err(Error::Unsupported(format!("pixels of type {:?}", other.color()))),
    }
}

/// The analysis input. Rows and columns that fill the last latent position up
/// repeat the picture's last ones.
///
/// # Panics
/// Where [`colour`] is an error.
pub(super) fn source(picture: &DynamicImage) -> Box<dyn Source + Sync + '_> {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    match picture {
        DynamicImage::ImageLuma8(p) => Box::new(Pixels::<u8, 1> { samples: p.as_raw(), width, height }),
        DynamicImage::ImageLumaA8(p) => Box::new(Pixels::<u8, 2> { samples: p.as_raw(), width, height }),
        DynamicImage::ImageRgb8(p) => Box::new(Pixels::<u8, 3> { samples: p.as_raw(), width, height }),
        DynamicImage::ImageRgba8(p) => Box::new(Pixels::<u8, 4> { samples: p.as_raw(), width, height }),
        DynamicImage::ImageLuma16(p) => Box::new(Pixels::<u16, 1> { samples: p.as_raw(), width, height }),
        DynamicImage::ImageLumaA16(p) => Box::new(Pixels::<u16, 2> { samples: p.as_raw(), width, height }),
        DynamicImage::ImageRgb16(p) => Box::new(Pixels::<u16, 3> { samples: p.as_raw(), width, height }),
        DynamicImage::ImageRgba16(p) => Box::new(Pixels::<u16, 4> { samples: p.as_raw(), width, height }),
        other => unreachable!("pixels of type {:?} were refused", other.color()),
    }
}

/// The synthesis output that would be the picture, of these rows and columns of blocks of 8x8.
pub(super) fn wanted(source: &dyn Source, rows: Range<usize>, columns: Range<usize>) -> Tensor {
    let mut wanted = Tensor::new(rows.len(), columns.len(), PIXEL_CHANNELS);
    for (y, row) in rows.zip(wanted.data.chunks_exact_mut(columns.len() * PIXEL_CHANNELS)) {
        source.read(y, columns.clone(), row);
        // The input has one fraction bit more than the output.
        row.iter_mut().for_each(|v| *v >>= 1);
    }
    wanted
}

/// Pixels of `N` samples each, the last of 2 or 4 alpha.
struct Pixels<'a, S, const N: usize> {
    samples: &'a [S],
    width: usize,
    height: usize,
}

impl<S: Sample, const N: usize> Source for Pixels<'_, S, N> {
    fn size(&self) -> [usize; 3] {
        let blocks = |pixels: usize| pixels.div_ceil(LATENT_STRIDE) * LATENT_STRIDE / PIXEL_BLOCK;
        [blocks(self.height), blocks(self.width), PIXEL_CHANNELS]
    }

    fn read(&self, block_y: usize, columns: Range<usize>, out: &mut [i16]) {
        let rgb = |pixel: &[S; N]| match N {
            1 | 2 => [pixel[0].to_input(); 3],
            _ => [0, 1, 2].map(|c| pixel[c].to_input()),
        };
        let (pixels, _) = self.samples.as_chunks::<N>();
        for dy in 0..PIXEL_BLOCK {
            let y = (block_y * PIXEL_BLOCK + dy).min(self.height - 1);
            let pixels = &pixels[y * self.width..][..self.width];
            for (block_x, block) in columns.clone().zip(out.chunks_exact_mut(PIXEL_CHANNELS)) {
                let (target, _) = block[dy * BLOCK_ROW..][..BLOCK_ROW].as_chunks_mut::<3>();
                let source = &pixels[(block_x * PIXEL_BLOCK).min(self.width)..];
                let (inside, outside) = target.split_at_mut(source.len().min(PIXEL_BLOCK));
                inside.iter_mut().zip(source).for_each(|(t, p)| *t = rgb(p));
                outside.fill(rgb(&pixels[self.width - 1]));
            }
        }
    }
}

/// Writes one row of the synthesis output to the lines of pixels it stands for,
/// of `N` samples each: red, green and blue, or their mean. `scale` is the side
/// of the squares that become one pixel; the lines may be fewer, and shorter,
/// than the row has.
pub(super) fn store_row<S: Sample, const N: usize>(row: &[i16], scale: usize, lines: &mut [&mut [S]]) {
    let across = PIXEL_BLOCK / scale;
    for (dy, line) in lines.iter_mut().enumerate() {
        for (target, block) in line.chunks_mut(across * N).zip(row.as_chunks::<PIXEL_CHANNELS>().0) {
            if scale == 1 {
                store::<S, N>(&block[dy * BLOCK_ROW..][..BLOCK_ROW], target);
            } else {
                store::<S, N>(&means(block, scale, dy)[..across * 3], target);
            }
        }
    }
}

/// Red, green and blue values to samples.
#[inline]
pub(super) fn store<S: Sample, const N: usize>(values: &[i16], target: &mut [S]) {
    if N == 3 {
        target.iter_mut().zip(values).for_each(|(t, &v)| *t = S::from_output(v));
    } else {
        for (t, rgb) in target.iter_mut().zip(values.as_chunks::<3>().0) {
            *t = S::mean(rgb.iter().map(|&v| S::from_output(v).into()).sum());
        }
    }
}

/// The means of the squares of a block that stand in line `dy` of their own,
/// rounded: a box filter before rounding to samples.
fn means(block: &[i16; PIXEL_CHANNELS], scale: usize, dy: usize) -> [i16; BLOCK_ROW] {
    let mut out = [0; BLOCK_ROW];
    let count = (scale * scale) as i32;
    for (index, mean) in out[..BLOCK_ROW / scale].iter_mut().enumerate() {
        let first = dy * scale * BLOCK_ROW + index / 3 * scale * 3 + index % 3;
        let sum: i32 =
            (0..scale * scale).map(|k| i32::from(block[first + k / scale * BLOCK_ROW + k % scale * 3])).sum();
        *mean = ((sum + count / 2) >> count.ilog2()) as i16;
    }
    out
}

#[cfg(test)]
mod tests {
    use image::RgbImage;

    use super::*;

    /// The way back from the analysis input, at its own scale.
    fn back(rgb: &RgbImage, width: usize, scale: usize) -> Vec<Vec<u8>> {
        let picture = DynamicImage::from(rgb.clone());
        let source = source(&picture);
        let [rows, columns, _] = source.size();
        let mut lines = Vec::new();
        for y in 0..rows {
            let mut row = vec![0; columns * PIXEL_CHANNELS];
            source.read(y, 0..columns, &mut row);
            for v in &mut row {
                *v >>= ANALYSIS_INPUT_BITS - SYNTHESIS_OUTPUT_BITS;
            }
            let mut new = vec![vec![0u8; width * 3]; PIXEL_BLOCK / scale];
            let mut slices: Vec<&mut [u8]> = new.iter_mut().map(Vec::as_mut_slice).collect();
            store_row::<u8, 3>(&row, scale, &mut slices);
            lines.extend(new);
        }
        lines
    }

    #[test]
    fn pixels_survive_the_blocks_and_edges_repeat() {
        for (width, height) in [(1, 1), (7, 9), (16, 16), (17, 33), (40, 5)] {
            let rgb =
                RgbImage::from_fn(width, height, |x, y| [x as u8 * 5, y as u8 * 7, (x * y) as u8].into());
            let whole = (width as usize).next_multiple_of(LATENT_STRIDE);
            let lines = back(&rgb, whole, 1);
            assert!(lines.len().is_multiple_of(LATENT_STRIDE));
            for (y, line) in lines.iter().enumerate() {
                for (x, pixel) in line.chunks_exact(3).enumerate() {
                    let expected = rgb.get_pixel((x as u32).min(width - 1), (y as u32).min(height - 1));
                    assert_eq!(pixel, expected.0, "{x} {y}");
                }
            }
            assert_eq!(back(&rgb, 5, 1)[0][..3], rgb.get_pixel(0, 0).0);
        }
    }

    #[test]
    fn smaller_scales_are_means() {
        let rgb = RgbImage::from_fn(32, 16, |x, y| [x as u8 * 8, y as u8 * 7, (x * y) as u8 & 127].into());
        for scale in [2, 4, 8] {
            let lines = back(&rgb, 32 / scale, scale);
            for (y, line) in lines.iter().enumerate() {
                for (i, &value) in line.iter().enumerate() {
                    let side = scale as u32;
                    let sum: u32 = (0..side * side)
                        .map(|k| {
                            let x = (i as u32 / 3) * side + k % side;
                            u32::from(rgb.get_pixel(x, y as u32 * side + k / side).0[i % 3])
                        })
                        .sum();
                    let expected = (2 * sum + side * side) / (2 * side * side);
                    assert!(u32::from(value).abs_diff(expected) <= 1, "{scale} {y} {i}");
                }
            }
        }
    }

    fn input(picture: &DynamicImage) -> Vec<i16> {
        let source = source(picture);
        let [rows, columns, channels] = source.size();
        let mut values = vec![0; rows * columns * channels];
        for (y, row) in values.chunks_exact_mut(columns * channels).enumerate() {
            source.read(y, 0..columns, row);
        }
        values
    }

    #[test]
    fn samples_round_and_clamp() {
        assert_eq!([0, 31, 32, -32, -33].map(u8::from_output), [128, 128, 129, 128, 127]);
        assert_eq!([i16::MIN, i16::MAX].map(u8::from_output), [0, 255]);
        assert_eq!([i16::MIN, -8192, 0, 8128, i16::MAX].map(u16::from_output), [0, 0, 32896, 65535, 65535]);
    }

    #[test]
    fn samples_of_16_bits_mean_what_those_of_8_bits_mean() {
        for p in 0..=255u8 {
            assert_eq!((u16::from(p) * 257).to_input(), p.to_input());
        }
        let half = |v: i16| v >> (ANALYSIS_INPUT_BITS - SYNTHESIS_OUTPUT_BITS);
        for p in 0..=u16::MAX {
            // The output has 64 steps for 257 of 16 bits, the input 128.
            let back = u16::from_output(half(p.to_input()));
            assert!(p.abs_diff(back) <= 5, "{p} {back}");
        }
    }

    #[test]
    fn alpha_and_depth_change_no_other_sample() {
        let rgb = RgbImage::from_fn(21, 9, |x, y| [x as u8 * 9, y as u8 * 7, (x * y) as u8].into());
        let picture = DynamicImage::from(rgb);
        let expected = input(&picture);
        assert!(input(&picture.to_rgba8().into()) == expected);
        assert!(input(&picture.to_rgb16().into()) == expected);
        assert!(input(&picture.to_rgba16().into()) == expected);
        let grey = DynamicImage::from(picture.to_luma8());
        let expected = input(&grey);
        assert!(input(&grey.to_luma_alpha8().into()) == expected);
        assert!(input(&grey.to_luma16().into()) == expected);
        assert!(input(&grey.to_rgb8().into()) == expected);
    }
}
