//! Multi-scale structural similarity (MS-SSIM).
//!
//! Wang, Simoncelli and Bovik, "Multiscale structural similarity for image
//! quality assessment" (2003), as the pytorch-msssim package computes it, which
//! figures of learned codecs are quoted from: a Gaussian window of 11 taps with
//! sigma 1.5 and no padding, K = (0.01, 0.03), five scales, and 2x2 averages
//! between them, to which an odd side adds zeros at its start. Each channel on
//! its own, then their mean.

use image::DynamicImage;

/// The exponents of the five scales, the finest first.
const WEIGHTS: [f64; 5] = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333];
const TAPS: usize = 11;
const SIGMA: f32 = 1.5;
const C1: f32 = (0.01 * 255.0) * (0.01 * 255.0);
const C2: f32 = (0.03 * 255.0) * (0.03 * 255.0);

/// Both sides of a picture must be longer than this: the window has to fit into
/// the coarsest scale.
pub const LONGEST_TOO_SHORT: u32 = 160;

/// MS-SSIM against one original, whose side of the work is done once.
#[derive(Debug)]
pub struct MsSsim {
    channels: Vec<Vec<Scale>>,
    kernel: [f32; TAPS],
}

/// One channel of the original at one scale: its samples, and means and
/// variances under the window.
#[derive(Debug)]
struct Scale {
    samples: Plane,
    mean: Plane,
    variance: Plane,
}

#[derive(Debug, Clone)]
struct Plane {
    width: usize,
    height: usize,
    samples: Vec<f32>,
}

impl MsSsim {
    /// Prepares an original, 8-bit RGB or grey. `None` where a side is not
    /// longer than [`LONGEST_TOO_SHORT`].
    pub fn new(original: &DynamicImage) -> Option<MsSsim> {
        if original.width().min(original.height()) <= LONGEST_TOO_SHORT {
            return None;
        }
        let kernel = gaussian();
        let scales = |mut samples: Plane| {
            let mut scales = Vec::with_capacity(WEIGHTS.len());
            for scale in 0..WEIGHTS.len() {
                if scale > 0 {
                    samples = samples.halved();
                }
                let mean = samples.blurred(&kernel);
                let mut variance = samples.times(&samples).blurred(&kernel);
                variance.each(&mean, |square, mean| square - mean * mean);
                scales.push(Scale { samples: samples.clone(), mean, variance });
            }
            scales
        };
        Some(MsSsim { channels: planes(original).into_iter().map(scales).collect(), kernel })
    }

    /// The similarity of a decoded picture of the same size and colour: at most
    /// 1, which equal pictures reach.
    pub fn similarity(&self, decoded: &DynamicImage) -> f64 {
        let planes = planes(decoded);
        assert_eq!(planes.len(), self.channels.len(), "pictures of one colour type");
        let sum: f64 = planes.into_iter().zip(&self.channels).map(|(y, x)| self.channel(x, y)).sum();
        sum / self.channels.len() as f64
    }

    fn channel(&self, original: &[Scale], mut decoded: Plane) -> f64 {
        let mut product = 1.0;
        for (index, (scale, weight)) in original.iter().zip(WEIGHTS).enumerate() {
            if index > 0 {
                decoded = decoded.halved();
            }
            let coarsest = index + 1 == WEIGHTS.len();
            product *= similarity(scale, &decoded, &self.kernel, coarsest).max(0.0).powf(weight);
        }
        product
    }
}

/// The mean over one scale of contrast and structure, and on the coarsest of
/// luminance too.
fn similarity(x: &Scale, y: &Plane, kernel: &[f32; TAPS], luminance: bool) -> f64 {
    let mean = y.blurred(kernel);
    let squares = y.times(y).blurred(kernel);
    let products = y.times(&x.samples).blurred(kernel);
    let mut sum = 0.0;
    for i in 0..mean.samples.len() {
        let (mx, my) = (x.mean.samples[i], mean.samples[i]);
        let vx = x.variance.samples[i];
        let vy = squares.samples[i] - my * my;
        let covariance = products.samples[i] - mx * my;
        let mut value = (2.0 * covariance + C2) / (vx + vy + C2);
        if luminance {
            value *= (2.0 * mx * my + C1) / (mx * mx + my * my + C1);
        }
        sum += f64::from(value);
    }
    sum / mean.samples.len() as f64
}

