//! A search for better symbols: what `--effort` buys.
//!
//! The analysis transform guesses latents that are good for pictures in
//! general. For the picture at hand, the synthesis transform run backwards tells
//! what each latent does to it: with the gradient g of half the squared error at the
//! latents a decoder would see, and its curvature h, the error would be least at
//! `y_hat - g / h`. Latents walk part of the way there in each pass, less and less, so
//! that they see an average of what rounding does to their neighbours. Where they
//! are, `super::trellis` finds the symbols that are cheapest in bits and in errors
//! that count lambda h; the best symbols of all passes are kept.
//!
//! Errors are those that the filter (`super::filter`) leaves, which is fitted before the
//! first pass, on the way and at the end.
//!
//! Optimising the latents of one picture through a frozen decoder: Campos et al.
//! 2019. All of it is done in integers and in sums, products and quotients of floats
//! in a fixed order: the result is the same on every machine.

use std::ops::Range;

use super::filter::{Filter, Filtering};
use super::filter_fit::Fit;
use super::latents::{self, Coded, Quantiser, Wish, reach, saturate};
use super::pixels::SYNTHESIS_OUTPUT_BITS;
use super::prepared::PreparedModel;
use super::tensors;
use crate::error::Result;
use crate::model::Part;
use crate::model::arch::{LATENT_STRIDE, PIXEL_BLOCK, PIXEL_CHANNELS};
use crate::nn::{Source, Tape, Tensor};
use crate::tile::{Tile, TileGrid};

/// Passes of each effort.
const PASSES: [usize; 10] = [0, 6, 8, 14, 22, 35, 55, 90, 150, 240];
/// The most that a caller can ask for.
pub(super) const MAX_EFFORT: u8 = PASSES.len() as u8 - 1;
/// Latent positions around a tile whose pixels the tile's latents reach.
const HALO: usize = 4;
/// The part of the way to where the error would be least that a latent goes in the first
/// pass.
const RATE: f32 = 0.3;
/// How often the filter is fitted anew.
const FITS: usize = 5;
/// The least bits that an error of one half step, squared, is held to be worth: a
/// curvature says nothing about what latents do together.
const MIN_WEIGHT: f32 = 3.2;
/// Positions on each side over which the measured curvature is averaged.
const NEARBY: usize = 2;
/// The magnitude of the probe that measures curvature.
const PROBE: i16 = 1 << 12;

/// A picture whose tiles are being refined.
pub(super) struct Scene<'a> {
    pub model: &'a PreparedModel,
    pub quantiser: &'a Quantiser,
    /// The analysis input.
    pub source: &'a (dyn Source + Sync),
    /// Columns and rows of pixels.
    pub size: (usize, usize),
    pub grid: TileGrid,
    /// The latents of the whole picture as the decoder would see them unrefined:
    /// what surrounds a tile.
    pub y_hat: Tensor,
}

/// What to code of a tile, for [`latents::write`].
pub(super) struct Refined {
    /// What the latents should be.
    pub y: Tensor,
    /// What their errors weigh; no weights where nothing better was found than what is
    /// made of `y` without.
    pub weights: Option<Vec<f32>>,
    /// What the pixels go through.
    pub filter: Option<Filter>,
}

/// What comes of some symbols.
struct Look {
    coded: Vec<Coded>,
    /// The synthesis output, which no filter has corrected.
    output: Tensor,
    /// The output that the filter has corrected, less what is wanted.
    errors: Tensor,
    tape: Tape,
    /// Bits, the filter's too, plus lambda times the squared error.
    objective: f64,
}

impl Scene<'_> {
    /// What to code of a tile after the passes of an effort.
    pub fn refine(&self, index: usize, y: Tensor, z: &Tensor, effort: u8) -> Result<Refined> {
        let passes = PASSES[usize::from(effort.min(MAX_EFFORT))];
        let mut patch = Patch::new(self, &self.grid.tile(index));
        let look = patch.look(self, Wish { y: &y, z, weights: None })?;
        let widths: Vec<f32> = self.quantiser.half_steps.iter().map(|step| step.to_f32()).collect();
        let widths = || widths.iter().cycle();
        let lambda = self.lambda();
        let mut weights = patch.curvature(self, &look.tape)?;
        for (weight, width) in weights.iter_mut().zip(widths()) {
            *weight = (lambda * *weight * width * width).max(MIN_WEIGHT);
        }
        let mut best = None;
        let mut least = look.objective - patch.fit(self, &look.output);
        let start = |(&y, (coded, width)): (&i16, (&Coded, &f32))| match coded.bin {
            0 => f32::from(y),
            _ => f32::from(coded.mean) + width * reach((f32::from(y) - f32::from(coded.mean)) / width),
        };
        let mut places: Vec<f32> = y.data.iter().zip(look.coded.iter().zip(widths())).map(start).collect();
        let mut wanted = y.clone();
        set(&mut wanted, &places);
        for pass in 0..passes {
            let look = patch.look(self, Wish { y: &wanted, z, weights: Some(&weights) })?;
            if look.objective < least {
                (least, best) = (look.objective, Some(wanted.clone()));
            }
            if pass + 1 == passes {
                break;
            }
            if (pass + 1).is_multiple_of(passes.div_ceil(FITS)) {
                patch.fit(self, &look.output);
            }
            let gradient = patch.gradient(self, &look)?;
            let y_hat = tensors::crop(&patch.y_hat, &patch.inner);
            let rate = RATE * (passes - pass) as f32 / passes as f32;
            let slopes = gradient.iter().zip(&weights).zip(widths());
            for ((place, &y_hat), ((gradient, weight), width)) in
                places.iter_mut().zip(&y_hat.data).zip(slopes)
            {
                let ideal = f32::from(y_hat) - gradient * (lambda * width * width / weight);
                *place += rate * (ideal - *place);
            }
            set(&mut wanted, &places);
        }
        let (y, weights) = match best {
            Some(wanted) => (wanted, Some(weights)),
            None => (y, None),
        };
        let look = patch.look(self, Wish { y: &y, z, weights: weights.as_deref() })?;
        patch.fit(self, &look.output);
        Ok(Refined { y, weights, filter: patch.filter })
    }

    /// Lambda for squared errors of the synthesis output: for those of samples,
    /// divided by the samples of a pixel.
    fn lambda(&self) -> f32 {
        let samples = 3.0 * f64::from(1 << (2 * SYNTHESIS_OUTPUT_BITS));
        (self.quantiser.quality.lambda() / samples) as f32
    }
}

