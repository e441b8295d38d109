//! Whole encodes and decodes of a photograph with the default model, on one
//! thread and on all; and what starting up costs: reading the model.

use std::hint::black_box;

use aecodec::model::{Model, registry::MODELS};
use aecodec::{DecodeOptions, EncodeOptions, decode, encode};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn codec(c: &mut Criterion) {
    let embedded = MODELS[0];
    c.bench_function("read the model", |b| b.iter(|| Model::read(black_box(embedded.bytes)).unwrap()));

    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/images/kodim23.png");
    let picture = image::open(path).unwrap();
    let pixels = u64::from(picture.width()) * u64::from(picture.height());
    for quality in [45.0, 75.0, 90.0] {
        let encoding = EncodeOptions { quality, ..Default::default() };
        let decoding = DecodeOptions::default();
        let bytes = encode(&picture, &encoding).unwrap();
        println!("quality {quality}: {:.2} bits per pixel", bytes.len() as f64 * 8.0 / pixels as f64);
        for threads in [1, rayon::current_num_threads()] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut group = c.benchmark_group(format!("quality {quality}, {threads} threads"));
            group.throughput(Throughput::Elements(pixels));
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
}

criterion_group!(benches, codec);
criterion_main!(benches);
