//! From a network's description to the steps that run: checks every size, and
//! fuses what would otherwise be a pass over memory of its own.

use std::ops::Range;

use super::requant::Gate;
use super::weights::{Activation, Depthwise, Pointwise};
use crate::model::layer::sites;
use crate::model::quality::ANCHORS;
use crate::model::{IntegerNetwork, Layer, SiteParams};
use crate::{Error, Result};

/// Largest shift a model may ask for.
const MAX_SHIFT: u8 = 30;

/// One pass over a tensor.
#[derive(Debug)]
pub enum Step {
    /// A 1x1 layer and the activation behind it.
    Pointwise(Pointwise),
    /// A 1x1 layer of which each position needs half of the outputs: the first
    /// holds those of the positions where row plus column is even.
    Alternating([Pointwise; 2]),
    /// A depthwise layer and the activation behind it.
    Depthwise(Depthwise),
    /// A leaky ReLU that follows nothing it could be fused with.
    LeakyRelu,
    /// A gate that follows nothing it could be fused with.
    Gate {
        /// Channels written; twice as many are read.
        channels: usize,
        /// The arithmetic.
        gate: Gate,
    },
    /// 2x2 space to depth.
    Unshuffle,
    /// 2x2 depth to space.
    Shuffle,
    /// A copy, for the sake of what is added to it.
    Copy,
}

impl Step {
    /// The rows of an input of `height` rows that some rows of the output depend
    /// on. Columns follow the same rule.
    pub fn reads(&self, rows: Range<usize>, height: usize) -> Range<usize> {
        match self {
            Step::Depthwise(_) => rows.start.saturating_sub(1)..rows.end.saturating_add(1).min(height),
            Step::Unshuffle => 2 * rows.start..2 * rows.end,
            Step::Shuffle => rows.start / 2..rows.end.div_ceil(2),
            Step::Pointwise(_) | Step::Alternating(_) | Step::LeakyRelu | Step::Gate { .. } | Step::Copy => {
                rows
            }
        }
    }

    /// Rows, columns and channels of the output for an input of this size. Panics if the input
    /// does not have the channels the step reads, or cannot be halved.
    pub fn output_size(&self, [height, width, channels]: [usize; 3]) -> [usize; 3] {
        let expect = |read: usize| assert_eq!(channels, read, "channels of {}", self.name());
        match self {
            Step::Pointwise(layer) | Step::Alternating([layer, _]) => {
                expect(layer.inputs);
                [height, width, layer.outputs]
            }
            Step::Depthwise(layer) => {
                expect(layer.channels);
                [height, width, channels]
            }
            Step::Gate { channels, .. } => {
                expect(2 * channels);
                [height, width, *channels]
            }
            Step::LeakyRelu | Step::Copy => [height, width, channels],
            Step::Unshuffle => {
                let even = height.is_multiple_of(2) && width.is_multiple_of(2);
                assert!(even, "a tensor of {height}x{width} positions cannot be halved");
                [height / 2, width / 2, 4 * channels]
            }
            Step::Shuffle => {
                assert!(channels.is_multiple_of(4), "{channels} channels");
                [2 * height, 2 * width, channels / 4]
            }
        }
    }

    /// For messages.
    pub fn name(&self) -> &'static str {
        match self {
            Step::Pointwise(_) | Step::Alternating(_) => "a pointwise layer",
            Step::Depthwise(_) => "a depthwise layer",
            Step::LeakyRelu => "a leaky ReLU",
            Step::Gate { .. } => "a gate",
            Step::Unshuffle => "space to depth",
            Step::Shuffle => "depth to space",
            Step::Copy => "a copy",
        }
    }
}

/// A step and its place: number i of a plan reads tensor i and writes tensor
/// i + 1, where tensor 0 is the network's input.
#[derive(Debug)]
pub struct Op {
    /// What is done.
    pub step: Step,
    /// The tensor that is added to the result, saturating: a residual's input.
    pub add: Option<usize>,
}

/// The steps of a network in order, or what is wrong with it.
pub fn plan(network: &IntegerNetwork) -> Result<Vec<Op>> {
    let expected = sites(&network.layers).len();
    if network.params.len() != expected {
        return Err(Error::Model(format!(
            "{} sets of parameters for {expected} layers",
            network.params.len()
        )));
    }
    let mut planner = Planner { params: network.params.iter(), channels: None, halvings: 0, ops: Vec::new() };
    planner.list(&network.layers)?;
    Ok(planner.ops)
}

/// Walks the layers with what is known of the tensor between them.
struct Planner<'a> {
    params: std::slice::Iter<'a, SiteParams>,
    /// `None` until a layer says what it reads.
    channels: Option<usize>,
    /// How often the resolution has been halved; negative where doubled.
    halvings: i32,
    ops: Vec<Op>,
}

