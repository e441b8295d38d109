//! What the trainer needs to see of the encoder.

use image::DynamicImage;

use super::encode::{Analysed, for_each_tile, unzip};
use super::latents::{self, Coded, WEIGHT, Weights, Wish, reach};
use super::prediction::own_slopes;
use super::prepared::PreparedModel;
use super::trellis::{self, Wanted};
use super::{pixels, tensors};
use crate::container::{self, Header};
use crate::entropy::BINS;
use crate::error::Result;
use crate::model::QualityIndex;
use crate::model::trellis::half_steps;
use crate::nn::Tensor;

/// A picture as the nearest symbols, which `encode` weighs against their bits: for
/// comparisons with networks that only round. Alpha is left out.
pub(crate) fn encode_nearest(
    picture: &DynamicImage,
    model: &PreparedModel,
    quality: QualityIndex,
) -> Result<Vec<u8>> {
    let Analysed { grid, quantiser, tiles, .. } = Analysed::new(picture, model, quality)?;
    let tiles = for_each_tile(grid.count(), |index| {
        let (y, z) = &tiles[index];
        let weights = Weights { y: vec![1e6; y.data.len()], z: vec![1e6; z.data.len()] };
        latents::write(model, &quantiser, Wish { y, z, weights: Some(&weights) }, None)
    })?;
    let (streams, checksums) = unzip(tiles);
    let (width, height) = (picture.width(), picture.height());
    let colour = pixels::colour(picture)?;
    let header = Header { width, height, colour, alpha: false, filtered: false, quality, model: model.id() };
    container::write(&header, &streams, &checksums, None, &Default::default())
}

/// The latents of a picture as a decoder will see them at effort 0: what a synthesis
/// transform is trained on.
pub(crate) fn coded_latents(
    picture: &DynamicImage,
    model: &PreparedModel,
    quality: QualityIndex,
) -> Result<Tensor> {
    Analysed::new(picture, model, quality)?.quantise(model)
}

/// The latents of a picture before they are quantised: what predictions are trained on.
pub(crate) fn latents(
    picture: &DynamicImage,
    model: &PreparedModel,
    quality: QualityIndex,
) -> Result<Tensor> {
    let Analysed { grid, tiles, .. } = Analysed::new(picture, model, quality)?;
    let mut y = Tensor::new(grid.height, grid.width, model.model().arch.latents);
    for (index, (part, _)) in tiles.iter().enumerate() {
        tensors::paste(&mut y, &grid.tile(index), part);
    }
    Ok(y)
}

/// How a latent is coded at effort 0, and what that costs.
pub(crate) struct Chosen {
    /// Its distance from the mean as a decoder sees it, in half steps.
    pub value: f32,
    /// The bits of its symbol.
    pub bits: f32,
    /// How they grow with an octave of the scale.
    pub bits_by_octave: f32,
    /// Half steps between the distance that is wanted and the value.
    pub error: f32,
}

impl Chosen {
    /// The cost of an error in bits, and how it grows with a half step of the wanted distance.
    pub fn error_cost(&self) -> (f32, f32) {
        (WEIGHT * self.error * self.error, 2.0 * WEIGHT * self.error)
    }
}

/// What a codec of two quantisers makes of one half of a tile's latents: for each its
/// distribution's bin and how many half steps it is from the mean. Bin 0 counts as bin 1,
/// so that there is something to say for leaving it.
pub(crate) fn choose(latents: &[(u8, f32)], model: &PreparedModel) -> Vec<Chosen> {
    let costs = model.costs();
    let wanted: Vec<Wanted> = latents
        .iter()
        .zip(0..)
        .map(|(&(bin, distance), index)| Wanted {
            index,
            mean: 0,
            bin: bin.max(1),
            distance: reach(distance),
            weight: WEIGHT,
        })
        .collect();
    let chosen = |(wanted, coded): (&Wanted, Coded)| {
        let value = half_steps(coded.bin / BINS as u8, coded.symbol) as f32;
        Chosen {
            value,
            bits: costs.bits(coded.bin, coded.symbol),
            bits_by_octave: own_slopes(costs, coded).1,
            error: wanted.distance - value,
        }
    };
    wanted.iter().zip(trellis::dependent(&wanted, costs)).map(chosen).collect()
}
