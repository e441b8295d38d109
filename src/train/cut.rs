//! The linear algebra of cutting a network down: matrices from a space of
//! channels to a smaller one, and the least squares between rows.

use std::ops::Range;

use anyhow::{Context, Result};
use nalgebra::{DMatrix, DVector, SymmetricEigen};

use super::kernels::{Matrix, matmul};

/// Added to the diagonal of normal equations, relative to its mean.
const RIDGE: f64 = 1e-5;
/// How much directions count that the next linear layer does not read, as a
/// share of the average one: blocks in between may.
const UNREAD: f64 = 0.05;

/// From `old` channels to fewer: `old x new`.
#[derive(Clone)]
pub struct Cut {
    /// Channels of the larger space.
    pub old: usize,
    /// Channels of the smaller one.
    pub new: usize,
    matrix: Vec<f32>,
}

impl Cut {
    /// The cut that picks the channels `kept`.
    pub fn keep(old: usize, kept: &[usize]) -> Cut {
        let mut matrix = vec![0.0; old * kept.len()];
        for (to, from) in kept.iter().enumerate() {
            matrix[from * kept.len() + to] = 1.0;
        }
        Cut { old, new: kept.len(), matrix }
    }

    /// The cut that leaves every channel.
    pub fn all(channels: usize) -> Cut {
        Cut::keep(channels, &(0..channels).collect::<Vec<_>>())
    }

    /// The cut of `copies` such spaces side by side.
    pub fn repeat(&self, copies: usize) -> Cut {
        let (old, new) = (self.old * copies, self.new * copies);
        let mut matrix = vec![0.0; old * new];
        for copy in 0..copies {
            for (i, row) in self.matrix.chunks_exact(self.new).enumerate() {
                matrix[(copy * self.old + i) * new + copy * self.new..][..self.new].copy_from_slice(row);
            }
        }
        Cut { old, new, matrix }
    }

    /// Rows of old channels as rows of new ones.
    pub fn apply(&self, rows: &[f32]) -> Vec<f32> {
        let count = rows.len() / self.old;
        let mut out = vec![0.0; count * self.new];
        matmul(
            &mut out,
            Matrix::new(rows, count, self.old),
            Matrix::new(&self.matrix, self.old, self.new),
            0.0,
        );
        out
    }
}

/// `a^T b` of two row-major matrices with as many rows.
pub fn product(a: &[f32], a_width: usize, b: &[f32], b_width: usize) -> Vec<f32> {
    let rows = a.len() / a_width;
    let mut out = vec![0.0; a_width * b_width];
    matmul(&mut out, Matrix::new(a, rows, a_width).t(), Matrix::new(b, rows, b_width), 0.0);
    out
}

/// `x^T y` of rows, over the number of rows.
fn moments(x: &[f32], x_width: usize, y: &[f32], y_width: usize) -> DMatrix<f64> {
    let rows = (x.len() / x_width) as f64;
    DMatrix::from_row_slice(x_width, y_width, &product(x, x_width, y, y_width)).map(|v| f64::from(v) / rows)
}

/// A linear layer and what it reads.
pub struct Reader<'a> {
    /// Rows of `inputs` activations.
    pub rows: &'a [f32],
    /// `inputs x outputs`.
    pub weights: &'a [f32],
    /// Channels read.
    pub inputs: usize,
}

