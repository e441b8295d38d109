//! Damaged files: an error or the right picture, never a panic or a wrong one.

#[path = "support/synthetic.rs"]
mod synthetic;

use std::sync::{Arc, LazyLock};

use aecodec::model::{ModelId, Part, SiteParams};
use aecodec::{
    Cicp, Colour, DecodeOptions, EncodeOptions, Error, Limits, Metadata, PreparedModel, decode, encode,
    metadata, probe,
};
use image::{DynamicImage, GrayImage, RgbImage};
use proptest::prelude::*;

const ID: ModelId = ModelId(*b"tiny");

static MODEL: LazyLock<Arc<PreparedModel>> =
    LazyLock::new(|| PreparedModel::new(synthetic::dependent(synthetic::TINY), ID));

fn encoding(quality: f32) -> EncodeOptions {
    EncodeOptions { quality, effort: 0, model: Some(Arc::clone(&MODEL)), ..Default::default() }
}

fn decoding() -> DecodeOptions {
    DecodeOptions { models: vec![Arc::clone(&MODEL)], ..Default::default() }
}

fn picture(width: u32, height: u32) -> DynamicImage {
    RgbImage::from_fn(width, height, |x, y| [x * x, y * 9, x + y].map(|v| v as u8).into()).into()
}

#[test]
fn a_file_cut_anywhere_is_an_error() {
    for (width, height) in [(40, 30), (1100, 20)] {
        let bytes = encode(&picture(width, height), &encoding(40.0)).unwrap();
        for length in 0..bytes.len() {
            let result = decode(&bytes[..length], &decoding());
            assert!(matches!(result, Err(Error::Format(_))), "{length} of {}", bytes.len());
        }
    }
}

#[test]
fn every_flipped_bit_is_an_error_or_changes_nothing() {
    every_flipped_bit(&picture(40, 30), &encoding(40.0));
    every_flipped_bit(&picture(1040, 3), &encoding(40.0));
}

#[test]
fn every_flipped_bit_of_alpha_and_metadata_is_an_error_or_changes_nothing() {
    let mut rgba = picture(23, 17).to_rgba8();
    rgba.enumerate_pixels_mut().for_each(|(x, y, pixel)| pixel[3] = (x * y) as u8);
    let carried = Metadata {
        cicp: Some(Cicp { primaries: 12, transfer: 13, matrix: 0, full_range: true }),
        icc: Some(b"profile".to_vec()),
        orientation: image::metadata::Orientation::Rotate180,
        ..Default::default()
    };
    for alpha_quality in [None, Some(60.0)] {
        let options = EncodeOptions { alpha_quality, metadata: carried.clone(), ..encoding(40.0) };
        every_flipped_bit(&rgba.clone().into(), &options);
    }
}

fn every_flipped_bit(picture: &DynamicImage, options: &EncodeOptions) {
    let bytes = encode(picture, options).unwrap();
    let limits = Limits::default();
    let expected = decode(&bytes, &decoding()).unwrap();
    for bit in 0..8 * bytes.len() {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        if let Ok(decoded) = decode(&damaged, &decoding()) {
            assert!(decoded == expected, "bit {bit}");
            assert_eq!(metadata(&damaged, &limits).unwrap(), options.metadata, "bit {bit}");
        }
    }
}

#[test]
fn unknown_chunks_change_nothing() {
    let bytes = encode(&picture(40, 30), &encoding(40.0)).unwrap();
    let mut longer = bytes.clone();
    longer.extend([0xfe, 3, 1, 2, 3]);
    assert!(decode(&longer, &decoding()).unwrap() == decode(&bytes, &decoding()).unwrap());
}

