//! Multiply-accumulates per second of single layers, and the time of the whole
//! synthesis transform, on one thread at every level this processor has.

use std::hint::black_box;

use aecodec::model::layer::{macs_per_input_position, sites};
use aecodec::model::quality::ANCHORS;
use aecodec::model::{Arch, IntegerNetwork, Layer, Part, QualityIndex, SiteParams};
use aecodec::nn::{Level, Network, Tensor};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// Parameters of the usual size; speed does not depend on their values.
fn with_parameters(layers: Vec<Layer>) -> IntegerNetwork {
    let weights = |count: usize| (0..count).map(|i| (i * 7919 % 8191) as i16 - 4096).collect();
    let params = sites(&layers)
        .iter()
        .map(|site| match *site.layer {
            Layer::Pointwise { inputs, outputs } => SiteParams::Pointwise {
                weights: weights(inputs * outputs),
                shifts: vec![16; outputs],
                biases: vec![1000; ANCHORS * outputs],
            },
            Layer::Depthwise { channels } => SiteParams::Depthwise {
                weights: weights(9 * channels),
                shifts: vec![14; channels],
                biases: vec![1000; channels],
            },
            _ => SiteParams::Gate { limit: 4096, shift: 10 },
        })
        .collect();
    IntegerNetwork { layers, params }
}

fn measure(
    criterion: &mut Criterion,
    name: &str,
    layers: Vec<Layer>,
    (height, width, channels): (usize, usize, usize),
) {
    let macs = macs_per_input_position(&layers) * (height * width) as f64;
    let network = with_parameters(layers);
    let mut input = Tensor::new(height, width, channels);
    for (index, value) in input.data.iter_mut().enumerate() {
        *value = (index * 31 % 2047) as i16 - 1023;
    }
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(macs as u64));
    for level in Level::available() {
        let network = Network::new(&network, level).expect("a sound network");
        group.bench_function(BenchmarkId::from_parameter(level.name()), |bencher| {
            bencher.iter(|| network.run(black_box(&input), QualityIndex(100)));
        });
    }
    group.finish();
}

fn kernels(criterion: &mut Criterion) {
    // 768x512 pixels at 1/8.
    let (height, width) = (64, 96);
    let pointwise = |inputs, outputs| Layer::Pointwise { inputs, outputs };
    let layers = [
        ("1x1 128", vec![pointwise(128, 128)], 128),
        ("1x1 128, gate", vec![pointwise(128, 256), Layer::Gate { channels: 128 }], 128),
        ("1x1 512 to 256", vec![pointwise(512, 256)], 512),
        ("3x3 depthwise 128", vec![Layer::Depthwise { channels: 128 }], 128),
    ];
    for (name, layers, channels) in layers {
        measure(criterion, name, layers, (height, width, channels));
    }
    let arch = Arch {
        channels: 128,
        analysis_blocks: 3,
        synthesis_blocks: 3,
        latents: 256,
        hyper_channels: 128,
        hyper_latents: 96,
    };
    let synthesis = arch.layers(Part::Synthesis);
    let size = (height / 2, width / 2, arch.latents);
    measure(criterion, "synthesis 768x512", synthesis, size);
}

/// One thread, so that the numbers are those of the kernels.
fn on_one_thread(criterion: &mut Criterion) {
    rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .use_current_thread()
        .build_global()
        .expect("the first pool of this process");
    kernels(criterion);
}

criterion_group!(benches, on_one_thread);
criterion_main!(benches);
