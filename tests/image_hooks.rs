//! `.aec` files as the image crate reads them.

use std::fs::File;
use std::io::{BufReader, Cursor};

use aecodec::{EncodeOptions, Metadata, encode, register_image_hooks};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageReader, Limits, RgbaImage};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/golden/bikes-q30.aec");

#[test]
fn files_open_like_any_other_picture() {
    register_image_hooks();
    assert!(!register_image_hooks(), "registered twice");
    let expected = aecodec::decode(&std::fs::read(GOLDEN).unwrap(), &Default::default()).unwrap();
    assert!(image::open(GOLDEN).unwrap() == expected);
    // By its first bytes, whatever its name.
    let reader = ImageReader::new(BufReader::new(File::open(GOLDEN).unwrap())).with_guessed_format().unwrap();
    assert!(reader.decode().unwrap() == expected);
}

#[test]
fn everything_a_file_carries_is_told() {
    register_image_hooks();
    let picture = DynamicImage::from(RgbaImage::from_fn(30, 20, |x, y| [9, x as u8, 7, y as u8].into()));
    let metadata = Metadata {
        icc: Some(b"profile".to_vec()),
        exif: Some(b"exif".to_vec()),
        xmp: Some(b"xmp".to_vec()),
        orientation: Orientation::Rotate90,
        cicp: None,
    };
    let options = EncodeOptions { metadata: metadata.clone(), ..Default::default() };
    for picture in [picture.clone(), picture.to_rgba16().into(), picture.to_luma_alpha8().into()] {
        let bytes = encode(&picture, &options).unwrap();
        let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().unwrap();
        let mut decoder = reader.into_decoder().unwrap();
        assert_eq!((decoder.dimensions(), decoder.color_type()), ((30, 20), picture.color()));
        assert_eq!(decoder.icc_profile().unwrap(), metadata.icc);
        assert_eq!(decoder.exif_metadata().unwrap(), metadata.exif);
        assert_eq!(decoder.xmp_metadata().unwrap(), metadata.xmp);
        assert_eq!(decoder.orientation().unwrap(), metadata.orientation);
        let decoded = DynamicImage::from_decoder(decoder).unwrap();
        assert_eq!(decoded.color(), picture.color());
    }
}

#[test]
fn limits_hold() {
    register_image_hooks();
    let with = |change: fn(&mut Limits)| {
        let mut limits = Limits::default();
        change(&mut limits);
        let mut reader = ImageReader::open(GOLDEN).unwrap();
        reader.limits(limits);
        reader.decode()
    };
    assert!(with(|_| ()).is_ok());
    assert!(matches!(with(|limits| limits.max_image_width = Some(191)), Err(ImageError::Limits(_))));
    assert!(matches!(with(|limits| limits.max_image_height = Some(127)), Err(ImageError::Limits(_))));
    assert!(matches!(with(|limits| limits.max_alloc = Some(100_000)), Err(ImageError::Limits(_))));
}

#[test]
fn damage_is_an_error_of_the_image_crate() {
    register_image_hooks();
    let mut bytes = std::fs::read(GOLDEN).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let read = |bytes: Vec<u8>| ImageReader::new(Cursor::new(bytes)).with_guessed_format().unwrap().decode();
    assert!(matches!(read(bytes.clone()), Err(ImageError::Decoding(_))));
    bytes[4] = 2;
    assert!(matches!(read(bytes), Err(ImageError::Unsupported(_))));
}
