//! Latents to pixels.

use std::ops::Range;

use image::{DynamicImage, ImageBuffer};

use super::pixels::{Sample, store_row};
use super::prepared::PreparedModel;
use super::view::View;
use crate::container::Colour;
use crate::error::Result;
use crate::model::arch::PIXEL_BLOCK;
use crate::model::{Part, QualityIndex};
use crate::nn::{Network, Source, Tensor, for_each_piece};
use crate::tile::{TILE_LATENTS, TileGrid};

/// The latents of a picture, left in the tiles they were coded in.
pub(super) struct Mosaic {
    /// How the picture is cut.
    pub grid: TileGrid,
    /// Channels of the latents.
    pub channels: usize,
    /// The tiles; those that are not needed may be missing.
    pub tiles: Vec<Option<Tensor>>,
}

impl Source for Mosaic {
    fn size(&self) -> [usize; 3] {
        [self.grid.height, self.grid.width, self.channels]
    }

    fn read(&self, y: usize, columns: Range<usize>, out: &mut [i16]) {
        let mut rest = out;
        let mut x = columns.start;
        while x < columns.end {
            let tile = self.tiles[self.grid.index(y, x)].as_ref().expect("a tile that is needed was decoded");
            let first = x % TILE_LATENTS;
            let count = (tile.width - first).min(columns.end - x);
            let (now, later) = rest.split_at_mut(count * self.channels);
            now.copy_from_slice(tile.row(y % TILE_LATENTS, first..first + count));
            (rest, x) = (later, x + count);
        }
    }
}

/// The tiles that a view depends on.
pub(super) fn tiles_needed(model: &PreparedModel, grid: TileGrid, view: &View) -> Result<Vec<bool>> {
    let size = [grid.height, grid.width, model.model().arch.latents];
    let latents = model.network(Part::Synthesis)?.input_window(size, &view.window);
    let touches = |a: &Range<usize>, b: &Range<usize>| a.start < b.end && b.start < a.end;
    Ok((0..grid.count())
        .map(|index| grid.tile(index))
        .map(|tile| touches(&tile.rows, &latents.rows) && touches(&tile.columns, &latents.columns))
        .collect())
}

/// The pixels that the latents stand for.
pub(super) fn synthesise(
    model: &PreparedModel,
    quality: QualityIndex,
    colour: Colour,
    view: &View,
    latents: &Mosaic,
) -> Result<DynamicImage> {
    let network = model.network(Part::Synthesis)?;
    let (width, height) = (view.width as u32, view.height as u32);
    let picture = match colour {
        Colour::Rgb8 => ImageBuffer::from_raw(width, height, render::<_, 3>(network, quality, view, latents))
            .map(DynamicImage::ImageRgb8),
        Colour::Rgb16 => {
            ImageBuffer::from_raw(width, height, render::<_, 3>(network, quality, view, latents))
                .map(DynamicImage::ImageRgb16)
        }
        Colour::Grey8 => {
            ImageBuffer::from_raw(width, height, render::<_, 1>(network, quality, view, latents))
                .map(DynamicImage::ImageLuma8)
        }
        Colour::Grey16 => {
            ImageBuffer::from_raw(width, height, render::<_, 1>(network, quality, view, latents))
                .map(DynamicImage::ImageLuma16)
        }
    };
    let picture = picture.expect("as many samples as pixels ask for");
    let crop = view.crop;
    if (crop.width, crop.height) == (width, height) {
        return Ok(picture);
    }
    Ok(picture.crop_imm(crop.x, crop.y, crop.width, crop.height))
}

/// The samples of a view, `N` for each pixel, row by row.
fn render<S: Sample, const N: usize>(
    network: &Network,
    quality: QualityIndex,
    view: &View,
    latents: &Mosaic,
) -> Vec<S> {
    let across = PIXEL_BLOCK / view.divisor;
    let mut samples = vec![S::default(); view.width * view.height * N];
    let cuts = network.cuts(&view.window);
    let pieces = cuts.split(&mut samples, view.width * N, across, across * N);
    for_each_piece(&cuts, pieces, |window, mut lines| {
        let first = window.rows.start;
        network.stream(latents, quality, &window, |y, row| {
            let start = (y - first) * across;
            let end = (start + across).min(lines.len());
            store_row::<S, N>(row, view.divisor, &mut lines[start..end]);
        });
    });
    samples
}
