//! The encoder's way through the trellis of `model::trellis`: the symbols of one half
//! of a tile that cost the least in bits and errors, by Viterbi's algorithm.
//!
//! Floats here are only added, multiplied and compared, in a fixed order: the same
//! latents get the same symbols on every machine.

use super::latents::Coded;
use crate::entropy::{BINS, Costs};
use crate::model::trellis::{DEPENDENT_32, DEPENDENT_256, SCALAR, Trellis, half_steps};

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

/// The symbols of one quantiser that come close to a latent: of each parity the better one of
/// two whose values lie around it.
#[derive(Debug, Clone, Copy, Default)]
struct Near {
    /// The magnitude of the symbol whose value is next below the latent's, or close above.
    below: i16,
    /// Whether of this symbol's parity, and of the other, it is the larger one.
    larger: [bool; 2],
}

impl Near {
    /// The symbol of a parity.
    #[inline(always)]
    fn symbol(self, parity: usize, negative: bool) -> i16 {
        let other = (self.below as usize ^ parity) & 1;
        let magnitude = self.below - other as i16 + 2 * i16::from(self.larger[other]);
        if negative { -magnitude } else { magnitude }
    }
}

/// The symbols for [`Wanted`] latents under the bins of their quantisers: the best paths
/// through a trellis, one for each lane.
pub(super) fn choose(trellis: Trellis, wanted: &[Wanted], lanes: usize, costs: &Costs) -> Vec<Coded> {
    // The compiler is told what leads to a state, so that it can add and compare side by side.
    const SMALL: [usize; 2] = reversed(DEPENDENT_32);
    const LARGE: [usize; 2] = reversed(DEPENDENT_256);
    match trellis {
        SCALAR => scalar(wanted, costs),
        DEPENDENT_32 => dependent::<32, 2, { SMALL[0] }, { SMALL[1] }>(wanted, lanes, costs),
        _ => dependent::<256, 16, { LARGE[0] }, { LARGE[1] }>(wanted, lanes, costs),
    }
}

/// What quantiser 1 and an odd symbol do to the number of a state without its quantiser, as
/// [`Paths`] numbers them.
const fn reversed(trellis: Trellis) -> [usize; 2] {
    let bits = (trellis.states / 2).ilog2();
    let turn = trellis.quantiser as u32 - trellis.states as u32 / 2;
    [
        (turn.reverse_bits() >> (32 - bits)) as usize,
        ((trellis.odd as u32).reverse_bits() >> (32 - bits)) as usize,
    ]
}

/// Parts of a bit that costs of paths are counted in.
const UNITS: f32 = 16.0;
/// The most that the costs of a latent's symbols are apart: 93 bits. Errors of at most two half
/// steps, squared, cost less where one costs up to 23 bits; what costs more than 18 was not met.
const APART: f32 = 1500.0;
/// Symbols after which the costs of paths start from 0 again. From one state to any other it
/// takes not more of them.
const BLOCK: usize = 8;
/// What paths from a state cost that is not the first: more than any of one block from there.
const ELSEWHERE: i16 = 16_000;
const _: () =
    assert!(BLOCK as f32 * APART < ELSEWHERE as f32 && ELSEWHERE as f32 + BLOCK as f32 * APART < 32_767.0);

/// States that are looked at together.
const TOGETHER: usize = 8;
/// Numbers for as many states.
type Group<T> = [T; TOGETHER];
/// By the quantiser before, a bit for each of its groups of states, the first one highest:
/// whether an odd symbol led to it.
type Odd = [Group<u16>; 2];

/// The costs of the best paths to all states, whose numbers are read backwards: those of
/// quantiser 0 come first. Number k of quantiser q leads to state `2 (k ^ (q TURN)) + q`, and
/// with an odd symbol to `2 (k ^ (q TURN) ^ ODD) + q`.
struct Paths<const STATES: usize> {
    /// Before and after the last symbol, in turns.
    costs: [[i16; STATES]; 2],
    symbols: usize,
}

impl<const STATES: usize> Paths<STATES> {
    /// From state 0.
    fn start() -> Self {
        let mut costs = [[ELSEWHERE; STATES]; 2];
        costs[0][0] = 0;
        Paths { costs, symbols: 0 }
    }

