//! The way back from [`super::export`]: a released model of integers as the
//! start of a new run.
//!
//! A model file does not say how many fraction bits its inner tensors have, and
//! need not: leaky activations, residual sums and gates do not notice a power
//! of two that one layer takes out and the next puts back. So each tensor gets
//! the fraction bits that bring the rows of the weights in front of it closest
//! to length 1, the scale at which training starts from nothing too. What the
//! integers' rounding took from the weights stays lost; it is small.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::checkpoint::Checkpoint;
use super::degrade::UNIT_BITS;
use super::export::{INPUT_BITS, OUTPUT_BITS, Units};
use super::model::{Y_STEP, Z_SCALE, Z_STEP};
use super::net::{Layout, Slot};
use super::requantise::scalar_steps;
use crate::model::arch::{PIXEL_CHANNELS, Part};
use crate::model::layer::{GATE_LIMIT, Layer};
use crate::model::quality::{ANCHORS, LOG2_BITS};
use crate::model::{Model, ModelId, QualityIndex, RestorationModel, SiteParams, registry};

/// Length of the analysis transform's first rows in a run that starts from the KLT.
const FIRST_ROW_LENGTH: f64 = 2.0;
/// log2 of the middle quantisation step of y, half-way along the quality axis, in such a run.
const MIDDLE_Y_STEP: f32 = 1.0;

/// One network on its way back to floats.
struct Reverter<'a> {
    integers: std::slice::Iter<'a, SiteParams>,
    slots: std::slice::Iter<'a, Slot>,
    params: Vec<f32>,
}

impl Reverter<'_> {
    /// Reverts `layers` whose input has `bits` fraction bits per channel.
    /// `first` is the wanted length of the first weights' rows, `last` the
    /// format of the final output where it is given. Returns the output's.
    fn run(
        &mut self,
        layers: &[Layer],
        mut bits: Vec<i32>,
        mut first: f64,
        last: Option<&[i32]>,
    ) -> Result<Vec<i32>> {
        let carries = |layer: &Layer| {
            matches!(layer, Layer::Residual(_) | Layer::LeakyRelu | Layer::Shuffle | Layer::Unshuffle)
        };
        for (index, layer) in layers.iter().enumerate() {
            let given = last.filter(|_| layers[index + 1..].iter().all(carries));
            match layer {
                Layer::Pointwise { .. } | Layer::Depthwise { .. } => {
                    let gate = matches!(layers.get(index + 1), Some(Layer::Gate { .. }));
                    bits = self.site(&bits, given, gate, first)?;
                    first = 1.0;
                }
                Layer::Gate { channels } => {
                    let Some(SiteParams::Gate { shift, .. }) = self.integers.next() else {
                        bail!("a gate without its parameters");
                    };
                    // The product's shift removes the clamped factor's bits, and what the output lacks.
                    let to = bits[0] + bits[*channels] - i32::from(*shift);
                    bits = vec![to; *channels];
                }
                Layer::Unshuffle => bits = bits.repeat(4),
                Layer::Shuffle => bits.truncate(bits.len() / 4),
                Layer::LeakyRelu => {}
                Layer::Residual(body) => {
                    let stream = bits.clone();
                    self.run(body, bits, 1.0, Some(&stream))?;
                    bits = stream;
                }
            }
        }
        Ok(bits)
    }

    /// Reverts one layer with weights, and returns its output's format.
    fn site(&mut self, from: &[i32], given: Option<&[i32]>, gate: bool, length: f64) -> Result<Vec<i32>> {
        let slot = self.slots.next().context("more layers than weights")?;
        let integers = self.integers.next().context("more layers than parameters")?;
        let (rows, outputs) = slot.shape;
        // The weight from input row `i` to output `o`, in the units of integers.
        let (shifts, biases, weight): (_, _, Box<dyn Fn(usize, usize) -> f64>) = match integers {
            SiteParams::Pointwise { weights, shifts, biases } => (
                shifts,
                biases,
                Box::new(|i, o| f64::from(weights[o * rows + i]) * f64::from(from[i]).exp2()),
            ),
            SiteParams::Depthwise { weights, shifts, biases } => (
                shifts,
                biases,
                Box::new(|i, o| f64::from(weights[i * outputs + o]) * f64::from(from[o]).exp2()),
            ),
            SiteParams::Gate { .. } => bail!("a gate's parameters in front of another layer"),
        };
        let weight = |i: usize, o: usize| weight(i, o) * (-f64::from(shifts[o])).exp2();
        let fit = |columns: std::ops::Range<usize>| {
            let count = columns.len() as f64;
            let square: f64 =
                columns.flat_map(|o| (0..rows).map(move |i| (i, o))).map(|(i, o)| weight(i, o).powi(2)).sum();
            ((square / count).sqrt().max(1e-9) / length).log2().round() as i32
        };
        let to: Vec<i32> = match given {
            // Behind a shuffle there are fewer channels.
            Some(bits) => bits.iter().copied().cycle().take(outputs).collect(),
            None if gate => {
                let half = outputs / 2;
                let Some(SiteParams::Gate { limit, .. }) = self.integers.as_slice().first() else {
                    bail!("a gate without its parameters");
                };
                let clamped = (f64::from(*limit) / f64::from(GATE_LIMIT)).log2().round() as i32;
                [vec![fit(0..half); half], vec![clamped; half]].concat()
            }
            None => vec![fit(0..outputs); outputs],
        };
        for (o, to) in to.iter().enumerate() {
            let scale = (-f64::from(*to)).exp2();
            for i in 0..rows {
                self.params[slot.weight + i * outputs + o] = (weight(i, o) * scale) as f32;
            }
            let scale = scale * (-f64::from(shifts[o])).exp2();
            for row in 0..slot.bias_rows {
                self.params[slot.bias + row * outputs + o] =
                    (f64::from(biases[row * outputs + o]) * scale) as f32;
            }
        }
        Ok(to)
    }
}

