//! Latents to pixels.

use std::ops::Range;

use image::{DynamicImage, ImageBuffer};

use super::correction::Correction;
use super::filter::Filter;
use super::lines::{Filtering, Ready};
use super::pixels::{Sample, store, store_row};
use super::prepared::PreparedModel;
use super::view::View;
use crate::container::Colour;
use crate::error::Result;
use crate::model::arch::{LATENT_STRIDE, PIXEL_BLOCK};
use crate::model::{Part, QualityIndex};
use crate::nn::{Network, Source, Tensor, Window, for_each_piece};
use crate::tile::{TILE_LATENTS, TileGrid};

/// Pixels along each side of a tile.
const TILE_PIXELS: usize = TILE_LATENTS * LATENT_STRIDE;

/// The latents of a picture, left in the tiles they were coded in.
pub(super) struct Mosaic {
    /// How the picture is cut.
    pub grid: TileGrid,
    /// Channels of the latents.
    pub channels: usize,
    /// The tiles and their filters; those that are not needed may be missing.
    pub tiles: Vec<Option<(Tensor, Option<Filter>)>>,
}

impl Source for Mosaic {
    fn size(&self) -> [usize; 3] {
        [self.grid.height, self.grid.width, self.channels]
    }

    fn read(&self, y: usize, columns: Range<usize>, out: &mut [i16]) {
        let mut rest = out;
        let mut x = columns.start;
        while x < columns.end {
            let tile = self.tiles[self.grid.index(y, x)].as_ref();
            let (tile, _) = tile.expect("a tile that is needed was decoded");
            let first = x % TILE_LATENTS;
            let count = (tile.width - first).min(columns.end - x);
            let (now, later) = rest.split_at_mut(count * self.channels);
            now.copy_from_slice(tile.row(y % TILE_LATENTS, first..first + count));
            (rest, x) = (later, x + count);
        }
    }
}

/// The tiles that a view depends on.
pub(super) fn tiles_needed(
    model: &PreparedModel,
    grid: TileGrid,
    view: &View,
    (quality, filtered): (QualityIndex, bool),
) -> Result<Vec<bool>> {
    let size = [grid.height, grid.width, model.model().arch.latents];
    let corrected = filtered || model.model().class_filters.is_some();
    let window = if corrected { around(&view.window, grid) } else { view.window.clone() };
    let latents = model.network(Part::Synthesis, quality)?.input_window(size, &window);
    let touches = |a: &Range<usize>, b: &Range<usize>| a.start < b.end && b.start < a.end;
    Ok((0..grid.count())
        .map(|index| grid.tile(index))
        .map(|tile| touches(&tile.rows, &latents.rows) && touches(&tile.columns, &latents.columns))
        .collect())
}

/// A window of the synthesis output and what corrections read beyond it.
fn around(window: &Window, grid: TileGrid) -> Window {
    let wider = |range: &Range<usize>, latents: usize| {
        range.start.saturating_sub(1)..(range.end + 1).min(latents * LATENT_STRIDE / PIXEL_BLOCK)
    };
    Window { rows: wider(&window.rows, grid.height), columns: wider(&window.columns, grid.width) }
}

