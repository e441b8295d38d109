//! Pictures in and out: what can be coded is read, everything else is refused.
//!
//! Nothing of a picture is ever dropped without being asked: alpha, 16-bit
//! samples, further frames and metadata are errors, and `--strip` removes
//! metadata only.

use std::fmt::Write as _;
use std::io::Cursor;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use image::codecs::{gif::GifDecoder, png::PngDecoder, webp::WebPDecoder};
use image::metadata::Orientation;
use image::{
    AnimationDecoder, ColorType, DynamicImage, ExtendedColorType, ImageDecoder, ImageFormat, ImageReader,
    Limits,
};

use super::output::Output;
use super::paths::Input;

/// Formats a decoded picture is written in: all of them lossless.
const WRITABLE: [(ImageFormat, &[&str]); 7] = [
    (ImageFormat::Png, &["png"]),
    (ImageFormat::Pnm, &["ppm", "pgm", "pnm"]),
    (ImageFormat::Bmp, &["bmp"]),
    (ImageFormat::Tiff, &["tif", "tiff"]),
    (ImageFormat::Tga, &["tga"]),
    (ImageFormat::Qoi, &["qoi"]),
    (ImageFormat::WebP, &["webp"]),
];

/// Whether a file of this name may be a picture, going by its extension.
pub fn is_picture(path: &Path) -> bool {
    ImageFormat::from_path(path).is_ok_and(|format| format.reading_enabled())
}

/// Reads a picture that can be coded: one frame of 8-bit RGB or grey.
/// `strip` turns it upright, then drops its metadata.
pub fn read(input: &Input, bytes: &[u8], strip: bool) -> Result<DynamicImage> {
    let guessed = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?.format();
    let format = guessed.or_else(|| tga_by_name(input)).context("not a picture in any known format")?;
    refuse_animation(bytes, format)?;
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits());
    let mut decoder = reader.into_decoder()?;
    let (width, height) = decoder.dimensions();
    aecodec::Limits::default().check(width, height)?;
    if !strip {
        refuse_metadata(&mut decoder)?;
    }
    let orientation = decoder.orientation()?;
    // The GIF decoder adds an alpha channel to every picture.
    let hidden_alpha = format == ImageFormat::Gif;
    if !hidden_alpha {
        let cmyk = format == ImageFormat::Jpeg && jpeg_channels(bytes) == Some(4);
        let original = if cmyk { ExtendedColorType::Cmyk8 } else { decoder.original_color_type() };
        refuse_color(decoder.color_type(), original)?;
    }
    let mut picture = DynamicImage::from_decoder(decoder)?;
    if hidden_alpha {
        picture = without_opaque_alpha(picture)?;
    }
    picture.apply_orientation(orientation);
    Ok(picture)
}

/// TGA files begin with nothing to know them by.
fn tga_by_name(input: &Input) -> Option<ImageFormat> {
    let Input::File(path) = input else { return None };
    ImageFormat::from_path(path).ok().filter(|format| *format == ImageFormat::Tga)
}

/// What a picture may cost to read.
fn limits() -> Limits {
    let codec = aecodec::Limits::default();
    let mut limits = Limits::default();
    limits.max_image_width = Some(codec.max_side);
    limits.max_image_height = Some(codec.max_side);
    limits.max_alloc = Some(8 * codec.max_pixels);
    limits
}

fn refuse_color(color: ColorType, original: ExtendedColorType) -> Result<()> {
    // What was converted on reading without a profile is not the same picture.
    if matches!(original, ExtendedColorType::Cmyk8 | ExtendedColorType::Cmyk16) {
        bail!("colour type {original:?} is not supported: only 8-bit RGB and grey pictures are");
    }
    match color {
        ColorType::Rgb8 | ColorType::L8 => Ok(()),
        other => bail!("colour type {other:?} is not supported: only 8-bit RGB and grey pictures are"),
    }
}

/// The number of channels in a JPEG file's frame header: 4 is CMYK, which the
/// decoder turns into RGB without telling.
fn jpeg_channels(bytes: &[u8]) -> Option<u8> {
    let mut segment = bytes.get(2..)?;
    loop {
        let &[0xff, marker, high, low, ..] = segment else { return None };
        match marker {
            0xff => segment = &segment[1..], // a fill byte
            0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) => return segment.get(9).copied(),
            _ => segment = segment.get(2 + usize::from(u16::from_be_bytes([high, low]))..)?,
        }
    }
}

