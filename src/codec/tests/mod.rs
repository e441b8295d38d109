//! Both pipelines together: pictures to bytes and back.

mod filters;

use std::sync::Arc;

use image::{DynamicImage, GrayImage, RgbImage, RgbaImage};

use super::encode::{Analysed, encode_tiles};
use super::latents::{self, Wish};
use super::synthesis::{Mosaic, synthesise};
use super::view::View;
use super::*;
use crate::model::{ByQuality, Model, ModelId, QualityIndex, registry};
use crate::nn::{Level, Tensor};
use crate::tile::TileGrid;

#[path = "../../../tests/support/synthetic.rs"]
mod synthetic;

const ID: ModelId = ModelId(*b"tiny");

fn tiny() -> Model {
    synthetic::dependent(synthetic::TINY)
}

/// A small model, ready to run.
pub(super) fn prepared() -> Arc<PreparedModel> {
    PreparedModel::new(tiny(), ID)
}

/// Values up to a magnitude.
pub(super) fn random(seed: u64, [height, width, channels]: [usize; 3], magnitude: i32) -> Tensor {
    let mut random = synthetic::Random(seed);
    let mut tensor = Tensor::new(height, width, channels);
    tensor.data.iter_mut().for_each(|v| *v = random.within(magnitude) as i16);
    tensor
}

