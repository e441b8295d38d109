//! Files whose pixels go through filters.

use std::sync::Arc;

use image::DynamicImage;

use super::super::clipped::{CLIPPED_TAPS, Clipped};
use super::super::encode::Analysed;
use super::super::filter::{Filter, Linear, TAPS};
use super::super::latents::{self, Quantiser, Wish};
use super::super::synthesis::{Mosaic, synthesise};
use super::super::view::View;
use super::super::*;
use super::{ID, decode_part, options, picture, synthetic, tiny};
use crate::model::class_filters::{CLASS_TAPS, CLASSES, ClassFilters, QualityFilters};
use crate::model::{Model, registry};
use crate::nn::Tensor;
use crate::tile::TileGrid;

fn random_linear(seed: u64) -> Linear {
    let mut random = synthetic::Random(seed);
    Linear { shift: 8, weights: [0; 3].map(|_| [0; TAPS].map(|_| random.within(60) as i16)) }
}

fn random_clipped(seed: u64) -> Clipped {
    let mut random = synthetic::Random(seed);
    Clipped { limit: Some(5), weights: [0; CLIPPED_TAPS].map(|_| random.within(30) as i16) }
}

/// A file whose tiles have these filters, and the quantised latents in it.
fn filtered_file(
    model: &Arc<PreparedModel>,
    picture: &DynamicImage,
    filters: &[Option<Filter>],
) -> (Vec<u8>, Mosaic) {
    let quality = model.model().quality_index(70.0).unwrap();
    let Analysed { grid, quantiser, tiles, .. } = Analysed::new(picture, model, quality).unwrap();
    let tiles: Vec<_> = tiles
        .iter()
        .zip(filters)
        .map(|((y, z), filter)| {
            let wish = Wish { y, z, weights: None };
            latents::write(model, &quantiser, wish, Some(filter.as_ref())).unwrap()
        })
        .collect();
    let header = crate::container::Header {
        width: picture.width(),
        height: picture.height(),
        colour: pixels::colour(picture).unwrap(),
        alpha: false,
        filtered: true,
        in_lanes: quantiser.lanes > 1,
        quality,
        model: ID,
    };
    let streams: Vec<Vec<u8>> = tiles.iter().flat_map(|tile| tile.streams.clone()).collect();
    let checksums: Vec<_> = tiles.iter().map(|tile| tile.checksum.clone()).collect();
    let bytes = crate::container::write(&header, &streams, &checksums, None, &Default::default()).unwrap();
    let tiles = tiles.into_iter().map(|tile| Some((tile.y_hat, None))).collect();
    (bytes, Mosaic { grid, channels: model.model().arch.latents, tiles })
}

/// A model with filters for classes of blocks, which differ.
fn with_classes() -> Model {
    let mut random = synthetic::Random(9);
    let units = (0..9).map(|anchor| 900 - 80 * anchor).collect();
    let weights = (0..9 * CLASSES * CLASS_TAPS).map(|_| random.within(60) as i16).collect();
    Model { class_filters: Some(ClassFilters { units, weights }), ..tiny() }
}

/// A value of the synthesis output, or of its nearest pixel.
fn pixel(v: &Tensor, x: i32, y: i32, c: usize) -> i32 {
    let x = x.clamp(0, 8 * v.width as i32 - 1) as usize;
    let y = y.clamp(0, 8 * v.height as i32 - 1) as usize;
    i32::from(v.at(y / 8, x / 8)[(y % 8 * 8 + x % 8) * 3 + c].clamp(-8192, 8191))
}

/// The class of a pixel's block, and whether its filter is transposed and mirrored.
fn class_at(v: &Tensor, unit: i32, (x, y): (i32, i32)) -> (usize, [bool; 2]) {
    let luma = |x, y| {
        let [r, g, b] = [0, 1, 2].map(|c| pixel(v, x, y, c));
        (r >> 2) + (g >> 1) + (b >> 2)
    };
    let sums = [(1, 0), (0, 1), (1, 1), (1, -1)].map(|(dx, dy)| {
        let mut sum = 0;
        for cell_y in y / 4 * 2 - 1..y / 4 * 2 + 3 {
            for cell_x in x / 4 * 2 - 1..x / 4 * 2 + 3 {
                let cell_x = cell_x.clamp(0, 4 * v.width as i32 - 1);
                let cell_y = cell_y.clamp(0, 4 * v.height as i32 - 1);
                for (x, y) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
                    let (x, y) = (2 * cell_x + x, 2 * cell_y + y);
                    let around = luma(x - dx, y - dy) + luma(x + dx, y + dy);
                    sum += i64::from((2 * luma(x, y) - around).abs());
                }
            }
        }
        sum
    });
    let [across, down, falling, rising] = sums;
    let straight = (across.max(down), across.min(down));
    let diagonal = (falling.max(rising), falling.min(rising));
    let is_straight = straight.0 * diagonal.1 > diagonal.0 * straight.1;
    let (most, least) = if is_straight { straight } else { diagonal };
    let direction = match (5 * most <= 7 * least, most < 2 * least, most < 4 * least) {
        (true, ..) => 0,
        (_, true, _) => {
            if is_straight {
                1
            } else {
                2
            }
        }
        (_, _, true) => {
            if is_straight {
                3
            } else {
                4
            }
        }
        _ => {
            if is_straight {
                5
            } else {
                6
            }
        }
    };
    let bounds = [13, 32, 64, 128].map(|bound| bound * i64::from(unit));
    let activity = bounds.iter().filter(|&&bound| across + down >= bound).count();
    (5 * direction + activity, [down > across, rising > falling])
}

