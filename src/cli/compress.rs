//! `aecodec compress`: pictures to `.aec` files.

use anyhow::Result;
use clap::Args;

use aecodec::EncodeOptions;
use aecodec::codec::DEFAULT_QUALITY;
use aecodec::eval::bits_per_pixel;

use super::paths::{Conversion, InputsOutput, Job, plan};
use super::{batch, model, picture};

/// Compress pictures
#[derive(Debug, Args)]
#[command(override_usage = "aecodec compress [OPTIONS] <IN>... <OUT>")]
pub struct CompressArgs {
    /// Where to read and to write
    #[command(flatten)]
    pub io: InputsOutput,
    /// 0 is the smallest file, 100 the best picture
    #[arg(short, long, default_value_t = DEFAULT_QUALITY, value_name = "0..100", value_parser = parse_quality)]
    pub quality: f32,
    /// The model to encode with: a name, or a model file
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// Turn pictures upright and drop their colour profile and metadata
    #[arg(long)]
    pub strip: bool,
}

impl CompressArgs {
    /// Compresses every input.
    pub fn run(self) -> Result<()> {
        let model = self.model.as_deref().map(model::load).transpose()?;
        let options = EncodeOptions { quality: self.quality, model };
        let conversion = Conversion { wanted: picture::is_picture, what: "pictures", extension: "aec" };
        let jobs = plan(&self.io.inputs, &self.io.output, conversion)?;
        batch::run(&jobs, "compress", |job| self.compress(job, &options))
    }

    fn compress(&self, job: &Job, options: &EncodeOptions) -> Result<String> {
        job.output.check(self.io.force)?;
        let bytes = job.input.read()?;
        let picture = picture::read(&job.input, &bytes, self.strip)?;
        let coded = aecodec::encode(&picture, options)?;
        job.output.write(&coded, self.io.force)?;
        Ok(format!(
            "{}: {} bytes, {:.3} bpp, {:.1} % of {}",
            job.output,
            coded.len(),
            bits_per_pixel(coded.len() as u64, picture.width(), picture.height()),
            100.0 * coded.len() as f64 / bytes.len() as f64,
            job.input,
        ))
    }
}

/// A quality, as typed.
pub fn parse_quality(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(quality) if (0.0..=100.0).contains(&quality) => Ok(quality),
        Ok(_) => Err("not within 0..100".into()),
        Err(error) => Err(error.to_string()),
    }
}
