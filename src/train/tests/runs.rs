//! Whole runs as a user starts them: learning, resuming, growing, exporting, failing.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use clap::Parser;

use crate::model::trellis::DEPENDENT_256;
use crate::model::{Arch, Model, QualityIndex};
use crate::train::checkpoint::Checkpoint;
use crate::train::config::CodecArgs;
use crate::train::dataset::Dataset;
use crate::train::import::import;
use crate::train::model::CodecModel;
use crate::train::optimizer::Method;
use crate::train::release::{release, scalar};
use crate::train::requantise::scalar_steps;
use crate::train::shrink::shrink;
use crate::train::{ExportArgs, TrainArgs, trainer, validate};

pub fn train(args: &TrainArgs) -> anyhow::Result<()> {
    trainer::train(args, &AtomicBool::new(false))
}

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    args: TrainArgs,
}

pub fn args(data: &Path, run: &Path, steps: u64) -> TrainArgs {
    let words = [
        "train",
        "--crop",
        "64",
        "--batch",
        "2",
        "--workers",
        "2",
        "--channels",
        "16",
        "--analysis-blocks",
        "1",
        "--synthesis-blocks",
        "1",
        "--latents",
        "32",
        "--hyper-channels",
        "16",
        "--hyper-latents",
        "16",
        "--log-every",
        "1",
    ];
    let mut args = Command::try_parse_from(words.iter().copied().chain(["--data", "x"])).unwrap().args;
    (args.data, args.run, args.steps) = (data.into(), run.into(), Some(steps));
    args.val = Some(data.join("val"));
    // The schedule depends on the number of steps; a constant rate makes runs of different lengths comparable.
    (args.decay_from, args.hard_from) = (0.999, 1.0);
    args.lr = 2e-3;
    args.false_colours = 0.0;
    args
}

/// A folder with one picture of waves, an edge and grain, and one file that is no picture;
/// for validation the picture again.
pub fn pictures(folder: &Path, width: u32) {
    let mut state = 1u32;
    let picture = image::RgbImage::from_fn(width, width - 16, |x, y| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let grain = (state >> 27) as f32;
        let v = (90.0 + 60.0 * (x as f32 / 9.0).sin() + 20.0 * (y as f32 / 13.0).cos() + grain) as u8;
        image::Rgb(if x + y > 90 { [v, 255 - v, 90 + grain as u8] } else { [v / 2, v, v] })
    });
    picture.save(folder.join("a.png")).unwrap();
    std::fs::create_dir(folder.join("val")).unwrap();
    picture.save(folder.join("val/a.png")).unwrap();
    std::fs::write(folder.join("broken.png"), b"not a picture").unwrap();
}

/// The objective on the validation pictures, mean over the qualities, when the run ended.
fn validation(run: &Path) -> f64 {
    let log = std::fs::read_to_string(run.join("log.jsonl")).unwrap();
    let last: serde_json::Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    let points = last["validation"].as_array().unwrap();
    points.iter().map(|point| point["loss"].as_f64().unwrap()).sum::<f64>() / points.len() as f64
}

/// Runs 60 of 180 steps, then the rest, as if interrupted.
fn in_two_parts(mut args: TrainArgs) {
    args.stop_after = Some(60);
    train(&args).unwrap();
    assert_eq!(Checkpoint::<Arch>::load(&args.run).unwrap().unwrap().step, 60);
    args.stop_after = None;
    train(&args).unwrap();
}

#[test]
fn training_learns_and_a_resumed_run_equals_an_uninterrupted_one() {
    for optimizer in [Method::Adamw, Method::Soap] {
        let folder = tempfile::tempdir().unwrap();
        pictures(folder.path(), 96);
        let (whole, halves) = (folder.path().join("whole"), folder.path().join("halves"));
        let args = |run: &Path| TrainArgs { optimizer, ..args(folder.path(), run, 180) };
        let first = folder.path().join("first");
        train(&TrainArgs { steps: Some(1), ..args(&first) }).unwrap();
        train(&args(&whole)).unwrap();
        let (before, after) = (validation(&first), validation(&whole));
        assert!(after < 0.98 * before, "{optimizer:?}: {before} became {after}");
        in_two_parts(args(&halves));
        let [a, b] = [&whole, &halves].map(|run| Checkpoint::<Arch>::load(run).unwrap().unwrap());
        assert_eq!(a.step, b.step);
        assert!(a.weights == b.weights, "{optimizer:?}: a resumed run drifted");
        assert!(a.states == b.states, "{optimizer:?}: a resumed run's optimiser drifted");
    }
}

