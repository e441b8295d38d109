//! A search for better symbols: what `--effort` buys.
//!
//! The analysis transform guesses latents that are good for pictures in
//! general. For the picture at hand, the synthesis transform run backwards tells
//! what each latent does to it. Every latent has a position `k + f` in steps
//! from its mean, and in each pass is coded as `k + 1` with a probability p(f),
//! as `k` otherwise. With the gradient g of the squared error at what was drawn
//! and its curvature h, the expected objective grows with the position by
//!
//! ```text
//! (bits(k + 1) - bits(k) + lambda (g d + h d^2 / 2)) p'(f)
//! ```
//!
//! where d is a step (where `k + 1` was drawn, h counts the other way), and Adam
//! walks down that slope. p becomes steeper, and in the end the symbols are those
//! nearest to the positions; if they are worse than what the analysis transform
//! gave, nothing changes.
//!
//! Optimising the latents of one picture through a frozen decoder: Campos et al.
//! 2019; annealing with this p: stochastic Gumbel annealing (Yang et al. 2020),
//! which relaxes the symbols instead and takes thousands of passes. All of it is
//! done in integers and in sums, products, quotients and square roots of floats
//! in a fixed order: the result is the same on every machine.

use super::latents::{self, Coded, Quantiser, saturate};
use super::pixels::SYNTHESIS_OUTPUT_BITS;
use super::prepared::PreparedModel;
use super::tensors;
use crate::entropy::Costs;
use crate::error::Result;
use crate::model::arch::{PIXEL_BLOCK, PIXEL_CHANNELS};
use crate::model::step::Step;
use crate::nn::{Source, Tape, Tensor};
use crate::tile::{Tile, TileGrid};

/// Passes of each effort.
const PASSES: [usize; 10] = [0, 6, 8, 14, 22, 35, 55, 90, 150, 240];
/// The most that a caller can ask for.
pub(super) const MAX_EFFORT: u8 = PASSES.len() as u8 - 1;
/// Latent positions around a tile whose pixels the tile's latents reach.
const HALO: usize = 4;
/// How far a position moves in a pass at first, in steps.
const RATE: f32 = 0.08;
/// Powers of the odds between two symbols, in the first pass and the last.
const POWERS: [usize; 2] = [6, 10];
/// Decay of Adam's first moment in a pass.
const BETA1: f32 = 0.8;
/// Decay of Adam's second moment in a pass.
const BETA2: f32 = 0.97;
/// Positions on each side over which the measured curvature is averaged.
const NEARBY: usize = 2;
/// The magnitude of the probe that measures curvature.
const PROBE: i16 = 1 << 12;

/// A picture whose tiles are being refined.
pub(super) struct Scene<'a> {
    pub model: &'a PreparedModel,
    pub quantiser: &'a Quantiser,
    pub costs: Costs<'a>,
    /// The analysis input.
    pub source: &'a (dyn Source + Sync),
    /// Columns and rows of pixels.
    pub size: (usize, usize),
    pub grid: TileGrid,
    /// The latents of the whole picture as the decoder would see them unrefined:
    /// what surrounds a tile.
    pub y_hat: Tensor,
}

/// What comes of some symbols.
struct Look {
    coded: Vec<Coded>,
    /// The synthesis output less what is wanted.
    errors: Tensor,
    tape: Tape,
    /// Bits plus lambda times the squared error.
    objective: f64,
}

/// Where a latent stands, and Adam's memory of it.
#[derive(Clone, Copy)]
struct Place {
    /// In the latents' units.
    value: f32,
    moments: [f32; 2],
}

