//! What stands for `amx` on processors of other makes.

use super::kernels::Matrix;

/// There are no tile registers.
pub fn available() -> bool {
    false
}

/// Never called: [`available`] says no.
pub fn matmul(_: &mut [f32], _: Matrix, _: Matrix, _: &mut dyn FnMut(usize, &mut [f32])) {
    unreachable!("no tile registers");
}
