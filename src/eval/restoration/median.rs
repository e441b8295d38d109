//! The adaptive median filter (Hwang and Haddad 1995), colour by colour.

use super::Plane;

/// Largest reach of the window.
const REACH: usize = 9;

/// Replaces samples that are the extremes of their window by its median, where
/// that is no extreme itself; otherwise the window grows.
pub fn adaptive_median(noisy: &Plane) -> Plane {
    let mut restored = noisy.clone();
    let Plane { width, height, .. } = *noisy;
    let mut window = Vec::new();
    for (i, out) in restored.rgb.iter_mut().enumerate() {
        let (x, y, c) = (i / 3 % width, i / 3 / width, i % 3);
        for reach in 1..=REACH {
            window.clear();
            for y in y.saturating_sub(reach)..(y + reach + 1).min(height) {
                for x in x.saturating_sub(reach)..(x + reach + 1).min(width) {
                    window.push(noisy.rgb[(y * width + x) * 3 + c]);
                }
            }
            window.sort_unstable_by(f32::total_cmp);
            let (least, median, most) = (window[0], window[window.len() / 2], window[window.len() - 1]);
            if least < median && median < most {
                if *out <= least || *out >= most {
                    *out = median;
                }
                break;
            }
            if reach == REACH {
                *out = median;
            }
        }
    }
    restored
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impulses_go_and_slopes_stay() {
        let clean: Vec<f32> =
            (0..20 * 20 * 3).map(|i| 40.0 + 3.0 * (i / 3 % 20) as f32 + (i / 60) as f32).collect();
        let mut noisy = Plane { width: 20, height: 20, rgb: clean.clone() };
        for i in (0..noisy.rgb.len()).step_by(7) {
            noisy.rgb[i] = if i % 2 == 0 { 0.0 } else { 255.0 };
        }
        let restored = adaptive_median(&noisy);
        let worst = clean.iter().zip(&restored.rgb).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 8.0, "{worst}");
    }
}
