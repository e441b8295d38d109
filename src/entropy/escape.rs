//! Values outside a table's support: an Exp-Golomb code of order 0 in raw bits.
//!
//! An overshoot `v >= 0` beyond one end of the support becomes
//! `u = 2 * v + side`, with side 1 below. With `n = floor(log2(u + 1))` the code
//! is `n` ones, a zero, then the low `n` bits of `u + 1`.

use super::{Ans, pop_raw, push_raw};

/// The longest prefix: 16-bit symbols overshoot by less than 2^15.
const MAX_BITS: u32 = 16;

/// How far, and on which side, a cell lies outside a table's support.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Overshoot {
    /// 0 for the first cell outside.
    pub distance: u32,
    /// Whether the cell lies below the support.
    pub below: bool,
}

/// Encodes an overshoot; backwards, as the stack wants it.
pub(super) fn push(ans: &mut Ans, overshoot: Overshoot) {
    let code = 2 * overshoot.distance + u32::from(overshoot.below) + 1;
    let bits = code.ilog2();
    push_raw(ans, code & ((1 << bits) - 1), bits);
    push_raw(ans, 0, 1);
    for _ in 0..bits {
        push_raw(ans, 1, 1);
    }
}

/// Decodes an overshoot, or `None` where no writer makes such a code.
pub(super) fn pop(ans: &mut Ans) -> Option<Overshoot> {
    let mut bits = 0;
    while pop_raw(ans, 1) == 1 {
        bits += 1;
        if bits > MAX_BITS {
            return None;
        }
    }
    let code = (1 << bits) | u32::from(pop_raw(ans, bits));
    Some(Overshoot { distance: (code - 1) / 2, below: (code - 1) % 2 == 1 })
}

/// Bits that [`push`] spends.
pub(super) fn bits(overshoot: Overshoot) -> u32 {
    2 * (2 * overshoot.distance + u32::from(overshoot.below) + 1).ilog2() + 1
}
