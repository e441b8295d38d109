//! Pixels to bytes.

use std::borrow::Cow;
use std::sync::Arc;

use image::DynamicImage;
use rayon::prelude::*;

use super::latents::{self, Quantiser, Wish, WrittenTile};
use super::options::{EncodeOptions, MAX_EFFORT};
use super::prepared::{PreparedModel, default_model};
use super::refine::{Refined, Scene};
use super::{alpha, hidden, pixels, tensors};
use crate::container::{self, Header};
use crate::entropy::LANES;
use crate::error::{Error, Result};
use crate::model::{MAX_QUALITY, Part, QualityIndex};
use crate::nn::{Source, Tensor};
use crate::tile::TileGrid;

/// Encodes a picture as an `.aec` file: RGB or grey of 8 or 16 bits, with alpha
/// or without.
///
/// Alpha that is opaque everywhere is left out, and so are the colours of wholly
/// transparent pixels. The same picture, model and options make the same bytes
/// on every machine. Work is spread over rayon's current thread pool.
pub fn encode(picture: &DynamicImage, options: &EncodeOptions) -> Result<Vec<u8>> {
    // 1. Alpha, which is coded on its own.
    let colour = pixels::colour(picture)?;
    let model = options.model.as_ref().map_or_else(default_model, |model| Ok(Arc::clone(model)))?;
    if options.effort > MAX_EFFORT {
        return Err(Error::Parameter(format!("effort {} is not from 0 to {MAX_EFFORT}", options.effort)));
    }
    let quality = quality_index(&model, options.quality)?;
    let plane = alpha::plane(picture);
    let coded_alpha = match (&plane, options.alpha_quality) {
        (None, _) => None,
        (Some(plane), None) => Some(alpha::write_lossless(plane)?),
        (Some(plane), Some(quality)) => {
            let quality = quality_index(&model, quality)?;
            let (streams, _) = unzip(encode_tiles(plane, &model, quality, options.effort, false)?);
            Some(alpha::lossy(quality, &container::join_streams(&streams)?))
        }
    };

    // 2. Colours.
    let picture = if plane.is_some() { hidden::clean(picture) } else { Cow::Borrowed(picture) };
    let tiles = encode_tiles(&picture, &model, quality, options.effort, true)?;
    let filtered = tiles.iter().any(|tile| tile.filtered);
    let (streams, checksums) = unzip(tiles);
    let header = Header {
        width: picture.width(),
        height: picture.height(),
        colour,
        alpha: coded_alpha.is_some(),
        filtered,
        in_lanes: lanes(&picture) > 1,
        quality,
        model: model.id(),
    };
    container::write(&header, &streams, &checksums, coded_alpha.as_deref(), &options.metadata)
}

fn quality_index(model: &PreparedModel, quality: f32) -> Result<QualityIndex> {
    model
        .model()
        .quality_index(quality)
        .ok_or_else(|| Error::Parameter(format!("quality {quality} is not from 0 to {MAX_QUALITY}")))
}

pub(super) fn unzip(tiles: Vec<WrittenTile>) -> (Vec<Vec<u8>>, Vec<crc32fast::Hasher>) {
    let (streams, checksums): (Vec<_>, _) =
        tiles.into_iter().map(|tile| (tile.streams, tile.checksum)).unzip();
    (streams.into_iter().flatten().collect(), checksums)
}

/// From how many pixels on a picture is coded in lanes, which make decoders faster and
/// a tile some 6 bytes longer.
const MIN_PIXELS_IN_LANES: u64 = 1 << 16;

/// How many lanes the tiles of a picture have.
pub(super) fn lanes(picture: &DynamicImage) -> usize {
    let pixels = u64::from(picture.width()) * u64::from(picture.height());
    if pixels < MIN_PIXELS_IN_LANES { 1 } else { LANES }
}

/// Tiles that are searched beside each other: each takes some 300 MB, and threads that are left
/// share the work within tiles.
const SEARCHED_AT_ONCE: usize = 4;

/// The tiles of a picture's colours, or of alpha, which have no filters.
pub(super) fn encode_tiles(
    picture: &DynamicImage,
    model: &PreparedModel,
    quality: QualityIndex,
    effort: u8,
    may_filter: bool,
) -> Result<Vec<WrittenTile>> {
    let analysed = Analysed::new(picture, model, quality)?;
    let Analysed { source, grid, quantiser, tiles } = &analysed;
    let scene = match effort {
        0 => None,
        _ => {
            let size = (picture.width() as usize, picture.height() as usize);
            let y_hat = analysed.quantise(model)?;
            Some(Scene { model, quantiser, source: &**source, size, grid: *grid, y_hat })
        }
    };
    let Some(scene) = scene else {
        return for_each_tile(grid.count(), |index| {
            let (y, z) = &tiles[index];
            latents::write(model, quantiser, Wish { y, z, weights: None }, None)
        });
    };
    let refined = |index: usize| {
        let (y, z) = &tiles[index];
        let Refined { y, z, weights, filter } = scene.refine(index, y, z, effort)?;
        let wish = Wish { y: &y, z: &z, weights: weights.as_ref() };
        // Of several tiles nobody knows whether another one has a filter.
        let filtered = may_filter && (filter.is_some() || grid.count() > 1);
        latents::write(model, quantiser, wish, filtered.then_some(filter.as_ref()))
    };
    let mut written = Vec::with_capacity(grid.count());
    for first in (0..grid.count()).step_by(SEARCHED_AT_ONCE) {
        let count = SEARCHED_AT_ONCE.min(grid.count() - first);
        written.extend(for_each_tile(count, |index| refined(first + index))?);
    }
    Ok(written)
}

/// A picture's latents before they are quantised.
pub(super) struct Analysed<'a> {
    /// The analysis input.
    source: Box<dyn Source + Sync + 'a>,
    /// How the picture is cut.
    pub grid: TileGrid,
    /// How the latents are to be quantised.
    pub quantiser: Quantiser,
    /// The latents and hyper-latents of each tile.
    pub tiles: Vec<(Tensor, Tensor)>,
}

impl<'a> Analysed<'a> {
    /// Runs the analysis and hyper-analysis transforms.
    pub fn new(picture: &'a DynamicImage, model: &PreparedModel, quality: QualityIndex) -> Result<Self> {
        let source = pixels::source(picture);
        let grid = TileGrid::new(picture.width(), picture.height());
        let quantiser = Quantiser::new(model.model(), quality, lanes(picture));
        let y = model.network(Part::Analysis, quality)?.run(&*source, quality);
        let tiles = for_each_tile(grid.count(), |index| {
            let y = tensors::crop(&y, &grid.tile(index));
            let z = latents::hyper_latents(model, &quantiser, &y)?;
            Ok((y, z))
        })?;
        Ok(Analysed { source, grid, quantiser, tiles })
    }

    /// The latents as a decoder will see them at effort 0.
    pub fn quantise(&self, model: &PreparedModel) -> Result<Tensor> {
        let parts = for_each_tile(self.grid.count(), |index| {
            let (y, z) = &self.tiles[index];
            Ok(latents::quantise(model, &self.quantiser, Wish { y, z, weights: None })?.y_hat)
        })?;
        Ok(tensors::join(&self.grid, &parts))
    }
}

/// The results of `f` for all tiles, in order; a single one is made right here.
pub(super) fn for_each_tile<T: Send>(
    count: usize,
    f: impl Fn(usize) -> Result<T> + Sync + Send,
) -> Result<Vec<T>> {
    match count {
        1 => Ok(vec![f(0)?]),
        _ => (0..count).into_par_iter().map(f).collect(),
    }
}