impl Reader<'_> {
    /// Per channel of a space that is read `inputs / width` times over: the mean
    /// square of what it adds to the output.
    pub fn importances(&self, width: usize) -> Vec<f64> {
        let outputs = self.weights.len() / self.inputs;
        let (mut sums, mut squares) = (vec![0.0f64; self.inputs], vec![0.0f64; self.inputs]);
        for row in self.rows.chunks_exact(self.inputs) {
            for ((sum, square), v) in sums.iter_mut().zip(&mut squares).zip(row) {
                *sum += f64::from(*v);
                *square += f64::from(*v).powi(2);
            }
        }
        let rows = (self.rows.len() / self.inputs) as f64;
        let mut list = vec![0.0; width];
        for input in 0..self.inputs {
            let weight: f64 =
                self.weights[input * outputs..][..outputs].iter().map(|w| f64::from(*w).powi(2)).sum();
            // A constant could move into the bias.
            let variance = (squares[input] / rows - (sums[input] / rows).powi(2)).max(0.0);
            list[input % width] += variance * weight;
        }
        list
    }

    /// The most important channels, in order.
    pub fn choose(&self, width: usize, count: usize) -> Vec<usize> {
        best(&self.importances(width), 0..width, 1, count)
    }

    /// The directions of the space that hold the most of what is read, scaled
    /// half-way to whitening like the KLT start.
    pub fn turn(&self, width: usize, count: usize) -> Cut {
        if count == width {
            return Cut::all(width);
        }
        let outputs = self.weights.len() / self.inputs;
        let second = moments(self.rows, self.inputs, self.rows, self.inputs);
        let weights = DMatrix::from_row_slice(self.inputs, outputs, self.weights).map(f64::from);
        let mut held = DMatrix::zeros(width, width);
        let mut read = DMatrix::zeros(width, width);
        for start in (0..self.inputs).step_by(width) {
            held += second.view((start, start), (width, width));
            let rows = weights.rows(start, width);
            read += rows * rows.transpose();
        }
        read += DMatrix::identity(width, width) * (UNREAD * read.trace() / width as f64);
        let held = SymmetricEigen::new((&held + held.transpose()) * 0.5);
        let floor = held.eigenvalues.max() * 1e-9;
        let root = |power: f64| {
            let values = held.eigenvalues.map(|v| v.max(floor).powf(power));
            &held.eigenvectors * DMatrix::from_diagonal(&values) * held.eigenvectors.transpose()
        };
        let (half, inverse) = (root(0.5), root(-0.5));
        let energy = SymmetricEigen::new(&half * read * &half);
        let mut order: Vec<usize> = (0..width).collect();
        order.sort_by(|a, b| energy.eigenvalues[*b].total_cmp(&energy.eigenvalues[*a]));
        let white = inverse * energy.eigenvectors;
        let mut matrix = vec![0.0; width * count];
        for (to, &from) in order[..count].iter().enumerate() {
            let scale = energy.eigenvalues[from].max(1e-12).powf(0.25);
            for row in 0..width {
                matrix[row * count + to] = (white[(row, from)] * scale) as f32;
            }
        }
        Cut { old: width, new: count, matrix }
    }
}

/// The `count` of `among` (every `step`-th) with the largest numbers, in order.
pub fn best(numbers: &[f64], among: Range<usize>, step: usize, count: usize) -> Vec<usize> {
    let mut list: Vec<usize> = among.step_by(step).collect();
    list.sort_by(|a, b| numbers[*b].total_cmp(&numbers[*a]));
    list.truncate(count);
    list.sort_unstable();
    list
}

/// Weights (`inputs x outputs`) and a constant: the least squares from rows to rows.
pub fn least_squares(x: &[f32], inputs: usize, y: &[f32], outputs: usize) -> Result<(Vec<f32>, Vec<f32>)> {
    let mean = |rows: &[f32], width: usize| {
        let mut sums = DVector::<f64>::zeros(width);
        for row in rows.chunks_exact(width) {
            sums.iter_mut().zip(row).for_each(|(s, v)| *s += f64::from(*v));
        }
        sums / (rows.len() / width) as f64
    };
    let (x_mean, y_mean) = (mean(x, inputs), mean(y, outputs));
    let mut normal = moments(x, inputs, x, inputs) - &x_mean * x_mean.transpose();
    let cross = moments(x, inputs, y, outputs) - &x_mean * y_mean.transpose();
    let ridge = RIDGE * normal.trace() / inputs as f64;
    normal = (&normal + normal.transpose()) * 0.5 + DMatrix::identity(inputs, inputs) * ridge.max(1e-12);
    let weights = normal.cholesky().context("activations without variance")?.solve(&cross);
    let constant = y_mean - weights.transpose() * x_mean;
    let weights = weights.transpose().iter().map(|w| *w as f32).collect();
    Ok((weights, constant.iter().map(|c| *c as f32).collect()))
}
