//! A tile's stream to latents.

use super::filter::Filter;
use super::latents::{Quantiser, Symbols, walk};
use super::prepared::PreparedModel;
use crate::entropy::{BINS, LatentReader};
use crate::error::Result;
use crate::model::step::Step;
use crate::model::trellis::State;
use crate::nn::Tensor;

/// A tile after decoding.
pub(super) struct ReadTile {
    /// The quantised latents.
    pub y_hat: Tensor,
    /// What the tile's pixels go through.
    pub filter: Option<Filter>,
    /// The checksum of the symbols.
    pub checksum: crc32fast::Hasher,
}

/// Decodes what [`super::latents::write`] coded, which is `filtered` if it begins with a filter.
pub(super) fn read(
    model: &PreparedModel,
    quantiser: &Quantiser,
    (height, width): (usize, usize),
    stream: &[u8],
    filtered: bool,
) -> Result<ReadTile> {
    let mut reading = Reading::new(model, quantiser, stream)?;
    let filter = if filtered { Filter::read(&mut reading)? } else { None };
    let y_hat = walk(model, quantiser, height, width, &mut reading)?;
    Ok(ReadTile { y_hat, filter, checksum: reading.finish()? })
}

/// Reads a tile's symbols.
pub(super) struct Reading<'t> {
    reader: LatentReader<'t>,
    state: State,
}

impl<'t> Reading<'t> {
    pub fn new(model: &'t PreparedModel, quantiser: &Quantiser, stream: &[u8]) -> Result<Reading<'t>> {
        let reader = LatentReader::new(&model.model().tables, stream)?;
        Ok(Reading { reader, state: State::start(quantiser.trellis) })
    }

    /// The next symbol of quantiser 0.
    #[inline(always)]
    pub fn symbol(&mut self, bin: u8) -> i16 {
        self.reader.read(bin)
    }

    /// The next latent's bin, symbol and value in half steps.
    #[inline(always)]
    pub fn latent(&mut self, bin: u8) -> (u8, i16, i32) {
        let bin = bin + self.state.quantiser() * BINS as u8;
        let symbol = self.reader.read(bin);
        (bin, symbol, self.state.advance(symbol))
    }

    /// Each half starts afresh.
    pub fn end_half(&mut self) {
        self.state.restart();
    }

    /// The checksum of the symbols.
    pub fn finish(self) -> Result<crc32fast::Hasher> {
        self.reader.finish()
    }
}

impl Symbols for Reading<'_> {
    #[inline]
    fn hyper_latent(&mut self, _: usize, _: Step, bin: u8) -> i16 {
        self.symbol(bin)
    }

    #[inline]
    fn latent(&mut self, _: usize, bin: u8, _: i16) -> i32 {
        Reading::latent(self, bin).2
    }

    fn end_half(&mut self, _: &mut Tensor) {
        Reading::end_half(self);
    }
}
