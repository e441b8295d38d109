//! A tile's stream to latents.

use super::filter::Filter;
use super::latents::{HyperChannel, Quantiser, Symbols, walk};
use super::prepared::PreparedModel;
use super::row::CodedRow;
use crate::entropy::LatentReader;
use crate::error::Result;
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
    streams: &[&[u8]],
    filtered: bool,
) -> Result<ReadTile> {
    let mut reading = Reading::new(model, quantiser, streams)?;
    let filter = if filtered { Filter::read(&mut reading)? } else { None };
    let y_hat = walk(model, quantiser, height, width, &mut reading)?;
    Ok(ReadTile { y_hat, filter, checksum: reading.finish()? })
}

/// Reads a tile's symbols.
pub(super) struct Reading<'t> {
    reader: LatentReader<'t>,
    /// Of each lane.
    states: Vec<State>,
    /// Whether the model has limits for clipped filters.
    pub has_limits: bool,
}

impl<'t> Reading<'t> {
    /// `streams` are those of the quantiser's lanes.
    pub fn new(model: &'t PreparedModel, quantiser: &Quantiser, streams: &[&[u8]]) -> Result<Reading<'t>> {
        let reader = LatentReader::new(&model.model().tables, streams)?;
        let states = vec![State::start(quantiser.trellis); streams.len()];
        Ok(Reading { reader, states, has_limits: model.model().class_filters.is_some() })
    }

    /// The next symbol of quantiser 0 in the first lane.
    #[inline]
    pub fn symbol(&mut self, bin: u8) -> i16 {
        self.reader.read(bin)
    }

    /// How many half steps each latent of a row is from its mean.
    pub fn row(&mut self, bins: &[u8], values: &mut [i32]) {
        self.reader.read_row(&mut self.states, bins, values);
    }

    /// The states of the lanes.
    pub fn states(&self) -> &[State] {
        &self.states
    }

    /// Each half starts afresh.
    pub fn end_half(&mut self) {
        self.states.iter_mut().for_each(State::restart);
    }

    /// The checksum of the symbols.
    pub fn finish(self) -> Result<crc32fast::Hasher> {
        self.reader.finish()
    }
}

impl Symbols for Reading<'_> {
    #[inline]
    fn hyper_latent(&mut self, _: usize, channel: &HyperChannel, _: i16) -> i16 {
        self.symbol(channel.bin)
    }

    fn row(&mut self, coded: CodedRow<'_>, values: &mut [i32]) {
        Reading::row(self, coded.bins, values);
    }

    fn end_half(&mut self, _: &mut Tensor) {
        Reading::end_half(self);
    }
}
