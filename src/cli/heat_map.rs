//! The picture of where the bits went.

use aecodec::codec::BitMap;
use image::{DynamicImage, GrayImage, Rgb, RgbImage};

/// Pixels that a position of the map stands for, each way.
const BLOCK: usize = 16;

/// Colours from few bits to many, evenly spaced; seven of matplotlib's "inferno".
const COLOURS: [[f32; 3]; 7] = [
    [0.0, 0.0, 4.0],
    [50.0, 10.0, 94.0],
    [120.0, 28.0, 109.0],
    [188.0, 55.0, 84.0],
    [237.0, 105.0, 37.0],
    [251.0, 180.0, 26.0],
    [252.0, 255.0, 164.0],
];

/// How much of the decoded picture's luma shows through.
const SHOWN: f32 = 0.3;

/// The rates of the darkest and the brightest colour, in bits per pixel: the
/// 1st and the 99th percentile, so that a single block does not set the scale.
pub fn range(map: &BitMap) -> (f32, f32) {
    let mut rates: Vec<f32> = map.bits.iter().map(|bits| bits / (BLOCK * BLOCK) as f32).collect();
    rates.sort_by(f32::total_cmp);
    let at = |part: f32| rates[((rates.len() - 1) as f32 * part).round() as usize];
    let low = at(0.01).max(1e-3);
    (low, at(0.99).max(1.01 * low))
}

/// The map in the size of the picture, which shows through.
pub fn draw(map: &BitMap, decoded: &DynamicImage) -> RgbImage {
    let (low, high) = range(map);
    let luma: GrayImage = decoded.to_luma8();
    RgbImage::from_fn(decoded.width(), decoded.height(), |x, y| {
        let position = y as usize / BLOCK * map.width + x as usize / BLOCK;
        let rate = (map.bits[position] / (BLOCK * BLOCK) as f32).clamp(low, high);
        let colour = colour((rate / low).ln() / (high / low).ln());
        let luma = f32::from(luma.get_pixel(x, y).0[0]);
        Rgb(colour.map(|c| (c * (1.0 - SHOWN) + luma * SHOWN).round() as u8))
    })
}

/// The colour at a place from 0 to 1.
fn colour(place: f32) -> [f32; 3] {
    let steps = (COLOURS.len() - 1) as f32;
    let at = place.clamp(0.0, 1.0) * steps;
    let index = (at as usize).min(COLOURS.len() - 2);
    let part = at - index as f32;
    std::array::from_fn(|c| COLOURS[index][c] * (1.0 - part) + COLOURS[index + 1][c] * part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costly_places_are_brighter() {
        let bits: Vec<f32> = (0..12).map(|i| 20.0 + 50.0 * i as f32).collect();
        let map = BitMap { height: 3, width: 4, bits, latents: 0.0, hyper_latents: 0.0 };
        let picture = draw(&map, &GrayImage::from_pixel(60, 45, image::Luma([128])).into());
        assert_eq!(picture.dimensions(), (60, 45));
        let brightness = |x, y| picture.get_pixel(x, y).0.iter().map(|&v| u32::from(v)).sum::<u32>();
        assert!(brightness(0, 0) < brightness(20, 16) && brightness(20, 16) < brightness(59, 44));
    }
}
