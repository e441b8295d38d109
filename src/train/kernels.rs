//! Float kernels on channels-last rows: the arithmetic of the trainer's fused
//! ops, forward and backward. Slices in, slices out; no candle.
//!
//! Loops are written plainly and get the vectors that the build targets; matrix
//! products are the `gemm` crate's, or [`super::amx`]'s where that will do.

use super::amx;
use crate::model::layer::{GATE_LIMIT, LEAKY_SHIFT};

/// Slope of the leaky activation for negative inputs.
pub const LEAKY_SLOPE: f32 = 1.0 / (1 << LEAKY_SHIFT) as f32;

/// Rows of a matrix product between visits to its epilogue.
const ROW_BLOCK: usize = 512;

/// Channels that the vector loops treat at once.
pub const LANES: usize = 16;

/// A row-major matrix view, optionally read transposed.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    transposed: bool,
}

impl<'a> Matrix<'a> {
    /// Views `data` as `rows x cols`, row-major.
    pub fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        assert_eq!(data.len(), rows * cols, "matrix of another size");
        Matrix { data, rows, cols, transposed: false }
    }

    /// The same numbers, read as the transpose.
    pub fn t(self) -> Self {
        Matrix { rows: self.cols, cols: self.rows, transposed: !self.transposed, ..self }
    }

    /// Rows as read.
    pub fn rows(self) -> usize {
        self.rows
    }

    /// Columns as read.
    pub fn cols(self) -> usize {
        self.cols
    }

    /// Whether the numbers lie the other way round.
    pub fn is_transposed(self) -> bool {
        self.transposed
    }

    /// The numbers as they lie.
    pub fn data(self) -> &'a [f32] {
        self.data
    }

    fn strides(&self) -> (isize, isize) {
        if self.transposed { (self.rows as isize, 1) } else { (1, self.cols as isize) }
    }
}

/// `out = keep * out + a * b`, with `out` row-major.
#[allow(unsafe_code)]
pub fn matmul(out: &mut [f32], a: Matrix, b: Matrix, keep: f32) {
    let (m, k, n) = (a.rows, a.cols, b.cols);
    assert_eq!(k, b.rows, "inner dimensions differ");
    assert_eq!(out.len(), m * n, "output of another size");
    let ((a_cs, a_rs), (b_cs, b_rs)) = (a.strides(), b.strides());
    // SAFETY: the strides and sizes describe exactly the three slices, whose
    // lengths are asserted here and in `Matrix::new`; `out` is borrowed mutably,
    // so it overlaps neither input.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            keep != 0.0,
            a.data.as_ptr(),
            a_cs,
            a_rs,
            b.data.as_ptr(),
            b_cs,
            b_rs,
            keep,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// How the matrix products of a network are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// In f32.
    Full,
    /// With factors rounded to bf16 and sums in f32, on tile registers.
    Half,
}

impl Precision {
    /// What trains fastest on this machine.
    pub fn fastest() -> Precision {
        if amx::available() { Precision::Half } else { Precision::Full }
    }

    /// `out = a * b`, and `finish` on each band of finished rows (the first of
    /// them, and their numbers) while they are in the cache.
    pub fn matmul(self, out: &mut [f32], a: Matrix, b: Matrix, mut finish: impl FnMut(usize, &mut [f32])) {
        if self == Precision::Half {
            return amx::matmul(out, a, b, &mut finish);
        }
        if a.transposed {
            matmul(out, a, b, 0.0);
            return finish(0, out);
        }
        let bands = a.data.chunks(ROW_BLOCK * a.cols).zip(out.chunks_mut(ROW_BLOCK * b.cols));
        for (band, (a_rows, out)) in bands.enumerate() {
            matmul(out, Matrix::new(a_rows, a_rows.len() / a.cols, a.cols), b, 0.0);
            finish(band * ROW_BLOCK, out);
        }
    }
}

/// Adds one row of biases to every row and applies the leaky activation.
pub fn bias_leaky(rows: &mut [f32], bias: &[f32], leaky: bool) {
    for row in rows.chunks_exact_mut(bias.len()) {
        for (x, b) in row.iter_mut().zip(bias) {
            let v = *x + b;
            *x = if leaky { v.max(v * LEAKY_SLOPE) } else { v };
        }
    }
}

/// Multiplies the gradient by the activation's slope; `output` is what the
/// activation returned.
pub fn leaky_backward(grad: &mut [f32], output: &[f32]) {
    for (g, y) in grad.iter_mut().zip(output) {
        *g = if *y < 0.0 { *g * LEAKY_SLOPE } else { *g };
    }
}

/// Column sums of `rows`, added to `sums`.
pub fn add_column_sums(rows: &[f32], sums: &mut [f32]) {
    for row in rows.chunks_exact(sums.len()) {
        for (s, x) in sums.iter_mut().zip(row) {
            *s += x;
        }
    }
}

/// `a += b`.
pub fn add(a: &mut [f32], b: &[f32]) {
    for (a, b) in a.iter_mut().zip(b) {
        *a += b;
    }
}

/// `out[c] = x[c] * clamp(x[c + channels])` for each row of `2 * channels`.
pub fn gate(x: &[f32], out: &mut [f32], channels: usize) {
    let limit = GATE_LIMIT as f32;
    for (row, out) in x.chunks_exact(2 * channels).zip(out.chunks_exact_mut(channels)) {
        let (a, b) = row.split_at(channels);
        for ((o, a), b) in out.iter_mut().zip(a).zip(b) {
            *o = a * b.max(-limit).min(limit);
        }
    }
}

