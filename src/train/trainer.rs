//! The training loop.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use candle_core::{Device, Tensor, Var};
use rayon::prelude::*;
use serde_json::json;

use super::checkpoint::Checkpoint;
use super::config::TrainArgs;
use super::dataset::Dataset;
use super::grow::grow;
use super::import::import;
use super::kernels::Geometry;
use super::model::{Batch, CodecModel, numbers};
use super::net::Layout;
use super::optimizer::{Method, Optimizer, Settings, matrices};
use super::quantize::Rounding;
use super::{klt, validate};
use crate::model::{Model, Part};

/// The step tables' learning rate relative to the weights'.
const TABLE_LR: f64 = 5.0;

/// What one worker brings back from its share of a batch.
struct Share {
    grads: BTreeMap<String, Vec<f32>>,
    loss: f64,
    /// Per crop: position on the quality axis, bits per pixel, hyper-latents' part, squared error.
    crops: Vec<[f64; 4]>,
}

/// Trains until the schedule ends or somebody sets `stop`.
pub fn train(args: &TrainArgs, stop: &AtomicBool) -> Result<()> {
    tame_runtime();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(args.workers.max(1)).build()?;
    pool.install(|| run(args, stop))
}

fn run(args: &TrainArgs, stop: &AtomicBool) -> Result<()> {
    if args.crop == 0 || !args.crop.is_multiple_of(64) {
        bail!("--crop {} is not a multiple of 64", args.crop);
    }
    if args.batch == 0 || args.workers == 0 || !args.batch.is_multiple_of(args.workers) {
        bail!("--batch {} cannot be shared among {} workers", args.batch, args.workers);
    }
    if !(0.0..=1.0).contains(&args.false_colours) {
        bail!("--false-colours {} is not from 0 to 1", args.false_colours);
    }
    std::fs::create_dir_all(&args.run)
        .with_context(|| format!("cannot make the folder {}", args.run.display()))?;
    let data = Dataset::open(&args.data, args.crop, args.false_colours)?;
    let val = match &args.val {
        Some(folder) => validate::pictures(folder, 16)?,
        None => Vec::new(),
    };

    // ---- a new run, or an old one
    let arch = args.arch();
    let model = CodecModel::new(arch.clone(), args.seed)?;
    let sample = || klt::sample((0..32).map(|i| data.batch(args.seed ^ 0x5eed, i, 8, args.crop)).collect());
    let (found, origin) = match (Checkpoint::load(&args.run)?, &args.from) {
        (None, Some(path)) => (Some(start_from(path)?), path),
        (found, _) => (found, &args.run),
    };
    let other = found.as_ref().is_none_or(|found| found.arch != arch);
    let run = match found {
        Some(old) if old.arch == arch => old,
        Some(old) if args.grow => grow(old, &model, &sample())?,
        Some(old) => bail!("{} holds a run of another architecture: {:?}", origin.display(), old.arch),
        None => {
            klt::start(&model, &sample())?;
            let weights = model.vars.iter().map(|(name, var)| Ok((name.clone(), numbers(var)?)));
            Checkpoint::start(arch.clone(), weights.collect::<candle_core::Result<_>>()?)
        }
    };
    let Checkpoint { mut weights, mut states, mut step, seconds: before, .. } = run;
    if step > 0 {
        eprintln!("going on from step {step} after {:.1} minutes", before / 60.0);
    }
    let layouts: BTreeMap<String, Layout> =
        Part::ALL.iter().map(|part| (part.name().to_string(), Layout::new(&arch.layers(*part)))).collect();
    for (name, w) in &weights {
        let count = layouts.get(name).map_or(0, |layout| matrices(&layout.slots).len());
        let state = states.get_mut(name).with_context(|| format!("no optimiser state of {name}"))?;
        state.sides.resize(count, Default::default());
        set_var(&model.vars[name], w)?;
    }
    let kmac: f64 = Part::ALL.iter().map(|part| arch.macs_per_pixel(*part)).sum::<f64>() / 1000.0;
    if (step == 0 || other) && !val.is_empty() {
        let points = validate::run(&model, &val)?;
        eprintln!("{}", validate::describe(step, before, &points));
    }
    eprintln!(
        "{} parameters, {:.2} kMAC/pixel in all, {:.2} in the decoder",
        weights.values().map(Vec::len).sum::<usize>(),
        kmac,
        arch.decoder_macs_per_pixel() / 1000.0
    );
    let beta2 = match args.optimizer {
        Method::Adamw => 0.99,
        Method::Soap => 0.95,
    };
    let settings = Settings { method: args.optimizer, beta1: 0.9, beta2, ema: 0.999 };
    let mut log = std::fs::OpenOptions::new().create(true).append(true).open(args.run.join("log.jsonl"))?;

    // ---- crops are cut on a thread of their own
    let share = args.batch / args.workers;
    let (sender, batches) = sync_channel(2);
    let (first, seed, batch, crop) = (step, args.seed, args.batch, args.crop);
    std::thread::spawn(move || {
        for step in first.. {
            if sender.send(split(data.batch(seed, step, batch, crop), share)).is_err() {
                break;
            }
        }
    });

    let start = Instant::now();
    let mut window = Window::new();
    let mut saved = Instant::now();
    loop {
        let seconds = before + start.elapsed().as_secs_f64();
        let progress = match args.steps {
            Some(steps) => step as f64 / steps as f64,
            None => seconds / (60.0 * args.minutes),
        };
        let pause = stop.load(Ordering::Relaxed) || args.stop_after.is_some_and(|last| step >= last);
        let done = progress >= 1.0 || pause;
        if done || saved.elapsed().as_secs_f64() > 60.0 * args.save_every {
            let checkpoint = Checkpoint {
                arch: arch.clone(),
                step,
                seconds,
                weights: weights.clone(),
                states: states.clone(),
            };
            checkpoint.save(&args.run)?;
            if !val.is_empty() && !pause {
                let averaged = CodecModel::averaged(&checkpoint)?;
                let points = validate::run(&averaged, &val)?;
                eprintln!("{}", validate::describe(step, seconds, &points));
                writeln!(log, "{}", json!({"step": step, "seconds": seconds, "validation": points}))?;
            }
            saved = Instant::now();
            if done {
                eprintln!("stopped at step {step} after {:.1} minutes", seconds / 60.0);
                return Ok(());
            }
        }

        let parts: Vec<Batch> = batches.recv().expect("the loader never ends first");
        let noise = args.seed.wrapping_mul(1_000_003).wrapping_add(step * 64);
        let shares: Vec<Result<Share>> = std::thread::scope(|scope| {
            let threads: Vec<_> = parts
                .iter()
                .enumerate()
                .map(|(i, part)| {
                    let model = &model;
                    scope.spawn(move || worker(model, part, noise + i as u64))
                })
                .collect();
            threads.into_iter().map(|t| t.join().expect("workers do not panic")).collect()
        });
        let shares = shares.into_iter().collect::<Result<Vec<Share>>>()?;
        step += 1;
        let lr = args.learning_rate(progress);
        let (grads, norm) = reduce(&shares);
        window.add(&shares, norm);
        if norm.is_finite() {
            let scale = (args.clip / norm).min(1.0) as f32;
            let vars = &model.vars;
            let pairs: Vec<_> = weights.iter_mut().zip(states.iter_mut()).collect();
            pairs
                .into_par_iter()
                .map(|((name, w), (_, state))| {
                    let grad: Vec<f32> = grads[name].iter().map(|g| g * scale).collect();
                    // The tables are logarithms and have octaves to go.
                    let (slots, lr) = match layouts.get(name) {
                        Some(layout) => (&layout.slots[..], lr),
                        None => (&[][..], TABLE_LR * lr),
                    };
                    Optimizer::update(settings, step, state, slots, w, &grad, lr as f32);
                    set_var(&vars[name], w)
                })
                .collect::<Result<Vec<()>>>()?;
        } else {
            window.skipped += 1;
        }
        if step.is_multiple_of(args.log_every) {
            let line = window.report(step, seconds, lr, args, kmac);
            eprintln!("{}", line.0);
            writeln!(log, "{}", line.1)?;
            window = Window::new();
        }
    }
}

