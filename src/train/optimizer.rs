//! AdamW, and SOAP: Adam run in the eigenbasis of Shampoo's preconditioner.
//!
//! SOAP (Vyas et al. 2024, arXiv 2409.11321) keeps, for a weight matrix with
//! gradient G, running averages of `G G^T` and `G^T G`; Adam's second moment
//! lives in the basis of their eigenvectors, which one step of power iteration
//! and an orthonormalisation refresh every [`REFRESH`] steps. Everything that
//! is not a matrix (biases, depthwise windows, tables) gets plain Adam.

use nalgebra::{DMatrix, SymmetricEigen};

use super::kernels::{Matrix, Precision, matmul};
use super::net::Slot;

/// Steps between refreshes of a preconditioner's basis.
pub const REFRESH: u64 = 20;
/// A side of a matrix longer than this is not preconditioned.
pub const LARGEST_SIDE: usize = 256;

/// How steps are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Method {
    /// Adam with decoupled weight decay.
    Adamw,
    /// Adam in the eigenbasis of Shampoo's preconditioner.
    Soap,
}

/// What does not change during a run.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Which update rule.
    pub method: Method,
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment and of SOAP's covariances.
    pub beta2: f32,
    /// Decay of the averaged weights.
    pub ema: f32,
    /// How covariances and rotations are computed.
    pub precision: Precision,
}

/// One side of a matrix' preconditioner: `n x n` covariance and basis.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Side {
    /// Running average of `G G^T` (or `G^T G`).
    pub covariance: Vec<f32>,
    /// Its eigenvectors as columns; empty before the first step.
    pub basis: Vec<f32>,
}

/// The optimiser's memory of one variable.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// First moment.
    pub m: Vec<f32>,
    /// Second moment; of a SOAP matrix in its rotated basis.
    pub v: Vec<f32>,
    /// Averaged weights.
    pub ema: Vec<f32>,
    /// One pair per matrix among the slots.
    pub sides: Vec<[Side; 2]>,
}

impl State {
    /// The memory of a variable that starts as `weights`.
    pub fn new(weights: &[f32], matrices: usize) -> State {
        let zeros = vec![0.0; weights.len()];
        State { m: zeros.clone(), v: zeros, ema: weights.to_vec(), sides: vec![Default::default(); matrices] }
    }
}

/// The pointwise weights among a network's slots.
pub fn matrices(slots: &[Slot]) -> Vec<&Slot> {
    slots.iter().filter(|slot| slot.bias_rows > 1).collect()
}

/// A stretch of a variable that is updated by itself: one weight matrix, or
/// what lies between two.
pub struct Piece<'a> {
    grad: &'a [f32],
    weights: &'a mut [f32],
    m: &'a mut [f32],
    v: &'a mut [f32],
    ema: &'a mut [f32],
    lr: f32,
    /// Rows, columns and preconditioner of a matrix that has one.
    matrix: Option<(usize, usize, &'a mut [Side; 2])>,
}

/// Cuts a variable into its pieces.
pub fn pieces<'a>(
    method: Method,
    slots: &[Slot],
    grad: &'a [f32],
    weights: &'a mut [f32],
    state: &'a mut State,
    lr: f32,
) -> Vec<Piece<'a>> {
    let mut rest =
        Piece { grad, weights, m: &mut state.m, v: &mut state.v, ema: &mut state.ema, lr, matrix: None };
    let mut pieces = Vec::new();
    let mut done = 0;
    if method == Method::Soap {
        for (slot, sides) in matrices(slots).into_iter().zip(&mut state.sides) {
            let (rows, cols) = slot.shape;
            let (between, after) = rest.split(slot.weight - done);
            let (mut matrix, after) = after.split(rows * cols);
            matrix.matrix = Some((rows, cols, sides));
            pieces.extend([between, matrix]);
            (rest, done) = (after, slot.weight + rows * cols);
        }
    }
    pieces.push(rest);
    pieces
}

impl<'a> Piece<'a> {
    fn split(self, at: usize) -> (Piece<'a>, Piece<'a>) {
        let (grad, grad_after) = self.grad.split_at(at);
        let (weights, weights_after) = self.weights.split_at_mut(at);
        let (m, m_after) = self.m.split_at_mut(at);
        let (v, v_after) = self.v.split_at_mut(at);
        let (ema, ema_after) = self.ema.split_at_mut(at);
        let lr = self.lr;
        (
            Piece { grad, weights, m, v, ema, lr, matrix: None },
            Piece {
                grad: grad_after,
                weights: weights_after,
                m: m_after,
                v: v_after,
                ema: ema_after,
                lr,
                matrix: None,
            },
        )
    }

    /// Multiply-accumulates of an update, roughly: what to balance threads by.
    pub fn work(&self) -> usize {
        let per_number = self.matrix.as_ref().map_or(8, |(rows, cols, _)| 4 * (rows + cols));
        self.weights.len() * per_number
    }

