//! What fuzzers found, and what they start from.
//!
//! Every file of `fuzz/corpus` and of `testdata/crashes` goes through the decoder
//! once more. A finding is a file of `testdata/crashes` with a name that says
//! what went wrong. `AECODEC_ADD_SEEDS=1` writes the seeds of `fuzz/corpus/decode`
//! anew: small files of every kind.

#[path = "support/synthetic.rs"]
mod synthetic;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{env, fs};

use aecodec::model::ModelId;
use aecodec::{
    Cicp, DecodeOptions, EncodeOptions, Limits, Metadata, PreparedModel, decode, encode, metadata,
};
use image::{DynamicImage, Rgba, RgbaImage};

fn model() -> Arc<PreparedModel> {
    PreparedModel::new(synthetic::model(synthetic::TINY), ModelId(*b"tiny"))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return out };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            out.extend(files(&path));
        } else {
            out.push(path);
        }
    }
    out
}

#[test]
fn nothing_that_fuzzers_made_ends_in_a_panic() {
    if env::var_os("AECODEC_ADD_SEEDS").is_some() {
        add_seeds();
    }
    let limits = Limits { max_pixels: 1 << 16, ..Limits::default() };
    let options = DecodeOptions { models: vec![model()], limits };
    let all = [files(&root().join("fuzz/corpus")), files(&root().join("testdata/crashes"))].concat();
    assert!(all.len() > 20, "the corpus is where it is looked for");
    let mut decoded = 0;
    for file in all {
        let bytes = fs::read(&file).unwrap();
        let _ = metadata(&bytes, &limits);
        decoded += usize::from(decode(&bytes, &options).is_ok());
    }
    assert!(decoded > 10, "only {decoded} files decode");
}

/// Small files of every kind of pixels, alpha, size and metadata.
fn add_seeds() {
    let folder = root().join("fuzz/corpus/decode");
    fs::create_dir_all(&folder).unwrap();
    let rgba = |width: u32, height: u32| {
        DynamicImage::from(RgbaImage::from_fn(width, height, |x, y| {
            Rgba([x * 9, y * 7, x * y, (x / 3 + y) * 40].map(|v| v as u8))
        }))
    };
    let everything = Metadata {
        cicp: Some(Cicp { primaries: 12, transfer: 13, matrix: 0, full_range: true }),
        orientation: image::metadata::Orientation::Rotate90,
        icc: Some(b"icc".to_vec()),
        exif: Some(b"exif".to_vec()),
        xmp: Some(b"xmp".to_vec()),
    };
    let small = rgba(20, 9);
    let seeds = [
        ("rgb", small.to_rgb8().into(), None, None),
        ("grey", small.to_luma8().into(), None, None),
        ("rgb16", small.to_rgb16().into(), None, None),
        ("grey16", small.to_luma16().into(), None, None),
        ("rgba", small.clone(), None, None),
        ("grey-alpha16", small.to_luma_alpha16().into(), None, None),
        ("lossy-alpha", small.clone(), Some(40.0), None),
        ("lossy-alpha16", small.to_rgba16().into(), Some(90.0), None),
        ("metadata", small.to_rgb8().into(), None, Some(everything.clone())),
        ("rgba-metadata", rgba(3, 3), None, Some(everything)),
        ("one-pixel", rgba(1, 1).to_rgb8().into(), None, None),
        ("two-tiles", rgba(1030, 2).to_rgb8().into(), None, None),
        ("two-tiles-down", rgba(1, 1025), Some(10.0), None),
    ];
    for (name, picture, alpha_quality, metadata) in seeds {
        for quality in [10.0, 95.0] {
            let metadata = metadata.clone().unwrap_or_default();
            let options = EncodeOptions { quality, alpha_quality, metadata, model: Some(model()) };
            let bytes = encode(&picture, &options).unwrap();
            fs::write(folder.join(format!("{name}-q{quality}.aec")), bytes).unwrap();
        }
    }
}
