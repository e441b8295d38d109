//! `aecodec export`: converts a run, measures what the integers cost, and
//! writes the model file.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use image::DynamicImage;
use rayon::prelude::*;

use super::calibrate::{Ranges, calibrate};
use super::checkpoint::Checkpoint;
use super::export::Format;
use super::fit::fit;
use super::import::{import, read_model, units};
use super::kernels::Geometry;
use super::model::{Batch, CodecModel, Y_STEP, Z_STEP, anchored, image_of_rows};
use super::quantize::Rounding;
use super::requantise::{dependent, prepared};
use super::{export, validate};
use crate::codec::training::encode_nearest;
use crate::codec::{DecodeOptions, PreparedModel, decode};
use crate::eval::psnr;
use crate::model::{Arch, MAX_QUALITY, Model, ModelId, Part, QualityIndex};

/// Turn a run's checkpoint into a model file of integers, and report what that costs.
#[derive(Debug, Clone, clap::Args)]
pub struct ExportArgs {
    /// The run's folder
    #[arg(long, default_value = "runs/default")]
    pub run: PathBuf,
    /// Folder of validation pictures, for ranges, rates and the report
    #[arg(long)]
    pub val: PathBuf,
    /// Pictures of the folder to use
    #[arg(long, default_value_t = 50)]
    pub pictures: usize,
    /// What people will call the model: "default", or its task if it restores pictures
    #[arg(long)]
    pub name: Option<String>,
    /// The model that the run started from, of `--task synthesis` or with --coded: its networks go into that model
    #[arg(long)]
    pub onto: Option<PathBuf>,
    /// The first quality index that these networks are for; they serve up to the next ones'
    #[arg(long, default_value_t = 0, requires = "onto")]
    pub first_index: u8,
    /// The file to write
    pub output: PathBuf,
}

/// Bits per pixel that quality 5 and quality 90 take on the validation
/// pictures; the ones between are evenly spread in log-rate. Photographs of
/// Kodak's kind, which the scale is stated for, then take 0.07 and 2: they are
/// easier at low rates and harder at high ones.
const RATE_AT: [(f64, f64); 2] = [(5.0, 0.0895), (90.0, 1.875)];
/// Those of a network that serves them all.
const ALL_INDICES: RangeInclusive<u8> = 0..=u8::MAX;
/// Quality indices at which rates are measured for the map.
pub(super) const RATE_INDICES: [u8; 9] = [0, 32, 64, 96, 128, 160, 192, 224, 255];

/// Exports, gives the model two quantisers, writes the file.
pub fn release(args: &ExportArgs) -> Result<()> {
    let pictures = validate::pictures(&args.val, args.pictures)?;
    if let Some(onto) = &args.onto {
        return save(&args.output, &model_file(self::onto(args, onto, &pictures)?));
    }
    let (model, _) = scalar(args, &pictures)?;
    let images: Vec<_> = pictures
        .iter()
        .map(|(geometry, pixels)| DynamicImage::ImageRgb8(image_of_rows(*geometry, pixels)))
        .collect();
    save(&args.output, &model_file(dependent(model, &images)?))
}

/// The run as a model with one quantiser, and what its integers cost at each of
/// `RATE_INDICES`, which is also reported on stderr.
pub fn scalar(args: &ExportArgs, pictures: &[(Geometry, Vec<f32>)]) -> Result<(Model, Vec<Loss>)> {
    let checkpoint = export::checkpoint::<Arch>(&args.run)?;
    let (unseen, seen) = pictures.split_at(pictures.len() / 2);
    let ranges = calibrate(&checkpoint, seen, &ALL_INDICES)?;
    let floats = CodecModel::averaged(&checkpoint)?;
    let tables = fit(&floats, pictures)?;
    let (model, formats) = export::convert(
        &checkpoint,
        args.name.as_deref().unwrap_or("default"),
        &ranges,
        tables,
        linear_map(),
    )?;
    report_clipping(&checkpoint, unseen, &ALL_INDICES, &formats)?;

    let prepared = prepared(&model)?;
    let mut losses = Vec::new();
    for index in RATE_INDICES {
        let loss = integer_loss(&floats, &prepared, pictures, index)?;
        eprintln!("{}", loss.describe(index));
        losses.push(loss);
    }
    Ok((model, losses))
}

