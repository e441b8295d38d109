//! A search for better symbols: what `--effort` buys.
//!
//! The analysis and the hyper-analysis transform guess latents that are good for pictures
//! in general. For the picture at hand, the networks run backwards tell what each latent
//! does to it: the synthesis transform what it does to the squared error, the context
//! network and the hyper-synthesis transform what it does to the bits of the latents that
//! it predicts (`super::prediction`). With the gradient g of half the cost, bits plus
//! lambda times the squared error, at the latents a decoder would see, and its curvature h,
//! the cost would be least at `y_hat - g / h`. Latents and hyper-latents walk part of the
//! way there in each pass, less and less, so that they see an average of what rounding does
//! to their neighbours. Where they are, `super::trellis` finds the symbols that are cheapest
//! in bits and in errors that count h; the best symbols of all passes are kept.
//!
//! Errors are those that remain when pixels are corrected (`super::correction`). The tile's own
//! filter is fitted before the first pass, on the way and at the end.
//!
//! Optimising the latents of one picture through a frozen decoder: Campos et al.
//! 2019. All of it is done in integers and in sums, products and quotients of floats
//! in a fixed order: the result is the same on every machine.

use std::ops::Range;

use super::correction::Correction;
use super::filter::Filter;
use super::filter_fit::Fit;
use super::latents::{self, Quantised, Quantiser, Weights, Wish, reach};
use super::lines::{BRIGHTEST, DARKEST, Filtering};
use super::pixels::{self, SYNTHESIS_OUTPUT_BITS};
use super::prediction::Predictions;
use super::prepared::PreparedModel;
use super::tensors;
use super::trellis::whole;
use crate::error::Result;
use crate::model::Part;
use crate::model::arch::{LATENT_STRIDE, PIXEL_BLOCK, PIXEL_CHANNELS};
use crate::model::class_filters::QualityFilters;
use crate::nn::{Gradient, Network, Source, Tape, Tensor};
use crate::tile::{Tile, TileGrid};

/// Passes of each effort. That of 1 is spent on a filter alone.
const PASSES: [usize; 10] = [0, 0, 3, 8, 16, 35, 55, 90, 150, 240];
/// The most that a caller can ask for.
pub(super) const MAX_EFFORT: u8 = PASSES.len() as u8 - 1;
/// Latent positions around a tile whose pixels the tile's latents reach.
const HALO: usize = 4;
/// The part of the way to where the error would be least that a latent goes in the first
/// pass.
const RATE: f32 = 0.45;
/// That part falls evenly, to 0 so many passes after the last.
const SPARED: usize = 3;
/// A filter is fitted to at most twice so many pixels of a tile.
const FIT_PIXELS: usize = 1 << 16;
/// Pixels side by side that it is fitted to where that is not all of them.
const FIT_SEGMENT: usize = 4 * PIXEL_BLOCK;
/// How often the filter is fitted anew.
const FITS: usize = 5;
/// But after no fewer passes than so many.
const MIN_PASSES_OF_A_FIT: usize = 4;
/// The least bits that an error of one half step of a latent, squared, is held to be worth:
/// a curvature says nothing about what latents do together.
const MIN_WEIGHT: f32 = 4.4;
/// The same for a step of a hyper-latent.
const MIN_HYPER_WEIGHT: f32 = 8.0;
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
    /// What the hyper-latents should be.
    pub z: Tensor,
    /// What their errors weigh; no weights where nothing better was found than what is
    /// made of `y` and `z` without.
    pub weights: Option<Weights>,
    /// What the pixels go through beside the model's.
    pub filter: Option<Filter>,
}

/// What comes of some symbols.
struct Look {
    quantised: Quantised,
    /// The bits of all symbols.
    bits: f64,
    /// The corrected output, less what is wanted.
    errors: Tensor,
}

