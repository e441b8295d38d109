//! Hidden colours, those of wholly transparent pixels: replaced by what costs
//! few bits.
//!
//! The picture is halved again and again, counting visible pixels only, until
//! nothing is hidden; on the way back each hidden pixel takes its colour from
//! the half picture. This is pull-push interpolation (Gortler et al., "The
//! Lumigraph", 1996): smooth far from the visible, close to it at its edge.

use std::borrow::Cow;

use image::{DynamicImage, Primitive};

/// The picture without its hidden colours.
pub(super) fn clean(picture: &DynamicImage) -> Cow<'_, DynamicImage> {
    let width = picture.width() as usize;
    let mut cleaned = picture.clone();
    match &mut cleaned {
        DynamicImage::ImageLumaA8(p) => fill::<u8, 2>(p, width),
        DynamicImage::ImageRgba8(p) => fill::<u8, 4>(p, width),
        DynamicImage::ImageLumaA16(p) => fill::<u16, 2>(p, width),
        DynamicImage::ImageRgba16(p) => fill::<u16, 4>(p, width),
        _ => return Cow::Borrowed(picture),
    }
    Cow::Owned(cleaned)
}

fn fill<S: Primitive + Into<u16>, const N: usize>(samples: &mut [S], width: usize) {
    let pixels = samples.as_chunks_mut::<N>().0;
    let hidden = |pixel: &[S; N]| pixel[N - 1] == S::zero();
    let visible = |x: usize, y: usize| {
        let pixel = &pixels[y * width + x];
        let colour = [0, 1, 2].map(|c| pixel[c.min(N - 2)].into());
        (!hidden(pixel)).then_some(colour)
    };
    let half = Holed::half_of(width, pixels.len() / width, visible).filled();
    for (index, pixel) in pixels.iter_mut().enumerate().filter(|(_, pixel)| hidden(pixel)) {
        match &half {
            Some(half) => {
                let colour = half.between(index % width, index / width);
                for (sample, colour) in pixel[..N - 1].iter_mut().zip(colour) {
                    *sample = S::from(colour).expect("a mean is no larger than what it is the mean of");
                }
            }
            // Nothing is visible at all: grey.
            None => pixel[..N - 1].fill(S::DEFAULT_MAX_VALUE / (S::one() + S::one())),
        }
    }
}

/// A smaller picture.
struct Level<T> {
    width: usize,
    height: usize,
    colours: Vec<T>,
}

/// A smaller picture with holes.
type Holed = Level<Option<[u16; 3]>>;

impl Holed {
    /// The means of the visible among each 2 x 2 pixels.
    fn half_of(width: usize, height: usize, visible: impl Fn(usize, usize) -> Option<[u16; 3]>) -> Holed {
        let (half_width, half_height) = (width.div_ceil(2), height.div_ceil(2));
        let mut colours = Vec::with_capacity(half_width * half_height);
        for y in (0..height).step_by(2) {
            for x in (0..width).step_by(2) {
                let (mut sum, mut count) = ([0u32; 3], 0);
                for (x, y) in [(x, y), (x + 1, y), (x, y + 1), (x + 1, y + 1)] {
                    if let Some(colour) = (x < width && y < height).then(|| visible(x, y)).flatten() {
                        sum.iter_mut().zip(colour).for_each(|(sum, c)| *sum += u32::from(c));
                        count += 1;
                    }
                }
                colours.push((count > 0).then(|| sum.map(|sum| ((sum + count / 2) / count) as u16)));
            }
        }
        Level { width: half_width, height: half_height, colours }
    }

    /// The same without holes; none where there is nothing else.
    fn filled(self) -> Option<Level<[u16; 3]>> {
        let Level { width, height, colours } = self;
        let filled = if colours.iter().all(Option::is_some) {
            colours.into_iter().flatten().collect()
        } else if colours.len() == 1 {
            return None;
        } else {
            let half = Holed::half_of(width, height, |x, y| colours[y * width + x]).filled()?;
            let fill = |(index, colour): (usize, Option<[u16; 3]>)| {
                colour.unwrap_or_else(|| half.between(index % width, index / width))
            };
            colours.into_iter().enumerate().map(fill).collect()
        };
        Some(Level { width, height, colours: filled })
    }
}

impl Level<[u16; 3]> {
    /// The colour at a pixel of the picture twice as large, between the four
    /// nearest.
    fn between(&self, x: usize, y: usize) -> [u16; 3] {
        // The nearest position and the next, three quarters and one.
        let taps = |position: usize, end: usize| {
            let nearest = position / 2;
            let next = if position % 2 == 1 { nearest + 1 } else { nearest.saturating_sub(1) };
            [(nearest, 3), (next.min(end - 1), 1)]
        };
        let mut sum = [8u32; 3];
        for (y, weight_y) in taps(y, self.height) {
            for (x, weight_x) in taps(x, self.width) {
                let colour = self.colours[y * self.width + x];
                sum.iter_mut().zip(colour).for_each(|(sum, c)| *sum += weight_x * weight_y * u32::from(c));
            }
        }
        sum.map(|sum| (sum / 16) as u16)
    }
}

#[cfg(test)]
mod tests {
    use image::{Rgba, RgbaImage};

    use super::*;

    #[test]
    fn hidden_colours_do_not_matter_and_visible_ones_stay() {
        let picture = |hidden: fn(u32, u32) -> u8| {
            let pixel = |x: u32, y: u32| match (x * 7 + y * 5) % 11 {
                0..6 => Rgba([hidden(x, y), hidden(y, x), hidden(x, x), 0]),
                alpha => Rgba([x as u8, y as u8, 9, alpha as u8]),
            };
            DynamicImage::from(RgbaImage::from_fn(37, 22, pixel))
        };
        let noise = picture(|x, y| (x * 91 + y * 57) as u8);
        let cleaned = clean(&noise).into_owned();
        assert!(cleaned == *clean(&picture(|_, _| 0)));
        for (before, after) in noise.to_rgba8().pixels().zip(cleaned.to_rgba8().pixels()) {
            assert!(before == after || (before[3] == 0 && after[3] == 0));
        }
    }

    #[test]
    fn what_surrounds_a_hole_fills_it() {
        let hole = |x: u32, y: u32| (10..40).contains(&x) && (10..30).contains(&y);
        let picture = RgbaImage::from_fn(50, 40, |x, y| {
            Rgba(if hole(x, y) { [255, 0, 255, 0] } else { [40, 90, 140, 255] })
        });
        for pixel in clean(&picture.into()).to_rgba8().pixels() {
            assert_eq!(pixel.0[..3], [40, 90, 140]);
        }
    }

    #[test]
    fn a_picture_with_nothing_to_see_is_grey() {
        for (width, height) in [(1, 1), (2, 3), (33, 1)] {
            let picture = DynamicImage::from(RgbaImage::from_pixel(width, height, Rgba([1, 2, 3, 0])));
            let cleaned = clean(&picture).to_rgba8();
            assert!(cleaned.pixels().all(|pixel| pixel.0 == [127, 127, 127, 0]), "{width}x{height}");
        }
    }
}