/// A model with the networks of a run that started from it, for the quality indices from one on.
/// Of a run of `--task synthesis` these are one transform, and files keep all their bits.
fn onto(args: &ExportArgs, onto: &Path, pictures: &[(Geometry, Vec<f32>)]) -> Result<Model> {
    let (mut model, _) = read_model(onto)?;
    let checkpoint = export::checkpoint::<Arch>(&args.run)?;
    let first = QualityIndex(args.first_index);
    let held = import(&model, first)?.weights;
    let same = |name: &str| checkpoint.states.get(name).is_some_and(|state| state.ema == held[name]);
    if ![Y_STEP, Z_STEP].into_iter().all(same) {
        bail!("{} was not trained on the latents of {}", args.run.display(), onto.display());
    }
    let coding = Part::ALL.into_iter().filter(|part| *part != Part::Synthesis);
    let parts = match coding.clone().all(|part| same(part.name())) {
        true => vec![Part::Synthesis],
        false => Part::ALL.to_vec(),
    };
    let (unseen, seen) = pictures.split_at(pictures.len() / 2);
    let indices = args.first_index..=*model.networks[Part::Synthesis as usize].range(first).end();
    if indices != ALL_INDICES && model.arch != checkpoint.arch {
        bail!("the networks of a model have one shape; {} has another", args.run.display());
    }
    let ranges = calibrate(&checkpoint, seen, &indices)?;
    let (networks, formats) = export::networks(&checkpoint, &ranges, units(&model))?;
    let formats: Vec<Format> = formats.into_iter().filter(|(part, ..)| parts.contains(part)).collect();
    report_clipping(&checkpoint, unseen, &indices, &formats)?;
    // Networks that code together begin at the same indices, those of synthesis transforms.
    let firsts: Vec<QualityIndex> =
        model.networks[Part::Synthesis as usize].iter().map(|(first, _)| first).collect();
    for (part, network) in Part::ALL.into_iter().zip(networks).filter(|(part, _)| parts.contains(part)) {
        let ranges = &mut model.networks[part as usize];
        for &first in &firsts {
            let old = ranges.at(first).clone();
            ranges.set(first, old)?;
        }
        ranges.set(first, Some(network))?;
        ranges.merge();
    }
    model.arch = checkpoint.arch;
    if let Some(name) = &args.name {
        model.name.clone_from(name);
    }
    Ok(model)
}

/// Tells how much is clipped on pictures that did not set the ranges.
fn report_clipping(
    checkpoint: &Checkpoint,
    unseen: &[(Geometry, Vec<f32>)],
    indices: &RangeInclusive<u8>,
    formats: &[Format],
) -> Result<()> {
    let (clipped, values) = clipping(&calibrate(checkpoint, unseen, indices)?, formats);
    eprintln!(
        "step {}: {clipped} of {values} activations clipped on the {} pictures that did not set the ranges",
        checkpoint.step,
        unseen.len()
    );
    Ok(())
}

/// The file of a model, based on another one only where that spares most of it: whoever has the
/// file needs the base as well.
pub fn model_file(mut model: Model) -> Vec<u8> {
    let based = model.write();
    model.base = None;
    let whole = model.write();
    if 2 * based.len() < whole.len() { based } else { whole }
}

/// Writes a model file, whole or not at all, and says what it is.
pub fn save(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file =
        tempfile::NamedTempFile::new_in(path.parent().filter(|p| p.is_dir()).unwrap_or(".".as_ref()))?;
    std::io::Write::write_all(&mut file, bytes)?;
    file.persist(path).with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!("{}: model {} of {} bytes", path.display(), ModelId::of(bytes), bytes.len());
    Ok(())
}

