//! JPEG files to samples, and CMYK to RGB.
//!
//! The image crate's own way out of CMYK knows no profile, and its way through
//! damaged JPEG files leaves grey where nothing could be read.

use std::io::Cursor;

use anyhow::{Context, Result, anyhow, bail, ensure};
use image::{DynamicImage, GrayImage, RgbImage};
use moxcms::{ColorProfile, DataColorSpace, Layout, TransformOptions};
use tiff::decoder::DecodingResult;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::Picture;
use aecodec::Limits;

/// Cyan, magenta, yellow and black of each pixel; 255 is full ink.
pub struct Inks(Vec<u8>);

/// What is in a JPEG file.
pub struct JpegPixels {
    /// The picture, where it is not CMYK.
    pub rgb_or_grey: DynamicImage,
    /// The picture, where it is.
    pub inks: Option<Inks>,
}

/// Reads a JPEG file. Damage anywhere is an error.
pub fn read_jpeg(bytes: &[u8]) -> Result<JpegPixels> {
    let options = || {
        DecoderOptions::default().set_strict_mode(true).set_max_width(usize::MAX).set_max_height(usize::MAX)
    };
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options());
    decoder.decode_headers().map_err(damaged)?;
    let colours = decoder.input_colorspace().context("a JPEG file without a colour space")?;
    let wanted = match colours {
        ColorSpace::Luma | ColorSpace::CMYK | ColorSpace::YCCK => colours,
        _ => ColorSpace::RGB,
    };
    decoder.set_options(options().jpeg_set_out_colorspace(wanted));
    let (width, height) = decoder.dimensions().context("a JPEG file without a size")?;
    let (width, height) = (u32::try_from(width)?, u32::try_from(height)?);
    let mut samples = decoder.decode().map_err(damaged)?;
    let few = "a JPEG file of too few samples";
    let (rgb_or_grey, inks) = match wanted {
        ColorSpace::Luma => (GrayImage::from_raw(width, height, samples).context(few)?.into(), None),
        ColorSpace::RGB => (RgbImage::from_raw(width, height, samples).context(few)?.into(), None),
        _ => {
            if wanted == ColorSpace::YCCK {
                samples.as_chunks_mut().0.iter_mut().for_each(ycck_to_cmyk);
            }
            // Adobe's programs write inks inverted, and so does everyone after them.
            samples.iter_mut().for_each(|sample| *sample = 255 - *sample);
            (DynamicImage::default(), Some(Inks(samples)))
        }
    };
    Ok(JpegPixels { rgb_or_grey, inks })
}

/// The decoder's words, without the quotes and line breaks around some of them.
fn damaged(error: zune_jpeg::errors::DecodeErrors) -> anyhow::Error {
    let words = error.to_string();
    anyhow!("a damaged or unsupported JPEG file: {}", words.trim().trim_matches('"'))
}

/// BT.601 at full range, as in JFIF; the complement of the colours is the ink.
fn ycck_to_cmyk(pixel: &mut [u8; 4]) {
    const ONE: i32 = 1 << 16;
    let fixed = |factor: f64| (factor * f64::from(ONE)) as i32;
    let [y, cb, cr, _] = *pixel;
    let (y, cb, cr) = (i32::from(y) * ONE + ONE / 2, i32::from(cb) - 128, i32::from(cr) - 128);
    let red = y + fixed(1.402) * cr;
    let green = y - fixed(0.344136) * cb - fixed(0.714136) * cr;
    let blue = y + fixed(1.772) * cb;
    for (ink, colour) in pixel.iter_mut().zip([red, green, blue]) {
        *ink = 255 - (colour >> 16).clamp(0, 255) as u8;
    }
}

/// Reads a CMYK TIFF file.
pub fn read_tiff(bytes: &[u8], limits: &Limits) -> Result<Inks> {
    let mut most = tiff::decoder::Limits::default();
    most.decoding_buffer_size = usize::try_from(limits.max_memory).unwrap_or(usize::MAX);
    let mut decoder = tiff::decoder::Decoder::new(Cursor::new(bytes))?.with_limits(most);
    match decoder.read_image()? {
        DecodingResult::U8(samples) => Ok(Inks(samples)),
        DecodingResult::U16(samples) => Ok(Inks(samples.into_iter().map(|s| (s >> 8) as u8).collect())),
        _ => bail!("CMYK of other than 8 or 16 bits a sample"),
    }
}

/// Makes a picture of inks: to sRGB, through their profile where there is one.
pub fn convert(picture: &mut Picture, inks: &Inks, width: u32, height: u32) -> Result<()> {
    let Inks(inks) = inks;
    let pixels = width as usize * height as usize;
    ensure!(inks.len() == 4 * pixels, "{} samples of CMYK for {pixels} pixels", inks.len());
    let profile = picture.metadata.icc.take().map(|icc| ColorProfile::new_from_slice(&icc));
    let mut rgb = vec![0; 3 * pixels];
    match profile {
        Some(Ok(profile)) if profile.color_space == DataColorSpace::Cmyk => {
            let transform = profile.create_transform_8bit(
                Layout::Rgba,
                &ColorProfile::new_srgb(),
                Layout::Rgb,
                TransformOptions::default(),
            )?;
            transform.transform(inks, &mut rgb)?;
            picture.notes.push("CMYK was converted to sRGB through its profile".into());
        }
        other => {
            for (rgb, inks) in rgb.as_chunks_mut::<3>().0.iter_mut().zip(inks.as_chunks::<4>().0) {
                let black = 255 - u32::from(inks[3]);
                *rgb = [0, 1, 2].map(|c| (((255 - u32::from(inks[c])) * black + 127) / 255) as u8);
            }
            let why = if other.is_some() { "a profile that is not one of CMYK" } else { "no profile" };
            picture.notes.push(format!("CMYK with {why} was converted to sRGB by rule of thumb"));
        }
    }
    picture.pixels = RgbImage::from_raw(width, height, rgb).context("too few pixels")?.into();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ycck_is_cmyk_turned() {
        for (ycck, cmyk) in [
            ([0, 128, 128, 9], [255, 255, 255, 9]),
            ([255, 128, 128, 0], [0, 0, 0, 0]),
            ([76, 85, 255, 200], [1, 255, 255, 200]),
        ] {
            let mut pixel = ycck;
            ycck_to_cmyk(&mut pixel);
            assert_eq!(pixel, cmyk);
        }
    }

    #[test]
    fn inks_without_a_profile_multiply() {
        let mut picture =
            Picture { pixels: DynamicImage::default(), metadata: Default::default(), notes: Vec::new() };
        let inks = Inks([[0, 0, 0, 0], [255, 0, 0, 0], [0, 0, 0, 255], [0, 255, 255, 128]].concat());
        convert(&mut picture, &inks, 4, 1).unwrap();
        let pixels: Vec<[u8; 3]> = picture.pixels.to_rgb8().pixels().map(|pixel| pixel.0).collect();
        assert_eq!(pixels, [[255, 255, 255], [0, 255, 255], [0, 0, 0], [127, 0, 0]]);
        assert!(picture.notes[0].contains("no profile"));
    }
}
