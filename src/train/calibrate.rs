//! The values that every tensor of the float networks takes on real pictures.

use std::collections::{BTreeMap, HashMap};

use anyhow::Result;
use rayon::prelude::*;

use super::checkpoint::Checkpoint;
use super::kernels::Geometry;
use super::model::{Batch, CodecModel};
use super::net::{Anchored, run_probed};
use crate::model::arch::Part;
use crate::model::layer::{LEAKY_SHIFT, Layer};

/// Smallest and largest value per channel of each tensor of one network, by
/// the path of the layer that wrote it.
#[derive(Debug, Clone, Default)]
pub struct Ranges {
    by_path: HashMap<String, Vec<(f32, f32)>>,
    last: String,
}

impl Ranges {
    /// The largest magnitude over several tensors.
    pub fn largest(&self, paths: &[String]) -> f32 {
        paths
            .iter()
            .filter_map(|p| self.by_path.get(p))
            .flatten()
            .fold(0.0, |m, (lo, hi)| m.max(-lo).max(*hi))
    }

    /// The largest magnitude over the first `channels` of a tensor.
    pub fn half(&self, path: &str, channels: usize) -> f32 {
        self.by_path
            .get(path)
            .map_or(0.0, |r| r[..channels].iter().fold(0.0, |m, (lo, hi)| m.max(-lo).max(*hi)))
    }

    /// The largest magnitude of the network's output.
    pub fn output(&self) -> f32 {
        self.largest(std::slice::from_ref(&self.last))
    }

    fn merge(&mut self, other: Ranges) {
        for (path, ranges) in other.by_path {
            match self.by_path.get_mut(&path) {
                None => {
                    self.by_path.insert(path, ranges);
                }
                Some(mine) => {
                    for (a, b) in mine.iter_mut().zip(ranges) {
                        *a = (a.0.min(b.0), a.1.max(b.1));
                    }
                }
            }
        }
        self.last = other.last;
    }
}

/// The paths of a network's tensors in the order in which `net` shows them to
/// a probe, and whether an activation has been applied to them already.
fn tensors(layers: &[Layer], prefix: &str, out: &mut Vec<(String, bool)>) {
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
        out.push((path, leaky));
        index += 1;
    }
}

/// Runs one network over `input` and notes its ranges.
fn probe(
    layers: &[Layer],
    geometry: Geometry,
    quality: Anchored,
    params: &[f32],
    input: Vec<f32>,
) -> (Vec<f32>, Ranges) {
    let mut order = Vec::new();
    tensors(layers, "", &mut order);
    let mut ranges = Ranges::default();
    ranges.last = order.last().map(|(path, _)| path.clone()).unwrap_or_default();
    let mut next = order.into_iter();
    let out = run_probed(layers, geometry, &[quality], params, input, &mut |values, channels| {
        let (path, leaky) = next.next().expect("one probe per tensor");
        let mut range = vec![(0.0f32, 0.0f32); channels];
        for row in values.chunks_exact(channels) {
            for (r, v) in range.iter_mut().zip(row) {
                // What saturates is the value before the activation.
                let v = if leaky && *v < 0.0 { v * (1 << LEAKY_SHIFT) as f32 } else { *v };
                *r = (r.0.min(v), r.1.max(v));
            }
        }
        ranges.by_path.insert(path, range);
    });
    (out, ranges)
}

/// Runs the whole float codec, rounding as the decoder does, over `pictures` at
/// every second anchor.
pub fn calibrate(
    checkpoint: &Checkpoint,
    pictures: &[(Geometry, Vec<f32>)],
) -> Result<BTreeMap<&'static str, Ranges>> {
    let model = CodecModel::averaged(checkpoint)?;
    let jobs: Vec<_> = pictures.iter().flat_map(|p| [0, 2, 4, 6, 7].map(|a| (p, (a, 0.99)))).collect();
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
