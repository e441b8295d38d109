//! A model that does not fit together is an error, never a panic.

use super::{Random, Values};
use crate::Error;
use crate::model::Layer::{self, Depthwise, Gate, LeakyRelu, Pointwise, Residual, Shuffle, Unshuffle};
use crate::model::{IntegerNetwork, SiteParams};
use crate::nn::{Level, Network};

fn assert_bad(network: &IntegerNetwork, why: &str) {
    match Network::new(network, Level::Scalar) {
        Err(Error::Model(_)) => {}
        other => panic!("{why}: {other:?}"),
    }
}

fn sound() -> IntegerNetwork {
    let layers = [Pointwise { inputs: 6, outputs: 8 }, Depthwise { channels: 8 }, Gate { channels: 4 }];
    Values::Full.network(&layers, &mut Random(3))
}

#[test]
fn missing_and_surplus_parameters_are_errors() {
    let mut network = sound();
    network.params.pop();
    assert_bad(&network, "missing");
    let mut network = sound();
    network.params.push(network.params[0].clone());
    assert_bad(&network, "surplus");
    let mut network = sound();
    network.params.swap(0, 1);
    assert_bad(&network, "another layer's");
}

#[test]
fn parameters_of_another_length_are_errors() {
    for site in 0..2 {
        for field in 0..3 {
            let mut network = sound();
            match &mut network.params[site] {
                SiteParams::Pointwise { weights, shifts, biases }
                | SiteParams::Depthwise { weights, shifts, biases } => match field {
                    0 => drop(weights.pop()),
                    1 => drop(shifts.pop()),
                    _ => biases.push(0),
                },
                SiteParams::Gate { .. } => unreachable!(),
            }
            assert_bad(&network, &format!("site {site} field {field}"));
        }
    }
}

#[test]
fn shifts_and_limits_out_of_range_are_errors() {
    for site in 0..2 {
        let mut network = sound();
        if let SiteParams::Pointwise { shifts, .. } | SiteParams::Depthwise { shifts, .. } =
            &mut network.params[site]
        {
            shifts[1] = 31;
        }
        assert_bad(&network, "a shift of 31");
    }
    for (limit, shift) in [(-1, 3), (5, 0), (5, 31)] {
        let mut network = sound();
        network.params[2] = SiteParams::Gate { limit, shift };
        assert_bad(&network, "a gate");
    }
}

#[test]
fn layers_that_do_not_fit_together_are_errors() {
    let narrow = Pointwise { inputs: 4, outputs: 6 };
    let lists: [Vec<Layer>; 8] = [
        vec![narrow.clone(), narrow.clone()],
        vec![narrow.clone(), Depthwise { channels: 4 }],
        vec![narrow.clone(), Gate { channels: 6 }],
        vec![narrow.clone(), Shuffle],
        vec![Residual(vec![narrow.clone()])],
        vec![narrow, Residual(vec![Unshuffle, Pointwise { inputs: 24, outputs: 6 }])],
        vec![Residual(vec![LeakyRelu])],
        vec![Depthwise { channels: 0 }],
    ];
    for layers in lists {
        let network = Values::Full.network(&layers, &mut Random(5));
        assert_bad(&network, &format!("{layers:?}"));
    }
}

#[test]
fn absurd_sizes_are_errors() {
    let layers = [
        Pointwise { inputs: usize::MAX, outputs: 2 },
        Gate { channels: usize::MAX },
        Depthwise { channels: usize::MAX },
    ];
    for layer in layers {
        let mut network = sound();
        network.layers[0] = layer;
        assert_bad(&network, "sizes");
    }
}
