//! One tile's latents: to symbols and back.
//!
//! [`walk`] is the order of a tile's symbols and everything both directions
//! share: distributions, means and reconstruction. What a symbol *is*, the
//! encoder chooses and the decoder reads; that is the trait [`Symbols`], with
//! one implementation for each.

use std::cell::RefCell;
use std::ops::Range;

use super::filter::Filter;
use super::prepared::PreparedModel;
use super::row::{self, CodedRow};
use super::tensors::{crop_to, extend_edges};
use super::trellis::{self, Wanted};
use crate::entropy::{BINS, Costs, LatentWriter, bin_start, scale_bin};
use crate::error::Result;
use crate::model::arch::HYPER_STRIDE;
use crate::model::step::Step;
use crate::model::trellis::{Trellis, half_steps};
use crate::model::{Model, PREDICTION_BITS, Part, QualityIndex};
use crate::nn::{Source, Tensor, Window};

/// The quantisation of one picture.
pub(super) struct Quantiser {
    pub(super) quality: QualityIndex,
    /// Half the step of each latent channel.
    pub(super) half_steps: Vec<Step>,
    /// The states that latents go through, on their own in each lane.
    pub(super) trellis: Trellis,
    /// How many lanes the coded latents of a row take turns in.
    pub(super) lanes: usize,
    /// Of the even latent channels and of the odd ones, see [`bin_start`].
    pub(super) bin_starts: [Vec<i16>; 2],
    pub(super) hyper_latents: Vec<HyperChannel>,
}

/// How one channel of the hyper-latents is coded.
pub(super) struct HyperChannel {
    pub step: Step,
    /// 0 where nothing is coded.
    pub bin: u8,
    /// What the hyper-latents to the left and above predict, with [`PREDICTION_BITS`].
    weights: [i32; 2],
}

/// The hyper-latents to the left of one and above it. Where there is none the other one takes
/// its place; the first of all has zeros.
#[inline]
pub(crate) fn neighbours(z_hat: &Tensor, index: usize) -> [i16; 2] {
    let (channels, stride) = (z_hat.channels, z_hat.width * z_hat.channels);
    let left = (index % stride >= channels).then(|| z_hat.data[index - channels]);
    let above = index.checked_sub(stride).map(|above| z_hat.data[above]);
    [left.or(above), above.or(left)].map(Option::unwrap_or_default)
}

impl HyperChannel {
    /// The mean of the hyper-latent at `index` of a tensor of which all before is known.
    #[inline]
    pub fn mean(&self, z_hat: &Tensor, index: usize) -> i16 {
        let [left, above] = neighbours(z_hat, index).map(i32::from);
        let sum = self.weights[0] * left + self.weights[1] * above;
        saturate((sum + (1 << (PREDICTION_BITS - 1))) >> PREDICTION_BITS)
    }

    /// The value of a symbol around a mean.
    #[inline]
    pub fn value(&self, mean: i16, symbol: i16) -> i16 {
        saturate(i32::from(mean) + self.step.dequantize(symbol.into()))
    }
}

impl Quantiser {
    /// Steps and scales of a model at a quality.
    pub fn new(model: &Model, quality: QualityIndex, lanes: usize) -> Quantiser {
        let (m, n) = (model.arch.latents, model.arch.hyper_latents);
        let latents = quality.lerp(&model.y_step_log2, m);
        let half_steps = latents.iter().map(|&log2| Step::from_log2(log2).half()).collect();
        let steps = quality.lerp(&model.z_step_log2, n).into_iter();
        let scales = quality.lerp(&model.z_scale_log2, n).into_iter();
        let predictions = model.z_prediction.chunks_exact(2).map(|pair| [pair[0].into(), pair[1].into()]);
        Quantiser {
            quality,
            half_steps,
            trellis: model.trellis,
            lanes,
            bin_starts: [0, 1]
                .map(|start| latents.iter().skip(start).step_by(2).map(|&log2| bin_start(log2)).collect()),
            hyper_latents: steps
                .zip(scales)
                .zip(predictions.chain(std::iter::repeat([0; 2])))
                .map(|((step, scale), weights)| HyperChannel {
                    step: Step::from_log2(step),
                    bin: scale_bin(scale as i16, bin_start(0)),
                    weights,
                })
                .collect(),
        }
    }
}

