//! Whole encodes and decodes of a 768x512 picture with a model of the usual
//! size and random weights, on one thread and on all; and reading the model.

use std::hint::black_box;
use std::sync::Arc;

use aecodec::model::{Arch, Model, ModelId};
use aecodec::{DecodeOptions, EncodeOptions, PreparedModel, decode, encode};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use image::{DynamicImage, RgbImage};

#[path = "../tests/support/synthetic.rs"]
mod synthetic;

const WIDTH: u32 = 768;
const HEIGHT: u32 = 512;
const ID: ModelId = ModelId([0; 4]);

const ARCH: Arch = Arch {
    channels: 128,
    analysis_blocks: 3,
    synthesis_blocks: 3,
    latents: 192,
    hyper_channels: 128,
    hyper_latents: 64,
};

fn picture() -> DynamicImage {
    RgbImage::from_fn(WIDTH, HEIGHT, |x, y| [x / 3, y / 2, (x ^ y) / 4].map(|v| v as u8).into()).into()
}

fn codec(c: &mut Criterion) {
    let file = synthetic::model(ARCH).write();
    c.bench_function("read the model", |b| b.iter(|| Model::read(black_box(&file)).unwrap()));

    let model = PreparedModel::new(Model::read(&file).unwrap(), ID);
    let picture = picture();
    let encoding = EncodeOptions { quality: 10.0, model: Some(Arc::clone(&model)), ..Default::default() };
    let decoding = DecodeOptions { models: vec![model], ..Default::default() };
    let bytes = encode(&picture, &encoding).unwrap();
    let bpp = bytes.len() as f64 * 8.0 / f64::from(WIDTH * HEIGHT);
    println!(
        "{} bytes, {bpp:.2} bits per pixel, {:.1} kMAC per pixel to decode",
        bytes.len(),
        ARCH.decoder_macs_per_pixel() / 1000.0
    );

    for threads in [1, rayon::current_num_threads()] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let mut group = c.benchmark_group(format!("{threads} threads"));
        group.throughput(Throughput::Elements(u64::from(WIDTH * HEIGHT)));
        group.sample_size(20);
        group.bench_function("encode", |b| {
            b.iter(|| pool.install(|| encode(black_box(&picture), &encoding).unwrap()));
        });
        group.bench_function("decode", |b| {
            b.iter(|| pool.install(|| decode(black_box(&bytes), &decoding).unwrap()));
        });
        group.finish();
    }
}

criterion_group!(benches, codec);
criterion_main!(benches);
