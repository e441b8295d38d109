//! Noise that is known, on a drawn picture.

use super::sigma::eigenvalues;

/// Pixels along the sides of a masked block.
const BLOCK: usize = 8;
use super::*;

const WIDTH: usize = 160;
const HEIGHT: usize = 128;

/// Knuth's linear congruential generator.
struct Random(u64);

impl Random {
    /// From 0 to 1.
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f64 / f64::from(1u32 << 24)
    }

    /// Nearly normal, of deviation 1.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

fn to_samples(values: &[f64]) -> Vec<i16> {
    values.iter().map(|value| ((value - 128.0) * f64::from(LEVEL)).round() as i16).collect()
}

/// Gradients, a checked area, a black disc and a white bar.
fn scene() -> Vec<f64> {
    let mut values = Vec::with_capacity(WIDTH * HEIGHT * 3);
    for y in 0..HEIGHT {
        for x in 0..WIDTH {
            let disc = (y as f64 - 40.0) * (y as f64 - 40.0) + (x as f64 - 50.0) * (x as f64 - 50.0) < 500.0;
            let pixel = if disc {
                [0.0; 3]
            } else if (100..110).contains(&y) && x > 30 {
                [255.0; 3]
            } else if x > 110 && y < 60 {
                [60.0 + 120.0 * ((x / 3 + y / 3) % 2) as f64; 3]
            } else {
                [90.0 + 0.4 * x as f64, 180.0 - 0.5 * y as f64, 120.0 + 0.3 * (x + y) as f64]
            };
            values.extend(pixel);
        }
    }
    values
}

fn with_noise(values: &[f64], sigma: f64, clip: bool) -> Vec<f64> {
    let mut random = Random(7);
    let noisy = values.iter().map(|value| value + sigma * random.normal());
    noisy.map(|value| if clip { value.clamp(0.0, 255.0).round() } else { value }).collect()
}

fn assert_close(estimate: f64, sigma: f64, tolerance: f64) {
    assert!((estimate - sigma).abs() <= tolerance * sigma, "{estimate} for {sigma}");
}

#[test]
fn eigenvalues_of_known_matrices() {
    let mut tridiagonal = vec![0.0; 9];
    for i in 0..3 {
        tridiagonal[i * 4] = 2.0;
    }
    for at in [1, 3, 5, 7] {
        tridiagonal[at] = -1.0;
    }
    let root = 2f64.sqrt();
    for (found, known) in eigenvalues(&mut tridiagonal, 3).into_iter().zip([2.0 - root, 2.0, 2.0 + root]) {
        assert!((found - known).abs() < 1e-12, "{found} for {known}");
    }
    let mut ones = vec![1.0; 25];
    let found = eigenvalues(&mut ones, 5);
    assert!(found[..4].iter().all(|value| value.abs() < 1e-12) && (found[4] - 5.0).abs() < 1e-12);
    assert_eq!(eigenvalues(&mut [0.0; 4], 2), [0.0, 0.0]);
}

#[test]
fn sigma_is_found() {
    let scene = scene();
    for sigma in [5.0, 15.0, 25.0, 50.0] {
        let estimate = estimate_sigma(&to_samples(&with_noise(&scene, sigma, false)), WIDTH, HEIGHT);
        assert_close(estimate, sigma, 0.04);
        let estimate = estimate_sigma(&to_samples(&with_noise(&scene, sigma, true)), WIDTH, HEIGHT);
        assert_close(estimate, sigma, 0.06);
    }
}

#[test]
fn sigma_of_grey_pictures() {
    let grey: Vec<f64> = scene().chunks(3).map(|pixel| pixel[1]).collect();
    for sigma in [5.0, 25.0, 50.0] {
        let noisy = with_noise(&grey, sigma, true);
        let threefold: Vec<f64> = noisy.into_iter().flat_map(|value| [value; 3]).collect();
        assert_close(estimate_sigma(&to_samples(&threefold), WIDTH, HEIGHT), sigma, 0.06);
    }
}

#[test]
fn a_channel_at_its_end_does_not_mislead() {
    let values: Vec<f64> = scene().chunks(3).flat_map(|pixel| [pixel[0], 0.0, pixel[2]]).collect();
    let estimate = estimate_sigma(&to_samples(&with_noise(&values, 20.0, true)), WIDTH, HEIGHT);
    assert_close(estimate, 20.0, 0.1);
}

#[test]
fn clean_pictures_have_no_noise() {
    assert!(estimate_sigma(&to_samples(&scene()), WIDTH, HEIGHT) < 0.5);
    for value in [BLACK, 5, WHITE] {
        assert_eq!(estimate_sigma(&vec![value; WIDTH * HEIGHT * 3], WIDTH, HEIGHT), 0.0);
    }
}

