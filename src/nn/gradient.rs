//! Gradients through a network, in integers.
//!
//! An encoder that wants to know what a change of a latent does to the picture
//! runs the synthesis transform backwards. The backward pass is made of the same
//! layers as the forward one: a pointwise layer's is the pointwise layer of the
//! transposed weights, a depthwise layer's that of the turned window. So it runs
//! on the same kernels, and what an encoder decides by it is the same on every
//! machine.
//!
//! Gradients are 16-bit integers like activations. Each tensor's have a power of
//! two of their own, chosen such that the transposed rows have a length of about
//! one: values then keep their size on the way. Rounding and saturation make
//! them approximate, which is all that a search needs.

use std::f64::consts::SQRT_2;
use std::sync::Arc;

use super::kernel::{self, GATE_SHIFT, Kernel};
use super::level::Level;
use super::plan::{Step, plan};
use super::requant::Gate;
use super::tensor::{Source, Tensor};
use super::whole::{self, Memory};
use crate::model::layer::output_channels;
use crate::model::quality::ANCHORS;
use crate::model::scale::{power, row_shift};
use crate::model::{IntegerNetwork, Layer, QualityIndex, SiteParams};
use crate::{Error, Result};

/// A network prepared to run forwards and backwards.
#[derive(Debug)]
pub struct Gradient {
    nodes: Vec<Node>,
    exponent: i32,
    kernel: Box<dyn Kernel>,
}

/// A layer and its reverse.
#[derive(Debug)]
enum Node {
    /// Any linear layer: pointwise, depthwise, or a shuffle.
    Linear { forward: Box<Step>, backward: Box<Step> },
    /// A leaky ReLU.
    Leaky,
    /// A product gate and the channels it writes.
    Gate(Gate, usize),
    /// `x + f(x)`.
    Residual(Vec<Node>),
}

/// What the backward pass needs of the forward one: the outputs of leaky ReLUs
/// and the inputs of gates, in order. And memory, which passes over the same tape share.
#[derive(Debug, Default)]
pub struct Tape {
    held: Vec<Arc<Tensor>>,
    memory: Memory,
}

impl Tape {
    /// Takes back a tensor that a pass over this tape has returned.
    pub fn reuse(&mut self, tensor: Tensor) {
        self.memory.give_back(Arc::new(tensor));
    }
}

/// The power of two nearest to a positive number, in octaves: without a
/// logarithm, whose last bit may differ between machines.
fn octave(value: f64) -> i32 {
    let value = value.max(1e-30);
    let floor = ((value.to_bits() >> 52) & 0x7ff) as i32 - 1023;
    if value >= power(floor) * SQRT_2 { floor + 1 } else { floor }
}

impl Gradient {
    /// Prepares a network. Errors are those of [`Network::new`](super::Network::new).
    pub fn new(network: &IntegerNetwork, level: Level) -> Result<Gradient> {
        let mut reverser = Reverser { params: network.params.iter() };
        let last = network.layers.iter().enumerate().rev().find_map(|(at, layer)| match *layer {
            Layer::Pointwise { outputs, .. } => Some((at, outputs)),
            Layer::Depthwise { channels } | Layer::Gate { channels } => Some((at, channels)),
            _ => None,
        });
        let outputs = last.and_then(|(at, channels)| output_channels(&network.layers[at + 1..], channels));
        let outputs = outputs.ok_or_else(|| Error::Model("a network without weights".into()))?;
        let (nodes, exponents) = reverser.list(&network.layers, vec![0; outputs], None)?;
        match reverser.params.next() {
            None => Ok(Gradient { nodes, exponent: exponents[0], kernel: kernel::required(level)? }),
            Some(_) => Err(Error::Model("more parameters than layers".into())),
        }
    }

    /// What the network makes of `input`, equal to [`Network::run`](super::Network::run) in every
    /// bit. The tape then holds what [`Gradient::backward`] needs.
    pub fn forward(&self, input: &Tensor, quality: QualityIndex, tape: &mut Tape) -> Tensor {
        for held in tape.held.drain(..) {
            tape.memory.give_back(held);
        }
        let mut x = tape.memory.tensor(input.size());
        x.data.copy_from_slice(&input.data);
        Arc::unwrap_or_clone(self.forward_through(&self.nodes, Arc::new(x), None, quality, tape))
    }

    /// The gradient with respect to the input, times `2^`[`Gradient::exponent`],
    /// for the gradient with respect to the output.
    pub fn backward(&self, gradient: Tensor, tape: &mut Tape) -> Tensor {
        let Tape { held, memory } = tape;
        let gradient = Arc::new(gradient);
        // Held here, so that the tape's memory does not grow.
        let g = Arc::clone(&gradient);
        Arc::unwrap_or_clone(self.backward_through(&self.nodes, g, None, &mut held.iter().rev(), memory))
    }