impl Scene<'_> {
    /// The latents of a tile after the passes of an effort: values that
    /// [`latents::write`] rounds to the symbols found.
    pub fn refine(&self, index: usize, y: Tensor, z: &Tensor, effort: u8) -> Result<Tensor> {
        let passes = PASSES[usize::from(effort.min(MAX_EFFORT))];
        if passes == 0 {
            return Ok(y);
        }
        let mut patch = Patch::new(self, &self.grid.tile(index));
        let mut look = patch.look(self, &y, z)?;
        let unrefined = look.objective;
        let mut places: Vec<Place> =
            y.data.iter().map(|&v| Place { value: v.into(), moments: [0.0; 2] }).collect();
        let curvature = patch.curvature(self, &look.tape)?;
        let mut drawn = y.clone();
        for pass in 0..passes {
            let annealing = Annealing::new(pass, passes);
            let seed = (index * passes + pass) as u32;
            self.draw(&places, &look.coded, |i, f| annealing.draws_next(f, hash(seed, i)), &mut drawn);
            look = patch.look(self, &drawn, z)?;
            let gradient = patch.gradient(self, &look)?;
            self.descend(&mut places, &look.coded, &gradient, &curvature, &annealing);
        }
        self.draw(&places, &look.coded, |_, f| f >= 0.5, &mut drawn);
        let refined = patch.look(self, &drawn, z)?.objective;
        Ok(if refined < unrefined { drawn } else { y })
    }

    /// Sets the coded latents among `to` to symbols next to their places; `next`
    /// says, by index and fraction, which take the one above.
    fn draw(&self, places: &[Place], coded: &[Coded], next: impl Fn(u32, f32) -> bool, to: &mut Tensor) {
        let channels = to.channels;
        for (i, (to, (place, coded))) in to.data.iter_mut().zip(places.iter().zip(coded)).enumerate() {
            if coded.bin == 0 {
                continue;
            }
            let step = self.quantiser.steps[i % channels];
            let (k, f) = fraction(place.value, coded.mean, step);
            let symbol = k.saturating_add(i16::from(next(i as u32, f)));
            *to = saturate(i32::from(coded.mean) + step.dequantize(symbol));
        }
    }

    /// Moves the places against the gradient of the expected objective.
    /// `gradient` and `curvature` are those of half the squared error.
    fn descend(
        &self,
        places: &mut [Place],
        coded: &[Coded],
        gradient: &[f32],
        curvature: &[f32],
        annealing: &Annealing,
    ) {
        let lambda = self.lambda();
        let channels = self.quantiser.steps.len();
        for (i, (place, coded)) in places.iter_mut().zip(coded).enumerate() {
            if coded.bin == 0 {
                continue;
            }
            let step = self.quantiser.steps[i % channels];
            let (k, f) = fraction(place.value, coded.mean, step);
            let bits = self.costs.bits(coded.bin, k.saturating_add(1)) - self.costs.bits(coded.bin, k);
            let (d, bend) = (width(step), curvature[i] * width(step));
            let error = d * (2.0 * gradient[i] + if coded.symbol > k { -bend } else { bend });
            place.value -=
                d * annealing.descent((bits + lambda * error) * annealing.slope(f), &mut place.moments);
        }
    }

    /// Lambda for squared errors of the synthesis output: for those of samples,
    /// divided by the samples of a pixel.
    fn lambda(&self) -> f32 {
        let samples = 3.0 * f64::from(1 << (2 * SYNTHESIS_OUTPUT_BITS));
        (self.quantiser.quality.lambda() / samples) as f32
    }
}

/// A step in the latents' units.
fn width(step: Step) -> f32 {
    step.dequantize(1).max(1) as f32
}

/// The last symbol at or below a place, and how far on to the next.
fn fraction(value: f32, mean: i16, step: Step) -> (i16, f32) {
    let steps = (value - f32::from(mean)) / width(step);
    let k = steps.floor().clamp(-32_000.0, 32_000.0);
    (k as i16, (steps - k).clamp(0.0, 1.0))
}

/// One pass of many.
struct Annealing {
    /// How sharply a fraction decides between two symbols: with odds of
    /// `(f (1 + f) / ((1 - f) (2 - f)))^(power / 2)`.
    power: usize,
    /// How far a position moves, in steps.
    rate: f32,
    /// What Adam's moments have of their slopes, less than 1 as they start from nothing.
    filled: [f32; 2],
}

impl Annealing {
    fn new(pass: usize, passes: usize) -> Annealing {
        let [first, last] = POWERS;
        // Not `powi`, whose last bit depends on the machine.
        let filled = [BETA1, BETA2].map(|beta| 1.0 - (0..=pass).fold(1.0, |left: f32, _| left * beta));
        Annealing {
            power: first + (last + 1 - first) * pass / passes,
            rate: RATE * (passes - pass) as f32 / passes as f32,
            filled,
        }
    }

