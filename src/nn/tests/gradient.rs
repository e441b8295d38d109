//! The integer gradient against differences of real-valued layers.

use super::super::gradient::{Gradient, Tape};
use super::*;
use crate::model::layer::{GATE_LIMIT, LEAKY_SHIFT};

/// Weights as an exporter makes them: rows of length about one, 12 fraction bits.
fn network(layers: &[Layer], random: &mut Random) -> IntegerNetwork {
    let uniform = |random: &mut Random| (random.next() >> 11) as f64 / (1u64 << 53) as f64 * 2.0 - 1.0;
    let params = sites(layers)
        .iter()
        .map(|site| match *site.layer {
            Pointwise { inputs, outputs } => {
                let bound = (3.0 / inputs as f64).sqrt() * 4096.0;
                let mut weights = || (uniform(random) * bound) as i16;
                SiteParams::Pointwise {
                    weights: (0..inputs * outputs).map(|_| weights()).collect(),
                    shifts: vec![12; outputs],
                    biases: vec![0; ANCHORS * outputs],
                }
            }
            Depthwise { channels } => SiteParams::Depthwise {
                weights: (0..9 * channels).map(|_| (uniform(random) * 2000.0) as i16).collect(),
                shifts: vec![12; channels],
                biases: vec![0; channels],
            },
            _ => SiteParams::Gate { limit: (GATE_LIMIT << 12) as i16, shift: 13 },
        })
        .collect();
    IntegerNetwork { layers: layers.to_vec(), params }
}

/// The same network in f64, without rounding.
struct Real<'a> {
    params: std::slice::Iter<'a, SiteParams>,
}

/// Rows, columns, channels, values.
type Block = (usize, usize, usize, Vec<f64>);

impl Real<'_> {
    fn run(&mut self, layers: &[Layer], x: &Block) -> Block {
        layers.iter().fold(x.clone(), |x, layer| self.layer(layer, &x))
    }

    fn layer(&mut self, layer: &Layer, x: &Block) -> Block {
        let &(h, w, c, ref data) = x;
        match layer {
            Residual(body) => {
                let (_, _, _, y) = self.run(body, x);
                (h, w, c, y.iter().zip(data).map(|(y, x)| y + x).collect())
            }
            LeakyRelu => {
                let slope = 1.0 / f64::from(1 << LEAKY_SHIFT);
                (h, w, c, data.iter().map(|v| v.max(v * slope)).collect())
            }
            Shuffle => {
                let mut out = vec![0.0; data.len()];
                let n = c / 4;
                for (i, v) in data.iter().enumerate() {
                    let (p, k) = (i / c, i % c);
                    let (y, x) = (p / w * 2 + k / n / 2, p % w * 2 + k / n % 2);
                    out[(y * 2 * w + x) * n + k % n] = *v;
                }
                (2 * h, 2 * w, n, out)
            }
            _ => match (layer, self.params.next().unwrap()) {
                (&Pointwise { inputs, outputs }, SiteParams::Pointwise { weights, .. }) => {
                    let row = |x: &[f64], o: usize| -> f64 {
                        let w = &weights[o * inputs..][..inputs];
                        w.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum::<f64>() / 4096.0
                    };
                    let out = data.chunks_exact(inputs).flat_map(|x| (0..outputs).map(move |o| row(x, o)));
                    (h, w, outputs, out.collect())
                }
                (&Depthwise { channels }, SiteParams::Depthwise { weights, .. }) => {
                    let mut out = vec![0.0; data.len()];
                    for (i, out) in out.iter_mut().enumerate() {
                        let (p, k) = (i / channels, i % channels);
                        for tap in 0..9 {
                            let (y, x) = (p / w + tap / 3, p % w + tap % 3);
                            if (1..=h).contains(&y) && (1..=w).contains(&x) {
                                let v = data[((y - 1) * w + x - 1) * channels + k];
                                *out += f64::from(weights[tap * channels + k]) * v / 4096.0;
                            }
                        }
                    }
                    (h, w, channels, out)
                }
                (&Gate { channels }, _) => {
                    let limit = f64::from(GATE_LIMIT << 12);
                    let gate = |x: &[f64], k: usize| x[k] * x[k + channels].clamp(-limit, limit) / 8192.0;
                    let out = data.chunks_exact(c).flat_map(|x| (0..channels).map(move |k| gate(x, k)));
                    (h, w, channels, out.collect())
                }
                (layer, params) => panic!("{layer:?} {params:?}"),
            },
        }
    }
}

