//! The alpha plane: taken from a picture, coded on its own, put back.
//!
//! Lossless coding is PNG's: filtered rows in a zlib stream, with as few bits a
//! sample as hold the values. Only the frame around them is left out.

use std::io::Cursor;

use image::{DynamicImage, GrayImage, ImageBuffer, Luma, Primitive};

use crate::error::{Error, Result};
use crate::model::QualityIndex;

/// Stands where lossless planes have their bits a sample.
const LOSSY: u8 = 0;
/// The signature of PNG files.
const PNG_SIGNATURE: [u8; 8] = *b"\x89PNG\r\n\x1a\n";

/// One sample for each pixel, 8 or 16 bits deep as the picture's others.
pub(super) type Plane = DynamicImage;

/// The alpha plane of a picture; none where every pixel is opaque.
pub(super) fn plane(picture: &DynamicImage) -> Option<Plane> {
    let (w, h) = (picture.width(), picture.height());
    match picture {
        DynamicImage::ImageLumaA8(p) => every_last::<u8, 2>(p.as_raw(), w, h).map(DynamicImage::ImageLuma8),
        DynamicImage::ImageRgba8(p) => every_last::<u8, 4>(p.as_raw(), w, h).map(DynamicImage::ImageLuma8),
        DynamicImage::ImageLumaA16(p) => {
            every_last::<u16, 2>(p.as_raw(), w, h).map(DynamicImage::ImageLuma16)
        }
        DynamicImage::ImageRgba16(p) => every_last::<u16, 4>(p.as_raw(), w, h).map(DynamicImage::ImageLuma16),
        _ => None,
    }
}

fn every_last<S: Primitive, const N: usize>(
    samples: &[S],
    width: u32,
    height: u32,
) -> Option<ImageBuffer<Luma<S>, Vec<S>>> {
    let pixels = samples.as_chunks::<N>().0;
    if pixels.iter().all(|pixel| pixel[N - 1] == S::DEFAULT_MAX_VALUE) {
        return None;
    }
    ImageBuffer::from_raw(width, height, pixels.iter().map(|pixel| pixel[N - 1]).collect())
}

/// The picture and its alpha plane in one.
///
/// # Panics
/// Where their sizes or depths differ.
pub(super) fn join(picture: &DynamicImage, alpha: &Plane) -> DynamicImage {
    let (w, h) = (picture.width(), picture.height());
    let full = "a sample of alpha for each pixel";
    match (picture, alpha) {
        (DynamicImage::ImageLuma8(p), DynamicImage::ImageLuma8(a)) => {
            ImageBuffer::from_raw(w, h, interleave::<u8, 1>(p, a)).map(DynamicImage::ImageLumaA8).expect(full)
        }
        (DynamicImage::ImageRgb8(p), DynamicImage::ImageLuma8(a)) => {
            ImageBuffer::from_raw(w, h, interleave::<u8, 3>(p, a)).map(DynamicImage::ImageRgba8).expect(full)
        }
        (DynamicImage::ImageLuma16(p), DynamicImage::ImageLuma16(a)) => {
            ImageBuffer::from_raw(w, h, interleave::<u16, 1>(p, a))
                .map(DynamicImage::ImageLumaA16)
                .expect(full)
        }
        (DynamicImage::ImageRgb16(p), DynamicImage::ImageLuma16(a)) => {
            ImageBuffer::from_raw(w, h, interleave::<u16, 3>(p, a))
                .map(DynamicImage::ImageRgba16)
                .expect(full)
        }
        _ => unreachable!("alpha is as deep as the picture, which has none of its own"),
    }
}

fn interleave<S: Copy, const N: usize>(samples: &[S], alpha: &[S]) -> Vec<S> {
    let mut out = Vec::with_capacity(samples.len() + alpha.len());
    for (pixel, alpha) in samples.as_chunks::<N>().0.iter().zip(alpha) {
        out.extend_from_slice(pixel);
        out.push(*alpha);
    }
    out
}

