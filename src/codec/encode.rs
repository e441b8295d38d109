//! Pixels to bytes.

use std::borrow::Cow;
use std::sync::Arc;

use image::DynamicImage;
use rayon::prelude::*;

use super::latents::{self, Quantiser, WrittenTile};
use super::options::EncodeOptions;
use super::prepared::{PreparedModel, default_model};
use super::{alpha, hidden, pixels, tensors};
use crate::container::{self, Header};
use crate::error::{Error, Result};
use crate::model::{MAX_QUALITY, Part, QualityIndex};
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
    let quality = quality_index(&model, options.quality)?;
    let plane = alpha::plane(picture);
    let coded_alpha = match (&plane, options.alpha_quality) {
        (None, _) => None,
        (Some(plane), None) => Some(alpha::write_lossless(plane)?),
        (Some(plane), Some(quality)) => {
            let quality = quality_index(&model, quality)?;
            let (streams, _) = unzip(encode_tiles(plane, &model, quality)?);
            Some(alpha::lossy(quality, &container::join_streams(&streams)?))
        }
    };

    // 2. Colours.
    let picture = if plane.is_some() { hidden::clean(picture) } else { Cow::Borrowed(picture) };
    let (streams, checksums) = unzip(encode_tiles(&picture, &model, quality)?);
    let header = Header {
        width: picture.width(),
        height: picture.height(),
        colour,
        alpha: coded_alpha.is_some(),
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

fn unzip(tiles: Vec<WrittenTile>) -> (Vec<Vec<u8>>, Vec<crc32fast::Hasher>) {
    tiles.into_iter().map(|tile| (tile.stream, tile.checksum)).unzip()
}

/// The tiles of a picture's colours.
pub(super) fn encode_tiles(
    picture: &DynamicImage,
    model: &PreparedModel,
    quality: QualityIndex,
) -> Result<Vec<WrittenTile>> {
    // Pixels to latents, over the whole picture.
    let y = {
        let x = pixels::to_tensor(picture);
        model.network(Part::Analysis)?.run(&x, quality)
    };

    // Latents to streams, tile by tile.
    let grid = TileGrid::new(picture.width(), picture.height());
    let quantiser = Quantiser::new(model.model(), quality);
    (0..grid.count())
        .into_par_iter()
        .map(|index| {
            let y = tensors::crop(&y, &grid.tile(index));
            latents::write(model, &quantiser, &y)
        })
        .collect()
}
