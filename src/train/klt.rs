//! The Karhunen-Loeve start: the transforms' linear layers begin as the block
//! PCA of the training pictures, so that step 0 is already a transform codec.
//!
//! The optimum of a linear autoencoder is the PCA (Baldi and Hornik 1989).
//! Two stages: 8x8 pixels to C channels, then 2x2 of those to M latents. Each
//! stage divides its coefficients by the square root of their standard
//! deviation, half-way to whitening, which keeps activations in one range
//! without drowning the small ones' errors.

use candle_core::{Device, Result, Tensor};
use nalgebra::{DMatrix, SymmetricEigen};

use super::kernels::{Geometry, Matrix, matmul, unshuffle};
use super::model::{Batch, CodecModel, Y_STEP, numbers};
use super::net::Layout;
use crate::model::arch::{Arch, PIXEL_CHANNELS, Part};
use crate::model::quality::{ANCHORS, LAMBDA_MIN, LAMBDA_RATIO};
use crate::train::model::PIXEL_SCALE;

/// Eigenvectors of the covariance (not centred: the mean is grey) of `rows`,
/// largest first, and their standard deviations: `(width x count, count)`.
fn pca(rows: &[f32], width: usize, count: usize) -> (Vec<f32>, Vec<f32>) {
    let n = rows.len() / width;
    let mut covariance = vec![0.0f32; width * width];
    let view = Matrix::new(rows, n, width);
    matmul(&mut covariance, view.t(), view, 0.0);
    let covariance = DMatrix::from_fn(width, width, |i, j| {
        f64::from(covariance[i * width + j] + covariance[j * width + i]) / (2.0 * n as f64)
    });
    let eigen = SymmetricEigen::new(covariance);
    let mut order: Vec<usize> = (0..width).collect();
    order.sort_by(|a, b| eigen.eigenvalues[*b].total_cmp(&eigen.eigenvalues[*a]));
    let order = &order[..count];
    let mut basis = vec![0.0f32; width * count];
    for (k, &column) in order.iter().enumerate() {
        for i in 0..width {
            basis[i * count + k] = eigen.eigenvectors[(i, column)] as f32;
        }
    }
    let deviations = order.iter().map(|&k| eigen.eigenvalues[k].max(1e-8).sqrt() as f32).collect();
    (basis, deviations)
}

