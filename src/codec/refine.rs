//! A search for better symbols: what `--effort` buys.
//!
//! The analysis transform guesses latents that are good for pictures in
//! general. For the picture at hand, the synthesis transform run backwards tells
//! what each latent does to it. With the gradient g of the squared error and its
//! curvature h, moving a symbol by one step d changes the objective by about
//!
//! ```text
//! bits(k + 1) - bits(k) + lambda (g d + h d^2 / 2)
//! ```
//!
//! and where that is negative, the symbol moves. Moves are made many at a time
//! although each was judged alone; a share of them only, drawn at random, and
//! against a curvature larger than measured, so that the whole gets better. Then
//! everything is computed anew; moves that made it worse are taken back, and the
//! next ones judged with more caution.
//!
//! The idea of optimising the latents of one picture through a frozen decoder is
//! that of Campos et al. 2019 and of stochastic Gumbel annealing (Yang et al.
//! 2020); moving symbols instead of relaxing them takes tens of passes where
//! those take thousands. All of it is done in integers and in plain sums and
//! products of floats in a fixed order: the result is the same on every machine.

use super::latents::{self, Coded, Quantiser, saturate};
use super::pixels::SYNTHESIS_OUTPUT_BITS;
use super::prepared::PreparedModel;
use super::tensors;
use crate::entropy::Costs;
use crate::error::Result;
use crate::model::arch::{PIXEL_BLOCK, PIXEL_CHANNELS};
use crate::nn::{Source, Tape, Tensor};
use crate::tile::{Tile, TileGrid};

/// Passes of each effort.
const PASSES: [usize; 10] = [0, 1, 2, 4, 6, 9, 14, 20, 30, 45];
/// The most that a caller can ask for.
pub(super) const MAX_EFFORT: u8 = PASSES.len() as u8 - 1;
/// Latent positions around a tile whose pixels the tile's latents reach.
const HALO: usize = 4;
/// By how much moves that are made together are worse than one alone, at first.
/// A pass that fails makes the next one more cautious, one that succeeds less.
const CAUTION: f32 = 4.0;
/// Positions on each side over which the measured curvature is averaged.
const NEARBY: usize = 2;
/// The share of the worthwhile moves that are made in a pass, in 1/256.
const MOVED: u32 = 40;
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

/// A state of the search.
struct Look {
    y: Tensor,
    coded: Vec<Coded>,
    /// The synthesis output less what is wanted.
    errors: Tensor,
    tape: Tape,
    /// Bits plus lambda times the squared error.
    objective: f64,
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
        let mut best = patch.look(self, y, z)?;
        let curvature = patch.curvature(self, &best.tape)?;
        let mut gradient = patch.gradient(self, &best)?;
        let mut caution = CAUTION;
        for pass in 0..passes {
            let moved =
                self.move_symbols(&best, &gradient, &curvature, caution, (index * passes + pass) as u32);
            let look = patch.look(self, moved, z)?;
            if look.objective < best.objective {
                best = look;
                caution *= 0.9;
                if pass + 1 < passes {
                    gradient = patch.gradient(self, &best)?;
                }
            } else {
                caution *= 1.5;
            }
        }
        Ok(best.y)
    }

    /// Lambda for squared errors of the synthesis output: for those of samples,
    /// divided by the samples of a pixel.
    fn lambda(&self) -> f32 {
        let samples = 3.0 * f64::from(1 << (2 * SYNTHESIS_OUTPUT_BITS));
        (self.quantiser.quality.lambda() / samples) as f32
    }

    /// Moves a share of the symbols that are worth it. `gradient` and `curvature`
    /// are those of half the squared error.
    fn move_symbols(
        &self,
        look: &Look,
        gradient: &[f32],
        curvature: &[f32],
        caution: f32,
        seed: u32,
    ) -> Tensor {
        let (mut y, lambda) = (look.y.clone(), self.lambda());
        let channels = y.channels;
        for (i, &Coded { bin, mean, symbol }) in look.coded.iter().enumerate() {
            if bin == 0 || hash(seed, i as u32) & 0xff >= MOVED {
                continue;
            }
            let step = self.quantiser.steps[i % channels];
            let (now, bits) = (step.dequantize(symbol), self.costs.bits(bin, symbol));
            let mut least = 0.0;
            for to in [symbol.saturating_sub(1), symbol.saturating_add(1)] {
                let value = step.dequantize(to);
                let d = (value - now) as f32;
                let error = 2.0 * gradient[i] * d + caution * curvature[i] * d * d;
                let change = self.costs.bits(bin, to) - bits + lambda * error;
                if change < least {
                    least = change;
                    y.data[i] = saturate(i32::from(mean) + value);
                }
            }
        }
        y
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
    fn look(&mut self, scene: &Scene<'_>, y: Tensor, z: &Tensor) -> Result<Look> {
        let (y_hat, coded) = latents::quantise(scene.model, scene.quantiser, &y, z)?;
        tensors::paste(&mut self.y_hat, &self.inner, &y_hat);
        let gradient = scene.model.gradient()?;
        let (mut errors, tape) = gradient.forward(&self.y_hat, scene.quantiser.quality);
        self.errors(&mut errors);
        let squares: u64 = errors.data.iter().map(|&e| u64::from(e.unsigned_abs()).pow(2)).sum();
        let bits: f64 = coded.iter().map(|c| f64::from(scene.costs.bits(c.bin, c.symbol))).sum();
        let objective = bits + f64::from(scene.lambda()) * squares as f64;
        Ok(Look { y, coded, errors, tape, objective })
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
