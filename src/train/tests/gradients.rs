//! Every hand-written gradient against candle's own and against finite differences.

use std::sync::Arc;

use candle_core::{Device, Tensor, Var};

use super::{random, tiny_arch};
use crate::model::arch::{Part, in_first_half};
use crate::model::layer::Layer;
use crate::train::checkerboard::Checkerboard;
use crate::train::kernels::{self, Geometry, Matrix, Precision};
use crate::train::net::{Anchored, Layout, Network};
use crate::train::quantize::{Quantize, Rounding, logistic_cost};
use crate::train::reference;

fn close(name: &str, a: &[f32], b: &[f32], tolerance: f32) {
    assert_eq!(a.len(), b.len(), "{name}");
    let scale = b.iter().fold(0.0f32, |m, v| m.max(v.abs())).max(1e-6);
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        assert!((a - b).abs() <= tolerance * scale, "{name}[{i}]: {a} against {b}, scale {scale}");
    }
}

fn flat(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn fused_networks_and_their_gradients_equal_plain_candle_ops() {
    let arch = tiny_arch();
    let geometry = Geometry { batch: 2, height: 8, width: 12 };
    let qualities: Vec<Anchored> = vec![(0, 0.25), (7, 0.5)];
    for part in Part::ALL {
        let layers = Arc::new(arch.layers(part));
        let layout = Layout::new(&layers);
        let channels = arch.input_channels(part);
        let input =
            Var::from_vec(random(geometry.rows() * channels, 1), (geometry.rows(), channels), &Device::Cpu)
                .unwrap();
        let params = Var::from_vec(random(layout.len, 2), layout.len, &Device::Cpu).unwrap();
        let (precision, qualities_of) = (Precision::Full, Arc::new(qualities.clone()));
        let fused = Network { layers: layers.clone(), geometry, qualities: qualities_of, precision }
            .apply(input.as_tensor(), params.as_tensor())
            .unwrap();
        let plain = reference::apply(&layers, geometry, &qualities, &input, &params).unwrap();
        close(part.name(), &flat(&fused), &flat(&plain), 1e-4);
        let weights = Tensor::from_vec(random(fused.elem_count(), 3), fused.shape(), &Device::Cpu).unwrap();
        let gradients = |out: &Tensor| {
            let store = (out * &weights).unwrap().sum_all().unwrap().backward().unwrap();
            (flat(store.get(&input).unwrap()), flat(store.get(&params).unwrap()))
        };
        let ((dx, dp), (dx_plain, dp_plain)) = (gradients(&fused), gradients(&plain));
        close(&format!("{} input", part.name()), &dx, &dx_plain, 1e-3);
        close(&format!("{} parameters", part.name()), &dp, &dp_plain, 1e-3);
    }
}

#[test]
fn depthwise_gradients_equal_finite_differences() {
    let g = Geometry { batch: 2, height: 5, width: 4 };
    let channels = 16;
    let (x, w) = (random(g.rows() * channels, 4), random(9 * channels, 5));
    let weights = random(x.len(), 6);
    let value = |x: &[f32], w: &[f32]| -> f64 {
        let mut out = vec![0.0; x.len()];
        kernels::depthwise(x, w, &mut out, g, false);
        out.iter().zip(&weights).map(|(a, b)| f64::from(a * b)).sum()
    };
    let (mut dx, mut dw) = (vec![0.0; x.len()], vec![0.0; w.len()]);
    kernels::depthwise(&weights, &w, &mut dx, g, true);
    kernels::depthwise_weight_grad(&x, &weights, &mut dw, g);
    let difference = |x: &[f32], w: &[f32], i: usize, of_weight: bool| -> f32 {
        let moved = |by: f32| {
            let (mut x, mut w) = (x.to_vec(), w.to_vec());
            if of_weight {
                w[i] += by
            } else {
                x[i] += by
            }
            value(&x, &w)
        };
        ((moved(0.05) - moved(-0.05)) / 0.1) as f32
    };
    let every = |n: usize| (0..n).step_by(7);
    for i in every(x.len()) {
        assert!((dx[i] - difference(&x, &w, i, false)).abs() < 1e-3, "input {i}");
    }
    for i in every(w.len()) {
        assert!((dw[i] - difference(&x, &w, i, true)).abs() < 1e-3, "weight {i}");
    }
}

#[test]
fn blocks_have_the_gradients_of_finite_differences() {
    let layers = Arc::new(vec![
        Layer::Residual(vec![
            Layer::Pointwise { inputs: 16, outputs: 16 },
            Layer::LeakyRelu,
            Layer::Depthwise { channels: 16 },
            Layer::Pointwise { inputs: 16, outputs: 16 },
        ]),
        Layer::Residual(vec![
            Layer::Pointwise { inputs: 16, outputs: 32 },
            Layer::Gate { channels: 16 },
            Layer::Pointwise { inputs: 16, outputs: 16 },
        ]),
    ]);
    let layout = Layout::new(&layers);
    let geometry = Geometry { batch: 1, height: 3, width: 4 };
    let x = random(12 * 16, 7);
    let params: Vec<f32> = random(layout.len, 8).iter().map(|w| w * 0.4).collect();
    let run = |params: &[f32]| {
        let params = Var::from_slice(params, layout.len, &Device::Cpu).unwrap();
        let x = Tensor::from_slice(&x, (12, 16), &Device::Cpu).unwrap();
        let qualities = Arc::new(vec![(3, 0.5)]);
        let op = Network { layers: layers.clone(), geometry, qualities, precision: Precision::Full };
        let loss = op.apply(&x, &params).unwrap().sqr().unwrap().sum_all().unwrap();
        let grad = flat(loss.backward().unwrap().get(&params).unwrap());
        (f64::from(loss.to_scalar::<f32>().unwrap()), grad)
    };
    let (_, grad) = run(&params);
    let scale = grad.iter().fold(0.0f32, |m, g| m.max(g.abs()));
    for i in (0..layout.len).step_by(31) {
        let moved = |by: f32| {
            let mut params = params.clone();
            params[i] += by;
            run(&params).0
        };
        let difference = ((moved(2e-3) - moved(-2e-3)) / 4e-3) as f32;
        assert!((grad[i] - difference).abs() < 0.01 * scale, "{i}: {} against {difference}", grad[i]);
    }
}

#[test]
fn the_rate_is_that_of_a_logistic() {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    for log2_scale in [-4.0f32, -2.0, -0.3, 0.0, 1.7, 5.0, 7.8] {
        let s = f64::from(log2_scale).exp2();
        for a in [0.0f32, 0.2, 0.5, 1.0, 3.3, 9.0, 40.0] {
            if f64::from(a) / s > 30.0 {
                continue; // the plain formula itself cancels there
            }
            let p = sigmoid((0.5 - f64::from(a)) / s) - sigmoid((-0.5 - f64::from(a)) / s);
            let bits = f64::from(logistic_cost(a, log2_scale).bits);
            assert!(
                (bits + p.log2()).abs() < 2e-4 * (1.0 + bits),
                "{a} {log2_scale}: {bits} against {}",
                -p.log2()
            );
        }
    }
    let far = logistic_cost(3000.0, -4.0);
    assert!(far.bits.is_finite() && far.by_magnitude.is_finite() && far.by_log2_scale.is_finite());
}

#[test]
fn quantisation_has_the_gradients_of_finite_differences_in_the_rate() {
    let (positions, channels) = (6, 4);
    let rows = 2 * positions;
    let y: Vec<f32> = random(rows * channels, 9).iter().map(|v| v * 3.0).collect();
    let params = random(rows * 2 * channels, 10);
    let step: Vec<f32> = random(2 * channels, 11).iter().map(|v| v * 0.5).collect();
    let op = Quantize { positions, rounding: Rounding::Noise(77) };
    let run = |y: &[f32], params: &[f32], step: &[f32]| {
        let y = Var::from_slice(y, (rows, channels), &Device::Cpu).unwrap();
        let params = Var::from_slice(params, (rows, 2 * channels), &Device::Cpu).unwrap();
        let step = Var::from_slice(step, (2, channels), &Device::Cpu).unwrap();
        let out = op.apply(&y, &params, &step).unwrap();
        let bits = out.narrow(1, channels, 1).unwrap().sum_all().unwrap();
        let store = bits.backward().unwrap();
        let grads = [&y, &params, &step].map(|v| flat(store.get(v).unwrap()));
        (f64::from(bits.to_scalar::<f32>().unwrap()), grads)
    };
    let (_, grads) = run(&y, &params, &step);
    for (which, grad) in grads.iter().enumerate() {
        for i in 0..grad.len() {
            let moved = |by: f32| {
                let mut all = [y.clone(), params.clone(), step.clone()];
                all[which][i] += by;
                run(&all[0], &all[1], &all[2]).0
            };
            let difference = ((moved(1e-2) - moved(-1e-2)) / 2e-2) as f32;
            assert!(
                (grad[i] - difference).abs() < 0.03 * (1.0 + difference.abs()),
                "input {which}, {i}: {} against {difference}",
                grad[i]
            );
        }
    }
}

#[test]
fn halves_come_from_where_they_are_coded_and_so_do_their_gradients() {
    let geometry = Geometry { batch: 2, height: 2, width: 3 };
    let channels = 4;
    let rows = geometry.rows();
    let halves = Checkerboard(geometry);
    let var = |values: &[f32], columns: usize| {
        Var::from_slice(values, (values.len() / columns, columns), &Device::Cpu).unwrap()
    };
    let y = var(&random(rows * channels, 20).iter().map(|v| v * 3.0).collect::<Vec<_>>(), channels);
    let prior = var(&random(rows * 2 * channels, 21), 2 * channels);
    let context = var(&random(rows * 2 * channels, 22), 2 * channels);
    let step = var(&random(2 * channels, 23), channels);
    let first = |row: usize, c: usize| {
        in_first_half(row % geometry.positions() / geometry.width, row % geometry.width, c % channels)
    };

    let selected = halves.select(&prior, &context).unwrap();
    let store = selected.sqr().unwrap().sum_all().unwrap().backward().unwrap();
    let (from_prior, from_context) = (flat(store.get(&prior).unwrap()), flat(store.get(&context).unwrap()));
    let (prior_values, context_values) = (flat(&prior), flat(&context));
    for (i, value) in flat(&selected).into_iter().enumerate() {
        let (expected, grads) = if first(i / (2 * channels), i % (2 * channels)) {
            (prior_values[i], (2.0 * prior_values[i], 0.0))
        } else {
            (context_values[i], (0.0, 2.0 * context_values[i]))
        };
        assert_eq!((value, (from_prior[i], from_context[i])), (expected, grads), "{i}");
    }

    // The first half is what the op over all latents makes of it.
    let all = Quantize { positions: geometry.positions(), rounding: Rounding::Hard }
        .apply(&y, &prior, &step)
        .unwrap()
        .narrow(1, 0, channels)
        .unwrap();
    let mask: Vec<f32> =
        (0..rows * channels).map(|i| f32::from(u8::from(first(i / channels, i % channels)))).collect();
    let mask = Tensor::from_vec(mask, (rows, channels), &Device::Cpu).unwrap();
    let masked = (all * &mask).unwrap();
    let half = halves.first_half(&y, &prior, &step).unwrap();
    close("first half", &flat(&half), &flat(&masked), 1e-6);
    let gradients = |out: &Tensor| {
        let store = out.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        (flat(store.get(&y).unwrap()), flat(store.get(&step).unwrap()))
    };
    let ((dy, dstep), (dy_masked, dstep_masked)) = (gradients(&half), gradients(&masked));
    close("latents", &dy, &dy_masked, 1e-5);
    close("steps", &dstep, &dstep_masked, 1e-5);
}

#[test]
fn reconstructions_pass_gradients_straight_through() {
    let op = Quantize { positions: 1, rounding: Rounding::Noise(1) };
    let y = Var::from_slice(&[1.3f32], (1, 1), &Device::Cpu).unwrap();
    let params = Var::from_slice(&[0.1f32, 0.0], (1, 2), &Device::Cpu).unwrap();
    let step = Var::from_slice(&[-1.0f32], (1, 1), &Device::Cpu).unwrap();
    let out = op.apply(&y, &params, &step).unwrap().narrow(1, 0, 1).unwrap();
    // (1.3 - 0.1) / 0.5 = 2.4 rounds to 2.
    close("value", &flat(&out), &[0.1 + 2.0 * 0.5], 1e-6);
    let store = out.sum_all().unwrap().backward().unwrap();
    close("y", &flat(store.get(&y).unwrap()), &[1.0], 1e-6);
    close("mean and scale", &flat(store.get(&params).unwrap()), &[0.0, 0.0], 1e-6);
    let by_step = (2.0 - 2.4) * 0.5 * std::f32::consts::LN_2;
    close("step", &flat(store.get(&step).unwrap()), &[by_step], 1e-5);
}

#[test]
fn products_on_tile_registers_are_those_of_factors_rounded_to_bf16() {
    if Precision::fastest() != Precision::Half {
        eprintln!("skipped: this machine has no tile registers");
        return;
    }
    let rounded = |values: &[f32]| -> Vec<f32> {
        let nearest = |bits: u32| (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff_0000;
        values.iter().map(|v| f32::from_bits(nearest(v.to_bits()))).collect()
    };
    for (m, k, n) in [(1, 1, 1), (32, 32, 32), (33, 2, 31), (16, 1030, 48), (70, 2100, 19), (144, 96, 304)] {
        let (a, b) = (random(m * k, 11), random(k * n, 12));
        let (a_rounded, b_rounded) = (rounded(&a), rounded(&b));
        for (a_turned, b_turned) in [(false, false), (true, false), (false, true), (true, true)] {
            fn view(data: &[f32], rows: usize, cols: usize, turned: bool) -> Matrix<'_> {
                if turned { Matrix::new(data, cols, rows).t() } else { Matrix::new(data, rows, cols) }
            }
            let mut expected = vec![0.0; m * n];
            let (a_plain, b_plain) = (view(&a_rounded, m, k, a_turned), view(&b_rounded, k, n, b_turned));
            kernels::matmul(&mut expected, a_plain, b_plain, 0.0);
            let mut out = vec![f32::NAN; m * n];
            let mut finished = vec![0; m];
            let (a, b) = (view(&a, m, k, a_turned), view(&b, k, n, b_turned));
            Precision::Half.matmul(&mut out, a, b, |first, band| {
                finished[first..first + band.len() / n].iter_mut().for_each(|times| *times += 1);
            });
            close(&format!("{m}x{k}x{n} {a_turned} {b_turned}"), &out, &expected, 1e-5);
            assert!(finished.iter().all(|times| *times == 1), "each row is finished once");
        }
    }
}
