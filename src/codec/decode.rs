//! Bytes to pixels.

use image::DynamicImage;
use rayon::prelude::*;

use super::latents::{self, Quantiser};
use super::options::DecodeOptions;
use super::prepared::{self, PreparedModel};
use super::{pixels, tensors};
use crate::container::{Colour, Container, Header, split_streams};
use crate::error::{Error, Result};
use crate::model::{ModelId, Part, QualityIndex, registry};
use crate::nn::Tensor;
use crate::tile::TileGrid;

/// Decodes an `.aec` file to 8-bit RGB or grey pixels.
///
/// The pixels are the same on every machine. Damage is an error, never a wrong
/// picture. Work is spread over rayon's current thread pool.
pub fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<DynamicImage> {
    // 1. Fields, limits and the model, before anything large is allocated.
    let container = Container::read(bytes)?;
    let header = &container.header;
    options.limits.check(header.width, header.height)?;
    let grid = TileGrid::new(header.width, header.height);
    let streams = split_streams(container.latents, grid.count())?;
    let model = prepared::find(header.model, &options.models)?;

    // 2. Streams to latents, tile by tile.
    let quantiser = Quantiser::new(model.model(), header.quality);
    let tiles = streams
        .into_par_iter()
        .enumerate()
        .map(|(index, stream)| {
            let tile = grid.tile(index);
            latents::read(&model, &quantiser, tile.rows.len(), tile.columns.len(), stream)
        })
        .collect::<Result<Vec<_>>>()?;
    let mut checksum = container.hasher();
    let mut y_hats = Vec::with_capacity(tiles.len());
    for (y_hat, symbols) in tiles {
        checksum.combine(&symbols);
        y_hats.push(y_hat);
    }
    if checksum.finalize() != container.checksum {
        return Err(Error::Format("the checksum of the latents does not match".into()));
    }

    // 3. Latents to pixels, over the whole picture.
    synthesise(&model, header, y_hats)
}

/// The picture that the quantised latents of all tiles stand for.
pub(super) fn synthesise(
    model: &PreparedModel,
    header: &Header,
    mut y_hats: Vec<Tensor>,
) -> Result<DynamicImage> {
    let y_hat = if y_hats.len() == 1 {
        y_hats.remove(0)
    } else {
        let grid = TileGrid::new(header.width, header.height);
        let mut whole = Tensor::new(grid.height, grid.width, model.model().arch.latents);
        for (index, y_hat) in y_hats.into_iter().enumerate() {
            tensors::paste(&mut whole, &grid.tile(index), &y_hat);
        }
        whole
    };
    let x_hat = model.network(Part::Synthesis)?.run(&y_hat, header.quality);
    drop(y_hat);
    Ok(pixels::from_tensor(&x_hat, header.width, header.height, header.colour))
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