/// The best symbols so far.
struct Best {
    /// The latents and hyper-latents that they were chosen for, if not for those of the transforms.
    wanted: Option<[Tensor; 2]>,
    /// The synthesis output that comes of them.
    output: Tensor,
    /// Bits, the filter's too, plus lambda times the squared error.
    objective: f64,
    /// The pass that found them.
    pass: usize,
}

impl Scene<'_> {
    /// What to code of a tile after the passes of an effort.
    pub fn refine(&self, index: usize, y: &Tensor, z: &Tensor, effort: u8) -> Result<Refined> {
        let passes = PASSES[usize::from(effort.min(MAX_EFFORT))];
        let mut patch = Patch::new(self, &self.grid.tile(index));
        if passes == 0 {
            let output = self.network()?.run(&patch.y_hat, self.quantiser.quality);
            patch.fit(self, &output)?;
            return Ok(Refined { y: y.clone(), z: z.clone(), weights: None, filter: patch.filter });
        }
        let mut predictions = Predictions::new(self.model, self.quantiser);
        let (mut look, output) = patch.look(self, Wish { y, z, weights: None })?;
        look.errors = patch.fit(self, &output)?;
        let objective = patch.objective(self, &look);
        let mut best = Best { wanted: None, output, objective, pass: 0 };
        predictions.see(&look.quantised)?;
        let (bends, curvature) = rayon::join(|| predictions.bends(), || patch.curvature(self));
        let (bends, curvature) = (bends?, curvature?);
        let lambda = self.lambda();
        let curvature = curvature.iter().cycle();
        let bend = bends.y.into_iter().zip(curvature).map(|(bend, curvature)| lambda * curvature + bend);
        let half_steps = self.quantiser.half_steps.iter().map(|step| step.to_f32());
        let mut y_walk = Walk::new(y, half_steps, bend, MIN_WEIGHT);
        let steps = self.quantiser.hyper_latents.iter().map(|channel| channel.step.to_f32());
        let mut z_walk = Walk::new(z, steps, bends.z.into_iter(), MIN_HYPER_WEIGHT);
        // What the analysis transform means.
        let coded = look.quantised.coded.iter().zip(y_walk.widths.iter().cycle());
        for (place, (coded, width)) in y_walk.places.iter_mut().zip(coded) {
            if coded.bin != 0 {
                let mean = f32::from(coded.mean);
                *place = mean + width * reach((*place - mean) / width);
            }
        }

        let weights = Weights { y: y_walk.weights.clone(), z: z_walk.weights.clone() };
        for pass in 1..=passes {
            let (slopes, gradient) = rayon::join(
                || {
                    if pass > 1 {
                        predictions.see(&look.quantised)?;
                    }
                    predictions.slopes()
                },
                || patch.gradient(self, &look),
            );
            let (slopes, gradient) = (slopes?, gradient?);
            let slope =
                gradient.iter().zip(slopes.y).map(|(gradient, slope)| lambda * gradient + 0.5 * slope);
            let rate = RATE * (passes + SPARED - pass) as f32 / (passes + SPARED - 1) as f32;
            y_walk.step(&look.quantised.y_hat, slope, rate);
            z_walk.step(&look.quantised.z_hat, slopes.z.iter().map(|slope| 0.5 * slope), rate);
            let wanted = [&y_walk, &z_walk].map(Walk::rounded);
            let wish = Wish { y: &wanted[0], z: &wanted[1], weights: Some(&weights) };
            let (seen, output) = patch.look(self, wish)?;
            look = seen;
            if pass == passes || pass.is_multiple_of(passes.div_ceil(FITS).max(MIN_PASSES_OF_A_FIT)) {
                look.errors = patch.fit(self, &output)?;
            }
            let objective = patch.objective(self, &look);
            if objective < best.objective {
                best = Best { wanted: Some(wanted), output, objective, pass };
            }
        }
        if best.pass < passes {
            patch.fit(self, &best.output)?;
        }
        let (filter, found) = (patch.filter, best.wanted.is_some());
        let [y, z] = best.wanted.unwrap_or_else(|| [y.clone(), z.clone()]);
        Ok(Refined { y, z, weights: found.then_some(weights), filter })
    }

    /// The synthesis transform.
    fn network(&self) -> Result<&Network> {
        self.model.network(Part::Synthesis, self.quantiser.quality)
    }

    /// The same, to be run in both directions.
    fn gradient(&self) -> Result<&Gradient> {
        self.model.gradient(Part::Synthesis, self.quantiser.quality)
    }

    /// Lambda for squared errors of the synthesis output: for those of samples,
    /// divided by the samples of a pixel.
    fn lambda(&self) -> f32 {
        let samples = 3.0 * f64::from(1 << (2 * SYNTHESIS_OUTPUT_BITS));
        (self.quantiser.quality.lambda() / samples) as f32
    }
}

