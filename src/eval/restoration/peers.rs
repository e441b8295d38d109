//! Other methods, in Python: BM3D (the authors' own package) and OpenCV.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::Plane;
use crate::restore::Loss;

/// Runs a method on a file of floats, and prints the seconds it took.
const SCRIPT: &str = include_str!("peers.py");

/// Methods that enlarge.
pub const ENLARGERS: &[&str] = &["Lanczos (OpenCV)"];

/// Methods that deal with this loss.
pub fn denoisers(loss: Loss) -> &'static [&'static str] {
    match loss {
        Loss::None => &["BM3D", "non-local means (OpenCV)"],
        Loss::SaltAndPepper => &[],
        Loss::Masking => &["Telea (OpenCV)"],
    }
}

/// An error where this Python lacks a package.
pub fn runs(python: &Path) -> Result<()> {
    let ran = Command::new(python)
        .args(["-c", "import bm3d, cv2"])
        .output()
        .with_context(|| format!("cannot run {}", python.display()))?;
    let errors = String::from_utf8_lossy(&ran.stderr);
    ensure!(ran.status.success(), "{}", errors.trim().lines().last().unwrap_or("failed"));
    Ok(())
}

/// One method on one picture: the result, and the seconds without the
/// interpreter's start.
pub fn run(
    python: &Path,
    folder: &Path,
    method: &str,
    picture: &Plane,
    sigma: f32,
    factor: usize,
) -> Result<(Plane, f64)> {
    let (input, output) = (folder.join("input.f32"), folder.join("output.f32"));
    let bytes: Vec<u8> = picture.rgb.iter().flat_map(|v| v.to_le_bytes()).collect();
    fs::write(&input, bytes).with_context(|| format!("cannot write {}", input.display()))?;
    let (width, height) = (picture.width, picture.height);
    let ran = Command::new(python)
        .args(["-c", SCRIPT, method])
        .args([&input, &output])
        .args([width.to_string(), height.to_string(), sigma.to_string(), factor.to_string()])
        .output()
        .with_context(|| format!("cannot run {}", python.display()))?;
    if !ran.status.success() {
        bail!("{}", String::from_utf8_lossy(&ran.stderr).trim());
    }
    let printed = String::from_utf8_lossy(&ran.stdout);
    let seconds = printed.trim().parse().with_context(|| format!("printed {printed:?}, not seconds"))?;
    let bytes = fs::read(&output).with_context(|| format!("cannot read {}", output.display()))?;
    let rgb: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    let (width, height) = (width * factor, height * factor);
    ensure!(rgb.len() == width * height * 3, "{} floats for {width}x{height} pixels", rgb.len());
    Ok((Plane { width, height, rgb }, seconds))
}
