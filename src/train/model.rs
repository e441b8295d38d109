//! The trainable codec: its variables, one forward pass, the objective.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp2, DType, Device, Layout as TensorLayout, Result, Shape, Tensor, Var};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::checkerboard::Checkerboard;
use super::checkpoint::Checkpoint;
use super::coded::{Coder, straight_through};
use super::fit::bin_of;
use super::kernels::{Geometry, Precision};
use super::net::{Anchored, Layout, Network, floats, with_floats};
use super::quantize::{Quantize, Rounding};
use super::reference;
use crate::model::QualityIndex;
use crate::model::arch::{
    Arch, HYPER_STRIDE, LATENT_STRIDE, PIXEL_BLOCK, PIXEL_CHANNELS, Part, in_first_half,
};
use crate::model::layer::Layer;
use crate::model::quality::{ANCHORS, LAMBDA_MIN, LAMBDA_RATIO, STEPS};

/// Pixels enter the networks as `(p - 128) / PIXEL_SCALE`.
pub const PIXEL_SCALE: f32 = 64.0;

/// The objective `R + lambda D` of a crop is divided by `lambda^LAMBDA_WEIGHT`,
/// close to how it grows, so that no rate dominates a batch.
pub const LAMBDA_WEIGHT: f64 = 0.4;

/// What is added to objectives before their logarithm, a tenth of a usual one.
const USUAL_FLOOR: f64 = 0.5;

/// Names of the variables beside the networks.
pub const Y_STEP: &str = "y_step_log2";
/// log2 of the hyper-latents' quantisation steps, `ANCHORS x N`.
pub const Z_STEP: &str = "z_step_log2";
/// log2 of the hyper-latents' scales in units of their steps, `ANCHORS x N`.
pub const Z_SCALE: &str = "z_scale_log2";

/// The codec's variables: one flat tensor per network, and the step tables.
pub struct CodecModel {
    /// Shape of the networks.
    pub arch: Arch,
    /// Every variable by name: `g_a`, `h_a`, ... and the tables.
    pub vars: BTreeMap<String, Var>,
    /// How its products are computed.
    pub precision: Precision,
    /// How latents are coded; without it each is rounded.
    pub coder: Option<Arc<Coder>>,
    layers: BTreeMap<&'static str, Arc<Vec<Layer>>>,
}

/// Crops ready for a step.
pub struct Batch {
    /// `(batch * positions at 1/8, 192)`, scaled by [`PIXEL_SCALE`].
    pub pixels: Vec<f32>,
    /// Geometry at 1/8.
    pub geometry: Geometry,
    /// The quality of each crop.
    pub qualities: Vec<Anchored>,
}

impl Batch {
    /// Cuts it into shares of `count` crops.
    pub fn split(self, count: usize) -> Vec<Batch> {
        let size = self.pixels.len() / self.geometry.batch * count;
        self.pixels
            .chunks(size)
            .zip(self.qualities.chunks(count))
            .map(|(pixels, qualities)| Batch {
                pixels: pixels.to_vec(),
                qualities: qualities.to_vec(),
                geometry: Geometry { batch: count, ..self.geometry },
            })
            .collect()
    }
}

/// Lambda at a point between anchors.
pub fn lambda((anchor, f): Anchored) -> f64 {
    LAMBDA_MIN * LAMBDA_RATIO.powf(anchor as f64 + f64::from(f))
}

/// A quality index as a point between anchors.
pub fn anchored(index: QualityIndex) -> Anchored {
    let (anchor, step) = index.split();
    (anchor, step as f32 / STEPS as f32)
}

/// Where a point between anchors lies on the quality axis, 0 to 1.
pub fn position((anchor, f): Anchored) -> f64 {
    (anchor as f64 + f64::from(f)) / (ANCHORS - 1) as f64
}

/// What a forward pass yields.
pub struct Outcome {
    /// The mean over crops of the objectives, or with coded latents of their logarithms, as a
    /// mean BD-rate counts pictures: a scalar.
    pub loss: Tensor,
    /// The objective `(R + lambda D) / lambda^LAMBDA_WEIGHT` of each crop.
    pub objectives: Tensor,
    /// Bits per pixel of each crop, latents and hyper-latents.
    pub bpp: Tensor,
    /// Of which hyper-latents.
    pub hyper_bpp: Tensor,
    /// Mean squared error of each crop on the 0..255 scale.
    pub mse: Tensor,
}