/// A plane, coded without loss: the bits of a sample, then the rows.
pub(super) fn write_lossless(plane: &Plane) -> Result<Vec<u8>> {
    let (bits, rows) = match plane {
        DynamicImage::ImageLuma16(plane) => match bits_of(plane.as_raw().iter().copied()) {
            16 => (16, plane.as_raw().iter().flat_map(|sample| sample.to_be_bytes()).collect()),
            bits => {
                (bits, pack(plane.as_raw().iter().map(|sample| (sample >> 8) as u8), plane.width(), bits))
            }
        },
        _ => {
            let plane = plane.as_luma8().expect("planes have 8 or 16 bits");
            let bits = bits_of(plane.as_raw().iter().map(|&sample| u16::from(sample) * 257));
            (bits, pack(plane.as_raw().iter().copied(), plane.width(), bits))
        }
    };
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, plane.width(), plane.height());
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::from_u8(bits).expect("one of PNG's depths"));
    encoder.set_compression(png::Compression::High);
    if bits < 8 {
        encoder.set_filter(png::Filter::NoFilter); // filters work on bytes
    }
    let fault = |error: png::EncodingError| Error::Parameter(format!("alpha: {error}"));
    let mut writer = encoder.write_header().map_err(fault)?;
    writer.write_image_data(&rows).map_err(fault)?;
    writer.finish().map_err(fault)?;

    let mut payload = vec![bits];
    let mut rest = &file[PNG_SIGNATURE.len()..];
    while let Some((length, more)) = rest.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        if more[..4] == *b"IDAT" {
            payload.extend(&more[4..4 + length]);
        }
        rest = &more[4 + length + 4..];
    }
    Ok(payload)
}

/// The fewest bits that hold all samples, which have 16.
fn bits_of(samples: impl Iterator<Item = u16> + Clone) -> u8 {
    // A sample of n bits is repeated to fill 16: it is a multiple of (2^16 - 1) / (2^n - 1).
    let steps = [(1, 65535), (2, 21845), (4, 4369), (8, 257)];
    let fits = |step: u16| samples.clone().all(|sample| sample.is_multiple_of(step));
    steps.into_iter().find(|&(_, step)| fits(step)).map_or(16, |(bits, _)| bits)
}

/// Rows of samples of `bits` bits, from the top ones of bytes; each row begins
/// a byte.
fn pack(samples: impl Iterator<Item = u8>, width: u32, bits: u8) -> Vec<u8> {
    let samples: Vec<u8> = samples.collect();
    if bits == 8 {
        return samples;
    }
    let in_byte = usize::from(8 / bits);
    let byte = |samples: &[u8]| {
        samples
            .iter()
            .enumerate()
            .fold(0, |byte, (i, sample)| byte | (sample >> (8 - bits)) << (8 - bits * (i as u8 + 1)))
    };
    samples.chunks_exact(width as usize).flat_map(|row| row.chunks(in_byte).map(byte)).collect()
}

/// The payload of a plane that was coded as a grey picture.
pub(super) fn lossy(quality: QualityIndex, streams: &[u8]) -> Vec<u8> {
    [&[LOSSY, quality.0], streams].concat()
}

/// The quality and the streams of a plane that was coded as a grey picture;
/// none where it was coded without loss.
pub(super) fn as_lossy(payload: &[u8]) -> Option<(QualityIndex, &[u8])> {
    let (&[LOSSY, quality], streams) = payload.split_first_chunk()? else { return None };
    Some((QualityIndex(quality), streams))
}

/// Decodes what [`write_lossless`] coded. `depth` is that of the picture.
pub(super) fn read_lossless(payload: &[u8], width: u32, height: u32, depth: u8) -> Result<Plane> {
    let damaged = |error: png::DecodingError| Error::Format(format!("alpha: {error}"));
    let (&bits, data) =
        payload.split_first().ok_or_else(|| Error::Format("alpha: no bits of a sample".into()))?;
    if !matches!(bits, 1 | 2 | 4 | 8 | 16) || bits > depth {
        return Err(Error::Format(format!("alpha of {bits} bits a sample in a picture of {depth}")));
    }
    let mut options = png::DecodeOptions::default();
    options.set_ignore_adler32(false);
    let mut decoder = png::Decoder::new_with_options(Cursor::new(frame(data, width, height, bits)?), options);
    decoder.set_transformations(png::Transformations::EXPAND);
    // The size was checked before; the decoder holds little more than two rows.
    decoder.set_limits(png::Limits { bytes: usize::MAX });
    let mut reader = decoder.read_info().map_err(damaged)?;
    let full = "as many samples as pixels";
    let mut samples = vec![0u8; width as usize * height as usize * usize::from(bits.div_ceil(8))];
    reader.next_frame(&mut samples).map_err(damaged)?;
    let wide = |samples| ImageBuffer::from_raw(width, height, samples).map(Plane::ImageLuma16).expect(full);
    Ok(match (depth, bits) {
        (8, _) => GrayImage::from_raw(width, height, samples).expect(full).into(),
        (_, 16) => wide(samples.as_chunks().0.iter().map(|&pair| u16::from_be_bytes(pair)).collect()),
        _ => wide(samples.iter().map(|&sample| u16::from(sample) * 257).collect()),
    })
}

