//! `aecodec upscale`: larger pictures.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use aecodec::restore::{UpscaleOptions, upscale};

use super::limits::LimitArgs;
use super::paths::{Conversion, InputsOutput, plan};
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
        batch::run(&jobs, "enlarge", |job| {
            picture::rework(job, &options.limits, self.io.force, |pixels| {
                *pixels = upscale(pixels, &options)?;
                Ok(String::new())
            })
        })
    }
}

fn parse_factor(text: &str) -> Result<usize, String> {
    match text {
        "2" | "3" | "4" => Ok(text.parse().expect("a digit")),
        _ => Err("pictures are enlarged 2, 3 or 4 times".into()),
    }
}
