//! Pixels to the analysis input and back: level shift, 8x8 blocks, edges.
//! Alpha is not seen here.

use image::{DynamicImage, ImageBuffer};
use rayon::prelude::*;

use crate::container::Colour;
use crate::error::{Error, Result};
use crate::model::arch::{LATENT_STRIDE, PIXEL_BLOCK, PIXEL_CHANNELS};
use crate::nn::Tensor;

/// Fraction bits of the analysis input.
pub const ANALYSIS_INPUT_BITS: u32 = 7;
/// Fraction bits of the synthesis output.
pub const SYNTHESIS_OUTPUT_BITS: u32 = 6;
/// The 8-bit pixel value that becomes 0.
const LEVEL: i16 = 128;
/// Samples of one row of one 8x8 block.
const BLOCK_ROW: usize = PIXEL_BLOCK * 3;

/// A sample of a picture.
trait Sample: Copy + Send + Sync + Default + Into<u32> + 'static {
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
        const HALF: i32 = 1 << (SYNTHESIS_OUTPUT_BITS - 1);
        (((i32::from(v) + HALF) >> SYNTHESIS_OUTPUT_BITS) + i32::from(LEVEL)).clamp(0, 255) as u8
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
pub(super) fn to_tensor(picture: &DynamicImage) -> Tensor {
    let (w, h) = (picture.width() as usize, picture.height() as usize);
    match picture {
        DynamicImage::ImageLuma8(p) => blocks::<u8, 1>(p.as_raw(), w, h),
        DynamicImage::ImageLumaA8(p) => blocks::<u8, 2>(p.as_raw(), w, h),
        DynamicImage::ImageRgb8(p) => blocks::<u8, 3>(p.as_raw(), w, h),
        DynamicImage::ImageRgba8(p) => blocks::<u8, 4>(p.as_raw(), w, h),
        DynamicImage::ImageLuma16(p) => blocks::<u16, 1>(p.as_raw(), w, h),
        DynamicImage::ImageLumaA16(p) => blocks::<u16, 2>(p.as_raw(), w, h),
        DynamicImage::ImageRgb16(p) => blocks::<u16, 3>(p.as_raw(), w, h),
        DynamicImage::ImageRgba16(p) => blocks::<u16, 4>(p.as_raw(), w, h),
        other => unreachable!("pixels of type {:?} were refused", other.color()),
    }
}

/// The analysis input of pixels of `N` samples each, the last of 2 or 4 alpha.
fn blocks<S: Sample, const N: usize>(samples: &[S], width: usize, height: usize) -> Tensor {
    let blocks = |pixels: usize| pixels.div_ceil(LATENT_STRIDE) * LATENT_STRIDE / PIXEL_BLOCK;
    let mut out = Tensor::new(blocks(height), blocks(width), PIXEL_CHANNELS);
    let rgb = |pixel: &[S; N]| match N {
        1 | 2 => [pixel[0].to_input(); 3],
        _ => [0, 1, 2].map(|c| pixel[c].to_input()),
    };
    let (pixels, _) = samples.as_chunks::<N>();
    let block_row = out.width * PIXEL_CHANNELS;
    out.data.par_chunks_exact_mut(block_row).enumerate().for_each(|(block_y, row)| {
        for dy in 0..PIXEL_BLOCK {
            let y = (block_y * PIXEL_BLOCK + dy).min(height - 1);
            let pixels = &pixels[y * width..][..width];
            for (block_x, block) in row.chunks_exact_mut(PIXEL_CHANNELS).enumerate() {
                let (target, _) = block[dy * BLOCK_ROW..][..BLOCK_ROW].as_chunks_mut::<3>();
                let source = &pixels[(block_x * PIXEL_BLOCK).min(width)..];
                let (inside, outside) = target.split_at_mut(source.len().min(PIXEL_BLOCK));
                inside.iter_mut().zip(source).for_each(|(t, p)| *t = rgb(p));
                outside.fill(rgb(&pixels[width - 1]));
            }
        }
    });
    out
}

