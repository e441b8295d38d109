//! What latents and hyper-latents do to the bits of what they predict.
//!
//! Hyper-latents predict all latents, and the first half of the latents predicts the
//! second. The networks in between run backwards: from the change of a symbol's bits with
//! its mean and its scale to the change of all bits with a latent and a hyper-latent.

use super::latents::{Coded, Quantised, Quantiser};
use super::prepared::PreparedModel;
use super::refine::{hash, nearest, power};
use super::tensors::crop_to;
use crate::entropy::{BINS, BINS_PER_OCTAVE, Costs};
use crate::error::Result;
use crate::model::Part;
use crate::model::arch::start_of_half;
use crate::model::quality::LOG2_BITS;
use crate::model::trellis::half_steps;
use crate::nn::{Tape, Tensor};

/// Bins on each side over which the change of bits with a scale is measured.
const NEARBY: u8 = 2;
/// Gradients are scaled to stay below this.
const LARGEST: f32 = 4096.0;

/// A tile's predictions, made and ready to be traced back.
pub(super) struct Predictions<'a> {
    model: &'a PreparedModel,
    quantiser: &'a Quantiser,
    hyper_synthesis: Tape,
    prior: Tape,
    context: Tape,
    /// Rows, columns and channels of the latents.
    size: [usize; 3],
    /// Rows and columns of the features, which are cut to the latents' size.
    uncut: [usize; 2],
    /// The slopes of each symbol's own bits: with its mean, and with its scale's logarithm.
    own: Vec<(f32, f32)>,
}

/// A number for each latent and one for each hyper-latent. Latents of the second half,
/// which predict nothing, have 0.
pub(super) struct Slopes {
    pub y: Vec<f32>,
    pub z: Vec<f32>,
}

/// The change of a symbol's bits with its mean, in half steps, and with an octave of its
/// scale. The first as it is on average near the mean: by one symbol more and one less.
fn own_slopes(costs: &Costs, coded: Coded) -> (f32, f32) {
    let (quantiser, base) = (coded.bin / BINS as u8, coded.bin % BINS as u8);
    if base == 0 {
        return (0.0, 0.0);
    }
    let (less, more) = (coded.symbol.saturating_sub(1), coded.symbol.saturating_add(1));
    let apart = half_steps(quantiser, more) - half_steps(quantiser, less);
    let by_mean = (costs.bits(coded.bin, less) - costs.bits(coded.bin, more)) / apart as f32;
    let (low, high) = (base.saturating_sub(NEARBY).max(1), (base + NEARBY).min(BINS as u8 - 1));
    let at = |bin: u8| costs.bits(bin + quantiser * BINS as u8, coded.symbol);
    (by_mean, (at(high) - at(low)) * BINS_PER_OCTAVE as f32 / f32::from(high - low))
}

/// By how many powers of two gradients may grow to use the range of 16 bits.
fn headroom(slopes: impl Iterator<Item = f32>) -> i32 {
    let largest = slopes.fold(1e-12f32, |largest, slope| largest.max(slope.abs()));
    (1..60).take_while(|&shift| largest * power(shift) < LARGEST).last().unwrap_or(0)
}

impl<'a> Predictions<'a> {
    /// Of a tile of which nothing is coded yet.
    pub fn new(model: &'a PreparedModel, quantiser: &'a Quantiser) -> Self {
        let [hyper_synthesis, prior, context] = [(); 3].map(|()| Tape::default());
        let (size, uncut, own) = ([0; 3], [0; 2], Vec::new());
        Predictions { model, quantiser, hyper_synthesis, prior, context, size, uncut, own }
    }

    /// Predicts again what was coded.
    pub fn see(&mut self, seen: &Quantised) -> Result<()> {
        let (model, quality, y_hat) = (self.model, self.quantiser.quality, &seen.y_hat);
        let [height, width, m] = [y_hat.height, y_hat.width, y_hat.channels];
        let hyper_synthesis = model.gradient(Part::HyperSynthesis, quality)?;
        let features = hyper_synthesis.forward(&seen.z_hat, quality, &mut self.hyper_synthesis);
        self.uncut = [features.height, features.width];
        let features = crop_to(features, height, width);
        let h = features.channels;
        let mut known = Tensor::new(height, width, h + m);
        for (position, known) in known.data.chunks_exact_mut(h + m).enumerate() {
            let (y, x) = (position / width, position % width);
            let (left, right) = known.split_at_mut(h);
            left.copy_from_slice(features.at(y, x));
            let start = start_of_half(true, y, x);
            let first_half = y_hat.at(y, x)[start..].iter().step_by(2);
            right[start..].iter_mut().step_by(2).zip(first_half).for_each(|(to, from)| *to = *from);
        }
        let predicted = model.gradient(Part::Context, quality)?.forward(&known, quality, &mut self.context);
        self.context.reuse(predicted);

        self.size = [height, width, m];
        self.own.clear();
        let units: Vec<f32> = self.quantiser.half_steps.iter().map(|step| 1.0 / step.to_f32()).collect();
        self.own.extend(seen.coded.iter().zip(units.iter().cycle()).map(|(&coded, unit)| {
            let (by_mean, by_octave) = own_slopes(model.costs(), coded);
            (by_mean * unit, by_octave / (1 << LOG2_BITS) as f32)
        }));
        Ok(())
    }