/// A run whose weights are those of a model file.
fn start_from(path: &Path) -> Result<Checkpoint> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let model = Model::read(&bytes).with_context(|| path.display().to_string())?;
    import(&model).with_context(|| path.display().to_string())
}

/// Keeps freed memory with the process (candle allocates afresh for every
/// tensor, and returning large blocks to the system each time costs more than
/// the arithmetic), and candle to one thread per worker (its pool spins while
/// it waits).
#[allow(unsafe_code)]
fn tame_runtime() {
    // SAFETY: called before any other thread starts, so nobody reads the environment meanwhile.
    unsafe { std::env::set_var("RAYON_NUM_THREADS", "1") };
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt only sets parameters of the allocator, before any other thread starts.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 30);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
        libc::mallopt(libc::M_TOP_PAD, 256 << 20);
    }
}

fn set_var(var: &Var, values: &[f32]) -> Result<()> {
    Ok(var.set(&Tensor::from_slice(values, var.shape(), &Device::Cpu)?)?)
}

/// Cuts a batch into shares of `count` crops.
fn split(batch: Batch, count: usize) -> Vec<Batch> {
    let size = batch.pixels.len() / batch.geometry.batch * count;
    batch
        .pixels
        .chunks(size)
        .zip(batch.qualities.chunks(count))
        .map(|(pixels, qualities)| Batch {
            pixels: pixels.to_vec(),
            qualities: qualities.to_vec(),
            geometry: Geometry { batch: count, ..batch.geometry },
        })
        .collect()
}