/// The picture in the synthesis output.
pub(super) fn from_tensor(tensor: &Tensor, width: u32, height: u32, colour: Colour) -> DynamicImage {
    let full = "as many samples as pixels ask for";
    match colour {
        Colour::Rgb8 => DynamicImage::ImageRgb8(
            ImageBuffer::from_raw(width, height, rgb(tensor, width, height)).expect(full),
        ),
        Colour::Rgb16 => DynamicImage::ImageRgb16(
            ImageBuffer::from_raw(width, height, rgb(tensor, width, height)).expect(full),
        ),
        Colour::Grey8 => DynamicImage::ImageLuma8(
            ImageBuffer::from_raw(width, height, grey(tensor, width, height)).expect(full),
        ),
        Colour::Grey16 => DynamicImage::ImageLuma16(
            ImageBuffer::from_raw(width, height, grey(tensor, width, height)).expect(full),
        ),
    }
}

/// Red, green and blue samples of the synthesis output.
fn rgb<S: Sample>(tensor: &Tensor, width: u32, height: u32) -> Vec<S> {
    let row_samples = width as usize * 3;
    let mut samples = vec![S::default(); row_samples * height as usize];
    samples.par_chunks_exact_mut(row_samples).enumerate().for_each(|(y, row)| {
        let (block_y, dy) = (y / PIXEL_BLOCK, y % PIXEL_BLOCK);
        let blocks = &tensor.data[block_y * tensor.width * PIXEL_CHANNELS..];
        for (target, block) in row.chunks_mut(BLOCK_ROW).zip(blocks.chunks_exact(PIXEL_CHANNELS)) {
            let source = &block[dy * BLOCK_ROW..][..BLOCK_ROW];
            target.iter_mut().zip(source).for_each(|(t, &v)| *t = S::from_output(v));
        }
    });
    samples
}

/// The means of [`rgb`].
fn grey<S: Sample>(tensor: &Tensor, width: u32, height: u32) -> Vec<S> {
    let rgb = rgb::<S>(tensor, width, height);
    rgb.chunks_exact(3).map(|rgb| S::mean(rgb.iter().map(|&p| p.into()).sum())).collect()
}

#[cfg(test)]
mod tests {
    use image::RgbImage;

    use super::*;

    /// The way back from the analysis input, at its own scale.
    fn back(mut tensor: Tensor, width: u32, height: u32) -> DynamicImage {
        for v in &mut tensor.data {
            *v >>= ANALYSIS_INPUT_BITS - SYNTHESIS_OUTPUT_BITS;
        }
        from_tensor(&tensor, width, height, Colour::Rgb8)
    }

    #[test]
    fn pixels_survive_the_blocks() {
        for (width, height) in [(1, 1), (7, 9), (16, 16), (17, 33), (40, 5)] {
            let rgb =
                RgbImage::from_fn(width, height, |x, y| [x as u8 * 5, y as u8 * 7, (x * y) as u8].into());
            let tensor = to_tensor(&rgb.clone().into());
            assert!(tensor.height.is_multiple_of(2) && tensor.width.is_multiple_of(2));
            assert_eq!(back(tensor, width, height), DynamicImage::from(rgb));
        }
    }

    #[test]
    fn edges_repeat() {
        let rgb = RgbImage::from_fn(9, 3, |x, y| [x as u8, y as u8, 200].into());
        let wide = back(to_tensor(&rgb.clone().into()), 16, 16).to_rgb8();
        for (x, y, pixel) in wide.enumerate_pixels() {
            assert_eq!(pixel, rgb.get_pixel(x.min(8), y.min(2)), "{x} {y}");
        }
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
        let expected = to_tensor(&picture);
        assert!(to_tensor(&picture.to_rgba8().into()) == expected);
        assert!(to_tensor(&picture.to_rgb16().into()) == expected);
        assert!(to_tensor(&picture.to_rgba16().into()) == expected);
        let grey = DynamicImage::from(picture.to_luma8());
        let expected = to_tensor(&grey);
        assert!(to_tensor(&grey.to_luma_alpha8().into()) == expected);
        assert!(to_tensor(&grey.to_luma16().into()) == expected);
        assert!(to_tensor(&grey.to_rgb8().into()) == expected);
    }
}
