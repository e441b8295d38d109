//! Quantisation and its rate as one op with analytic gradients.
//!
//! Forward, for each latent `y` with predicted mean `m` and log2 scale `l`, and
//! a learned step `2^t`: `v = (y - m) / 2^t`; the reconstruction is
//! `m + 2^t round(v)` with a straight-through gradient; the rate is the cost of
//! `v + u`, `u` uniform noise, under a unit-step logistic of scale `2^(l - t)`.
//! Mixing the two is what Minnen and Singh 2020 (channel-wise autoregressive
//! models) found best.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};

use super::net::{floats, with_floats};

/// log2 of the smallest scale the tables know; smaller ones cost nothing more.
pub const LOG2_SCALE_MIN: f32 = -4.0;
/// log2 of the largest scale the tables know.
pub const LOG2_SCALE_MAX: f32 = 7.875;

/// How the rate is estimated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// Uniform noise from this seed: differentiable, for training.
    Noise(u64),
    /// The symbol that will be coded: for validation and the end of training.
    Hard,
}

impl Rounding {
    /// The same with another seed.
    pub fn reseeded(self, seed: impl FnOnce(u64) -> u64) -> Rounding {
        match self {
            Rounding::Noise(old) => Rounding::Noise(seed(old)),
            Rounding::Hard => Rounding::Hard,
        }
    }
}

/// Quantises latents.
#[derive(Debug, Clone, Copy)]
pub struct Quantize {
    /// Positions of each picture.
    pub positions: usize,
    /// How the rate is estimated.
    pub rounding: Rounding,
}

impl Quantize {
    /// Returns `(rows, channels + 1)`: the reconstructions, then the position's
    /// bits.
    ///
    /// `y` is `(rows, channels)`, `params` `(rows, 2 * channels)` (means, then
    /// log2 scales), `step_log2` `(batch, channels)`.
    pub fn apply(self, y: &Tensor, params: &Tensor, step_log2: &Tensor) -> Result<Tensor> {
        y.contiguous()?.apply_op3(&params.contiguous()?, &step_log2.contiguous()?, self)
    }
}

/// Bits of one latent and the derivatives with respect to `|v|` and log2 scale.
#[derive(Clone, Copy, Default)]
pub struct Cost {
    /// Bits.
    pub bits: f32,
    /// Change of bits per step of magnitude.
    pub by_magnitude: f32,
    /// Change of bits per octave of scale.
    pub by_log2_scale: f32,
}

/// `2^x` to 2e-7 relative, in plain arithmetic that vectorises: Taylor's series
/// around the nearest integer.
#[inline(always)]
fn exp2(x: f32) -> f32 {
    let x = x.clamp(-126.0, 126.0);
    let whole = x.round_ties_even();
    let f = x - whole;
    let p = 1.540_353e-4f32;
    let p = p * f + 1.333_355_8e-3;
    let p = p * f + 9.618_129e-3;
    let p = p * f + 5.550_411e-2;
    let p = p * f + 2.402_265e-1;
    let p = p * f + 6.931_472e-1;
    let p = p * f + 1.0;
    p * f32::from_bits((((whole as i32) + 127) << 23) as u32)
}

/// `log2 x` for positive normal `x`, to 1e-6 absolute.
#[inline(always)]
fn log2(x: f32) -> f32 {
    let bits = x.to_bits() as i32;
    let shifted = bits - 0x3f35_04f3;
    let exponent = shifted >> 23;
    let m = f32::from_bits((bits - (exponent << 23)) as u32);
    // atanh series: log2(m) = 2/ln2 * (s + s^3/3 + ...), s = (m - 1) / (m + 1), |s| < 0.172
    let s = (m - 1.0) / (m + 1.0);
    let q = s * s;
    let p = 1.0 / 9.0 * q + 1.0 / 7.0;
    let p = p * q + 1.0 / 5.0;
    let p = p * q + 1.0 / 3.0;
    let p = p * q + 1.0;
    2.0 * std::f32::consts::LOG2_E * s * p + exponent as f32
}