/// Rounds places to latents.
fn set(latents: &mut Tensor, places: &[f32]) {
    for (latent, place) in latents.data.iter_mut().zip(places) {
        *latent = saturate(place.round_ties_even() as i32);
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
    /// What the output goes through.
    filter: Option<Filter>,
}

impl Patch {
    fn new(scene: &Scene<'_>, tile: &Tile) -> Patch {
        let grid = &scene.grid;
        let around =
            |range: &Range<usize>, end: usize| range.start.saturating_sub(HALO)..(range.end + HALO).min(end);
        let outer =
            Tile { rows: around(&tile.rows, grid.height), columns: around(&tile.columns, grid.width) };
        let within = |range: &Range<usize>, start: usize| range.start - start..range.end - start;
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
        Patch { inner, y_hat: tensors::crop(&scene.y_hat, &outer), wanted, inside, filter: None }
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
    fn look(&mut self, scene: &Scene<'_>, wish: Wish<'_>) -> Result<Look> {
        let (y_hat, coded) = latents::quantise(scene.model, scene.quantiser, wish)?;
        tensors::paste(&mut self.y_hat, &self.inner, &y_hat);
        let gradient = scene.model.gradient()?;
        let (output, tape) = gradient.forward(&self.y_hat, scene.quantiser.quality);
        let mut errors = output.clone();
        if let Some(filter) = &self.filter {
            filter.correct(scene.model.network(Part::Synthesis)?, &mut errors);
        }
        self.errors(&mut errors);
        let squares: u64 = errors.data.iter().map(|&e| u64::from(e.unsigned_abs()).pow(2)).sum();
        let costs = scene.model.costs();
        let bits: f64 = coded.iter().map(|c| f64::from(costs.bits(c.bin, c.symbol))).sum();
        let filter = self.filter.as_ref().map_or(0.0, |filter| filter.bits(costs));
        let objective = bits + filter + f64::from(scene.lambda()) * squares as f64;
        Ok(Look { coded, output, errors, tape, objective })
    }

    /// Fits the filter to an output, where one is worth its bits. Returns the bits it is
    /// worth.
    fn fit(&mut self, scene: &Scene<'_>, output: &Tensor) -> f64 {
        let pixels = |range: &Range<usize>, end: usize| {
            range.start * LATENT_STRIDE..(range.end * LATENT_STRIDE).min(end)
        };
        let columns = pixels(&self.inner.columns, self.inside.0);
        let rows = pixels(&self.inner.rows, self.inside.1);
        let mut fit = Fit::new();
        let mut errors = [0, 1, 2].map(|_| Vec::with_capacity(columns.len()));
        Filtering::each_line(output, |y, line| {
            if !rows.contains(&y) {
                return;
            }
            let blocks = &self.wanted.data[y / PIXEL_BLOCK * self.wanted.width * PIXEL_CHANNELS..];
            for (colour, errors) in errors.iter_mut().enumerate() {
                let values = &line.line().pixels(colour)[columns.clone()];
                let wanted = columns.clone().map(|x| {
                    let pixel = y % PIXEL_BLOCK * PIXEL_BLOCK + x % PIXEL_BLOCK;
                    blocks[x / PIXEL_BLOCK * PIXEL_CHANNELS + 3 * pixel + colour]
                });
                errors.clear();
                errors.extend(wanted.zip(values).map(|(wanted, v)| wanted.saturating_sub(*v)));
            }
            fit.add(line.features(), columns.start, &errors);
        });
        let (filter, worth) = fit.choose(scene.lambda().into(), scene.model.costs()).unzip();
        self.filter = filter;
        worth.unwrap_or(0.0)
    }

    /// Half the derivative of the squared error with respect to each latent.
    fn gradient(&self, scene: &Scene<'_>, look: &Look) -> Result<Vec<f32>> {
        let gradient = scene.model.gradient()?;
        let mut errors = look.errors.clone();
        if let Some(filter) = &self.filter {
            filter.adjoint().correct(scene.model.network(Part::Synthesis)?, &mut errors);
        }
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
