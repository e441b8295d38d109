//! The encoder's way through the trellis of `model::trellis`: the symbols of one half
//! of a tile that cost the least in bits and errors, by Viterbi's algorithm.
//!
//! Floats here are only added, multiplied and compared, in a fixed order: the same
//! latents get the same symbols on every machine.

use super::latents::Coded;
use crate::entropy::{BINS, Costs};
use crate::model::trellis::{DEPENDENT, STATES, half_steps};

/// A latent to be coded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// Its place in the tile's tensor.
    pub index: u32,
    /// The lane it is coded in.
    pub lane: u8,
    /// What its distribution is centred on.
    pub mean: i16,
    /// Its distribution, that of quantiser 0.
    pub bin: u8,
    /// How far from the mean it would like to be, in half steps.
    pub distance: f32,
    /// Bits that an error of one half step, squared, may cost.
    pub weight: f32,
}

/// A symbol for one parity of one quantiser, and what it costs.
#[derive(Debug, Clone, Copy, Default)]
struct Choice {
    symbol: i16,
    cost: f32,
}

/// The states that lead to each state with an even symbol, and with an odd one. Those of
/// the lower half of the states have quantiser 0, those of the upper half quantiser 1.
const BEFORE: [[u8; STATES]; 2] = {
    let mut before = [[0; STATES]; 2];
    let mut state = 0;
    while state < STATES {
        let mut parity = 0;
        while parity < 2 {
            before[parity][DEPENDENT.next(state as u8, parity as i16) as usize] = state as u8;
            parity += 1;
        }
        state += 1;
    }
    before
};
/// Latents after which the costs of paths start from 0 again.
const BLOCK: usize = 128;

/// States that are looked at together.
const TOGETHER: usize = 4;

/// Extends the paths to all states by one symbol, whose costs are given by quantiser
/// and parity. The bits of what is returned are the states that an odd one leads to.
#[inline(always)]
fn extend(paths: &mut [[f32; TOGETHER]; STATES / TOGETHER], costs: [[f32; 2]; 2]) -> u32 {
    // Written out for this trellis, so that what is added and compared lies side by side:
    // state 2 i leads to i and, odd, to i ^ 4; state 2 i + 1 to 16 + (i ^ 2) and 16 + (i ^ 6).
    const { assert!(STATES == 32 && DEPENDENT.quantiser == 16 + 2 && DEPENDENT.odd == 4) };
    let mut from = [[[0.0; TOGETHER]; STATES / TOGETHER / 2]; 2];
    for i in 0..STATES / TOGETHER / 2 {
        let (a, b) = (paths[2 * i], paths[2 * i + 1]);
        from[0][i] = [a[0], a[2], b[0], b[2]];
        from[1][i] = [b[1], b[3], a[1], a[3]];
    }
    let mut odd = [0u32; TOGETHER];
    for (quantiser, (from, [even_cost, odd_cost])) in from.iter().zip(costs).enumerate() {
        for i in 0..STATES / TOGETHER / 2 {
            let to = quantiser * STATES / TOGETHER / 2 + i;
            for lane in 0..TOGETHER {
                let (a, b) = (from[i][lane] + even_cost, from[i ^ 1][lane] + odd_cost);
                paths[to][lane] = if b < a { b } else { a };
                odd[lane] |= u32::from(b < a) << (TOGETHER * to + lane);
            }
        }
    }
    odd[0] | odd[1] | odd[2] | odd[3]
}

/// The best symbols of quantiser 0 alone.
pub(super) fn scalar(wanted: &[Wanted], costs: &Costs) -> Vec<Coded> {
    wanted
        .iter()
        .map(|latent| {
            let [even, odd] = choose::<0>(latent, costs);
            let best = if odd.cost < even.cost { odd } else { even };
            Coded { bin: latent.bin, mean: latent.mean, symbol: best.symbol }
        })
        .collect()
}

/// The best symbol for a value in steps: of the two next to it the one that costs less in
/// bits and in errors, of which one step, squared, costs `weight`.
pub(super) fn cheapest(bin: u8, value: f32, weight: f32, costs: &Costs) -> i16 {
    let value = value.clamp(-30_000.0, 30_000.0);
    let below = value.floor();
    let cost = |symbol: f32| {
        let error = value - symbol;
        costs.bits(bin, symbol as i16) + weight * error * error
    };
    let above = below + 1.0;
    (if cost(above) < cost(below) { above } else { below }) as i16
}

