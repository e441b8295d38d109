//! From float weights to the integers that ship.
//!
//! Every tensor gets a number of fraction bits from the values it takes on a
//! calibration set, every row of weights the largest scale that keeps its sum
//! of magnitudes bounded ([`row_shift`]), and what comes out is checked against the
//! float network by the caller (`aecodec export` prints the loss).

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::calibrate::Ranges;
use super::checkpoint::{Checkpoint, Numbers};
use super::degrade::UNIT_BITS;
use super::model::{Y_STEP, Z_SCALE, Z_STEP};
use super::net::{Layout, Slot};
use crate::entropy::ScaleTables;
use crate::model::arch::{PIXEL_CHANNELS, Part};
use crate::model::layer::{GATE_LIMIT, Layer};
use crate::model::quality::{ANCHORS, LOG2_BITS};
use crate::model::restoration::PART;
use crate::model::scale::row_shift;
use crate::model::trellis::SCALAR;
use crate::model::{
    ByQuality, IntegerNetwork, MAX_QUALITY, Model, RestorationArch, RestorationModel, SiteParams,
};

/// Fraction bits of a gate's clamped factor.
const GATE_BITS: i32 = 12;
/// Fraction bits of the analysis input relative to the trainer's pixels: the
/// integers are `(p - 128) << 7`, the floats `(p - 128) / 64`.
pub const INPUT_BITS: i32 = 13;
/// The same for the synthesis output, whose integers have 6 fraction bits.
pub const OUTPUT_BITS: i32 = 12;
/// Head room above the largest value seen in calibration; rounding down to whole bits adds up to twice that.
const MARGIN: f32 = 1.3;

/// The fraction bits that fit values up to `largest`.
fn fraction_bits(largest: f32) -> i32 {
    (32767.0 / (largest * MARGIN).max(1e-3)).log2().floor().min(15.0) as i32
}

/// Turns one network into integers.
struct Converter<'a> {
    params: &'a [f32],
    slots: std::slice::Iter<'a, Slot>,
    ranges: &'a Ranges,
    out: Vec<SiteParams>,
    /// Path and fraction bits of every tensor.
    formats: Vec<(String, i32)>,
}

impl Converter<'_> {
    /// Converts `layers` whose input has `bits` fraction bits per channel.
    /// `last` overrides the format of the final output. Returns the output's.
    fn run(
        &mut self,
        layers: &[Layer],
        prefix: &str,
        mut bits: Vec<i32>,
        last: Option<&[i32]>,
    ) -> Result<Vec<i32>> {
        for (index, layer) in layers.iter().enumerate() {
            let path = format!("{prefix}{index}");
            // What follows an output without rescaling it (activations, residual sums, shuffles) shares its format.
            let mut shared = vec![path.clone()];
            let mut end = index + 1;
            while let Some(Layer::Residual(_) | Layer::LeakyRelu | Layer::Shuffle | Layer::Unshuffle) =
                layers.get(end)
            {
                shared.push(format!("{prefix}{end}"));
                end += 1;
            }
            let is_last = end == layers.len();
            let wanted = |channels: usize, ranges: &Ranges| match last {
                // Behind a shuffle there are fewer channels.
                Some(bits) if is_last => bits.iter().copied().cycle().take(channels).collect(),
                _ => vec![fraction_bits(ranges.largest(&shared)); channels],
            };
            match layer {
                Layer::Pointwise { outputs, .. } => {
                    let to = match layers.get(index + 1) {
                        Some(Layer::Gate { channels }) => {
                            let mut to = vec![fraction_bits(self.ranges.largest(&shared)); *channels];
                            to.extend(vec![GATE_BITS; *channels]);
                            to
                        }
                        _ => wanted(*outputs, self.ranges),
                    };
                    self.pointwise(&bits, &to)?;
                    bits = to;
                }
                Layer::Depthwise { channels } => {
                    let to = wanted(*channels, self.ranges);
                    self.depthwise(&bits, &to)?;
                    bits = to;
                }
                Layer::Gate { channels } => {
                    let to = wanted(*channels, self.ranges);
                    let shift = bits[0] + GATE_BITS - to[0];
                    if !(1..=30).contains(&shift) {
                        bail!("gate {path}: shift {shift}");
                    }
                    let limit = (GATE_LIMIT << GATE_BITS) as i16;
                    self.out.push(SiteParams::Gate { limit, shift: shift as u8 });
                    bits = to;
                }
                Layer::Unshuffle => bits = bits.repeat(4),
                Layer::Shuffle => bits.truncate(bits.len() / 4),
                Layer::LeakyRelu => {}
                Layer::Residual(body) => {
                    let stream = bits.clone();
                    self.run(body, &format!("{path}."), bits, Some(&stream))?;
                    bits = stream;
                }
            }
            self.formats.push((path, bits[0]));
        }
        Ok(bits)
    }

    fn pointwise(&mut self, from: &[i32], to: &[i32]) -> Result<()> {
        let slot = self.slots.next().context("more layers than weights")?;
        let (inputs, outputs) = slot.shape;
        let (w, b) = (slot.weights(self.params), slot.biases(self.params));
        let mut weights = vec![0i16; inputs * outputs];
        let mut shifts = vec![0u8; outputs];
        let mut biases = vec![0i32; ANCHORS * outputs];
        for o in 0..outputs {
            let row: Vec<f64> = (0..inputs)
                .map(|i| f64::from(w[i * outputs + o]) * f64::from(to[o] - from[i]).exp2())
                .collect();
            let offsets: Vec<f64> =
                (0..ANCHORS).map(|a| f64::from(b[a * outputs + o]) * f64::from(to[o]).exp2()).collect();
            let shift = shift_of(&row, &offsets)?;
            let scale = f64::from(shift).exp2();
            for (q, w) in weights[o * inputs..][..inputs].iter_mut().zip(&row) {
                *q = (w * scale).round() as i16;
            }
            shifts[o] = shift;
            for (a, b) in offsets.iter().enumerate() {
                biases[a * outputs + o] = (b * scale).round() as i32;
            }
        }
        self.out.push(SiteParams::Pointwise { weights, shifts, biases });
        Ok(())
    }

    fn depthwise(&mut self, from: &[i32], to: &[i32]) -> Result<()> {
        let slot = self.slots.next().context("more layers than weights")?;
        let channels = slot.shape.1;
        let (w, b) = (slot.weights(self.params), slot.biases(self.params));
        let mut weights = vec![0i16; 9 * channels];
        let (mut shifts, mut biases) = (vec![0u8; channels], vec![0i32; channels]);
        for c in 0..channels {
            let row: Vec<f64> =
                (0..9).map(|k| f64::from(w[k * channels + c]) * f64::from(to[c] - from[c]).exp2()).collect();
            let offset = f64::from(b[c]) * f64::from(to[c]).exp2();
            let shift = shift_of(&row, &[offset])?;
            let scale = f64::from(shift).exp2();
            for (k, w) in row.iter().enumerate() {
                weights[k * channels + c] = (w * scale).round() as i16;
            }
            (shifts[c], biases[c]) = (shift, (offset * scale).round() as i32);
        }
        self.out.push(SiteParams::Depthwise { weights, shifts, biases });
        Ok(())
    }
}