/// The pixels that the latents stand for.
pub(super) fn synthesise(
    model: &PreparedModel,
    quality: QualityIndex,
    colour: Colour,
    view: &View,
    latents: &Mosaic,
) -> Result<DynamicImage> {
    let network = model.network(Part::Synthesis, quality)?;
    let filters = model.model().filters_at(quality);
    let tiles = latents.tiles.iter().map(|tile| {
        let (_, own) = tile.as_ref()?;
        Correction::new(filters.as_ref(), own.as_ref())
    });
    let corrections = tiles.collect();
    let unit = filters.as_ref().map(|filters| filters.unit);
    let rendering = Rendering { network, quality, view, latents, unit, corrections };
    let (width, height) = (view.width as u32, view.height as u32);
    let picture =
        match colour {
            Colour::Rgb8 => {
                ImageBuffer::from_raw(width, height, rendering.samples::<_, 3>()).map(DynamicImage::ImageRgb8)
            }
            Colour::Rgb16 => ImageBuffer::from_raw(width, height, rendering.samples::<_, 3>())
                .map(DynamicImage::ImageRgb16),
            Colour::Grey8 => ImageBuffer::from_raw(width, height, rendering.samples::<_, 1>())
                .map(DynamicImage::ImageLuma8),
            Colour::Grey16 => ImageBuffer::from_raw(width, height, rendering.samples::<_, 1>())
                .map(DynamicImage::ImageLuma16),
        };
    let picture = picture.expect("as many samples as pixels ask for");
    let crop = view.crop;
    if (crop.width, crop.height) == (width, height) {
        return Ok(picture);
    }
    Ok(picture.crop_imm(crop.x, crop.y, crop.width, crop.height))
}

/// A view on its way from latents to samples.
struct Rendering<'a> {
    network: &'a Network,
    quality: QualityIndex,
    view: &'a View,
    latents: &'a Mosaic,
    /// What errors are like, where blocks have classes.
    unit: Option<i16>,
    /// What corrects the pixels of each tile.
    corrections: Vec<Option<Correction<'a>>>,
}

impl Rendering<'_> {
    /// The samples of the view, `N` for each pixel, row by row.
    fn samples<S: Sample, const N: usize>(&self) -> Vec<S> {
        let &Rendering { network, quality, view, latents, .. } = self;
        let across = PIXEL_BLOCK / view.divisor;
        // What is smaller than the picture is made of pixels as they come.
        let corrected = view.divisor == 1 && self.corrections.iter().any(Option::is_some);
        let mut samples = vec![S::default(); view.width * view.height * N];
        let cuts = network.cuts(&view.window);
        let pieces = cuts.split(&mut samples, view.width * N, across, across * N);
        for_each_piece(&cuts, pieces, |window, mut lines| {
            if corrected {
                return self.corrected::<S, N>(&window, &mut lines);
            }
            let first = window.rows.start;
            network.stream(latents, quality, &window, |y, row| {
                let start = (y - first) * across;
                let end = (start + across).min(lines.len());
                store_row::<S, N>(row, view.divisor, &mut lines[start..end]);
            });
        });
        samples
    }

    /// The lines of a window, each tile's pixels with what corrects them.
    fn corrected<S: Sample, const N: usize>(&self, window: &Window, lines: &mut [&mut [S]]) {
        let &Rendering { network, quality, latents, unit, .. } = self;
        let outer = around(window, latents.grid);
        let (width, top) = (outer.columns.len() * PIXEL_BLOCK, outer.rows.start * PIXEL_BLOCK);
        let mut filtering = Filtering::new(width, top, unit);
        let first = window.columns.start * PIXEL_BLOCK;
        let margin = first - outer.columns.start * PIXEL_BLOCK;
        let mut values = vec![0; 3 * window.columns.len() * PIXEL_BLOCK];
        let mut show = |y: usize, line: &mut Ready<'_>| {
            let inside = y.checked_sub(window.rows.start * PIXEL_BLOCK);
            let Some(target) = inside.and_then(|y| lines.get_mut(y)) else { return };
            let mut x = first;
            let end = window.columns.end * PIXEL_BLOCK;
            while x < end {
                let next = (x / TILE_PIXELS + 1) * TILE_PIXELS;
                let at = x - first..next.min(end) - first;
                let tile = latents.grid.index(y / LATENT_STRIDE, x / LATENT_STRIDE);
                let out = &mut values[3 * at.start..3 * at.end];
                let correction = self.corrections[tile].as_ref();
                line.through(network, correction, at.start + margin..at.end + margin, out);
                x = next;
            }
            store::<S, N>(&values, target);
        };
        network.stream(latents, quality, &outer, |_, row| filtering.push(row, &mut show));
        filtering.finish(&mut show);
    }
}