    /// See [`Gradient::backward`].
    pub fn exponent(&self) -> i32 {
        self.exponent
    }

    /// What nodes make of `x`, plus `add`.
    fn forward_through(
        &self,
        nodes: &[Node],
        mut x: Arc<Tensor>,
        add: Option<&Tensor>,
        quality: QualityIndex,
        tape: &mut Tape,
    ) -> Arc<Tensor> {
        for (index, node) in nodes.iter().enumerate() {
            let add = add.filter(|_| index + 1 == nodes.len());
            x = match node {
                Node::Linear { forward, .. } => {
                    let y = whole::run(&*self.kernel, forward, quality, &x, add, &mut tape.memory);
                    tape.memory.give_back(x);
                    Arc::new(y)
                }
                Node::Leaky => {
                    whole::leaky(Arc::make_mut(&mut x));
                    tape.held.push(Arc::clone(&x));
                    added(x, add)
                }
                Node::Gate(gate, channels) => {
                    let mut y = tape.memory.tensor([x.height, x.width, *channels]);
                    let rows = x.data.chunks_exact(2 * channels);
                    for (y, x) in y.data.chunks_exact_mut(*channels).zip(rows) {
                        let (a, b) = x.split_at(*channels);
                        y.iter_mut().zip(a.iter().zip(b)).for_each(|(y, (a, b))| *y = gate.apply(*a, *b));
                    }
                    tape.held.push(x);
                    added(Arc::new(y), add)
                }
                Node::Residual(body) => {
                    let y = self.forward_through(body, Arc::clone(&x), Some(&x), quality, tape);
                    tape.memory.give_back(x);
                    added(y, add)
                }
            };
        }
        x
    }

    /// What nodes make of the gradient of their output, plus `add`.
    fn backward_through<'t>(
        &self,
        nodes: &[Node],
        mut g: Arc<Tensor>,
        add: Option<&Tensor>,
        held: &mut impl Iterator<Item = &'t Arc<Tensor>>,
        memory: &mut Memory,
    ) -> Arc<Tensor> {
        for (index, node) in nodes.iter().enumerate().rev() {
            let add = add.filter(|_| index == 0);
            g = match node {
                Node::Linear { backward, .. } => {
                    // Biases of zero: the quality makes no difference.
                    let y = whole::run(&*self.kernel, backward, QualityIndex(0), &g, add, memory);
                    memory.give_back(g);
                    Arc::new(y)
                }
                Node::Leaky => {
                    let y = held.next().expect("one entry for each leaky ReLU");
                    self.kernel.leaky_backward(&mut Arc::make_mut(&mut g).data, &y.data);
                    added(g, add)
                }
                Node::Gate(gate, channels) => {
                    let x = held.next().expect("one entry for each gate");
                    let mut dx = memory.tensor([g.height, g.width, 2 * channels]);
                    self.kernel.gate_backward(*gate, *channels, &x.data, &g.data, &mut dx.data);
                    memory.give_back(g);
                    added(Arc::new(dx), add)
                }
                Node::Residual(body) => {
                    let inner = self.backward_through(body, Arc::clone(&g), Some(&g), held, memory);
                    memory.give_back(g);
                    added(inner, add)
                }
            };
        }
        g
    }
}

/// `y`, plus `add` where there is something to add.
fn added(mut y: Arc<Tensor>, add: Option<&Tensor>) -> Arc<Tensor> {
    if let Some(add) = add {
        whole::sum(&mut Arc::make_mut(&mut y).data, &add.data);
    }
    y
}

/// Builds the nodes of a list of layers, from the last one to the first.
struct Reverser<'a> {
    params: std::slice::Iter<'a, SiteParams>,
}

