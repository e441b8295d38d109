//! What part of a picture to decode, and how large.

use image::{DynamicImage, ImageBuffer, Luma, Primitive};

use crate::error::{Error, Result};
use crate::model::arch::PIXEL_BLOCK;
use crate::nn::Window;

/// A rectangle of a picture's pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// Pixels to the left of it.
    pub x: u32,
    /// Rows above it.
    pub y: u32,
    /// Pixels in its rows, at least 1.
    pub width: u32,
    /// Rows, at least 1.
    pub height: u32,
}

/// How much smaller than the coded picture the decoded one is. A pixel is the
/// mean of the square it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scale {
    /// As large as it was.
    #[default]
    Full,
    /// Half the width and height, rounded up.
    Half,
    /// A quarter of them.
    Quarter,
    /// An eighth.
    Eighth,
}

impl Scale {
    /// The side of the square that becomes one pixel.
    pub fn divisor(self) -> u32 {
        1 << self as u32
    }
}

/// A region at a scale, in whole blocks of the synthesis output.
#[derive(Debug)]
pub(super) struct View {
    /// The positions of the synthesis output.
    pub window: Window,
    /// The side of the square that becomes one pixel.
    pub divisor: usize,
    /// Pixels that the window gives, the picture's end considered.
    pub width: usize,
    /// Rows of them.
    pub height: usize,
    /// The region among those.
    pub crop: Region,
}

impl View {
    /// Of a picture of `size`; a region that is empty or reaches out of it is an
    /// error.
    pub fn new((width, height): (u32, u32), region: Option<Region>, scale: Scale) -> Result<View> {
        let region = region.unwrap_or(Region { x: 0, y: 0, width, height });
        let inside = |start: u32, length: u32, size: u32| {
            length > 0 && start.checked_add(length).is_some_and(|end| end <= size)
        };
        if !inside(region.x, region.width, width) || !inside(region.y, region.height, height) {
            return Err(Error::Parameter(format!(
                "the region {},{},{},{} of a picture of {width}x{height} pixels",
                region.x, region.y, region.width, region.height
            )));
        }
        let divisor = scale.divisor() as usize;
        // Per side: positions, pixels they give, and where the region lies in these.
        let side = |start: u32, length: u32, size: u32| {
            let (start, end) = (start as usize, (start + length) as usize);
            let positions = start / PIXEL_BLOCK..end.div_ceil(PIXEL_BLOCK);
            let first = positions.start * PIXEL_BLOCK / divisor;
            let last = (positions.end * PIXEL_BLOCK / divisor).min((size as usize).div_ceil(divisor));
            let (left, right) = (start / divisor, end.div_ceil(divisor));
            (positions, last - first, (left - first) as u32, (right - left) as u32)
        };
        let (columns, across, x, crop_width) = side(region.x, region.width, width);
        let (rows, down, y, crop_height) = side(region.y, region.height, height);
        Ok(View {
            window: Window { rows, columns },
            divisor,
            width: across,
            height: down,
            crop: Region { x, y, width: crop_width, height: crop_height },
        })
    }

    /// The view of a grey picture that is at hand as a whole.
    pub fn of_plane(&self, plane: DynamicImage) -> DynamicImage {
        let divisor = self.divisor as u32;
        let plane = match plane {
            DynamicImage::ImageLuma8(plane) if divisor > 1 => smaller(&plane, divisor).into(),
            DynamicImage::ImageLuma16(plane) if divisor > 1 => smaller(&plane, divisor).into(),
            plane => plane,
        };
        let first = |position: usize| (position * PIXEL_BLOCK / self.divisor) as u32;
        let Region { x, y, width, height } = self.crop;
        let (x, y) = (x + first(self.window.columns.start), y + first(self.window.rows.start));
        if (plane.width(), plane.height()) == (width, height) {
            return plane;
        }
        plane.crop_imm(x, y, width, height)
    }
}

/// One sample for each pixel.
type Samples<S> = ImageBuffer<Luma<S>, Vec<S>>;

/// The means of the squares of `divisor` pixels a side, cut short at the edges.
fn smaller<S: Primitive + Into<u64>>(plane: &Samples<S>, divisor: u32) -> Samples<S> {
    let (width, height) = plane.dimensions();
    ImageBuffer::from_fn(width.div_ceil(divisor), height.div_ceil(divisor), |x, y| {
        let rows = y * divisor..(y * divisor + divisor).min(height);
        let columns = x * divisor..(x * divisor + divisor).min(width);
        let count = (rows.len() * columns.len()) as u64;
        let values = rows.flat_map(|y| columns.clone().map(move |x| plane.get_pixel(x, y).0[0].into()));
        let mean = (values.sum::<u64>() + count / 2) / count;
        Luma([S::from(mean).expect("a mean is no larger than what it is of")])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_must_lie_in_the_picture() {
        let region = |x, y, width, height| Some(Region { x, y, width, height });
        for bad in [region(0, 0, 0, 1), region(0, 0, 11, 1), region(9, 0, 2, 1), region(1, 1, u32::MAX, 1)] {
            assert!(matches!(View::new((10, 10), bad, Scale::Full), Err(Error::Parameter(_))), "{bad:?}");
        }
        let view = View::new((100, 50), region(9, 41, 91, 9), Scale::Half).unwrap();
        assert_eq!(view.window, Window { rows: 5..7, columns: 1..13 });
        assert_eq!((view.width, view.height), (46, 5));
        assert_eq!(view.crop, Region { x: 0, y: 0, width: 46, height: 5 });
        let view = View::new((3, 3), None, Scale::Eighth).unwrap();
        assert_eq!((view.width, view.height), (1, 1));
    }
}