#[test]
fn at_last_latents_are_rounded_and_the_encoder_is_held_at_its_average() {
    let folder = tempfile::tempdir().unwrap();
    pictures(folder.path(), 96);
    let (whole, halves) = (folder.path().join("whole"), folder.path().join("halves"));
    let args = |run: &Path| TrainArgs { hard_from: 0.5, ..args(folder.path(), run, 600) };
    train(&TrainArgs { stop_after: Some(300), ..args(&whole) }).unwrap();
    let noisy = Checkpoint::<Arch>::load(&whole).unwrap().unwrap();
    train(&args(&whole)).unwrap();
    let hard = Checkpoint::<Arch>::load(&whole).unwrap().unwrap();
    for name in ["g_a", "h_a", "y_step_log2", "z_step_log2"] {
        assert_ne!(noisy.weights[name], noisy.states[name].ema, "{name}");
        assert!(hard.weights[name] == noisy.states[name].ema, "{name} moved");
        assert!(hard.states[name].ema == noisy.states[name].ema, "the average of {name} moved");
    }
    for name in ["g_s", "h_s", "prior", "context"] {
        assert_ne!(hard.weights[name], noisy.states[name].ema, "{name}");
    }
    let loss = |c: &Checkpoint| look(c, folder.path()).iter().map(|point| point.loss).sum::<f64>();
    let (before, after) = (loss(&noisy), loss(&hard));
    assert!(after < before, "{before} became {after}");

    // Interrupted in the middle of it, the run ends up the same.
    train(&TrainArgs { stop_after: Some(450), ..args(&halves) }).unwrap();
    train(&args(&halves)).unwrap();
    assert!(Checkpoint::<Arch>::load(&halves).unwrap().unwrap().weights == hard.weights);

    let error = train(&TrainArgs { hard_from: 1.5, ..args(&whole) }).unwrap_err().to_string();
    assert!(error.contains("1.5") && error.contains("--hard-from"), "{error}");
}

#[test]
fn a_run_grows_more_latents_and_keeps_what_it_knew() {
    let folder = tempfile::tempdir().unwrap();
    pictures(folder.path(), 96);
    let run = folder.path().join("run");
    train(&args(folder.path(), &run, 2)).unwrap();
    let old = Checkpoint::<Arch>::load(&run).unwrap().unwrap();
    let mut wider = args(folder.path(), &run, 2);
    wider.codec.latents = 48;
    assert!(format!("{:#}", train(&wider).unwrap_err()).contains("another architecture"));
    wider.grow = true;
    train(&wider).unwrap();
    let new = Checkpoint::<Arch>::load(&run).unwrap().unwrap();
    assert_eq!((new.arch.latents, new.step), (48, 2));
    // A head's means and scales keep their channels: row 5 of the prior's weights, 32 and 48 latents.
    let row = |c: &Checkpoint, m: usize| c.weights["prior"][5 * 2 * m..6 * 2 * m].to_vec();
    let (before, after) = (row(&old, 32), row(&new, 48));
    assert_eq!(before[..32], after[..32]);
    assert_eq!(before[32..], after[48..80]);
    assert_eq!(old.states["h_a"].m.len() + 16 * 16, new.states["h_a"].m.len());
    // The new latents carry what the old ones could not, before any training.
    let best = |c: &Checkpoint| look(c, folder.path()).pop().unwrap();
    let (before, after) = (best(&old), best(&new));
    assert!(after.psnr_rgb > before.psnr_rgb + 0.1, "{before:?} {after:?}");
}

#[test]
fn new_blocks_change_nothing_before_they_are_trained() {
    let folder = tempfile::tempdir().unwrap();
    pictures(folder.path(), 96);
    let run = folder.path().join("run");
    train(&args(folder.path(), &run, 20)).unwrap();
    let old = Checkpoint::<Arch>::load(&run).unwrap().unwrap();
    let mut deeper = args(folder.path(), &run, 20);
    (deeper.codec.analysis_blocks, deeper.codec.synthesis_blocks, deeper.grow) = (2, 3, true);
    train(&deeper).unwrap();
    let new = Checkpoint::<Arch>::load(&run).unwrap().unwrap();
    for (a, b) in look(&old, folder.path()).iter().zip(look(&new, folder.path())) {
        assert!((a.bpp - b.bpp).abs() < 1e-6 && (a.psnr_rgb - b.psnr_rgb).abs() < 1e-4, "{a:?} {b:?}");
    }
    deeper.codec.synthesis_blocks = 1;
    assert!(format!("{:#}", train(&deeper).unwrap_err()).contains("can only grow"));
}

