//! `aecodec decompress`: `.aec` files to pictures.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;

use aecodec::DecodeOptions;

use super::limits::LimitArgs;
use super::paths::{Conversion, InputsOutput, Job, plan};
use super::picture::{self, Picture};
use super::{batch, model};

/// Decompress .aec files; the output's extension says in which format
#[derive(Debug, Args)]
#[command(override_usage = "aecodec decompress [OPTIONS] <IN>... <OUT>")]
pub struct DecompressArgs {
    /// Where to read and to write
    #[command(flatten)]
    pub io: InputsOutput,
    /// The model file of pictures whose model this build lacks
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,
    /// What a picture may cost
    #[command(flatten)]
    pub limits: LimitArgs,
}

impl DecompressArgs {
    /// Decompresses every input.
    pub fn run(self) -> Result<()> {
        let models = self.model.as_deref().map(model::read).transpose()?.into_iter().collect();
        let options = DecodeOptions { models, limits: self.limits.limits() };
        let conversion = Conversion { wanted: is_aec, what: ".aec files", extension: "png" };
        let jobs = plan(&self.io.inputs, &self.io.output, conversion)?;
        batch::run(&jobs, "decompress", |job| self.decompress(job, &options))
    }

    fn decompress(&self, job: &Job, options: &DecodeOptions) -> Result<String> {
        let format = picture::output_format(&job.output)?;
        job.output.check(self.io.force)?;
        let bytes = job.input.read()?;
        let metadata = aecodec::metadata(&bytes, &options.limits)?;
        let mut picture = Picture { pixels: aecodec::decode(&bytes, options)?, metadata, notes: Vec::new() };
        job.output.write(&picture::write(&mut picture, format)?, self.io.force)?;
        let (width, height) = (picture.pixels.width(), picture.pixels.height());
        let line = format!("{}: {width}x{height} from {}", job.output, job.input);
        Ok(batch::with_notes(line, &picture.notes))
    }
}

fn is_aec(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("aec"))
}
