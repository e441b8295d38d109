//! Pictures as fixed-point samples.

use image::{DynamicImage, GrayImage, ImageBuffer, Luma, Rgb, RgbImage};

use crate::error::{Error, Result};

/// Fraction bits of a sample on the 0..255 scale.
pub const BITS: u32 = 7;
/// The 8-bit value that becomes 0.
const LEVEL: i32 = 128;
/// The sample of black.
pub const BLACK: i16 = -(LEVEL as i16) << BITS;
/// The sample of white.
pub const WHITE: i16 = (255 - LEVEL as i16) << BITS;

/// An RGB picture: `(value - 128) * 2^BITS`, on the 0..255 scale whatever the
/// depth it came from. Values beyond black and white are possible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Samples {
    /// Pixels across.
    pub width: usize,
    /// Pixels down.
    pub height: usize,
    /// `height x width x 3`.
    pub rgb: Vec<i16>,
}

/// The sample of a value on the 0..255 scale.
pub fn sample_of(value: f32) -> i16 {
    ((value - LEVEL as f32) * (1 << BITS) as f32).round() as i16
}

/// The value on the 0..255 scale of a sample.
pub fn value_of(sample: i16) -> f32 {
    f32::from(sample) / (1 << BITS) as f32 + LEVEL as f32
}

fn to_u8(sample: i16) -> u8 {
    let rounded = (i32::from(sample) + (1 << (BITS - 1))) >> BITS;
    (rounded + LEVEL).clamp(0, 255) as u8
}

/// 257 steps of 16 bits are one of 8.
fn from_u16(value: u16) -> i16 {
    ((((u32::from(value) << BITS) + 128) / 257) as i32 - (LEVEL << BITS)) as i16
}

fn to_u16(sample: i16) -> u16 {
    (((i32::from(sample) + (LEVEL << BITS)) * 257 + (1 << (BITS - 1))) >> BITS).clamp(0, 65535) as u16
}

impl Samples {
    /// The colours of a picture of 8 or 16 bits; its alpha is not looked at.
    /// Other types are [`Error::Unsupported`], empty pictures [`Error::Parameter`].
    pub fn of(picture: &DynamicImage) -> Result<Samples> {
        use DynamicImage::*;
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        if width == 0 || height == 0 {
            return Err(Error::Parameter(format!("a picture of {width}x{height} pixels")));
        }
        let rgb = match picture {
            ImageLuma8(_) | ImageLumaA8(_) | ImageRgb8(_) | ImageRgba8(_) => {
                picture.to_rgb8().iter().map(|&v| (i16::from(v) - LEVEL as i16) << BITS).collect()
            }
            ImageLuma16(_) | ImageLumaA16(_) | ImageRgb16(_) | ImageRgba16(_) => {
                picture.to_rgb16().iter().map(|&v| from_u16(v)).collect()
            }
            other => return Err(Error::Unsupported(format!("pixels of type {:?}", other.color()))),
        };
        Ok(Samples { width, height, rgb })
    }

    /// Rounded and clamped as 8 bits would be.
    pub fn stored(mut self) -> Samples {
        self.rgb.iter_mut().for_each(|v| *v = (i16::from(to_u8(*v)) - LEVEL as i16) << BITS);
        self
    }

