//! Whole files to pixels, under limits. Checksums are not compared in builds for
//! fuzzing, so that damage is not stopped at the door.
#![no_main]

#[path = "../support/mutator.rs"]
mod mutator;
#[path = "../../tests/support/synthetic.rs"]
mod synthetic;

use std::sync::{Arc, LazyLock};

use aecodec::model::ModelId;
use aecodec::{DecodeOptions, Limits, PreparedModel};
use libfuzzer_sys::{fuzz_mutator, fuzz_target};

/// A small model for most files; those of the released one are decoded by it.
static MODEL: LazyLock<Arc<PreparedModel>> =
    LazyLock::new(|| PreparedModel::new(synthetic::model(synthetic::TINY), ModelId(*b"tiny")));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    mutator::mutate(data, size, max_size, seed)
});

fuzz_target!(|data: &[u8]| {
    let limits = Limits { max_pixels: 1 << 16, max_side: 4096, max_memory: 16 << 20, ..Limits::default() };
    let options = DecodeOptions { models: vec![Arc::clone(&MODEL)], limits };
    let _ = aecodec::metadata(data, &limits);
    if let Ok(picture) = aecodec::decode(data, &options) {
        let info = aecodec::probe(data).unwrap();
        assert_eq!((info.width, info.height), (picture.width(), picture.height()));
        assert_eq!(info.alpha, picture.color().has_alpha());
    }
});