    /// Applies step number `step`, which counts from 1.
    pub fn update(self, settings: Settings, step: u64) {
        let Settings { beta1, beta2, ema, precision, .. } = settings;
        let Piece { grad, weights, m, v, ema: averaged, lr, matrix } = self;
        let correction1 = 1.0 - beta1.powi(step as i32);
        let correction2 = 1.0 - beta2.powi(step as i32);
        for (m, g) in m.iter_mut().zip(grad) {
            *m = beta1 * *m + (1.0 - beta1) * g;
        }
        let adam = |m: &[f32], g: &[f32], v: &mut [f32], update: &mut dyn FnMut(usize, f32)| {
            for (i, ((m, g), v)) in m.iter().zip(g).zip(v).enumerate() {
                *v = beta2 * *v + (1.0 - beta2) * g * g;
                update(i, (m / correction1) / ((*v / correction2).sqrt() + 1e-8));
            }
        };
        match matrix {
            None => adam(m, grad, v, &mut |i, u| weights[i] -= lr * u),
            Some((rows, cols, [left, right])) => {
                // The first bases rest on few gradients and are replaced sooner.
                let fresh = step.is_multiple_of(REFRESH) || (step < 100 && step.is_multiple_of(5));
                let g = Matrix::new(grad, rows, cols);
                left.absorb(g, precision, beta2, fresh);
                right.absorb(g.t(), precision, beta2, fresh);
                let turned = |g: &[f32], back| rotate(g, rows, cols, left, right, precision, back);
                let mut update = vec![0.0; m.len()];
                adam(&turned(m, false), &turned(grad, false), v, &mut |i, u| update[i] = u);
                for (w, u) in weights.iter_mut().zip(turned(&update, true)) {
                    *w -= lr * u;
                }
            }
        }
        // Early weights leave the average quickly.
        let decay = ema.min((1.0 + step as f32) / (10.0 + step as f32));
        for (e, w) in averaged.iter_mut().zip(weights.iter()) {
            *e += (1.0 - decay) * (*w - *e);
        }
    }
}

impl Side {
    /// Adds `g g^T` to the covariance, and refreshes the basis if asked to.
    fn absorb(&mut self, g: Matrix, precision: Precision, beta: f32, refresh: bool) {
        let n = g.rows();
        if n > LARGEST_SIDE {
            return;
        }
        let first = self.basis.is_empty();
        if first {
            self.covariance = vec![0.0; n * n];
        }
        let mut gram = vec![0.0; n * n];
        precision.matmul(&mut gram, g, g.t(), |_, _| ());
        for (c, g) in self.covariance.iter_mut().zip(&gram) {
            *c = beta * *c + (1.0 - beta) * g;
        }
        if first {
            let eigen = SymmetricEigen::new(DMatrix::from_row_slice(n, n, &self.covariance));
            let mut order: Vec<usize> = (0..n).collect();
            order.sort_by(|a, b| eigen.eigenvalues[*b].total_cmp(&eigen.eigenvalues[*a]));
            self.basis = (0..n * n).map(|i| eigen.eigenvectors[(i / n, order[i % n])]).collect();
        } else if refresh {
            let mut turned = vec![0.0; n * n];
            matmul(&mut turned, Matrix::new(&self.covariance, n, n), Matrix::new(&self.basis, n, n), 0.0);
            if let Some(basis) = orthonormal(turned, n) {
                self.basis = basis;
            }
        }
    }
}

/// The orthonormal factor of a matrix whose columns are nearly orthogonal
/// already: columns normalised, then two rounds of Cholesky QR. `None` where a
/// column vanishes or rounding makes the Gram matrix indefinite; the old basis
/// then serves until the next refresh.
fn orthonormal(mut a: Vec<f32>, n: usize) -> Option<Vec<f32>> {
    for _ in 0..2 {
        let mut norms = vec![0.0f32; n];
        for row in a.chunks_exact(n) {
            for (s, x) in norms.iter_mut().zip(row) {
                *s += x * x;
            }
        }
        if norms.iter().any(|s| s.partial_cmp(&1e-30) != Some(std::cmp::Ordering::Greater)) {
            return None;
        }
        for row in a.chunks_exact_mut(n) {
            for (x, s) in row.iter_mut().zip(&norms) {
                *x /= s.sqrt();
            }
        }
        let mut gram = vec![0.0; n * n];
        matmul(&mut gram, Matrix::new(&a, n, n).t(), Matrix::new(&a, n, n), 0.0);
        let factor = DMatrix::from_row_slice(n, n, &gram).cholesky()?;
        let identity = DMatrix::<f32>::identity(n, n);
        // a <- a L^-T
        let inverse = factor.l_dirty().solve_lower_triangular(&identity)?;
        let mut out = vec![0.0; n * n];
        matmul(&mut out, Matrix::new(&a, n, n), Matrix::new(inverse.as_slice(), n, n), 0.0);
        a = out;
    }
    a.iter().all(|x| x.is_finite()).then_some(a)
}

/// `Q_l^T g Q_r`, or `Q_l g Q_r^T` where `back`; a side without a basis is left alone.
fn rotate(
    g: &[f32],
    rows: usize,
    cols: usize,
    left: &Side,
    right: &Side,
    precision: Precision,
    back: bool,
) -> Vec<f32> {
    // The factor on the left; the one on the right is its transpose.
    fn factor(side: &Side, n: usize, back: bool) -> Matrix<'_> {
        let q = Matrix::new(&side.basis, n, n);
        if back { q } else { q.t() }
    }
    let mut g = g.to_vec();
    if !left.basis.is_empty() {
        let mut out = vec![0.0; g.len()];
        precision.matmul(&mut out, factor(left, rows, back), Matrix::new(&g, rows, cols), |_, _| ());
        g = out;
    }
    if !right.basis.is_empty() {
        let mut out = vec![0.0; g.len()];
        precision.matmul(&mut out, Matrix::new(&g, rows, cols), factor(right, cols, back).t(), |_, _| ());
        g = out;
    }
    g
}