/// `docs/format.md`, section 7, pixel by pixel: samples of 8 bits.
fn corrected(
    v: &Tensor,
    classes: Option<&QualityFilters>,
    filters: &[Option<Filter>],
    grid: TileGrid,
    (x, y): (i32, i32),
) -> [u8; 3] {
    let pairs = [(0, 1), (0, 2), (1, -2), (1, -1), (1, 0), (1, 1), (1, 2), (2, -1), (2, 0), (2, 1)];
    let u = |x: i32, y: i32, c: usize| pixel(v, x, y, c);
    [0, 1, 2].map(|colour| {
        let mut out = u(x, y, colour);
        let filter = filters[grid.index(y as usize / 16, x as usize / 16)].as_ref();
        if let Some(linear) = filter.and_then(|filter| filter.linear.as_ref()) {
            let weights = &linear.weights[colour];
            let mut sum = i32::from(weights[33]) * 512;
            for c in 0..3 {
                for (i, (dy, dx)) in pairs.into_iter().enumerate() {
                    let pair = u(x + dx, y + dy, c) + u(x - dx, y - dy, c) - 2 * u(x, y, c);
                    sum += i32::from(weights[11 * c + i]) * pair;
                }
                sum += i32::from(weights[11 * c + 10]) * 2 * u(x, y, c);
            }
            out += (sum + (1 << (linear.shift - 1))) >> linear.shift;
        }
        let clipped = filter.and_then(|filter| filter.clipped.as_ref());
        let unit = classes.map(|classes| i32::from(classes.unit));
        let (class, [transposed, mirrored]) =
            unit.map_or_else(Default::default, |unit| class_at(v, unit, (x, y)));
        let limits = match (unit, clipped.and_then(|clipped| clipped.limit)) {
            (Some(unit), _) => [unit, (8 * unit).min(8192)],
            (None, limit) => [1, 4].map(|wider| wider << limit.unwrap_or(0)),
        };
        let (middle, mut sum) = (u(x, y, colour), 0);
        for (pair, (dy, dx)) in pairs.into_iter().enumerate() {
            let (dy, dx) = if transposed { (dx, dy) } else { (dy, dx) };
            let (dy, dx) = match (transposed, mirrored) {
                (_, false) => (dy, dx),
                (false, true) => (dy, -dx),
                (true, true) => (dy, -dx),
            };
            for (at, limit) in limits.into_iter().enumerate() {
                let own = clipped.map_or(0, |clipped| i32::from(clipped.weights[2 * pair + at]));
                let of_class = classes.map_or(0, |classes| i32::from(classes.weights[class][2 * pair + at]));
                let difference = |x, y| (u(x, y, colour) - middle).clamp(-limit, limit);
                let differences = difference(x + dx, y + dy) + difference(x - dx, y - dy);
                sum += (4 * own + of_class) * differences;
            }
        }
        out += (sum + 128) >> 8;
        (((out + 32) >> 6) + 128).clamp(0, 255) as u8
    })
}

#[test]
fn filters_correct_the_pixels_of_their_tiles_wherever_a_picture_is_cut() {
    for model in [tiny(), with_classes()] {
        filters_correct_the_pixels_of_their_tiles(&PreparedModel::new(model, ID));
    }
}

