//! Where the bits of a file went.

use super::decode::{check_limits, lanes};
use super::filter::Filter;
use super::latents::{HyperChannel, Quantiser, Symbols, walk};
use super::options::DecodeOptions;
use super::prepared::{self, PreparedModel};
use super::reading::Reading;
use super::row::CodedRow;
use crate::container::{Container, split_streams};
use crate::entropy::BINS;
use crate::error::{Error, Result};
use crate::model::arch::HYPER_STRIDE;
use crate::model::trellis::symbol_of;
use crate::nn::Tensor;
use crate::tile::{Tile, TileGrid};

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
    check_limits(&container, &options.limits)?;
    let TileGrid { height, width, .. } = TileGrid::new(container.header.width, container.header.height);
    let bits = vec![0.0; height * width];
    let mut map = BitMap { height, width, bits, latents: 0.0, hyper_latents: 0.0 };
    observe(&container, options, |model, tile, symbol| {
        let bits = model.model().tables.cost(symbol.bin, symbol.value);
        let in_tile = tile.columns.len();
        let (position, side) = match symbol.hyper {
            true => (symbol.index / model.model().arch.hyper_latents, HYPER_STRIDE),
            false => (symbol.index / model.model().arch.latents, 1),
        };
        *(if symbol.hyper { &mut map.hyper_latents } else { &mut map.latents }) += bits;
        // Spread over the latent positions below.
        let across = in_tile.div_ceil(side);
        let (top, left) = (position / across * side, position % across * side);
        let rows = top..(top + side).min(tile.rows.len());
        let columns = left..(left + side).min(in_tile);
        let share = bits / (rows.len() * columns.len()) as f64;
        for row in rows {
            let start = (tile.rows.start + row) * map.width + tile.columns.start;
            for bits in &mut map.bits[start..][columns.clone()] {
                *bits += share as f32;
            }
        }
    })?;
    Ok(map)
}

/// The symbols of a file's colours that are coded.
#[cfg(feature = "train")]
pub(crate) fn symbols(bytes: &[u8], options: &DecodeOptions) -> Result<Vec<Symbol>> {
    let container = Container::read(bytes)?;
    check_limits(&container, &options.limits)?;
    let mut all = Vec::new();
    observe(&container, options, |_, _, symbol| all.push(symbol))?;
    Ok(all)
}

/// A symbol that is coded.
pub(crate) struct Symbol {
    /// Whether it is a hyper-latent's.
    pub hyper: bool,
    /// Its place in the tile's tensor.
    pub index: usize,
    /// Its distribution.
    pub bin: u8,
    /// What it says.
    pub value: i16,
}

/// Reads the symbols of the colours of a file within limits, and shows each that is coded.
fn observe(
    container: &Container<'_>,
    options: &DecodeOptions,
    mut show: impl FnMut(&PreparedModel, &Tile, Symbol),
) -> Result<()> {
    let header = &container.header;
    let grid = TileGrid::new(header.width, header.height);
    let lanes = lanes(header);
    let streams = split_streams(container.latents, lanes * grid.count())?;
    let model = prepared::find(header.model, &options.models)?;
    let quantiser = Quantiser::new(model.model(), header.quality, lanes);
    let mut checksum = container.hasher();
    for (index, streams) in streams.chunks(lanes).enumerate() {
        let tile = grid.tile(index);
        let (height, width) = (tile.rows.len(), tile.columns.len());
        let mut reading = Reading::new(&model, &quantiser, streams)?;
        if header.filtered {
            Filter::read(&mut reading)?;
        }
        let mut observed = Observed { reading, show: |symbol| show(&model, &tile, symbol) };
        walk(&model, &quantiser, height, width, &mut observed)?;
        checksum.combine(&observed.reading.finish()?);
    }
    checksum.update(container.alpha.unwrap_or_default());
    if checksum.finalize() != container.checksum {
        return Err(Error::Format("the checksum of the latents does not match".into()));
    }
    Ok(())
}

/// Reads one tile's symbols and shows them.
struct Observed<'a, F> {
    reading: Reading<'a>,
    show: F,
}

impl<F: FnMut(Symbol)> Symbols for Observed<'_, F> {
    fn hyper_latent(&mut self, index: usize, channel: &HyperChannel, _: i16) -> i16 {
        let bin = channel.bin;
        let value = self.reading.symbol(bin);
        if bin > 0 {
            (self.show)(Symbol { hyper: true, index, bin, value });
        }
        value
    }

    fn row(&mut self, coded: CodedRow<'_>, values: &mut [i32]) {
        let mut states = self.reading.states().to_vec();
        self.reading.row(coded.bins, values);
        let (lanes, mut number) = (states.len(), 0);
        coded.each(|index, bin, _| {
            let state = &mut states[number % lanes];
            let bin = bin + state.quantiser() * BINS as u8;
            let value = symbol_of(values[number]);
            state.advance(value);
            number += 1;
            (self.show)(Symbol { hyper: false, index, bin, value });
        });
    }

    fn end_half(&mut self, _: &mut Tensor) {
        self.reading.end_half();
    }
}
