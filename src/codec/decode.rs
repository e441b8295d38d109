//! Bytes to pixels.

use image::DynamicImage;
use rayon::prelude::*;

use super::latents::Quantiser;
use super::options::DecodeOptions;
use super::prepared::{self, PreparedModel};
use super::reading::{self, ReadTile};
use super::synthesis::{Mosaic, synthesise, tiles_needed};
use super::{alpha, view::View};
use crate::container::{Colour, Container, Header, Metadata, split_streams};
use crate::entropy::LANES;
use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::model::{ModelId, QualityIndex, registry};
use crate::tile::TileGrid;

/// Decodes an `.aec` file to pixels of the type that was encoded.
///
/// The pixels are the same on every machine. Damage is an error, never a wrong
/// picture; where only a region is decoded, damage to tiles outside goes unseen,
/// and the checksum over all tiles cannot be compared. What the file says about
/// orientation and colour space is told by [`metadata`], the pixels are as they
/// were encoded. Work is spread over rayon's current thread pool.
pub fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<DynamicImage> {
    // 1. Fields, limits and the model, before anything large is allocated.
    let container = Container::read(bytes)?;
    let header = &container.header;
    check_limits(&container, &options.limits)?;
    let view = View::new((header.width, header.height), options.region, options.scale)?;
    let model = prepared::find(header.model, &options.models)?;

    // 2. Streams to latents, tile by tile.
    let (mosaic, symbols) =
        read_tiles(&model, header, (header.quality, header.filtered), container.latents, &view)?;
    if let Some(symbols) = symbols {
        let mut checksum = container.hasher();
        checksum.combine(&symbols);
        checksum.update(container.alpha.unwrap_or_default());
        // Fuzzers reach the code behind with whatever they have made.
        if checksum.finalize() != container.checksum && !cfg!(fuzzing) {
            return Err(Error::Format("the checksum of the latents does not match".into()));
        }
    }

    // 3. Latents to pixels.
    let picture = synthesise(&model, header.quality, header.colour, &view, &mosaic)?;
    drop(mosaic);
    match container.alpha {
        None => Ok(picture),
        Some(payload) => Ok(alpha::join(&picture, &decode_alpha(&model, header, payload, &view)?)),
    }
}

/// Bytes of memory that the latents take for each pixel, at most.
const MEMORY_PER_PIXEL: u64 = 8;

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
    limits.check_memory(pixels * (MEMORY_PER_PIXEL + samples * u64::from(colour.bits() / 8)))
}

/// How many lanes a file's tiles have.
pub(super) fn lanes(header: &Header) -> usize {
    if header.in_lanes { LANES } else { 1 }
}

/// The alpha plane of a view.
fn decode_alpha(model: &PreparedModel, header: &Header, payload: &[u8], view: &View) -> Result<DynamicImage> {
    let depth = header.colour.bits();
    let Some((quality, streams)) = alpha::as_lossy(payload) else {
        let plane = alpha::read_lossless(payload, header.width, header.height, depth)?;
        return Ok(view.of_plane(plane));
    };
    let (mosaic, _) = read_tiles(model, header, (quality, false), streams, view)?;
    let grey = if depth == 8 { Colour::Grey8 } else { Colour::Grey16 };
    synthesise(model, quality, grey, view, &mosaic)
}

/// The quantised latents that a view depends on; where these are all, the
/// checksum of their symbols too.
fn read_tiles(
    model: &PreparedModel,
    header: &Header,
    (quality, filtered): (QualityIndex, bool),
    payload: &[u8],
    view: &View,
) -> Result<(Mosaic, Option<crc32fast::Hasher>)> {
    let grid = TileGrid::new(header.width, header.height);
    let lanes = lanes(header);
    let quantiser = Quantiser::new(model.model(), quality, lanes);
    let streams = split_streams(payload, lanes * grid.count())?;
    let needed = tiles_needed(model, grid, view, (quality, filtered))?;
    let read = |(index, streams): (usize, &[&[u8]])| {
        let tile = grid.tile(index);
        let size = (tile.rows.len(), tile.columns.len());
        needed[index].then(|| reading::read(model, &quantiser, size, streams, filtered)).transpose()
    };
    let tiles: Vec<_> = match grid.count() {
        1 => streams.chunks(lanes).enumerate().map(read).collect::<Result<_>>()?,
        _ => streams.par_chunks(lanes).enumerate().map(read).collect::<Result<_>>()?,
    };
    let mut checksum = crc32fast::Hasher::new();
    let tiles = tiles.into_iter().map(|tile| {
        let ReadTile { y_hat, filter, checksum: symbols } = tile?;
        checksum.combine(&symbols);
        Some((y_hat, filter))
    });
    let mosaic = Mosaic { grid, channels: model.model().arch.latents, tiles: tiles.collect() };
    let all = mosaic.tiles.iter().all(Option::is_some);
    Ok((mosaic, all.then_some(checksum)))
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
    /// Whether tiles have filters that their pixels go through.
    pub filtered: bool,
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
    let Header { width, height, colour, alpha, filtered, quality, model, .. } =
        Container::read(bytes)?.header;
    Ok(Info {
        width,
        height,
        colour,
        alpha,
        filtered,
        quality,
        model,
        model_name: registry::find(model).map(|index| registry::MODELS[index].name),
        tiles: TileGrid::new(width, height).count(),
        bytes: bytes.len(),
    })
}
