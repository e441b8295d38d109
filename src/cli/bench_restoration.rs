//! `aecodec bench --task denoise|upscale`: restored pictures beside other methods.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use image::DynamicImage;

use aecodec::eval::restoration::{Bench, runs};
use aecodec::restore::{DenoiseOptions, UpscaleOptions};

use super::output::Output;
use super::paths::Input;
use super::{batch, model, note, picture, print};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Task {
    /// Rates and qualities of codecs
    Codec,
    /// Denoising
    Denoise,
    /// Enlarging
    Upscale,
}

/// Options of those tasks alone.
#[derive(Debug, Args)]
pub struct RestorationArgs {
    /// The Python that has bm3d and cv2, for denoisers and enlargers to compare with
    #[arg(long, value_name = "FILE", default_value = "python3")]
    python: PathBuf,
    /// The model file of a denoiser or an enlarger, instead of those of this program
    #[arg(long, value_name = "FILE")]
    restorer: Option<PathBuf>,
}

impl RestorationArgs {
    /// Measures on the pictures of a folder, and prints a table in Markdown.
    pub fn run(&self, task: Task, folder: &Path, json: Option<&Path>, force: bool) -> Result<()> {
        if let Some(path) = json {
            Output::File(path.into()).check(force)?;
        }
        let pictures = pictures(folder)?;
        let scratch = tempfile::tempdir().context("cannot create a temporary folder")?;
        let python = match runs(&self.python) {
            Ok(()) => Some((self.python.as_path(), scratch.path())),
            Err(error) => {
                note(&format!("without BM3D and OpenCV: {error:#}"));
                None
            }
        };
        let own = self.restorer.as_deref().map(model::restorer).transpose()?;
        let bar = batch::progress_bar(0);
        let bench = Bench {
            pictures: &pictures,
            denoise: DenoiseOptions { model: own.clone(), ..Default::default() },
            upscale: UpscaleOptions { model: own, ..Default::default() },
            python,
            progress: &|what| {
                bar.tick();
                bar.set_message(what.to_owned());
            },
        };
        let (table, rest) = match task {
            Task::Codec => bail!("codecs are measured elsewhere"),
            Task::Denoise => (bench.denoise()?, Some(bench.estimates()?)),
            Task::Upscale => (bench.upscale()?, None),
        };
        bar.finish_and_clear();
        if let Some(path) = json {
            let text = serde_json::to_string_pretty(&table)? + "\n";
            Output::File(path.into()).write(text.as_bytes(), force)?;
        }
        print(&(table.markdown() + &rest.map_or(String::new(), |rest| format!("\n{rest}"))))
    }
}

/// The pictures of a folder, by name.
fn pictures(folder: &Path) -> Result<Vec<(String, DynamicImage)>> {
    ensure!(folder.is_dir(), "{} is not a folder", folder.display());
    let read = || -> Result<Vec<PathBuf>> {
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()
    };
    let mut files = read().with_context(|| format!("cannot read {}", folder.display()))?;
    files.retain(|path| picture::is_picture(path));
    files.sort();
    ensure!(!files.is_empty(), "{} holds no picture", folder.display());
    files
        .into_iter()
        .map(|path| {
            let read = || picture::read_pixels(&Input::File(path.clone()), &fs::read(&path)?);
            let pixels = read().with_context(|| format!("cannot measure on {}", path.display()))?;
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            Ok((name, pixels))
        })
        .collect()
}
