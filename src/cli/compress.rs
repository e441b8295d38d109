//! `aecodec compress`: pictures to `.aec` files.

use anyhow::Result;
use clap::Args;

use aecodec::EncodeOptions;
use aecodec::codec::{DEFAULT_EFFORT, DEFAULT_QUALITY, MAX_EFFORT};
use aecodec::eval::bits_per_pixel;
use aecodec::model::MAX_QUALITY;
use aecodec::restore::DenoiseOptions;

use super::denoise::{self, SigmaArg, parse_sigma};
use super::limits::LimitArgs;
use super::paths::{Conversion, InputsOutput, Job, plan};
use super::picture::{self, Picture};
use super::{batch, model, within};

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
    /// How long to look for a smaller file and a better picture: 0 not at all, 1 half a second a megapixel, 2 two seconds, 9 some 90
    #[arg(short, long, default_value_t = DEFAULT_EFFORT, value_name = "0..9", value_parser = clap::value_parser!(u8).range(..=i64::from(MAX_EFFORT)))]
    pub effort: u8,
    /// The model to encode with: a name, or a model file
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// Compress alpha too, at this quality; it is kept without loss otherwise
    #[arg(long, value_name = "0..100", value_parser = parse_quality)]
    pub alpha_quality: Option<f32>,
    /// Remove noise first, of this standard deviation or as estimated: what is
    /// not noise then costs fewer bits
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "auto", value_parser = parse_sigma)]
    pub denoise: Option<SigmaArg>,
    /// Turn pictures upright and drop Exif and XMP; colour profiles stay, the
    /// usual ones in short form
    #[arg(long)]
    pub strip: bool,
    /// What a picture may cost
    #[command(flatten)]
    pub limits: LimitArgs,
}

impl CompressArgs {
    /// Compresses every input.
    pub fn run(self) -> Result<()> {
        let model = self.model.as_deref().map(model::load).transpose()?;
        let options = EncodeOptions {
            quality: self.quality,
            effort: self.effort,
            alpha_quality: self.alpha_quality,
            model,
            ..EncodeOptions::default()
        };
        let conversion = Conversion { wanted: picture::is_picture, what: "pictures", extension: "aec" };
        let jobs = plan(&self.io.inputs, &self.io.output, conversion)?;
        batch::run(&jobs, "compress", |job| self.compress(job, &options))
    }

    fn compress(&self, job: &Job, options: &EncodeOptions) -> Result<String> {
        job.output.check(self.io.force)?;
        let bytes = job.input.read()?;
        let Picture { mut pixels, metadata, mut notes } =
            picture::read(&job.input, &bytes, &self.limits.limits(), self.strip)?;
        if let Some(sigma) = self.denoise {
            let options =
                DenoiseOptions { sigma: sigma.into(), limits: self.limits.limits(), ..Default::default() };
            notes.push(format!("denoised: {}", denoise::apply(&mut pixels, &options)?));
        }
        let coded = aecodec::encode(&pixels, &EncodeOptions { metadata, ..options.clone() })?;
        job.output.write(&coded, self.io.force)?;
        let line = format!(
            "{}: {} bytes, {:.3} bpp, {:.1} % of {}",
            job.output,
            coded.len(),
            bits_per_pixel(coded.len() as u64, pixels.width(), pixels.height()),
            100.0 * coded.len() as f64 / bytes.len() as f64,
            job.input,
        );
        Ok(batch::with_notes(line, &notes))
    }
}

/// A quality, as typed.
pub fn parse_quality(text: &str) -> Result<f32, String> {
    within(text, f32::from(MAX_QUALITY))
}