    /// p, the probability of the next symbol.
    fn probability(&self, f: f32) -> f32 {
        let (up, down) = ((f * (1.0 + f)).sqrt(), ((1.0 - f) * (2.0 - f)).sqrt());
        let (a, b) = (0..self.power).fold((1.0, 1.0), |(a, b), _| (a * up, b * down));
        a / (a + b)
    }

    /// Whether 32 random bits choose the next symbol.
    fn draws_next(&self, f: f32, bits: u32) -> bool {
        ((bits >> 8) as f32) < self.probability(f) * (1 << 24) as f32
    }

    /// The derivative of p, not quite at the ends, where it has none.
    fn slope(&self, f: f32) -> f32 {
        let f = f.clamp(0.02, 0.98);
        let p = self.probability(f);
        let log_odds = 1.0 / f + 1.0 / (1.0 + f) + 1.0 / (1.0 - f) + 1.0 / (2.0 - f);
        p * (1.0 - p) * log_odds * 0.5 * self.power as f32
    }

    /// Adam's step, against `slope`.
    fn descent(&self, slope: f32, [first, second]: &mut [f32; 2]) -> f32 {
        *first = BETA1 * *first + (1.0 - BETA1) * slope;
        *second = BETA2 * *second + (1.0 - BETA2) * slope * slope;
        self.rate * (*first / self.filled[0]) / ((*second / self.filled[1]).sqrt() + 1e-6)
    }
}

/// A tile and its surroundings.
struct Patch {
    /// Where the tile lies within.
    inner: Tile,
    /// The latents as the decoder sees them.
    y_hat: Tensor,
    /// The synthesis output that would be the picture.
    wanted: Tensor,
    /// Columns and rows of pixels within the picture.
    inside: (usize, usize),
}

impl Patch {
    fn new(scene: &Scene<'_>, tile: &Tile) -> Patch {
        let grid = &scene.grid;
        let around = |range: &std::ops::Range<usize>, end: usize| {
            range.start.saturating_sub(HALO)..(range.end + HALO).min(end)
        };
        let outer =
            Tile { rows: around(&tile.rows, grid.height), columns: around(&tile.columns, grid.width) };
        let within = |range: &std::ops::Range<usize>, start: usize| range.start - start..range.end - start;
        let inner = Tile {
            rows: within(&tile.rows, outer.rows.start),
            columns: within(&tile.columns, outer.columns.start),
        };
        let (first, columns) = (2 * outer.rows.start, 2 * outer.columns.start..2 * outer.columns.end);
        let mut wanted = Tensor::new(2 * outer.rows.len(), columns.len(), PIXEL_CHANNELS);
        for (y, row) in wanted.data.chunks_exact_mut(columns.len() * PIXEL_CHANNELS).enumerate() {
            scene.source.read(first + y, columns.clone(), row);
            // The input has one fraction bit more than the output.
            row.iter_mut().for_each(|v| *v >>= 1);
        }
        let inside = (scene.size.0 - columns.start * PIXEL_BLOCK, scene.size.1 - first * PIXEL_BLOCK);
        Patch { inner, y_hat: tensors::crop(&scene.y_hat, &outer), wanted, inside }
    }