impl Reverser<'_> {
    /// The nodes of `layers`, and the exponents of the gradient of their input.
    /// `exponents` are those of the output's channels, `input`, where given,
    /// those that the input's must have.
    fn list(
        &mut self,
        layers: &[Layer],
        mut exponents: Vec<i32>,
        input: Option<&[i32]>,
    ) -> Result<(Vec<Node>, Vec<i32>)> {
        let mut nodes = Vec::new();
        for (index, layer) in layers.iter().enumerate().rev() {
            let node = match layer {
                Layer::Residual(body) => {
                    let (body, _) = self.list(body, exponents.clone(), Some(&exponents))?;
                    Node::Residual(body)
                }
                Layer::LeakyRelu => Node::Leaky,
                Layer::Unshuffle | Layer::Shuffle => {
                    let unshuffle = *layer == Layer::Unshuffle;
                    let opposite = if unshuffle { Layer::Shuffle } else { Layer::Unshuffle };
                    if unshuffle {
                        exponents.truncate(exponents.len() / 4);
                    } else {
                        exponents = exponents.repeat(4);
                    }
                    linear(layer.clone(), None, opposite, None)?
                }
                Layer::Gate { channels } => {
                    let Some(&SiteParams::Gate { limit, shift }) = self.params.next_back() else {
                        return Err(Error::Model("a gate without parameters".into()));
                    };
                    let gate = Gate { limit, shift: u32::from(shift) };
                    let to = exponents[0] + i32::from(shift) - GATE_SHIFT as i32;
                    exponents = vec![to; 2 * channels];
                    Node::Gate(gate, *channels)
                }
                Layer::Pointwise { .. } | Layer::Depthwise { .. } => {
                    let Some(params) = self.params.next_back() else {
                        return Err(Error::Model("a layer without parameters".into()));
                    };
                    let given = input.filter(|_| index == 0);
                    let (opposite, reversed, to) = reverse(layer, params, &exponents, given)?;
                    exponents = to;
                    linear(layer.clone(), Some(params.clone()), opposite, Some(reversed))?
                }
            };
            nodes.push(node);
        }
        nodes.reverse();
        Ok((nodes, exponents))
    }
}

/// The node of a layer and what goes the other way.
fn linear(
    layer: Layer,
    params: Option<SiteParams>,
    opposite: Layer,
    reversed: Option<SiteParams>,
) -> Result<Node> {
    let step = |layer: Layer, params: Option<SiteParams>| -> Result<Box<Step>> {
        let params = params.into_iter().collect();
        let mut ops = plan(&IntegerNetwork { layers: vec![layer], params })?;
        Ok(Box::new(ops.remove(0).step))
    };
    Ok(Node::Linear { forward: step(layer, params)?, backward: step(opposite, reversed)? })
}

/// The layer that takes gradients of a layer's output to gradients of its input,
/// its parameters, and the exponents of what it writes.
fn reverse(
    layer: &Layer,
    params: &SiteParams,
    from: &[i32],
    given: Option<&[i32]>,
) -> Result<(Layer, SiteParams, Vec<i32>)> {
    // Rows of the reverse in real numbers: what an output is of each input.
    let rows: Vec<Vec<f64>> = match (layer, params) {
        (&Layer::Pointwise { inputs, outputs }, SiteParams::Pointwise { weights, shifts, .. })
            if weights.len() == inputs * outputs && shifts.len() == outputs && from.len() == outputs =>
        {
            let scales: Vec<f64> = (0..outputs).map(|o| power(-i32::from(shifts[o]) - from[o])).collect();
            let weight = |i: usize, o: usize| f64::from(weights[o * inputs + i]) * scales[o];
            (0..inputs).map(|i| (0..outputs).map(|o| weight(i, o)).collect()).collect()
        }
        (&Layer::Depthwise { channels }, SiteParams::Depthwise { weights, shifts, .. })
            if weights.len() == 9 * channels && shifts.len() == channels && from.len() == channels =>
        {
            let weight = |c: usize, k: usize| {
                f64::from(weights[(8 - k) * channels + c]) * power(-i32::from(shifts[c]) - from[c])
            };
            (0..channels).map(|c| (0..9).map(|k| weight(c, k)).collect()).collect()
        }
        _ => return Err(Error::Model(format!("parameters that do not fit {layer:?}"))),
    };
    let square: f64 = rows.iter().flatten().map(|w| w * w).sum();
    let to = match given {
        Some(exponents) => exponents.to_vec(),
        None => vec![-octave((square / rows.len() as f64).sqrt()); rows.len()],
    };
    let mut shifts = Vec::with_capacity(rows.len());
    let mut quantised = Vec::with_capacity(rows.len());
    for (row, &to) in rows.iter().zip(&to) {
        let row: Vec<f64> = row.iter().map(|w| w * power(to)).collect();
        let shift = row_shift(&row, &[]).unwrap_or(0);
        let scale = power(i32::from(shift));
        quantised.push(
            row.iter()
                .map(|w| (w * scale).clamp(-32767.0, 32767.0).round_ties_even() as i16)
                .collect::<Vec<_>>(),
        );
        shifts.push(shift);
    }
    let count = rows.len();
    Ok(match *layer {
        Layer::Pointwise { inputs, outputs } => (
            Layer::Pointwise { inputs: outputs, outputs: inputs },
            SiteParams::Pointwise { weights: quantised.concat(), shifts, biases: vec![0; ANCHORS * count] },
            to,
        ),
        _ => {
            let weights = (0..9 * count).map(|i| quantised[i % count][i / count]).collect();
            (layer.clone(), SiteParams::Depthwise { weights, shifts, biases: vec![0; count] }, to)
        }
    })
}
