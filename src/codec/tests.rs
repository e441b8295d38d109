use std::sync::Arc;

use image::{DynamicImage, GrayImage, RgbImage};

use super::encode::encode_tiles;
use super::synthesis::{Mosaic, synthesise};
use super::view::View;
use super::*;
use crate::model::{Model, ModelId};
use crate::nn::Level;
use crate::tile::TileGrid;

#[path = "../../tests/support/synthetic.rs"]
mod synthetic;

const ID: ModelId = ModelId(*b"tiny");

fn tiny() -> Model {
    synthetic::model(synthetic::TINY)
}

fn options(model: &Arc<PreparedModel>, quality: f32) -> (EncodeOptions, DecodeOptions) {
    (
        EncodeOptions { quality, effort: 0, model: Some(Arc::clone(model)) },
        DecodeOptions { models: vec![Arc::clone(model)], ..Default::default() },
    )
}

fn picture(width: u32, height: u32) -> DynamicImage {
    let mut random = synthetic::Random(u64::from(width * 1000 + height));
    RgbImage::from_fn(width, height, |x, y| {
        let noise = random.within(20);
        [x * 3, y * 2, x + y].map(|v| ((v % 230) as i32 + noise).clamp(0, 255) as u8).into()
    })
    .into()
}

/// What the decoder makes of a file is what the encoder thought it would.
fn round_trip(model: &Arc<PreparedModel>, picture: &DynamicImage, quality: f32) {
    let (encoding, decoding) = options(model, quality);
    let bytes = encode(picture, &encoding).unwrap();
    let (header, tiles) = encode_tiles(picture, &encoding).unwrap();
    let mosaic = Mosaic {
        grid: TileGrid::new(header.width, header.height),
        channels: model.model().arch.latents,
        tiles: tiles.into_iter().map(|tile| Some(tile.y_hat)).collect(),
    };
    let view = View::new((header.width, header.height), None, Scale::Full).unwrap();
    let expected = synthesise(model, header.quality, header.colour, &view, &mosaic).unwrap();
    assert!(decode(&bytes, &decoding).unwrap() == expected, "{}x{}", picture.width(), picture.height());
    assert_eq!(expected.color(), picture.color());
}

#[test]
fn the_decoder_sees_what_the_encoder_saw_at_every_small_size() {
    let model = PreparedModel::new(tiny(), ID);
    for width in 1..=20 {
        for height in 1..=20 {
            round_trip(&model, &picture(width, height), (5 * width) as f32);
        }
    }
}

#[test]
fn the_decoder_sees_what_the_encoder_saw_at_larger_sizes() {
    let model = PreparedModel::new(tiny(), ID);
    for (width, height) in [(64, 64), (65, 63), (130, 1), (1, 130), (127, 81), (100, 130)] {
        for quality in [0.0, 33.3, 100.0] {
            round_trip(&model, &picture(width, height), quality);
        }
    }
}

#[test]
fn several_tiles_and_grey_survive() {
    let model = PreparedModel::new(tiny(), ID);
    round_trip(&model, &picture(1100, 40), 60.0);
    round_trip(&model, &picture(1030, 1050), 20.0);
    round_trip(&model, &GrayImage::from_fn(70, 50, |x, y| [(x * y) as u8].into()).into(), 80.0);
}

#[test]
fn neither_instructions_nor_threads_change_a_bit() {
    let picture = picture(1100, 70);
    let run = |level: Level, threads: usize| {
        let (mut encoding, decoding) = options(&PreparedModel::at_level(tiny(), ID, level), 70.0);
        encoding.effort = 2;
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let bytes = encode(&picture, &encoding).unwrap();
            let decoded = decode(&bytes, &decoding).unwrap();
            (bytes, decoded)
        })
    };
    let expected = run(Level::Scalar, 1);
    assert!(run(Level::Scalar, 3) == expected);
    assert!(run(Level::best(), 1) == expected);
    assert!(run(Level::best(), 2) == expected);
}

#[test]
fn symbols_are_not_all_zero() {
    let model = PreparedModel::new(tiny(), ID);
    let sizes = [0.0, 50.0, 100.0]
        .map(|quality| encode(&picture(64, 64), &options(&model, quality).0).unwrap().len());
    assert!(sizes[0] < sizes[1] && sizes[1] < sizes[2], "{sizes:?}");
}

#[test]
fn effort_buys_a_better_picture_for_the_bits() {
    let picture = image::open("testdata/images/parrot-256x256.png").unwrap();
    for quality in [10.0, 50.0, 90.0] {
        let objective = |effort: u8| {
            let bytes = encode(&picture, &EncodeOptions { quality, effort, ..Default::default() }).unwrap();
            let decoded = decode(&bytes, &DecodeOptions::default()).unwrap();
            let errors = picture.as_bytes().iter().zip(decoded.as_bytes());
            let squares: f64 = errors.map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2)).sum();
            let lambda = probe(&bytes).unwrap().quality.lambda();
            8.0 * bytes.len() as f64 + lambda * squares / 3.0
        };
        let [none, some, more] = [0, 2, 5].map(objective);
        assert!(some < 0.998 * none && more < some, "quality {quality}: {none}, {some}, {more}");
    }
}

#[test]
fn refined_tiles_and_ragged_edges_survive() {
    let model = PreparedModel::new(tiny(), ID);
    for (width, height) in [(1, 1), (33, 17), (1030, 70)] {
        let (mut encoding, decoding) = options(&model, 60.0);
        encoding.effort = 1;
        let picture = picture(width, height);
        let decoded = decode(&encode(&picture, &encoding).unwrap(), &decoding).unwrap();
        assert_eq!((decoded.width(), decoded.height()), (width, height));
    }
    let (encoding, _) = options(&model, 60.0);
    let error = encode(&picture(8, 8), &EncodeOptions { effort: MAX_EFFORT + 1, ..encoding }).unwrap_err();
    assert!(error.to_string().contains("effort 10"), "{error}");
}
