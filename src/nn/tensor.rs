//! The one container of activations.

/// A `height x width x channels` block of activations, row-major and
/// channels-last, without padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// Rows.
    pub height: usize,
    /// Positions in a row.
    pub width: usize,
    /// Values at a position.
    pub channels: usize,
    /// `height * width * channels` values.
    pub data: Vec<i16>,
}

impl Tensor {
    /// A tensor of zeros.
    pub fn new(height: usize, width: usize, channels: usize) -> Tensor {
        Tensor { height, width, channels, data: vec![0; height * width * channels] }
    }

    /// The channels at row `y`, column `x`.
    pub fn at(&self, y: usize, x: usize) -> &[i16] {
        assert!(x < self.width, "column {x} of {}", self.width);
        &self.data[(y * self.width + x) * self.channels..][..self.channels]
    }

    /// Positions, over all rows.
    pub(super) fn positions(&self) -> usize {
        self.height * self.width
    }
}

/// Buffers that a finished step left behind, for the next one to write into:
/// a network allocates about three tensors however deep it is.
#[derive(Default)]
pub(super) struct Pool(Vec<Vec<i16>>);

impl Pool {
    /// A tensor with unspecified contents.
    pub fn take(&mut self, height: usize, width: usize, channels: usize) -> Tensor {
        let mut data = self.0.pop().unwrap_or_default();
        data.resize(height * width * channels, 0);
        Tensor { height, width, channels, data }
    }

    /// Gives a tensor's memory back.
    pub fn give(&mut self, tensor: Tensor) {
        self.0.push(tensor.data);
    }
}