    /// A picture of the type of `like`: its depth, grey as the mean of the
    /// colours, its alpha plane if it has one. The alpha, `alpha`, has one
    /// sample a pixel.
    pub fn to_picture(&self, like: &DynamicImage, alpha: Option<&[i16]>) -> DynamicImage {
        let (width, height) = (self.width as u32, self.height as u32);
        let (pixels, _) = self.rgb.as_chunks::<3>();
        let at = |x: u32, y: u32| y as usize * self.width + x as usize;
        let grey = |p: &[i16; 3]| {
            let sum: i32 = p.iter().map(|&v| i32::from(v)).sum();
            ((sum + 1).div_euclid(3)) as i16
        };
        let opaque = |i: usize| alpha.map_or(WHITE, |alpha| alpha[i]);
        use DynamicImage::*;
        match like {
            ImageLuma8(_) => {
                GrayImage::from_fn(width, height, |x, y| Luma([to_u8(grey(&pixels[at(x, y)]))])).into()
            }
            ImageLuma16(_) => {
                ImageBuffer::from_fn(width, height, |x, y| Luma([to_u16(grey(&pixels[at(x, y)]))])).into()
            }
            ImageLumaA8(_) => ImageLumaA8(ImageBuffer::from_fn(width, height, |x, y| {
                image::LumaA([to_u8(grey(&pixels[at(x, y)])), to_u8(opaque(at(x, y)))])
            })),
            ImageLumaA16(_) => ImageLumaA16(ImageBuffer::from_fn(width, height, |x, y| {
                image::LumaA([to_u16(grey(&pixels[at(x, y)])), to_u16(opaque(at(x, y)))])
            })),
            ImageRgba8(_) => ImageRgba8(ImageBuffer::from_fn(width, height, |x, y| {
                let [r, g, b] = pixels[at(x, y)].map(to_u8);
                image::Rgba([r, g, b, to_u8(opaque(at(x, y)))])
            })),
            ImageRgba16(_) => ImageRgba16(ImageBuffer::from_fn(width, height, |x, y| {
                let [r, g, b] = pixels[at(x, y)].map(to_u16);
                image::Rgba([r, g, b, to_u16(opaque(at(x, y)))])
            })),
            ImageRgb16(_) => {
                ImageRgb16(ImageBuffer::from_fn(width, height, |x, y| Rgb(pixels[at(x, y)].map(to_u16))))
            }
            _ => RgbImage::from_fn(width, height, |x, y| Rgb(pixels[at(x, y)].map(to_u8))).into(),
        }
    }
}

/// The alpha plane of a picture that has one, a sample a pixel.
pub fn alpha_of(picture: &DynamicImage) -> Option<Vec<i16>> {
    use DynamicImage::*;
    match picture {
        ImageLumaA8(_) | ImageRgba8(_) => {
            Some(picture.to_rgba8().pixels().map(|p| (i16::from(p.0[3]) - LEVEL as i16) << BITS).collect())
        }
        ImageLumaA16(_) | ImageRgba16(_) => {
            Some(picture.to_rgba16().pixels().map(|p| from_u16(p.0[3])).collect())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_comes_back_as_it_was() {
        let rgba = image::RgbaImage::from_fn(7, 5, |x, y| {
            image::Rgba([x as u8 * 30, y as u8 * 60, (x * y) as u8 * 7, 255 - x as u8 * 9])
        });
        let rgba = DynamicImage::from(rgba);
        let pictures = [
            DynamicImage::from(rgba.to_luma8()),
            rgba.to_luma_alpha8().into(),
            rgba.to_rgb8().into(),
            rgba.clone(),
        ];
        for picture in &pictures {
            let samples = Samples::of(picture).unwrap();
            let back = samples.to_picture(picture, alpha_of(picture).as_deref());
            assert_eq!(&back, picture);
        }
        let sixteen = [
            DynamicImage::from(pictures[0].to_luma16()),
            pictures[1].to_luma_alpha16().into(),
            pictures[2].to_rgb16().into(),
            pictures[3].to_rgba16().into(),
        ];
        for (picture, eight) in sixteen.iter().zip(&pictures) {
            let samples = Samples::of(picture).unwrap();
            assert_eq!(samples, Samples::of(eight).unwrap());
            assert_eq!(&samples.to_picture(picture, alpha_of(picture).as_deref()), picture);
        }
        assert!(Samples::of(&rgba.to_rgb32f().into()).is_err());
    }

    #[test]
    fn values_beyond_black_and_white_are_clamped_once_they_are_stored() {
        let samples =
            Samples { width: 1, height: 1, rgb: vec![i16::MIN, sample_of(300.0), sample_of(128.4)] };
        let picture = samples.to_picture(&RgbImage::new(1, 1).into(), None);
        assert_eq!(picture.to_rgb8().get_pixel(0, 0).0, [0, 255, 128]);
        assert_eq!((sample_of(0.0), sample_of(255.0), value_of(WHITE)), (BLACK, WHITE, 255.0));
    }
}
