//! Our own codec as a contender, in process.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use image::RgbImage;

use super::sweep::{Contender, Sample, Trial};
use crate::{DecodeOptions, EncodeOptions};

/// This crate's codec. Times are those of [`crate::encode`] and
/// [`crate::decode`], on the threads of rayon's current pool.
#[derive(Debug)]
pub struct Aecodec {
    options: EncodeOptions,
    decode_options: DecodeOptions,
    qualities: Vec<f64>,
}

impl Aecodec {
    /// Encodes with `options`, whose quality is replaced by each of `qualities`
    /// in turn. Codes one small picture first: preparing the networks is part
    /// of no measurement.
    pub fn new(options: EncodeOptions, qualities: Vec<f64>) -> Result<Aecodec> {
        let models = options.model.iter().cloned().collect();
        let decode_options = DecodeOptions { models, ..DecodeOptions::default() };
        let coded = crate::encode(&RgbImage::new(16, 16).into(), &options)?;
        crate::decode(&coded, &decode_options)?;
        Ok(Aecodec { options, decode_options, qualities })
    }
}

impl Contender for Aecodec {
    fn name(&self) -> String {
        "aecodec".into()
    }

    fn settings(&self) -> &[f64] {
        &self.qualities
    }

    fn run(&self, sample: &Sample, setting: f64, folder: &Path) -> Result<Trial> {
        let options = EncodeOptions { quality: setting as f32, ..self.options.clone() };
        let start = Instant::now();
        let coded = crate::encode(&sample.picture, &options)?;
        let encode = start.elapsed();

        let file = folder.join("coded.aec");
        fs::write(&file, coded)?;
        let coded = fs::read(&file)?;

        let start = Instant::now();
        let decoded = crate::decode(&coded, &self.decode_options)?;
        let decode = start.elapsed();
        Ok(Trial { bytes: coded.len() as u64, decoded, encode, decode })
    }
}