fn filters_correct_the_pixels_of_their_tiles(model: &Arc<PreparedModel>) {
    let (_, decoding) = options(model, 70.0);
    let limit = if model.model().class_filters.is_some() { None } else { Some(5) };
    let clipped = |seed| Some(Clipped { limit, ..random_clipped(seed) });
    let filters = [
        Some(Filter { linear: Some(random_linear(1)), clipped: clipped(2) }),
        None,
        Some(Filter { linear: None, clipped: clipped(3) }),
    ];
    let picture = picture(2070, 43);
    let (bytes, mosaic) = filtered_file(model, &picture, &filters);
    let quality = probe(&bytes).unwrap().quality;
    let v = model.network(crate::model::Part::Synthesis, quality).unwrap().run(&mosaic, quality);
    let whole = decode(&bytes, &decoding).unwrap().to_rgb8();
    let classes = model.model().filters_at(quality);
    for (x, y, pixel) in whole.enumerate_pixels() {
        assert_eq!(
            pixel.0,
            corrected(&v, classes.as_ref(), &filters, mosaic.grid, (x as i32, y as i32)),
            "{x} {y}"
        );
    }
    let (unfiltered, _) = filtered_file(model, &picture, &[None, None, None]);
    assert!(decode(&unfiltered, &decoding).unwrap().to_rgb8() != whole);
    for (x, y, width, height) in [(0, 0, 1, 1), (1016, 0, 16, 43), (1023, 15, 2, 2), (2069, 42, 1, 1)] {
        let part = decode_part(&bytes, &decoding, Some(Region { x, y, width, height }), Scale::Full);
        assert!(part == DynamicImage::from(whole.clone()).crop_imm(x, y, width, height), "{x} {y}");
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    assert!(pool.install(|| decode(&bytes, &decoding)).unwrap().to_rgb8() == whole);
    // In bands, where pixels above and below belong to other threads.
    let picture = picture.crop_imm(0, 0, 40, 43).resize_exact(40, 2070, image::imageops::FilterType::Nearest);
    let (bytes, _) = filtered_file(model, &picture, &filters);
    assert!(pool.install(|| decode(&bytes, &decoding)).unwrap() == decode(&bytes, &decoding).unwrap());
    // A preview has no use for them.
    let small = |bytes: &[u8]| decode_part(bytes, &decoding, None, Scale::Half);
    let (unfiltered, _) = filtered_file(model, &picture, &[None, None, None]);
    assert!(small(&bytes) == small(&unfiltered));
}

#[test]
fn filters_that_cannot_be_are_errors() {
    let model = PreparedModel::new(tiny(), ID);
    let (_, decoding) = options(&model, 70.0);
    let picture = picture(33, 20);
    let told = |linear: Option<Linear>, clipped: Option<Clipped>| {
        let (bytes, _) = filtered_file(&model, &picture, &[Some(Filter { linear, clipped })]);
        decode(&bytes, &decoding).err().map_or(String::new(), |error| error.to_string())
    };
    for (weight, says) in [(511, ""), (512, "weight 512"), (-512, "weight -512")] {
        let mut linear = random_linear(3);
        linear.weights[2][5] = weight;
        let error = told(Some(linear), None);
        assert!(if says.is_empty() { error.is_empty() } else { error.contains(says) }, "{error}");
    }
    for (limit, weight, says) in
        [(11, 127, ""), (12, 3, "limit 2^12"), (1, 3, "limit 2^1"), (5, 128, "clipped weight 128")]
    {
        let mut clipped = random_clipped(3);
        (clipped.limit, clipped.weights[4]) = (Some(limit), weight);
        let error = told(None, Some(clipped));
        assert!(if says.is_empty() { error.is_empty() } else { error.contains(says) }, "{error}");
    }
    // Fraction bits that there are not make parts of a filter that there are not.
    let error = told(Some(Linear { shift: 20, ..random_linear(3) }), None);
    assert!(error.contains("parts 15"), "{error}");
}

#[test]
fn a_filter_is_found_where_one_helps() {
    // Colours that the synthesis of this model cannot tell apart: it writes 80 of 192 directions.
    let embedded = &registry::MODELS[registry::by_name("fast").unwrap()];
    let model = PreparedModel::new(Model::read(embedded.bytes).unwrap(), embedded.id);
    let picture = image::open("testdata/images/parrot-256x256.png").unwrap();
    let options =
        EncodeOptions { quality: 80.0, effort: 1, model: Some(model.clone()), ..Default::default() };
    let bytes = encode(&picture, &options).unwrap();
    assert!(probe(&bytes).unwrap().filtered);
    let squares = |decoded: &DynamicImage| -> f64 {
        let errors = picture.as_bytes().iter().zip(decoded.as_bytes());
        errors.map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2)).sum()
    };
    let with = squares(&decode(&bytes, &DecodeOptions::default()).unwrap());
    let container = crate::container::Container::read(&bytes).unwrap();
    let lanes = super::decode::lanes(&container.header);
    let quantiser = Quantiser::new(model.model(), container.header.quality, lanes);
    let streams = crate::container::split_streams(container.latents, lanes).unwrap();
    let tile = reading::read(&model, &quantiser, (16, 16), &streams, true).unwrap();
    assert!(tile.filter.is_some());
    let mosaic = Mosaic {
        grid: TileGrid::new(256, 256),
        channels: model.model().arch.latents,
        tiles: vec![Some((tile.y_hat, None))],
    };
    let view = View::new((256, 256), None, Scale::Full).unwrap();
    let header = container.header;
    let without = squares(&synthesise(&model, header.quality, header.colour, &view, &mosaic).unwrap());
    assert!(with < 0.98 * without, "{with}, {without}");
}
