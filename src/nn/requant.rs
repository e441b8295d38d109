//! The one rounding rule, and the arithmetic that follows it on single values.
//!
//! These functions are inlined into every kernel's epilogue, so that no
//! instruction set has a rounding rule of its own.

use crate::model::layer::LEAKY_SHIFT;

/// What the right shift adds before it, so that it rounds halves up.
pub fn rounding(shift: u8) -> i32 {
    if shift == 0 { 0 } else { 1 << (shift - 1) }
}

/// Shifts an accumulator that already holds its bias and [`rounding`], and
/// saturates it.
#[inline(always)]
pub fn narrow(accumulator: i32, shift: u32) -> i16 {
    (accumulator >> (shift & 31)).clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16
}

/// `max(x, x / 2^LEAKY_SHIFT)`.
#[inline(always)]
pub fn leaky_relu(x: i16) -> i16 {
    x.max(x >> LEAKY_SHIFT)
}

/// The product gate's integer form. The limit is not negative and the shift in
/// `1..=30`, so neither the product (at most 2^30) nor its rounding overflows.
#[derive(Debug, Clone, Copy)]
pub struct Gate {
    /// Bound of the second factor.
    pub limit: i16,
    /// Right shift of the product.
    pub shift: u32,
}

impl Gate {
    /// `x * clamp(by, -limit, limit)`, rounded, shifted and saturated.
    #[inline(always)]
    pub fn apply(self, x: i16, by: i16) -> i16 {
        let by = by.max(-self.limit).min(self.limit);
        let product = i32::from(x) * i32::from(by);
        narrow(product.wrapping_add(1 << ((self.shift - 1) & 31)), self.shift)
    }
}
