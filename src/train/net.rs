//! Runs a network's layer list in floats as one candle op, forward and
//! backward.
//!
//! All parameters of a network are one flat variable, laid out by [`Layout`].
//! The op keeps what its backward pass needs in a tape, so candle's graph holds
//! one node per network instead of one per layer and no copies in between.

use std::sync::{Arc, Mutex};

use candle_core::{CpuStorage, CustomOp2, Layout as TensorLayout, Result, Shape, Tensor, bail};

use super::buffer::Buffer;
use super::kernels::{self, Geometry, Matrix, Precision};
use crate::model::layer::{Layer, sites};
use crate::model::quality::ANCHORS;

/// Where the parameters of one site lie in the flat variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// The site's path within the network, as in `1.0`.
    pub path: String,
    /// First weight. Pointwise: `inputs x outputs`; depthwise: `9 x channels`.
    pub weight: usize,
    /// Rows and columns of the weight.
    pub shape: (usize, usize),
    /// First bias. Pointwise: `ANCHORS x outputs`; depthwise: `channels`.
    pub bias: usize,
    /// Rows of the bias.
    pub bias_rows: usize,
}

impl Slot {
    /// The weight's numbers.
    pub fn weights<'a>(&self, params: &'a [f32]) -> &'a [f32] {
        &params[self.weight..][..self.shape.0 * self.shape.1]
    }

    /// The bias' numbers.
    pub fn biases<'a>(&self, params: &'a [f32]) -> &'a [f32] {
        &params[self.bias..][..self.bias_rows * self.shape.1]
    }
}

/// The slots of a network, in execution order, and their total size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// One per pointwise or depthwise layer.
    pub slots: Vec<Slot>,
    /// Floats in the flat variable.
    pub len: usize,
}

impl Layout {
    /// Lays out the parameters of `layers`.
    pub fn new(layers: &[Layer]) -> Layout {
        let mut len = 0;
        let mut take = |n| {
            len += n;
            len - n
        };
        let slots = sites(layers)
            .into_iter()
            .filter_map(|site| {
                let (shape, bias_rows) = match *site.layer {
                    Layer::Pointwise { inputs, outputs } => ((inputs, outputs), ANCHORS),
                    Layer::Depthwise { channels } => ((9, channels), 1),
                    _ => return None,
                };
                let weight = take(shape.0 * shape.1);
                let bias = take(bias_rows * shape.1);
                Some(Slot { path: site.path, weight, shape, bias, bias_rows })
            })
            .collect();
        Layout { slots, len }
    }
}

/// Where a crop lies between two quality anchors: the lower one, and how far on
/// to the next in 0..1.
pub type Anchored = (usize, f32);

/// Interpolates between two of `ANCHORS` rows of `width` numbers.
pub fn lerp_rows(rows: &[f32], width: usize, (anchor, f): Anchored) -> Vec<f32> {
    let next = (anchor + 1).min(ANCHORS - 1);
    let (a, b) = (&rows[anchor * width..][..width], &rows[next * width..][..width]);
    a.iter().zip(b).map(|(a, b)| a * (1.0 - f) + b * f).collect()
}

/// Adds `sums * (1 - f)` and `sums * f` to the two rows a crop lies between.
pub fn lerp_rows_backward(rows: &mut [f32], sums: &[f32], (anchor, f): Anchored) {
    let width = sums.len();
    let next = (anchor + 1).min(ANCHORS - 1);
    for (c, s) in sums.iter().enumerate() {
        rows[anchor * width + c] += s * (1.0 - f);
        rows[next * width + c] += s * f;
    }
}

/// What a layer's backward pass needs.
enum Saved {
    Pointwise { input: Arc<Buffer> },
    Depthwise { input: Arc<Buffer>, geometry: Geometry },
    Leaky { output: Arc<Buffer> },
    Gate { input: Arc<Buffer> },
    Shuffled { larger: Geometry, channels: usize, unshuffle: bool },
}

/// One network applied to `(rows, channels)` activations.
pub struct Network {
    /// The layers to run.
    pub layers: Arc<Vec<Layer>>,
    /// Batch, height and width of the input's rows.
    pub geometry: Geometry,
    /// One entry per picture of the batch.
    pub qualities: Arc<Vec<Anchored>>,
    /// How its products are computed.
    pub precision: Precision,
}

