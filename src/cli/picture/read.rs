//! Files to pictures, through the decoders of the image crate.

use std::io::Cursor;

use anyhow::{Context, Result, anyhow, bail, ensure};
use image::codecs::{gif::GifDecoder, png::PngDecoder, webp::WebPDecoder};
use image::metadata::Orientation;
use image::{
    AnimationDecoder, ColorType, DynamicImage, ExtendedColorType, ImageDecoder, ImageFormat, ImageReader,
};

use super::{Picture, cmyk, colour};
use crate::cli::paths::Input;
use aecodec::{Limits, Metadata};

/// Reads a picture that can be coded: one frame, 8 or 16 bits a sample.
/// `strip` turns it upright and drops Exif and XMP.
pub fn read(input: &Input, bytes: &[u8], limits: &Limits, strip: bool) -> Result<Picture> {
    let format = format(input, bytes)?;
    refuse_animation(bytes, format, limits)?;
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(decoder_limits(limits));
    let mut decoder = match reader.into_decoder() {
        Err(error) if format == ImageFormat::Tiff => return Err(tiff_error(bytes, error.into())),
        decoder => decoder?,
    };
    let (width, height) = decoder.dimensions();
    limits.check(width, height)?;

    let mut notes = Vec::new();
    let metadata = metadata(&mut decoder, &mut notes)?;
    let original = decoder.original_color_type();
    let mut picture = match format {
        ImageFormat::Jpeg => {
            drop(decoder);
            let pixels = cmyk::read_jpeg(bytes)?;
            let mut picture = Picture { pixels: pixels.rgb_or_grey, metadata, notes };
            if let Some(inks) = pixels.inks {
                cmyk::convert(&mut picture, &inks, width, height)?;
            }
            picture
        }
        _ if matches!(original, ExtendedColorType::Cmyk8 | ExtendedColorType::Cmyk16) => {
            drop(decoder);
            let mut picture = Picture { pixels: DynamicImage::default(), metadata, notes };
            cmyk::convert(&mut picture, &cmyk::read_tiff(bytes, limits)?, width, height)?;
            picture
        }
        _ => {
            refuse_color(decoder.color_type())?;
            Picture { pixels: DynamicImage::from_decoder(decoder)?, metadata, notes }
        }
    };
    if format == ImageFormat::Png {
        colour::from_png(&mut picture, bytes)?;
    }
    if strip {
        strip_metadata(&mut picture);
    }
    Ok(picture)
}

/// The pixels of a picture, upright; the rest is of no interest.
pub fn read_pixels(input: &Input, bytes: &[u8]) -> Result<DynamicImage> {
    let mut picture = read(input, bytes, &Limits::default(), true)?;
    Ok(std::mem::take(&mut picture.pixels))
}

fn format(input: &Input, bytes: &[u8]) -> Result<ImageFormat> {
    ensure!(!bytes.is_empty(), "the file is empty");
    let guessed = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?.format();
    guessed.or_else(|| tga_by_name(input)).context("not a picture in any known format")
}

/// TGA files begin with nothing to know them by.
fn tga_by_name(input: &Input) -> Option<ImageFormat> {
    let Input::File(path) = input else { return None };
    ImageFormat::from_path(path).ok().filter(|format| *format == ImageFormat::Tga)
}

/// What a picture may cost to read.
fn decoder_limits(limits: &Limits) -> image::Limits {
    let mut out = image::Limits::default();
    out.max_image_width = Some(limits.max_side);
    out.max_image_height = Some(limits.max_side);
    out.max_alloc = Some(limits.max_memory);
    out
}

/// The same error, or one that names the colour type if that is the reason.
fn tiff_error(bytes: &[u8], error: anyhow::Error) -> anyhow::Error {
    let decoder = tiff::decoder::Decoder::new(Cursor::new(bytes));
    match decoder.and_then(|mut decoder| decoder.colortype()) {
        Ok(kind) if error.to_string().contains("color type") => {
            anyhow!("TIFF files of colour type {kind:?} are not supported")
        }
        _ => error,
    }
}

fn refuse_color(color: ColorType) -> Result<()> {
    match color {
        ColorType::Rgb32F | ColorType::Rgba32F => {
            bail!("colour type {color:?}: samples of 32-bit floats are not supported, only of 8 and 16 bits")
        }
        _ => Ok(()),
    }
}

fn refuse_animation(bytes: &[u8], format: ImageFormat, limits: &Limits) -> Result<()> {
    let bytes = Cursor::new(bytes);
    let limits = decoder_limits(limits);
    let animated = match format {
        ImageFormat::Gif => {
            let mut decoder = GifDecoder::new(bytes)?;
            decoder.set_limits(limits)?;
            // Damaged first frames are reported when the picture is read.
            decoder.into_frames().take(2).count() > 1
        }
        ImageFormat::Png => PngDecoder::with_limits(bytes, limits)?.is_apng()?,
        ImageFormat::WebP => WebPDecoder::new(bytes)?.has_animation(),
        _ => false,
    };
    ensure!(!animated, "an animation: only pictures of one frame are supported");
    Ok(())
}

fn metadata(decoder: &mut impl ImageDecoder, notes: &mut Vec<String>) -> Result<Metadata> {
    if decoder.iptc_metadata()?.is_some() {
        notes.push("IPTC metadata is dropped: .aec files hold ICC, Exif and XMP".into());
    }
    let some = |payload: Option<Vec<u8>>| payload.filter(|payload| !payload.is_empty());
    Ok(Metadata {
        cicp: None,
        orientation: decoder.orientation()?,
        icc: some(decoder.icc_profile()?),
        exif: some(decoder.exif_metadata()?),
        xmp: some(decoder.xmp_metadata()?),
    })
}

/// Turns a picture upright and drops what says nothing about its colours.
fn strip_metadata(picture: &mut Picture) {
    picture.pixels.apply_orientation(picture.metadata.orientation);
    picture.metadata.orientation = Orientation::NoTransforms;
    picture.metadata.exif = None;
    picture.metadata.xmp = None;
    colour::shorten(&mut picture.metadata);
    picture.notes.retain(|note| !note.starts_with("IPTC"));
}