/// The gradient of [`gate`] with respect to its input.
pub fn gate_backward(x: &[f32], grad: &[f32], dx: &mut [f32], channels: usize) {
    let limit = GATE_LIMIT as f32;
    for ((row, g), dx) in
        x.chunks_exact(2 * channels).zip(grad.chunks_exact(channels)).zip(dx.chunks_exact_mut(2 * channels))
    {
        let (a, b) = row.split_at(channels);
        let (da, db) = dx.split_at_mut(channels);
        for c in 0..channels {
            let clamped = b[c].max(-limit).min(limit);
            da[c] = g[c] * clamped;
            db[c] = if b[c] == clamped { g[c] * a[c] } else { 0.0 };
        }
    }
}

/// Batch, height and width of channels-last rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Pictures in the batch.
    pub batch: usize,
    /// Rows of each picture.
    pub height: usize,
    /// Columns of each picture.
    pub width: usize,
}

impl Geometry {
    /// Positions of one picture.
    pub fn positions(&self) -> usize {
        self.height * self.width
    }

    /// Positions of the batch.
    pub fn rows(&self) -> usize {
        self.batch * self.positions()
    }
}

/// The up to nine taps of a 3x3 window at `(y, x)` that lie inside the picture:
/// tap index and position offset.
#[inline(always)]
fn taps(g: Geometry, y: usize, x: usize) -> ([(usize, usize); 9], usize) {
    let mut list = [(0, 0); 9];
    let mut n = 0;
    for dy in 0..3 {
        for dx in 0..3 {
            let (yy, xx) = ((y + dy).wrapping_sub(1), (x + dx).wrapping_sub(1));
            if yy < g.height && xx < g.width {
                list[n] = (dy * 3 + dx, yy * g.width + xx);
                n += 1;
            }
        }
    }
    (list, n)
}

/// 3x3 depthwise convolution with zero padding; `weights` is `9 x channels`.
/// `flip` convolves with the window turned by 180 degrees, which is the
/// gradient with respect to the input.
pub fn depthwise(input: &[f32], weights: &[f32], out: &mut [f32], g: Geometry, flip: bool) {
    let channels = weights.len() / 9;
    assert!(channels.is_multiple_of(LANES), "{channels} channels are not a multiple of {LANES}");
    let size = g.positions() * channels;
    for (input, out) in input.chunks_exact(size).zip(out.chunks_exact_mut(size)) {
        for y in 0..g.height {
            for x in 0..g.width {
                let (list, n) = taps(g, y, x);
                let position = (y * g.width + x) * channels;
                for c in (0..channels).step_by(LANES) {
                    let mut acc = [0.0f32; LANES];
                    for &(tap, offset) in &list[..n] {
                        let tap = if flip { 8 - tap } else { tap };
                        let w = &weights[tap * channels + c..][..LANES];
                        let v = &input[offset * channels + c..][..LANES];
                        for i in 0..LANES {
                            acc[i] += v[i] * w[i];
                        }
                    }
                    out[position + c..][..LANES].copy_from_slice(&acc);
                }
            }
        }
    }
}

/// Adds the gradient of [`depthwise`] with respect to its weights to `dw`.
pub fn depthwise_weight_grad(input: &[f32], grad: &[f32], dw: &mut [f32], g: Geometry) {
    let channels = dw.len() / 9;
    let size = g.positions() * channels;
    for (input, grad) in input.chunks_exact(size).zip(grad.chunks_exact(size)) {
        for c in (0..channels).step_by(LANES) {
            for dy in 0..3 {
                let mut acc = [[0.0f32; LANES]; 3];
                for y in 0..g.height {
                    let yy = (y + dy).wrapping_sub(1);
                    if yy >= g.height {
                        continue;
                    }
                    for x in 0..g.width {
                        let gr = &grad[(y * g.width + x) * channels + c..][..LANES];
                        for (dx, acc) in acc.iter_mut().enumerate() {
                            let xx = (x + dx).wrapping_sub(1);
                            if xx >= g.width {
                                continue;
                            }
                            let v = &input[(yy * g.width + xx) * channels + c..][..LANES];
                            for i in 0..LANES {
                                acc[i] += v[i] * gr[i];
                            }
                        }
                    }
                }
                for (dx, acc) in acc.iter().enumerate() {
                    for (i, a) in acc.iter().enumerate() {
                        dw[(dy * 3 + dx) * channels + c + i] += a;
                    }
                }
            }
        }
    }
}

/// 2x2 space to depth per picture: `(h, w, c)` to `(h/2, w/2, 4c)`; `g` is the
/// larger geometry. `inverse` goes the other way.
pub fn unshuffle(input: &[f32], out: &mut [f32], g: Geometry, channels: usize, inverse: bool) {
    let (h2, w2) = (g.height / 2, g.width / 2);
    for b in 0..g.batch {
        for y in 0..g.height {
            for x in 0..g.width {
                let fine = ((b * g.height + y) * g.width + x) * channels;
                let coarse = (((b * h2 + y / 2) * w2 + x / 2) * 4 + (y % 2) * 2 + x % 2) * channels;
                let (from, to) = if inverse { (coarse, fine) } else { (fine, coarse) };
                out[to..to + channels].copy_from_slice(&input[from..from + channels]);
            }
        }
    }
}
