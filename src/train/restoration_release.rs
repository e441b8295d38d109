//! `aecodec export` for denoisers and enlargers: converts a run, measures what
//! the integers cost, and writes the model file.

use std::sync::Arc;

use anyhow::Result;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rayon::prelude::*;

use super::calibrate::{Ranges, probe};
use super::checkpoint::Checkpoint;
use super::degrade::{Degradation, Example, example};
use super::export;
use super::release::{ExportArgs, save};
use super::restoration::{ANY, Restoration};
use super::restoration_run::{held_out, psnr};
use crate::model::restoration::PART;
use crate::model::{ModelId, RestorationArch, RestorationModel, Task};
use crate::restore::samples::{BITS, Samples};
use crate::restore::{DenoiseOptions, Restorer, Sigma, UpscaleOptions, denoise_samples, upscale_samples};

/// Exports, reports on stderr, writes the file. Returns the PSNR of the float
/// network and of the integers, in dB, for each look at the pictures.
pub fn release(args: &ExportArgs) -> Result<Vec<[f64; 2]>> {
    let checkpoint = export::checkpoint::<RestorationArch>(&args.run)?;
    let task = checkpoint.arch.task;
    let pictures = held_out(&args.val, args.pictures)?;
    let (unseen, seen) = pictures.split_at(pictures.len() / 2);
    let ranges = calibrate(&checkpoint, seen)?;
    let name = args.name.clone().unwrap_or_else(|| task.name());
    let (model, formats) = export::convert_restoration(&checkpoint, &name, &ranges)?;
    let found = calibrate(&checkpoint, unseen)?;
    let (clipped, values) = formats.iter().fold((0, 0), |(clipped, values), (path, bits)| {
        let (c, v) = found.clipped(path, *bits);
        (clipped + c, values + v)
    });
    eprintln!(
        "step {}: {clipped} of {values} activations clipped on the {} pictures that did not set the ranges",
        checkpoint.step,
        unseen.len()
    );
    let bytes = model.write();
    let restorer = Restorer::new(RestorationModel::read(&bytes)?, ModelId::of(&bytes))?;
    let floats = Restoration::averaged(&checkpoint)?;
    let mut losses = Vec::new();
    for look in Degradation::looks(task) {
        let loss = loss(&floats, &restorer, &pictures, look)?;
        eprintln!("float {:.3} dB, integer {:.3} dB ({:+.3} dB)", loss[0], loss[1], loss[1] - loss[0]);
        losses.push(loss);
    }
    save(&args.output, &bytes)?;
    Ok(losses)
}

/// The values that the network's tensors take on pictures, degraded in every way.
fn calibrate(checkpoint: &Checkpoint<RestorationArch>, pictures: &[Samples]) -> Result<Ranges> {
    let arch = &checkpoint.arch;
    let examples: Vec<Example> = pictures
        .par_iter()
        .enumerate()
        .flat_map_iter(|(i, picture)| {
            let mut rng = StdRng::seed_from_u64(i as u64);
            let looks = Degradation::looks(arch.task).into_iter();
            let drawn = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0].map(|p| Degradation::draw(arch.task, &mut rng, p));
            let mut list = Vec::new();
            for look in looks.chain(drawn) {
                list.push(example(arch, picture, look, &mut rng));
            }
            list
        })
        .collect();
    let layers = arch.layers();
    let params = &checkpoint.states[PART].ema;
    let found: Vec<Ranges> = examples
        .into_par_iter()
        .map(|example| probe(&layers, example.geometry, ANY, params, example.input).1)
        .collect();
    let mut all = Ranges::default();
    found.into_iter().for_each(|ranges| all.merge(ranges));
    Ok(all)
}

/// The same pictures through the float network and through the integers.
fn loss(
    floats: &Restoration,
    restorer: &Arc<Restorer>,
    pictures: &[Samples],
    look: Degradation,
) -> Result<[f64; 2]> {
    let found = pictures
        .par_iter()
        .enumerate()
        .map(|(i, picture)| {
            let rng = || StdRng::seed_from_u64(i as u64);
            let (degraded, loss, levels) = look.apply(&mut rng(), picture);
            let model = Some(Arc::clone(restorer));
            let restored = match floats.arch.task {
                Task::Denoise => {
                    let sigma = Sigma::Uniform(f32::from(levels.at(0)) / (1 << BITS) as f32);
                    let options = DenoiseOptions { noise: loss.into(), sigma, model, ..Default::default() };
                    denoise_samples(&degraded, &options)?.0
                }
                Task::Upscale(factor) => {
                    upscale_samples(&degraded, &UpscaleOptions { factor, model, ..Default::default() })?
                }
            };
            let example = example(&floats.arch, picture, look, &mut rng());
            let float = psnr(floats.forward(&[example])?.1.to_vec1::<f32>()?[0]);
            let square: f64 = restored
                .rgb
                .iter()
                .zip(&picture.rgb)
                .map(|(a, b)| (f64::from(a - b) / f64::from(1 << BITS)).powi(2))
                .sum();
            Ok([float, psnr((square / picture.rgb.len() as f64) as f32)])
        })
        .collect::<Result<Vec<[f64; 2]>>>()?;
    let mean = |i: usize| found.iter().map(|f| f[i]).sum::<f64>() / found.len() as f64;
    Ok([mean(0), mean(1)])
}