impl Network {
    /// Runs the network; `params` is the flat variable of [`Layout`].
    pub fn apply(self, input: &Tensor, params: &Tensor) -> Result<Tensor> {
        let op = NetworkOp { network: self, tape: Mutex::new(Vec::new()) };
        input.contiguous()?.apply_op2(params, op)
    }
}

struct NetworkOp {
    network: Network,
    tape: Mutex<Vec<Saved>>,
}

/// Is shown a tensor's rows and its channels.
pub type Probe<'a> = &'a mut dyn FnMut(&[f32], usize);

/// A layer list being run over one tensor.
struct Forward<'a> {
    params: &'a [f32],
    slots: std::slice::Iter<'a, Slot>,
    qualities: &'a [Anchored],
    geometry: Geometry,
    precision: Precision,
    tape: Vec<Saved>,
    /// Sees every layer's output, when calibrating.
    probe: Option<Probe<'a>>,
}

impl Forward<'_> {
    fn run(&mut self, layers: &[Layer], mut x: Arc<Buffer>, mut channels: usize) -> (Arc<Buffer>, usize) {
        let mut index = 0;
        while index < layers.len() {
            let layer = &layers[index];
            index += 1;
            x = match layer {
                Layer::Pointwise { inputs, outputs } => {
                    let leaky = layers.get(index) == Some(&Layer::LeakyRelu);
                    let out = Arc::new(self.pointwise(&x, *inputs, *outputs, leaky));
                    self.tape.push(Saved::Pointwise { input: x });
                    if leaky {
                        index += 1;
                        self.tape.push(Saved::Leaky { output: out.clone() });
                    }
                    channels = *outputs;
                    out
                }
                Layer::Depthwise { channels } => {
                    let slot = self.slots.next().expect("a slot per site");
                    let mut out = Buffer::of_any(x.len());
                    kernels::depthwise(&x, slot.weights(self.params), &mut out, self.geometry, false);
                    kernels::bias_leaky(&mut out, slot.biases(self.params), false);
                    debug_assert_eq!(x.len(), self.geometry.rows() * channels);
                    self.tape.push(Saved::Depthwise { input: x, geometry: self.geometry });
                    Arc::new(out)
                }
                Layer::LeakyRelu => {
                    let mut out = Buffer::of_any(x.len());
                    for (out, v) in out.iter_mut().zip(x.iter()) {
                        *out = v.max(v * kernels::LEAKY_SLOPE);
                    }
                    let out = Arc::new(out);
                    self.tape.push(Saved::Leaky { output: out.clone() });
                    out
                }
                Layer::Gate { channels: half } => {
                    let mut out = Buffer::of_any(x.len() / 2);
                    kernels::gate(&x, &mut out, *half);
                    self.tape.push(Saved::Gate { input: x });
                    channels = *half;
                    Arc::new(out)
                }
                Layer::Unshuffle | Layer::Shuffle => {
                    let unshuffle = *layer == Layer::Unshuffle;
                    let mut out = Buffer::of_any(x.len());
                    let g = &mut self.geometry;
                    let larger = if unshuffle {
                        let larger = *g;
                        (g.height, g.width) = (g.height / 2, g.width / 2);
                        larger
                    } else {
                        (g.height, g.width) = (g.height * 2, g.width * 2);
                        channels /= 4;
                        *g
                    };
                    kernels::unshuffle(&x, &mut out, larger, channels, !unshuffle);
                    self.tape.push(Saved::Shuffled { larger, channels, unshuffle });
                    if unshuffle {
                        channels *= 4;
                    }
                    Arc::new(out)
                }
                Layer::Residual(body) => {
                    let (mut out, _) = self.run(body, x.clone(), channels);
                    let sum: &mut Buffer = Arc::make_mut(&mut out);
                    kernels::add(sum, &x);
                    out
                }
            };
            if let Some(probe) = &mut self.probe {
                probe(&x, channels);
            }
        }
        (x, channels)
    }

    fn pointwise(&mut self, x: &[f32], inputs: usize, outputs: usize, leaky: bool) -> Buffer {
        let slot = self.slots.next().expect("a slot per site");
        let weights = Matrix::new(slot.weights(self.params), inputs, outputs);
        let positions = self.geometry.positions();
        let biases: Vec<Vec<f32>> = self
            .qualities
            .iter()
            .map(|quality| lerp_rows(slot.biases(self.params), outputs, *quality))
            .collect();
        let mut out = Buffer::of_any(self.geometry.rows() * outputs);
        let x = Matrix::new(x, self.geometry.rows(), inputs);
        self.precision.matmul(&mut out, x, weights, |first, band| {
            for (index, row) in band.chunks_exact_mut(outputs).enumerate() {
                kernels::bias_leaky(row, &biases[(first + index) / positions], leaky);
            }
        });
        out
    }
}