/// The scale of a row, or what is wrong with it.
fn shift_of(row: &[f64], offsets: &[f64]) -> Result<u8> {
    let peak = |values: &[f64]| values.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    row_shift(row, offsets).with_context(|| {
        format!("weights up to {:.1} or biases up to {:.1} do not fit 16 bits", peak(row), peak(offsets))
    })
}

/// A network in integers.
struct Converted {
    network: IntegerNetwork,
    /// Fraction bits of the output, per channel.
    output: Vec<i32>,
    /// Path and fraction bits of every tensor.
    formats: Vec<(String, i32)>,
}

/// Converts one network.
fn integers(
    layers: Vec<Layer>,
    params: &[f32],
    ranges: &Ranges,
    from: Vec<i32>,
    to: Option<&[i32]>,
) -> Result<Converted> {
    let layout = Layout::new(&layers);
    let (slots, out, formats) = (layout.slots.iter(), Vec::new(), Vec::new());
    let mut converter = Converter { params, slots, ranges, out, formats };
    let output = converter.run(&layers, "", from, to)?;
    let network = IntegerNetwork { layers, params: converter.out };
    Ok(Converted { network, output, formats: converter.formats })
}

/// A restoring network in integers, and the formats of its tensors by path.
pub fn convert_restoration(
    checkpoint: &Checkpoint<RestorationArch>,
    name: &str,
    ranges: &Ranges,
) -> Result<(RestorationModel, Vec<(String, i32)>)> {
    let arch = checkpoint.arch.clone();
    let params = &checkpoint.states.get(PART).with_context(|| format!("no variable {PART}"))?.ema;
    let (from, to) = (vec![UNIT_BITS; arch.task.inputs()], vec![UNIT_BITS; arch.task.outputs()]);
    let Converted { network, formats, .. } = integers(arch.layers(), params, ranges, from, Some(&to))?;
    Ok((RestorationModel { name: name.to_string(), arch, network }, formats))
}

/// A tensor and its fraction bits: the part, the path of the layer that writes it, the bits.
pub type Format = (Part, String, i32);

/// Fraction bits of what a codec's networks and its quantisers hand to each other.
#[derive(Debug, Clone, Copy)]
pub struct Units {
    /// Of latents.
    pub y: i32,
    /// Of hyper-latents.
    pub z: i32,
}

