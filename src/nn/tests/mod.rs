//! Every level against a transcription of the layers' documentation.

mod bad_models;
mod gradient;
mod naive;

use super::{Differences, LANES, Level, Network, SUM_LANES, Source, Tensor, Window};
use crate::model::layer::sites;
use crate::model::quality::ANCHORS;
use crate::model::{Arch, IntegerNetwork, Layer, Part, QualityIndex, SiteParams};
use Layer::{Depthwise, Gate, LeakyRelu, Pointwise, Residual, Shuffle, Unshuffle};

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// How the values of a test are drawn.
#[derive(Debug, Clone, Copy)]
enum Values {
    /// Any i16: sums overflow now and then.
    Full,
    /// The two ends of i16: every pair of products overflows.
    Extreme,
    /// Only `i16::MIN`, whose pair of squares is just outside i32.
    Lowest,
    /// Small enough that outputs use the range of i16 without clinging to its ends.
    Moderate,
}

impl Values {
    const ALL: [Values; 4] = [Values::Full, Values::Extreme, Values::Lowest, Values::Moderate];

    fn i16(self, random: &mut Random) -> i16 {
        let bits = random.next();
        match self {
            Values::Full => bits as i16,
            Values::Extreme if bits.is_multiple_of(2) => i16::MAX,
            Values::Extreme | Values::Lowest => i16::MIN,
            Values::Moderate => bits as i16 >> 5,
        }
    }

    fn tensor(self, height: usize, width: usize, channels: usize, random: &mut Random) -> Tensor {
        let mut tensor = Tensor::new(height, width, channels);
        tensor.data.fill_with(|| self.i16(random));
        tensor
    }

    fn network(self, layers: &[Layer], random: &mut Random) -> IntegerNetwork {
        let mut draw = |count| (0..count).map(|_| self.i16(random)).collect::<Vec<_>>();
        let params = sites(layers)
            .iter()
            .map(|site| match *site.layer {
                Pointwise { inputs, outputs } => SiteParams::Pointwise {
                    weights: draw(inputs * outputs),
                    shifts: self.shifts(&draw(outputs)),
                    biases: self.biases(&draw(2 * ANCHORS * outputs)),
                },
                Depthwise { channels } => SiteParams::Depthwise {
                    weights: draw(9 * channels),
                    shifts: self.shifts(&draw(channels)),
                    biases: self.biases(&draw(2 * channels)),
                },
                _ => SiteParams::Gate {
                    limit: draw(1)[0].saturating_abs(),
                    shift: match self {
                        Values::Moderate => 10,
                        _ => draw(1)[0].unsigned_abs() as u8 % 30 + 1,
                    },
                },
            })
            .collect();
        IntegerNetwork { layers: layers.to_vec(), params }
    }

    fn shifts(self, drawn: &[i16]) -> Vec<u8> {
        drawn
            .iter()
            .map(|&x| match self {
                Values::Moderate => 10 + (x & 3) as u8,
                _ => (x.unsigned_abs() % 31) as u8,
            })
            .collect()
    }

    fn biases(self, drawn: &[i16]) -> Vec<i32> {
        drawn
            .chunks_exact(2)
            .map(|x| {
                i32::from(x[0]) << 16 >> if matches!(self, Values::Moderate) { 8 } else { 0 }
                    | i32::from(x[1]) & 0xff
            })
            .collect()
    }
}

/// Runs layers with every kind of values at every level.
fn check(layers: &[Layer], sizes: (usize, usize), channels: usize) {
    let mut random = Random(channels as u64);
    for values in Values::ALL {
        let network = values.network(layers, &mut random);
        let input = values.tensor(sizes.0, sizes.1, channels, &mut random);
        let quality = QualityIndex(random.next() as u8);
        let expected = naive::run(&network, &input, quality);
        for level in Level::available() {
            let got = Network::new(&network, level).unwrap().run(&input, quality);
            assert!(got == expected, "{level:?} {values:?} {sizes:?} {layers:?}");
        }
    }
}

