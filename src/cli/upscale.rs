//! `aecodec upscale`: larger pictures.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use aecodec::restore::{UpscaleOptions, upscale};

use super::limits::LimitArgs;
use super::paths::{Conversion, InputsOutput, Job, plan};
use super::picture;
use super::{batch, model};

/// Enlarge pictures; the output's extension says in which format
#[derive(Debug, Args)]
#[command(override_usage = "aecodec upscale [OPTIONS] <IN>... <OUT>")]
pub struct UpscaleArgs {
    /// Where to read and to write
    #[command(flatten)]
    io: InputsOutput,
    /// How many times the width and the height: 2, 3 or 4
    #[arg(short = 'x', long, default_value = "2", value_name = "N", value_parser = parse_factor)]
    factor: usize,
    /// The model file to enlarge with, instead of those of this program
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// What an enlarged picture may cost
    #[command(flatten)]
    limits: LimitArgs,
}

impl UpscaleArgs {
    /// Enlarges every input.
    pub fn run(self) -> Result<()> {
        let model = self.model.as_deref().map(model::restorer).transpose()?;
        let options = UpscaleOptions { factor: self.factor, limits: self.limits.limits(), model };
        let conversion = Conversion { wanted: picture::is_picture, what: "pictures", extension: "png" };
        let jobs = plan(&self.io.inputs, &self.io.output, conversion)?;
        batch::run(&jobs, "enlarge", |job| one(job, &options, self.io.force))
    }
}

fn one(job: &Job, options: &UpscaleOptions, force: bool) -> Result<String> {
    let format = picture::output_format(&job.output)?;
    job.output.check(force)?;
    let mut picture = picture::read(&job.input, &job.input.read()?, &options.limits, false)?;
    picture.pixels = upscale(&picture.pixels, options)?;
    job.output.write(&picture::write(&mut picture, format)?, force)?;
    let (width, height) = (picture.pixels.width(), picture.pixels.height());
    let line = format!("{}: {width}x{height} from {}", job.output, job.input);
    Ok(batch::with_notes(line, &picture.notes))
}

fn parse_factor(text: &str) -> Result<usize, String> {
    match text {
        "2" | "3" | "4" => Ok(text.parse().expect("a digit")),
        _ => Err("pictures are enlarged 2, 3 or 4 times".into()),
    }
}