/// Bits that an error of one half step, squared, is taken to be worth. A step of one
/// quantiser that is at its optimum is worth 6 / ln 2 bits, squared; half of the 1.4 times
/// as wide ones of two quantisers, 4.2. A little more is better at effort 0, as the
/// analysis transform has weighed the bits before.
pub(super) const WEIGHT: f32 = 5.0;
/// What is added to distances of a half step or more, and in proportion to smaller
/// ones: the analysis transform draws latents towards their means, for rounding.
const REACH: f32 = 0.12;

/// The distance in half steps that is meant by what the analysis transform says.
pub(super) fn reach(distance: f32) -> f32 {
    distance + REACH * distance.clamp(-1.0, 1.0)
}

/// Where symbols come from. `index` counts the values of the tile's tensor.
pub(super) trait Symbols {
    /// The symbol of a hyper-latent around a mean; 0 in bin 0.
    fn hyper_latent(&mut self, index: usize, channel: &HyperChannel, mean: i16) -> i16;
    /// How many half steps each latent of a row is from its mean.
    fn row(&mut self, coded: CodedRow<'_>, values: &mut [i32]);
    /// All latents of a half have been asked for. An encoder, which until now did not
    /// know their values, sets them.
    fn end_half(&mut self, y_hat: &mut Tensor);
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
    let (arch, quality) = (&model.model().arch, quantiser.quality);
    let run =
        |part, input: &Tensor| -> Result<Tensor> { Ok(model.network(part, quality)?.run(input, quality)) };

    let mut z_hat =
        Tensor::new(height.div_ceil(HYPER_STRIDE), width.div_ceil(HYPER_STRIDE), arch.hyper_latents);
    for (index, channel) in (0..z_hat.data.len()).zip(quantiser.hyper_latents.iter().cycle()) {
        let mean = channel.mean(&z_hat, index);
        let symbol = symbols.hyper_latent(index, channel, mean);
        z_hat.data[index] = channel.value(mean, symbol);
    }
    let features = crop_to(run(Part::HyperSynthesis, &z_hat)?, height, width);

    // Rows of predictions are used as soon as they are made. The context network
    // reads a row once, before its second half is filled in.
    let y_hat = RefCell::new(Tensor::new(height, width, arch.latents));
    let mut pass = |first: bool, part, input: &dyn Source| -> Result<()> {
        let window = Window::whole(height, width);
        model.network(part, quality)?.stream(input, quality, &window, |y, predictions| {
            row::walk(first, y, predictions, quantiser, &mut y_hat.borrow_mut(), symbols);
        });
        symbols.end_half(&mut y_hat.borrow_mut());
        Ok(())
    };
    pass(true, Part::Prior, &features)?;
    pass(false, Part::Context, &Known { features: &features, y_hat: &y_hat })?;
    Ok(y_hat.into_inner())
}

/// The input of the context network: the features, then what is known of the
/// latents.
struct Known<'a> {
    features: &'a Tensor,
    y_hat: &'a RefCell<Tensor>,
}

impl Source for Known<'_> {
    fn size(&self) -> [usize; 3] {
        let [height, width, channels] = self.features.size();
        [height, width, channels + self.y_hat.borrow().channels]
    }

    fn read(&self, y: usize, columns: Range<usize>, out: &mut [i16]) {
        let y_hat = self.y_hat.borrow();
        let (h, m) = (self.features.channels, y_hat.channels);
        let features = self.features.row(y, columns.clone()).chunks_exact(h);
        let known = y_hat.row(y, columns).chunks_exact(m);
        for (out, (features, known)) in out.chunks_exact_mut(h + m).zip(features.zip(known)) {
            out[..h].copy_from_slice(features);
            out[h..].copy_from_slice(known);
        }
    }
}

pub(super) fn saturate(value: i32) -> i16 {
    value.clamp(i16::MIN.into(), i16::MAX.into()) as i16
}

/// A tile after encoding.
pub(super) struct WrittenTile {
    /// The streams of its lanes.
    pub streams: Vec<Vec<u8>>,
    /// Whether the first begins with what is said of a filter.
    pub filtered: bool,
    /// The checksum of its symbols.
    pub checksum: crc32fast::Hasher,
    /// The latents as a decoder will see them.
    #[cfg(test)]
    pub y_hat: Tensor,
}