fn gaussian() -> [f32; TAPS] {
    let centre = (TAPS / 2) as f32;
    let taps: [f32; TAPS] =
        std::array::from_fn(|i| (-(i as f32 - centre).powi(2) / (2.0 * SIGMA * SIGMA)).exp());
    let sum: f32 = taps.iter().sum();
    taps.map(|tap| tap / sum)
}

/// One plane for each channel.
fn planes(picture: &DynamicImage) -> Vec<Plane> {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let (bytes, channels) = match picture {
        DynamicImage::ImageLuma8(grey) => (grey.as_raw(), 1),
        DynamicImage::ImageRgb8(rgb) => (rgb.as_raw(), 3),
        other => panic!("MS-SSIM of a {:?} picture", other.color()),
    };
    (0..channels)
        .map(|c| {
            let samples = bytes.iter().skip(c).step_by(channels).map(|&v| f32::from(v)).collect();
            Plane { width, height, samples }
        })
        .collect()
}

impl Plane {
    fn times(&self, other: &Plane) -> Plane {
        let samples = self.samples.iter().zip(&other.samples).map(|(a, b)| a * b).collect();
        Plane { samples, ..*self }
    }

    fn each(&mut self, other: &Plane, f: impl Fn(f32, f32) -> f32) {
        self.samples.iter_mut().zip(&other.samples).for_each(|(a, b)| *a = f(*a, *b));
    }

    /// Under the window, where it fits: `TAPS - 1` rows and columns fewer.
    fn blurred(&self, kernel: &[f32; TAPS]) -> Plane {
        let (width, height) = (self.width + 1 - TAPS, self.height + 1 - TAPS);
        let mut rows = vec![0.0; width * self.height];
        for (out, row) in rows.chunks_exact_mut(width).zip(self.samples.chunks_exact(self.width)) {
            for (tap, weight) in kernel.iter().enumerate() {
                out.iter_mut().zip(&row[tap..]).for_each(|(out, v)| *out += weight * v);
            }
        }
        let mut samples = vec![0.0; width * height];
        for (y, out) in samples.chunks_exact_mut(width).enumerate() {
            for (tap, weight) in kernel.iter().enumerate() {
                out.iter_mut().zip(&rows[(y + tap) * width..]).for_each(|(out, v)| *out += weight * v);
            }
        }
        Plane { width, height, samples }
    }

    /// Means of 2x2 samples. An odd side begins with a line of zeros.
    fn halved(&self) -> Plane {
        let (left, top) = (self.width % 2, self.height % 2);
        let (width, height) = ((self.width + left) / 2, (self.height + top) / 2);
        let at = |y: usize, x: usize| {
            if y < top || x < left { 0.0 } else { self.samples[(y - top) * self.width + x - left] }
        };
        let mut samples = Vec::with_capacity(width * height);
        for y in 0..height {
            for x in 0..width {
                let (v, u) = (2 * y, 2 * x);
                samples.push((at(v, u) + at(v, u + 1) + at(v + 1, u) + at(v + 1, u + 1)) * 0.25);
            }
        }
        Plane { width, height, samples }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::RgbImage;

    #[test]
    fn equal_pictures_reach_one_and_small_ones_have_none() {
        let picture: DynamicImage =
            RgbImage::from_fn(163, 171, |x, y| [x as u8, y as u8, (x * y) as u8].into()).into();
        let similarity = MsSsim::new(&picture).unwrap().similarity(&picture);
        assert!((similarity - 1.0).abs() < 1e-6, "{similarity}");
        assert!(MsSsim::new(&RgbImage::new(160, 500).into()).is_none());
    }
}