/// The cost of magnitude `a` (in steps) under a logistic of scale
/// `2^log2_scale` integrated over one step:
/// `p = sinh(h) / (cosh(h) + cosh(r))`, `h = 1 / 2s`, `r = a / s`.
#[inline(always)]
pub fn logistic_cost(a: f32, log2_scale: f32) -> Cost {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    const LN_2: f32 = std::f32::consts::LN_2;
    let l = log2_scale.clamp(LOG2_SCALE_MIN, LOG2_SCALE_MAX);
    let inverse = exp2(-l);
    // In units of log2 e, so that every exponential is a power of two.
    let h = 0.5 * inverse * LOG2_E;
    let r = a * inverse * LOG2_E;
    let m = h.max(r);
    let (eh, nh) = (exp2(h - m), exp2(-h - m));
    let (er, nr) = (exp2(r - m), exp2(-r - m));
    let den = eh + nh + er + nr;
    let tail = exp2(-2.0 * h);
    let rest = 1.0 - tail;
    let bits = m - h + log2(den) - log2(rest);
    let by_r = (er - nr) / den;
    let by_h = (eh - nh) / den - (1.0 + tail) / rest;
    Cost { bits, by_magnitude: by_r * inverse * LOG2_E, by_log2_scale: -(by_r * r + by_h * h) * LN_2 }
}

/// What `y` is decoded as, given its mean and its step's log2, and how that
/// grows with the step's log2.
#[inline(always)]
pub fn reconstruct(y: f32, mean: f32, step_log2: f32) -> (f32, f32) {
    let (width, inverse) = (exp2(step_log2), exp2(-step_log2));
    let v = (y - mean) * inverse;
    let rounded = v.round_ties_even();
    (mean + width * rounded, (rounded - v) * width * std::f32::consts::LN_2)
}

/// A uniform number in -0.5..0.5 for position `index` of stream `seed`
/// (the finaliser of MurmurHash3).
#[inline(always)]
fn noise(seed: u32, index: u32) -> f32 {
    let mut h = seed ^ index.wrapping_mul(0x9e37_79b9);
    h ^= h >> 16;
    h = h.wrapping_mul(0x85eb_ca6b);
    h ^= h >> 13;
    h = h.wrapping_mul(0xc2b2_ae35);
    h ^= h >> 16;
    (h >> 8) as f32 * (1.0 / (1 << 24) as f32) - 0.5
}

/// One row's worth of slices, so that the vector loop sees plain arrays.
struct Row<'a> {
    y: &'a [f32],
    params: &'a [f32],
    step_log2: &'a [f32],
}

impl Quantize {
    fn seeds(&self) -> (u32, f32) {
        match self.rounding {
            Rounding::Noise(seed) => ((seed ^ (seed >> 32)) as u32, 1.0),
            Rounding::Hard => (0, 0.0),
        }
    }

    /// The value whose cost is charged: noisy, or rounded.
    #[inline(always)]
    fn charged(v: f32, seed: u32, index: u32, soft: f32) -> f32 {
        let hard = v.round_ties_even();
        let noisy = v + noise(seed, index);
        if soft > 0.0 { noisy } else { hard }
    }

    fn forward(&self, y: &[f32], params: &[f32], step_log2: &[f32], channels: usize) -> Vec<f32> {
        let rows = y.len() / channels;
        let (seed, soft) = self.seeds();
        let mut out = vec![0.0; rows * (channels + 1)];
        let mut bits = vec![0.0f32; channels];
        for (row, out) in out.chunks_exact_mut(channels + 1).enumerate() {
            let r = Row {
                y: &y[row * channels..][..channels],
                params: &params[row * 2 * channels..][..2 * channels],
                step_log2: &step_log2[row / self.positions * channels..][..channels],
            };
            for c in 0..channels {
                let (mean, t) = (r.params[c], r.step_log2[c]);
                let v = (r.y[c] - mean) * exp2(-t);
                let charged = Self::charged(v, seed, (row * channels + c) as u32, soft);
                bits[c] = logistic_cost(charged.abs(), r.params[channels + c] - t).bits;
                out[c] = mean + exp2(t) * v.round_ties_even();
            }
            out[channels] = bits.iter().sum();
        }
        out
    }

