//! Values outside a table's support: an Exp-Golomb code of order 0 in raw bits.
//!
//! An overshoot `v >= 0` beyond one end of the support becomes
//! `u = 2 * v + side`, with side 1 below. With `n = floor(log2(u + 1))` the code
//! is `n` ones, a zero, then the low `n` bits of `u + 1`.

use super::{Ans, push_raw};

/// How far, and on which side, a cell lies outside a table's support.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Overshoot {
    /// 0 for the first cell outside.
    pub distance: u32,
    /// Whether the cell lies below the support.
    pub below: bool,
}

impl Overshoot {
    /// That of a cell outside `first..first + cells`.
    pub fn of(cell: i32, first: i32, cells: i32) -> Overshoot {
        let below = cell < first;
        let distance = if below { first - 1 - cell } else { cell - first - cells };
        Overshoot { distance: distance as u32, below }
    }
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

/// Bits that [`push`] spends.
pub(super) fn bits(overshoot: Overshoot) -> u32 {
    2 * (2 * overshoot.distance + u32::from(overshoot.below) + 1).ilog2() + 1
}