/// Values on their way to where the cost is least.
struct Walk {
    size: [usize; 3],
    places: Vec<f32>,
    /// Of each channel, what errors are counted in.
    widths: Vec<f32>,
    /// Bits that an error of one width, squared, may cost.
    weights: Vec<f32>,
}

impl Walk {
    /// From `start` on, where half the curvature of the cost is `bend`.
    fn new(
        start: &Tensor,
        widths: impl Iterator<Item = f32>,
        bend: impl Iterator<Item = f32>,
        least: f32,
    ) -> Walk {
        let widths: Vec<f32> = widths.collect();
        let weights = bend.zip(widths.iter().cycle()).map(|(bend, width)| (bend * width * width).max(least));
        Walk {
            size: [start.height, start.width, start.channels],
            places: start.data.iter().map(|&value| f32::from(value)).collect(),
            weights: weights.collect(),
            widths,
        }
    }

    /// The places as whole numbers.
    fn rounded(&self) -> Tensor {
        let [height, width, channels] = self.size;
        let mut values = Tensor::new(height, width, channels);
        for (value, place) in values.data.iter_mut().zip(&self.places) {
            *value = nearest(*place);
        }
        values
    }

    /// Goes `rate` of the way to where the cost would be least, by half its slope at what a
    /// decoder sees.
    fn step(&mut self, seen: &Tensor, half_slope: impl Iterator<Item = f32>, rate: f32) {
        let scales = self.weights.iter().zip(self.widths.iter().cycle());
        for (((place, &seen), half_slope), (weight, width)) in
            self.places.iter_mut().zip(&seen.data).zip(half_slope).zip(scales)
        {
            let ideal = f32::from(seen) - half_slope * (width * width / weight);
            *place += rate * (ideal - *place);
        }
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
    /// The model's for the quality.
    filters: Option<QualityFilters>,
    /// The tile's own.
    filter: Option<Filter>,
    /// Of the synthesis transform.
    tape: Tape,
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
        let [rows, columns] = [&outer.rows, &outer.columns].map(|range| 2 * range.start..2 * range.end);
        let inside = (scene.size.0 - columns.start * PIXEL_BLOCK, scene.size.1 - rows.start * PIXEL_BLOCK);
        Patch {
            inner,
            y_hat: tensors::crop(&scene.y_hat, &outer),
            wanted: pixels::wanted(scene.source, rows, columns),
            inside,
            filters: scene.model.model().filters_at(scene.quantiser.quality),
            filter: None,
            tape: Tape::default(),
        }
    }

