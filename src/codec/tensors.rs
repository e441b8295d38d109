//! Cutting and padding of tensors.

use crate::nn::Tensor;
use crate::tile::{Tile, TileGrid};

/// The part of a tensor that a tile covers.
pub(super) fn crop(tensor: &Tensor, tile: &Tile) -> Tensor {
    let c = tensor.channels;
    let mut data = Vec::with_capacity(tile.rows.len() * tile.columns.len() * c);
    for y in tile.rows.clone() {
        let row = &tensor.data[y * tensor.width * c..][..tensor.width * c];
        data.extend_from_slice(&row[tile.columns.start * c..tile.columns.end * c]);
    }
    Tensor { height: tile.rows.len(), width: tile.columns.len(), channels: c, data }
}

/// The upper left part of a tensor.
pub(super) fn crop_to(tensor: Tensor, height: usize, width: usize) -> Tensor {
    if (tensor.height, tensor.width) == (height, width) {
        return tensor;
    }
    crop(&tensor, &Tile { rows: 0..height, columns: 0..width })
}

/// Puts a tile back where [`crop`] took it from.
pub(super) fn paste(tensor: &mut Tensor, tile: &Tile, part: &Tensor) {
    let c = tensor.channels;
    let width = tile.columns.len();
    for (y, row) in tile.rows.clone().zip(part.data.chunks_exact(width * c)) {
        let start = (y * tensor.width + tile.columns.start) * c;
        tensor.data[start..start + width * c].copy_from_slice(row);
    }
}

/// What the tiles of a grid, in order, are parts of.
pub(super) fn join(grid: &TileGrid, parts: &[Tensor]) -> Tensor {
    let mut whole = Tensor::new(grid.height, grid.width, parts.first().map_or(0, |part| part.channels));
    for (index, part) in parts.iter().enumerate() {
        paste(&mut whole, &grid.tile(index), part);
    }
    whole
}

/// A larger tensor, whose new rows and columns repeat the last ones.
pub(super) fn extend_edges(tensor: &Tensor, height: usize, width: usize) -> Tensor {
    let c = tensor.channels;
    let mut data = Vec::with_capacity(height * width * c);
    for y in 0..height {
        let row = &tensor.data[y.min(tensor.height - 1) * tensor.width * c..][..tensor.width * c];
        data.extend_from_slice(row);
        for _ in tensor.width..width {
            data.extend_from_slice(&row[row.len() - c..]);
        }
    }
    Tensor { height, width, channels: c, data }
}
