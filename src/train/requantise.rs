//! Gives a model two quantisers (`model::trellis`), and fits to what it then codes what is not
//! in its networks, which stay as they are: how hyper-latents are predicted and distributed,
//! and the tables.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use image::DynamicImage;
use rayon::prelude::*;

use super::dataset::picture_files;
use super::fit::Counts;
use super::hyper_fit::{HyperCounts, predictions};
use super::import::read_model;
use super::release::{RATE_INDICES, linear_map, model_file, quality_map, save};
use crate::codec::training::coded_hyper_latents;
use crate::codec::{DecodeOptions, EncodeOptions, PreparedModel, encode, symbols};
use crate::entropy::ScaleTables;
use crate::model::quality::LOG2_BITS;
use crate::model::trellis::{DEPENDENT_256, SCALAR};
use crate::model::{Model, ModelId, QualityIndex};
use crate::nn::Tensor;

/// log2 of the steps of one of two quantisers in those of a single one, in 1/1024:
/// 1.4 times. 1.25 and 1.55 are no better.
pub(super) const SPACING: i16 = 497;
/// The efforts whose symbols are counted for each fit, which changes what the next one sees. In
/// the end half of them are a search's, which has more zeros.
const ROUNDS: [&[u8]; 3] = [&[0], &[0], &[0, 2]];

/// A model, and the held-out pictures that it is fitted to
#[derive(Debug, Clone, clap::Args)]
pub struct FitArgs {
    /// The model file to start from
    #[arg(long)]
    pub from: PathBuf,
    /// Folder of held-out pictures
    #[arg(long)]
    pub val: PathBuf,
    /// Pictures of the folder to use
    #[arg(long, default_value_t = 50)]
    pub pictures: usize,
    /// The file to write
    pub output: PathBuf,
}

/// Reads a model, writes what [`dependent`] makes of it.
pub fn requantise(args: &FitArgs) -> Result<()> {
    let (model, _) = read_model(&args.from)?;
    let model = dependent(model, &pictures(&args.val, args.pictures)?)?;
    save(&args.output, &model_file(model))
}

/// The first pictures of a folder.
pub fn pictures(folder: &Path, count: usize) -> Result<Vec<DynamicImage>> {
    picture_files(folder)?.iter().take(count).map(|path| Ok(image::open(path)?.to_rgb8().into())).collect()
}

/// The same networks with two quantisers, and with all else fitted to what is coded. A model
/// that has two keeps its steps.
pub fn dependent(mut model: Model, pictures: &[DynamicImage]) -> Result<Model> {
    if model.trellis == SCALAR {
        let octave = 1 << LOG2_BITS;
        for step in &mut model.y_step_log2 {
            *step = (*step + SPACING).min(14 * octave);
        }
        model.tables = ScaleTables::dependent();
    }
    model.trellis = DEPENDENT_256;
    model.quality_map = linear_map();
    model.z_prediction = Vec::new();
    model.z_prediction = predictions(&model, &hyper_latents(&model, pictures)?);
    let prior = ScaleTables::dependent();
    let mut rates = Vec::new();
    for efforts in ROUNDS {
        let seen = observe(&model, &prior, pictures, efforts)?;
        model.z_scale_log2 = seen.hyper.scales(&model);
        model.tables = seen.all.tables()?;
        rates = RATE_INDICES.iter().map(|&index| f64::from(index)).zip(seen.rates).collect();
    }
    model.quality_map = quality_map(&rates);
    Ok(model)
}

/// log2 of the steps that a model's latents would have with one quantiser.
pub fn scalar_steps(model: &Model) -> Vec<i16> {
    let spacing = if model.trellis == SCALAR { 0 } else { SPACING };
    model.y_step_log2.iter().map(|step| step - spacing).collect()
}

/// A model as its file would be read.
pub fn prepared(model: &Model) -> Result<Arc<PreparedModel>> {
    let bytes = model.write();
    Ok(PreparedModel::new(Model::read(&bytes)?, ModelId::of(&bytes)))
}

/// Every picture at every one of [`RATE_INDICES`].
fn jobs(pictures: &[DynamicImage]) -> Vec<(&DynamicImage, usize)> {
    pictures.iter().flat_map(|picture| (0..RATE_INDICES.len()).map(move |i| (picture, i))).collect()
}

/// The hyper-latents of all pictures at all of [`RATE_INDICES`].
fn hyper_latents(model: &Model, pictures: &[DynamicImage]) -> Result<Vec<(QualityIndex, Tensor)>> {
    let prepared = prepared(model)?;
    let of_jobs = jobs(pictures).into_par_iter().map(|(picture, i)| {
        let quality = QualityIndex(RATE_INDICES[i]);
        let tiles = coded_hyper_latents(picture, &prepared, quality)?;
        Ok(tiles.into_iter().map(|z_hat| (quality, z_hat)).collect::<Vec<_>>())
    });
    Ok(of_jobs.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

/// What was coded.
struct Seen<'a> {
    /// All symbols.
    all: Counts<'a>,
    /// Those of hyper-latents.
    hyper: HyperCounts,
    /// At each of [`RATE_INDICES`] the mean bits per pixel at effort 0.
    rates: [f64; RATE_INDICES.len()],
}

/// Codes all pictures at all of [`RATE_INDICES`].
fn observe<'a>(
    model: &Model,
    prior: &'a ScaleTables,
    pictures: &[DynamicImage],
    efforts: &[u8],
) -> Result<Seen<'a>> {
    let prepared = prepared(model)?;
    let n = model.arch.hyper_latents;
    let nothing =
        || Seen { all: Counts::new(prior), hyper: HyperCounts::new(n), rates: [0.0; RATE_INDICES.len()] };
    jobs(pictures)
        .into_par_iter()
        .map(|(picture, i)| {
            let mut seen = nothing();
            let quality = prepared_quality(model, RATE_INDICES[i]);
            for &effort in efforts {
                let options = EncodeOptions {
                    quality,
                    effort,
                    model: Some(Arc::clone(&prepared)),
                    ..Default::default()
                };
                let file = encode(picture, &options)?;
                if effort == 0 {
                    let area = f64::from(picture.width()) * f64::from(picture.height());
                    seen.rates[i] = file.len() as f64 * 8.0 / area / pictures.len() as f64;
                }
                let options = DecodeOptions { models: vec![Arc::clone(&prepared)], ..Default::default() };
                for symbol in symbols(&file, &options)? {
                    seen.all.add(symbol.bin.into(), symbol.value.into());
                    if symbol.hyper {
                        seen.hyper.add(i, symbol.index % n, symbol.value);
                    }
                }
            }
            Ok(seen)
        })
        .try_reduce(nothing, |mut seen, more| {
            seen.rates.iter_mut().zip(more.rates).for_each(|(a, b)| *a += b);
            Ok(Seen { all: seen.all.merge(&more.all), hyper: seen.hyper.merge(more.hyper), ..seen })
        })
}

/// A quality that the model maps to `index`.
fn prepared_quality(model: &Model, index: u8) -> f32 {
    (0..=25600)
        .map(|q| q as f32 / 256.0)
        .find(|q| model.quality_index(*q) == Some(QualityIndex(index)))
        .expect("a linear map reaches every index")
}