    /// For each channel the sum of squares of what a latent adds to the output when it grows
    /// by one: the squared length of a column of the synthesis transform's derivative, from one
    /// random vector of signs (Hutchinson 1990), averaged over the tile.
    fn curvature(&mut self, scene: &Scene<'_>) -> Result<Vec<f32>> {
        let gradient = scene.gradient()?;
        let mut probe = Tensor::new(self.wanted.height, self.wanted.width, PIXEL_CHANNELS);
        for (i, v) in probe.data.iter_mut().enumerate() {
            *v = if hash(0x9e37_79b9, i as u32) & 1 == 0 { PROBE } else { -PROBE };
        }
        let back = gradient.backward(probe, &mut self.tape);
        let mut sums = vec![0.0f32; back.channels];
        for y in self.inner.rows.clone() {
            for row in back.row(y, self.inner.columns.clone()).chunks_exact(back.channels) {
                sums.iter_mut().zip(row).for_each(|(sum, &v)| *sum += f32::from(v) * f32::from(v));
            }
        }
        self.tape.reuse(back);
        let scale = power(-gradient.exponent()) / f32::from(PROBE);
        let positions = (self.inner.rows.len() * self.inner.columns.len()) as f32;
        Ok(sums.into_iter().map(|sum| sum / positions * scale * scale).collect())
    }

    /// Codes the tile and measures what comes of it. The second is the synthesis output, which
    /// no filter has corrected.
    fn look(&mut self, scene: &Scene<'_>, wish: Wish<'_>) -> Result<(Look, Tensor)> {
        let quantised = latents::quantise(scene.model, scene.quantiser, wish)?;
        tensors::paste(&mut self.y_hat, &self.inner, &quantised.y_hat);
        let output = scene.gradient()?.forward(&self.y_hat, scene.quantiser.quality, &mut self.tape);
        let errors = self.errors(scene, &output)?;
        let bits = quantised.bits(scene.model.costs());
        Ok((Look { quantised, bits, errors }, output))
    }

    /// Bits, the filter's too, plus lambda times the squared error.
    fn objective(&self, scene: &Scene<'_>, look: &Look) -> f64 {
        let filter = self.filter.as_ref().map_or(0.0, |filter| filter.bits(scene.model.costs()));
        look.bits + filter + f64::from(scene.lambda()) * squares(&look.errors) as f64
    }

    /// What comes of an output when it is corrected, less what is wanted.
    fn errors(&self, scene: &Scene<'_>, output: &Tensor) -> Result<Tensor> {
        let mut errors = output.clone();
        if let Some(correction) = Correction::new(self.filters.as_ref(), self.filter.as_ref()) {
            correction.correct(scene.network()?, &mut errors);
        }
        self.subtract_wanted(&mut errors);
        Ok(errors)
    }

    /// Fits the filter to an output, where one is worth its bits. Returns the errors that are left.
    fn fit(&mut self, scene: &Scene<'_>, output: &Tensor) -> Result<Tensor> {
        let pixels = |range: &Range<usize>, end: usize| {
            range.start * LATENT_STRIDE..(range.end * LATENT_STRIDE).min(end)
        };
        let columns = pixels(&self.inner.columns, self.inside.0);
        let rows = pixels(&self.inner.rows, self.inside.1);
        self.filter = None;
        let unfiltered = self.errors(scene, output)?;
        let before = squares(&unfiltered);
        let (network, costs) = (scene.network()?, scene.model.costs());
        let every = (rows.len() * columns.len() / FIT_PIXELS).max(1);
        let mut fit = Fit::new(self.filters.as_ref(), before / unfiltered.data.len() as u64);
        let unit = self.filters.as_ref().map(|filters| filters.unit);
        let mut errors = [0, 1, 2].map(|_| Vec::with_capacity(columns.len()));
        Filtering::each_line(output, unit, |y, line| {
            if !rows.contains(&y) {
                return;
            }
            let segments = segments(columns.clone(), y, every);
            let row = y / PIXEL_BLOCK * self.wanted.width * PIXEL_CHANNELS;
            let (wanted, missed_by) = (&self.wanted.data[row..], &unfiltered.data[row..]);
            for (colour, errors) in errors.iter_mut().enumerate() {
                let missed = segments.iter().cloned().flatten().map(|x| {
                    let pixel = y % PIXEL_BLOCK * PIXEL_BLOCK + x % PIXEL_BLOCK;
                    let at = x / PIXEL_BLOCK * PIXEL_CHANNELS + 3 * pixel + colour;
                    let value = wanted[at].saturating_add(missed_by[at]).clamp(DARKEST, BRIGHTEST);
                    wanted[at].saturating_sub(value)
                });
                errors.clear();
                errors.extend(missed);
            }
            fit.add(network, line, &segments, &errors);
        });
        let lambda = f64::from(scene.lambda());
        self.filter = fit.choose(lambda * every as f64, costs);
        let Some(filter) = &self.filter else { return Ok(unfiltered) };
        // What all pixels say of it.
        let errors = self.errors(scene, output)?;
        if lambda * (before as f64 - squares(&errors) as f64) <= filter.bits(costs) {
            self.filter = None;
            return Ok(unfiltered);
        }
        Ok(errors)
    }

