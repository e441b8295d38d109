//! Bytes to pixels.

use image::DynamicImage;
use rayon::prelude::*;

use super::latents::{self, Quantiser};
use super::options::DecodeOptions;
use super::prepared::{self, PreparedModel};
use super::{alpha, pixels, tensors};
use crate::container::{Colour, Container, Header, Metadata, split_streams};
use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::model::{ModelId, Part, QualityIndex, registry};
use crate::nn::Tensor;
use crate::tile::TileGrid;

/// Decodes an `.aec` file to pixels of the type that was encoded.
///
/// The pixels are the same on every machine. Damage is an error, never a wrong
/// picture. What the file says about orientation and colour space is told by
/// [`metadata`], the pixels are as they were encoded. Work is spread over rayon's
/// current thread pool.
pub fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<DynamicImage> {
    // 1. Fields, limits and the model, before anything large is allocated.
    let container = Container::read(bytes)?;
    let header = &container.header;
    check_limits(&container, &options.limits)?;
    let model = prepared::find(header.model, &options.models)?;

    // 2. Streams to latents, tile by tile.
    let mut checksum = container.hasher();
    let tiles = read_tiles(&model, header, header.quality, container.latents)?;
    let y_hats = tiles.into_iter().map(|(y_hat, symbols)| {
        checksum.combine(&symbols);
        y_hat
    });
    let y_hats = y_hats.collect();
    checksum.update(container.alpha.unwrap_or_default());
    // Fuzzers reach the code behind with whatever they have made.
    if checksum.finalize() != container.checksum && !cfg!(fuzzing) {
        return Err(Error::Format("the checksum of the latents does not match".into()));
    }

    // 3. Latents to pixels, over the whole picture.
    let picture = synthesise(&model, header, header.quality, header.colour, y_hats)?;
    match container.alpha {
        None => Ok(picture),
        Some(payload) => Ok(alpha::join(&picture, &decode_alpha(&model, header, payload)?)),
    }
}

/// Bytes of memory that decoding takes for each pixel: latents, activations and
/// the synthesis output, before samples of their own size.
const MEMORY_PER_PIXEL: u64 = 16;

/// Refuses what would cost more than the caller allows.
pub(super) fn check_limits(container: &Container<'_>, limits: &Limits) -> Result<()> {
    let Header { width, height, colour, .. } = container.header;
    limits.check(width, height)?;
    let pixels = u64::from(width) * u64::from(height);
    limits.check_density(pixels, container.latents.len())?;
    let mut samples = colour.channels() as u64;
    if let Some(payload) = container.alpha {
        samples = 2 * (samples + 1); // apart and together
        if let Some((_, streams)) = alpha::as_lossy(payload) {
            limits.check_density(pixels, streams.len())?;
        }
    }
    let grey = if colour.channels() == 1 { 3 } else { 0 }; // made from three
    limits.check_memory(pixels * (MEMORY_PER_PIXEL + (samples + grey) * u64::from(colour.bits() / 8)))
}

/// The alpha plane of a picture.
fn decode_alpha(model: &PreparedModel, header: &Header, payload: &[u8]) -> Result<DynamicImage> {
    let depth = header.colour.bits();
    let Some((quality, streams)) = alpha::as_lossy(payload) else {
        return alpha::read_lossless(payload, header.width, header.height, depth);
    };
    let tiles = read_tiles(model, header, quality, streams)?;
    let y_hats = tiles.into_iter().map(|(y_hat, _)| y_hat).collect();
    let grey = if depth == 8 { Colour::Grey8 } else { Colour::Grey16 };
    synthesise(model, header, quality, grey, y_hats)
}

/// The quantised latents of all tiles, and the checksums of their symbols.
fn read_tiles(
    model: &PreparedModel,
    header: &Header,
    quality: QualityIndex,
    payload: &[u8],
) -> Result<Vec<(Tensor, crc32fast::Hasher)>> {
    let grid = TileGrid::new(header.width, header.height);
    let quantiser = Quantiser::new(model.model(), quality);
    split_streams(payload, grid.count())?
        .into_par_iter()
        .enumerate()
        .map(|(index, stream)| {
            let tile = grid.tile(index);
            latents::read(model, &quantiser, tile.rows.len(), tile.columns.len(), stream)
        })
        .collect()
}

/// The picture that the quantised latents of all tiles stand for.
pub(super) fn synthesise(
    model: &PreparedModel,
    header: &Header,
    quality: QualityIndex,
    colour: Colour,
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
    let x_hat = model.network(Part::Synthesis)?.run(&y_hat, quality);
    drop(y_hat);
    Ok(pixels::from_tensor(&x_hat, header.width, header.height, colour))
}

/// What a file carries beside its pixels, which are not decoded.
pub fn metadata(bytes: &[u8], limits: &Limits) -> Result<Metadata> {
    let container = Container::read(bytes)?;
    limits.check_metadata(container.metadata_size())?;
    container.metadata()
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
    /// Whether there is an alpha plane.
    pub alpha: bool,
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
    let Header { width, height, colour, alpha, quality, model } = Container::read(bytes)?.header;
    Ok(Info {
        width,
        height,
        colour,
        alpha,
        quality,
        model,
        model_name: registry::find(model).map(|index| registry::MODELS[index].name),
        tiles: TileGrid::new(width, height).count(),
        bytes: bytes.len(),
    })
}
