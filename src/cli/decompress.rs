//! `aecodec decompress`: `.aec` files to pictures.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;

use aecodec::{DecodeOptions, Region, Scale};

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
    /// Decompress these pixels only, which takes the time of the tiles they lie in
    #[arg(long, value_name = "X,Y,WIDTH,HEIGHT", value_parser = parse_region)]
    pub region: Option<Region>,
    /// Decompress smaller: 1/2, 1/4 or 1/8 of the width and height
    #[arg(long, value_name = "1/N", default_value = "1", value_parser = parse_scale)]
    pub scale: Scale,
    /// What a picture may cost
    #[command(flatten)]
    pub limits: LimitArgs,
}

impl DecompressArgs {
    /// Decompresses every input.
    pub fn run(self) -> Result<()> {
        let models = self.model.as_deref().map(model::read).transpose()?.into_iter().collect();
        let options =
            DecodeOptions { models, limits: self.limits.limits(), region: self.region, scale: self.scale };
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

fn parse_region(text: &str) -> Result<Region, String> {
    let numbers: Option<Vec<u32>> = text.split(',').map(|number| number.trim().parse().ok()).collect();
    match numbers.as_deref() {
        Some(&[x, y, width, height]) => Ok(Region { x, y, width, height }),
        _ => Err("not four numbers: x,y,width,height".into()),
    }
}

fn parse_scale(text: &str) -> Result<Scale, String> {
    [Scale::Full, Scale::Half, Scale::Quarter, Scale::Eighth]
        .into_iter()
        .find(|scale| text == format!("1/{}", scale.divisor()) || (*scale == Scale::Full && text == "1"))
        .ok_or_else(|| "not 1, 1/2, 1/4 or 1/8".into())
}

fn is_aec(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("aec"))
}
