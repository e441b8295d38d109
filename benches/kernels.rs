//! Multiply-accumulates per second of single layers and of whole networks, on one
//! thread at every level this processor has, beside what its multiplier can do
//! when nothing else is asked of it.

use std::hint::black_box;
use std::time::Instant;

use aecodec::model::layer::{macs_per_input_position, sites};
use aecodec::model::quality::ANCHORS;
use aecodec::model::registry::MODELS;
use aecodec::model::{IntegerNetwork, Layer, Model, Part, QualityIndex, SiteParams};
use aecodec::nn::{Level, Network, Source, Tensor, Window};

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

/// GMAC/s of the fastest of several runs, each long enough to time.
fn best(macs: f64, mut run: impl FnMut()) -> f64 {
    run();
    let timed = |run: &mut dyn FnMut(), times: usize| {
        let start = Instant::now();
        (0..times).for_each(|_| run());
        start.elapsed().as_secs_f64() / times as f64
    };
    let times = (0.02 / timed(&mut run, 1)).ceil() as usize;
    let seconds = (0..15).map(|_| timed(&mut run, times)).fold(f64::INFINITY, f64::min);
    macs / seconds / 1e9
}

fn measure(
    name: &str,
    layers: Vec<Layer>,
    (height, width, channels): (usize, usize, usize),
    peaks: &[(Level, f64)],
) {
    let macs = macs_per_input_position(&layers) * (height * width) as f64;
    let network = with_parameters(layers);
    let mut input = Tensor::new(height, width, channels);
    for (index, value) in input.data.iter_mut().enumerate() {
        *value = (index * 31 % 2047) as i16 - 1023;
    }
    for level in Level::available() {
        let network = Network::new(&network, level).expect("a sound network");
        let [height, width, _] = network.output_size(input.size());
        let output = Window::whole(height, width);
        // Rows are dropped as they come: what the system takes for new memory is not the kernels'.
        let found = best(macs, || {
            network.stream(black_box(&input), QualityIndex(100), &output, |_, row| {
                black_box(row);
            });
        });
        let peak = peaks.iter().find(|(of, _)| *of == level);
        let share =
            peak.map_or(String::new(), |(_, peak)| format!("  {:3.0} % of the peak", 100.0 * found / peak));
        println!("{name:24} {:8} {found:7.1} GMAC/s{share}", level.name());
    }
}

/// What products of pairs of i16, summed in i32, reach in registers alone.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
fn peaks() -> Vec<(Level, f64)> {
    use std::arch::x86_64::*;
    /// Independent sums, so that none waits for itself.
    const SUMS: usize = 12;
    const ROUNDS: usize = 1 << 16;

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    fn avx512() {
        let (x, mut sums) = (_mm512_set1_epi16(black_box(3)), [_mm512_setzero_si512(); SUMS]);
        for _ in 0..ROUNDS {
            sums.iter_mut().for_each(|sum| *sum = _mm512_dpwssd_epi32(*sum, x, x));
        }
        black_box(sums);
    }

    #[target_feature(enable = "avx2")]
    fn avx2() {
        let (x, mut sums) = (_mm256_set1_epi16(black_box(3)), [_mm256_setzero_si256(); SUMS]);
        for _ in 0..ROUNDS {
            sums.iter_mut().for_each(|sum| *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(x, *sum)));
        }
        black_box(sums);
    }

    let macs = |lanes: usize| (lanes * SUMS * ROUNDS) as f64;
    let available = Level::available();
    let mut found = Vec::new();
    if available.contains(&Level::Avx2) {
        // SAFETY: the processor has the level.
        found.push((Level::Avx2, best(macs(16), || unsafe { avx2() })));
    }
    if available.contains(&Level::Avx512) {
        // SAFETY: the processor has the level.
        found.push((Level::Avx512, best(macs(32), || unsafe { avx512() })));
    }
    found
}

#[cfg(not(target_arch = "x86_64"))]
fn peaks() -> Vec<(Level, f64)> {
    Vec::new()
}

fn main() {
    // One thread, so that the numbers are those of the kernels.
    rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .use_current_thread()
        .build_global()
        .expect("the first pool of this process");
    let peaks = peaks();
    for (level, peak) in &peaks {
        println!("{:24} {:8} {peak:7.1} GMAC/s", "products in registers", level.name());
    }
    // 768x512 pixels at 1/8.
    let (height, width) = (64, 96);
    let pointwise = |inputs, outputs| Layer::Pointwise { inputs, outputs };
    let depthwise = Layer::Depthwise { channels: 128 };
    let layers = [
        ("1x1 128", vec![pointwise(128, 128)], 128),
        ("1x1 128, gate", vec![pointwise(128, 256), Layer::Gate { channels: 128 }], 128),
        ("1x1 512 to 256", vec![pointwise(512, 256)], 512),
        ("3x3 depthwise 128", vec![depthwise.clone()], 128),
        // As within a network: rows come from the cache and stay there.
        ("8 of them in turn", (0..8).flat_map(|_| [depthwise.clone(), Layer::LeakyRelu]).collect(), 128),
    ];
    for (name, layers, channels) in layers {
        measure(name, layers, (height, width, channels), &peaks);
    }
    for embedded in MODELS {
        let arch = Model::read(embedded.bytes).expect("a sound model").arch;
        let name = format!("synthesis of {}", embedded.id);
        measure(&name, arch.layers(Part::Synthesis), (height / 2, width / 2, arch.latents), &peaks);
    }
}