fn options(model: &Arc<PreparedModel>, quality: f32) -> (EncodeOptions, DecodeOptions) {
    (
        EncodeOptions { quality, effort: 0, model: Some(Arc::clone(model)), ..Default::default() },
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
    let header = crate::container::Container::read(&bytes).unwrap().header;
    let tiles = encode_tiles(picture, model, header.quality, 0, false).unwrap();
    let mosaic = Mosaic {
        grid: TileGrid::new(header.width, header.height),
        channels: model.model().arch.latents,
        tiles: tiles.into_iter().map(|tile| Some((tile.y_hat, None))).collect(),
    };
    let view = View::new((header.width, header.height), None, Scale::Full).unwrap();
    let expected = synthesise(model, header.quality, header.colour, &view, &mosaic).unwrap();
    assert!(decode(&bytes, &decoding).unwrap() == expected, "{}x{}", picture.width(), picture.height());
    assert_eq!(expected.color(), picture.color());
}

#[test]
fn each_quality_has_the_networks_of_its_range() {
    let ranged = synthetic::ranged(synthetic::TINY);
    let prepared = PreparedModel::new(ranged.clone(), ID);
    let picture = picture(70, 50);
    for (quality, effort) in [(30.0, 0), (50.0, 0), (90.0, 0), (90.0, 2)] {
        let index = ranged.quality_index(quality).unwrap();
        let networks = ranged.networks.each_ref().map(|ranges| ByQuality::one(ranges.at(index).clone()));
        let alone = PreparedModel::new(Model { networks, ..ranged.clone() }, ID);
        let [both, one] = [&prepared, &alone].map(|model| {
            let (encoding, decoding) = options(model, quality);
            let bytes = encode(&picture, &EncodeOptions { effort, ..encoding }).unwrap();
            (decode(&bytes, &decoding).unwrap(), bytes)
        });
        assert!(both == one, "quality {quality}, effort {effort}");
        // Another range's network makes another picture of the same file.
        let other = Model {
            networks: ranged
                .networks
                .each_ref()
                .map(|ranges| ByQuality::one(ranges.at(QualityIndex(110)).clone())),
            ..ranged.clone()
        };
        let decoding = options(&PreparedModel::new(other, ID), quality).1;
        let same = decode(&both.1, &decoding).is_ok_and(|picture| picture == both.0);
        assert_eq!(same, (100..180).contains(&index.0), "index {}", index.0);
    }
}

#[test]
fn the_decoder_sees_what_the_encoder_saw_at_every_small_size() {
    for model in [tiny(), synthetic::model(synthetic::TINY)].map(|model| PreparedModel::new(model, ID)) {
        for width in 1..=20 {
            for height in 1..=20 {
                round_trip(&model, &picture(width, height), (5 * width) as f32);
            }
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

/// A picture of every type that can be coded, with all kinds of alpha.
fn types() -> Vec<DynamicImage> {
    let mut rgba = picture(75, 40).to_rgba8();
    for (x, y, pixel) in rgba.enumerate_pixels_mut() {
        pixel[3] = [0, 255, (x * 9) as u8, (y * 17) as u8][(x / 10 + y / 10) as usize % 4];
    }
    let rgba = DynamicImage::from(rgba);
    let mut deep = rgba.to_rgba16();
    deep.pixels_mut().for_each(|pixel| pixel[3] = pixel[3].saturating_sub(pixel[0] >> 9));
    let deep = DynamicImage::from(deep);
    vec![
        rgba.to_luma8().into(),
        rgba.to_luma_alpha8().into(),
        rgba.to_rgb8().into(),
        deep.to_luma16().into(),
        deep.to_luma_alpha16().into(),
        deep.to_rgb16().into(),
        rgba,
        deep,
    ]
}

#[test]
fn every_type_comes_back_with_its_alpha() {
    let model = PreparedModel::new(tiny(), ID);
    let (encoding, decoding) = options(&model, 90.0);
    for picture in types() {
        let decoded = decode(&encode(&picture, &encoding).unwrap(), &decoding).unwrap();
        assert_eq!(decoded.color(), picture.color());
        let alpha = |picture: &DynamicImage| picture.to_rgba16().pixels().map(|p| p[3]).collect::<Vec<_>>();
        assert!(alpha(&decoded) == alpha(&picture), "{:?}", picture.color());
        if picture.color().has_alpha() {
            let lossy = EncodeOptions { alpha_quality: Some(30.0), ..encoding.clone() };
            let bytes = encode(&picture, &lossy).unwrap();
            let decoded = decode(&bytes, &decoding).unwrap();
            assert_eq!(decoded.color(), picture.color());
            let colours = |picture: DynamicImage| picture.to_rgb16();
            let kept = decode(&encode(&picture, &encoding).unwrap(), &decoding).unwrap();
            assert!(colours(decoded) == colours(kept), "lossy alpha changes no colour");
        }
    }
}

#[test]
fn alpha_that_says_nothing_costs_nothing() {
    let (encoding, _) = options(&PreparedModel::new(tiny(), ID), 70.0);
    for picture in types().into_iter().filter(|picture| !picture.color().has_alpha()) {
        let opaque: DynamicImage = match picture.color() {
            image::ColorType::L8 => picture.to_luma_alpha8().into(),
            image::ColorType::Rgb8 => picture.to_rgba8().into(),
            image::ColorType::L16 => picture.to_luma_alpha16().into(),
            _ => picture.to_rgba16().into(),
        };
        assert!(encode(&opaque, &encoding).unwrap() == encode(&picture, &encoding).unwrap());
    }
}

#[test]
fn hidden_colours_cost_nothing() {
    let (encoding, _) = options(&PreparedModel::new(tiny(), ID), 70.0);
    let visible = |x: u32, y: u32| (x / 20 + y / 20).is_multiple_of(2);
    let with_hidden = |hidden: fn(u32) -> u8| {
        let mut rgba = picture(100, 60).to_rgba8();
        for (x, y, pixel) in rgba.enumerate_pixels_mut().filter(|(x, y, _)| !visible(*x, *y)) {
            pixel.0 = [hidden(x * 31 + y), hidden(x + y * 57), hidden(x * y), 0];
        }
        encode(&rgba.into(), &encoding).unwrap()
    };
    assert!(with_hidden(|v| (v * 77) as u8) == with_hidden(|_| 0));
}

#[test]
fn metadata_is_carried_and_changes_no_pixel() {
    let (mut encoding, decoding) = options(&PreparedModel::new(tiny(), ID), 70.0);
    let plain = encode(&picture(30, 20), &encoding).unwrap();
    encoding.metadata = crate::Metadata {
        icc: Some(vec![1; 300]),
        orientation: image::metadata::Orientation::Rotate270,
        ..Default::default()
    };
    let carrying = encode(&picture(30, 20), &encoding).unwrap();
    assert_eq!(metadata(&carrying, &decoding.limits).unwrap(), encoding.metadata);
    assert!(metadata(&plain, &decoding.limits).unwrap().is_empty());
    assert!(decode(&carrying, &decoding).unwrap() == decode(&plain, &decoding).unwrap());
    let strict = crate::Limits { max_metadata: 299, ..Default::default() };
    assert!(matches!(metadata(&carrying, &strict), Err(crate::Error::Limits(_))));
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

fn decode_part(bytes: &[u8], options: &DecodeOptions, region: Option<Region>, scale: Scale) -> DynamicImage {
    decode(bytes, &DecodeOptions { region, scale, ..options.clone() }).unwrap()
}

#[test]
fn a_region_is_a_part_of_the_whole() {
    let model = PreparedModel::new(tiny(), ID);
    let (encoding, decoding) = options(&model, 70.0);
    let alpha = RgbaImage::from_fn(1100, 70, |x, y| [x as u8, y as u8, 9, (x * y) as u8].into());
    let lossy = EncodeOptions { alpha_quality: Some(30.0), ..encoding.clone() };
    for (picture, encoding) in
        [(picture(1100, 70), &encoding), (alpha.clone().into(), &encoding), (alpha.into(), &lossy)]
    {
        let bytes = encode(&picture, encoding).unwrap();
        for scale in [Scale::Full, Scale::Half, Scale::Quarter, Scale::Eighth] {
            let whole = decode_part(&bytes, &decoding, None, scale);
            let side = scale.divisor();
            assert_eq!((whole.width(), whole.height()), (1100u32.div_ceil(side), 70u32.div_ceil(side)));
            for (x, y, width, height) in
                [(0, 0, 1, 1), (1099, 69, 1, 1), (5, 3, 40, 60), (1015, 0, 30, 70), (130, 17, 970, 9)]
            {
                let part = decode_part(&bytes, &decoding, Some(Region { x, y, width, height }), scale);
                let (left, top) = (x / side, y / side);
                let (right, bottom) = ((x + width).div_ceil(side), (y + height).div_ceil(side));
                let expected = whole.crop_imm(left, top, right - left, bottom - top);
                assert!(part == expected, "{x},{y},{width},{height} at 1/{side} of {:?}", picture.color());
            }
        }
    }
}

#[test]
fn smaller_scales_are_means_of_the_pixels() {
    let model = PreparedModel::new(tiny(), ID);
    let (encoding, decoding) = options(&model, 90.0);
    let bytes = encode(&picture(64, 48), &encoding).unwrap();
    let whole = decode(&bytes, &decoding).unwrap().to_rgb8();
    let small = decode_part(&bytes, &decoding, None, Scale::Quarter).to_rgb8();
    for (x, y, pixel) in small.enumerate_pixels() {
        for c in 0..3 {
            let square = (0..16).map(|k| whole.get_pixel(4 * x + k % 4, 4 * y + k / 4).0[c]);
            // Means of values that were clamped to 0..=255 say nothing.
            if square.clone().all(|p| (1..255).contains(&p)) {
                let mean = square.map(f32::from).sum::<f32>() / 16.0;
                assert!((f32::from(pixel.0[c]) - mean).abs() <= 1.0, "{x} {y} {c}");
            }
        }
    }
}

#[test]
fn a_region_reads_only_the_tiles_it_needs() {
    let model = PreparedModel::new(tiny(), ID);
    let (encoding, decoding) = options(&model, 70.0);
    let mut bytes = encode(&picture(2100, 40), &encoding).unwrap();
    let region = Some(Region { x: 20, y: 0, width: 500, height: 40 });
    let expected = decode_part(&bytes, &decoding, region, Scale::Full);
    // The last tile's stream ends the file.
    *bytes.last_mut().unwrap() ^= 1;
    assert!(decode(&bytes, &decoding).is_err());
    assert!(decode_part(&bytes, &decoding, region, Scale::Full) == expected);
    let outside = Some(Region { x: 2000, y: 0, width: 101, height: 40 });
    assert!(decode(&bytes, &DecodeOptions { region: outside, ..decoding }).is_err());
}

#[test]
fn a_tile_costs_what_the_search_thinks_it_does() {
    let model = prepared();
    let picture = picture(200, 150);
    for quality in [30.0, 80.0] {
        let quality = model.model().quality_index(quality).unwrap();
        let Analysed { quantiser, tiles, .. } = Analysed::new(&picture, &model, quality).unwrap();
        let (y, z) = &tiles[0];
        let weights = latents::Weights { y: vec![4.0; y.data.len()], z: vec![4.0; z.data.len()] };
        let wish = Wish { y, z, weights: Some(&weights) };
        let quantised = latents::quantise(&model, &quantiser, wish).unwrap();
        let written = latents::write(&model, &quantiser, wish, None).unwrap();
        assert!(written.y_hat == quantised.y_hat);
        let (thought, real) = (quantised.bits(model.costs()), 8.0 * written.streams[0].len() as f64);
        assert!((real - thought).abs() < 48.0 + 0.002 * real, "{real} bits, not {thought}");
    }
}

#[test]
fn effort_buys_a_better_picture_for_the_bits() {
    let picture = image::open("testdata/images/parrot-256x256.png").unwrap();
    for (name, quality) in
        ["default", "fast"].into_iter().flat_map(|name| [10.0, 50.0, 90.0].map(|q| (name, q)))
    {
        let embedded = &registry::MODELS[registry::by_name(name).unwrap()];
        let model = PreparedModel::new(Model::read(embedded.bytes).unwrap(), embedded.id);
        let objective = |effort: u8| {
            let options = EncodeOptions { quality, effort, model: Some(model.clone()), ..Default::default() };
            let bytes = encode(&picture, &options).unwrap();
            let decoded = decode(&bytes, &DecodeOptions::default()).unwrap();
            let errors = picture.as_bytes().iter().zip(decoded.as_bytes());
            let squares: f64 = errors.map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2)).sum();
            let lambda = probe(&bytes).unwrap().quality.lambda();
            8.0 * bytes.len() as f64 + lambda * squares / 3.0
        };
        let [none, some, more] = [0, 2, 5].map(objective);
        assert!(some <= 0.985 * none && more <= 0.995 * some, "{name} {quality}: {none}, {some}, {more}");
    }
}

#[test]
fn refined_tiles_and_ragged_edges_survive() {
    let model = PreparedModel::new(tiny(), ID);
    // Five tiles are more than are searched at once.
    for (width, height, effort) in
        [(1, 1, 1), (1, 1, 2), (33, 17, 1), (33, 17, 2), (1030, 70, 1), (1030, 70, 2), (4100, 20, 2)]
    {
        let (mut encoding, decoding) = options(&model, 60.0);
        encoding.effort = effort;
        let picture = picture(width, height);
        let decoded = decode(&encode(&picture, &encoding).unwrap(), &decoding).unwrap();
        assert_eq!((decoded.width(), decoded.height()), (width, height));
    }
    let (encoding, _) = options(&model, 60.0);
    let error = encode(&picture(8, 8), &EncodeOptions { effort: MAX_EFFORT + 1, ..encoding }).unwrap_err();
    assert!(error.to_string().contains("effort 10"), "{error}");
}
