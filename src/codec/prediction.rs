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
use crate::model::arch::start_of_half;
use crate::model::quality::LOG2_BITS;
use crate::model::trellis::half_steps;
use crate::model::{Part, QualityIndex};
use crate::nn::{Tape, Tensor};

/// Bins on each side over which the change of bits with a scale is measured.
const NEARBY: u8 = 2;
/// Gradients are scaled to stay below this.
const LARGEST: f32 = 4096.0;

/// A tile's predictions, made and ready to be traced back.
pub(super) struct Predictions<'a> {
    model: &'a PreparedModel,
    quality: QualityIndex,
    hyper_synthesis: Tape,
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

impl<'a> Predictions<'a> {
    /// Predicts again what was coded.
    pub fn new(model: &'a PreparedModel, quantiser: &Quantiser, seen: &Quantised) -> Result<Self> {
        let (quality, y_hat) = (quantiser.quality, &seen.y_hat);
        let [height, width, m] = [y_hat.height, y_hat.width, y_hat.channels];
        let (features, hyper_synthesis) =
            model.gradient(Part::HyperSynthesis, quality)?.forward(&seen.z_hat, quality);
        let uncut = [features.height, features.width];
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
        let (_, context) = model.gradient(Part::Context, quality)?.forward(&known, quality);

        let units: Vec<f32> = quantiser.half_steps.iter().map(|step| 1.0 / step.to_f32()).collect();
        let own = seen.coded.iter().zip(units.iter().cycle()).map(|(&coded, unit)| {
            let (by_mean, by_octave) = own_slopes(model.costs(), coded);
            (by_mean * unit, by_octave / (1 << LOG2_BITS) as f32)
        });
        let own = own.collect();
        let size = [height, width, m];
        Ok(Predictions { model, quality, hyper_synthesis, context, size, uncut, own })
    }

    /// By how many bits all symbols change together with a latent or hyper-latent.
    pub fn slopes(&self) -> Result<Slopes> {
        self.trace(|_| 1.0)
    }

    /// Half the expected curvature of all bits. That of a code's length is, in nats, the
    /// expected square of its slope (Fisher's information); in squares of sums with random
    /// signs what comes of two symbols cancels. Averages over the tile, by channel.
    pub fn bends(&self) -> Result<Slopes> {
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
    fn trace(&self, sign: impl Fn(usize) -> f32) -> Result<Slopes> {
        let [height, width, m] = self.size;
        let h = self.model.model().arch.hyper_synthesis_channels;
        let heads = |first: bool| {
            let mut heads = vec![0.0f32; 2 * self.own.len()];
            for (position, row) in heads.chunks_exact_mut(2 * m).enumerate() {
                for c in (start_of_half(first, position / width, position % width)..m).step_by(2) {
                    let i = position * m + c;
                    let (by_mean, by_scale) = self.own[i];
                    (row[c], row[m + c]) = (by_mean * sign(i), by_scale * sign(i));
                }
            }
            heads
        };
        let run = |part, tape: &Tape, [height, width]: [usize; 2], slopes: &[f32]| -> Result<Vec<f32>> {
            let channels = slopes.len() / (height * width);
            let largest = slopes.iter().fold(1e-12f32, |largest, slope| largest.max(slope.abs()));
            let shift = (1..60).take_while(|&shift| largest * power(shift) < LARGEST).last().unwrap_or(0);
            let scale = power(shift);
            let mut back = Tensor::new(height, width, channels);
            for (back, slope) in back.data.iter_mut().zip(slopes) {
                *back = nearest(slope * scale);
            }
            let gradient = self.model.gradient(part, self.quality)?;
            let scale = power(-gradient.exponent() - shift);
            let back = gradient.backward(back, tape);
            Ok(back.data.iter().map(|&slope| f32::from(slope) * scale).collect())
        };

        let prior = run(Part::Prior, &Tape::default(), [height, width], &heads(true))?;
        let context = run(Part::Context, &self.context, [height, width], &heads(false))?;
        let mut features = vec![0.0f32; self.uncut[0] * self.uncut[1] * h];
        let mut y = vec![0.0f32; self.own.len()];
        let predictions = prior.chunks_exact(h).zip(context.chunks_exact(h + m));
        for ((position, (prior, context)), y) in predictions.enumerate().zip(y.chunks_exact_mut(m)) {
            let (row, column) = (position / width, position % width);
            let features = &mut features[(row * self.uncut[1] + column) * h..][..h];
            features.iter_mut().zip(prior.iter().zip(context)).for_each(|(out, (a, b))| *out = a + b);
            let start = start_of_half(true, row, column);
            let first_half = context[h + start..].iter().step_by(2);
            y[start..].iter_mut().step_by(2).zip(first_half).for_each(|(to, from)| *to = *from);
        }
        let z = run(Part::HyperSynthesis, &self.hyper_synthesis, self.uncut, &features)?;
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
        let run = |part, input: &Tensor| model.gradient(part, quality).unwrap().forward(input, quality).0;
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
        let predictions = Predictions::new(&model, &quantiser, &seen).unwrap();
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
