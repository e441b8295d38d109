//! Bicubic resampling in fixed point: Keys' kernel (1981) with a = -1/2, widened
//! where a picture shrinks, edges mirrored, pixels as squares around their
//! centres. What is called MATLAB-style in papers on super-resolution.

use rayon::prelude::*;

use super::samples::Samples;

/// Fraction bits of the taps.
const TAP_BITS: u32 = 14;

/// The taps of one output sample: the inputs they fall on, and their weights,
/// which sum to `2^TAP_BITS`.
struct Taps {
    inputs: Vec<usize>,
    weights: Vec<i32>,
}

/// Keys' kernel.
fn keys(x: f64) -> f64 {
    let x = x.abs();
    match x {
        x if x <= 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
        x if x < 2.0 => ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0,
        _ => 0.0,
    }
}

/// The taps of every output sample along a line.
fn taps(from: usize, to: usize) -> Vec<Taps> {
    let ratio = from as f64 / to as f64;
    let spread = ratio.max(1.0);
    (0..to)
        .map(|o| {
            let centre = (o as f64 + 0.5) * ratio - 0.5;
            let (first, last) =
                ((centre - 2.0 * spread).ceil() as i64, (centre + 2.0 * spread).floor() as i64);
            let raw: Vec<f64> = (first..=last).map(|i| keys((i as f64 - centre) / spread)).collect();
            let sum: f64 = raw.iter().sum();
            let mut weights: Vec<i32> =
                raw.iter().map(|w| (w / sum * f64::from(1 << TAP_BITS)).round() as i32).collect();
            // What rounding left goes to the largest.
            let rest = (1 << TAP_BITS) - weights.iter().sum::<i32>();
            let largest = (0..weights.len()).max_by_key(|&i| weights[i]).unwrap_or(0);
            weights[largest] += rest;
            let mirrored = |i: i64| {
                let i = i.rem_euclid(2 * from as i64) as usize;
                i.min(2 * from - 1 - i)
            };
            Taps { inputs: (first..=last).map(mirrored).collect(), weights }
        })
        .collect()
}

/// Resamples `height x width x channels` samples to another size.
pub fn resize(samples: &[i16], channels: usize, from: (usize, usize), to: (usize, usize)) -> Vec<i16> {
    let ((width, height), (new_width, new_height)) = (from, to);
    assert_eq!(samples.len(), width * height * channels, "samples of another size");
    let round = |sum: i32| {
        let rounded = (sum + (1 << (TAP_BITS - 1))) >> TAP_BITS;
        rounded.clamp(i16::MIN.into(), i16::MAX.into()) as i16
    };
    let (across, down) = (taps(width, new_width), taps(height, new_height));
    let mut wide = vec![0i16; new_width * height * channels];
    wide.par_chunks_mut(new_width * channels).zip(samples.par_chunks(width * channels)).for_each(
        |(out, line)| {
            for (pixel, taps) in out.chunks_exact_mut(channels).zip(&across) {
                for (c, value) in pixel.iter_mut().enumerate() {
                    let terms = taps.inputs.iter().zip(&taps.weights);
                    *value = round(terms.map(|(i, w)| w * i32::from(line[i * channels + c])).sum());
                }
            }
        },
    );
    let mut out = vec![0i16; new_width * new_height * channels];
    let line = new_width * channels;
    out.par_chunks_mut(line).zip(&down).for_each(|(out, taps)| {
        for (i, value) in out.iter_mut().enumerate() {
            let terms = taps.inputs.iter().zip(&taps.weights);
            *value = round(terms.map(|(y, w)| w * i32::from(wide[y * line + i])).sum());
        }
    });
    out
}

impl Samples {
    /// The picture at another size.
    pub fn resized(&self, width: usize, height: usize) -> Samples {
        let rgb = resize(&self.rgb, 3, (self.width, self.height), (width, height));
        Samples { width, height, rgb }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flat_lines_stay_flat_and_slopes_straight() {
        for (from, to) in [(9, 27), (9, 18), (27, 9), (64, 16), (5, 1), (1, 4)] {
            let flat = resize(&vec![1234; from], 1, (from, 1), (to, 1));
            assert!(flat.iter().all(|&v| v == 1234), "{from} to {to}: {flat:?}");
        }
        let slope: Vec<i16> = (0..32).map(|x| x * 300).collect();
        let twice = resize(&slope, 1, (32, 1), (64, 1));
        for (x, &value) in twice.iter().enumerate().take(58).skip(6) {
            let exact = ((x as f64 + 0.5) / 2.0 - 0.5) * 300.0;
            assert!((f64::from(value) - exact).abs() <= 1.0, "{x}: {value} {exact}");
        }
    }

    #[test]
    fn shrinking_averages_over_the_squares_that_are_lost() {
        // A chequered picture is grey from afar.
        let picture: Vec<i16> =
            (0..64 * 64).map(|i| if (i / 64 + i) % 2 == 0 { 8000 } else { -8000 }).collect();
        let small = resize(&picture, 1, (64, 64), (16, 16));
        assert!(small.iter().all(|v| v.abs() < 200), "{:?}", small.iter().max());
    }

    #[test]
    fn channels_are_on_their_own() {
        let rgb: Vec<i16> = (0..5 * 4 * 3).map(|i| (i % 3) as i16 * 1000).collect();
        let large = resize(&rgb, 3, (5, 4), (10, 8));
        assert!(large.chunks(3).all(|p| p == [0, 1000, 2000]));
    }
}
