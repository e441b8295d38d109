//! Pictures to files, with what the format can hold of the rest.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::Cursor;

use anyhow::{Result, bail, ensure};
use image::codecs::tiff::TiffEncoder;
use image::metadata::Orientation;
use image::{DynamicImage, ImageEncoder, ImageFormat};

use super::{Picture, colour};
use crate::cli::output::Output;

/// What a format can hold beside 8-bit RGB.
struct Abilities {
    format: ImageFormat,
    names: &'static [&'static str],
    grey: bool,
    alpha: bool,
    grey_alpha: bool,
    deep: bool,
    icc: bool,
    /// Exif and XMP.
    payloads: bool,
}

/// Formats a decoded picture is written in: all of them lossless.
const WRITABLE: [Abilities; 7] = {
    use ImageFormat::*;
    const fn of(format: ImageFormat, names: &'static [&'static str]) -> Abilities {
        Abilities {
            format,
            names,
            grey: true,
            alpha: true,
            grey_alpha: false,
            deep: false,
            icc: false,
            payloads: false,
        }
    }
    [
        Abilities { grey_alpha: true, deep: true, icc: true, payloads: true, ..of(Png, &["png"]) },
        Abilities { deep: true, alpha: false, ..of(Pnm, &["ppm", "pgm", "pnm"]) },
        of(Bmp, &["bmp"]),
        Abilities { deep: true, icc: true, ..of(Tiff, &["tif", "tiff"]) },
        of(Tga, &["tga"]),
        Abilities { grey: false, ..of(Qoi, &["qoi"]) },
        Abilities { icc: true, payloads: true, ..of(WebP, &["webp"]) },
    ]
};

/// The format to write a decoded picture in: what the file's extension says,
/// PNG to standard output.
pub fn output_format(output: &Output) -> Result<ImageFormat> {
    let Output::File(path) = output else { return Ok(ImageFormat::Png) };
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    if let Some(found) = WRITABLE.iter().find(|able| able.names.contains(&extension.as_str())) {
        return Ok(found.format);
    }
    let mut known = String::new();
    for name in WRITABLE.iter().flat_map(|able| able.names) {
        let _ = write!(known, " .{name}");
    }
    bail!("cannot write '.{extension}' pictures; the lossless formats are{known}")
}

/// A picture as a file of that format. What the format cannot hold is noted in
/// the picture; alpha is not given up like that.
pub fn write(picture: &mut Picture, format: ImageFormat) -> Result<Vec<u8>> {
    let able = WRITABLE.iter().find(|able| able.format == format).expect("a format of output_format");
    let name = able.names[0];
    fit(picture, able)?;
    let mut dropped = Vec::new();
    let metadata = &mut picture.metadata;
    if !able.icc && (metadata.icc.is_some() || metadata.cicp.is_some()) {
        dropped.push("the colour space");
    }
    if !able.payloads {
        dropped.extend(metadata.exif.take().map(|_| "Exif"));
        dropped.extend(metadata.xmp.take().map(|_| "XMP"));
    }
    if !dropped.is_empty() {
        picture.notes.push(format!("{} dropped: .{name} cannot hold it", dropped.join(", ")));
    }
    // Formats without CICP take a profile; PNG takes both, for programs that
    // know only one of them.
    if let (None, Some(cicp)) = (&metadata.icc, metadata.cicp) {
        metadata.icc = colour::icc_of(cicp, !picture.pixels.color().has_color());
    }
    match format {
        ImageFormat::Png => png_file(picture),
        ImageFormat::WebP => webp_file(picture),
        ImageFormat::Pnm => Ok(pnm_file(&picture.pixels)),
        ImageFormat::Tiff => {
            let mut bytes = Cursor::new(Vec::new());
            let mut encoder = TiffEncoder::new(&mut bytes);
            if let Some(icc) = picture.metadata.icc.take() {
                encoder.set_icc_profile(icc)?;
            }
            picture.pixels.write_with_encoder(encoder)?;
            Ok(bytes.into_inner())
        }
        _ => {
            let mut bytes = Cursor::new(Vec::new());
            picture.pixels.write_to(&mut bytes, format)?;
            Ok(bytes.into_inner())
        }
    }
}

/// Turns pixels into what the format can hold: upright, unless its Exif payload
/// says how to, and of a type it knows.
fn fit(picture: &mut Picture, able: &Abilities) -> Result<()> {
    let Picture { pixels, metadata, notes } = picture;
    let carried = metadata.exif.as_deref().and_then(Orientation::from_exif_chunk);
    if !able.payloads || carried.unwrap_or(Orientation::NoTransforms) != metadata.orientation {
        pixels.apply_orientation(metadata.orientation);
        if let Some(exif) = &mut metadata.exif {
            let _turned = Orientation::remove_from_exif_chunk(exif);
        }
    }
    if pixels.color().has_alpha() {
        ensure!(able.alpha, "the picture has alpha, which .{} cannot hold; .png can", able.names[0]);
    }
    if is_deep(pixels) && !able.deep {
        notes.push(format!("16-bit samples became 8-bit: .{} holds no others", able.names[0]));
    }
    let (alpha, deep) = (pixels.color().has_alpha(), is_deep(pixels) && able.deep);
    let grey = !pixels.color().has_color() && if alpha { able.grey_alpha } else { able.grey };
    *pixels = match (std::mem::take(pixels), deep, grey) {
        (pixels, false, true) if alpha => pixels.into_luma_alpha8().into(),
        (pixels, false, true) => pixels.into_luma8().into(),
        (pixels, false, false) if alpha => pixels.into_rgba8().into(),
        (pixels, false, false) => pixels.into_rgb8().into(),
        (pixels, true, true) if alpha => pixels.into_luma_alpha16().into(),
        (pixels, true, true) => pixels.into_luma16().into(),
        (pixels, true, false) if alpha => pixels.into_rgba16().into(),
        (pixels, true, false) => pixels.into_rgb16().into(),
    };
    Ok(())
}