    /// Extends the paths by one symbol, whose costs are given by quantiser and parity.
    #[inline(always)]
    fn extend<const GROUPS: usize, const TURN: usize, const ODD: usize>(
        &mut self,
        costs: [[i16; 2]; 2],
    ) -> Odd {
        let [first, second] = &mut self.costs;
        let (from, to) = if self.symbols.is_multiple_of(2) { (first, second) } else { (second, first) };
        let (low, high) = from.as_chunks::<TOGETHER>().0.split_at(GROUPS);
        let (pairs, _) = to.as_chunks_mut::<2>();
        let (after, _) = pairs.as_chunks_mut::<TOGETHER>();
        let mut odd = [[0; TOGETHER]; 2];
        for (group, after) in after.iter_mut().enumerate() {
            let low = better::<0, ODD>(low, group, costs[0], &mut odd[0]);
            let high = better::<TURN, ODD>(high, group, costs[1], &mut odd[1]);
            for n in 0..TOGETHER {
                after[n] = [low[n], high[n]];
            }
        }
        self.symbols += 1;
        if self.symbols.is_multiple_of(BLOCK) {
            let least = to.iter().fold(i16::MAX, |a, &b| a.min(b));
            to.iter_mut().for_each(|cost| *cost -= least);
        }
        odd
    }

    /// The state that is reached for the least.
    fn cheapest(&self) -> usize {
        let costs = &self.costs[self.symbols % 2];
        (0..STATES).min_by_key(|&state| costs[state]).unwrap_or(0)
    }

    /// The state before one, and the parity that led from there.
    #[inline(always)]
    fn before<const GROUPS: usize, const TURN: usize, const ODD: usize>(
        state: usize,
        odd: &Odd,
    ) -> (usize, usize) {
        let (quantiser, k) = (state % 2, state / 2);
        let group = k / TOGETHER;
        let parity = usize::from(odd[quantiser][k % TOGETHER] >> (GROUPS - 1 - group) & 1);
        (quantiser * (STATES / 2) + (k ^ (quantiser * TURN) ^ (parity * ODD)), parity)
    }
}

/// The better of two ways to each state of a group from those of one quantiser.
#[inline(always)]
fn better<const TURN: usize, const ODD: usize>(
    from: &[Group<i16>],
    group: usize,
    [even_cost, odd_cost]: [i16; 2],
    odd: &mut Group<u16>,
) -> Group<i16> {
    let turned = |turn: usize, n: usize| from[group ^ (turn / TOGETHER)][n ^ (turn % TOGETHER)];
    let mut to = [0; TOGETHER];
    for n in 0..TOGETHER {
        let (a, b) = (turned(TURN, n) + even_cost, turned(TURN ^ ODD, n) + odd_cost);
        to[n] = a.min(b);
        odd[n] = 2 * odd[n] + u16::from(b < a);
    }
    to
}