/// What each part reads, in the order of [`Part::ALL`].
pub type PartInputs = [(Geometry, Vec<f32>); 6];

impl CodecModel {
    /// Random weights: branches that end in zeros, so that blocks start as the
    /// identity. [`super::klt`] then sets the transforms' linear layers.
    pub fn new(arch: Arch, seed: u64) -> Result<CodecModel> {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut vars = BTreeMap::new();
        for part in Part::ALL {
            let params = initial_params(&arch.layers(part), &mut rng);
            vars.insert(
                part.name().to_string(),
                Var::from_vec(params, layout_len(&arch, part), &Device::Cpu)?,
            );
        }
        for (name, channels, value) in [
            (Y_STEP, arch.latents, 0.0f32),
            (Z_STEP, arch.hyper_latents, 0.0),
            (Z_SCALE, arch.hyper_latents, 0.0),
        ] {
            let table = vec![value; ANCHORS * channels];
            vars.insert(name.to_string(), Var::from_vec(table, (ANCHORS, channels), &Device::Cpu)?);
        }
        Ok(CodecModel::from_vars(arch, vars))
    }

    /// A model over existing variables.
    pub fn from_vars(arch: Arch, vars: BTreeMap<String, Var>) -> CodecModel {
        let layers = Part::ALL.map(|part| (part.name(), Arc::new(arch.layers(part)))).into_iter().collect();
        CodecModel { arch, vars, precision: Precision::Full, coder: None, layers }
    }

    /// The networks by the names of their variables.
    pub fn networks(&self) -> Vec<(String, Vec<Layer>)> {
        Part::ALL.iter().map(|part| (part.name().to_string(), self.arch.layers(*part))).collect()
    }

    /// The flat parameters of one network.
    pub fn params(&self, part: Part) -> &Var {
        &self.vars[part.name()]
    }

    fn run(
        &self,
        part: Part,
        input: &Tensor,
        geometry: Geometry,
        qualities: &Arc<Vec<Anchored>>,
    ) -> Result<Tensor> {
        let layers = &self.layers[part.name()];
        let params = self.params(part).as_tensor();
        if input.device().is_cpu() {
            let (layers, qualities) = (layers.clone(), qualities.clone());
            Network { layers, geometry, qualities, precision: self.precision }.apply(input, params)
        } else {
            reference::apply(layers, geometry, qualities, input, params)
        }
    }

    /// One pass over a batch whose sides are multiples of 64 pixels.
    pub fn forward(&self, batch: &Batch, rounding: Rounding) -> Result<Outcome> {
        let trace = self.trace(batch, rounding)?;
        let (m, n) = (self.arch.latents, self.arch.hyper_latents);
        let Grids { fine, grid, hyper } = grids(batch);
        let mse = mean_squared_errors(&trace.decoded, &trace.x, fine)?;
        let pixels = (grid.positions() * LATENT_STRIDE * LATENT_STRIDE) as f64;
        let per_crop = |t: Tensor, g: Geometry| t.reshape((g.batch, g.positions()))?.sum(1);
        let y_bits = per_crop(trace.y_coded.narrow(1, m, 1)?, grid)?;
        let z_bits = per_crop(trace.z_coded.narrow(1, n, 1)?, hyper)?;
        let hyper_bpp = (z_bits / pixels)?;
        let bpp = ((y_bits / pixels)? + &hyper_bpp)?;
        let vector = |f: &dyn Fn(f64) -> f64| {
            let values: Vec<f32> = batch.qualities.iter().map(|q| f(lambda(*q)) as f32).collect();
            Tensor::from_vec(values, fine.batch, &Device::Cpu)
        };
        let rate = (&bpp * vector(&|lambda| lambda.powf(-LAMBDA_WEIGHT))?)?;
        let distortion = (&mse * vector(&|lambda| lambda.powf(1.0 - LAMBDA_WEIGHT))?)?;
        let objectives = (rate + distortion)?;
        let loss = match self.coder {
            Some(_) => (&objectives + USUAL_FLOOR)?.log()?.mean(0)?,
            None => objectives.mean(0)?,
        };
        let [bpp, hyper_bpp, mse, objectives] = [bpp, hyper_bpp, mse, objectives].map(|t| t.detach());
        Ok(Outcome { loss, objectives, bpp, hyper_bpp, mse })
    }

