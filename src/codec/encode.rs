//! Pixels to bytes.

use std::sync::Arc;

use image::DynamicImage;
use rayon::prelude::*;

use super::latents::{self, Quantiser, WrittenTile};
use super::options::{EncodeOptions, MAX_EFFORT};
use super::prepared::{PreparedModel, default_model};
use super::refine::Scene;
use super::{pixels, tensors};
use crate::container::{self, Header};
use crate::entropy::Costs;
use crate::error::{Error, Result};
use crate::model::{MAX_QUALITY, Part};
use crate::nn::{Source, Tensor};
use crate::tile::TileGrid;

/// Encodes a picture of 8-bit RGB or grey pixels as an `.aec` file.
///
/// The same picture, model and options make the same bytes on every machine.
/// Work is spread over rayon's current thread pool.
pub fn encode(picture: &DynamicImage, options: &EncodeOptions) -> Result<Vec<u8>> {
    let (header, tiles) = encode_tiles(picture, options)?;
    let (streams, checksums): (Vec<_>, Vec<_>) =
        tiles.into_iter().map(|tile| (tile.stream, tile.checksum)).unzip();
    container::write(&header, &streams, &checksums)
}

/// The parts of the file.
pub(super) fn encode_tiles(
    picture: &DynamicImage,
    options: &EncodeOptions,
) -> Result<(Header, Vec<WrittenTile>)> {
    // 1. What there is to do.
    let colour = pixels::colour(picture)?;
    let model = options.model.as_ref().map_or_else(default_model, |model| Ok(Arc::clone(model)))?;
    if options.effort > MAX_EFFORT {
        return Err(Error::Parameter(format!("effort {} is not from 0 to {MAX_EFFORT}", options.effort)));
    }
    let quality = model.model().quality_index(options.quality).ok_or_else(|| {
        Error::Parameter(format!("quality {} is not from 0 to {MAX_QUALITY}", options.quality))
    })?;
    let header =
        Header { width: picture.width(), height: picture.height(), colour, quality, model: model.id() };

    // 2. Pixels to latents, over the whole picture.
    let source = pixels::source(picture);
    let y = model.network(Part::Analysis)?.run(&*source, quality);

    // 3. Latents to streams, tile by tile.
    let grid = TileGrid::new(header.width, header.height);
    let quantiser = Quantiser::new(model.model(), quality);
    let tiles = for_each_tile(grid.count(), |index| {
        let y = tensors::crop(&y, &grid.tile(index));
        let z = latents::hyper_latents(&model, &quantiser, &y)?;
        Ok((y, z))
    })?;
    drop(y);
    let size = (header.width as usize, header.height as usize);
    let scene = match options.effort {
        0 => None,
        _ => Some(scene(&model, &quantiser, (&*source, size), grid, &tiles)?),
    };
    let tiles = for_each_tile(grid.count(), |index| {
        let (y, z) = &tiles[index];
        match &scene {
            None => latents::write(&model, &quantiser, y, z),
            Some(scene) => {
                let y = scene.refine(index, y.clone(), z, options.effort)?;
                latents::write(&model, &quantiser, &y, z)
            }
        }
    })?;
    Ok((header, tiles))
}

/// What the search for better symbols looks at.
fn scene<'a>(
    model: &'a PreparedModel,
    quantiser: &'a Quantiser,
    (source, size): (&'a (dyn Source + Sync), (usize, usize)),
    grid: TileGrid,
    tiles: &[(Tensor, Tensor)],
) -> Result<Scene<'a>> {
    let parts = for_each_tile(grid.count(), |index| {
        let (y, z) = &tiles[index];
        Ok(latents::quantise(model, quantiser, y, z)?.0)
    })?;
    let mut y_hat = Tensor::new(grid.height, grid.width, model.model().arch.latents);
    for (index, part) in parts.iter().enumerate() {
        tensors::paste(&mut y_hat, &grid.tile(index), part);
    }
    Ok(Scene { model, quantiser, costs: Costs::new(&model.model().tables), source, size, grid, y_hat })
}

/// The results of `f` for all tiles, in order; a single one is made right here.
fn for_each_tile<T: Send>(count: usize, f: impl Fn(usize) -> Result<T> + Sync + Send) -> Result<Vec<T>> {
    match count {
        1 => Ok(vec![f(0)?]),
        _ => (0..count).into_par_iter().map(f).collect(),
    }
}
