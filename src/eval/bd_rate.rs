//! Bjontegaard's delta rate: how many more bits one codec needs than another at
//! equal quality, on average over the qualities both reach.

use serde::Serialize;

use super::pchip::Pchip;

/// Narrower overlaps than this, in dB, give no figure.
const MIN_OVERLAP: f64 = 0.2;

/// One point of a rate-distortion curve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Bits per pixel.
    pub bpp: f64,
    /// Quality in dB.
    pub quality: f64,
}

/// A mean difference of rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct BdRate {
    /// Percent of the anchor's rate; negative means fewer bits than the anchor.
    pub percent: f64,
    /// The lowest quality that both curves reach, in dB.
    pub low: f64,
    /// The highest quality that both curves reach, in dB.
    pub high: f64,
}

/// The rate of `test` relative to `anchor` at equal quality.
///
/// The logarithm of the rate is interpolated over the quality ([`Pchip`]), and
/// the difference is averaged over the overlap of the two curves. `anchor_bpp`
/// narrows the overlap to where the anchor spends that many bits per pixel.
/// `None` where a curve has fewer than three points or the overlap is narrow.
pub fn bd_rate(anchor: &[Point], test: &[Point], anchor_bpp: Option<(f64, f64)>) -> Option<BdRate> {
    let (anchor, test) = (improving(anchor), improving(test));
    if anchor.len() < 3 || test.len() < 3 {
        return None;
    }
    let mut low = anchor[0].quality.max(test[0].quality);
    let mut high = anchor[anchor.len() - 1].quality.min(test[test.len() - 1].quality);
    if let Some((from, to)) = anchor_bpp {
        let rates = log_rates(&anchor);
        let curve = Pchip::new(&rates, &qualities(&anchor));
        let quality_at = |bpp: f64| curve.value(bpp.ln().clamp(rates[0], rates[rates.len() - 1]));
        low = low.max(quality_at(from));
        high = high.min(quality_at(to));
    }
    if high - low < MIN_OVERLAP {
        return None;
    }
    let area = |curve: &[Point]| Pchip::new(&qualities(curve), &log_rates(curve)).integral(low, high);
    let mean = (area(&test) - area(&anchor)) / (high - low);
    Some(BdRate { percent: mean.exp_m1() * 100.0, low, high })
}

/// The points by rising rate, without those that are no better than a cheaper
/// one and without lossless ones, whose PSNR is infinite.
fn improving(points: &[Point]) -> Vec<Point> {
    let mut sorted: Vec<Point> = points.iter().copied().filter(|point| point.quality.is_finite()).collect();
    sorted.sort_by(|a, b| a.bpp.total_cmp(&b.bpp).then(a.quality.total_cmp(&b.quality)));
    let mut kept: Vec<Point> = Vec::new();
    for point in sorted {
        if kept.last().is_none_or(|last| point.quality > last.quality && point.bpp > last.bpp) {
            kept.push(point);
        }
    }
    kept
}

fn qualities(points: &[Point]) -> Vec<f64> {
    points.iter().map(|point| point.quality).collect()
}

fn log_rates(points: &[Point]) -> Vec<f64> {
    points.iter().map(|point| point.bpp.ln()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// OpenJPEG 9/7 and WebP on one photograph: bits per pixel and PSNR-RGB.
    const OPENJPEG: [(f64, f64); 8] = [
        (0.050313, 19.6876),
        (0.099976, 21.1167),
        (0.19928, 22.8691),
        (0.395711, 25.2426),
        (0.699951, 27.9915),
        (0.996318, 30.1749),
        (1.594238, 33.7283),
        (2.498576, 38.2122),
    ];
    const WEBP: [(f64, f64); 7] = [
        (0.308024, 24.5417),
        (0.539469, 27.0498),
        (0.928996, 30.0747),
        (1.241455, 31.9937),
        (1.571696, 33.7102),
        (2.502482, 37.4631),
        (3.645671, 40.3126),
    ];

    fn points(list: &[(f64, f64)]) -> Vec<Point> {
        list.iter().map(|&(bpp, quality)| Point { bpp, quality }).collect()
    }

    // Expected numbers from a NumPy and SciPy implementation of the same definition.
    #[test]
    fn a_real_pair_of_curves_matches_scipy() {
        let (anchor, test) = (points(&OPENJPEG), points(&WEBP));
        for (bpp, percent, low, high) in [
            (None, -3.0252917836558284, 24.5417, 38.2122),
            (Some((0.05, 0.4)), -7.548893057915142, 24.5417, 25.28642781166656),
            (Some((0.4, 1.0)), -7.385279948747196, 25.28642781166656, 30.19989139337596),
            (Some((1.0, 2.5)), 0.1932341740513569, 30.19989139337596, 38.2122),
        ] {
            let got = bd_rate(&anchor, &test, bpp).unwrap();
            assert!((got.percent - percent).abs() < 1e-9, "{got:?}, expected {percent}");
            assert!((got.low - low).abs() < 1e-9 && (got.high - high).abs() < 1e-9, "{got:?}");
        }
    }

    #[test]
    fn half_the_rate_is_minus_fifty_percent() {
        let anchor = points(&OPENJPEG);
        let test: Vec<Point> =
            anchor.iter().map(|point| Point { bpp: point.bpp / 2.0, ..*point }).rev().collect();
        assert!((bd_rate(&anchor, &test, None).unwrap().percent + 50.0).abs() < 1e-9);
    }

    #[test]
    fn points_that_do_not_improve_are_left_out() {
        let anchor = points(&OPENJPEG);
        let mut test = anchor.clone();
        test.extend(points(&[(0.5, 20.0), (9.0, 30.0), (9.0, f64::INFINITY)]));
        assert!(bd_rate(&anchor, &test, None).unwrap().percent.abs() < 1e-9);
    }

    #[test]
    fn curves_that_do_not_meet_give_no_figure() {
        let anchor = points(&OPENJPEG);
        let far: Vec<Point> =
            anchor.iter().map(|point| Point { quality: point.quality + 30.0, ..*point }).collect();
        assert_eq!(bd_rate(&anchor, &far, None), None);
        assert_eq!(bd_rate(&anchor, &anchor[..2], None), None);
    }
}