#[test]
fn new_channels_change_nothing_until_new_latents_fill_them() {
    let folder = tempfile::tempdir().unwrap();
    pictures(folder.path(), 96);
    let run = folder.path().join("run");
    train(&args(folder.path(), &run, 20)).unwrap();
    let old = Checkpoint::<Arch>::load(&run).unwrap().unwrap();
    let grown = |channels, latents| {
        let run = folder.path().join(format!("{channels}-{latents}"));
        std::fs::create_dir(&run).unwrap();
        old.save(&run).unwrap();
        let mut wider = TrainArgs { run: run.clone(), grow: true, ..args(folder.path(), &run, 20) };
        (wider.codec.channels, wider.codec.latents) = (channels, latents);
        (wider.codec.inner, wider.codec.analysis_inner) = (Some(16), Some(16));
        train(&wider)?;
        anyhow::Ok(Checkpoint::<Arch>::load(&run).unwrap().unwrap())
    };
    let same = grown(48, 32).unwrap();
    assert_eq!((same.arch.synthesis_channels, same.arch.synthesis_inner), (48, 16));
    for (a, b) in look(&old, folder.path()).iter().zip(look(&same, folder.path())) {
        assert!((a.bpp - b.bpp).abs() < 1e-5 && (a.psnr_rgb - b.psnr_rgb).abs() < 1e-3, "{a:?} {b:?}");
    }
    let best = |c: &Checkpoint| look(c, folder.path()).pop().unwrap().psnr_rgb;
    let (before, after) = (best(&old), best(&grown(48, 96).unwrap()));
    assert!(after > before + 1.0, "{before} dB grew to {after} dB");
    let error = format!("{:#}", grown(208, 32).err().unwrap());
    assert!(error.contains("192 more channels beside 16, where there are 192 directions"), "{error}");
}

#[test]
fn a_smaller_model_starts_near_the_larger_one_it_was_cut_from() {
    let folder = tempfile::tempdir().unwrap();
    pictures(folder.path(), 96);
    let run = folder.path().join("run");
    let mut wide = args(folder.path(), &run, 120);
    (wide.codec.channels, wide.codec.synthesis_blocks, wide.codec.hyper_channels) = (32, 2, 32);
    train(&wide).unwrap();
    let old = Checkpoint::<Arch>::load(&run).unwrap().unwrap();
    let data = Dataset::open(folder.path(), 64, 0.0, 0..=255).unwrap();
    let crops: Vec<_> = (0..32).map(|i| data.batch(1, i, 8, 64)).collect();
    let loss = |c: &Checkpoint| look(c, folder.path()).iter().map(|point| point.loss).sum::<f64>();

    // Nothing cut, nothing changed.
    let same = shrink(&old, &old.arch, &crops).unwrap();
    for (a, b) in look(&old, folder.path()).iter().zip(look(&same, folder.path())) {
        assert!((a.bpp - b.bpp).abs() < 1e-5 && (a.psnr_rgb - b.psnr_rgb).abs() < 1e-3, "{a:?} {b:?}");
    }
    // Half of everything but the encoder, and three latents in four: nearer than where the KLT starts.
    let mut slim = args(folder.path(), &folder.path().join("klt"), 1);
    (slim.codec.latents, slim.codec.analysis_channels) = (24, Some(32));
    slim.codec.hyper_analysis_channels = Some(32);
    train(&slim).unwrap();
    let start = Checkpoint::<Arch>::load(&slim.run).unwrap().unwrap();
    let cut = shrink(&old, &slim.codec.arch(), &crops).unwrap();
    let (before, after, klt) = (loss(&old), loss(&cut), loss(&start));
    assert!(after < before + 0.7 * (klt - before), "{before} cut down to {after}, KLT {klt}");
    assert!(format!("{:#}", shrink(&start, &old.arch, &crops).err().unwrap()).contains("can only shrink"));
}

