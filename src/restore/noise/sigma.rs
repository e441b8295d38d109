//! The standard deviation of white noise.
//!
//! After Chen, Zhu and Heng, "An Efficient Statistical Method for Image Noise
//! Level Estimation", ICCV 2015: white noise gives all directions of patch space
//! the same variance, pictures only few. Beyond the paper, patches span the three
//! channels, lie where the picture is quiet, and what clipping to 8 bits took
//! away is put back. A patch is chosen by the pixels around it only, whose noise
//! is not its own: the choice does not favour weak noise.

use super::{LEVEL, Picture, is_extreme};

/// Pixels along the sides of a patch of three channels, and of a grey one.
const PATCH_SIDE: [usize; 2] = [5, 7];
/// Pixels between a patch and the end of its surroundings.
const MARGIN: usize = 2;
/// Patches looked at, at most.
const CANDIDATES: usize = 150_000;
/// The quietest part of the patches counts,
const KEEP: f64 = 0.1;
/// but not fewer than this, if there are as many.
const KEEP_LEAST: usize = 4000;
/// With fewer patches their covariance says nothing.
const FEWEST_PATCHES: usize = 400;
/// Shares of clipped samples among the surroundings' that are tolerated: the
/// first that leaves enough patches counts.
const CLIPPED: [f64; 3] = [0.1, 0.3, 0.6];
/// The part of the patches that is enough.
const ENOUGH: f64 = 0.02;
/// Variance of rounding to whole values.
const ROUNDING: f64 = 1.0 / 12.0;
/// Sweeps of the eigenvalue solver, which needs about eight.
const SWEEPS: usize = 30;
/// The median of the magnitude of a normal variable of deviation 1.
const NORMAL_MEDIAN: f64 = 0.674_489_750_196_081_7;
/// With fewer quads of pixels there is no estimate.
const FEWEST_QUADS: usize = 16;

/// A patch, by the surroundings it is chosen for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Patch {
    /// Sum of squared differences between neighbours.
    activity: u64,
    /// Of the surroundings' upper left pixel.
    y: usize,
    x: usize,
    /// Clipped samples of each channel.
    clipped: [u32; 3],
}