#[test]
fn everything_but_the_stream_takes_24_bytes() {
    // With all symbols in bin 0 the streams are empty.
    let mut model = synthetic::dependent(synthetic::TINY);
    model.z_scale_log2.fill(i16::MIN);
    model.y_step_log2.fill(14 << 10);
    for part in [Part::Prior, Part::Context] {
        if let Some(SiteParams::Pointwise { weights, biases, .. }) =
            synthetic::network_mut(&mut model, part).params.last_mut()
        {
            weights.fill(0);
            biases.fill(0);
        }
    }
    let model = PreparedModel::new(model, ID);
    let options = EncodeOptions { model: Some(model), ..encoding(50.0) };
    let fixed = |width, height| encode(&picture(width, height), &options).unwrap().len();
    // The length takes two bytes more up to 2 MiB, the coder rounds up to whole bytes.
    assert!(fixed(255, 257) + 2 < 24, "{} bytes", fixed(255, 257));
    // The lengths of two lanes, of three bytes at most.
    assert!(fixed(1024, 1024) + 2 + 2 * 2 < 30, "{} bytes", fixed(1024, 1024));
}

#[test]
fn a_short_file_cannot_ask_for_much() {
    let bytes = encode(&picture(16, 16), &encoding(0.0)).unwrap();
    // Another width and height, three bytes each.
    let enlarge = |width: [u8; 3], height: [u8; 3]| [&bytes[..6], &width, &height, &bytes[8..]].concat();
    let huge = enlarge([0xff, 0xff, 0x7f], [0xff, 0xff, 0x7f]);
    assert!(matches!(decode(&huge, &decoding()), Err(Error::Limits(_))));
    assert_eq!(probe(&huge).unwrap().width, (1 << 21) - 1);
    // 16384 pixels a side: more than so few bytes may ask for, or too few for its tiles.
    let large = enlarge([0x80, 0x80, 1], [0x80, 0x80, 1]);
    let with = |limits: Limits| decode(&large, &DecodeOptions { limits, ..decoding() });
    assert!(matches!(with(Limits::default()), Err(Error::Limits(_))));
    assert!(matches!(
        with(Limits { max_pixels_per_byte: u64::MAX, ..Default::default() }),
        Err(Error::Format(_))
    ));
    for limits in [
        Limits { max_pixels: 255, ..Default::default() },
        Limits { max_side: 15, ..Default::default() },
        Limits { max_memory: 2000, ..Default::default() },
    ] {
        let result = decode(&bytes, &DecodeOptions { limits, ..decoding() });
        assert!(matches!(result, Err(Error::Limits(_))), "{limits:?}");
    }
}

#[test]
fn fields_are_told_without_the_model() {
    let grey = DynamicImage::from(GrayImage::new(1500, 3));
    let bytes = encode(&grey, &encoding(100.0)).unwrap();
    let info = probe(&bytes).unwrap();
    assert_eq!((info.width, info.height, info.colour, info.tiles), (1500, 3, Colour::Grey8, 2));
    assert_eq!((info.quality.0, info.model, info.model_name, info.bytes), (255, ID, None, bytes.len()));
    let error = decode(&bytes, &DecodeOptions::default()).unwrap_err();
    assert!(matches!(&error, Error::Unsupported(message) if message.contains("74696e79")), "{error}");
}

#[test]
fn what_cannot_be_encoded_is_refused() {
    for quality in [-1.0, 100.5, f32::NAN] {
        let result = encode(&picture(4, 4), &encoding(quality));
        assert!(matches!(result, Err(Error::Parameter(_))), "{quality}");
    }
    assert!(matches!(encode(&picture(0, 4), &encoding(50.0)), Err(Error::Parameter(_))));
    let floats = DynamicImage::new_rgb32f(4, 4);
    assert!(matches!(encode(&floats, &encoding(50.0)), Err(Error::Unsupported(_))));
}

proptest! {
    #[test]
    fn bytes_behind_a_sound_header_do_not_panic(tail in prop::collection::vec(any::<u8>(), 0..80)) {
        let mut bytes = encode(&picture(90, 40), &encoding(70.0)).unwrap();
        bytes.truncate(18);
        // Checksum and streams at random: right with a chance of 2^-32.
        bytes.extend([0, 0, 0, 0, 1, tail.len() as u8]);
        bytes.extend(&tail);
        prop_assert!(decode(&bytes, &decoding()).is_err());
    }
}