/// The hyper-latents of a tile's latents, before they are quantised.
pub(super) fn hyper_latents(model: &PreparedModel, quantiser: &Quantiser, y: &Tensor) -> Result<Tensor> {
    let up = |n: usize| n.next_multiple_of(HYPER_STRIDE);
    let padded = extend_edges(y, up(y.height), up(y.width));
    Ok(model.network(Part::HyperAnalysis, quantiser.quality)?.run(&padded, quantiser.quality))
}

/// What an encoder would like to code: a tile's latents and hyper-latents, before
/// they are quantised.
#[derive(Clone, Copy)]
pub(super) struct Wish<'a> {
    pub y: &'a Tensor,
    pub z: &'a Tensor,
    /// Without them a guess that is good for most, and the nearest hyper-latents.
    pub weights: Option<&'a Weights>,
}

/// What errors may cost.
pub(super) struct Weights {
    /// Bits for one half step, squared, of each latent.
    pub y: Vec<f32>,
    /// Bits for one step, squared, of each hyper-latent.
    pub z: Vec<f32>,
}

/// Codes a tile, after what is said of its filter.
pub(super) fn write(
    model: &PreparedModel,
    quantiser: &Quantiser,
    wish: Wish<'_>,
    filter: Option<Option<&Filter>>,
) -> Result<WrittenTile> {
    let mut writer = LatentWriter::new(&model.model().tables, quantiser.lanes);
    if let Some(filter) = filter {
        Filter::write(filter, &mut writer);
    }
    let mut choosing = Choosing::new(model, quantiser, wish, writer);
    let _y_hat = walk(model, quantiser, wish.y.height, wish.y.width, &mut choosing)?;
    let (streams, checksum) = choosing.sink.finish();
    Ok(WrittenTile {
        streams,
        filtered: filter.is_some(),
        checksum,
        #[cfg(test)]
        y_hat: _y_hat,
    })
}

/// How a latent is coded.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Coded {
    /// The distribution; 0 where nothing is coded.
    pub bin: u8,
    /// What the distribution is centred on.
    pub mean: i16,
    /// The symbol.
    pub symbol: i16,
}

/// What [`write`] would code.
pub(super) struct Quantised {
    /// The latents as a decoder will see them.
    pub y_hat: Tensor,
    /// How they are coded.
    pub coded: Vec<Coded>,
    /// The hyper-latents as a decoder will see them.
    pub z_hat: Tensor,
    /// How they are coded.
    pub hyper_coded: Vec<Coded>,
}

impl Quantised {
    /// The bits of all symbols.
    pub fn bits(&self, costs: &Costs) -> f64 {
        let all = self.coded.iter().chain(&self.hyper_coded);
        all.map(|coded| f64::from(costs.bits(coded.bin, coded.symbol))).sum()
    }
}

/// Quantises a tile.
pub(super) fn quantise(model: &PreparedModel, quantiser: &Quantiser, wish: Wish<'_>) -> Result<Quantised> {
    let list = |values: &Tensor| vec![Coded::default(); values.data.len()];
    let mut choosing = Choosing::new(model, quantiser, wish, [list(wish.y), list(wish.z)]);
    let y_hat = walk(model, quantiser, wish.y.height, wish.y.width, &mut choosing)?;
    let [coded, hyper_coded] = choosing.sink;
    let mut z_hat = wish.z.clone();
    let channels = quantiser.hyper_latents.iter().cycle();
    for ((z, coded), channel) in z_hat.data.iter_mut().zip(&hyper_coded).zip(channels) {
        *z = channel.value(coded.mean, coded.symbol);
    }
    Ok(Quantised { y_hat, coded, z_hat, hyper_coded })
}

/// Takes rounded symbols.
trait Sink {
    fn hyper_latent(&mut self, index: usize, coded: Coded);
    fn latent(&mut self, index: usize, lane: u8, coded: Coded);
}

impl Sink for LatentWriter<'_> {
    #[inline]
    fn hyper_latent(&mut self, _: usize, coded: Coded) {
        self.write(0, coded.bin, coded.symbol);
    }

    #[inline]
    fn latent(&mut self, _: usize, lane: u8, coded: Coded) {
        self.write(lane, coded.bin, coded.symbol);
    }
}

/// Of the latents and of the hyper-latents.
impl Sink for [Vec<Coded>; 2] {
    fn hyper_latent(&mut self, index: usize, coded: Coded) {
        self[1][index] = coded;
    }

