//! The closed set of layers every network is made of.
//!
//! A network is data: a list of [`Layer`]s. The trainer (`train`, floats), the
//! exporter and the integer engine (`nn`) are three readers of the same list;
//! the multiply count, the halo and the weight names come from it too.
//!
//! Tensors are channels-last (`height x width x channels`).

/// Negative inputs of [`Layer::LeakyRelu`] are divided by `2^LEAKY_SHIFT`.
pub const LEAKY_SHIFT: u32 = 3;

/// The second half of a [`Layer::Gate`] is clamped to `[-GATE_LIMIT, GATE_LIMIT]`
/// before it multiplies the first, which bounds how far a gate can grow its input.
pub const GATE_LIMIT: i32 = 4;

/// One step of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layer {
    /// A 1x1 convolution, `y = W x + b(q)`. The bias depends on the picture's
    /// quality: it is interpolated linearly between trained anchors, which is
    /// how one set of weights serves every rate.
    Pointwise {
        /// Channels read.
        inputs: usize,
        /// Channels written.
        outputs: usize,
    },
    /// A 3x3 depthwise convolution with a bias, zero padding, stride 1.
    Depthwise {
        /// Channels read and written.
        channels: usize,
    },
    /// `max(x, x / 2^LEAKY_SHIFT)`.
    LeakyRelu,
    /// Halves the channels: `x[c] * clamp(x[c + channels], -GATE_LIMIT, GATE_LIMIT)`.
    Gate {
        /// Channels written; twice as many are read.
        channels: usize,
    },
    /// 2x2 space to depth; the new channel is `(dy * 2 + dx) * C + c`.
    Unshuffle,
    /// 2x2 depth to space, the inverse of [`Layer::Unshuffle`].
    Shuffle,
    /// `x + f(x)`, where `f` is the list and keeps the shape.
    Residual(Vec<Layer>),
}

/// A layer that owns parameters, met while walking a network in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site<'a> {
    /// The layer itself; never a [`Layer::Residual`].
    pub layer: &'a Layer,
    /// Where it stands, as in `1.0`: the first layer of the residual that is
    /// the network's second layer.
    pub path: String,
}

/// All layers with parameters (pointwise, depthwise and gates, whose integer
/// form has a shift and a limit), in execution order.
pub fn sites(layers: &[Layer]) -> Vec<Site<'_>> {
    fn walk<'a>(layers: &'a [Layer], prefix: &str, out: &mut Vec<Site<'a>>) {
        for (index, layer) in layers.iter().enumerate() {
            let path = format!("{prefix}{index}");
            match layer {
                Layer::Residual(body) => walk(body, &format!("{path}."), out),
                Layer::Pointwise { .. } | Layer::Depthwise { .. } | Layer::Gate { .. } => {
                    out.push(Site { layer, path });
                }
                Layer::LeakyRelu | Layer::Unshuffle | Layer::Shuffle => {}
            }
        }
    }
    let mut out = Vec::new();
    walk(layers, "", &mut out);
    out
}

/// Multiply-accumulates per input position of the network, times 4^levels where
/// shuffles change the resolution: the exact count for one position at the
/// input's resolution.
pub fn macs_per_input_position(layers: &[Layer]) -> f64 {
    fn walk(layers: &[Layer], density: &mut f64) -> f64 {
        let mut total = 0.0;
        for layer in layers {
            total += match layer {
                Layer::Pointwise { inputs, outputs } => *density * (inputs * outputs) as f64,
                Layer::Depthwise { channels } => *density * (9 * channels) as f64,
                Layer::Gate { .. } | Layer::LeakyRelu => 0.0,
                Layer::Unshuffle => {
                    *density /= 4.0;
                    0.0
                }
                Layer::Shuffle => {
                    *density *= 4.0;
                    0.0
                }
                Layer::Residual(body) => walk(body, density),
            };
        }
        total
    }
    walk(layers, &mut 1.0)
}

/// The channels a network writes when it reads `inputs`, or `None` where the
/// list does not fit together.
pub fn output_channels(layers: &[Layer], inputs: usize) -> Option<usize> {
    let mut c = inputs;
    for layer in layers {
        c = match layer {
            Layer::Pointwise { inputs, outputs } => (c == *inputs).then_some(*outputs)?,
            Layer::Depthwise { channels } => (c == *channels).then_some(c)?,
            Layer::LeakyRelu => c,
            Layer::Gate { channels } => (c == 2 * channels).then_some(*channels)?,
            Layer::Unshuffle => 4 * c,
            Layer::Shuffle => c.is_multiple_of(4).then_some(c / 4)?,
            Layer::Residual(body) => (output_channels(body, c)? == c).then_some(c)?,
        };
    }
    Some(c)
}