fn synthesis() -> Vec<Layer> {
    vec![
        Pointwise { inputs: 24, outputs: 64 },
        Shuffle,
        Residual(vec![
            Pointwise { inputs: 16, outputs: 16 },
            LeakyRelu,
            Depthwise { channels: 16 },
            Pointwise { inputs: 16, outputs: 16 },
        ]),
        Residual(vec![
            Pointwise { inputs: 16, outputs: 32 },
            Gate { channels: 16 },
            Pointwise { inputs: 16, outputs: 16 },
        ]),
        Pointwise { inputs: 16, outputs: 48 },
    ]
}

#[test]
fn forward_equals_the_network_in_every_bit() {
    let mut random = Random(3);
    for values in Values::ALL {
        let network = values.network(&synthesis(), &mut random);
        let input = values.tensor(5, 7, 24, &mut random);
        for level in Level::available() {
            let expected = Network::new(&network, level).unwrap().run(&input, QualityIndex(77));
            let gradient = Gradient::new(&network, level).unwrap();
            let mut tape = Tape::default();
            // The second time in the memory of the first.
            for _ in 0..2 {
                let got = gradient.forward(&input, QualityIndex(77), &mut tape);
                assert!(got == expected, "{values:?} {level:?}");
            }
        }
    }
}

#[test]
fn backward_is_the_derivative() {
    for layers in [synthesis(), synthesis()[..4].to_vec()] {
        compare_with_differences(&layers);
    }
}

fn compare_with_differences(layers: &[Layer]) {
    let mut random = Random(6);
    let network = network(layers, &mut random);
    let gradient = Gradient::new(&network, Level::best()).unwrap();
    let (h, w) = (4, 5);
    let mut draw = |count: usize, most: u64| -> Vec<i16> {
        (0..count).map(|_| (random.next() % (2 * most + 1)) as i16 - most as i16).collect()
    };
    let input = Tensor { height: h, width: w, channels: 24, data: draw(h * w * 24, 8000) };
    let mut tape = Tape::default();
    let output = gradient.forward(&input, QualityIndex(0), &mut tape);
    let direction = Tensor { data: draw(output.data.len(), 3000), ..output };
    let real = |data: Vec<f64>| {
        let out = Real { params: network.params.iter() }.run(&network.layers, &(h, w, 24, data)).3;
        out.iter().zip(&direction.data).map(|(y, d)| y * f64::from(*d)).sum::<f64>()
    };
    let back = gradient.backward(direction.clone(), &mut tape);
    assert!(gradient.backward(direction.clone(), &mut tape) == back, "another time");
    for level in Level::available() {
        let gradient = Gradient::new(&network, level).unwrap();
        let mut tape = Tape::default();
        gradient.forward(&input, QualityIndex(0), &mut tape);
        assert!(gradient.backward(direction.clone(), &mut tape) == back, "{level:?}");
    }
    let scale = (-f64::from(gradient.exponent())).exp2();
    let (mut error, mut size) = (0.0, 0.0);
    for i in (0..input.data.len()).step_by(7) {
        let moved = |by: f64| {
            let mut data: Vec<f64> = input.data.iter().map(|v| f64::from(*v)).collect();
            data[i] += by;
            data
        };
        let expected = (real(moved(0.5)) - real(moved(-0.5))) / 1.0;
        let got = f64::from(back.data[i]) * scale;
        error += (expected - got).powi(2);
        size += expected.powi(2);
    }
    // Rounding in between, and activations that round to the other side of zero.
    assert!(error < 1e-4 * size, "relative error {}", (error / size).sqrt());
}

#[test]
fn parameters_that_do_not_fit_are_errors() {
    let mut random = Random(9);
    let whole = network(&synthesis(), &mut random);
    for index in 0..whole.params.len() {
        let mut broken = whole.clone();
        broken.params.remove(index);
        assert!(Gradient::new(&broken, Level::Scalar).is_err(), "without {index}");
        let mut broken = whole.clone();
        broken.params.swap(index, (index + 1) % whole.params.len());
        assert!(Gradient::new(&broken, Level::Scalar).is_err(), "with {index} in another place");
    }
}
