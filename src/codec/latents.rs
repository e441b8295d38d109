//! One tile's latents: to symbols and back.
//!
//! [`walk`] is the order of a tile's symbols and everything both directions
//! share: distributions, means and reconstruction. What a symbol *is*, the
//! encoder chooses and the decoder reads; that is the trait [`Symbols`], with
//! one implementation for each.

use super::prepared::PreparedModel;
use super::tensors::{concat, crop_to, extend_edges};
use crate::entropy::{LatentReader, LatentWriter, scale_bin};
use crate::error::Result;
use crate::model::arch::{HYPER_STRIDE, in_first_half};
use crate::model::step::Step;
use crate::model::{Model, Part, QualityIndex};
use crate::nn::Tensor;

/// The quantisation of one picture.
pub(super) struct Quantiser {
    quality: QualityIndex,
    latents: Vec<Channel>,
    hyper_latents: Vec<HyperChannel>,
}

struct Channel {
    step: Step,
    step_log2: i32,
}

struct HyperChannel {
    step: Step,
    bin: u8,
}

impl Quantiser {
    /// Steps and scales of a model at a quality.
    pub fn new(model: &Model, quality: QualityIndex) -> Quantiser {
        let (m, n) = (model.arch.latents, model.arch.hyper_latents);
        let latents = quality.lerp(&model.y_step_log2, m).into_iter();
        let steps = quality.lerp(&model.z_step_log2, n).into_iter();
        let scales = quality.lerp(&model.z_scale_log2, n).into_iter();
        Quantiser {
            quality,
            latents: latents
                .map(|step_log2| Channel { step: Step::from_log2(step_log2), step_log2 })
                .collect(),
            hyper_latents: steps
                .zip(scales)
                .map(|(step, scale)| HyperChannel { step: Step::from_log2(step), bin: scale_bin(scale, 0) })
                .collect(),
        }
    }
}

/// Where symbols come from. `index` counts the values of the tile's tensor.
pub(super) trait Symbols {
    /// The symbol of a hyper-latent; 0 in bin 0.
    fn hyper_latent(&mut self, index: usize, step: Step, bin: u8) -> i16;
    /// The symbol of a latent. Never called for bin 0.
    fn latent(&mut self, index: usize, step: Step, bin: u8, mean: i16) -> i16;
}

/// Visits all symbols of a tile of `height x width` latents in the order of its
/// stream, and returns the quantised latents.
pub(super) fn walk(
    model: &PreparedModel,
    quantiser: &Quantiser,
    height: usize,
    width: usize,
    symbols: &mut impl Symbols,
) -> Result<Tensor> {
    let arch = &model.model().arch;
    let run =
        |part, input: &Tensor| -> Result<Tensor> { Ok(model.network(part)?.run(input, quantiser.quality)) };

    let mut z_hat =
        Tensor::new(height.div_ceil(HYPER_STRIDE), width.div_ceil(HYPER_STRIDE), arch.hyper_latents);
    for (position, z) in z_hat.data.chunks_exact_mut(arch.hyper_latents).enumerate() {
        for (c, (z, channel)) in z.iter_mut().zip(&quantiser.hyper_latents).enumerate() {
            let symbol = symbols.hyper_latent(position * arch.hyper_latents + c, channel.step, channel.bin);
            *z = saturate(channel.step.dequantize(symbol.into()));
        }
    }
    let features = crop_to(run(Part::HyperSynthesis, &z_hat)?, height, width);

    let mut y_hat = Tensor::new(height, width, arch.latents);
    let prior = run(Part::Prior, &features)?;
    walk_half(true, &prior, quantiser, &mut y_hat, symbols);
    let context = run(Part::Context, &concat(&features, &y_hat))?;
    walk_half(false, &context, quantiser, &mut y_hat, symbols);
    Ok(y_hat)
}