    /// The mean squared error of each crop, on the 0..255 scale, when it is decoded from
    /// `latents`, `(batch * positions at 1/16, M)`.
    pub fn synthesis_errors(&self, batch: &Batch, latents: &Tensor) -> Result<Tensor> {
        let Grids { fine, grid, .. } = grids(batch);
        let x = Tensor::from_slice(&batch.pixels, (fine.rows(), PIXEL_CHANNELS), &Device::Cpu)?;
        let decoded = self.run(Part::Synthesis, latents, grid, &Arc::new(batch.qualities.clone()))?;
        mean_squared_errors(&decoded, &x, fine)
    }

    /// The tensors of a pass, in the order of the diagram in `model::arch`.
    fn trace(&self, batch: &Batch, rounding: Rounding) -> Result<Trace> {
        let Grids { fine, grid, hyper } = grids(batch);
        let qualities = Arc::new(batch.qualities.clone());
        let x = Tensor::from_slice(&batch.pixels, (fine.rows(), PIXEL_CHANNELS), &Device::Cpu)?;
        let blend = reference::blend(&qualities, &x)?;
        let (m, n) = (self.arch.latents, self.arch.hyper_latents);

        let mut y = self.run(Part::Analysis, &x, fine, &qualities)?;
        let mut z = self.run(Part::HyperAnalysis, &y, grid, &qualities)?;
        if matches!(rounding, Rounding::Hard) {
            // Rounding lets no gradient through.
            (y, z) = (y.detach(), z.detach());
        }

        let z_step = blend.matmul(self.vars[Z_STEP].as_tensor())?;
        let z_scale = (blend.matmul(self.vars[Z_SCALE].as_tensor())? + &z_step)?;
        let z_scale = z_scale
            .unsqueeze(1)?
            .broadcast_as((fine.batch, hyper.positions(), n))?
            .reshape((hyper.rows(), n))?;
        let z_mean = match &self.coder {
            Some(coder) => coder.hyper_means(hyper, &z, &z_step)?,
            None => z_scale.zeros_like()?,
        };
        let z_params = Tensor::cat(&[&z_mean, &z_scale], 1)?;
        let quantize = |geometry: Geometry, salt| Quantize {
            positions: geometry.positions(),
            rounding: rounding.reseeded(|seed| seed.wrapping_mul(3).wrapping_add(salt)),
        };
        let z_coded = quantize(hyper, 0).apply(&z, &z_params, &z_step)?;
        let features = self.run(Part::HyperSynthesis, &z_coded.narrow(1, 0, n)?, hyper, &qualities)?;

        let step = blend.matmul(self.vars[Y_STEP].as_tensor())?;
        let prior = self.run(Part::Prior, &features, grid, &qualities)?;
        let halves = Checkerboard(grid);
        let first_coded =
            self.coder.as_ref().map(|coder| coder.code(halves, true, &y, &prior, &step)).transpose()?;
        let first_half = match &first_coded {
            Some(coded) => straight_through(&y, coded.values.clone(), Some((halves, true)))?,
            None => halves.first_half(&y, &prior, &step)?,
        };
        let known = Tensor::cat(&[&features, &first_half], 1)?;
        let context = self.run(Part::Context, &known, grid, &qualities)?;
        let mut y_coded = quantize(grid, 1).apply(&y, &halves.select(&prior, &context)?, &step)?;
        if let (Some(coder), Some(mut coded)) = (&self.coder, first_coded) {
            let second = coder.code(halves, false, &y, &context, &step)?;
            coded.values.iter_mut().zip(second.values).for_each(|(all, more)| *all += more);
            coded.bits.iter_mut().zip(second.bits).for_each(|(all, more)| *all += more);
            let values = straight_through(&y, coded.values, None)?;
            let bits = match rounding {
                Rounding::Noise(_) => y_coded.narrow(1, m, 1)?,
                Rounding::Hard => Tensor::from_vec(coded.bits, (grid.rows(), 1), &Device::Cpu)?,
            };
            y_coded = Tensor::cat(&[&values, &bits], 1)?;
        }

        let decoded = self.run(Part::Synthesis, &y_coded.narrow(1, 0, m)?, grid, &qualities)?;
        Ok(Trace { x, y, z_coded, features, prior, known, context, step, y_coded, decoded })
    }

