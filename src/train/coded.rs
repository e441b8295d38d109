//! Latents in training as files hold them: the symbols of two quantisers that the encoder's
//! way through the trellis chooses, under the tables of a released model.

use anyhow::bail;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::checkerboard::Checkerboard;
use super::fit::bin_of;
use super::kernels::Geometry;
use super::net::with_floats;
use super::quantize::reconstruct;
use super::requantise::SPACING;
use crate::codec::training::chosen;
use crate::entropy::Costs;
use crate::model::arch::start_of_half;
use crate::model::quality::LOG2_BITS;
use crate::model::trellis::{SCALAR, Trellis};
use crate::model::{Model, PREDICTION_BITS};

/// What symbols cost, and which may follow which.
#[derive(Debug)]
pub struct Coder {
    /// Bits.
    pub costs: Costs,
    /// The machine.
    pub trellis: Trellis,
    /// How much of the hyper-latents to the left and above each channel's mean has.
    pub prediction: [Vec<f32>; 2],
}

/// Lanes of files that are not small.
const LANES: usize = 2;

/// A half of the latents, and nothing in the places of the other.
pub struct CodedHalf {
    /// `(rows, M)`: as decoded.
    pub values: Vec<f32>,
    /// `(rows)`.
    pub bits: Vec<f32>,
}

impl Coder {
    /// Codes as a model's files do, if they have two quantisers.
    pub fn of(model: &Model) -> anyhow::Result<Coder> {
        if model.trellis == SCALAR {
            bail!("a model with one quantiser; `aecodec requantise` gives it two");
        }
        let scale = (1 << PREDICTION_BITS) as f32;
        let weights = |first: usize| {
            model.z_prediction.iter().skip(first).step_by(2).map(|&w| f32::from(w) / scale).collect()
        };
        let (costs, trellis) = (Costs::new(&model.tables), model.trellis);
        Ok(Coder { costs, trellis, prediction: [weights(0), weights(1)] })
    }

    /// The means of hyper-latents `z`, `(rows, N)`, predicted from those decoded before;
    /// `step_log2` is `(batch, N)`.
    pub fn hyper_means(&self, grid: Geometry, z: &Tensor, step_log2: &Tensor) -> Result<Tensor> {
        let n = z.dim(1)?;
        let decoded = with_floats(&z.contiguous()?, |z| {
            with_floats(&step_log2.contiguous()?, |steps| Ok(self.hyper_decoded(grid, n, z, steps)))
        })?;
        let Geometry { batch, height, width } = grid;
        let decoded = straight_through(z, decoded, None)?.reshape((batch, height, width, n))?;
        // Those of the row above, or to the left of the first row.
        let first = decoded.narrow(1, 0, 1)?;
        let corner = first.narrow(2, 0, 1)?.zeros_like()?;
        let along_first = Tensor::cat(&[&corner, &first.narrow(2, 0, width - 1)?], 2)?;
        let above = Tensor::cat(&[&along_first, &decoded.narrow(1, 0, height - 1)?], 1)?;
        let left = Tensor::cat(&[&above.narrow(2, 0, 1)?, &decoded.narrow(2, 0, width - 1)?], 2)?;
        let mut means = Vec::new();
        for (neighbours, weights) in [left, above].into_iter().zip(&self.prediction) {
            let weights = Tensor::from_slice(weights, (1, n), z.device())?;
            means.push(neighbours.reshape((grid.rows(), n))?.broadcast_mul(&weights)?);
        }
        &means[0] + &means[1]
    }

    fn hyper_decoded(&self, grid: Geometry, n: usize, z: &[f32], steps: &[f32]) -> Vec<f32> {
        let mut decoded = vec![0.0; z.len()];
        for row in 0..grid.rows() {
            let (picture, position) = (row / grid.positions(), row % grid.positions());
            let left = (position % grid.width > 0).then(|| row - 1);
            let above = (position >= grid.width).then(|| row - grid.width);
            let [left, above] = [left.or(above), above.or(left)];
            for c in 0..n {
                let part = |from: Option<usize>, weights: &[f32]| {
                    from.map_or(0.0, |row| weights[c] * decoded[row * n + c])
                };
                let mean = part(left, &self.prediction[0]) + part(above, &self.prediction[1]);
                decoded[row * n + c] = reconstruct(z[row * n + c], mean, steps[picture * n + c]).0;
            }
        }
        decoded
    }

