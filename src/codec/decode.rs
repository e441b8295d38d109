//! Bytes to pixels.

use image::DynamicImage;
use rayon::prelude::*;

use super::latents::{self, Quantiser};
use super::options::DecodeOptions;
use super::prepared;
use super::synthesis::{Mosaic, synthesise, tiles_needed};
use super::view::View;
use crate::container::{Colour, Container, Header, split_streams};
use crate::error::{Error, Result};
use crate::model::{ModelId, QualityIndex, registry};
use crate::tile::TileGrid;

/// Decodes an `.aec` file to 8-bit RGB or grey pixels.
///
/// The pixels are the same on every machine. Damage is an error, never a wrong
/// picture; where only a region is decoded, damage to tiles outside goes unseen,
/// and the checksum over all tiles cannot be compared. Work is spread over
/// rayon's current thread pool.
pub fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<DynamicImage> {
    // 1. Fields, limits and the model, before anything large is allocated.
    let container = Container::read(bytes)?;
    let header = &container.header;
    options.limits.check(header.width, header.height)?;
    let view = View::new((header.width, header.height), options.region, options.scale)?;
    let grid = TileGrid::new(header.width, header.height);
    let streams = split_streams(container.latents, grid.count())?;
    let model = prepared::find(header.model, &options.models)?;

    // 2. Streams to latents, tile by tile.
    let needed = tiles_needed(&model, grid, &view)?;
    let quantiser = Quantiser::new(model.model(), header.quality);
    let read = |(index, stream): (usize, &[u8])| {
        let tile = grid.tile(index);
        let size = (tile.rows.len(), tile.columns.len());
        needed[index].then(|| latents::read(&model, &quantiser, size, stream)).transpose()
    };
    let tiles: Vec<_> = if streams.len() == 1 {
        streams.into_iter().enumerate().map(read).collect::<Result<_>>()?
    } else {
        streams.into_par_iter().enumerate().map(read).collect::<Result<_>>()?
    };
    let mut checksum = container.hasher();
    let tiles = tiles.into_iter().map(|tile| {
        let (y_hat, symbols) = tile?;
        checksum.combine(&symbols);
        Some(y_hat)
    });
    let mosaic = Mosaic { grid, channels: model.model().arch.latents, tiles: tiles.collect() };
    if needed.iter().all(|&needed| needed) && checksum.finalize() != container.checksum {
        return Err(Error::Format("the checksum of the latents does not match".into()));
    }

    // 3. Latents to pixels.
    synthesise(&model, header.quality, header.colour, &view, &mosaic)
}

/// What a file says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// What the pixels are.
    pub colour: Colour,
    /// The quality index the latents were quantised at.
    pub quality: QualityIndex,
    /// The model the file needs.
    pub model: ModelId,
    /// Its name, where this build has it.
    pub model_name: Option<&'static str>,
    /// Independently coded tiles.
    pub tiles: usize,
    /// The size of the file.
    pub bytes: usize,
}

/// Reads the fields of an `.aec` file without decoding it. The model need not
/// be known.
pub fn probe(bytes: &[u8]) -> Result<Info> {
    let Header { width, height, colour, quality, model } = Container::read(bytes)?.header;
    Ok(Info {
        width,
        height,
        colour,
        quality,
        model,
        model_name: registry::find(model).map(|index| registry::MODELS[index].name),
        tiles: TileGrid::new(width, height).count(),
        bytes: bytes.len(),
    })
}
