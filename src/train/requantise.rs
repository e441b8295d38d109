//! Gives a model two quantisers (`model::trellis`): wider steps, and tables fitted to what
//! it then codes. Its networks stay as they are.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use image::DynamicImage;
use rayon::prelude::*;

use super::dataset::picture_files;
use super::fit::Counts;
use super::import::read_model;
use super::release::{RATE_INDICES, linear_map, quality_map, save};
use crate::codec::{DecodeOptions, EncodeOptions, PreparedModel, encode, symbols};
use crate::entropy::ScaleTables;
use crate::model::quality::LOG2_BITS;
use crate::model::{Model, ModelId, QualityIndex};

/// log2 of the steps of one of two quantisers in those of a single one, in 1/1024:
/// 1.4 times. 1.25 and 1.55 are no better.
const SPACING: i16 = 497;
/// Each fit changes what the next one sees.
const ROUNDS: usize = 2;
/// Half of the symbols that are counted are a search's, which has more zeros.
const EFFORTS: [u8; 2] = [0, 2];

/// Give a model of one quantiser two, with tables fitted to held-out pictures
#[derive(Debug, Clone, clap::Args)]
pub struct RequantiseArgs {
    /// The model file to start from
    #[arg(long)]
    pub from: PathBuf,
    /// Folder of held-out pictures, for the tables and the quality scale
    #[arg(long)]
    pub val: PathBuf,
    /// Pictures of the folder to use
    #[arg(long, default_value_t = 50)]
    pub pictures: usize,
    /// The file to write
    pub output: PathBuf,
}

/// Reads a model, writes what [`dependent`] makes of it.
pub fn requantise(args: &RequantiseArgs) -> Result<()> {
    let (model, _) = read_model(&args.from)?;
    let model = dependent(model, &pictures(&args.val, args.pictures)?)?;
    save(&args.output, &model.write())
}

fn pictures(folder: &Path, count: usize) -> Result<Vec<DynamicImage>> {
    picture_files(folder)?.iter().take(count).map(|path| Ok(image::open(path)?.to_rgb8().into())).collect()
}

/// The same networks with two quantisers.
pub fn dependent(mut model: Model, pictures: &[DynamicImage]) -> Result<Model> {
    if model.is_dependent() {
        anyhow::bail!("the model has two quantisers already");
    }
    let octave = 1 << LOG2_BITS;
    for step in &mut model.y_step_log2 {
        *step = (*step + SPACING).min(14 * octave);
    }
    model.quality_map = linear_map();
    let prior = ScaleTables::dependent();
    model.tables = prior.clone();
    let mut rates = Vec::new();
    for _ in 0..ROUNDS {
        let (counts, sizes) = count(&model, &prior, pictures)?;
        model.tables = counts.tables()?;
        rates = RATE_INDICES.iter().map(|&index| f64::from(index)).zip(sizes).collect();
    }
    model.quality_map = quality_map(&rates);
    Ok(model)
}

/// log2 of the steps that a model's latents would have with one quantiser.
pub fn scalar_steps(model: &Model) -> Vec<i16> {
    let spacing = if model.is_dependent() { SPACING } else { 0 };
    model.y_step_log2.iter().map(|step| step - spacing).collect()
}

/// Symbols of each table's entries, and at each of [`RATE_INDICES`] the mean bits per
/// pixel at effort 0.
fn count<'a>(
    model: &Model,
    prior: &'a ScaleTables,
    pictures: &[DynamicImage],
) -> Result<(Counts<'a>, [f64; RATE_INDICES.len()])> {
    let bytes = model.write();
    let prepared = PreparedModel::new(Model::read(&bytes)?, ModelId::of(&bytes));
    let jobs: Vec<(&DynamicImage, usize)> =
        pictures.iter().flat_map(|picture| (0..RATE_INDICES.len()).map(move |i| (picture, i))).collect();
    let nothing = || (Counts::new(prior), [0.0; RATE_INDICES.len()]);
    jobs.into_par_iter()
        .map(|(picture, i)| {
            let (mut counts, mut sizes) = nothing();
            let quality = prepared_quality(model, RATE_INDICES[i]);
            for effort in EFFORTS {
                let options = EncodeOptions {
                    quality,
                    effort,
                    model: Some(Arc::clone(&prepared)),
                    ..Default::default()
                };
                let file = encode(picture, &options)?;
                if effort == 0 {
                    let area = f64::from(picture.width()) * f64::from(picture.height());
                    sizes[i] = file.len() as f64 * 8.0 / area / pictures.len() as f64;
                }
                let options = DecodeOptions { models: vec![Arc::clone(&prepared)], ..Default::default() };
                for (bin, symbol) in symbols(&file, &options)? {
                    counts.add(bin.into(), symbol.into());
                }
            }
            Ok((counts, sizes))
        })
        .try_reduce(nothing, |(counts, mut sizes), (more, larger)| {
            sizes.iter_mut().zip(larger).for_each(|(a, b)| *a += b);
            Ok((counts.merge(&more), sizes))
        })
}

/// A quality that the model maps to `index`.
fn prepared_quality(model: &Model, index: u8) -> f32 {
    (0..=25600)
        .map(|q| q as f32 / 256.0)
        .find(|q| model.quality_index(*q) == Some(QualityIndex(index)))
        .expect("a linear map reaches every index")
}