impl Picture<'_> {
    /// The standard deviation, on the scale of 0 to 255.
    pub(super) fn sigma(&self) -> f64 {
        let variance = match self.quiet_patches() {
            Some(patches) => self.patch_variance(&patches),
            None => self.quad_variance(),
        };
        let rounding = if self.is_whole() { ROUNDING } else { 0.0 };
        if variance > rounding { (variance - rounding).sqrt() } else { 0.0 }
    }

    /// Whether all samples are whole values.
    fn is_whole(&self) -> bool {
        self.samples.iter().all(|sample| sample % LEVEL == 0)
    }

    fn side(&self) -> usize {
        PATCH_SIDE[usize::from(self.channels == 1)]
    }

    /// Pixels of a patch's surroundings.
    fn ring_pixels(&self) -> usize {
        4 * MARGIN * (self.side() + MARGIN)
    }

    /// The patches to measure; None if there are too few.
    fn quiet_patches(&self) -> Option<Vec<Patch>> {
        let outer = self.side() + 2 * MARGIN;
        let down = (self.height + 1).checked_sub(outer)?;
        let across = (self.width + 1).checked_sub(outer)?;
        let mut step = 1;
        while down.div_ceil(step) * across.div_ceil(step) > CANDIDATES {
            step += 1;
        }
        let mut all = Vec::with_capacity(down.div_ceil(step) * across.div_ceil(step));
        for y in (0..down).step_by(step) {
            all.extend((0..across).step_by(step).map(|x| self.patch(y, x)));
        }
        let enough = FEWEST_PATCHES.max((all.len() as f64 * ENOUGH) as usize);
        let mut patches = Vec::new();
        for share in CLIPPED {
            let limit = (share * self.ring_pixels() as f64) as u32;
            let fits = |patch: &&Patch| patch.clipped.iter().all(|&count| count <= limit);
            patches = all.iter().filter(fits).copied().collect();
            if patches.len() >= enough {
                break;
            }
        }
        patches.sort_unstable();
        patches.truncate(KEEP_LEAST.max((all.len() as f64 * KEEP) as usize));
        (patches.len() >= FEWEST_PATCHES).then_some(patches)
    }

    /// The patch whose surroundings begin at row `y`, column `x`.
    fn patch(&self, y: usize, x: usize) -> Patch {
        let (side, outer) = (self.side(), self.side() + 2 * MARGIN);
        let mut patch = Patch { activity: 0, y, x, clipped: [0; 3] };
        for row in 0..outer {
            let spans = if (MARGIN..MARGIN + side).contains(&row) {
                [0..MARGIN, MARGIN + side..outer]
            } else {
                [0..outer, outer..outer]
            };
            for span in spans.into_iter().filter(|span| !span.is_empty()) {
                let start = ((y + row) * self.width + x + span.start) * 3;
                let line = &self.samples[start..start + span.len() * 3];
                for (at, &sample) in line.iter().enumerate() {
                    patch.clipped[at % 3] += u32::from(is_extreme(sample));
                }
                patch.activity += differences(line, &line[3..]);
                // Upwards, unless the patch itself lies there.
                if row != 0 && row != MARGIN + side {
                    let above = start - self.width * 3;
                    patch.activity += differences(line, &self.samples[above..above + line.len()]);
                } else if row != 0 {
                    let above = start - self.width * 3;
                    let (left, right) = (MARGIN * 3, (MARGIN + side) * 3);
                    let row_above = &self.samples[above..above + line.len()];
                    patch.activity += differences(&line[..left], row_above);
                    patch.activity += differences(&line[right..], &row_above[right..]);
                }
            }
        }
        patch
    }

    /// The variance that all directions of patch space share.
    fn patch_variance(&self, patches: &[Patch]) -> f64 {
        let (side, channels) = (self.side(), self.channels);
        let size = side * side * channels;
        let count = patches.len() as f64;
        let mut sums = vec![0.0; size];
        let mut products = vec![0.0; size * size];
        let mut values = Vec::with_capacity(size);
        for patch in patches {
            values.clear();
            for row in patch.y + MARGIN..patch.y + MARGIN + side {
                let start = (row * self.width + patch.x + MARGIN) * 3;
                let line = self.samples[start..start + side * 3].iter().step_by(3 / channels);
                values.extend(line.map(|&sample| f64::from(sample) / f64::from(LEVEL)));
            }
            for (i, &value) in values.iter().enumerate() {
                sums[i] += value;
                for (product, other) in products[i * size..=i * size + i].iter_mut().zip(&values) {
                    *product += value * other;
                }
            }
        }
        let gain = self.clipping_gain(patches);
        for i in 0..size {
            for j in 0..=i {
                let covariance = (products[i * size + j] - sums[i] * sums[j] / count) / (count - 1.0);
                let covariance = covariance * gain[i % channels] * gain[j % channels];
                products[i * size + j] = covariance;
                products[j * size + i] = covariance;
            }
        }
        common_variance(&eigenvalues(&mut products, size), count)
    }

    /// What the deviation of each channel is to be multiplied by, for what
    /// clipping took away.
    fn clipping_gain(&self, patches: &[Patch]) -> [f64; 3] {
        let samples = patches.len() as f64 * self.ring_pixels() as f64;
        std::array::from_fn(|channel| {
            let clipped: u64 = patches.iter().map(|patch| u64::from(patch.clipped[channel])).sum();
            let share = clipped as f64 / samples;
            // The deviation of a normal variable over that of the same one
            // clipped at one end, to 0.5 % for shares up to a half.
            1.0 + share * (0.9 + share * (0.2 + share * 1.7))
        })
    }

    /// For pictures too small for patches: from the median magnitude of
    /// `(a - b - c + d) / 2` of quads of pixels.
    fn quad_variance(&self) -> f64 {
        let mut magnitudes = Vec::new();
        let step = (self.width * self.height / CANDIDATES + 1).min(self.height);
        for y in (1..self.height).step_by(step) {
            let start = y * self.width * 3;
            let row = &self.samples[start..start + self.width * 3];
            let above = &self.samples[start - self.width * 3..start];
            for at in (3..row.len()).step_by(3 / self.channels) {
                let quad = [above[at - 3], above[at], row[at - 3], row[at]];
                if !quad.into_iter().any(is_extreme) {
                    let [a, b, c, d] = quad.map(i32::from);
                    magnitudes.push((a - b - c + d).unsigned_abs());
                }
            }
        }
        if magnitudes.len() < FEWEST_QUADS {
            return 0.0;
        }
        magnitudes.sort_unstable();
        let median = f64::from(magnitudes[magnitudes.len() / 2]) / 2.0 / f64::from(LEVEL);
        median / NORMAL_MEDIAN * (median / NORMAL_MEDIAN)
    }
}

