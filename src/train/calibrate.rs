//! The values that every tensor of the float networks takes on real pictures.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;

use anyhow::Result;
use rayon::prelude::*;

use super::checkpoint::Checkpoint;
use super::config::scaled;
use super::kernels::Geometry;
use super::model::{Batch, CodecModel, anchored};
use super::net::{Anchored, run_probed};
use crate::model::arch::Part;
use crate::model::layer::{LEAKY_SHIFT, Layer};
use crate::model::quality::QualityIndex;

/// Quality indices to look at, both ends among them.
const INDICES: [u8; 6] = [0, 32, 96, 160, 224, 255];

/// What the values of one tensor look like.
#[derive(Debug, Clone)]
struct Values {
    /// The largest magnitude.
    largest: f32,
    /// How many values have a magnitude in `2^(i - 32)..2^(i - 31)`.
    octaves: [u64; 64],
}

/// The values of each tensor of one network, by the path of the layer that
/// wrote it. Of a gate's input only the half that is not clamped counts.
#[derive(Debug, Clone, Default)]
pub struct Ranges {
    by_path: HashMap<String, Values>,
    last: String,
}

impl Ranges {
    /// The largest magnitude over several tensors.
    pub fn largest(&self, paths: &[String]) -> f32 {
        paths.iter().filter_map(|p| self.by_path.get(p)).fold(0.0, |m, values| m.max(values.largest))
    }

    /// How many of a tensor's values `bits` fraction bits cannot hold, and how
    /// many values there are.
    pub fn clipped(&self, path: &str, bits: i32) -> (u64, u64) {
        self.by_path.get(path).map_or((0, 0), |values| {
            let first = (15 - bits + 32).clamp(0, 64) as usize;
            (values.octaves[first..].iter().sum(), values.octaves.iter().sum())
        })
    }

    /// The largest magnitude of the network's output.
    pub fn output(&self) -> f32 {
        self.largest(std::slice::from_ref(&self.last))
    }

    /// Widens the ranges to those of further pictures.
    pub fn merge(&mut self, other: Ranges) {
        for (path, ranges) in other.by_path {
            match self.by_path.get_mut(&path) {
                None => {
                    self.by_path.insert(path, ranges);
                }
                Some(mine) => {
                    mine.largest = mine.largest.max(ranges.largest);
                    mine.octaves.iter_mut().zip(ranges.octaves).for_each(|(a, b)| *a += b);
                }
            }
        }
        self.last = other.last;
    }
}

/// The paths of a network's tensors in the order in which `net` shows them to
/// a probe, whether an activation has been applied to them already, and
/// whether a gate reads them.
fn tensors(layers: &[Layer], prefix: &str, out: &mut Vec<(String, bool, bool)>) {
    let mut index = 0;
    while index < layers.len() {
        let path = format!("{prefix}{index}");
        let mut leaky = false;
        match &layers[index] {
            Layer::Residual(body) => tensors(body, &format!("{path}."), out),
            Layer::Pointwise { .. } if layers.get(index + 1) == Some(&Layer::LeakyRelu) => {
                leaky = true;
                index += 1;
            }
            _ => {}
        }
        out.push((path, leaky, matches!(layers.get(index + 1), Some(Layer::Gate { .. }))));
        index += 1;
    }
}

/// Runs one network over `input` and notes its ranges.
pub fn probe(
    layers: &[Layer],
    geometry: Geometry,
    quality: Anchored,
    params: &[f32],
    input: Vec<f32>,
) -> (Vec<f32>, Ranges) {
    let mut order = Vec::new();
    tensors(layers, "", &mut order);
    let last = order.last().map(|(path, ..)| path.clone()).unwrap_or_default();
    let mut ranges = Ranges { by_path: HashMap::new(), last };
    let mut next = order.into_iter();
    let out = run_probed(layers, geometry, &[quality], params, input, &mut |values, channels| {
        let (path, leaky, gated) = next.next().expect("one probe per tensor");
        let mut seen = Values { largest: 0.0, octaves: [0; 64] };
        let counted = if gated { channels / 2 } else { channels };
        for v in values.chunks_exact(channels).flat_map(|row| &row[..counted]) {
            // What saturates is the value before the activation.
            let v = if leaky && *v < 0.0 { -v * (1 << LEAKY_SHIFT) as f32 } else { v.abs() };
            seen.largest = seen.largest.max(v);
            let exponent = (v.to_bits() >> 23) as i32 - 127;
            seen.octaves[(exponent + 32).clamp(0, 63) as usize] += 1;
        }
        ranges.by_path.insert(path, seen);
    });
    (out, ranges)
}

/// Runs the whole float codec, rounding as the decoder does, over `pictures` at
/// points of a part of the quality axis.
pub fn calibrate(
    checkpoint: &Checkpoint,
    pictures: &[(Geometry, Vec<f32>)],
    indices: &RangeInclusive<u8>,
) -> Result<BTreeMap<&'static str, Ranges>> {
    let model = CodecModel::averaged(checkpoint)?;
    let qualities = INDICES.map(|index| anchored(QualityIndex(scaled(index, indices))));
    let jobs: Vec<_> = pictures.iter().flat_map(|p| qualities.map(|q| (p, q))).collect();
    let found = jobs
        .into_par_iter()
        .map(|((geometry, pixels), quality)| {
            let batch = Batch { pixels: pixels.clone(), geometry: *geometry, qualities: vec![quality] };
            let inputs = model.part_inputs(&batch)?;
            Ok(Part::ALL.map(|part| {
                let (geometry, input) = &inputs[part as usize];
                let params = &checkpoint.states[part.name()].ema;
                probe(&checkpoint.arch.layers(part), *geometry, quality, params, input.clone()).1
            }))
        })
        .collect::<Result<Vec<[Ranges; 6]>>>()?;
    let mut all: BTreeMap<&'static str, Ranges> = BTreeMap::new();
    for job in found {
        for (part, ranges) in Part::ALL.iter().zip(job) {
            all.entry(part.name()).or_default().merge(ranges);
        }
    }
    Ok(all)
}
