//! Dependent quantisation: which of two quantisers a latent has follows from the
//! symbols before it.
//!
//! Quantiser 0 has the values `k` steps, quantiser 1 the values `k - sgn(k) / 2`:
//! together twice as dense as either alone. The parity of each symbol moves a machine
//! from state to state, and the state names the next latent's quantiser. An
//! encoder searches the paths through the states (the trellis) for symbols whose
//! values come closer to the latents than one quantiser's do, for the same bits.
//!
//! Sources: Schwarz, Nguyen, Marpe, Wiegand, "Hybrid video coding with
//! trellis-coded quantization", DCC 2019, and ITU-T H.266, section 8.7.3, there with four
//! states; the machine is Ungerboeck's code of [`STATES`] states for amplitude modulation
//! (1982, table I: parity checks 45 and 10, octal), as Marcellin and Fischer (1990) use it.

/// How many states there are.
pub const STATES: usize = 32;

/// A machine: what its quantiser and an odd symbol do to the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trellis {
    /// Changed by quantiser 1.
    pub quantiser: u8,
    /// Changed by an odd symbol.
    pub odd: u8,
}

/// One quantiser for all latents.
pub const SCALAR: Trellis = Trellis { quantiser: 0, odd: 0 };
/// Two quantisers: the parity checks without their lowest bit.
pub const DEPENDENT: Trellis = Trellis { quantiser: 0o45 >> 1, odd: 0o10 >> 1 };

impl Trellis {
    /// The state after a symbol.
    #[inline(always)]
    pub const fn next(self, state: u8, symbol: i16) -> u8 {
        // Masks of ones or zeros.
        let (quantiser, odd) = (0u8.wrapping_sub(state & 1), 0u8.wrapping_sub(symbol as u8 & 1));
        (state >> 1) ^ (self.quantiser & quantiser) ^ (self.odd & odd)
    }
}

/// Where in the trellis a decoder is.
#[derive(Debug, Clone, Copy)]
pub struct State {
    trellis: Trellis,
    state: u8,
}

impl State {
    /// Before the first symbol.
    pub fn start(trellis: Trellis) -> State {
        State { trellis, state: 0 }
    }

    /// Back to the start.
    pub fn restart(&mut self) {
        self.state = 0;
    }

    /// The quantiser of the next symbol, 0 or 1.
    #[inline(always)]
    pub fn quantiser(self) -> u8 {
        self.state & 1
    }

    /// Moves on past a symbol, and returns its value in half steps.
    #[inline(always)]
    pub fn advance(&mut self, symbol: i16) -> i32 {
        let value = half_steps(self.quantiser(), symbol);
        self.state = self.trellis.next(self.state, symbol);
        value
    }
}

/// The value of a symbol in half steps.
#[inline(always)]
pub fn half_steps(quantiser: u8, symbol: i16) -> i32 {
    // The sign by shifts, which processors do to many symbols at once.
    let (symbol, quantiser) = (i32::from(symbol), i32::from(quantiser));
    2 * symbol - (((symbol >> 31) - (-symbol >> 31)) & -quantiser)
}

/// The symbol whose value is so many half steps, whatever its quantiser.
pub fn symbol_of(half_steps: i32) -> i16 {
    (half_steps.signum() * ((half_steps.abs() + 1) >> 1)) as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_parities_are_permutations_of_the_states() {
        for parity in 0..2 {
            let mut reached: Vec<u8> = (0..STATES).map(|state| DEPENDENT.next(state as u8, parity)).collect();
            reached.sort();
            assert!(reached.into_iter().eq((0..STATES).map(|state| state as u8)));
        }
    }

    #[test]
    fn paths_that_part_meet_late() {
        // The distance between paths is what a trellis of many states is for.
        let mut pairs: Vec<[u8; 2]> =
            (0..STATES as u8).map(|state| [0, 1].map(|parity| DEPENDENT.next(state, parity))).collect();
        for symbols in 1..=STATES.ilog2() / 2 {
            assert!(pairs.iter().all(|[a, b]| a != b), "after {symbols} symbols");
            let next = |state| [0, 1].map(|parity| DEPENDENT.next(state, parity));
            pairs = pairs
                .iter()
                .flat_map(|&[a, b]| next(a).into_iter().flat_map(move |a| next(b).map(|b| [a, b])))
                .collect();
        }
    }

    #[test]
    fn one_quantiser_has_one_state() {
        let mut state = State::start(SCALAR);
        for symbol in [3, -2, 1, 0, i16::MIN] {
            assert_eq!(state.advance(symbol), 2 * i32::from(symbol));
            assert_eq!(state.quantiser(), 0);
        }
    }

    #[test]
    fn two_quantisers_have_every_half_step_that_both_signs_need() {
        let values = |quantiser| (-3..=3).map(move |symbol| half_steps(quantiser, symbol));
        assert!(values(0).eq([-6, -4, -2, 0, 2, 4, 6]));
        assert!(values(1).eq([-5, -3, -1, 0, 1, 3, 5]));
        for (quantiser, symbol) in
            [0, 1].into_iter().flat_map(|q| [0, 5, -7, i16::MIN, i16::MAX].map(|k| (q, k)))
        {
            assert_eq!(symbol_of(half_steps(quantiser, symbol)), symbol);
        }
    }
}