/// Whether samples have 16 bits.
fn is_deep(pixels: &DynamicImage) -> bool {
    pixels.color().bytes_per_pixel() > pixels.color().channel_count()
}

fn png_file(picture: &Picture) -> Result<Vec<u8>> {
    let Picture { pixels, metadata, .. } = picture;
    let mut info = png::Info::with_size(pixels.width(), pixels.height());
    info.color_type = match (pixels.color().has_color(), pixels.color().has_alpha()) {
        (false, false) => png::ColorType::Grayscale,
        (false, true) => png::ColorType::GrayscaleAlpha,
        (true, false) => png::ColorType::Rgb,
        (true, true) => png::ColorType::Rgba,
    };
    let deep = is_deep(pixels);
    info.bit_depth = if deep { png::BitDepth::Sixteen } else { png::BitDepth::Eight };
    info.icc_profile = metadata.icc.as_deref().map(Into::into);
    info.exif_metadata = metadata.exif.as_deref().map(Into::into);
    let mut bytes = Vec::new();
    let mut writer = png::Encoder::with_info(&mut bytes, info)?.write_header()?;
    if let Some(cicp) = metadata.cicp {
        let payload = [cicp.primaries, cicp.transfer, cicp.matrix, cicp.full_range.into()];
        writer.write_chunk(png::chunk::ChunkType(*b"cICP"), &payload)?;
    }
    if let Some(xmp) = &metadata.xmp {
        // Neither compressed nor translated, in no particular language.
        let payload = [b"XML:com.adobe.xmp\0\0\0\0\0", xmp.as_slice()].concat();
        writer.write_chunk(png::chunk::iTXt, &payload)?;
    }
    writer.write_image_data(&big_endian(pixels))?;
    writer.finish()?;
    Ok(bytes)
}

/// PPM (P6) or PGM (P5). The image crate would write PAM (P7), which few other
/// programs read, and takes no 16-bit colours for a PPM.
fn pnm_file(pixels: &DynamicImage) -> Vec<u8> {
    let magic = if pixels.color().has_color() { "P6" } else { "P5" };
    let largest = if is_deep(pixels) { u16::MAX } else { u8::MAX.into() };
    let header = format!("{magic}\n{} {}\n{largest}\n", pixels.width(), pixels.height());
    [header.as_bytes(), &big_endian(pixels)].concat()
}

/// The bytes of the samples, high ones first.
fn big_endian(pixels: &DynamicImage) -> Cow<'_, [u8]> {
    if !is_deep(pixels) {
        return pixels.as_bytes().into();
    }
    let samples = pixels.as_bytes().chunks_exact(2);
    samples.flat_map(|sample| u16::from_ne_bytes([sample[0], sample[1]]).to_be_bytes()).collect()
}

fn webp_file(picture: &Picture) -> Result<Vec<u8>> {
    let Picture { pixels, metadata, .. } = picture;
    let mut bytes = Vec::new();
    let mut encoder = image_webp::WebPEncoder::new(&mut bytes);
    if let Some(icc) = &metadata.icc {
        encoder.set_icc_profile(icc.clone());
    }
    if let Some(exif) = &metadata.exif {
        encoder.set_exif_metadata(exif.clone());
    }
    if let Some(xmp) = &metadata.xmp {
        encoder.set_xmp_metadata(xmp.clone());
    }
    let kind = match pixels {
        DynamicImage::ImageLuma8(_) => image_webp::ColorType::L8,
        DynamicImage::ImageRgb8(_) => image_webp::ColorType::Rgb8,
        _ => image_webp::ColorType::Rgba8,
    };
    encoder.encode(pixels.as_bytes(), pixels.width(), pixels.height(), kind)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_written_without_loss_only() {
        let format = |name: &str| output_format(&Output::File(name.into()));
        assert_eq!(format("a.PNG").unwrap(), ImageFormat::Png);
        assert_eq!(format("a.tiff").unwrap(), ImageFormat::Tiff);
        assert_eq!(output_format(&Output::Stdout).unwrap(), ImageFormat::Png);
        assert!(format("a.jpg").unwrap_err().to_string().contains("'.jpg'"));
        assert!(format("picture").is_err());
    }

    #[test]
    fn netpbm_files_are_those_that_every_program_reads() {
        let colours = image::RgbImage::from_raw(2, 1, vec![1, 2, 3, 4, 5, 6]).unwrap();
        assert_eq!(pnm_file(&colours.into()), b"P6\n2 1\n255\n\x01\x02\x03\x04\x05\x06");
        let deep = image::ImageBuffer::from_raw(1, 1, vec![0x102_u16, 0x304, 0x506]).unwrap();
        let deep = DynamicImage::ImageRgb16(deep);
        assert_eq!(pnm_file(&deep), b"P6\n1 1\n65535\n\x01\x02\x03\x04\x05\x06");
        let grey = image::GrayImage::from_raw(1, 2, vec![7, 8]).unwrap();
        assert_eq!(pnm_file(&grey.into()), b"P5\n1 2\n255\n\x07\x08");
    }
}
