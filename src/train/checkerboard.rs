//! The two halves of the latents: which numbers each is coded with, and the
//! first half as the context network sees it.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};

use super::kernels::Geometry;
use super::net::{floats, with_floats};
use super::quantize::reconstruct;
use crate::model::arch::start_of_half;

/// Ops over latents on this grid.
#[derive(Debug, Clone, Copy)]
pub struct Checkerboard(pub Geometry);

impl Checkerboard {
    /// The channel of the first half's first latent at row `index` of the
    /// batch: the half is every other channel from there.
    fn start(self, index: usize) -> usize {
        let position = index % self.0.positions();
        start_of_half(true, position / self.0.width, position % self.0.width)
    }

    /// The first half's reconstructions, zero elsewhere: `y` is `(rows, M)`,
    /// `prior` `(rows, 2 M)` (means, then log2 scales), `step_log2` `(batch, M)`.
    /// Gradients pass straight through the rounding.
    pub fn first_half(self, y: &Tensor, prior: &Tensor, step_log2: &Tensor) -> Result<Tensor> {
        y.contiguous()?.apply_op3(&prior.contiguous()?, &step_log2.contiguous()?, FirstHalf(self))
    }

    /// The first half's columns of `prior` and the second's of `context`, both
    /// `(rows, 2 M)`.
    pub fn select(self, prior: &Tensor, context: &Tensor) -> Result<Tensor> {
        prior.contiguous()?.apply_op2(&context.contiguous()?, Select(self))
    }
}

struct FirstHalf(Checkerboard);

impl CustomOp3 for FirstHalf {
    fn name(&self) -> &'static str {
        "first-half"
    }

    fn cpu_fwd(
        &self,
        y: &CpuStorage,
        y_layout: &Layout,
        prior: &CpuStorage,
        prior_layout: &Layout,
        step: &CpuStorage,
        step_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (rows, channels) = y_layout.shape().dims2()?;
        let (y, prior, step) =
            (floats(y, y_layout)?, floats(prior, prior_layout)?, floats(step, step_layout)?);
        let positions = self.0.0.positions();
        let mut out = vec![0.0; y.len()];
        for (row, (out, y)) in out.chunks_exact_mut(channels).zip(y.chunks_exact(channels)).enumerate() {
            let means = &prior[row * 2 * channels..][..channels];
            let steps = &step[row / positions * channels..][..channels];
            for c in 0..channels {
                out[c] = reconstruct(y[c], means[c], steps[c]).0;
            }
            out[1 - self.0.start(row)..].iter_mut().step_by(2).for_each(|out| *out = 0.0);
        }
        Ok((CpuStorage::F32(out), (rows, channels).into()))
    }

    fn bwd(
        &self,
        y: &Tensor,
        prior: &Tensor,
        step: &Tensor,
        _res: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let channels = y.dim(1)?;
        let positions = self.0.0.positions();
        let (dy, dstep) = with_floats(y, |y| {
            with_floats(prior, |prior| {
                with_floats(step, |step| {
                    with_floats(&grad.contiguous()?, |grad| {
                        let mut dy = grad.to_vec();
                        let mut dstep = vec![0.0; step.len()];
                        for (row, dy) in dy.chunks_exact_mut(channels).enumerate() {
                            dy[1 - self.0.start(row)..].iter_mut().step_by(2).for_each(|dy| *dy = 0.0);
                            let y = &y[row * channels..][..channels];
                            let means = &prior[row * 2 * channels..][..channels];
                            let at = row / positions * channels;
                            let (steps, dsteps) = (&step[at..][..channels], &mut dstep[at..][..channels]);
                            for c in 0..channels {
                                dsteps[c] += dy[c] * reconstruct(y[c], means[c], steps[c]).1;
                            }
                        }
                        Ok((dy, dstep))
                    })
                })
            })
        })?;
        let device = y.device();
        Ok((
            Some(Tensor::from_vec(dy, y.shape(), device)?),
            None,
            Some(Tensor::from_vec(dstep, step.shape(), device)?),
        ))
    }
}

struct Select(Checkerboard);

impl Select {
    /// Sets the columns of one half to those of `from`.
    fn take(&self, out: &mut [f32], from: &[f32], columns: usize, first: bool) {
        let channels = columns / 2;
        let rows = out.chunks_exact_mut(channels).zip(from.chunks_exact(channels));
        for (half_row, (out, from)) in rows.enumerate() {
            let start = self.0.start(half_row / 2);
            let start = if first { start } else { 1 - start };
            for (out, from) in out[start..].iter_mut().step_by(2).zip(from[start..].iter().step_by(2)) {
                *out = *from;
            }
        }
    }
}

impl CustomOp2 for Select {
    fn name(&self) -> &'static str {
        "select-half"
    }

    fn cpu_fwd(
        &self,
        prior: &CpuStorage,
        prior_layout: &Layout,
        context: &CpuStorage,
        context_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (rows, columns) = prior_layout.shape().dims2()?;
        let mut out = floats(prior, prior_layout)?.to_vec();
        self.take(&mut out, floats(context, context_layout)?, columns, false);
        Ok((CpuStorage::F32(out), (rows, columns).into()))
    }

    fn bwd(
        &self,
        prior: &Tensor,
        context: &Tensor,
        _res: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let columns = prior.dim(1)?;
        let (dprior, dcontext) = with_floats(&grad.contiguous()?, |grad| {
            let half = |first| {
                let mut out = vec![0.0; grad.len()];
                self.take(&mut out, grad, columns, first);
                out
            };
            Ok((half(true), half(false)))
        })?;
        let device = prior.device();
        Ok((
            Some(Tensor::from_vec(dprior, prior.shape(), device)?),
            Some(Tensor::from_vec(dcontext, context.shape(), device)?),
        ))
    }
}
