//! Models with random weights, equal on every machine: enough to test and time
//! everything but the quality of pictures.
#![allow(dead_code)] // No test or benchmark uses all of it.

use aecodec::entropy::ScaleTables;
use aecodec::model::layer::{Layer, sites};
use aecodec::model::quality::{ANCHORS, LOG2_BITS};
use aecodec::model::trellis::{DEPENDENT_256, SCALAR};
use aecodec::model::{Arch, ByQuality, IntegerNetwork, Model, Part, QualityIndex, SiteParams};

/// A linear congruential generator.
pub struct Random(pub u64);

impl Random {
    /// A number in `-most..=most`.
    pub fn within(&mut self, most: i32) -> i32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as i64 % (2 * i64::from(most) + 1)) as i32 - most
    }
}

/// The smallest network that has every kind of layer.
pub const TINY: Arch = Arch {
    analysis_channels: 8,
    analysis_blocks: 1,
    synthesis_channels: 8,
    synthesis_blocks: 1,
    latents: 6,
    hyper_analysis_channels: 5,
    hyper_synthesis_channels: 5,
    hyper_latents: 3,
    analysis_inner: 8,
    synthesis_inner: 8,
};

/// A model of the given shape.
pub fn model(arch: Arch) -> Model {
    let mut random = Random(0x5eed);
    let networks = Part::ALL.map(|part| ByQuality::one(Some(network(&arch, part, &mut random))));
    let falling = |channels: usize, first: i16, by: i16| {
        (0..ANCHORS * channels)
            .map(|i| first - by * (i / channels) as i16 + (i % channels) as i16 % 7)
            .collect()
    };
    Model {
        name: "synthetic".into(),
        networks,
        y_step_log2: falling(arch.latents, 12 << LOG2_BITS, 700),
        z_step_log2: falling(arch.hyper_latents, 10 << LOG2_BITS, 300),
        z_scale_log2: falling(arch.hyper_latents, 1 << LOG2_BITS, -300),
        z_prediction: Vec::new(),
        trellis: SCALAR,
        tables: ScaleTables::logistic(),
        quality_map: (0..=100).map(|quality| (quality * 255 / 100) as u8).collect(),
        class_filters: None,
        base: None,
        arch,
    }
}

/// The same with two quantisers and hyper-latents that are predicted.
pub fn dependent(arch: Arch) -> Model {
    let z_prediction = (0..2 * arch.hyper_latents as i16).map(|i| 2600 - 900 * (i % 5)).collect();
    Model { tables: ScaleTables::dependent(), trellis: DEPENDENT_256, z_prediction, ..model(arch) }
}

/// The same with networks of their own for the indices from 100 and from 180 on: synthesis
/// transforms, and an analysis transform for the last of these.
pub fn ranged(arch: Arch) -> Model {
    let mut random = Random(0xfeed);
    let mut model = dependent(arch);
    for (part, first) in [(Part::Synthesis, 180), (Part::Synthesis, 100), (Part::Analysis, 180)] {
        let network = network(&model.arch, part, &mut random);
        model.networks[part as usize].set(QualityIndex(first), Some(network)).unwrap();
    }
    model
}

/// The network of a part for the lowest qualities, to be spoiled.
pub fn network_mut(model: &mut Model, part: Part) -> &mut IntegerNetwork {
    model.networks[part as usize].iter_mut().next().unwrap().1.as_mut().unwrap()
}

fn network(arch: &Arch, part: Part, random: &mut Random) -> IntegerNetwork {
    let layers = arch.layers(part);
    let all = sites(&layers);
    let last = all.len() - 1;
    let predicts_latents = matches!(part, Part::Prior | Part::Context);
    let params = all
        .iter()
        .enumerate()
        .map(|(i, site)| {
            let mut params = site_params(site.layer, random);
            if let SiteParams::Pointwise { biases, shifts, .. } = &mut params
                && predicts_latents
                && i == last
            {
                // The second half of the outputs is the log2 of scales.
                let outputs = shifts.len();
                for (bias, shift) in biases
                    .iter_mut()
                    .zip(shifts.iter().cycle())
                    .enumerate()
                    .filter_map(|(o, pair)| (o % outputs >= outputs / 2).then_some(pair))
                {
                    *bias += (10 << LOG2_BITS) << shift;
                }
            }
            params
        })
        .collect();
    IntegerNetwork { layers, params }
}

/// Weights that keep the size of what they are applied to.
fn site_params(layer: &Layer, random: &mut Random) -> SiteParams {
    const SHIFT: u8 = 13;
    let mut numbers =
        |count: usize, most: i32| -> Vec<i32> { (0..count).map(|_| random.within(most)).collect() };
    let weights = |numbers: Vec<i32>| numbers.into_iter().map(|w| w as i16).collect();
    let most = |inputs: usize| (1 << SHIFT) * 7 / (4 * inputs as u32).isqrt() as i32 / 2;
    match *layer {
        Layer::Pointwise { inputs, outputs } => SiteParams::Pointwise {
            weights: weights(numbers(outputs * inputs, most(inputs))),
            shifts: vec![SHIFT; outputs],
            biases: numbers(ANCHORS * outputs, 200 << SHIFT),
        },
        Layer::Depthwise { channels } => SiteParams::Depthwise {
            weights: weights(numbers(9 * channels, most(9))),
            shifts: vec![SHIFT; channels],
            biases: numbers(channels, 200 << SHIFT),
        },
        Layer::Gate { .. } => SiteParams::Gate { limit: 4 << 11, shift: 12 },
        _ => unreachable!("not a site"),
    }
}