/// Sets the outer layers of both transforms, the steps and the prior's initial
/// scales from the pixels of `batch`.
pub fn start(model: &CodecModel, batch: &Batch) -> Result<()> {
    let Arch { analysis_channels, synthesis_channels, latents: m, .. } = model.arch;
    let c = analysis_channels.min(synthesis_channels);
    let fine = batch.geometry;

    let (first, deviations) = pca(&batch.pixels, PIXEL_CHANNELS, c);
    let mut coefficients = vec![0.0; fine.rows() * c];
    matmul(
        &mut coefficients,
        Matrix::new(&batch.pixels, fine.rows(), PIXEL_CHANNELS),
        Matrix::new(&first, PIXEL_CHANNELS, c),
        0.0,
    );
    let mut quads = vec![0.0; coefficients.len()];
    unshuffle(&coefficients, &mut quads, fine, c, false);
    let (second, latent_deviations) = pca(&quads, 4 * c, m);

    let inner: Vec<f32> = deviations.iter().map(|d| d.sqrt()).collect();
    let outer: Vec<f32> = latent_deviations.iter().map(|d| d.sqrt()).collect();
    let scaled =
        |basis: &[f32], cols: usize, row: &dyn Fn(usize) -> f32, col: &dyn Fn(usize) -> f32| -> Vec<f32> {
            basis.iter().enumerate().map(|(i, w)| w * row(i / cols) * col(i % cols)).collect()
        };
    let transpose = |w: &[f32], rows: usize, cols: usize| -> Vec<f32> {
        (0..rows * cols).map(|i| w[(i % rows) * cols + i / rows]).collect()
    };

    let analysis_in = scaled(&first, c, &|_| 1.0, &|k| 1.0 / inner[k]);
    let analysis_out = scaled(&second, m, &|i| inner[i % c], &|k| 1.0 / outer[k]);
    let synthesis_in = scaled(&transpose(&second, 4 * c, m), 4 * c, &|k| outer[k], &|i| 1.0 / inner[i % c]);
    let synthesis_out =
        scaled(&transpose(&first, PIXEL_CHANNELS, c), PIXEL_CHANNELS, &|k| inner[k], &|_| 1.0);
    set_outer(model, Part::Analysis, [(&analysis_in, c, [1, 1]), (&analysis_out, m, [4, 1])])?;
    set_outer(
        model,
        Part::Synthesis,
        [(&synthesis_in, 4 * c, [1, 4]), (&synthesis_out, PIXEL_CHANNELS, [1, 1])],
    )?;

    // At high rates D = Delta^2 / 12 and dR/dD = -lambda give Delta^2 = 18 / (lambda ln 2) on the
    // 0..255 scale for three coefficients per pixel; the smaller steps below it suit low rates.
    let mut steps = Vec::with_capacity(ANCHORS * m);
    for anchor in 0..ANCHORS {
        let lambda = LAMBDA_MIN * LAMBDA_RATIO.powi(anchor as i32);
        let delta = (0.6 * 18.0 / (lambda * std::f64::consts::LN_2)).sqrt() as f32 / PIXEL_SCALE;
        steps.extend(outer.iter().map(|w| (delta / w).log2()));
    }
    model.vars[Y_STEP].set(&Tensor::from_vec(steps, (ANCHORS, m), &Device::Cpu)?)?;

    // Latents have deviation sqrt(d); a logistic's scale is its deviation times sqrt(3) / pi. Typical
    // values lie well below the deviation, which rare large ones dominate.
    let log2_scales: Vec<f32> = outer.iter().map(|w| (0.3 * w).log2()).collect();
    for part in [Part::Prior, Part::Context] {
        let layers = model.arch.layers(part);
        let layout = Layout::new(&layers);
        let last = layout.slots.last().expect("a head ends in a pointwise layer");
        let mut params = numbers(model.params(part))?;
        params[last.weight..][..last.shape.0 * last.shape.1].iter_mut().for_each(|w| *w *= 0.05);
        for row in params[last.bias..][..ANCHORS * 2 * m].chunks_exact_mut(2 * m) {
            row[m..].copy_from_slice(&log2_scales);
        }
        let len = params.len();
        model.params(part).set(&Tensor::from_vec(params, len, &Device::Cpu)?)?;
    }
    Ok(())
}

/// Weights, their columns, and how many times over their rows and columns hold
/// the channels of 1/8.
type Outer<'a> = (&'a [f32], usize, [usize; 2]);

/// Replaces the first and last weights of a transform. Where it has more
/// channels at 1/8 than the weights know, those are cut off from the latents.
fn set_outer(model: &CodecModel, part: Part, outer: [Outer; 2]) -> Result<()> {
    let layout = Layout::new(&model.arch.layers(part));
    let mut params = numbers(model.params(part))?;
    let slots = [&layout.slots[0], layout.slots.last().expect("a transform has layers")];
    for (slot, (weights, cols, copies)) in slots.into_iter().zip(outer) {
        let to = &mut params[slot.weight..][..slot.shape.0 * slot.shape.1];
        if copies != [1, 1] {
            to.fill(0.0);
        }
        let place = |index: usize, small: usize, large: usize, copies: usize| {
            let (small, large) = (small / copies, large / copies);
            index / small * large + index % small
        };
        for (index, w) in weights.iter().enumerate() {
            let row = place(index / cols, weights.len() / cols, slot.shape.0, copies[0]);
            let col = place(index % cols, cols, slot.shape.1, copies[1]);
            to[row * slot.shape.1 + col] = *w;
        }
    }
    model.params(part).set(&Tensor::from_vec(params, layout.len, &Device::Cpu)?)
}

/// Rows for the PCA, from whole crops of one geometry.
pub fn sample(crops: Vec<Batch>) -> Batch {
    let geometry = crops[0].geometry;
    let batch = crops.iter().map(|b| b.geometry.batch).sum();
    let pixels = crops.into_iter().flat_map(|b| b.pixels).collect();
    Batch { pixels, geometry: Geometry { batch, ..geometry }, qualities: vec![(0, 0.0); batch] }
}
