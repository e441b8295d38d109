//! How hyper-latents are predicted and distributed, fitted to what a model codes.

use std::collections::BTreeMap;

use crate::codec::training::neighbours;
use crate::entropy::{BINS, BINS_PER_OCTAVE, Costs};
use crate::model::quality::{ANCHORS, LOG2_BITS};
use crate::model::step::Step;
use crate::model::{Model, PREDICTION_BITS, QualityIndex};
use crate::nn::Tensor;

/// What is added to the squares of neighbours, as a part of them: pictures are few.
const RIDGE: f64 = 0.002;

/// [`Model::z_prediction`] by least squares over hyper-latents coded at some qualities, each
/// counted in its quantisation steps.
pub fn predictions(model: &Model, coded: &[(QualityIndex, Tensor)]) -> Vec<i16> {
    let n = model.arch.hyper_latents;
    // Of each channel the sums of l l, l a, a a, l z, a z: left, above, and the value.
    let mut sums = vec![[0.0f64; 5]; n];
    for (quality, z_hat) in coded {
        let steps = quality.lerp(&model.z_step_log2, n);
        let steps: Vec<f64> = steps.iter().map(|&log2| Step::from_log2(log2).to_f32().into()).collect();
        for index in n..z_hat.data.len() {
            let step = steps[index % n];
            let [l, a] = neighbours(z_hat, index).map(|value| f64::from(value) / step);
            let z = f64::from(z_hat.data[index]) / step;
            let products = [l * l, l * a, a * a, l * z, a * z];
            sums[index % n].iter_mut().zip(products).for_each(|(sum, product)| *sum += product);
        }
    }
    let weights = sums.iter().flat_map(|&[ll, la, aa, lz, az]| {
        let (ll, aa) = (ll * (1.0 + RIDGE) + 1e-9, aa * (1.0 + RIDGE) + 1e-9);
        let determinant = ll * aa - la * la;
        [(aa * lz - la * az) / determinant, (ll * az - la * lz) / determinant]
    });
    let scale = f64::from(1 << PREDICTION_BITS);
    weights.map(|weight| (weight.clamp(-2.0, 2.0) * scale).round() as i16).collect()
}

/// How often each symbol of each channel of the hyper-latents was seen at each anchor.
pub struct HyperCounts(Vec<BTreeMap<i16, u64>>);

impl HyperCounts {
    /// Nothing seen of `channels` channels.
    pub fn new(channels: usize) -> HyperCounts {
        HyperCounts(vec![BTreeMap::new(); ANCHORS * channels])
    }

    /// Counts a symbol.
    pub fn add(&mut self, anchor: usize, channel: usize, symbol: i16) {
        let channels = self.0.len() / ANCHORS;
        *self.0[anchor * channels + channel].entry(symbol).or_default() += 1;
    }

    /// Both together.
    pub fn merge(mut self, other: HyperCounts) -> HyperCounts {
        for (all, more) in self.0.iter_mut().zip(other.0) {
            more.into_iter().for_each(|(symbol, count)| *all.entry(symbol).or_default() += count);
        }
        self
    }

    /// [`Model::z_scale_log2`] with the distributions under which what was seen costs least;
    /// those that a model has where nothing was seen.
    pub fn scales(&self, model: &Model) -> Vec<i16> {
        let costs = Costs::new(&model.tables);
        let fitted = self.0.iter().zip(&model.z_scale_log2).map(|(seen, &scale)| {
            let cost = |bin: u8| -> f64 {
                seen.iter().map(|(&symbol, &count)| count as f64 * f64::from(costs.bits(bin, symbol))).sum()
            };
            let best = (1..BINS as u8).min_by(|&a, &b| cost(a).total_cmp(&cost(b)));
            match best {
                Some(bin) if !seen.is_empty() => scale_of(bin),
                _ => scale,
            }
        });
        fitted.collect()
    }
}

/// log2 of the scale in the middle of a bin, in steps.
fn scale_of(bin: u8) -> i16 {
    let per_octave = BINS_PER_OCTAVE as i16;
    (i16::from(bin) - 4 * per_octave) * ((1 << LOG2_BITS) / per_octave)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::logistic::bin_scale;
    use crate::entropy::{bin_start, scale_bin};
    use crate::model::registry::MODELS;

    /// Numbers evenly spread from 0 to 1.
    fn uniform(count: usize) -> Vec<f64> {
        let mut state = 1u64;
        let next = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 11) as f64 + 0.5) / (1u64 << 53) as f64
        };
        (0..count).map(next).collect()
    }

    #[test]
    fn predictions_are_what_made_the_values() {
        let model = Model::read(MODELS[0].bytes).unwrap();
        let n = model.arch.hyper_latents;
        let mut z_hat = Tensor::new(40, 40, n);
        for (index, u) in uniform(z_hat.data.len()).into_iter().enumerate() {
            let [left, above] = neighbours(&z_hat, index).map(f64::from);
            z_hat.data[index] = (0.6 * left + 0.25 * above + 4000.0 * (u - 0.5)).round() as i16;
        }
        let weights = predictions(&model, &[(QualityIndex(100), z_hat)]);
        let mean = |first: usize| -> f64 {
            let sum: f64 = weights.iter().skip(first).step_by(2).map(|&weight| f64::from(weight)).sum();
            sum / n as f64 / f64::from(1 << PREDICTION_BITS)
        };
        assert!((mean(0) - 0.6).abs() < 0.01 && (mean(1) - 0.25).abs() < 0.01, "{} {}", mean(0), mean(1));
    }

    #[test]
    fn scales_are_those_of_what_was_seen() {
        let mut model = Model::read(MODELS[0].bytes).unwrap();
        model.tables = crate::entropy::ScaleTables::dependent();
        let n = model.arch.hyper_latents;
        let (seen_bin, anchor, channel) = (40, 3, 2);
        let mut counts = HyperCounts::new(n);
        for u in uniform(20_000) {
            let value = bin_scale(seen_bin) * (u / (1.0 - u)).ln();
            counts.add(anchor, channel, value.round() as i16);
        }
        let fitted = counts.scales(&model);
        for (i, (&fitted, &before)) in fitted.iter().zip(&model.z_scale_log2).enumerate() {
            if i == anchor * n + channel {
                assert!(scale_bin(fitted, bin_start(0)).abs_diff(seen_bin as u8) <= 1, "{fitted}");
            } else {
                assert_eq!(fitted, before);
            }
        }
    }

    #[test]
    fn scales_lead_back_to_their_bins() {
        for bin in 1..BINS as u8 {
            assert_eq!(scale_bin(scale_of(bin), bin_start(0)), bin);
        }
    }
}