    fn backward(
        &self,
        y: &[f32],
        params: &[f32],
        step_log2: &[f32],
        grad: &[f32],
        channels: usize,
    ) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
        const LN_2: f32 = std::f32::consts::LN_2;
        let rows = y.len() / channels;
        let (seed, soft) = self.seeds();
        let mut dy = vec![0.0; y.len()];
        let mut dparams = vec![0.0; params.len()];
        let mut dstep = vec![0.0; step_log2.len()];
        for row in 0..rows {
            let y = &y[row * channels..][..channels];
            let (means, scales) = params[row * 2 * channels..][..2 * channels].split_at(channels);
            let steps = &step_log2[row / self.positions * channels..][..channels];
            let (grad, grad_bits) = grad[row * (channels + 1)..][..channels + 1].split_at(channels);
            let grad_bits = grad_bits[0];
            let dy = &mut dy[row * channels..][..channels];
            let (dmeans, dscales) = dparams[row * 2 * channels..][..2 * channels].split_at_mut(channels);
            let dsteps = &mut dstep[row / self.positions * channels..][..channels];
            for c in 0..channels {
                let grad = grad[c];
                let t = steps[c];
                let inverse = exp2(-t);
                let v = (y[c] - means[c]) * inverse;
                let (_, by_step) = reconstruct(y[c], means[c], t);
                let charged = Self::charged(v, seed, (row * channels + c) as u32, soft);
                let l = scales[c] - t;
                let cost = logistic_cost(charged.abs(), l);
                let by_v = cost.by_magnitude * if charged < 0.0 { -1.0 } else { 1.0 } * grad_bits;
                // Outside the tables' range only a gradient that leads back in passes.
                let by_l = cost.by_log2_scale * grad_bits;
                let blocked = (l < LOG2_SCALE_MIN && by_l > 0.0) || (l > LOG2_SCALE_MAX && by_l < 0.0);
                let by_l = if blocked { 0.0 } else { by_l };
                dy[c] = grad + by_v * inverse;
                dmeans[c] = -by_v * inverse;
                dscales[c] = by_l;
                dsteps[c] += grad * by_step - by_v * v * LN_2 - by_l;
            }
        }
        (dy, dparams, dstep)
    }
}

impl CustomOp3 for Quantize {
    fn name(&self) -> &'static str {
        "quantize"
    }

    fn cpu_fwd(
        &self,
        y: &CpuStorage,
        y_layout: &Layout,
        params: &CpuStorage,
        params_layout: &Layout,
        step: &CpuStorage,
        step_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (rows, channels) = y_layout.shape().dims2()?;
        let out = self.forward(
            floats(y, y_layout)?,
            floats(params, params_layout)?,
            floats(step, step_layout)?,
            channels,
        );
        Ok((CpuStorage::F32(out), (rows, channels + 1).into()))
    }

    fn bwd(
        &self,
        y: &Tensor,
        params: &Tensor,
        step: &Tensor,
        _res: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let channels = y.dim(1)?;
        let grad = grad.contiguous()?;
        let (dy, dparams, dstep) = with_floats(y, |y| {
            with_floats(params, |params| {
                with_floats(step, |step| {
                    with_floats(&grad, |grad| Ok(self.backward(y, params, step, grad, channels)))
                })
            })
        })?;
        let device = y.device();
        Ok((
            Some(Tensor::from_vec(dy, y.shape(), device)?),
            Some(Tensor::from_vec(dparams, params.shape(), device)?),
            Some(Tensor::from_vec(dstep, step.shape(), device)?),
        ))
    }
}