    /// Codes a half of `y`, `(rows, M)`, whose means and log2 scales are `params`, `(rows, 2 M)`;
    /// `step_log2` is `(batch, M)`, of a single quantiser.
    pub fn code(
        &self,
        grid: Checkerboard,
        first: bool,
        y: &Tensor,
        params: &Tensor,
        step_log2: &Tensor,
    ) -> Result<CodedHalf> {
        let channels = y.dim(1)?;
        with_floats(&y.contiguous()?, |y| {
            with_floats(&params.contiguous()?, |params| {
                with_floats(&step_log2.contiguous()?, |steps| {
                    Ok(self.half(grid, first, channels, [y, params, steps]))
                })
            })
        })
    }

    fn half(
        &self,
        Checkerboard(grid): Checkerboard,
        first: bool,
        channels: usize,
        [y, params, steps]: [&[f32]; 3],
    ) -> CodedHalf {
        let wider = f32::from(SPACING) / (1 << LOG2_BITS) as f32;
        let rows = grid.positions();
        let mut values = vec![0.0; y.len()];
        let mut bits = vec![0.0; y.len() / channels];
        for picture in 0..grid.batch {
            let steps = &steps[picture * channels..][..channels];
            let half_steps: Vec<f32> = steps.iter().map(|log2| (log2 + wider - 1.0).exp2()).collect();
            let mut coded = Vec::new();
            for position in 0..rows {
                let row = picture * rows + position;
                let start = start_of_half(first, position / grid.width, position % grid.width);
                for c in (start..channels).step_by(2) {
                    let (mean, scale) =
                        (params[row * 2 * channels + c], params[(row * 2 + 1) * channels + c]);
                    values[row * channels + c] = mean;
                    let bin = bin_of(scale - steps[c] - wider) as u8;
                    // In bin 0 nothing is coded.
                    if bin != 0 {
                        coded.push((row, c, bin, (y[row * channels + c] - mean) / half_steps[c]));
                    }
                }
            }
            let latents = coded.iter().map(|&(_, _, bin, distance)| (bin, distance));
            let found = chosen(latents, self.trellis, LANES, &self.costs);
            for (&(row, c, ..), (value, cost)) in coded.iter().zip(found) {
                values[row * channels + c] += half_steps[c] * value as f32;
                bits[row] += cost;
            }
        }
        CodedHalf { values, bits }
    }
}

/// Values in place of a tensor's own, to which gradients pass straight through.
struct InPlaceOf {
    values: Vec<f32>,
    /// The only half that they pass to.
    half: Option<(Checkerboard, bool)>,
}

/// `values`, `(rows, M)`, as what `y` is decoded as.
pub fn straight_through(y: &Tensor, values: Vec<f32>, half: Option<(Checkerboard, bool)>) -> Result<Tensor> {
    y.apply_op1(InPlaceOf { values, half })
}

impl CustomOp1 for InPlaceOf {
    fn name(&self) -> &'static str {
        "in-place-of"
    }

    fn cpu_fwd(&self, _: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(self.values.clone()), layout.shape().clone()))
    }

    fn bwd(&self, y: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let Some((Checkerboard(grid), first)) = self.half else { return Ok(Some(grad.clone())) };
        let channels = y.dim(1)?;
        let mut dy: Vec<f32> = grad.flatten_all()?.to_vec1()?;
        for (row, dy) in dy.chunks_exact_mut(channels).enumerate() {
            let position = row % grid.positions();
            let other = start_of_half(!first, position / grid.width, position % grid.width);
            dy[other..].iter_mut().step_by(2).for_each(|dy| *dy = 0.0);
        }
        Ok(Some(Tensor::from_vec(dy, y.shape(), y.device())?))
    }
}
