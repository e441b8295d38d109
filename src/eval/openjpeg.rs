//! JPEG 2000 by OpenJPEG, the peer that rates are quoted against.
//!
//! Run at its best settings for PSNR: the irreversible 9/7 wavelet with the
//! colour transform (`-I`), one quality layer, the rate set by `-r`.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::sweep::{Contender, Sample, Trial, pnm_extension};

/// Compression ratios to sweep: from 0.05 to 2.5 bits per pixel of an RGB picture.
const RATIOS: [f64; 8] = [480.0, 240.0, 120.0, 60.0, 34.3, 24.0, 15.0, 9.6];
const ENCODER: &str = "opj_compress";
const DECODER: &str = "opj_decompress";

/// OpenJPEG's two programs, found on `PATH`. Each runs on one thread; times are
/// those of whole processes, files read and written included.
#[derive(Debug)]
pub struct OpenJpeg(());

impl OpenJpeg {
    /// Looks for the programs; the error says which one is missing.
    pub fn find() -> Result<OpenJpeg> {
        for program in [ENCODER, DECODER] {
            // Without arguments both print a complaint and end.
            Command::new(program)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .with_context(|| format!("cannot run {program} (Debian: apt-get install libopenjp2-tools)"))?;
        }
        Ok(OpenJpeg(()))
    }
}

impl Contender for OpenJpeg {
    fn name(&self) -> String {
        "openjpeg".into()
    }

    fn settings(&self) -> &[f64] {
        &RATIOS
    }

    fn run(&self, sample: &Sample, setting: f64, folder: &Path) -> Result<Trial> {
        let coded = folder.join("coded.j2k");
        let decoded = folder.join(format!("decoded.{}", pnm_extension(&sample.picture)));
        for stale in [&coded, &decoded] {
            if stale.exists() {
                fs::remove_file(stale)?;
            }
        }
        let mut encoder = Command::new(ENCODER);
        encoder.arg("-i").arg(&sample.pnm).arg("-o").arg(&coded);
        encoder.arg("-I").arg("-r").arg(setting.to_string());
        let encode = timed(encoder)?;
        let bytes = fs::metadata(&coded).with_context(|| format!("{ENCODER} wrote no file"))?.len();

        let mut decoder = Command::new(DECODER);
        decoder.arg("-i").arg(&coded).arg("-o").arg(&decoded);
        let decode = timed(decoder)?;
        let decoded = image::open(&decoded).with_context(|| format!("cannot read what {DECODER} wrote"))?;
        Ok(Trial { bytes, decoded, encode, decode })
    }
}

/// Runs a program to its end.
fn timed(mut command: Command) -> Result<Duration> {
    let start = Instant::now();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    let time = start.elapsed();
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!("{} failed: {}", command.get_program().display(), complaint.trim());
    }
    Ok(time)
}