/// The sum of squared differences of two lines, as far as both go.
fn differences(line: &[i16], other: &[i16]) -> u64 {
    let squares = line.iter().zip(other).map(|(&a, &b)| {
        let difference = i64::from(a) - i64::from(b);
        (difference * difference) as u64
    });
    squares.sum()
}

/// The mean of the smallest eigenvalues, as many as have it for their median
/// too. `count` patches spread even equal eigenvalues a little, upwards more
/// than downwards: so much is let pass.
fn common_variance(ascending: &[f64], count: f64) -> f64 {
    let spread = 1.0 + 0.5 * ascending.len() as f64 / count;
    let mut sum: f64 = ascending.iter().sum();
    for left in (1..=ascending.len()).rev() {
        let mean = sum / left as f64;
        let median = (ascending[(left - 1) / 2] + ascending[left / 2]) / 2.0;
        if mean <= median * spread {
            return mean;
        }
        sum -= ascending[left - 1];
    }
    0.0
}

/// The eigenvalues of a symmetric matrix of `size` rows, in ascending order; by
/// cyclic Jacobi rotations, which leave them on the matrix's diagonal.
pub(super) fn eigenvalues(matrix: &mut [f64], size: usize) -> Vec<f64> {
    for _ in 0..SWEEPS {
        let square = |(at, value): (usize, &f64)| {
            let square = value * value;
            if at % (size + 1) == 0 { (square, 0.0) } else { (0.0, square) }
        };
        let (diagonal, rest) =
            matrix.iter().enumerate().map(square).fold((0.0, 0.0), |(a, b), (c, d)| (a + c, b + d));
        if rest <= 1e-18 * diagonal {
            break;
        }
        for p in 0..size {
            for q in p + 1..size {
                rotate(matrix, size, p, q);
            }
        }
    }
    let mut values: Vec<f64> = (0..size).map(|i| matrix[i * (size + 1)]).collect();
    values.sort_unstable_by(f64::total_cmp);
    values
}

/// Turns rows and columns `p < q` so that the entry they share becomes 0.
fn rotate(matrix: &mut [f64], size: usize, p: usize, q: usize) {
    let shared = matrix[p * size + q];
    if shared == 0.0 {
        return;
    }
    let theta = (matrix[q * size + q] - matrix[p * size + p]) / (2.0 * shared);
    let root = (theta * theta + 1.0).sqrt();
    let tangent = if theta >= 0.0 { 1.0 / (theta + root) } else { 1.0 / (theta - root) };
    let cosine = 1.0 / (tangent * tangent + 1.0).sqrt();
    let sine = tangent * cosine;
    let turned = |a: f64, b: f64| (cosine * a - sine * b, sine * a + cosine * b);
    let (upper, lower) = matrix.split_at_mut(q * size);
    for (a, b) in upper[p * size..(p + 1) * size].iter_mut().zip(&mut lower[..size]) {
        (*a, *b) = turned(*a, *b);
    }
    for row in matrix.chunks_exact_mut(size) {
        (row[p], row[q]) = turned(row[p], row[q]);
    }
}