    /// The scale bin and symbol of every latent of one picture.
    pub fn symbols(&self, batch: &Batch) -> Result<Vec<(usize, i32)>> {
        let t = self.trace(batch, Rounding::Hard)?;
        let (grid, m) = (grids(batch).grid, self.arch.latents);
        let (y, step) = (numbers(&t.y)?, numbers(&t.step)?);
        let (prior, context) = (numbers(&t.prior)?, numbers(&t.context)?);
        let mut symbols = Vec::with_capacity(y.len());
        for (position, y) in y.chunks_exact(m).enumerate() {
            for (c, y) in y.iter().enumerate() {
                let first = in_first_half(position / grid.width, position % grid.width, c);
                let params = &if first { &prior } else { &context }[position * 2 * m..][..2 * m];
                let symbol = ((y - params[c]) * (-step[c]).exp2()).round_ties_even();
                symbols.push((bin_of(params[m + c] - step[c]), symbol as i32));
            }
        }
        Ok(symbols)
    }

    /// The pixels of [`Self::forward`] with truly rounded latents, as rows like the input's.
    pub fn decoded(&self, batch: &Batch) -> Result<Vec<f32>> {
        numbers(&self.trace(batch, Rounding::Hard)?.decoded)
    }

    /// What each part reads when a picture is coded for real, in the order of
    /// [`Part::ALL`].
    pub fn part_inputs(&self, batch: &Batch) -> Result<PartInputs> {
        let Grids { fine, grid, hyper } = grids(batch);
        let t = self.trace(batch, Rounding::Hard)?;
        let (m, n) = (self.arch.latents, self.arch.hyper_latents);
        Ok([
            (fine, numbers(&t.x)?),
            (grid, numbers(&t.y)?),
            (hyper, numbers(&t.z_coded.narrow(1, 0, n)?)?),
            (grid, numbers(&t.features)?),
            (grid, numbers(&t.known)?),
            (grid, numbers(&t.y_coded.narrow(1, 0, m)?)?),
        ])
    }

    /// The model with a checkpoint's averaged weights.
    pub fn averaged(checkpoint: &Checkpoint) -> Result<CodecModel> {
        let mut vars = BTreeMap::new();
        for (name, state) in &checkpoint.states {
            let width = match name.as_str() {
                Y_STEP => Some(checkpoint.arch.latents),
                Z_STEP | Z_SCALE => Some(checkpoint.arch.hyper_latents),
                _ => None,
            };
            let shape: Shape = match width {
                Some(width) => (ANCHORS, width).into(),
                None => state.ema.len().into(),
            };
            vars.insert(name.clone(), Var::from_vec(state.ema.clone(), shape, &Device::Cpu)?);
        }
        Ok(CodecModel::from_vars(checkpoint.arch.clone(), vars))
    }
}

/// The tensors of one pass.
struct Trace {
    x: Tensor,
    y: Tensor,
    /// Hyper-latents as decoded, then a column of bits.
    z_coded: Tensor,
    features: Tensor,
    /// Means and log2 scales of the first half.
    prior: Tensor,
    known: Tensor,
    /// Means and log2 scales of the second half.
    context: Tensor,
    /// log2 steps of each crop.
    step: Tensor,
    /// Latents as decoded, then a column of bits.
    y_coded: Tensor,
    decoded: Tensor,
}

/// The three resolutions of a batch.
struct Grids {
    /// 1/8.
    fine: Geometry,
    /// 1/16.
    grid: Geometry,
    /// 1/64.
    hyper: Geometry,
}

fn grids(batch: &Batch) -> Grids {
    let fine = batch.geometry;
    let grid = Geometry { height: fine.height / 2, width: fine.width / 2, ..fine };
    let hyper = Geometry { height: grid.height / HYPER_STRIDE, width: grid.width / HYPER_STRIDE, ..fine };
    Grids { fine, grid, hyper }
}

fn layout_len(arch: &Arch, part: Part) -> usize {
    Layout::new(&arch.layers(part)).len
}

/// Random parameters of `layers`, zeros where branches end.
pub fn initial_params(layers: &[Layer], rng: &mut StdRng) -> Vec<f32> {
    let layout = Layout::new(layers);
    let mut params = vec![0.0; layout.len];
    let mut paths_ending_a_branch = Vec::new();
    ends_of_branches(layers, "", &mut paths_ending_a_branch);
    for slot in &layout.slots {
        if paths_ending_a_branch.contains(&slot.path) {
            continue;
        }
        let (rows, cols) = slot.shape;
        // Uniform with variance 1 / fan-in; a depthwise window starts near the identity.
        let depthwise = slot.bias_rows == 1;
        let bound = if depthwise { 0.3 } else { (3.0 / rows as f32).sqrt() };
        for w in &mut params[slot.weight..][..rows * cols] {
            *w = rng.random_range(-bound..bound);
        }
        if depthwise {
            for w in &mut params[slot.weight + 4 * cols..][..cols] {
                *w += 1.0;
            }
        }
    }
    params
}