impl Units {
    /// Those that latents and hyper-latents as large as `ranges` need.
    pub fn of(ranges: &BTreeMap<&'static str, Ranges>) -> Units {
        let output = |part: Part| fraction_bits(ranges[part.name()].output());
        Units { y: output(Part::Analysis), z: output(Part::HyperAnalysis) }
    }
}

fn average<'a>(checkpoint: &'a Checkpoint, name: &str) -> Result<&'a [f32]> {
    let state = checkpoint.states.get(name).with_context(|| format!("no variable {name}"))?;
    Ok(&state.ema)
}

/// The networks of a checkpoint's averaged weights in integers, in the order of
/// [`Part::ALL`], and the formats of their tensors.
pub fn networks(
    checkpoint: &Checkpoint,
    ranges: &BTreeMap<&'static str, Ranges>,
    Units { y, z }: Units,
) -> Result<([IntegerNetwork; 6], Vec<Format>)> {
    let arch = &checkpoint.arch;
    let (m, n, h) = (arch.latents, arch.hyper_latents, arch.hyper_synthesis_channels);
    let mut feature_bits = 0;
    // Heads write means in y's format, and log2 scales in y's integer units.
    let head: Vec<i32> = [vec![y; m], vec![LOG2_BITS as i32; m]].concat();
    let (mut networks, mut formats) = (Vec::new(), Vec::new());
    for part in Part::ALL {
        let layers = arch.layers(part);
        let layout = Layout::new(&layers);
        let mut params = average(checkpoint, part.name())?.to_vec();
        let (from, to) = match part {
            Part::Analysis => (vec![INPUT_BITS; arch.input_channels(part)], Some(vec![y; m])),
            Part::HyperAnalysis => (vec![y; m], Some(vec![z; n])),
            Part::HyperSynthesis => (vec![z; n], None),
            Part::Prior => (vec![feature_bits; h], Some(head.clone())),
            Part::Context => ([vec![feature_bits; h], vec![y; m]].concat(), Some(head.clone())),
            Part::Synthesis => (vec![y; m], Some(vec![OUTPUT_BITS; PIXEL_CHANNELS])),
        };
        if matches!(part, Part::Prior | Part::Context) {
            let last = layout.slots.last().context("a head without layers")?;
            for row in params[last.bias..][..ANCHORS * 2 * m].chunks_exact_mut(2 * m) {
                row[m..].iter_mut().for_each(|b| *b += y as f32);
            }
        }
        let converted = integers(layers, &params, &ranges[part.name()], from, to.as_deref())
            .with_context(|| format!("network {}", part.name()))?;
        if part == Part::HyperSynthesis {
            feature_bits = converted.output[0];
        }
        formats.extend(converted.formats.into_iter().map(|(path, bits)| (part, path, bits)));
        networks.push(converted.network);
    }
    Ok((networks.try_into().expect("one network per part"), formats))
}

/// Converts the averaged weights of a checkpoint. `quality_map` names the
/// quality index of each whole quality.
pub fn convert(
    checkpoint: &Checkpoint,
    name: &str,
    ranges: &BTreeMap<&'static str, Ranges>,
    tables: ScaleTables,
    quality_map: Vec<u8>,
) -> Result<(Model, Vec<Format>)> {
    let units = Units::of(ranges);
    let (networks, formats) = networks(checkpoint, ranges, units)?;
    let fixed = |name: &str, bits: i32| -> Result<Vec<i16>> {
        Ok(average(checkpoint, name)?
            .iter()
            // A channel that training has closed has a step beyond any value it takes.
            .map(|v| (v + bits as f32).clamp(-8.0, 14.0))
            .map(|octaves| (octaves * (1 << LOG2_BITS) as f32).round() as i16)
            .collect())
    };
    assert_eq!(quality_map.len(), usize::from(MAX_QUALITY) + 1);
    let model = Model {
        name: name.to_string(),
        arch: checkpoint.arch.clone(),
        networks: networks.map(|network| ByQuality::one(Some(network))),
        y_step_log2: fixed(Y_STEP, units.y)?,
        z_step_log2: fixed(Z_STEP, units.z)?,
        z_scale_log2: fixed(Z_SCALE, 0)?,
        z_prediction: Vec::new(),
        trellis: SCALAR,
        tables,
        quality_map,
        class_filters: None,
        base: None,
    };
    Ok((model, formats))
}

/// Reads a run's checkpoint, or says that there is none.
pub fn checkpoint<A: Numbers>(run: &Path) -> Result<Checkpoint<A>> {
    Checkpoint::load(run)?.with_context(|| format!("{} holds no checkpoint", run.display()))
}
