//! What the trainer needs to see of the encoder.

use image::DynamicImage;

use super::encode::{Analysed, for_each_tile, lanes, unzip};
use super::latents::{self, Weights, Wish};
use super::pixels;
use super::prepared::PreparedModel;
use super::trellis::{self, Wanted};
use crate::container::{self, Header};
use crate::entropy::{BINS, Costs};
use crate::error::Result;
use crate::model::QualityIndex;
use crate::model::trellis::{Trellis, half_steps};
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
    let (in_lanes, model) = (lanes(picture) > 1, model.id());
    let header = Header { width, height, colour, alpha: false, filtered: false, in_lanes, quality, model };
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

pub(crate) use super::latents::neighbours;

/// The hyper-latents of a picture's tiles as a decoder will see them at effort 0.
pub(crate) fn coded_hyper_latents(
    picture: &DynamicImage,
    model: &PreparedModel,
    quality: QualityIndex,
) -> Result<Vec<Tensor>> {
    let Analysed { quantiser, tiles, .. } = Analysed::new(picture, model, quality)?;
    let z_hat = |(y, z): &(Tensor, Tensor)| {
        Ok(latents::quantise(model, &quantiser, Wish { y, z, weights: None })?.z_hat)
    };
    tiles.iter().map(z_hat).collect()
}

/// The symbols that effort 0 gives to latents of these bins (of quantiser 0) and distances
/// from their means in half steps: their values in half steps, and their bits.
pub(crate) fn chosen(
    latents: impl Iterator<Item = (u8, f32)>,
    trellis: Trellis,
    lanes: usize,
    costs: &Costs,
) -> Vec<(i32, f32)> {
    let wanted: Vec<Wanted> = latents
        .enumerate()
        .map(|(index, (bin, distance))| Wanted {
            index: index as u32,
            lane: (index % lanes) as u8,
            mean: 0,
            bin,
            distance: latents::reach(distance),
            weight: latents::WEIGHT,
        })
        .collect();
    let value = |coded: latents::Coded| {
        let quantiser = coded.bin / BINS as u8;
        (half_steps(quantiser, coded.symbol), costs.bits(coded.bin, coded.symbol))
    };
    trellis::choose(trellis, &wanted, lanes, costs).into_iter().map(value).collect()
}
