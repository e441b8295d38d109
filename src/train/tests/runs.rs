use std::path::Path;
use std::sync::atomic::AtomicBool;

use clap::Parser;

use crate::train::{TrainArgs, checkpoint::Checkpoint, trainer};

fn train(args: &TrainArgs) -> anyhow::Result<()> {
    trainer::train(args, &AtomicBool::new(false))
}

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    args: TrainArgs,
}

fn args(data: &Path, run: &Path, steps: u64) -> TrainArgs {
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
    // The schedule depends on the number of steps; a constant rate makes runs of different lengths comparable.
    args.decay_from = 0.999;
    args
}

/// A folder with one smooth picture with an edge, and one file that is no picture.
fn pictures(folder: &Path) {
    let picture = image::RgbImage::from_fn(96, 80, |x, y| {
        let v = (128.0 + 60.0 * (x as f32 / 9.0).sin() + 40.0 * (y as f32 / 13.0).cos()) as u8;
        image::Rgb(if x + y > 90 { [v, 255 - v, 90] } else { [v / 2, v, v] })
    });
    picture.save(folder.join("a.png")).unwrap();
    std::fs::write(folder.join("broken.png"), b"not a picture").unwrap();
}

fn losses(run: &Path) -> Vec<f64> {
    std::fs::read_to_string(run.join("log.jsonl"))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["loss"].as_f64().unwrap())
        .collect()
}

#[test]
fn training_learns_and_a_resumed_run_equals_an_uninterrupted_one() {
    let folder = tempfile::tempdir().unwrap();
    pictures(folder.path());
    let (whole, halves) = (folder.path().join("whole"), folder.path().join("halves"));
    train(&args(folder.path(), &whole, 40)).unwrap();
    let seen = losses(&whole);
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    assert!(mean(&seen[30..]) < 0.8 * mean(&seen[..10]), "{seen:?}");

    let mut first = args(folder.path(), &halves, 40);
    first.stop_after = Some(23);
    train(&first).unwrap();
    assert_eq!(Checkpoint::load(&halves).unwrap().unwrap().step, 23);
    train(&args(folder.path(), &halves, 40)).unwrap();
    let [a, b] = [&whole, &halves].map(|run| Checkpoint::load(run).unwrap().unwrap());
    assert_eq!(a.step, b.step);
    assert!(a.weights == b.weights, "a resumed run drifted");
    assert!(a.states == b.states, "a resumed run's optimiser drifted");
}

#[test]
fn soap_runs_learn_and_resume_too() {
    let folder = tempfile::tempdir().unwrap();
    pictures(folder.path());
    let run = folder.path().join("run");
    let mut soap = args(folder.path(), &run, 30);
    soap.optimizer = crate::train::optimizer::Method::Soap;
    soap.stop_after = Some(12);
    train(&soap).unwrap();
    soap.stop_after = None;
    train(&soap).unwrap();
    let seen = losses(&run);
    assert_eq!(seen.len(), 30);
    assert!(seen[25..].iter().sum::<f64>() < seen[..5].iter().sum::<f64>(), "{seen:?}");
}

#[test]
fn a_run_says_what_is_wrong_with_its_inputs() {
    let folder = tempfile::tempdir().unwrap();
    let message = |args: &TrainArgs| format!("{:#}", train(args).unwrap_err());
    let missing = args(&folder.path().join("missing"), &folder.path().join("run"), 1);
    assert!(message(&missing).contains("missing"));
    let empty = args(folder.path(), &folder.path().join("run"), 1);
    assert!(message(&empty).contains("no readable picture of at least 64x64 pixels"));
    pictures(folder.path());
    let mut odd = args(folder.path(), &folder.path().join("run"), 1);
    odd.crop = 100;
    assert!(message(&odd).contains("--crop 100"));
    let run = folder.path().join("run");
    train(&args(folder.path(), &run, 1)).unwrap();
    let mut other = args(folder.path(), &run, 2);
    other.channels = 32;
    assert!(message(&other).contains("another architecture"));
    std::fs::write(run.join("checkpoint.safetensors"), b"damaged").unwrap();
    assert!(message(&args(folder.path(), &run, 2)).contains("is not a checkpoint"));
}
