//! Denoisers and enlargers: learning, resuming, exporting.

use std::path::Path;

use super::runs::{args, pictures, train};
use crate::model::{RestorationArch, RestorationModel, Task};
use crate::train::checkpoint::Checkpoint;
use crate::train::config::Purpose;
use crate::train::{ExportArgs, TrainArgs, restoration_release};

/// A tiny run over the pictures of `folder`.
fn tiny(folder: &Path, run: &Path, task: Purpose, factor: usize, steps: u64) -> TrainArgs {
    let mut args = TrainArgs { task, lr: 4e-3, ..args(folder, run, steps) };
    args.restoration.factor = factor;
    (args.restoration.width, args.restoration.levels, args.restoration.inner_blocks) = (16, 2, 1);
    if factor == 3 {
        args.crop = 192;
    }
    args
}

/// Edges without grain, of which an enlarger can learn something.
fn edges(folder: &Path) {
    let picture = image::RgbImage::from_fn(208, 208, |x, y| {
        let ring = ((x * x + y * y) as f32).sqrt() as u32 / 9 % 2;
        let bar = (x + 2 * y) / 11 % 2;
        image::Rgb([60 + 130 * ring as u8, 60 + 130 * bar as u8, 60 + 65 * (ring + bar) as u8])
    });
    std::fs::create_dir_all(folder.join("val")).unwrap();
    picture.save(folder.join("a.png")).unwrap();
    picture.save(folder.join("val/a.png")).unwrap();
}

/// What the run's log says of the held-out pictures: dB, at the start and at the end.
fn looks(run: &Path) -> (Vec<f64>, Vec<f64>) {
    let log = std::fs::read_to_string(run.join("log.jsonl")).unwrap();
    let found: Vec<Vec<f64>> = log
        .lines()
        .filter_map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            Some(line["validation"].as_array()?.iter().map(|v| v.as_f64().unwrap()).collect())
        })
        .collect();
    (found.first().unwrap().clone(), found.last().unwrap().clone())
}

#[test]
fn restorers_learn_and_their_integers_do_the_same() {
    for (task, factor) in [(Purpose::Denoise, 2), (Purpose::Upscale, 2), (Purpose::Upscale, 3)] {
        let folder = tempfile::tempdir().unwrap();
        match task {
            Purpose::Upscale => edges(folder.path()),
            _ => pictures(folder.path(), 200),
        }
        let run = folder.path().join(format!("{task:?}{factor}"));
        let steps = if task == Purpose::Denoise { 60 } else { 240 };
        train(&tiny(folder.path(), &run, task, factor, steps)).unwrap();
        let (before, after) = looks(&run);
        // At first nothing is added to the pictures.
        let learnt = if task == Purpose::Denoise { 2.0 } else { 0.5 };
        assert!(after[0] > before[0] + learnt, "{task:?} {factor}: {before:?} became {after:?}");
        let output = folder.path().join("tiny.aem");
        let val = folder.path().join("val");
        let export = ExportArgs {
            run: run.clone(),
            val,
            pictures: 2,
            name: None,
            onto: None,
            first_index: 0,
            output: output.clone(),
        };
        for [float, integer] in restoration_release::release(&export).unwrap() {
            assert!((float - integer).abs() < 0.05, "{task:?} {factor}: {float} dB, integers {integer} dB");
        }
        let model = RestorationModel::read(&std::fs::read(&output).unwrap()).unwrap();
        assert_eq!(model.arch, Checkpoint::<RestorationArch>::load(&run).unwrap().unwrap().arch);
        assert_eq!(model.name, model.arch.task.name());
        // Another run goes on from the integers.
        let again = TrainArgs {
            from: Some(output),
            ..tiny(folder.path(), &run.with_extension("again"), task, factor, 1)
        };
        train(&again).unwrap();
        let (start, _) = looks(&again.run);
        for (a, b) in start.iter().zip(&after) {
            assert!((a - b).abs() < 0.05, "{task:?} {factor}: {after:?}, imported {start:?}");
        }
    }
}

#[test]
fn a_resumed_denoiser_equals_an_uninterrupted_one() {
    let folder = tempfile::tempdir().unwrap();
    pictures(folder.path(), 200);
    let [whole, halves] = ["whole", "halves"].map(|name| folder.path().join(name));
    train(&tiny(folder.path(), &whole, Purpose::Denoise, 2, 12)).unwrap();
    let mut args = tiny(folder.path(), &halves, Purpose::Denoise, 2, 12);
    args.stop_after = Some(5);
    train(&args).unwrap();
    args.stop_after = None;
    train(&args).unwrap();
    let [a, b] = [whole, halves].map(|run| Checkpoint::<RestorationArch>::load(&run).unwrap().unwrap());
    assert!(a.weights == b.weights && a.states == b.states, "a resumed run drifted");
    assert_eq!(a.arch.task, Task::Denoise);
    // A codec's run is not a denoiser's.
    let codec = super::runs::args(folder.path(), &args.run, 20);
    assert!(format!("{:#}", train(&codec).unwrap_err()).contains("run of another kind"));
}
