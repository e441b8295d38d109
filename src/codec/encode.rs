//! Pixels to bytes.

use std::sync::Arc;

use image::DynamicImage;
use rayon::prelude::*;

use super::latents::{self, Quantiser, WrittenTile};
use super::options::EncodeOptions;
use super::prepared::default_model;
use super::{pixels, tensors};
use crate::container::{self, Header};
use crate::error::{Error, Result};
use crate::model::{MAX_QUALITY, Part};
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
    let quality = model.model().quality_index(options.quality).ok_or_else(|| {
        Error::Parameter(format!("quality {} is not from 0 to {MAX_QUALITY}", options.quality))
    })?;
    let header =
        Header { width: picture.width(), height: picture.height(), colour, quality, model: model.id() };

    // 2. Pixels to latents, over the whole picture.
    let y = model.network(Part::Analysis)?.run(&*pixels::source(picture), quality);

    // 3. Latents to streams, tile by tile.
    let grid = TileGrid::new(header.width, header.height);
    let quantiser = Quantiser::new(model.model(), quality);
    let write = |index| latents::write(&model, &quantiser, &tensors::crop(&y, &grid.tile(index)));
    let tiles = match grid.count() {
        1 => vec![write(0)?],
        count => (0..count).into_par_iter().map(write).collect::<Result<_>>()?,
    };
    Ok((header, tiles))
}