/// The averaged weights of a run on the validation picture.
fn look(checkpoint: &Checkpoint, folder: &Path) -> Vec<validate::Point> {
    let pictures = validate::pictures(&folder.join("val"), 1).unwrap();
    validate::run(&CodecModel::averaged(checkpoint).unwrap(), &pictures).unwrap()
}

#[test]
fn an_exported_model_codes_like_the_float_network() {
    let folder = tempfile::tempdir().unwrap();
    pictures(folder.path(), 96);
    let run = folder.path().join("run");
    let mut narrow = args(folder.path(), &run, 60);
    (narrow.codec.inner, narrow.codec.analysis_channels) = (Some(32), Some(32));
    narrow.codec.analysis_inner = Some(16);
    train(&narrow).unwrap();
    let output = folder.path().join("tiny.aem");
    let export = ExportArgs {
        run,
        val: folder.path().join("val"),
        pictures: 1,
        name: Some("tiny".into()),
        onto: None,
        first_index: 0,
        output: output.clone(),
    };
    let held_out = validate::pictures(&export.val, export.pictures).unwrap();
    let (one_quantiser, losses) = scalar(&export, &held_out).unwrap();
    for loss in losses {
        // A file's fixed cost is 22 bytes or so, on 64x64 pixels.
        let rate = (loss.bpp - 22.0 * 8.0 / 4096.0) / loss.float_bpp;
        assert!((loss.psnr - loss.float_psnr).abs() < 0.05, "{} dB, float {}", loss.psnr, loss.float_psnr);
        assert!((rate - 1.0).abs() < 0.05, "{} bpp, float {}", loss.bpp, loss.float_bpp);
    }
    release(&export).unwrap();
    let model = Model::read(&std::fs::read(&output).unwrap()).unwrap();
    assert_eq!(model.name, "tiny");

    // Two quantisers change no network, and their steps lead back to those of one, but
    // where they are as wide as steps can be.
    assert!(model.trellis == DEPENDENT_256 && model.networks == one_quantiser.networks);
    for ((wide, back), step) in
        model.y_step_log2.iter().zip(scalar_steps(&model)).zip(&one_quantiser.y_step_log2)
    {
        assert!(back == *step || *wide == 14 << 10, "{step} became {wide}, then {back}");
    }

    // The integers lead back to floats that compute the same.
    let trained = look(&Checkpoint::<Arch>::load(&export.run).unwrap().unwrap(), folder.path());
    let imported = look(&import(&one_quantiser, QualityIndex(128)).unwrap(), folder.path());
    for (a, b) in trained.iter().zip(&imported) {
        assert!((b.bpp / a.bpp - 1.0).abs() < 0.01, "{a:?} {b:?}");
        assert!((b.psnr_rgb - a.psnr_rgb).abs() < 0.02, "{a:?} {b:?}");
    }
    // A new run can start there, and grow at once.
    let again = folder.path().join("again");
    let mut start = TrainArgs { from: Some(output), grow: true, ..args(folder.path(), &again, 1) };
    start.codec = CodecArgs { latents: 48, ..narrow.codec };
    train(&start).unwrap();
    assert_eq!(Checkpoint::<Arch>::load(&again).unwrap().unwrap().arch.latents, 48);
}

#[test]
fn a_run_says_what_is_wrong_with_its_inputs() {
    let folder = tempfile::tempdir().unwrap();
    let message = |args: &TrainArgs| format!("{:#}", train(args).unwrap_err());
    let missing = args(&folder.path().join("missing"), &folder.path().join("run"), 1);
    assert!(message(&missing).contains("missing"));
    let empty = TrainArgs { val: None, ..args(folder.path(), &folder.path().join("run"), 1) };
    assert!(message(&empty).contains("no readable picture of at least 64x64 pixels"));
    pictures(folder.path(), 96);
    let mut odd = args(folder.path(), &folder.path().join("run"), 1);
    odd.crop = 100;
    assert!(message(&odd).contains("--crop 100"));
    let run = folder.path().join("run");
    train(&args(folder.path(), &run, 1)).unwrap();
    let mut other = args(folder.path(), &run, 2);
    other.codec.channels = 32;
    assert!(message(&other).contains("another architecture"));
    std::fs::write(run.join("checkpoint.safetensors"), b"damaged").unwrap();
    assert!(message(&args(folder.path(), &run, 2)).contains("is not a checkpoint"));
}
