//! What the trainer needs to see of the encoder.

use image::DynamicImage;

use super::classes::BLOCK;
use super::encode::{Analysed, encode_tiles, for_each_tile, lanes, unzip};
use super::filter::PAIRS;
use super::latents::{self, Weights, Wish};
use super::lines::Filtering;
use super::prepared::PreparedModel;
use super::trellis::{self, Wanted};
use super::{pixels, reading, tensors};
use crate::container::{self, Header};
use crate::entropy::{BINS, Costs};
use crate::error::Result;
use crate::model::arch::{PIXEL_BLOCK, PIXEL_CHANNELS};
use crate::model::class_filters::{self, CLASS_TAPS};
use crate::model::trellis::{Trellis, half_steps};
use crate::model::{Part, QualityIndex};
use crate::nn::Tensor;
use crate::tile::TileGrid;

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

/// A picture's pixels as the synthesis transform gives them at an effort, and as they should be,
/// both in units of its output.
pub(crate) fn synthesis_output(
    picture: &DynamicImage,
    model: &PreparedModel,
    quality: QualityIndex,
    effort: u8,
) -> Result<[Tensor; 2]> {
    let tiles = encode_tiles(picture, model, quality, effort, false)?;
    let grid = TileGrid::new(picture.width(), picture.height());
    let quantiser = latents::Quantiser::new(model.model(), quality, lanes(picture));
    let parts = tiles.iter().enumerate().map(|(index, written)| {
        let tile = grid.tile(index);
        let streams: Vec<&[u8]> = written.streams.iter().map(|stream| &stream[..]).collect();
        let read = reading::read(model, &quantiser, (tile.rows.len(), tile.columns.len()), &streams, false)?;
        Ok(read.y_hat)
    });
    let y_hat = tensors::join(&grid, &parts.collect::<Result<Vec<_>>>()?);
    let output = model.network(Part::Synthesis, quality)?.run(&y_hat, quality);
    let wanted = pixels::wanted(&*pixels::source(picture), 0..output.height, 0..output.width);
    Ok([output, wanted])
}

/// Shows every second line of a synthesis output whose errors are like `unit`: of each pixel and
/// colour within a picture of this width and height its block's class, what the class's weights
/// see, and what is missing.
pub(crate) fn each_class_sample(
    [output, wanted]: &[Tensor; 2],
    (width, height): (usize, usize),
    unit: i16,
    mut show: impl FnMut(usize, &[i16; CLASS_TAPS], i16),
) {
    let limits = class_filters::limits(unit);
    let mut seen = vec![[0; CLASS_TAPS]; width];
    Filtering::each_line(output, Some(unit), |y, line| {
        if y >= height || (y + y / BLOCK) % 2 == 1 {
            return;
        }
        let blocks = &wanted.data[y / PIXEL_BLOCK * wanted.width * PIXEL_CHANNELS..];
        for colour in 0..3 {
            for pair in 0..PAIRS.len() {
                let of_pair = line.clipped(colour, pair, limits, 0..width);
                for (seen, [narrow, wide]) in seen.iter_mut().zip(of_pair) {
                    (seen[2 * pair], seen[2 * pair + 1]) = (narrow, wide);
                }
            }
            let values = line.line().pixels(colour);
            for (x, seen) in seen.iter().enumerate() {
                let pixel = y % PIXEL_BLOCK * PIXEL_BLOCK + x % PIXEL_BLOCK;
                let wanted = blocks[x / PIXEL_BLOCK * PIXEL_CHANNELS + 3 * pixel + colour];
                show(line.classes()[x / BLOCK].class.into(), seen, wanted.saturating_sub(values[x]));
            }
        }
    });
}
