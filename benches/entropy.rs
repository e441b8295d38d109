//! The symbols of a 768x512 picture with 192 latent channels: 294,912, of which
//! three in four are certain to be zero, as at 0.1 bits per pixel; and all of
//! them coded, the worst case. In rows of 48 positions, in one lane and in two.

use std::hint::black_box;

use aecodec::entropy::logistic::bin_scale;
use aecodec::entropy::{BINS, LANES, LatentReader, LatentWriter, ScaleTables};
use aecodec::model::trellis::{DEPENDENT_256, State};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

#[path = "../tests/support/synthetic.rs"]
mod synthetic;

const SYMBOLS: usize = 294_912;
const ROW: usize = 48 * 96;

/// Bins up to `bins`, a part of them bin 0, and symbols of each bin's scale; in rows
/// without those of bin 0.
fn rows(zeros_in_four: i32, bins: usize) -> Vec<(Vec<u8>, Vec<i16>)> {
    let mut random = synthetic::Random(7);
    let mut row = || {
        let coded = (0..ROW).filter_map(|_| {
            // 0..=3 come up equally often.
            if (random.within(500_000) & 3) < zeros_in_four {
                return None;
            }
            let bin = 1 + random.within(i32::MAX >> 1).unsigned_abs() as usize % (bins - 1);
            // The inverse of the logistic's distribution function.
            let u = f64::from(random.within(9_999)) / 20_000.0 + 0.5;
            Some((bin as u8, (bin_scale(bin) * (u / (1.0 - u)).ln()).round() as i16))
        });
        coded.unzip()
    };
    (0..SYMBOLS / ROW).map(|_| row()).collect()
}

fn write(tables: &ScaleTables, rows: &[(Vec<u8>, Vec<i16>)], lanes: usize) -> Vec<Vec<u8>> {
    let mut writer = LatentWriter::new(tables, lanes);
    let mut states = vec![State::start(DEPENDENT_256); lanes];
    for (bins, symbols) in rows {
        for (number, (&bin, &symbol)) in bins.iter().zip(symbols).enumerate() {
            let lane = number % lanes;
            writer.write(lane as u8, bin + states[lane].quantiser() * BINS as u8, symbol);
            states[lane].advance(symbol);
        }
    }
    writer.finish().0
}

fn entropy(c: &mut Criterion) {
    let tables = ScaleTables::dependent();
    let mut group = c.benchmark_group("entropy");
    group.throughput(Throughput::Elements(SYMBOLS as u64));
    for (name, zeros_in_four, bins) in [("three quarters zero", 3, 56), ("all coded", 0, BINS)] {
        let rows = rows(zeros_in_four, bins);
        for lanes in [1, LANES] {
            let streams = write(&tables, &rows, lanes);
            let streams: Vec<&[u8]> = streams.iter().map(Vec::as_slice).collect();
            let mut values = vec![0; ROW];
            group.bench_function(format!("write, {name}, lanes: {lanes}"), |b| {
                b.iter(|| write(&tables, black_box(&rows), lanes));
            });
            group.bench_function(format!("read, {name}, lanes: {lanes}"), |b| {
                b.iter(|| {
                    let mut reader = LatentReader::new(&tables, black_box(&streams)).unwrap();
                    let mut states = vec![State::start(DEPENDENT_256); lanes];
                    for (bins, _) in &rows {
                        reader.read_row(&mut states, bins, &mut values[..bins.len()]);
                    }
                    reader.finish().unwrap();
                });
            });
        }
    }
    group.finish();
    c.bench_function("logistic tables", |b| b.iter(ScaleTables::dependent));
}

criterion_group!(benches, entropy);
criterion_main!(benches);
