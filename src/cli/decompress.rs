//! `aecodec decompress`: `.aec` files to pictures.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;

use aecodec::DecodeOptions;

use super::paths::{Conversion, InputsOutput, Job, plan};
use super::{batch, model, picture};

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
}

impl DecompressArgs {
    /// Decompresses every input.
    pub fn run(self) -> Result<()> {
        let models = self.model.as_deref().map(model::read).transpose()?.into_iter().collect();
        let options = DecodeOptions { models, ..DecodeOptions::default() };
        let conversion = Conversion { wanted: is_aec, what: ".aec files", extension: "png" };
        let jobs = plan(&self.io.inputs, &self.io.output, conversion)?;
        batch::run(&jobs, "decompress", |job| self.decompress(job, &options))
    }

    fn decompress(&self, job: &Job, options: &DecodeOptions) -> Result<String> {
        let format = picture::output_format(&job.output)?;
        job.output.check(self.io.force)?;
        let picture = aecodec::decode(&job.input.read()?, options)?;
        job.output.write(&picture::write(&picture, format)?, self.io.force)?;
        Ok(format!("{}: {}x{} from {}", job.output, picture.width(), picture.height(), job.input))
    }
}

fn is_aec(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("aec"))
}
