//! Pixels to the analysis input and back: level shift, 8x8 blocks, edges.

use std::borrow::Cow;

use image::{DynamicImage, GrayImage, RgbImage};
use rayon::prelude::*;

use crate::container::Colour;
use crate::error::{Error, Result};
use crate::model::arch::{LATENT_STRIDE, PIXEL_BLOCK, PIXEL_CHANNELS};
use crate::nn::Tensor;

/// Fraction bits of the analysis input.
pub const ANALYSIS_INPUT_BITS: u32 = 7;
/// Fraction bits of the synthesis output.
pub const SYNTHESIS_OUTPUT_BITS: u32 = 6;
/// The pixel value that becomes 0.
const LEVEL: i16 = 128;
/// Samples of one row of one 8x8 block.
const BLOCK_ROW: usize = PIXEL_BLOCK * 3;

/// The picture as RGB, and what it was.
pub(super) fn to_rgb(picture: &DynamicImage) -> Result<(Cow<'_, RgbImage>, Colour)> {
    let (rgb, colour) = match picture {
        DynamicImage::ImageRgb8(rgb) => (Cow::Borrowed(rgb), Colour::Rgb8),
        DynamicImage::ImageLuma8(_) => (Cow::Owned(picture.to_rgb8()), Colour::Grey8),
        other => return Err(Error::Unsupported(format!("pixels of type {:?}", other.color()))),
    };
    if rgb.width() == 0 || rgb.height() == 0 {
        return Err(Error::Parameter(format!("a picture of {}x{} pixels", rgb.width(), rgb.height())));
    }
    Ok((rgb, colour))
}

/// The analysis input. Rows and columns that fill the last latent position up
/// repeat the picture's last ones.
pub(super) fn to_tensor(rgb: &RgbImage) -> Tensor {
    let (width, height) = (rgb.width() as usize, rgb.height() as usize);
    let blocks = |pixels: usize| pixels.div_ceil(LATENT_STRIDE) * LATENT_STRIDE / PIXEL_BLOCK;
    let mut out = Tensor::new(blocks(height), blocks(width), PIXEL_CHANNELS);
    let sample = |&p: &u8| (i16::from(p) - LEVEL) << ANALYSIS_INPUT_BITS;
    let block_row = out.width * PIXEL_CHANNELS;
    out.data.par_chunks_exact_mut(block_row).enumerate().for_each(|(block_y, row)| {
        for dy in 0..PIXEL_BLOCK {
            let y = (block_y * PIXEL_BLOCK + dy).min(height - 1);
            let pixels = &rgb.as_raw()[y * width * 3..][..width * 3];
            let last = &pixels[pixels.len() - 3..];
            for (block_x, block) in row.chunks_exact_mut(PIXEL_CHANNELS).enumerate() {
                let target = &mut block[dy * BLOCK_ROW..][..BLOCK_ROW];
                let start = (block_x * BLOCK_ROW).min(pixels.len());
                let inside = (pixels.len() - start).min(BLOCK_ROW);
                let samples = pixels[start..start + inside].iter().chain(last.iter().cycle());
                target.iter_mut().zip(samples).for_each(|(t, p)| *t = sample(p));
            }
        }
    });
    out
}

/// The picture in the synthesis output.
pub(super) fn from_tensor(tensor: &Tensor, width: u32, height: u32, colour: Colour) -> DynamicImage {
    let row_samples = width as usize * 3;
    let mut samples = vec![0u8; row_samples * height as usize];
    samples.par_chunks_exact_mut(row_samples).enumerate().for_each(|(y, row)| {
        let (block_y, dy) = (y / PIXEL_BLOCK, y % PIXEL_BLOCK);
        let blocks = &tensor.data[block_y * tensor.width * PIXEL_CHANNELS..];
        for (target, block) in row.chunks_mut(BLOCK_ROW).zip(blocks.chunks_exact(PIXEL_CHANNELS)) {
            let source = &block[dy * BLOCK_ROW..][..BLOCK_ROW];
            target.iter_mut().zip(source).for_each(|(t, &v)| *t = pixel(v));
        }
    });
    let full = "as many samples as pixels ask for";
    match colour {
        Colour::Rgb8 => RgbImage::from_raw(width, height, samples).expect(full).into(),
        Colour::Grey8 => {
            let grey = samples.chunks_exact(3).map(|rgb| {
                let sum: u16 = rgb.iter().map(|&p| u16::from(p)).sum();
                ((sum + 1) / 3) as u8
            });
            GrayImage::from_raw(width, height, grey.collect()).expect(full).into()
        }
    }
}

/// A sample of the synthesis output, rounded and clamped to 0..=255.
fn pixel(v: i16) -> u8 {
    const HALF: i32 = 1 << (SYNTHESIS_OUTPUT_BITS - 1);
    (((i32::from(v) + HALF) >> SYNTHESIS_OUTPUT_BITS) + i32::from(LEVEL)).clamp(0, 255) as u8
}

#[cfg(test)]
mod tests {
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
            let tensor = to_tensor(&rgb);
            assert!(tensor.height.is_multiple_of(2) && tensor.width.is_multiple_of(2));
            assert_eq!(back(tensor, width, height), DynamicImage::from(rgb));
        }
    }

    #[test]
    fn edges_repeat() {
        let rgb = RgbImage::from_fn(9, 3, |x, y| [x as u8, y as u8, 200].into());
        let wide = back(to_tensor(&rgb), 16, 16).to_rgb8();
        for (x, y, pixel) in wide.enumerate_pixels() {
            assert_eq!(pixel, rgb.get_pixel(x.min(8), y.min(2)), "{x} {y}");
        }
    }

    #[test]
    fn samples_round_and_clamp() {
        assert_eq!([0, 31, 32, -32, -33].map(pixel), [128, 128, 129, 128, 127]);
        assert_eq!([i16::MIN, i16::MAX].map(pixel), [0, 255]);
    }
}