fn refuse_animation(bytes: &[u8], format: ImageFormat) -> Result<()> {
    let bytes = Cursor::new(bytes);
    let animated = match format {
        ImageFormat::Gif => {
            let mut decoder = GifDecoder::new(bytes)?;
            decoder.set_limits(limits())?;
            // Damaged first frames are reported when the picture is read.
            decoder.into_frames().take(2).count() > 1
        }
        ImageFormat::Png => PngDecoder::with_limits(bytes, limits())?.is_apng()?,
        ImageFormat::WebP => WebPDecoder::new(bytes)?.has_animation(),
        _ => false,
    };
    ensure!(!animated, "an animation: only pictures of one frame are supported");
    Ok(())
}

fn refuse_metadata(decoder: &mut impl ImageDecoder) -> Result<()> {
    let mut found = Vec::new();
    if decoder.icc_profile()?.is_some() {
        found.push("an ICC profile".to_owned());
    }
    if decoder.exif_metadata()?.is_some() {
        found.push("Exif metadata".to_owned());
    }
    if decoder.xmp_metadata()?.is_some() {
        found.push("XMP metadata".to_owned());
    }
    if decoder.iptc_metadata()?.is_some() {
        found.push("IPTC metadata".to_owned());
    }
    let orientation = decoder.orientation()?;
    if orientation != Orientation::NoTransforms {
        found.push(format!("orientation {}", orientation.to_exif()));
    }
    if found.is_empty() {
        return Ok(());
    }
    bail!(
        "the picture carries {}, which a file cannot hold yet; --strip turns the picture upright and drops it",
        found.join(", ")
    )
}

/// An RGBA picture that is opaque everywhere, as RGB.
fn without_opaque_alpha(picture: DynamicImage) -> Result<DynamicImage> {
    let opaque = picture.as_rgba8().is_some_and(|rgba| rgba.pixels().all(|pixel| pixel.0[3] == 255));
    ensure!(opaque, "transparent pixels are not supported: only 8-bit RGB and grey pictures are");
    Ok(picture.into_rgb8().into())
}

/// The format to write a decoded picture in: what the file's extension says,
/// PNG to standard output.
pub fn output_format(output: &Output) -> Result<ImageFormat> {
    let Output::File(path) = output else { return Ok(ImageFormat::Png) };
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    if let Some((format, _)) = WRITABLE.iter().find(|(_, names)| names.contains(&extension.as_str())) {
        return Ok(*format);
    }
    let mut known = String::new();
    for name in WRITABLE.iter().flat_map(|(_, names)| *names) {
        let _ = write!(known, " .{name}");
    }
    bail!("cannot write '.{extension}' pictures; the lossless formats are{known}")
}

/// A picture as a file of that format.
pub fn write(picture: &DynamicImage, format: ImageFormat) -> Result<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    if format == ImageFormat::Qoi {
        picture.to_rgb8().write_to(&mut bytes, format)?; // QOI knows no grey
    } else {
        picture.write_to(&mut bytes, format)?;
    }
    Ok(bytes.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jpeg_channels_are_found_behind_other_segments() {
        let file = |channels: u8| {
            let mut bytes = vec![0xff, 0xd8, 0xff, 0xe0, 0, 4, 1, 2, 0xff, 0xff, 0xc4, 0, 3, 9];
            bytes.extend([0xff, 0xc2, 0, 20, 8, 0, 16, 0, 16, channels, 1, 0x11, 0]);
            bytes
        };
        assert_eq!(jpeg_channels(&file(4)), Some(4));
        assert_eq!(jpeg_channels(&file(3)), Some(3));
        assert_eq!(jpeg_channels(&file(3)[..16]), None);
        assert_eq!(jpeg_channels(&[0xff]), None);
    }

    #[test]
    fn outputs_are_written_without_loss_only() {
        let format = |name: &str| output_format(&Output::File(name.into()));
        assert_eq!(format("a.PNG").unwrap(), ImageFormat::Png);
        assert_eq!(format("a.tiff").unwrap(), ImageFormat::Tiff);
        assert_eq!(output_format(&Output::Stdout).unwrap(), ImageFormat::Png);
        assert!(format("a.jpg").unwrap_err().to_string().contains("'.jpg'"));
        assert!(format("picture").is_err());
    }
}