/// The fraction bits at which the middle of a table of log2 steps, half-way
/// along the quality axis, comes out as `middle`.
fn step_bits(table: &[i16], middle: f32) -> i32 {
    let width = table.len() / ANCHORS;
    let mut row = table[ANCHORS / 2 * width..][..width].to_vec();
    row.sort_unstable();
    (f32::from(row[width / 2]) / (1 << LOG2_BITS) as f32 - middle).round() as i32
}

/// The flat parameters that compute what a restoring network computes.
pub fn import_restoration(model: &RestorationModel) -> Result<Vec<f32>> {
    let layers = &model.network.layers;
    let layout = Layout::new(layers);
    let mut reverter = Reverter {
        integers: model.network.params.iter(),
        slots: layout.slots.iter(),
        params: vec![0.0; layout.len],
    };
    let task = model.arch.task;
    reverter.run(layers, vec![UNIT_BITS; task.inputs()], 1.0, Some(&vec![UNIT_BITS; task.outputs()]))?;
    Ok(reverter.params)
}

/// Reads a model file. What is made of one inside this build is based on it.
pub fn read_model(path: &Path) -> Result<(Model, ModelId)> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut model = Model::read(&bytes).with_context(|| path.display().to_string())?;
    let id = ModelId::of(&bytes);
    model.base = registry::find(id).map(|_| id).or(model.base);
    Ok((model, id))
}

/// Fraction bits of latents and hyper-latents once a model's integers are floats.
pub fn units(model: &Model) -> Units {
    Units { y: step_bits(&scalar_steps(model), MIDDLE_Y_STEP), z: step_bits(&model.z_step_log2, 0.0) }
}

/// A run at step 0 whose weights compute what `model` computes at `index` and as far around
/// it as its networks serve, with one quantiser.
pub fn import(model: &Model, index: QualityIndex) -> Result<Checkpoint> {
    let arch = &model.arch;
    let y_steps = scalar_steps(model);
    let (m, n, h) = (arch.latents, arch.hyper_latents, arch.hyper_synthesis_channels);
    let Units { y: y_bits, z: z_bits } = units(model);
    let head: Vec<i32> = [vec![y_bits; m], vec![LOG2_BITS as i32; m]].concat();
    let mut feature_bits = Vec::new();
    let mut weights = BTreeMap::new();
    for part in Part::ALL {
        let network = model.networks[part as usize].at(index).as_ref();
        let network = network.context("a model without all its networks")?;
        let layout = Layout::new(&network.layers);
        let (from, first, to) = match part {
            Part::Analysis => (vec![INPUT_BITS; PIXEL_CHANNELS], FIRST_ROW_LENGTH, Some(vec![y_bits; m])),
            Part::HyperAnalysis => (vec![y_bits; m], 1.0, Some(vec![z_bits; n])),
            Part::HyperSynthesis => (vec![z_bits; n], 1.0, None),
            Part::Prior => (feature_bits.clone(), 1.0, Some(head.clone())),
            Part::Context => ([feature_bits.clone(), vec![y_bits; m]].concat(), 1.0, Some(head.clone())),
            Part::Synthesis => (vec![y_bits; m], 1.0, Some(vec![OUTPUT_BITS; PIXEL_CHANNELS])),
        };
        let mut reverter = Reverter {
            integers: network.params.iter(),
            slots: layout.slots.iter(),
            params: vec![0.0; layout.len],
        };
        let bits = reverter
            .run(&network.layers, from, first, to.as_deref())
            .with_context(|| format!("network {}", part.name()))?;
        let mut params = reverter.params;
        if part == Part::HyperSynthesis {
            feature_bits = bits;
            assert_eq!(feature_bits.len(), h);
        }
        if matches!(part, Part::Prior | Part::Context) {
            // Integer scales are in y's integer units.
            let last = layout.slots.last().context("a head without layers")?;
            for row in params[last.bias..][..ANCHORS * 2 * m].chunks_exact_mut(2 * m) {
                row[m..].iter_mut().for_each(|b| *b -= y_bits as f32);
            }
        }
        weights.insert(part.name().to_string(), params);
    }
    let floats = |table: &[i16], bits: i32| -> Vec<f32> {
        table.iter().map(|v| f32::from(*v) / (1 << LOG2_BITS) as f32 - bits as f32).collect()
    };
    weights.insert(Y_STEP.to_string(), floats(&y_steps, y_bits));
    weights.insert(Z_STEP.to_string(), floats(&model.z_step_log2, z_bits));
    weights.insert(Z_SCALE.to_string(), floats(&model.z_scale_log2, 0));
    Ok(Checkpoint::start(arch.clone(), weights))
}