#[test]
fn pointwise_layers_of_every_shape_equal_the_documentation() {
    let inputs = [1, 2, 3, 31, 32, 63, 64, 65, 96, 127, 128, 192, 256, 384, 512];
    let outputs = [1, 15, 16, 17, 31, 32, 33, 64, 95, 96, 130];
    for (index, inputs) in inputs.into_iter().enumerate() {
        for (turn, outputs) in outputs.into_iter().enumerate() {
            // Every remainder of the tile, spread over the table.
            let positions = (index * 11 + turn) % 40 + 1;
            check(&[Pointwise { inputs, outputs }], (1, positions), inputs);
        }
    }
}

#[test]
fn every_count_of_positions_equals_the_documentation() {
    for positions in (1..=40).chain([95, 96, 97, 200]) {
        for inputs in [64, 70, 71] {
            let layer = Pointwise { inputs, outputs: 40 };
            check(&[layer], (1, positions), inputs);
        }
    }
}

#[test]
fn pointwise_layers_fuse_with_what_follows() {
    for (inputs, outputs) in [(64, 64), (96, 96), (64, 18), (33, 34), (128, 80)] {
        let pointwise = Pointwise { inputs, outputs };
        let gate = Gate { channels: outputs / 2 };
        let back = Pointwise { inputs: outputs, outputs: inputs };
        check(&[pointwise.clone(), LeakyRelu], (3, 7), inputs);
        check(&[pointwise.clone(), gate.clone()], (5, 5), inputs);
        check(&[Residual(vec![pointwise.clone(), LeakyRelu, back.clone()])], (5, 5), inputs);
        check(&[Residual(vec![pointwise, back, LeakyRelu])], (5, 5), inputs);
    }
    let square = Pointwise { inputs: 48, outputs: 96 };
    check(&[Residual(vec![square, Gate { channels: 48 }])], (5, 5), 48);
}

#[test]
fn depthwise_layers_equal_the_documentation() {
    for channels in [1, 16, 31, 32, 33, 48, 64, 80, 96, 128] {
        for sizes in [(1, 1), (1, 2), (2, 1), (3, 3), (4, 13)] {
            check(&[Depthwise { channels }], sizes, channels);
            check(&[Depthwise { channels }, LeakyRelu], sizes, channels);
        }
    }
}

#[test]
fn layers_without_parameters_equal_the_documentation() {
    check(&[], (2, 3), 5);
    check(&[LeakyRelu], (2, 3), 5);
    check(&[Unshuffle], (4, 6), 5);
    check(&[Shuffle], (3, 2), 20);
    check(&[Gate { channels: 7 }], (3, 2), 14);
    check(&[Residual(vec![Depthwise { channels: 7 }])], (3, 2), 7);
    check(
        &[
            Depthwise { channels: 4 },
            Residual(vec![]),
            Residual(vec![Unshuffle, LeakyRelu, Shuffle]),
            Residual(vec![Residual(vec![LeakyRelu])]),
        ],
        (2, 2),
        4,
    );
}

#[test]
fn every_part_of_the_codec_is_the_same_on_any_level_and_thread_count() {
    let arch = Arch {
        analysis_channels: 128,
        analysis_blocks: 3,
        synthesis_channels: 128,
        synthesis_blocks: 3,
        latents: 256,
        hyper_analysis_channels: 128,
        hyper_synthesis_channels: 128,
        hyper_latents: 96,
        analysis_inner: 128,
        synthesis_inner: 80,
    };
    let mut random = Random(7);
    for part in Part::ALL {
        let layers = arch.layers(part);
        let network = Values::Moderate.network(&layers, &mut random);
        let input = Values::Moderate.tensor(8, 12, arch.input_channels(part), &mut random);
        let quality = QualityIndex(100);
        let expected = naive::run(&network, &input, quality);
        for level in Level::available() {
            let network = Network::new(&network, level).unwrap();
            for threads in [1, 2, 5] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let got = pool.install(|| network.run(&input, quality));
                assert!(got == expected, "{part:?} {level:?} {threads} threads");
            }
        }
    }
}