    /// By how many bits all symbols change together with a latent or hyper-latent.
    pub fn slopes(&mut self) -> Result<Slopes> {
        self.trace(|_| 1.0)
    }

    /// Half the expected curvature of all bits. That of a code's length is, in nats, the
    /// expected square of its slope (Fisher's information); in squares of sums with random
    /// signs what comes of two symbols cancels. Averages over the tile, by channel.
    pub fn bends(&mut self) -> Result<Slopes> {
        let mut slopes = self.trace(|i| if hash(0x51ed_270b, i as u32) & 1 == 0 { 1.0 } else { -1.0 })?;
        let (n, [_, width, m]) = (self.model.model().arch.hyper_latents, self.size);
        for (values, channels) in [(&mut slopes.y, m), (&mut slopes.z, n)] {
            let mut sums = vec![0.0f32; channels];
            for row in values.chunks_exact(channels) {
                sums.iter_mut().zip(row).for_each(|(sum, slope)| *sum += slope * slope);
            }
            let scale = 0.5 * std::f32::consts::LN_2 * channels as f32 / values.len() as f32;
            let bends = sums.iter().map(|sum| sum * scale).cycle();
            values.iter_mut().zip(bends).for_each(|(value, bend)| *value = bend);
        }
        // Half of the positions have been counted in vain.
        for (position, row) in slopes.y.chunks_exact_mut(m).enumerate() {
            let start = start_of_half(true, position / width, position % width);
            row[start..].iter_mut().step_by(2).for_each(|bend| *bend *= 2.0);
            row[1 - start..].iter_mut().step_by(2).for_each(|bend| *bend = 0.0);
        }
        Ok(slopes)
    }

    /// Traces every symbol's own slopes, times its `sign`, back to what predicted it.
    fn trace(&mut self, sign: impl Fn(usize) -> f32) -> Result<Slopes> {
        let [height, width, m] = self.size;
        let h = self.model.model().arch.hyper_synthesis_channels;
        let (model, quality) = (self.model, self.quantiser.quality);
        let own = &self.own;
        let shift = headroom(own.iter().flat_map(|&(by_mean, by_scale)| [by_mean, by_scale]));
        let heads = |first: bool| {
            let mut heads = Tensor::new(height, width, 2 * m);
            for (position, row) in heads.data.chunks_exact_mut(2 * m).enumerate() {
                for c in (start_of_half(first, position / width, position % width)..m).step_by(2) {
                    let i = position * m + c;
                    let scale = sign(i) * power(shift);
                    (row[c], row[m + c]) = (nearest(own[i].0 * scale), nearest(own[i].1 * scale));
                }
            }
            heads
        };
        // What comes back, and what its numbers stand for.
        let run = |part, tape: &mut Tape, slopes: Tensor, shift: i32| -> Result<(Tensor, f32)> {
            let gradient = model.gradient(part, quality)?;
            Ok((gradient.backward(slopes, tape), power(-gradient.exponent() - shift)))
        };

        let (prior, prior_scale) = run(Part::Prior, &mut self.prior, heads(true), shift)?;
        let (context, context_scale) = run(Part::Context, &mut self.context, heads(false), shift)?;
        let mut features = vec![0.0f32; self.uncut[0] * self.uncut[1] * h];
        let mut y = vec![0.0f32; self.own.len()];
        let predictions = prior.data.chunks_exact(h).zip(context.data.chunks_exact(h + m));
        for ((position, (prior, context)), y) in predictions.enumerate().zip(y.chunks_exact_mut(m)) {
            let (row, column) = (position / width, position % width);
            let features = &mut features[(row * self.uncut[1] + column) * h..][..h];
            for (out, (&a, &b)) in features.iter_mut().zip(prior.iter().zip(context)) {
                *out = f32::from(a) * prior_scale + f32::from(b) * context_scale;
            }
            let start = start_of_half(true, row, column);
            let first_half = context[h + start..].iter().step_by(2);
            for (to, &from) in y[start..].iter_mut().step_by(2).zip(first_half) {
                *to = f32::from(from) * context_scale;
            }
        }
        self.prior.reuse(prior);
        self.context.reuse(context);
        let shift = headroom(features.iter().copied());
        let mut slopes = Tensor::new(self.uncut[0], self.uncut[1], h);
        slopes.data.iter_mut().zip(&features).for_each(|(to, from)| *to = nearest(from * power(shift)));
        let (back, scale) = run(Part::HyperSynthesis, &mut self.hyper_synthesis, slopes, shift)?;
        let z = back.data.iter().map(|&slope| f32::from(slope) * scale).collect();
        Ok(Slopes { y, z })
    }
}