/// The best paths through the trellis, one for each lane: symbols under the bins of their
/// quantisers.
pub(super) fn dependent(wanted: &[Wanted], lanes: usize, costs: &Costs) -> Vec<Coded> {
    let mut start = [[f32::INFINITY; TOGETHER]; STATES / TOGETHER];
    start[0][0] = 0.0;
    let mut paths = vec![start; lanes];
    // Of each latent the symbols, by quantiser and parity, and the states that are
    // best reached by an odd one.
    let mut steps: Vec<([[i16; 2]; 2], u32)> = Vec::with_capacity(wanted.len());
    for block in wanted.chunks(BLOCK) {
        for latent in block {
            let choices = [choose::<0>(latent, costs), choose::<1>(latent, costs)];
            let costs = choices.map(|of| of.map(|choice| choice.cost));
            let odd = extend(&mut paths[usize::from(latent.lane)], costs);
            steps.push((choices.map(|of| of.map(|choice| choice.symbol)), odd));
        }
        for paths in paths.iter_mut().map(|paths| paths.as_flattened_mut()) {
            let least = paths.iter().fold(f32::INFINITY, |a, &b| a.min(b));
            paths.iter_mut().for_each(|path| *path -= least);
        }
    }
    let cheapest = |paths: &[f32]| (0..STATES).min_by(|&a, &b| paths[a].total_cmp(&paths[b])).unwrap_or(0);
    let mut states: Vec<usize> = paths.iter().map(|paths| cheapest(paths.as_flattened())).collect();
    let mut coded = vec![Coded::default(); wanted.len()];
    for ((coded, latent), (symbols, odd)) in coded.iter_mut().zip(wanted).zip(steps).rev() {
        let state = &mut states[usize::from(latent.lane)];
        let parity = (odd >> *state & 1) as usize;
        *state = usize::from(BEFORE[parity][*state]);
        let quantiser = *state & 1;
        let bin = latent.bin + (quantiser * BINS) as u8;
        *coded = Coded { bin, mean: latent.mean, symbol: symbols[quantiser][parity] };
    }
    coded
}

