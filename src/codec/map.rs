//! Where the bits of a file went.

use super::decode::check_limits;
use super::latents::{Quantiser, Symbols, walk};
use super::options::DecodeOptions;
use super::prepared::{self, PreparedModel};
use crate::container::{Container, split_streams};
use crate::entropy::{LatentReader, ScaleTables};
use crate::error::{Error, Result};
use crate::model::arch::HYPER_STRIDE;
use crate::model::step::Step;
use crate::tile::TileGrid;

/// The cost of each place of a picture, in bits.
#[derive(Debug, Clone, PartialEq)]
pub struct BitMap {
    /// Latent positions in a column of the picture; each stands for 16x16 pixels.
    pub height: usize,
    /// Latent positions in a row of the picture.
    pub width: usize,
    /// Bits of each position, row by row: those of its latents, and its share of
    /// the hyper-latents above it.
    pub bits: Vec<f32>,
    /// Bits of all latents together.
    pub latents: f64,
    /// Bits of all hyper-latents together.
    pub hyper_latents: f64,
}

/// Reads the symbols of a file's colours, not of its alpha, and adds up what each costs under its
/// distribution. The sums are those of an ideal coder; the real one adds about
/// 0.2 % and a few bytes a tile.
pub fn bit_map(bytes: &[u8], options: &DecodeOptions) -> Result<BitMap> {
    let container = Container::read(bytes)?;
    let header = &container.header;
    check_limits(&container, &options.limits)?;
    let grid = TileGrid::new(header.width, header.height);
    let streams = split_streams(container.latents, grid.count())?;
    let model = prepared::find(header.model, &options.models)?;
    let quantiser = Quantiser::new(model.model(), header.quality);
    let mut map = BitMap {
        height: grid.height,
        width: grid.width,
        bits: vec![0.0; grid.height * grid.width],
        latents: 0.0,
        hyper_latents: 0.0,
    };
    let mut checksum = container.hasher();
    for (index, stream) in streams.into_iter().enumerate() {
        let tile = grid.tile(index);
        let (height, width) = (tile.rows.len(), tile.columns.len());
        let mut symbols = Metered::new(&model, stream, height, width)?;
        walk(&model, &quantiser, height, width, &mut symbols)?;
        for (row, bits) in tile.rows.clone().zip(symbols.bits.chunks_exact(width)) {
            map.bits[row * grid.width..][tile.columns.clone()].copy_from_slice(bits);
        }
        map.latents += symbols.latents;
        map.hyper_latents += symbols.hyper_latents;
        checksum.combine(&symbols.reader.finish()?);
    }
    checksum.update(container.alpha.unwrap_or_default());
    if checksum.finalize() != container.checksum {
        return Err(Error::Format("the checksum of the latents does not match".into()));
    }
    Ok(map)
}

/// Reads one tile's symbols and keeps what they cost.
struct Metered<'a> {
    reader: LatentReader<'a>,
    tables: &'a ScaleTables,
    channels: usize,
    hyper_channels: usize,
    height: usize,
    width: usize,
    bits: Vec<f32>,
    latents: f64,
    hyper_latents: f64,
}

impl<'a> Metered<'a> {
    fn new(model: &'a PreparedModel, stream: &[u8], height: usize, width: usize) -> Result<Metered<'a>> {
        let tables = &model.model().tables;
        let arch = &model.model().arch;
        Ok(Metered {
            reader: LatentReader::new(tables, stream)?,
            tables,
            channels: arch.latents,
            hyper_channels: arch.hyper_latents,
            height,
            width,
            bits: vec![0.0; height * width],
            latents: 0.0,
            hyper_latents: 0.0,
        })
    }

    /// Spreads bits over the latent positions below a hyper-latent.
    fn spread(&mut self, position: usize, bits: f64) {
        let in_row = self.width.div_ceil(HYPER_STRIDE);
        let (top, left) = (position / in_row * HYPER_STRIDE, position % in_row * HYPER_STRIDE);
        let rows = top..(top + HYPER_STRIDE).min(self.height);
        let columns = left..(left + HYPER_STRIDE).min(self.width);
        let share = bits / (rows.len() * columns.len()) as f64;
        for row in rows {
            for bits in &mut self.bits[row * self.width..][columns.clone()] {
                *bits += share as f32;
            }
        }
    }
}

impl Symbols for Metered<'_> {
    fn hyper_latent(&mut self, index: usize, _: Step, bin: u8) -> i16 {
        let symbol = self.reader.read(bin);
        if bin > 0 {
            let bits = self.tables.cost(bin, symbol);
            self.hyper_latents += bits;
            self.spread(index / self.hyper_channels, bits);
        }
        symbol
    }

    fn latent(&mut self, index: usize, _: Step, bin: u8, _: i16) -> i16 {
        let symbol = self.reader.read(bin);
        let bits = self.tables.cost(bin, symbol);
        self.latents += bits;
        self.bits[index / self.channels] += bits as f32;
        symbol
    }
}