impl Planner<'_> {
    fn list(&mut self, layers: &[Layer]) -> Result<()> {
        let mut layers = layers.iter().peekable();
        while let Some(layer) = layers.next() {
            let leaky = layers.peek() == Some(&&Layer::LeakyRelu);
            let gate = match layers.peek() {
                Some(&&Layer::Gate { channels }) => Some(channels),
                _ => None,
            };
            let fuses = match layer {
                Layer::Pointwise { .. } => leaky || gate.is_some(),
                Layer::Depthwise { .. } => leaky,
                _ => false,
            };
            if let Layer::Residual(body) = layer {
                self.residual(layer, body)?;
            } else {
                let step = self.step(layer, leaky, gate)?;
                self.ops.push(Op { step, add: None });
            }
            if fuses {
                layers.next();
            }
        }
        Ok(())
    }

    /// The steps of a residual; a pointwise step at its end adds while it stores.
    fn residual(&mut self, layer: &Layer, body: &[Layer]) -> Result<()> {
        self.channels = self.channels.or_else(|| fixed_inputs(layer));
        let before = (self.channels, self.halvings);
        let input = self.ops.len();
        self.list(body)?;
        if before.0.is_none() || before != (self.channels, self.halvings) {
            return Err(Error::Model("a residual does not keep its shape".into()));
        }
        match self.ops[input..].last_mut() {
            Some(Op { step: Step::Pointwise(_), add: add @ None }) => *add = Some(input),
            _ => self.ops.push(Op { step: Step::Copy, add: Some(input) }),
        }
        Ok(())
    }

    /// The step of `layer`, with the activation that follows it where the layer
    /// can absorb one.
    fn step(&mut self, layer: &Layer, leaky: bool, gate: Option<usize>) -> Result<Step> {
        Ok(match *layer {
            Layer::Pointwise { inputs, outputs } => {
                self.reads(layer, inputs)?;
                self.writes(outputs)?;
                let Some(SiteParams::Pointwise { weights, shifts, biases }) = self.params.next() else {
                    return Err(unlike(layer));
                };
                let count = inputs.checked_mul(outputs);
                check_lengths(layer, weights.len(), count, shifts, outputs)?;
                if Some(biases.len()) != outputs.checked_mul(ANCHORS) {
                    return Err(unlike(layer));
                }
                let activation = match gate {
                    Some(channels) => Activation::Gate(self.gate(channels)?),
                    None if leaky => Activation::LeakyRelu,
                    None => Activation::None,
                };
                Step::Pointwise(Pointwise::new(inputs, outputs, (weights, shifts, biases), activation))
            }
            Layer::Depthwise { channels } => {
                self.reads(layer, channels)?;
                let Some(SiteParams::Depthwise { weights, shifts, biases }) = self.params.next() else {
                    return Err(unlike(layer));
                };
                check_lengths(layer, weights.len(), channels.checked_mul(9), shifts, channels)?;
                if biases.len() != channels {
                    return Err(unlike(layer));
                }
                Step::Depthwise(Depthwise::new(weights, shifts, biases, leaky))
            }
            Layer::LeakyRelu => Step::LeakyRelu,
            Layer::Gate { channels } => Step::Gate { channels, gate: self.gate(channels)? },
            Layer::Unshuffle => {
                self.halvings += 1;
                if let Some(channels) = self.channels {
                    self.writes(channels.saturating_mul(4))?;
                }
                Step::Unshuffle
            }
            Layer::Shuffle => {
                self.halvings -= 1;
                if let Some(channels) = self.channels {
                    if !channels.is_multiple_of(4) {
                        return Err(Error::Model(format!("{channels} channels to shuffle")));
                    }
                    self.writes(channels / 4)?;
                }
                Step::Shuffle
            }
            Layer::Residual(_) => unreachable!("a list of layers of its own"),
        })
    }

    /// A gate's parameters.
    fn gate(&mut self, channels: usize) -> Result<Gate> {
        let layer = Layer::Gate { channels };
        self.reads(&layer, channels.saturating_mul(2))?;
        self.writes(channels)?;
        match self.params.next() {
            Some(&SiteParams::Gate { limit, shift }) if limit >= 0 && (1..=MAX_SHIFT).contains(&shift) => {
                Ok(Gate { limit, shift: u32::from(shift) })
            }
            _ => Err(unlike(&layer)),
        }
    }

    fn reads(&mut self, layer: &Layer, channels: usize) -> Result<()> {
        match self.channels {
            Some(have) if have != channels => Err(Error::Model(format!("{layer:?} behind {have} channels"))),
            _ => self.writes(channels),
        }
    }

    fn writes(&mut self, channels: usize) -> Result<()> {
        // The bound keeps every size computed from a channel count far from
        // overflow.
        if channels == 0 || channels > 1 << 20 {
            return Err(Error::Model(format!("a tensor of {channels} channels")));
        }
        self.channels = Some(channels);
        Ok(())
    }
}

/// The channels a layer must read, where the layer alone says so.
fn fixed_inputs(layer: &Layer) -> Option<usize> {
    match *layer {
        Layer::Pointwise { inputs, .. } => Some(inputs),
        Layer::Depthwise { channels } => Some(channels),
        Layer::Gate { channels } => channels.checked_mul(2),
        Layer::Residual(ref body) => body.first().and_then(fixed_inputs),
        Layer::LeakyRelu | Layer::Unshuffle | Layer::Shuffle => None,
    }
}

fn check_lengths(
    layer: &Layer,
    weights: usize,
    expected: Option<usize>,
    shifts: &[u8],
    outputs: usize,
) -> Result<()> {
    let fits = Some(weights) == expected
        && shifts.len() == outputs
        && shifts.iter().all(|&shift| shift <= MAX_SHIFT);
    fits.then_some(()).ok_or_else(|| unlike(layer))
}

fn unlike(layer: &Layer) -> Error {
    Error::Model(format!("parameters that do not fit {layer:?}"))
}