#[cfg(test)]
mod tests {
    use super::super::latents::{self, Wish};
    use super::super::tests::{prepared, random};
    use super::*;
    use crate::model::QualityIndex;
    use crate::model::arch::in_first_half;

    /// What the model predicts for latents: means, then logarithms of scales, `(positions, 2 M)`.
    fn predict(model: &PreparedModel, quality: QualityIndex, z: &Tensor, y: &Tensor) -> Vec<f32> {
        let run = |part, input: &Tensor| {
            model.gradient(part, quality).unwrap().forward(input, quality, &mut Tape::default())
        };
        let features = crop_to(run(Part::HyperSynthesis, z), y.height, y.width);
        let (h, m) = (features.channels, y.channels);
        let mut known = Tensor::new(y.height, y.width, h + m);
        let first = |position: usize, c| in_first_half(position / y.width, position % y.width, c);
        for (position, row) in known.data.chunks_exact_mut(h + m).enumerate() {
            row[..h].copy_from_slice(&features.data[position * h..][..h]);
            for c in (0..m).filter(|&c| first(position, c)) {
                row[h + c] = y.data[position * m + c];
            }
        }
        let (prior, context) = (run(Part::Prior, &features), run(Part::Context, &known));
        let chosen = (0..prior.data.len()).map(|i| {
            let from = if first(i / (2 * m), i % m) { &prior } else { &context };
            f32::from(from.data[i])
        });
        chosen.collect()
    }

    #[test]
    fn slopes_are_those_of_small_changes() {
        let model = prepared();
        let quantiser = Quantiser::new(model.model(), QualityIndex(120), 2);
        let (m, n) = (model.model().arch.latents, model.model().arch.hyper_latents);
        let y = random(1, [6, 7, m], 3000);
        let z = random(2, [2, 2, n], 600);
        let seen = latents::quantise(&model, &quantiser, Wish { y: &y, z: &z, weights: None }).unwrap();
        let mut predictions = Predictions::new(&model, &quantiser);
        predictions.see(&seen).unwrap();
        let slopes = predictions.slopes().unwrap();
        assert!(predictions.own.iter().any(|own| own.0 != 0.0 && own.1 != 0.0));
        let before = predict(&model, quantiser.quality, &seen.z_hat, &seen.y_hat);

        // What all symbols' bits change by, to first order.
        let change = |z: &Tensor, y: &Tensor| -> f64 {
            let after = predict(&model, quantiser.quality, z, y);
            let moved = |i: usize| f64::from(after[i] - before[i]);
            let own = predictions.own.iter().enumerate().map(|(i, own)| {
                let at = i / m * 2 * m + i % m;
                f64::from(own.0) * moved(at) + f64::from(own.1) * moved(at + m)
            });
            own.sum()
        };
        let compare = |change: &dyn Fn(&Tensor) -> f64, at: &Tensor, slopes: &[f32], step: i32| {
            let (mut error, mut total) = (0.0, 0.0);
            for seed in 0..20 {
                let mut to = at.clone();
                let steps = random(seed + 10, [at.height, at.width, at.channels], step);
                to.data.iter_mut().zip(&steps.data).for_each(|(to, step)| *to = to.saturating_add(*step));
                let expected: f64 =
                    slopes.iter().zip(&steps.data).map(|(s, d)| f64::from(*s) * f64::from(*d)).sum();
                let found = change(&to);
                error += (found - expected).powi(2);
                total += found.powi(2);
            }
            assert!(total > 0.0 && error < 0.05 * total, "{error} of {total}");
        };
        compare(&|z| change(z, &seen.y_hat), &seen.z_hat, &slopes.z, 40);
        compare(&|y| change(&seen.z_hat, y), &seen.y_hat, &slopes.y, 40);
        for (i, slope) in slopes.y.iter().enumerate() {
            let position = i / m;
            assert!(in_first_half(position / 7, position % 7, i % m) || *slope == 0.0);
        }

        let bends = predictions.bends().unwrap();
        assert!(bends.z.iter().all(|bend| *bend >= 0.0) && bends.z.iter().any(|bend| *bend > 0.0));
        assert_eq!(bends.z[..n], bends.z[n..2 * n], "averages of a channel");
    }
}