    /// For each latent of the tile the sum of squares of what it adds to the
    /// output when it grows by one: the squared length of a column of the
    /// synthesis transform's derivative, from one random vector of signs
    /// (Hutchinson 1990) and averaged over the positions nearby.
    fn curvature(&self, scene: &Scene<'_>, tape: &Tape) -> Result<Vec<f32>> {
        let gradient = scene.model.gradient()?;
        let mut probe = Tensor::new(self.wanted.height, self.wanted.width, PIXEL_CHANNELS);
        for (i, v) in probe.data.iter_mut().enumerate() {
            *v = if hash(0x9e37_79b9, i as u32) & 1 == 0 { PROBE } else { -PROBE };
        }
        let back = gradient.backward(probe, tape);
        let scale = power(-gradient.exponent()) / f32::from(PROBE);
        let mut out = Vec::with_capacity(self.inner.rows.len() * self.inner.columns.len() * back.channels);
        let near = |at: usize, end: usize| at.saturating_sub(NEARBY)..(at + NEARBY + 1).min(end);
        for y in self.inner.rows.clone() {
            for x in self.inner.columns.clone() {
                let mut sums = vec![0.0f32; back.channels];
                let (rows, columns) = (near(y, back.height), near(x, back.width));
                let positions = (rows.len() * columns.len()) as f32;
                for position in rows.flat_map(|y| columns.clone().map(move |x| (y, x))) {
                    for (sum, &v) in sums.iter_mut().zip(back.at(position.0, position.1)) {
                        *sum += f32::from(v) * f32::from(v);
                    }
                }
                out.extend(sums.iter().map(|sum| sum / positions * scale * scale));
            }
        }
        Ok(out)
    }

    /// Codes the tile and measures what comes of it.
    fn look(&mut self, scene: &Scene<'_>, y: &Tensor, z: &Tensor) -> Result<Look> {
        let (y_hat, coded) = latents::quantise(scene.model, scene.quantiser, y, z)?;
        tensors::paste(&mut self.y_hat, &self.inner, &y_hat);
        let gradient = scene.model.gradient()?;
        let (mut errors, tape) = gradient.forward(&self.y_hat, scene.quantiser.quality);
        self.errors(&mut errors);
        let squares: u64 = errors.data.iter().map(|&e| u64::from(e.unsigned_abs()).pow(2)).sum();
        let bits: f64 = coded.iter().map(|c| f64::from(scene.costs.bits(c.bin, c.symbol))).sum();
        let objective = bits + f64::from(scene.lambda()) * squares as f64;
        Ok(Look { coded, errors, tape, objective })
    }

    /// Half the derivative of the squared error with respect to each latent.
    fn gradient(&self, scene: &Scene<'_>, look: &Look) -> Result<Vec<f32>> {
        let gradient = scene.model.gradient()?;
        let mut errors = look.errors.clone();
        // Errors use the range of 16 bits.
        let largest = errors.data.iter().map(|e| e.unsigned_abs()).max().unwrap_or(0);
        let shift = largest.max(1).leading_zeros().saturating_sub(2).min(6);
        errors.data.iter_mut().for_each(|e| *e <<= shift);
        let back = tensors::crop(&gradient.backward(errors, &look.tape), &self.inner);
        let scale = power(-gradient.exponent() - shift as i32);
        Ok(back.data.iter().map(|&g| f32::from(g) * scale).collect())
    }

    /// The synthesis output less what is wanted; nothing is wanted beyond the
    /// picture.
    fn errors(&self, output: &mut Tensor) {
        let (width, height) = self.inside;
        let columns = output.width;
        let positions = output.data.chunks_exact_mut(PIXEL_CHANNELS);
        for (i, (out, wanted)) in positions.zip(self.wanted.data.chunks_exact(PIXEL_CHANNELS)).enumerate() {
            let (y, x) = (i / columns * PIXEL_BLOCK, i % columns * PIXEL_BLOCK);
            for (k, (out, &wanted)) in out.iter_mut().zip(wanted).enumerate() {
                let inside = y + k / 3 / PIXEL_BLOCK < height && x + k / 3 % PIXEL_BLOCK < width;
                *out = if inside { out.saturating_sub(wanted) } else { 0 };
            }
        }
    }
}

/// `2^k`, exactly.
fn power(k: i32) -> f32 {
    f32::from_bits(((127 + k) as u32) << 23)
}

/// The finaliser of MurmurHash3 over two numbers.
fn hash(seed: u32, index: u32) -> u32 {
    let mut h = seed.wrapping_mul(0x85eb_ca77) ^ index.wrapping_mul(0x9e37_79b1);
    h ^= h >> 16;
    h = h.wrapping_mul(0x85eb_ca6b);
    h ^= h >> 13;
    h = h.wrapping_mul(0xc2b2_ae35);
    h ^ (h >> 16)
}