fn worker(model: &CodecModel, batch: &Batch, noise: u64) -> Result<Share> {
    let outcome = model.forward(batch, Rounding::Noise(noise))?;
    let store = outcome.loss.backward()?;
    let grads = model
        .vars
        .iter()
        .map(|(name, var)| {
            let grad = match store.get(var) {
                Some(grad) => numbers(grad)?,
                None => vec![0.0; var.elem_count()],
            };
            Ok((name.clone(), grad))
        })
        .collect::<candle_core::Result<_>>()?;
    let (bpp, hyper, mse): (Vec<f32>, Vec<f32>, Vec<f32>) =
        (outcome.bpp.to_vec1()?, outcome.hyper_bpp.to_vec1()?, outcome.mse.to_vec1()?);
    let crops = batch
        .qualities
        .iter()
        .enumerate()
        .map(|(i, q)| {
            [q.0 as f64 + f64::from(q.1), f64::from(bpp[i]), f64::from(hyper[i]), f64::from(mse[i])]
        })
        .collect();
    Ok(Share { grads, loss: f64::from(outcome.loss.to_scalar::<f32>()?), crops })
}

/// The mean gradient over the shares and its norm over all variables.
fn reduce(shares: &[Share]) -> (BTreeMap<String, Vec<f32>>, f64) {
    let mut sum = shares[0].grads.clone();
    for share in &shares[1..] {
        for (total, grad) in sum.values_mut().zip(share.grads.values()) {
            super::kernels::add(total, grad);
        }
    }
    let scale = 1.0 / shares.len() as f32;
    let mut square = 0.0;
    for grad in sum.values_mut() {
        for g in grad.iter_mut() {
            *g *= scale;
        }
        square += grad.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>();
    }
    (sum, square.sqrt())
}

/// Averages between two log lines.
struct Window {
    since: Instant,
    steps: u64,
    skipped: u64,
    loss: f64,
    norm: f64,
    /// By quarter of the quality axis: crops, bpp, hyper bpp, PSNR.
    quarters: [[f64; 4]; 4],
}

impl Window {
    fn new() -> Window {
        Window { since: Instant::now(), steps: 0, skipped: 0, loss: 0.0, norm: 0.0, quarters: [[0.0; 4]; 4] }
    }

    fn add(&mut self, shares: &[Share], norm: f64) {
        self.steps += 1;
        self.loss += shares.iter().map(|s| s.loss).sum::<f64>() / shares.len() as f64;
        self.norm += norm;
        for [q, bpp, hyper, mse] in shares.iter().flat_map(|s| &s.crops) {
            let quarter = &mut self.quarters[((q / 2.0) as usize).min(3)];
            quarter[0] += 1.0;
            quarter[1] += bpp;
            quarter[2] += hyper;
            quarter[3] += 10.0 * (255.0f64.powi(2) / mse.max(1e-3)).log10();
        }
    }

    /// The line for people and the line for the log.
    fn report(
        &self,
        step: u64,
        seconds: f64,
        lr: f64,
        args: &TrainArgs,
        kmac: f64,
    ) -> (String, serde_json::Value) {
        let n = self.steps as f64;
        let rate = n / self.since.elapsed().as_secs_f64();
        // Forward and the two backward products.
        let gflops = rate * (args.batch * args.crop * args.crop) as f64 * kmac * 1e3 * 6.0 / 1e9;
        let points: Vec<[f64; 3]> = self
            .quarters
            .iter()
            .map(|q| [q[1] / q[0].max(1.0), q[2] / q[0].max(1.0), q[3] / q[0].max(1.0)])
            .collect();
        let mut text = format!(
            "step {step:6} {:6.1} min  loss {:8.4}  |g| {:7.3}  lr {lr:.1e}  {rate:.2} steps/s {gflops:.0} GFLOP/s ",
            seconds / 60.0,
            self.loss / n,
            self.norm / n
        );
        for p in &points {
            text += &format!("  {:.3}({:.3}) {:.2}", p[0], p[1], p[2]);
        }
        let value = json!({
            "step": step, "seconds": seconds, "loss": self.loss / n, "grad_norm": self.norm / n, "lr": lr,
            "steps_per_second": rate, "gflops": gflops, "skipped": self.skipped,
            "bpp_hyper_psnr_by_quarter": points,
        });
        (text, value)
    }
}