    #[inline]
    fn latent(&mut self, index: usize, _: u8, coded: Coded) {
        self[0][index] = coded;
    }
}

/// Chooses symbols.
struct Choosing<'a, S> {
    sink: S,
    wish: Wish<'a>,
    quantiser: &'a Quantiser,
    costs: &'a Costs,
    /// Of each channel, half steps in a latent's unit.
    scales: Vec<f32>,
    /// The latents of the half at hand.
    wanted: Vec<Wanted>,
}

impl<'a, S> Choosing<'a, S> {
    fn new(model: &'a PreparedModel, quantiser: &'a Quantiser, wish: Wish<'a>, sink: S) -> Self {
        let scales = quantiser.half_steps.iter().map(|step| 1.0 / step.to_f32()).collect();
        Choosing { sink, wish, quantiser, costs: model.costs(), scales, wanted: Vec::new() }
    }
}

impl<S: Sink> Symbols for Choosing<'_, S> {
    #[inline]
    fn hyper_latent(&mut self, index: usize, channel: &HyperChannel, mean: i16) -> i16 {
        let &HyperChannel { step, bin, .. } = channel;
        let distance = i32::from(self.wish.z.data[index]) - i32::from(mean);
        let symbol = match self.wish.weights {
            _ if bin == 0 => 0,
            None => nearest(step.quotient_q8(distance)),
            Some(weights) => {
                trellis::cheapest(bin, distance as f32 / step.to_f32(), weights.z[index], self.costs)
            }
        };
        self.sink.hyper_latent(index, Coded { bin, mean, symbol });
        symbol
    }

    fn row(&mut self, coded: CodedRow<'_>, _: &mut [i32]) {
        let mut lane = 0;
        coded.each(|index, bin, mean| {
            let value = i32::from(self.wish.y.data[index]) - i32::from(mean);
            let distance = value as f32 * self.scales[(index as u32 % self.scales.len() as u32) as usize];
            let (distance, weight) = match self.wish.weights {
                Some(weights) => (distance, weights.y[index]),
                None => (reach(distance), WEIGHT),
            };
            self.wanted.push(Wanted { index: index as u32, lane, mean, bin, distance, weight });
            lane = if usize::from(lane) + 1 == self.quantiser.lanes { 0 } else { lane + 1 };
        });
    }

    fn end_half(&mut self, y_hat: &mut Tensor) {
        let coded = trellis::choose(self.quantiser.trellis, &self.wanted, self.quantiser.lanes, self.costs);
        for (wanted, coded) in self.wanted.drain(..).zip(coded) {
            let index = wanted.index as usize;
            let value = half_steps(coded.bin / BINS as u8, coded.symbol);
            let half_step = self.quantiser.half_steps[(wanted.index % y_hat.channels as u32) as usize];
            y_hat.data[index] = saturate(i32::from(coded.mean) + half_step.dequantize(value));
            self.sink.latent(index, wanted.lane, coded);
        }
    }
}

/// The symbol nearest to a quotient, halves up.
#[inline]
fn nearest(quotient_q8: i32) -> i16 {
    saturate((quotient_q8 + 128) >> 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_at_the_borders_stand_in_for_each_other() {
        let mut z_hat = Tensor::new(2, 3, 2);
        (0..).zip(&mut z_hat.data).for_each(|(i, z)| *z = i);
        let of_channel_1: Vec<[i16; 2]> =
            (0..6).map(|position| neighbours(&z_hat, 2 * position + 1)).collect();
        assert_eq!(of_channel_1, [[0, 0], [1, 1], [3, 3], [1, 1], [7, 3], [9, 5]]);
    }

    #[test]
    fn means_are_rounded_and_stay_within_16_bits() {
        let channel = |weights| HyperChannel { step: Step::from_log2(0), bin: 1, weights };
        let mut z_hat = Tensor::new(1, 2, 1);
        let one = 1 << PREDICTION_BITS;
        for (z, weights, mean) in [
            (5, [one / 2, 0], 3),
            (-5, [one / 2, 0], -2),
            (-32768, [4 * one, 4 * one], -32768),
            (7, [0, one], 7),
        ] {
            z_hat.data[0] = z;
            assert_eq!(channel(weights).mean(&z_hat, 1), mean);
        }
    }
}