/// Visits the latents of one half. `predictions` holds, at each position, the
/// means of all channels, then the log2 of their scales.
fn walk_half(
    first: bool,
    predictions: &Tensor,
    quantiser: &Quantiser,
    y_hat: &mut Tensor,
    symbols: &mut impl Symbols,
) {
    let m = quantiser.latents.len();
    let width = y_hat.width;
    let positions = y_hat.data.chunks_exact_mut(m).zip(predictions.data.chunks_exact(2 * m));
    for (position, (y_hat, prediction)) in positions.enumerate() {
        let (means, scales) = prediction.split_at(m);
        let start = usize::from(in_first_half(position / width, position % width, 0) != first);
        for c in (start..m).step_by(2) {
            let channel = &quantiser.latents[c];
            let bin = scale_bin(scales[c].into(), channel.step_log2);
            y_hat[c] = if bin == 0 {
                means[c]
            } else {
                let symbol = symbols.latent(position * m + c, channel.step, bin, means[c]);
                saturate(i32::from(means[c]).saturating_add(channel.step.dequantize(symbol.into())))
            };
        }
    }
}

fn saturate(value: i32) -> i16 {
    value.clamp(i16::MIN.into(), i16::MAX.into()) as i16
}

/// A tile after encoding.
pub(super) struct WrittenTile {
    /// The tile's stream.
    pub stream: Vec<u8>,
    /// The checksum of its symbols.
    pub checksum: crc32fast::Hasher,
    /// The latents as a decoder will see them.
    #[cfg(test)]
    pub y_hat: Tensor,
}

/// Codes a tile's latents.
pub(super) fn write(model: &PreparedModel, quantiser: &Quantiser, y: &Tensor) -> Result<WrittenTile> {
    let up = |n: usize| n.next_multiple_of(HYPER_STRIDE);
    let padded = extend_edges(y, up(y.height), up(y.width));
    let z = model.network(Part::HyperAnalysis)?.run(&padded, quantiser.quality);
    let mut rounding = Rounding { writer: LatentWriter::new(&model.model().tables), y, z: &z };
    let _y_hat = walk(model, quantiser, y.height, y.width, &mut rounding)?;
    let (stream, checksum) = rounding.writer.finish();
    Ok(WrittenTile {
        stream,
        checksum,
        #[cfg(test)]
        y_hat: _y_hat,
    })
}

/// Decodes what [`write`] coded: the latents, and the checksum of the symbols.
pub(super) fn read(
    model: &PreparedModel,
    quantiser: &Quantiser,
    height: usize,
    width: usize,
    stream: &[u8],
) -> Result<(Tensor, crc32fast::Hasher)> {
    let mut reader = LatentReader::new(&model.model().tables, stream)?;
    let y_hat = walk(model, quantiser, height, width, &mut reader)?;
    Ok((y_hat, reader.finish()?))
}

impl Symbols for LatentReader<'_> {
    #[inline]
    fn hyper_latent(&mut self, _: usize, _: Step, bin: u8) -> i16 {
        self.read(bin)
    }

    #[inline]
    fn latent(&mut self, _: usize, _: Step, bin: u8, _: i16) -> i16 {
        self.read(bin)
    }
}

/// Rounds to symbols and writes them.
struct Rounding<'a> {
    writer: LatentWriter<'a>,
    y: &'a Tensor,
    z: &'a Tensor,
}

impl Symbols for Rounding<'_> {
    #[inline]
    fn hyper_latent(&mut self, index: usize, step: Step, bin: u8) -> i16 {
        let symbol = if bin == 0 { 0 } else { nearest(step.quotient_q8(self.z.data[index].into())) };
        self.writer.write(bin, symbol);
        symbol
    }

    #[inline]
    fn latent(&mut self, index: usize, step: Step, bin: u8, mean: i16) -> i16 {
        let symbol = nearest(step.quotient_q8(i32::from(self.y.data[index]) - i32::from(mean)));
        self.writer.write(bin, symbol);
        symbol
    }
}

/// The symbol nearest to a quotient, halves up.
#[inline]
fn nearest(quotient_q8: i32) -> i16 {
    saturate((quotient_q8 + 128) >> 8)
}
