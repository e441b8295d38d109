//! More latents for a network that has already learned: new channels that see
//! what the old ones are blind to.
//!
//! The last analysis layer is a linear map W of the 4C features of a latent
//! position. What W drops is its orthogonal complement; the new channels are
//! the principal components of the features there. On the other side each new
//! channel adds the part of the picture that was missing: the regression of the
//! reconstruction error on the channel, brought back through the synthesis
//! transform's last layer by its pseudo-inverse.

use anyhow::{Context, Result, bail};
use nalgebra::{DMatrix, SymmetricEigen};

use super::cut::product;
use super::kernels::{Geometry, Matrix, matmul, unshuffle};
use super::model::{Batch, CodecModel, PIXEL_SCALE, numbers};
use super::net::{Anchored, Layout, Slot, run_probed};
use crate::model::arch::{PIXEL_CHANNELS, Part};
use crate::model::quality::{ANCHORS, LAMBDA_MIN, LAMBDA_RATIO};

/// The best quality, where all channels count.
const BEST: Anchored = (ANCHORS - 2, 0.99);

/// What new latent channels bring along. Widths: M' new channels, F = 4C features of the analysis
/// transform, G of the synthesis transform.
pub struct NewLatents {
    /// `F x M'`: columns for the last layer of the analysis transform.
    pub analysis: Vec<f32>,
    /// `M'`: its biases.
    pub analysis_bias: Vec<f32>,
    /// `M' x G`: rows for the first layer of the synthesis transform.
    pub synthesis: Vec<f32>,
    /// `ANCHORS x M'`: log2 of the quantisation steps.
    pub step_log2: Vec<f32>,
    /// `M'`: log2 of the scales to expect.
    pub scale_log2: Vec<f32>,
}

/// Second moments of rows of `width`.
pub fn covariance(rows: &[f32], width: usize) -> DMatrix<f64> {
    let sums = product(rows, width, rows, width);
    DMatrix::from_fn(width, width, |i, j| f64::from(sums[i * width + j])) / (rows.len() / width) as f64
}

/// `rows` x any matrix, turned over.
pub fn transposed(matrix: &[f32], rows: usize) -> Vec<f32> {
    let columns = matrix.len() / rows;
    (0..matrix.len()).map(|i| matrix[i % rows * columns + i / rows]).collect()
}

/// The `count` principal components of `covariance` in the orthogonal
/// complement of the columns of `w`, and their deviations.
pub fn complement(w: &[f32], covariance: &DMatrix<f64>, count: usize) -> Result<(Vec<f32>, Vec<f32>)> {
    let width = covariance.nrows();
    let columns = w.len() / width;
    if columns + count > width {
        bail!("{count} more channels beside {columns}, where there are {width} directions");
    }
    let basis = DMatrix::from_row_slice(width, columns, w).map(f64::from).qr().q();
    let complement = DMatrix::identity(width, width) - &basis * basis.transpose();
    let eigen = SymmetricEigen::new(&complement * covariance * &complement);
    let mut order: Vec<usize> = (0..width).collect();
    order.sort_by(|a, b| eigen.eigenvalues[*b].total_cmp(&eigen.eigenvalues[*a]));
    let order = &order[..count];
    let components = (0..width)
        .flat_map(|row| order.iter().map(move |&column| (row, column)))
        .map(|at| eigen.eigenvectors[at] as f32)
        .collect();
    Ok((components, order.iter().map(|&k| eigen.eigenvalues[k].max(1e-8).sqrt() as f32).collect()))
}

