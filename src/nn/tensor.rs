//! Blocks of activations, and where a network reads its input from.

use std::ops::Range;

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

    /// The channels of some columns of row `y`.
    pub fn row(&self, y: usize, columns: Range<usize>) -> &[i16] {
        assert!(columns.end <= self.width, "columns {columns:?} of {}", self.width);
        &self.data[(y * self.width + columns.start) * self.channels..][..columns.len() * self.channels]
    }
}

/// What a network reads: a tensor, or something that makes its rows when they
/// are asked for.
pub trait Source {
    /// Rows, columns and channels.
    fn size(&self) -> [usize; 3];

    /// Writes the channels of some columns of row `y`. Every row is asked for
    /// once in each window that needs it, from top to bottom.
    fn read(&self, y: usize, columns: Range<usize>, out: &mut [i16]);
}

impl Source for Tensor {
    fn size(&self) -> [usize; 3] {
        [self.height, self.width, self.channels]
    }

    fn read(&self, y: usize, columns: Range<usize>, out: &mut [i16]) {
        out.copy_from_slice(self.row(y, columns));
    }
}