#[test]
fn small_and_odd_measures_are_taken() {
    for (width, height) in
        [(0, 0), (0, 5), (1, 1), (3, 5), (1, 300), (300, 1), (8, 8), (9, 9), (11, 300), (2, 900)]
    {
        let noisy = to_samples(&with_noise(&vec![128.0; width * height * 3], 20.0, true));
        let sigma = estimate_sigma(&noisy, width, height);
        assert!((0.0..60.0).contains(&sigma), "{sigma} for {width}x{height}");
        assert_eq!(losses(&noisy, width, height), Loss::None);
    }
    // Too few samples for the measures.
    assert_eq!(estimate_sigma(&[0; 30], 100, 100), 0.0);
    assert_eq!(losses(&[0; 30], usize::MAX, 2), Loss::None);
    // Three rows: by quads.
    let noisy = to_samples(&with_noise(&vec![128.0; 400 * 3 * 3], 20.0, true));
    assert_close(estimate_sigma(&noisy, 400, 3), 20.0, 0.1);
}

fn struck(values: &[f64], share: f64, by: impl Fn(&mut Random, &mut [f64]), samples: usize) -> Vec<i16> {
    let mut random = Random(3);
    let mut values = values.to_vec();
    for part in values.chunks_mut(samples) {
        if random.uniform() < share {
            by(&mut random, part);
        }
    }
    to_samples(&values)
}

#[test]
fn salt_and_pepper_are_seen() {
    let shake =
        |random: &mut Random, part: &mut [f64]| part[0] = if random.uniform() < 0.5 { 0.0 } else { 255.0 };
    for share in [0.02, 0.1, 0.4, 0.7] {
        let samples = struck(&scene(), share, shake, 1);
        assert_eq!(losses(&samples, WIDTH, HEIGHT), Loss::SaltAndPepper, "{share}");
    }
}

#[test]
fn masked_pixels_are_seen() {
    for share in [0.05, 0.2, 0.5, 0.8] {
        let samples = struck(&scene(), share, |_, pixel| pixel.fill(0.0), 3);
        assert_eq!(losses(&samples, WIDTH, HEIGHT), Loss::Masking, "{share}");
    }
}

#[test]
fn masked_blocks_are_seen() {
    for share in [0.05, 0.2, 0.5, 0.8] {
        let mut random = Random(11);
        let mut samples = to_samples(&scene());
        for block in 0..WIDTH * HEIGHT / (BLOCK * BLOCK) {
            let (y, x) = (block / (WIDTH / BLOCK) * BLOCK, block % (WIDTH / BLOCK) * BLOCK);
            if random.uniform() < share {
                for row in y..y + BLOCK {
                    samples[(row * WIDTH + x) * 3..][..BLOCK * 3].fill(BLACK);
                }
            }
        }
        assert_eq!(losses(&samples, WIDTH, HEIGHT), Loss::Masking, "{share}");
    }
}

#[test]
fn clean_and_noisy_pictures_have_no_losses() {
    let scene = scene();
    assert_eq!(losses(&to_samples(&scene), WIDTH, HEIGHT), Loss::None);
    for sigma in [10.0, 30.0, 75.0] {
        let samples = to_samples(&with_noise(&scene, sigma, true));
        assert_eq!(losses(&samples, WIDTH, HEIGHT), Loss::None, "{sigma}");
    }
}

#[test]
fn patterns_are_no_losses() {
    let patterns: [fn(usize, usize) -> bool; 7] = [
        |y, x| (y + x) % 2 == 0,
        |y, x| y % 4 == 0 && x % 4 == 0,
        |y, x| y % 4 == 0 || x % 7 == 0,
        // Writing, of a kind.
        |y, x| y % 12 < 8 && (x * 7 / 5 + y / 12 * 5) % 6 < 2,
        |y, x| (y / 8 + x / 8) % 2 == 0,
        |y, x| (y / 24 + x / 32) % 3 == 0,
        |_, _| true,
    ];
    for (at, pattern) in patterns.into_iter().enumerate() {
        for ground in [WHITE, 20 * LEVEL] {
            let pixels = (0..WIDTH * HEIGHT).map(|pixel| pattern(pixel / WIDTH, pixel % WIDTH));
            let samples: Vec<i16> =
                pixels.flat_map(|black| [if black { BLACK } else { ground }; 3]).collect();
            assert_eq!(losses(&samples, WIDTH, HEIGHT), Loss::None, "pattern {at} on {ground}");
        }
    }
}