/// A grey PNG file around its coded rows.
fn frame(data: &[u8], width: u32, height: u32, bits: u8) -> Result<Vec<u8>> {
    let mut file = PNG_SIGNATURE.to_vec();
    let mut chunk = |kind: &[u8; 4], data: &[&[u8]]| {
        let length: usize = data.iter().map(|part| part.len()).sum();
        let length = i32::try_from(length)
            .map_err(|_| Error::Format(format!("alpha: {length} bytes, at most 2^31")))?;
        file.extend(length.to_be_bytes());
        let start = file.len();
        file.extend(kind);
        data.iter().for_each(|part| file.extend(*part));
        let check = crc32fast::hash(&file[start..]);
        file.extend(check.to_be_bytes());
        Ok::<(), Error>(())
    };
    chunk(b"IHDR", &[&width.to_be_bytes(), &height.to_be_bytes(), &[bits, 0, 0, 0, 0]])?;
    chunk(b"IDAT", &[data])?;
    chunk(b"IEND", &[])?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survives(plane: &Plane, bits: u8) {
        let payload = write_lossless(plane).unwrap();
        assert_eq!(payload[0], bits);
        let depth = if plane.as_luma8().is_some() { 8 } else { 16 };
        assert!(&read_lossless(&payload, plane.width(), plane.height(), depth).unwrap() == plane, "{bits}");
    }

    #[test]
    fn planes_take_as_few_bits_as_they_need() {
        for (width, height) in [(1, 1), (13, 7), (300, 2), (1, 70_000)] {
            for bits in [1, 2, 4, 8] {
                let step = 255 / ((1u32 << bits) - 1);
                let sample = |x: u32, y: u32| (x * 3 + y) % (1 << bits);
                let of = |x, y| if (x, y) == (0, 0) { 1 } else { sample(x, y) } * step;
                survives(&GrayImage::from_fn(width, height, |x, y| [of(x, y) as u8].into()).into(), bits);
                let deep = ImageBuffer::from_fn(width, height, |x, y| Luma([of(x, y) as u16 * 257]));
                survives(&DynamicImage::ImageLuma16(deep), bits);
            }
            let deep = ImageBuffer::from_fn(width, height, |x, y| Luma([(x * 771 + y * 5 + 1) as u16]));
            survives(&DynamicImage::ImageLuma16(deep), 16);
        }
    }

    #[test]
    fn a_damaged_plane_is_an_error() {
        let plane = GrayImage::from_fn(40, 30, |x, y| [(x * y) as u8].into()).into();
        let payload = write_lossless(&plane).unwrap();
        let read = |payload: &[u8], depth: u8| read_lossless(payload, 40, 30, depth);
        for length in 0..payload.len() {
            // The check at the end may be missing: the file has one of its own.
            match read(&payload[..length], 8) {
                Ok(decoded) => assert!(decoded == plane && length + 4 >= payload.len()),
                Err(error) => assert!(matches!(error, Error::Format(_)), "{length}: {error}"),
            }
        }
        for bits in [0, 3, 16, 255] {
            assert!(matches!(read(&[&[bits], &payload[1..]].concat(), 8), Err(Error::Format(_))), "{bits}");
        }
    }

    #[test]
    fn only_planes_with_something_to_say_are_taken() {
        let mut picture = image::RgbaImage::from_pixel(9, 5, [1, 2, 3, 255].into());
        assert!(plane(&picture.clone().into()).is_none());
        picture.put_pixel(8, 4, [1, 2, 3, 254].into());
        let picture = DynamicImage::from(picture);
        let alpha = plane(&picture).unwrap();
        assert_eq!((alpha.to_luma8()[(8, 4)].0, alpha.to_luma8()[(0, 0)].0), ([254], [255]));
        assert!(join(&picture.to_rgb8().into(), &alpha) == picture);
    }
}