/// Finds `count` new channels for `model` on the crops of `sample`. They write
/// into the synthesis transform's channels from `free` on: where there are
/// channels that no block reads, nothing upsets the blocks.
pub fn new_latents(model: &CodecModel, sample: &Batch, count: usize, free: usize) -> Result<NewLatents> {
    let (fine, qualities) = (sample.geometry, vec![BEST; sample.geometry.batch]);
    let grid = Geometry { height: fine.height / 2, width: fine.width / 2, ..fine };
    let features = 4 * model.arch.analysis_channels;
    let run = |part: Part, skip: usize, geometry: Geometry, input: Vec<f32>| -> Result<Vec<f32>> {
        let layers = model.arch.layers(part);
        let layers = &layers[..layers.len() - skip];
        Ok(run_probed(layers, geometry, &qualities, &numbers(model.params(part))?, input, &mut |_, _| {}))
    };
    let outer = |part: Part| -> Result<(Vec<f32>, Slot)> {
        let layout = Layout::new(&model.arch.layers(part));
        let slot = layout.slots.last().context("a transform without layers")?.clone();
        Ok((slot.weights(&numbers(model.params(part))?).to_vec(), slot))
    };

    // Features, centred, and what the old latents make of the pictures.
    let mut u = run(Part::Analysis, 1, fine, sample.pixels.clone())?;
    let y = run(Part::Analysis, 0, fine, sample.pixels.clone())?;
    let decoded = run(Part::Synthesis, 0, grid, y)?;
    let missing: Vec<f32> = sample.pixels.iter().zip(&decoded).map(|(x, d)| x - d).collect();
    let mut errors = vec![0.0; missing.len()];
    unshuffle(&missing, &mut errors, fine, PIXEL_CHANNELS, false);
    let rows = u.len() / features;
    let mut mean = vec![0.0f32; features];
    for row in u.chunks_exact(features) {
        mean.iter_mut().zip(row).for_each(|(s, v)| *s += v / rows as f32);
    }
    for row in u.chunks_exact_mut(features) {
        row.iter_mut().zip(&mean).for_each(|(v, s)| *v -= s);
    }

    // Principal components in the complement of W's columns, half-way to whitening as in the KLT start.
    let (w, _) = outer(Part::Analysis)?;
    let (mut analysis, deviations) = complement(&w, &covariance(&u, features), count)?;
    for row in analysis.chunks_exact_mut(count) {
        row.iter_mut().zip(&deviations).for_each(|(w, d)| *w /= d.sqrt());
    }
    let mut analysis_bias = vec![0.0f32; count];
    matmul(&mut analysis_bias, Matrix::new(&mean, 1, features), Matrix::new(&analysis, features, count), 0.0);
    analysis_bias.iter_mut().for_each(|b| *b = -*b);
    let mut latents = vec![0.0; rows * count];
    matmul(&mut latents, Matrix::new(&u, rows, features), Matrix::new(&analysis, features, count), 0.0);

    // What each channel adds to a block of 16x16 pixels: M' x 768.
    let mut added = product(&latents, count, &errors, 4 * PIXEL_CHANNELS);
    for (row, deviation) in added.chunks_exact_mut(4 * PIXEL_CHANNELS).zip(&deviations) {
        // The channel's variance is its deviation: it was divided by the root of it.
        row.iter_mut().for_each(|a| *a /= rows as f32 * deviation);
    }

    // The features that make the last synthesis layer write that.
    let c = model.arch.synthesis_channels;
    let (out, _) = outer(Part::Synthesis)?;
    let out =
        DMatrix::from_fn(c - free, PIXEL_CHANNELS, |i, j| f64::from(out[(free + i) * PIXEL_CHANNELS + j]));
    let gram = &out * out.transpose();
    let ridge = DMatrix::identity(c - free, c - free) * (1e-3 * gram.trace() / (c - free) as f64);
    let inverse = (gram + ridge).cholesky().context("a singular last layer")?;
    let mut synthesis = vec![0.0f32; count * 4 * c];
    for (row, added) in synthesis.chunks_exact_mut(4 * c).zip(added.chunks_exact(4 * PIXEL_CHANNELS)) {
        for (part, block) in row.chunks_exact_mut(c).zip(added.chunks_exact(PIXEL_CHANNELS)) {
            let block = DMatrix::from_fn(PIXEL_CHANNELS, 1, |i, _| f64::from(block[i]));
            let solved = inverse.solve(&(&out * block));
            part[free..].iter_mut().zip(solved.iter()).for_each(|(t, v)| *t = *v as f32);
        }
    }

    // The steps of `klt::start`, for basis vectors of these lengths.
    let lengths: Vec<f32> = added
        .chunks_exact(4 * PIXEL_CHANNELS)
        .map(|row| row.iter().map(|a| a * a).sum::<f32>().sqrt().max(1e-3))
        .collect();
    let mut step_log2 = Vec::with_capacity(ANCHORS * count);
    for anchor in 0..ANCHORS {
        let lambda = LAMBDA_MIN * LAMBDA_RATIO.powi(anchor as i32);
        let delta = (0.6 * 18.0 / (lambda * std::f64::consts::LN_2)).sqrt() as f32 / PIXEL_SCALE;
        step_log2.extend(lengths.iter().map(|length| (delta / length).log2()));
    }
    let scale_log2 = deviations.iter().map(|d| (0.3 * d.sqrt()).log2()).collect();
    Ok(NewLatents { analysis, analysis_bias, synthesis, step_log2, scale_log2 })
}