/// The best symbols of quantiser 0 alone.
fn scalar(wanted: &[Wanted], costs: &Costs) -> Vec<Coded> {
    wanted
        .iter()
        .map(|latent| {
            let (near, [even, odd]) = near::<0>(latent, costs);
            let symbol = near.symbol(usize::from(odd < even), latent.distance < 0.0);
            Coded { bin: latent.bin, mean: latent.mean, symbol }
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

/// The best paths, see [`Paths`].
fn dependent<const STATES: usize, const GROUPS: usize, const TURN: usize, const ODD: usize>(
    wanted: &[Wanted],
    lanes: usize,
    costs: &Costs,
) -> Vec<Coded> {
    const { assert!(STATES == 2 * GROUPS * TOGETHER && GROUPS <= 16 && STATES <= 1 << BLOCK) };
    let mut paths: Vec<Paths<STATES>> = (0..lanes).map(|_| Paths::start()).collect();
    // Of each latent the symbols of the quantisers, and where odd ones led.
    let mut steps: Vec<([Near; 2], Odd)> = Vec::with_capacity(wanted.len());
    for latent in wanted {
        let (near, costs) = near_both(latent, costs);
        let odd = paths[usize::from(latent.lane)].extend::<GROUPS, TURN, ODD>(costs);
        steps.push((near, odd));
    }
    let mut states: Vec<usize> = paths.iter().map(Paths::cheapest).collect();
    let mut coded = vec![Coded::default(); wanted.len()];
    for ((coded, latent), (near, odd)) in coded.iter_mut().zip(wanted).zip(steps).rev() {
        let state = &mut states[usize::from(latent.lane)];
        let (before, parity) = Paths::<STATES>::before::<GROUPS, TURN, ODD>(*state, &odd);
        *state = before;
        let quantiser = before / (STATES / 2);
        let bin = latent.bin + (quantiser * BINS) as u8;
        let symbol = near[quantiser].symbol(parity, latent.distance < 0.0);
        *coded = Coded { bin, mean: latent.mean, symbol };
    }
    coded
}

/// The symbols of both quantisers close to a latent, and what they cost more than the cheapest,
/// by quantiser and parity, in parts of a bit.
#[inline(always)]
fn near_both(latent: &Wanted, costs: &Costs) -> ([Near; 2], [[i16; 2]; 2]) {
    let ((zero, zero_costs), (one, one_costs)) = (near::<0>(latent, costs), near::<1>(latent, costs));
    let costs = [zero_costs, one_costs];
    let least = costs.as_flattened().iter().fold(f32::INFINITY, |a, &b| if b < a { b } else { a });
    let apart = |cost: f32| {
        let apart = (cost - least) * UNITS;
        whole(if apart < APART { apart } else { APART }) as i16
    };
    ([zero, one], costs.map(|of| of.map(apart)))
}

/// The symbols of a quantiser close to a latent, and what they cost in bits and errors, by
/// parity.
#[inline(always)]
fn near<const QUANTISER: u8>(latent: &Wanted, costs: &Costs) -> (Near, [f32; 2]) {
    let magnitude = latent.distance.abs().min(60_000.0);
    let below = whole((magnitude + f32::from(QUANTISER)) * 0.5 - 0.5) as i16;
    let first = below - 1;
    let bits = costs.bits_of_four(latent.bin + QUANTISER * BINS as u8, latent.distance < 0.0, first);
    let [a, b, c, d]: [f32; 4] = std::array::from_fn(|i| {
        let error = magnitude - half_steps(QUANTISER, first + i as i16) as f32;
        bits[i] + latent.weight * error * error
    });
    // Not `min`, which looks for what is no number.
    let (other, same) = (if c < a { c } else { a }, if d < b { d } else { b });
    let by_parity = if below & 1 == 0 { [same, other] } else { [other, same] };
    (Near { below, larger: [d < b, c < a] }, by_parity)
}

/// The nearest whole number, halves to even, of one below 2^21 in magnitude. A plain sum,
/// since the standard library's function is a call where the processor need not have the
/// instruction.
#[inline(always)]
pub(super) fn whole(value: f32) -> i32 {
    /// Numbers of this size have no fraction bits.
    const WHOLE: f32 = 1.5 * (1 << 23) as f32;
    (value + WHOLE).to_bits() as i32 - WHOLE.to_bits() as i32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::ScaleTables;
    use crate::entropy::logistic::bin_scale;
    use crate::model::trellis::State;

    const BOTH: [Trellis; 2] = [DEPENDENT_32, DEPENDENT_256];

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
    fn cost_of(trellis: Trellis, wanted: &[Wanted], coded: &[Coded], costs: &Costs) -> f64 {
        let mut state = State::start(trellis);
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
        for (trellis, weight) in BOTH.into_iter().flat_map(|trellis| [0.5, 3.0, 20.0].map(|w| (trellis, w))) {
            for wanted in latents(60, 8..60, weight).chunks(6) {
                let found = cost_of(trellis, wanted, &choose(trellis, wanted, 1, &costs), &costs);
                let least = least(wanted, State::start(trellis), &costs);
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
        let together = choose(DEPENDENT_256, &wanted, 2, &costs);
        for lane in 0..2 {
            let (alone, found): (Vec<Wanted>, Vec<Coded>) =
                wanted.iter().zip(&together).filter(|(wanted, _)| wanted.lane == lane).unzip();
            let alone: Vec<Wanted> = alone.into_iter().map(|wanted| Wanted { lane: 0, ..wanted }).collect();
            let symbols = |coded: &[Coded]| -> Vec<_> { coded.iter().map(|c| (c.bin, c.symbol)).collect() };
            assert_eq!(symbols(&found), symbols(&choose(DEPENDENT_256, &alone, 1, &costs)));
        }
    }

    #[test]
    fn more_states_beat_fewer() {
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
            let [few, many] =
                BOTH.map(|trellis| cost_of(trellis, &wider, &choose(trellis, &wider, 1, &two), &two));
            assert!(few < alone - 0.04 * wanted.len() as f64, "bin {bin}: {few}, {alone}");
            assert!(many < few - 0.005 * wanted.len() as f64, "bin {bin}: {many}, {few}");
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
            let coded = choose(DEPENDENT_256, &wanted, 1, &costs);
            assert!(coded.iter().all(|coded| f32::from(coded.symbol) * distance >= 0.0), "{coded:?}");
        }
    }
}
