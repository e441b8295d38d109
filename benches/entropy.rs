//! The symbols of a 768x512 picture with 192 latent channels: 294,912, of which
//! three in four are certain to be zero, as at 0.1 bits per pixel; and all of
//! them coded, the worst case.

use std::hint::black_box;

use aecodec::entropy::logistic::bin_scale;
use aecodec::entropy::{BINS, LatentReader, LatentWriter, ScaleTables};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

#[path = "../tests/support/synthetic.rs"]
mod synthetic;

const SYMBOLS: usize = 294_912;

/// Bins up to `bins`, a part of them bin 0, and symbols of each bin's scale.
fn symbols(zeros_in_four: i32, bins: usize) -> Vec<(u8, i16)> {
    let mut random = synthetic::Random(7);
    (0..SYMBOLS)
        .map(|_| {
            // 0..=3 come up equally often.
            if (random.within(500_000) & 3) < zeros_in_four {
                return (0, 0);
            }
            let bin = 1 + random.within(i32::MAX >> 1).unsigned_abs() as usize % (bins - 1);
            // The inverse of the logistic's distribution function.
            let u = f64::from(random.within(9_999)) / 20_000.0 + 0.5;
            (bin as u8, (bin_scale(bin) * (u / (1.0 - u)).ln()).round() as i16)
        })
        .collect()
}

fn write(tables: &ScaleTables, symbols: &[(u8, i16)]) -> Vec<u8> {
    let mut writer = LatentWriter::new(tables);
    for &(bin, symbol) in symbols {
        writer.write(bin, symbol);
    }
    writer.finish().0
}

fn entropy(c: &mut Criterion) {
    let tables = ScaleTables::logistic();
    let mut group = c.benchmark_group("entropy");
    group.throughput(Throughput::Elements(SYMBOLS as u64));
    for (name, zeros_in_four, bins) in [("three quarters zero", 3, 64), ("all coded", 0, BINS)] {
        let symbols = symbols(zeros_in_four, bins);
        let bytes = write(&tables, &symbols);
        group.bench_function(format!("write, {name}"), |b| b.iter(|| write(&tables, black_box(&symbols))));
        group.bench_function(format!("read, {name}"), |b| {
            b.iter(|| {
                let mut reader = LatentReader::new(&tables, black_box(&bytes)).unwrap();
                let sum: i64 = symbols.iter().map(|&(bin, _)| i64::from(reader.read(bin))).sum();
                reader.finish().unwrap();
                sum
            });
        });
    }
    group.finish();
    c.bench_function("logistic tables", |b| b.iter(ScaleTables::logistic));
}

criterion_group!(benches, entropy);
criterion_main!(benches);
