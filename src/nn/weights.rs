//! Parameters in the order in which the kernels read them.

use super::requant::{Gate, rounding};
use crate::model::QualityIndex;
use crate::model::quality::ANCHORS;

/// Outputs that a kernel computes at once: two AVX-512 registers of i32.
pub const LANES: usize = 32;

/// The weights of [`LANES`] outputs for two consecutive inputs, next to each
/// other as the multiply-add instructions want them. One cache line is half of it.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub struct WeightPair(pub [[i16; 2]; LANES]);

/// One value for each lane, aligned for whole registers.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub struct Lanes<T>(pub [T; LANES]);

/// What happens to a pointwise layer's outputs before they are stored.
#[derive(Debug, Clone, Copy)]
pub enum Activation {
    /// Nothing.
    None,
    /// [`super::requant::leaky_relu`].
    LeakyRelu,
    /// The second half of a block's lanes gates the first.
    Gate(Gate),
}

/// A pointwise layer, packed as `[output / LANES][input / 2][LANES][2]` with
/// zeros where outputs or inputs run out.
#[derive(Debug)]
pub struct Pointwise {
    /// Channels read.
    pub inputs: usize,
    /// Channels stored: half of the layer's outputs where a gate follows.
    pub outputs: usize,
    /// What follows the layer.
    pub activation: Activation,
    weights: Vec<WeightPair>,
    shifts: Vec<Lanes<u32>>,
    /// `ANCHORS` rows of one bias per layer output.
    biases: Vec<i32>,
}

impl Pointwise {
    /// Packs `outputs x inputs` weights. Before a gate, a block holds 16 values
    /// and then their 16 gates, so that one register tile has both.
    pub fn new(
        inputs: usize,
        layer_outputs: usize,
        (weights, shifts, biases): (&[i16], &[u8], &[i32]),
        activation: Activation,
    ) -> Pointwise {
        let outputs = match activation {
            Activation::Gate(_) => layer_outputs / 2,
            Activation::None | Activation::LeakyRelu => layer_outputs,
        };
        let mut packed = Pointwise {
            inputs,
            outputs,
            activation,
            weights: Vec::with_capacity(layer_outputs.next_multiple_of(LANES) * inputs.div_ceil(2) / LANES),
            shifts: Vec::new(),
            biases: biases.to_vec(),
        };
        for block in 0..packed.blocks() {
            let rows: [_; LANES] = std::array::from_fn(|lane| packed.layer_output(block, lane));
            packed.shifts.push(Lanes(rows.map(|row| row.map_or(0, |o| u32::from(shifts[o])))));
            let start = packed.weights.len();
            packed.weights.resize(start + inputs.div_ceil(2), WeightPair([[0; 2]; LANES]));
            for (lane, row) in rows.into_iter().enumerate() {
                let Some(o) = row else { continue };
                let (pairs, last) = weights[o * inputs..][..inputs].as_chunks::<2>();
                let block = packed.weights[start..].iter_mut();
                block.zip(pairs).for_each(|(packed, &pair)| packed.0[lane] = pair);
                if let Some(&last) = last.first() {
                    packed.weights[start + inputs / 2].0[lane][0] = last;
                }
            }
        }
        packed
    }

    /// The layer of some of this one's outputs, zero where there is to be none.
    /// Panics before a gate.
    pub fn select(&self, outputs: &[Option<usize>]) -> Pointwise {
        assert!(!matches!(self.activation, Activation::Gate(_)), "half of a gate's factors");
        let pairs = self.inputs.div_ceil(2);
        let width = self.biases.len() / ANCHORS;
        let biases = |anchor: usize| {
            outputs.iter().map(move |output| output.map_or(0, |o| self.biases[anchor * width + o]))
        };
        let blocks = outputs.len().div_ceil(LANES);
        let mut selected = Pointwise {
            inputs: self.inputs,
            outputs: outputs.len(),
            activation: self.activation,
            weights: vec![WeightPair([[0; 2]; LANES]); blocks * pairs],
            shifts: vec![Lanes([0; LANES]); blocks],
            biases: (0..ANCHORS).flat_map(biases).collect(),
        };
        for (to, from) in outputs.iter().enumerate() {
            let Some(from) = from else { continue };
            let (to_block, to_lane) = (to / LANES, to % LANES);
            let (from_block, from_lane) = (from / LANES, from % LANES);
            selected.shifts[to_block].0[to_lane] = self.shifts[from_block].0[from_lane];
            let packed = &mut selected.weights[to_block * pairs..][..pairs];
            for (to, from) in packed.iter_mut().zip(self.weights(from_block)) {
                to.0[to_lane] = from.0[from_lane];
            }
        }
        selected
    }

    /// Stored channels per block.
    pub fn block_width(&self) -> usize {
        match self.activation {
            Activation::Gate(_) => LANES / 2,
            Activation::None | Activation::LeakyRelu => LANES,
        }
    }

    /// Blocks of [`LANES`] lanes.
    pub fn blocks(&self) -> usize {
        self.outputs.div_ceil(self.block_width())
    }

    /// The weights of a block, one entry for two inputs.
    pub fn weights(&self, block: usize) -> &[WeightPair] {
        let pairs = self.inputs.div_ceil(2);
        &self.weights[block * pairs..][..pairs]
    }

    /// The right shifts of a block.
    pub fn shifts(&self, block: usize) -> &Lanes<u32> {
        &self.shifts[block]
    }

    /// Each block's biases at a quality, with the rounding term added.
    pub fn offsets(&self, quality: QualityIndex) -> Vec<Lanes<i32>> {
        let width = self.biases.len() / ANCHORS;
        let biases = quality.lerp(&self.biases, width);
        (0..self.blocks())
            .map(|block| {
                Lanes(std::array::from_fn(|lane| {
                    self.layer_output(block, lane)
                        .map_or(0, |o| biases[o].wrapping_add(rounding(self.shifts[block].0[lane] as u8)))
                }))
            })
            .collect()
    }

    /// The layer's output that a lane computes, `None` in the padding.
    fn layer_output(&self, block: usize, lane: usize) -> Option<usize> {
        let width = self.block_width();
        let channel = block * width + lane % width;
        (channel < self.outputs).then_some(channel + lane / width * self.outputs)
    }
}

/// A depthwise 3x3 layer.
#[derive(Debug)]
pub struct Depthwise {
    /// Channels read and written.
    pub channels: usize,
    /// `9 x channels`, taps row by row.
    pub weights: Vec<i16>,
    /// Right shift per channel.
    pub shifts: Vec<u32>,
    /// Bias plus rounding term per channel.
    pub offsets: Vec<i32>,
    /// Whether a leaky ReLU follows.
    pub leaky: bool,
}

impl Depthwise {
    /// Prepares `9 x channels` weights.
    pub fn new(weights: &[i16], shifts: &[u8], biases: &[i32], leaky: bool) -> Depthwise {
        Depthwise {
            channels: shifts.len(),
            weights: weights.to_vec(),
            shifts: shifts.iter().map(|&shift| u32::from(shift)).collect(),
            offsets: biases
                .iter()
                .zip(shifts)
                .map(|(&bias, &shift)| bias.wrapping_add(rounding(shift)))
                .collect(),
            leaky,
        }
    }
}
