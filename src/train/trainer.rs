//! The training loop. What is trained is a [`Trainee`]; the codec and the
//! restoring networks are the two there are.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use candle_core::{Device, Tensor, Var};
use rayon::prelude::*;
use serde_json::{Value, json};

use super::checkpoint::{Checkpoint, Numbers};
use super::codec_run::CodecRun;
use super::config::{Purpose, TrainArgs};
use super::kernels::Precision;
use super::model::numbers;
use super::net::Layout;
use super::optimizer::{Method, Settings, matrices, pieces};
use super::quantize::Rounding;
use super::restoration_run::RestorationRun;
use super::synthesis_run::SynthesisRun;
use crate::model::Layer;

/// The step tables' learning rate relative to the weights'.
const TABLE_LR: f64 = 5.0;

/// What is known of one crop after a step.
pub struct Crop {
    /// How hard it was asked to be, 0..1: the position on the quality axis or of the noise level.
    pub position: f64,
    /// What to average over the crops of a quarter of that axis.
    pub numbers: Vec<f64>,
}

/// What can be trained: variables, batches, a loss, a look at held-out pictures.
pub trait Trainee: Sync {
    /// The numbers its networks follow from.
    type Arch: Numbers + Sync;
    /// The crops of one worker.
    type Share: Send + Sync;

    /// Whether a variable stays as it is; one that the loss does not depend on does anyway.
    fn holds(&self, _name: &str, _rounding: Rounding) -> bool {
        false
    }

    /// The numbers its networks follow from.
    fn arch(&self) -> &Self::Arch;
    /// The variables; a flat one for each network, and others.
    fn vars(&self) -> &BTreeMap<String, Var>;
    /// The networks by the names of their variables.
    fn networks(&self) -> Vec<(String, Vec<Layer>)>;
    /// Multiply-accumulates of a forward pass for each pixel of a crop.
    fn macs_per_pixel(&self) -> f64;
    /// The crops of a step, one share for each worker: the same for the same
    /// step, whatever was drawn before.
    fn shares(&self, step: u64) -> Vec<Self::Share>;
    /// The objective on a share, and what is known of its crops.
    fn loss(&self, share: &Self::Share, rounding: Rounding) -> Result<(Tensor, Vec<Crop>)>;
    /// Averaged weights on held-out pictures, for people and for the log;
    /// nothing where there are no such pictures.
    fn validate(&self, checkpoint: &Checkpoint<Self::Arch>) -> Result<Option<(String, Value)>>;
    /// The averages of a quarter's crops, for people.
    fn describe(&self, numbers: &[f64]) -> String;
}

/// What one worker brings back from its share of a batch.
struct Brought {
    /// Of the variables that the loss depends on.
    grads: BTreeMap<String, Vec<f32>>,
    loss: f64,
    crops: Vec<Crop>,
}

/// Trains until the schedule ends or somebody sets `stop`.
pub fn train(args: &TrainArgs, stop: &AtomicBool) -> Result<()> {
    tame_runtime();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(args.workers.max(1)).build()?;
    pool.install(|| prepare(args, stop))
}

fn prepare(args: &TrainArgs, stop: &AtomicBool) -> Result<()> {
    if args.crop == 0 || !args.crop.is_multiple_of(64) {
        bail!("--crop {} is not a multiple of 64", args.crop);
    }
    if args.batch == 0 || args.workers == 0 || !args.batch.is_multiple_of(args.workers) {
        bail!("--batch {} cannot be shared among {} workers", args.batch, args.workers);
    }
    if !(0.0..=1.0).contains(&args.hard_from) {
        bail!("--hard-from {} is not from 0 to 1", args.hard_from);
    }
    if !(0.0..=1.0).contains(&args.false_colours) {
        bail!("--false-colours {} is not from 0 to 1", args.false_colours);
    }
    std::fs::create_dir_all(&args.run)
        .with_context(|| format!("cannot make the folder {}", args.run.display()))?;
    // In whatever is no codec there is nothing to round, and coded latents are whole already.
    let never_hard = TrainArgs { hard_from: 1.0, ..args.clone() };
    match args.task {
        Purpose::Codec => {
            let (run, checkpoint) = CodecRun::open(args)?;
            fit(&run, checkpoint, if args.coded { &never_hard } else { args }, stop)
        }
        Purpose::Synthesis => {
            let (run, checkpoint) = SynthesisRun::open(args)?;
            fit(&run, checkpoint, &never_hard, stop)
        }
        Purpose::Denoise | Purpose::Upscale => {
            let (run, checkpoint) = RestorationRun::open(args)?;
            fit(&run, checkpoint, &never_hard, stop)
        }
    }
}