/// A layer list being walked backwards.
struct Backward<'a> {
    params: &'a [f32],
    dparams: Vec<f32>,
    slots: std::iter::Rev<std::slice::Iter<'a, Slot>>,
    qualities: &'a [Anchored],
    precision: Precision,
    tape: Vec<Saved>,
    /// Whether the gradient of the network's own input is wanted.
    input_grad: bool,
}

impl Backward<'_> {
    fn run(&mut self, layers: &[Layer], mut grad: Buffer) -> Buffer {
        for layer in layers.iter().rev() {
            if let Layer::Residual(body) = layer {
                let inner = self.run(body, grad.clone());
                kernels::add(&mut grad, &inner);
                continue;
            }
            let saved = self.tape.pop().expect("a saved entry per layer");
            let last = self.tape.is_empty();
            match (layer, saved) {
                (Layer::Pointwise { inputs, outputs }, Saved::Pointwise { input }) => {
                    grad = self.pointwise(&input, grad, *inputs, *outputs, last);
                }
                (Layer::Depthwise { channels }, Saved::Depthwise { input, geometry }) => {
                    let slot = self.slots.next().expect("a slot per site");
                    let size = slot.shape.0 * slot.shape.1;
                    kernels::depthwise_weight_grad(
                        &input,
                        &grad,
                        &mut self.dparams[slot.weight..][..size],
                        geometry,
                    );
                    kernels::add_column_sums(&grad, &mut self.dparams[slot.bias..][..*channels]);
                    let mut dx = Buffer::of_any(grad.len());
                    kernels::depthwise(&grad, slot.weights(self.params), &mut dx, geometry, true);
                    grad = dx;
                }
                (Layer::LeakyRelu, Saved::Leaky { output }) => kernels::leaky_backward(&mut grad, &output),
                (Layer::Gate { channels }, Saved::Gate { input }) => {
                    let mut dx = Buffer::of_any(input.len());
                    kernels::gate_backward(&input, &grad, &mut dx, *channels);
                    grad = dx;
                }
                (Layer::Unshuffle | Layer::Shuffle, Saved::Shuffled { larger, channels, unshuffle }) => {
                    let mut dx = Buffer::of_any(grad.len());
                    kernels::unshuffle(&grad, &mut dx, larger, channels, unshuffle);
                    grad = dx;
                }
                _ => unreachable!("the tape follows the layers"),
            }
        }
        grad
    }

    fn pointwise(
        &mut self,
        input: &[f32],
        grad: Buffer,
        inputs: usize,
        outputs: usize,
        last: bool,
    ) -> Buffer {
        let slot = self.slots.next().expect("a slot per site");
        let rows = grad.len() / outputs;
        let dw = &mut self.dparams[slot.weight..][..inputs * outputs];
        let input = Matrix::new(input, rows, inputs);
        self.precision.matmul(dw, input.t(), Matrix::new(&grad, rows, outputs), |_, _| ());
        let per_picture = grad.len() / self.qualities.len();
        for (grad, quality) in grad.chunks_exact(per_picture).zip(self.qualities) {
            let mut sums = vec![0.0; outputs];
            kernels::add_column_sums(grad, &mut sums);
            lerp_rows_backward(&mut self.dparams[slot.bias..][..slot.bias_rows * outputs], &sums, *quality);
        }
        if last && !self.input_grad {
            return Buffer::of_any(0);
        }
        let mut dx = Buffer::of_any(rows * inputs);
        let weights = Matrix::new(slot.weights(self.params), inputs, outputs);
        self.precision.matmul(&mut dx, Matrix::new(&grad, rows, outputs), weights.t(), |_, _| ());
        dx
    }
}

