//! Old files decode for ever, to the same pixels.
//!
//! `testdata/golden` holds encoded pictures and `pixels.sha256`, a line
//! `hash  file` for each. To add one, encode it with a released model,
//!
//! ```text
//! aecodec compress picture.png testdata/golden/picture-q50.aec -q 50
//! AECODEC_ADD_GOLDEN=1 cargo test --test golden
//! ```
//!
//! which appends the lines that are missing. It never changes one that is
//! there: a decoder that makes other pixels is wrong.
//!
//! `encoded.sha256` holds, for each golden file, the hash of the bytes that the
//! encoder makes of its decoded pixels at quality 40. They are to be equal on
//! every machine, not for ever: after a deliberate change of the encoder
//! `AECODEC_ENCODER_CHANGED=1 cargo test --test golden` writes them anew.

#[path = "support/synthetic.rs"]
mod synthetic;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{env, fs};

use aecodec::entropy::ScaleTables;
use aecodec::model::registry::{MODELS, find};
use aecodec::model::trellis::DEPENDENT_32;
use aecodec::model::{Model, ModelId};
use aecodec::nn::Level;
use aecodec::{DecodeOptions, EncodeOptions, PreparedModel, decode, encode, probe};
use image::{DynamicImage, RgbImage};
use sha2::{Digest, Sha256};

/// The SHA-256 of size, colour type and pixels.
fn hash(picture: &DynamicImage) -> String {
    let mut hasher = Sha256::new();
    hasher.update(picture.width().to_le_bytes());
    hasher.update(picture.height().to_le_bytes());
    hasher.update([picture.color().channel_count()]);
    let mut samples = picture.as_bytes().to_vec();
    if cfg!(target_endian = "big") && picture.color().bytes_per_pixel() > picture.color().channel_count() {
        samples.as_chunks_mut::<2>().0.iter_mut().for_each(|sample| sample.reverse());
    }
    hasher.update(samples);
    hex(&hasher.finalize())
}

/// The thread counts to try; one where the processor is likely to be emulated.
fn threads(counts: &[usize]) -> &[usize] {
    if cfg!(target_arch = "x86_64") { counts } else { &[2] }
}

fn golden_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/golden")
}

#[test]
fn golden_files_decode_to_the_same_pixels() {
    let list_path = golden_folder().join("pixels.sha256");
    let mut list = fs::read_to_string(&list_path).unwrap();
    let mut expected: BTreeMap<String, String> = list
        .lines()
        .map(|line| line.split_once("  ").expect("a hash, two spaces, a file"))
        .map(|(hash, file)| (file.to_string(), hash.to_string()))
        .collect();
    for entry in fs::read_dir(golden_folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "aec") {
            continue;
        }
        let file = path.file_name().unwrap().to_str().unwrap().to_string();
        let bytes = fs::read(&path).unwrap();
        let model = probe(&bytes).unwrap().model;
        let embedded = MODELS[find(model).expect("golden files need a released model")];
        let mut hashes = Vec::new();
        for level in Level::available() {
            let prepared = PreparedModel::at_level(Model::read(embedded.bytes).unwrap(), model, level);
            let options = DecodeOptions { models: vec![prepared], ..Default::default() };
            for &threads in threads(&[1, 2, 5]) {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let found = pool.install(|| hash(&decode(&bytes, &options).unwrap()));
                hashes.push((found, level, threads));
            }
        }
        let found = hashes[0].0.clone();
        for (hash, level, threads) in hashes {
            assert_eq!(hash, found, "{file} at {level:?} on {threads} threads");
        }
        match expected.remove(&file) {
            Some(hash) => assert_eq!(found, hash, "{file}"),
            None if env::var_os("AECODEC_ADD_GOLDEN").is_some() => {
                list += &format!("{found}  {file}\n");
            }
            None => panic!("{file} has no line in pixels.sha256"),
        }
    }
    assert!(expected.is_empty(), "golden files are gone: {expected:?}");
    if env::var_os("AECODEC_ADD_GOLDEN").is_some() {
        fs::write(list_path, list).unwrap();
    }
}

#[test]
fn the_encoder_makes_the_same_bytes() {
    let list_path = golden_folder().join("encoded.sha256");
    let mut found = String::new();
    let mut add = |name: &str, picture: &DynamicImage, effort| {
        let mut hashes = Vec::new();
        for level in Level::available() {
            let model = Model::read(MODELS[0].bytes).unwrap();
            let model = Some(PreparedModel::at_level(model, MODELS[0].id, level));
            let options = EncodeOptions { quality: 40.0, effort, model, ..Default::default() };
            for &threads in threads(&[1, 3]) {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let bytes = pool.install(|| encode(picture, &options).unwrap());
                hashes.push(hex(&Sha256::digest(&bytes)));
            }
        }
        assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{name}: {hashes:?}");
        found += &format!("{}  {name}\n", hashes[0]);
    };
    for line in fs::read_to_string(golden_folder().join("pixels.sha256")).unwrap().lines() {
        let (_, file) = line.split_once("  ").unwrap();
        let picture =
            decode(&fs::read(golden_folder().join(file)).unwrap(), &DecodeOptions::default()).unwrap();
        add(file, &picture, 0);
    }
    // A fit sums floats, and a search runs every network backwards.
    let picture =
        decode(&fs::read(golden_folder().join("bikes-q95.aec")).unwrap(), &DecodeOptions::default());
    let picture = picture.unwrap().crop_imm(40, 30, 96, 64);
    for effort in [1, 2] {
        add(&format!("96x64 of bikes-q95.aec at effort {effort}"), &picture, effort);
    }
    if env::var_os("AECODEC_ENCODER_CHANGED").is_some() {
        fs::write(list_path, found).unwrap();
    } else {
        assert_eq!(found, fs::read_to_string(list_path).unwrap());
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Holds the format itself, from the model file to the last pixel, with models
/// of random weights. Other hashes here mean another version of the format, or an encoder
/// that chooses other symbols.
#[test]
fn the_format_does_not_drift() {
    assert_eq!(one_file(synthetic::model(synthetic::TINY)), "805a57ca 464 9f68b44a f547e49e7ab096a1");
    let tables = ScaleTables::dependent();
    let small = Model { tables, trellis: DEPENDENT_32, ..synthetic::model(synthetic::TINY) };
    assert_eq!(one_file(small), "f756974a 463 ddabab73 f324021bb866f864");
    assert_eq!(one_file(synthetic::dependent(synthetic::TINY)), "575020df 472 480ed9d2 af0d0940113385bc");
}

fn one_file(model: Model) -> String {
    let file = model.write();
    let id = Sha256::digest(&file);
    let id = ModelId([id[0], id[1], id[2], id[3]]);
    let model = PreparedModel::new(Model::read(&file).unwrap(), id);
    let picture = RgbImage::from_fn(150, 110, |x, y| [x * 2, x * y, y * 2].map(|v| v as u8).into()).into();
    let options =
        EncodeOptions { quality: 62.5, effort: 0, model: Some(Arc::clone(&model)), ..Default::default() };
    let bytes = encode(&picture, &options).unwrap();
    let decoded = decode(&bytes, &DecodeOptions { models: vec![model], ..Default::default() }).unwrap();
    format!("{id} {} {:08x} {}", bytes.len(), crc32fast::hash(&bytes), &hash(&decoded)[..16])
}
