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
//! states. The machine of 32 is Ungerboeck's code for amplitude modulation (1982, table I:
//! parity checks 45 and 10, octal), as Marcellin and Fischer (1990) use it. That of 256 is the
//! best of those that leave the upper bits alone, so that an encoder can look at eight states
//! together: evenly spread values come 1.326 dB closer than with one quantiser, 1.333 dB with
//! Ungerboeck's 515 and 362, 1.214 dB with 32 states. No code gets past 1.533 dB.

/// A machine: what its quantiser and an odd symbol do to the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trellis {
    /// How many states there are: 1, or a power of two up to 256.
    pub states: usize,
    /// Changed by quantiser 1.
    pub quantiser: u8,
    /// Changed by an odd symbol.
    pub odd: u8,
}

/// One quantiser for all latents.
pub const SCALAR: Trellis = Trellis { states: 1, quantiser: 0, odd: 0 };
/// Two quantisers and 32 states.
pub const DEPENDENT_32: Trellis = Trellis { states: 32, quantiser: 18, odd: 4 };
/// Two quantisers and 256 states.
pub const DEPENDENT_256: Trellis = Trellis { states: 256, quantiser: 143, odd: 13 };

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
        for trellis in [DEPENDENT_32, DEPENDENT_256] {
            for parity in 0..2 {
                let mut reached: Vec<usize> =
                    (0..trellis.states).map(|state| trellis.next(state as u8, parity).into()).collect();
                reached.sort();
                assert!(reached.into_iter().eq(0..trellis.states));
            }
        }
    }

    /// The least number of half steps, squared, between two ways through a trellis that part
    /// and meet: what many states are for. Symbols of one parity and quantiser are 4 half
    /// steps from each other, of both parities 2, and quantisers lie 1 apart.
    fn free_distance(trellis: Trellis) -> u32 {
        let pair = |a: u8, b: u8| usize::from(a) * trellis.states + usize::from(b);
        let mut least = vec![u32::MAX; trellis.states * trellis.states];
        let mut met = u32::MAX;
        let mut open: Vec<(u8, u8, u32)> = (0..trellis.states)
            .map(|state| (trellis.next(state as u8, 0), trellis.next(state as u8, 1), 4))
            .collect();
        while let Some((a, b, distance)) = open.pop() {
            if distance >= least[pair(a, b)].min(met) {
                continue;
            }
            least[pair(a, b)] = distance;
            if a == b {
                met = distance;
                continue;
            }
            for (i, j) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                let apart = match (a & 1 == b & 1, i == j) {
                    (true, true) => 0,
                    (true, false) => 4,
                    (false, _) => 1,
                };
                open.push((trellis.next(a, i), trellis.next(b, j), distance + apart));
            }
        }
        met
    }

    #[test]
    fn more_states_keep_paths_further_apart() {
        // Ungerboeck's table I has 13 and 17; it is 4 without a code.
        assert_eq!([DEPENDENT_32, DEPENDENT_256].map(free_distance), [13, 15]);
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