/// The contiguous floats of a storage.
pub fn floats<'a>(storage: &'a CpuStorage, layout: &TensorLayout) -> Result<&'a [f32]> {
    let CpuStorage::F32(data) = storage else { bail!("expected f32") };
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&data[start..end]),
        None => bail!("expected contiguous rows"),
    }
}

/// Calls `f` with the floats of a contiguous CPU tensor.
pub fn with_floats<T>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> Result<T>) -> Result<T> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        candle_core::Storage::Cpu(cpu) => f(floats(cpu, layout)?),
        _ => bail!("expected a tensor in main memory"),
    }
}

/// Runs `layers` without keeping a tape, showing every layer's output rows and
/// their channels to `probe`: what calibration looks at.
pub fn run_probed(
    layers: &[Layer],
    geometry: Geometry,
    qualities: &[Anchored],
    params: &[f32],
    input: Vec<f32>,
    probe: Probe,
) -> Vec<f32> {
    let layout = Layout::new(layers);
    let channels = input.len() / geometry.rows();
    let mut pass = Forward {
        params,
        slots: layout.slots.iter(),
        qualities,
        geometry,
        precision: Precision::Full,
        tape: Vec::new(),
        probe: Some(probe),
    };
    let (out, _) = pass.run(layers, Arc::new(Buffer::copy_of(&input)), channels);
    drop(pass);
    Arc::try_unwrap(out).map_or_else(|out| out.to_vec(), Buffer::into_vec)
}

impl CustomOp2 for NetworkOp {
    fn name(&self) -> &'static str {
        "network"
    }

    fn cpu_fwd(
        &self,
        input: &CpuStorage,
        input_layout: &TensorLayout,
        params: &CpuStorage,
        params_layout: &TensorLayout,
    ) -> Result<(CpuStorage, Shape)> {
        let net = &self.network;
        let layout = Layout::new(&net.layers);
        let input = floats(input, input_layout)?;
        let rows = net.geometry.rows();
        let channels = input.len() / rows;
        let mut pass = Forward {
            params: floats(params, params_layout)?,
            slots: layout.slots.iter(),
            qualities: &net.qualities,
            geometry: net.geometry,
            precision: net.precision,
            tape: Vec::new(),
            probe: None,
        };
        let (out, channels) = pass.run(&net.layers, Arc::new(Buffer::copy_of(input)), channels);
        let out_rows = pass.geometry.rows();
        *self.tape.lock().expect("no thread panicked") = pass.tape;
        let out = Arc::try_unwrap(out).map_or_else(|out| out.to_vec(), Buffer::into_vec);
        Ok((CpuStorage::F32(out), (out_rows, channels).into()))
    }

    fn bwd(
        &self,
        input: &Tensor,
        params: &Tensor,
        _output: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let net = &self.network;
        let layout = Layout::new(&net.layers);
        let input_grad = input.track_op();
        let tape = std::mem::take(&mut *self.tape.lock().expect("no thread panicked"));
        let grad = grad.contiguous()?;
        let (dx, dparams) = with_floats(params, |params| {
            with_floats(&grad, |grad| {
                let mut pass = Backward {
                    params,
                    dparams: vec![0.0; layout.len],
                    slots: layout.slots.iter().rev(),
                    qualities: &net.qualities,
                    precision: net.precision,
                    tape,
                    input_grad,
                };
                let dx = pass.run(&net.layers, Buffer::copy_of(grad)).into_vec();
                Ok((dx, pass.dparams))
            })
        })?;
        let dx = if input_grad { Some(Tensor::from_vec(dx, input.shape(), input.device())?) } else { None };
        Ok((dx, Some(Tensor::from_vec(dparams, layout.len, params.device())?)))
    }
}