/// How many activations the formats cannot hold, and how many there are.
fn clipping(ranges: &BTreeMap<&'static str, Ranges>, formats: &[Format]) -> (u64, u64) {
    formats.iter().fold((0, 0), |(clipped, values), (part, path, bits)| {
        let (c, v) = ranges.get(part.name()).map_or((0, 0), |ranges| ranges.clipped(path, *bits));
        (clipped + c, values + v)
    })
}

/// Means over pictures at one quality index, of the float network and of the
/// integer codec's files.
pub struct Loss {
    /// Estimated bits per pixel.
    pub float_bpp: f64,
    /// PSNR-RGB in dB, after rounding to bytes.
    pub float_psnr: f64,
    /// Bits per pixel of the files.
    pub bpp: f64,
    /// PSNR-RGB in dB of what the files decode to.
    pub psnr: f64,
}

impl Loss {
    fn describe(&self, index: u8) -> String {
        format!(
            "index {index:3}: float {:.4} bpp (estimated) {:.3} dB, integer {:.4} bpp ({:+.2} %) {:.3} dB ({:+.3} dB)",
            self.float_bpp,
            self.float_psnr,
            self.bpp,
            100.0 * (self.bpp / self.float_bpp - 1.0),
            self.psnr,
            self.psnr - self.float_psnr,
        )
    }
}

/// The same pictures through the float network and the integer codec. The
/// float PSNR is after rounding and clamping to bytes, like the other.
fn integer_loss(
    floats: &CodecModel,
    prepared: &std::sync::Arc<PreparedModel>,
    pictures: &[(Geometry, Vec<f32>)],
    index: u8,
) -> Result<Loss> {
    let sums = pictures
        .par_iter()
        .map(|(geometry, pixels)| {
            let picture = DynamicImage::ImageRgb8(image_of_rows(*geometry, pixels));
            let batch = Batch {
                pixels: pixels.clone(),
                geometry: *geometry,
                qualities: vec![anchored(QualityIndex(index))],
            };
            let outcome = floats.forward(&batch, Rounding::Hard)?;
            let decoded = DynamicImage::ImageRgb8(image_of_rows(*geometry, &floats.decoded(&batch)?));
            let area = f64::from(picture.width() * picture.height());
            let file = encode_nearest(&picture, prepared, QualityIndex(index))?;
            let options = DecodeOptions { models: vec![prepared.clone()], ..Default::default() };
            let back = decode(&file, &options)?;
            let bpp = file.len() as f64 * 8.0 / area;
            let float_bpp = f64::from(outcome.bpp.to_vec1::<f32>()?[0]);
            Ok([float_bpp, psnr(&picture, &decoded)?.rgb, bpp, psnr(&picture, &back)?.rgb])
        })
        .collect::<Result<Vec<[f64; 4]>>>()?;
    let mean = |i: usize| sums.iter().map(|s| s[i]).sum::<f64>() / sums.len() as f64;
    Ok(Loss { float_bpp: mean(0), float_psnr: mean(1), bpp: mean(2), psnr: mean(3) })
}

/// A map that reaches every index.
pub(super) fn linear_map() -> Vec<u8> {
    (0..=u32::from(MAX_QUALITY)).map(|q| (q * 255 / u32::from(MAX_QUALITY)) as u8).collect()
}

/// For each whole quality the index whose rate comes closest in log-rate;
/// strictly what the scale promises where the rates reach, clamped beyond.
pub(super) fn quality_map(rates: &[(f64, f64)]) -> Vec<u8> {
    let [(q0, r0), (q1, r1)] = RATE_AT;
    (0..=MAX_QUALITY)
        .map(|q| {
            let share = (f64::from(q) - q0) / (q1 - q0);
            let wanted = r0.ln() + share * (r1.ln() - r0.ln());
            let next = rates.iter().position(|(_, r)| r.ln() >= wanted).unwrap_or(rates.len() - 1).max(1);
            let ((i0, r0), (i1, r1)) = (rates[next - 1], rates[next]);
            let t = (wanted - r0.ln()) / (r1.ln() - r0.ln());
            (i0 + t * (i1 - i0)).round().clamp(0.0, 255.0) as u8
        })
        .collect()
}
