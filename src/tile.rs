//! The grid of latents of a picture, and the tiles it is cut into.
//!
//! Tiles are coded on their own, but transformed together: no seams show.

use std::ops::Range;

use crate::model::arch::LATENT_STRIDE;

/// Latent positions along each side of a tile, except at the right and lower
/// ends of the picture.
pub const TILE_LATENTS: usize = 64;

/// How a picture is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TileGrid {
    /// Latent positions in a column of the picture.
    pub height: usize,
    /// Latent positions in a row of the picture.
    pub width: usize,
}

/// The latent positions of one tile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tile {
    /// Rows.
    pub rows: Range<usize>,
    /// Columns.
    pub columns: Range<usize>,
}

impl TileGrid {
    /// The grid of a picture of `width x height` pixels.
    pub fn new(width: u32, height: u32) -> TileGrid {
        let latents = |pixels: u32| (pixels as usize).div_ceil(LATENT_STRIDE);
        TileGrid { height: latents(height), width: latents(width) }
    }

    /// How many tiles there are.
    pub fn count(&self) -> usize {
        self.height.div_ceil(TILE_LATENTS).saturating_mul(self.width.div_ceil(TILE_LATENTS))
    }

    /// Tile `index`, counted row by row.
    pub fn tile(&self, index: usize) -> Tile {
        let in_row = self.width.div_ceil(TILE_LATENTS);
        let span = |position: usize, end: usize| {
            let start = position * TILE_LATENTS;
            start..(start + TILE_LATENTS).min(end)
        };
        Tile { rows: span(index / in_row, self.height), columns: span(index % in_row, self.width) }
    }

    /// The tile that holds the latent position at row `y`, column `x`.
    pub fn index(&self, y: usize, x: usize) -> usize {
        y / TILE_LATENTS * self.width.div_ceil(TILE_LATENTS) + x / TILE_LATENTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_the_grid_once() {
        for (width, height) in [(1, 1), (1024, 1024), (1025, 16), (3000, 2100)] {
            let grid = TileGrid::new(width, height);
            let mut covered = vec![0; grid.height * grid.width];
            for tile in (0..grid.count()).map(|index| grid.tile(index)) {
                for y in tile.rows.clone() {
                    for x in tile.columns.clone() {
                        assert_eq!(grid.tile(grid.index(y, x)), tile);
                        covered[y * grid.width + x] += 1;
                    }
                }
            }
            assert!(covered.iter().all(|&times| times == 1), "{width}x{height}");
        }
    }
}