#[test]
fn alternating_predictions_are_half_of_the_whole_ones() {
    let mut random = Random(13);
    for (channels, values) in
        [(1, Values::Full), (40, Values::Extreme), (47, Values::Full), (64, Values::Moderate)]
    {
        let layers = [Pointwise { inputs: 9, outputs: 16 }, Pointwise { inputs: 16, outputs: 2 * channels }];
        let network = values.network(&layers, &mut random);
        let input = values.tensor(5, 9, 9, &mut random);
        let quality = QualityIndex(random.next() as u8);
        let whole = naive::run(&network, &input, quality);
        for (level, start) in Level::available().into_iter().flat_map(|level| [(level, 0), (level, 1)]) {
            let got = Network::alternating(&network, level, start).unwrap().run(&input, quality);
            assert_eq!(got.channels, 2 * channels.div_ceil(2));
            for (y, x) in (0..5).flat_map(|y| (0..9).map(move |x| (y, x))) {
                let (means, scales) = whole.at(y, x).split_at(channels);
                let half = |values: &[i16]| {
                    let mut half: Vec<i16> =
                        values.iter().copied().skip((start + y + x) % 2).step_by(2).collect();
                    half.resize(channels.div_ceil(2), 0);
                    half
                };
                assert_eq!(got.at(y, x), [half(means), half(scales)].concat(), "{level:?} {start} {y} {x}");
            }
        }
    }
}

/// A row of numbers up to a magnitude.
fn row(random: &mut Random, length: usize, magnitude: u64) -> Vec<i16> {
    (0..length).map(|_| (random.next() % (2 * magnitude + 1)) as i16 - magnitude as i16).collect()
}

#[test]
fn pairs_are_weighed_the_same_at_every_level() {
    let mut random = Random(29);
    let network = Values::Full.network(&[Pointwise { inputs: 2, outputs: 2 }], &mut Random(1));
    for (count, length, weight) in [(33, 96, 5621), (2, 32, 32767), (1, 64, 511), (4, 0, 1)] {
        let rows: Vec<Vec<i16>> = (0..2 * count).map(|_| row(&mut random, length + 3, 16383)).collect();
        let pairs: Vec<[&[i16]; 2]> = rows.chunks(2).map(|two| [&two[0][..], &two[1][3..]]).collect();
        let weights: Vec<[i16; 3]> = row(&mut random, 3 * count, weight).as_chunks().0.to_vec();
        let start = [0, 1, 2].map(|_| row(&mut random, length, 1000).into_iter().map(i32::from).collect());
        let expected: [Vec<i32>; 3] = std::array::from_fn(|to| {
            let sum = |(i, start): (usize, &i32)| {
                let weighed = pairs
                    .iter()
                    .zip(&weights)
                    .map(|([a, b], weights)| (i64::from(a[i]) + i64::from(b[i])) * i64::from(weights[to]));
                (i64::from(*start) + weighed.sum::<i64>()) as i32
            };
            let start: &Vec<i32> = &start[to];
            start.iter().enumerate().map(sum).collect()
        });
        for level in Level::available() {
            let mut sums = start.clone();
            Network::new(&network, level).unwrap().weigh(&pairs, &weights, &mut sums);
            assert!(sums == expected, "{level:?}, {count} pairs");
        }
    }
}

#[test]
fn differences_are_the_same_at_every_level() {
    let mut random = Random(17);
    let network = Values::Full.network(&[Pointwise { inputs: 2, outputs: 2 }], &mut Random(1));
    for (magnitude, limit, weight) in [(300, 64, 20), (8191, 4096, 511), (8191, 8192, 127), (8191, 1, 16383)]
    {
        let length = 2 * LANES;
        let middle = row(&mut random, length, magnitude);
        let neighbours: Vec<Vec<i16>> = (0..20).map(|_| row(&mut random, length + 1, magnitude)).collect();
        let pairs: Vec<[&[i16]; 2]> = neighbours.chunks(2).map(|two| [&two[0][1..], &two[1][..]]).collect();
        let weights: Vec<Vec<[i16; 2]>> =
            (0..10).map(|_| row(&mut random, 2 * length, weight).as_chunks().0.to_vec()).collect();
        let limits = [limit / 4, limit].map(|limit| limit as i16);
        let start: Vec<i32> = row(&mut random, length, 1000).into_iter().map(i32::from).collect();
        let sum = |(i, start): (usize, &i32)| {
            let weighed = pairs.iter().flatten().zip(weights.iter().flat_map(|pair| [pair, pair]));
            let difference = |value: &[i16]| i32::from(value[i]) - i32::from(middle[i]);
            let within = |value, limit: i16| difference(value).clamp(-i32::from(limit), limit.into());
            let sum = weighed.map(|(value, weights)| {
                (0..2).map(|k| i32::from(weights[i][k]) * within(value, limits[k])).sum::<i32>()
            });
            start + sum.sum::<i32>()
        };
        let expected: Vec<i32> = start.iter().enumerate().map(sum).collect();
        for level in Level::available() {
            let mut sums = start.clone();
            let weights: Vec<&[[i16; 2]]> = weights.iter().map(|row| &row[..]).collect();
            let differences = Differences { middle: &middle, pairs: &pairs, limits, weights: &weights };
            Network::new(&network, level).unwrap().differences(&differences, &mut sums);
            assert_eq!(sums, expected, "{level:?}, {limits:?}");
        }
    }
}