/// The paths of the layers that end a residual's branch.
fn ends_of_branches(layers: &[Layer], prefix: &str, out: &mut Vec<String>) {
    for (index, layer) in layers.iter().enumerate() {
        if let Layer::Residual(body) = layer {
            let inner = format!("{prefix}{index}.");
            ends_of_branches(body, &inner, out);
            let last = body.iter().rposition(|layer| matches!(layer, Layer::Pointwise { .. }));
            out.extend(last.map(|last| format!("{inner}{last}")));
        }
    }
}

/// Of each picture, on the 0..255 scale.
fn mean_squared_errors(decoded: &Tensor, x: &Tensor, fine: Geometry) -> Result<Tensor> {
    let squared = decoded.apply_op2(x, SquaredError { batch: fine.batch })?;
    squared * (f64::from(PIXEL_SCALE).powi(2) / (fine.positions() * PIXEL_CHANNELS) as f64)
}

/// Sum of squared differences per picture: `(rows, c), (rows, c) -> (batch)`.
pub struct SquaredError {
    /// Pictures.
    pub batch: usize,
}

impl CustomOp2 for SquaredError {
    fn name(&self) -> &'static str {
        "squared-error"
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        a_layout: &TensorLayout,
        b: &CpuStorage,
        b_layout: &TensorLayout,
    ) -> Result<(CpuStorage, Shape)> {
        let (a, b) = (floats(a, a_layout)?, floats(b, b_layout)?);
        let size = a.len() / self.batch;
        let sums = a
            .chunks_exact(size)
            .zip(b.chunks_exact(size))
            .map(|(a, b)| a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>() as f32)
            .collect();
        Ok((CpuStorage::F32(sums), self.batch.into()))
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        _res: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let grad: Vec<f32> = grad.to_vec1()?;
        let dims = a.shape().clone();
        let da = with_floats(a, |a| {
            with_floats(b, |b| {
                let size = a.len() / self.batch;
                let mut out = Vec::with_capacity(a.len());
                for ((a, b), g) in a.chunks_exact(size).zip(b.chunks_exact(size)).zip(&grad) {
                    out.extend(a.iter().zip(b).map(|(a, b)| 2.0 * g * (a - b)));
                }
                Ok(out)
            })
        })?;
        Ok((Some(Tensor::from_vec(da, dims, a.device())?), None))
    }
}

/// Pixels of `(height, width, 3)` as rows of 192 channels, scaled for the
/// networks; sides must be multiples of 8.
pub fn pixel_rows(rgb: &[u8], height: usize, width: usize, out: &mut Vec<f32>) {
    for by in 0..height / PIXEL_BLOCK {
        for bx in 0..width / PIXEL_BLOCK {
            for dy in 0..PIXEL_BLOCK {
                let start = ((by * PIXEL_BLOCK + dy) * width + bx * PIXEL_BLOCK) * 3;
                out.extend(
                    rgb[start..start + PIXEL_BLOCK * 3].iter().map(|p| (f32::from(*p) - 128.0) / PIXEL_SCALE),
                );
            }
        }
    }
}

/// The picture that [`pixel_rows`] of one crop came from, rounded and clamped to bytes.
pub fn image_of_rows(geometry: Geometry, rows: &[f32]) -> image::RgbImage {
    let (height, width) = (geometry.height * PIXEL_BLOCK, geometry.width * PIXEL_BLOCK);
    image::RgbImage::from_fn(width as u32, height as u32, |x, y| {
        let (x, y) = (x as usize, y as usize);
        let row = (y / PIXEL_BLOCK) * geometry.width + x / PIXEL_BLOCK;
        let at = row * PIXEL_CHANNELS + ((y % PIXEL_BLOCK) * PIXEL_BLOCK + x % PIXEL_BLOCK) * 3;
        let byte = |v: f32| (v * PIXEL_SCALE + 128.0).round().clamp(0.0, 255.0) as u8;
        image::Rgb([byte(rows[at]), byte(rows[at + 1]), byte(rows[at + 2])])
    })
}

/// Converts a float variable to its numbers.
pub fn numbers(var: &Tensor) -> Result<Vec<f32>> {
    var.flatten_all()?.to_dtype(DType::F32)?.to_vec1()
}