/// Goes on from `checkpoint`.
fn fit<T: Trainee>(
    trainee: &T,
    checkpoint: Checkpoint<T::Arch>,
    args: &TrainArgs,
    stop: &AtomicBool,
) -> Result<()> {
    let first = checkpoint.step;
    let mut log = std::fs::OpenOptions::new().create(true).append(true).open(args.run.join("log.jsonl"))?;
    let look = |checkpoint: &Checkpoint<T::Arch>, log: &mut std::fs::File| -> Result<()> {
        let Checkpoint { step, seconds, .. } = *checkpoint;
        if let Some((text, points)) = trainee.validate(checkpoint)? {
            eprintln!("validation at step {step}, {:.1} min: {text}", seconds / 60.0);
            writeln!(log, "{}", json!({"step": step, "seconds": seconds, "validation": points}))?;
        }
        Ok(())
    };
    look(&checkpoint, &mut log)?;
    let Checkpoint { mut weights, mut states, mut step, seconds: before, .. } = checkpoint;
    let layouts: BTreeMap<String, Layout> =
        trainee.networks().into_iter().map(|(name, layers)| (name, Layout::new(&layers))).collect();
    for (name, w) in &weights {
        let count = layouts.get(name).map_or(0, |layout| matrices(&layout.slots).len());
        let state = states.get_mut(name).with_context(|| format!("no optimiser state of {name}"))?;
        state.sides.resize(count, Default::default());
        set_var(&trainee.vars()[name], w)?;
    }
    eprintln!(
        "{} parameters, {:.2} kMAC/pixel",
        weights.values().map(Vec::len).sum::<usize>(),
        trainee.macs_per_pixel() / 1000.0,
    );
    let beta2 = match args.optimizer {
        Method::Adamw => 0.99,
        Method::Soap => 0.95,
    };
    let precision = Precision::fastest();
    let settings = Settings { method: args.optimizer, beta1: 0.9, beta2, ema: 0.999, precision };

    std::thread::scope(|scope| {
        // Crops are cut on a thread of their own.
        let (sender, batches) = sync_channel(2);
        scope.spawn(move || {
            for step in first.. {
                if sender.send(trainee.shares(step)).is_err() {
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
                    arch: trainee.arch().clone(),
                    step,
                    seconds,
                    weights: weights.clone(),
                    states: states.clone(),
                };
                checkpoint.save(&args.run)?;
                if !pause {
                    look(&checkpoint, &mut log)?;
                }
                saved = Instant::now();
                if done {
                    eprintln!("stopped at step {step} after {:.1} minutes", seconds / 60.0);
                    return Ok(());
                }
            }

            let shares: Vec<T::Share> = batches.recv().expect("the loader never ends first");
            let rounding = match progress >= args.hard_from {
                true => Rounding::Hard,
                false => Rounding::Noise(args.seed.wrapping_mul(1_000_003).wrapping_add(step * 64)),
            };
            let held = |name: &String| trainee.holds(name, rounding);
            // What is held is held at its average, so it differs from that only before the first such step.
            if states.iter().any(|(name, state)| held(name) && state.ema != weights[name]) {
                for (name, w) in &mut weights {
                    w.clone_from(&states[name].ema);
                    set_var(&trainee.vars()[name], w)?;
                }
            }
            let brought = shares
                .par_iter()
                .with_max_len(1)
                .enumerate()
                .map(|(i, share)| worker(trainee, share, rounding.reseeded(|seed| seed + i as u64)))
                .collect::<Result<Vec<Brought>>>()?;
            step += 1;
            let lr = args.learning_rate(progress);
            let (grads, norm) = reduce(&brought);
            window.add(brought, norm);
            if norm.is_finite() {
                let scale = (args.clip / norm).min(1.0) as f32;
                let grads: BTreeMap<&String, Vec<f32>> = grads
                    .iter()
                    .map(|(name, grad)| (name, grad.iter().map(|g| g * scale).collect()))
                    .collect();
                let mut work = Vec::new();
                let moves = |name: &String| !held(name) && grads.contains_key(name);
                let variables = weights.iter_mut().zip(states.values_mut());
                for ((name, w), state) in variables.filter(|((name, _), _)| moves(name)) {
                    // The tables are logarithms and have octaves to go.
                    let (slots, lr) = match layouts.get(name) {
                        Some(layout) => (&layout.slots[..], lr),
                        None => (&[][..], TABLE_LR * lr),
                    };
                    work.extend(pieces(settings.method, slots, &grads[name], w, state, lr as f32));
                }
                work.sort_by_key(|piece| std::cmp::Reverse(piece.work()));
                work.into_par_iter().with_max_len(1).for_each(|piece| piece.update(settings, step));
                for (name, w) in weights.iter().filter(|(name, _)| moves(name)) {
                    set_var(&trainee.vars()[name], w)?;
                }
            } else {
                window.skipped += 1;
            }
            if step.is_multiple_of(args.log_every) {
                let pixels = (args.batch * args.crop * args.crop) as f64;
                let flop = pixels * trainee.macs_per_pixel() * 6.0; // forward and the two backward products
                let line = window.report(trainee, step, seconds, lr, flop);
                eprintln!("{}", line.0);
                writeln!(log, "{}", line.1)?;
                window = Window::new();
            }
        }
    })
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

fn worker<T: Trainee>(trainee: &T, share: &T::Share, rounding: Rounding) -> Result<Brought> {
    let (loss, crops) = trainee.loss(share, rounding)?;
    let store = loss.backward()?;
    let grads = trainee
        .vars()
        .iter()
        .filter_map(|(name, var)| Some((name.clone(), store.get(var)?)))
        .map(|(name, grad)| Ok((name, numbers(grad)?)))
        .collect::<candle_core::Result<_>>()?;
    Ok(Brought { grads, loss: f64::from(loss.to_scalar::<f32>()?), crops })
}

/// The mean gradient over the shares and its norm over all variables.
fn reduce(shares: &[Brought]) -> (BTreeMap<String, Vec<f32>>, f64) {
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
    /// By quarter of the crops' positions: how many, and the sums of their numbers.
    quarters: [(f64, Vec<f64>); 4],
}

impl Window {
    fn new() -> Window {
        let quarters = Default::default();
        Window { since: Instant::now(), steps: 0, skipped: 0, loss: 0.0, norm: 0.0, quarters }
    }

    fn add(&mut self, shares: Vec<Brought>, norm: f64) {
        self.steps += 1;
        self.loss += shares.iter().map(|s| s.loss).sum::<f64>() / shares.len() as f64;
        self.norm += norm;
        for crop in shares.into_iter().flat_map(|s| s.crops) {
            let (count, sums) = &mut self.quarters[((4.0 * crop.position) as usize).min(3)];
            *count += 1.0;
            sums.resize(crop.numbers.len(), 0.0);
            sums.iter_mut().zip(crop.numbers).for_each(|(sum, number)| *sum += number);
        }
    }

    /// The line for people and the line for the log.
    fn report<T: Trainee>(
        &self,
        trainee: &T,
        step: u64,
        seconds: f64,
        lr: f64,
        flop: f64,
    ) -> (String, Value) {
        let n = self.steps as f64;
        let rate = n / self.since.elapsed().as_secs_f64();
        let gflops = rate * flop / 1e9;
        let quarters = self.quarters.iter().filter(|(count, _)| *count > 0.0);
        let means: Vec<Vec<f64>> =
            quarters.map(|(count, sums)| sums.iter().map(|sum| sum / count).collect()).collect();
        let mut text = format!(
            "step {step:6} {:6.1} min  loss {:8.4}  |g| {:7.3}  lr {lr:.1e}  {rate:.2} steps/s {gflops:.0} GFLOP/s ",
            seconds / 60.0,
            self.loss / n,
            self.norm / n
        );
        for numbers in &means {
            text += &format!("  {}", trainee.describe(numbers));
        }
        let value = json!({
            "step": step, "seconds": seconds, "loss": self.loss / n, "grad_norm": self.norm / n, "lr": lr,
            "steps_per_second": rate, "gflops": gflops, "skipped": self.skipped, "quarters": means,
        });
        (text, value)
    }
}