#[test]
fn sums_of_products_are_the_same_at_every_level() {
    let mut random = Random(23);
    let network = Values::Full.network(&[Pointwise { inputs: 2, outputs: 2 }], &mut Random(1));
    for (count, length) in [(1, 0), (3, 8), (4, 72), (11, 1024)] {
        // Products that floats must round.
        let mut row = || -> Vec<f32> { (0..length).map(|_| (random.next() % 8191) as f32 / 7.0).collect() };
        let (first, others) = (row(), (0..count).map(|_| row()).collect::<Vec<_>>());
        let expected: Vec<f64> = others
            .iter()
            .map(|other| {
                let lane = |lane: usize| {
                    let products = first.iter().zip(other).skip(lane).step_by(SUM_LANES);
                    f64::from(products.fold(0.0f32, |sum, (a, b)| sum + a * b))
                };
                1.5 + (0..SUM_LANES).map(lane).sum::<f64>()
            })
            .collect();
        for level in Level::available() {
            let mut sums = vec![1.5; count];
            Network::new(&network, level).unwrap().sums_of_products(&first, &others, &mut sums);
            assert_eq!(sums, expected, "{level:?}, {count} rows of {length}");
        }
    }
}

#[test]
fn an_empty_tensor_stays_empty() {
    let layers = [Pointwise { inputs: 4, outputs: 8 }, Depthwise { channels: 8 }, Shuffle, Unshuffle];
    let network = Values::Full.network(&layers, &mut Random(1));
    for (height, width) in [(0, 0), (0, 4), (4, 0)] {
        let y = Network::new(&network, Level::best())
            .unwrap()
            .run(&Tensor::new(height, width, 4), QualityIndex(0));
        assert_eq!(y, Tensor::new(height, width, 8));
    }
}

#[test]
fn a_value_does_not_depend_on_its_window() {
    let arch = Arch {
        analysis_channels: 8,
        analysis_blocks: 2,
        synthesis_channels: 8,
        synthesis_blocks: 2,
        latents: 6,
        hyper_analysis_channels: 5,
        hyper_synthesis_channels: 5,
        hyper_latents: 3,
        analysis_inner: 8,
        synthesis_inner: 5,
    };
    let mut random = Random(11);
    for part in Part::ALL {
        let network = Values::Moderate.network(&arch.layers(part), &mut random);
        let network = Network::new(&network, Level::best()).unwrap();
        let input = Values::Moderate.tensor(32, 44, arch.input_channels(part), &mut random);
        let whole = network.run(&input, QualityIndex(9));
        let mut below = |n: usize| (random.next() % n as u64) as usize;
        for _ in 0..30 {
            let (top, left) = (below(whole.height), below(whole.width));
            let rows = top..top + 1 + below(whole.height - top);
            let columns = left..left + 1 + below(whole.width - left);
            let mut next = rows.start;
            let window = Window { rows: rows.clone(), columns: columns.clone() };
            network.stream(&input, QualityIndex(9), &window, |y, row| {
                assert_eq!(y, next);
                assert!(row == whole.row(y, columns.clone()), "{part:?} {window:?} row {y}");
                next += 1;
            });
            assert_eq!(next, rows.end);
            // The input outside what the window is said to depend on is free.
            let needed = network.input_window(input.size(), &window);
            let mut other = Tensor::new(input.height, input.width, input.channels);
            for y in needed.rows.clone() {
                let at = (y * input.width + needed.columns.start) * input.channels;
                let row = input.row(y, needed.columns.clone());
                other.data[at..at + row.len()].copy_from_slice(row);
            }
            network.stream(&other, QualityIndex(9), &window, |y, row| {
                assert!(row == whole.row(y, columns.clone()), "{part:?} {window:?} row {y}");
            });
        }
    }
}