/// For each parity the better of its two symbols whose values are next to a latent.
#[inline(always)]
fn choose<const QUANTISER: u8>(latent: &Wanted, costs: &Costs) -> [Choice; 2] {
    let bin = latent.bin + QUANTISER * BINS as u8;
    let magnitude = latent.distance.abs().min(60_000.0);
    // The symbols `first..first + 4` have values on both sides.
    let first = ((magnitude + f32::from(QUANTISER)) * 0.5) as i16 - 1;
    let mut choices = costs.bits_of_four(bin, latent.distance < 0.0, first);
    for (i, cost) in choices.iter_mut().enumerate() {
        let error = magnitude - half_steps(QUANTISER, first + i as i16) as f32;
        *cost += latent.weight * error * error;
    }
    let [a, b, c, d] = choices;
    let better = |symbol, cost, next| if next < cost { (symbol + 2, next) } else { (symbol, cost) };
    let pair = [better(first, a, c), better(first + 1, b, d)]
        .map(|(symbol, cost)| Choice { symbol: if latent.distance < 0.0 { -symbol } else { symbol }, cost });
    if first & 1 == 0 { pair } else { [pair[1], pair[0]] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::ScaleTables;
    use crate::entropy::logistic::bin_scale;
    use crate::model::trellis::State;

    /// Latents whose distances follow the distributions of their bins.
    fn latents(count: u32, bins: std::ops::Range<u8>, weight: f32) -> Vec<Wanted> {
        let mut state = 1u64;
        let mut uniform = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 11) as f64 + 0.5) / (1u64 << 53) as f64
        };
        (0..count)
            .map(|index| {
                let bin = bins.start + (uniform() * bins.len() as f64) as u8;
                let u = uniform();
                let distance = (2.0 * bin_scale(bin.into()) * (u / (1.0 - u)).ln()) as f32;
                Wanted { index, lane: 0, mean: 0, bin, distance, weight }
            })
            .collect()
    }

    fn cost(latent: &Wanted, bin: u8, symbol: i16, costs: &Costs) -> f64 {
        let error = latent.distance - half_steps(bin / BINS as u8, symbol) as f32;
        f64::from(costs.bits(bin, symbol)) + f64::from(latent.weight * error * error)
    }

    /// Bits and errors of a path, which must be one that a decoder can follow.
    fn cost_of(wanted: &[Wanted], coded: &[Coded], costs: &Costs) -> f64 {
        let mut state = State::start(DEPENDENT);
        let path = wanted.iter().zip(coded).map(|(latent, coded)| {
            assert_eq!(coded.bin, latent.bin + state.quantiser() * BINS as u8);
            assert_eq!(state.advance(coded.symbol), half_steps(coded.bin / BINS as u8, coded.symbol));
            cost(latent, coded.bin, coded.symbol, costs)
        });
        path.sum()
    }

    /// The least cost of all ways on from a state, tried one by one.
    fn least(wanted: &[Wanted], state: State, costs: &Costs) -> f64 {
        let Some((latent, rest)) = wanted.split_first() else { return 0.0 };
        let near = (latent.distance / 2.0).round() as i16;
        let ways = (near - 3..=near + 3).map(|symbol| {
            let mut next = state;
            next.advance(symbol);
            let bin = latent.bin + state.quantiser() * BINS as u8;
            cost(latent, bin, symbol, costs) + least(rest, next, costs)
        });
        ways.fold(f64::INFINITY, f64::min)
    }

    #[test]
    fn no_path_is_better() {
        let costs = Costs::new(&ScaleTables::dependent());
        for weight in [0.5, 3.0, 100.0] {
            for wanted in latents(60, 8..60, weight).chunks(6) {
                let found = cost_of(wanted, &dependent(wanted, 1, &costs), &costs);
                let least = least(wanted, State::start(DEPENDENT), &costs);
                // Symbols further away than the nearest of each parity are not tried.
                assert!((least - 1e-4..least + 0.6).contains(&found), "{found}, not {least}");
            }
        }
    }

    #[test]
    fn lanes_do_not_know_of_each_other() {
        let costs = Costs::new(&ScaleTables::dependent());
        let mut wanted = latents(BLOCK as u32 - 1, 8..60, 3.0);
        // Not in turns: rows may end with either lane.
        wanted.iter_mut().enumerate().for_each(|(i, wanted)| wanted.lane = (i % 5 % 2) as u8);
        let together = dependent(&wanted, 2, &costs);
        for lane in 0..2 {
            let (alone, found): (Vec<Wanted>, Vec<Coded>) =
                wanted.iter().zip(&together).filter(|(wanted, _)| wanted.lane == lane).unzip();
            let alone: Vec<Wanted> = alone.into_iter().map(|wanted| Wanted { lane: 0, ..wanted }).collect();
            let symbols = |coded: &[Coded]| -> Vec<_> { coded.iter().map(|c| (c.bin, c.symbol)).collect() };
            assert_eq!(symbols(&found), symbols(&dependent(&alone, 1, &costs)));
        }
    }

    #[test]
    fn two_quantisers_beat_one() {
        let (one, two) = (Costs::new(&ScaleTables::logistic()), Costs::new(&ScaleTables::dependent()));
        // Steps at their optimum, for bits 2.2 times the squared error in half steps.
        for bin in [16, 24, 32, 48] {
            let wanted = latents(20_000, bin..bin + 1, 2.2);
            let alone: f64 = wanted
                .iter()
                .zip(scalar(&wanted, &one))
                .map(|(latent, coded)| cost(latent, coded.bin, coded.symbol, &one))
                .sum();
            // The same latents and errors in steps of sqrt(2) times the size.
            let wider: Vec<Wanted> = wanted
                .iter()
                .map(|w| Wanted { bin: w.bin - 4, distance: w.distance / 2f32.sqrt(), weight: 4.4, ..*w })
                .collect();
            let together = cost_of(&wider, &dependent(&wider, 1, &two), &two);
            assert!(together < alone - 0.04 * wanted.len() as f64, "bin {bin}: {together}, {alone}");
        }
    }

    #[test]
    fn one_quantiser_takes_the_cheapest_symbol() {
        let costs = Costs::new(&ScaleTables::logistic());
        for weight in [0.5, 8.0] {
            let wanted = latents(3000, 1..96, weight);
            for (latent, coded) in wanted.iter().zip(scalar(&wanted, &costs)) {
                let found = cost(latent, coded.bin, coded.symbol, &costs);
                let near = (latent.distance / 2.0).round() as i16;
                for symbol in near - 1..=near + 1 {
                    assert!(found <= cost(latent, latent.bin, symbol, &costs) + 1e-4, "{latent:?} {coded:?}");
                }
            }
        }
    }

    #[test]
    fn distances_beyond_all_symbols_do_no_harm() {
        let costs = Costs::new(&ScaleTables::dependent());
        for distance in [0.0, -0.0, 7e4, -7e4, f32::MAX, f32::MIN] {
            let wanted = [Wanted { index: 0, lane: 0, mean: 0, bin: 95, distance, weight: 2.0 }; 4];
            let coded = dependent(&wanted, 1, &costs);
            assert!(coded.iter().all(|coded| f32::from(coded.symbol) * distance >= 0.0), "{coded:?}");
        }
    }
}