    /// Half the derivative of the squared error with respect to each latent.
    fn gradient(&mut self, scene: &Scene<'_>, look: &Look) -> Result<Vec<f32>> {
        let gradient = scene.gradient()?;
        let mut errors = look.errors.clone();
        // What is clipped is taken to change nothing: what it passes on was no gain.
        if let Some(linear) = self.filter.as_ref().and_then(|filter| filter.linear.as_ref()) {
            Correction::linear(&linear.adjoint()).correct(scene.network()?, &mut errors);
        }
        // Errors use the range of 16 bits.
        let largest = errors.data.iter().map(|e| e.unsigned_abs()).max().unwrap_or(0);
        let shift = largest.max(1).leading_zeros().saturating_sub(2).min(6);
        errors.data.iter_mut().for_each(|e| *e <<= shift);
        let back = gradient.backward(errors, &mut self.tape);
        let scale = power(-gradient.exponent() - shift as i32);
        let rows = self.inner.rows.clone().flat_map(|y| back.row(y, self.inner.columns.clone()));
        let slopes = rows.map(|&g| f32::from(g) * scale).collect();
        self.tape.reuse(back);
        Ok(slopes)
    }

    /// Takes what is wanted from an output; nothing is wanted beyond the picture.
    fn subtract_wanted(&self, output: &mut Tensor) {
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

/// The pixels of line `y` that a filter is fitted to: one segment of so many, at random.
fn segments(columns: Range<usize>, y: usize, every: usize) -> Vec<Range<usize>> {
    let count = columns.len().div_ceil(FIT_SEGMENT);
    let first = hash(0, y as u32) as usize % every;
    let segment = |i: usize| {
        let start = columns.start + i * FIT_SEGMENT;
        start..(start + FIT_SEGMENT).min(columns.end)
    };
    (first..count).step_by(every).map(segment).collect()
}

/// The sum of squares.
fn squares(errors: &Tensor) -> u64 {
    errors.data.iter().map(|&e| u64::from(e.unsigned_abs()).pow(2)).sum()
}

/// The nearest whole number, halves to even, of 16 bits.
#[inline(always)]
pub(super) fn nearest(value: f32) -> i16 {
    whole(value.clamp(-32768.0, 32767.0)) as i16
}

/// `2^k`, exactly.
pub(super) fn power(k: i32) -> f32 {
    f32::from_bits(((127 + k) as u32) << 23)
}

/// The finaliser of MurmurHash3 over two numbers.
pub(super) fn hash(seed: u32, index: u32) -> u32 {
    let mut h = seed.wrapping_mul(0x85eb_ca77) ^ index.wrapping_mul(0x9e37_79b1);
    h ^= h >> 16;
    h = h.wrapping_mul(0x85eb_ca6b);
    h ^= h >> 13;
    h = h.wrapping_mul(0xc2b2_ae35);
    h ^ (h >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_the_nearest() {
        for i in -70_000..70_000 {
            for value in [i as f32 * 0.5, i as f32 * 0.5 + 0.24, i as f32 * 13.7] {
                let expected = value.round_ties_even().clamp(-32768.0, 32767.0);
                assert_eq!(f32::from(nearest(value)), expected, "{value}");
            }
        }
    }
}
