//! Peak signal-to-noise ratio of 8-bit pictures.

use image::DynamicImage;

use crate::{Error, Result};

/// Luma weights of BT.601 (full range) in thousandths.
const LUMA: [i64; 3] = [299, 587, 114];

/// How close a picture is to its original, in dB; infinite where they are equal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Psnr {
    /// The mean squared error is taken over all samples of all channels.
    pub rgb: f64,
    /// Of the BT.601 luma, which is not rounded. A grey picture is its own luma.
    pub y: f64,
}

/// Compares two pictures of the same size; both 8-bit RGB, or both 8-bit grey.
pub fn psnr(original: &DynamicImage, decoded: &DynamicImage) -> Result<Psnr> {
    let size = |picture: &DynamicImage| (picture.width(), picture.height(), picture.color());
    if size(original) != size(decoded) {
        return Err(Error::Parameter(format!(
            "cannot compare a picture of {:?} with one of {:?}",
            size(original),
            size(decoded)
        )));
    }
    let pixels = f64::from(original.width()) * f64::from(original.height());
    match (original, decoded) {
        (DynamicImage::ImageLuma8(a), DynamicImage::ImageLuma8(b)) => {
            let error: u64 = differences(a, b).map(|d| (d * d) as u64).sum();
            let value = decibel(error as f64 / pixels);
            Ok(Psnr { rgb: value, y: value })
        }
        (DynamicImage::ImageRgb8(a), DynamicImage::ImageRgb8(b)) => {
            let rgb: u64 = differences(a, b).map(|d| (d * d) as u64).sum();
            let luma: u128 = a
                .chunks_exact(3)
                .zip(b.chunks_exact(3))
                .map(|(a, b)| differences(a, b).zip(LUMA).map(|(d, weight)| d * weight).sum::<i64>())
                .map(|d| (d * d) as u128)
                .sum();
            Ok(Psnr { rgb: decibel(rgb as f64 / (3.0 * pixels)), y: decibel(luma as f64 / 1e6 / pixels) })
        }
        _ => Err(Error::Parameter(format!("no PSNR is defined for {:?} pictures", original.color()))),
    }
}

/// Sample by sample, `a - b`.
fn differences<'a>(a: &'a [u8], b: &'a [u8]) -> impl Iterator<Item = i64> + 'a {
    a.iter().zip(b).map(|(&a, &b)| i64::from(a) - i64::from(b))
}

/// PSNR of a mean squared error on the 0..255 scale.
pub fn decibel(mse: f64) -> f64 {
    10.0 * (255.0 * 255.0 / mse).log10()
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{GrayImage, Rgb, RgbImage};

    #[test]
    fn equal_pictures_are_infinitely_close() {
        let picture = DynamicImage::ImageRgb8(RgbImage::from_pixel(5, 3, Rgb([1, 2, 3])));
        let value = psnr(&picture, &picture).unwrap();
        assert_eq!((value.rgb, value.y), (f64::INFINITY, f64::INFINITY));
    }

    #[test]
    fn values_match_numpy() {
        // a[y][x][c] = 20 + 7 x + 11 y + 40 c, b = a + (x + 2 y + 3 c) % 5 - 2; numbers from numpy.
        let a = RgbImage::from_fn(8, 6, |x, y| Rgb([0, 1, 2].map(|c| (20 + 7 * x + 11 * y + 40 * c) as u8)));
        let b = RgbImage::from_fn(8, 6, |x, y| {
            let shift = [0, 1, 2].map(|c| ((x + 2 * y + 3 * c) % 5) as i16 - 2);
            let pixel = a.get_pixel(x, y).0;
            Rgb([0, 1, 2].map(|c| (i16::from(pixel[c]) + shift[c]) as u8))
        });
        let value = psnr(&a.into(), &b.into()).unwrap();
        assert!((value.rgb - 45.150768).abs() < 1e-4, "{}", value.rgb);
        assert!((value.y - 51.865475).abs() < 1e-4, "{}", value.y);
    }

    #[test]
    fn grey_is_its_own_luma() {
        let a = GrayImage::from_fn(4, 4, |x, y| image::Luma([(10 * x + y) as u8]));
        let b = GrayImage::from_fn(4, 4, |x, y| image::Luma([(10 * x + y + 5) as u8]));
        let value = psnr(&a.into(), &b.into()).unwrap();
        assert!((value.rgb - 34.151_404).abs() < 1e-5, "{}", value.rgb);
        assert_eq!(value.rgb, value.y);
    }

    #[test]
    fn other_sizes_are_refused() {
        let a: DynamicImage = RgbImage::new(4, 4).into();
        let b: DynamicImage = RgbImage::new(4, 5).into();
        assert!(psnr(&a, &b).is_err());
    }
}
