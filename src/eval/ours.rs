//! Our own codec as a contender: this very program, run as a user runs it.

use std::path::Path;

use anyhow::{Context, Result};
use image::{ImageFormat, RgbImage};
use sha2::{Digest, Sha256};

use super::contender::{Contender, Pixels, Tool, hex};

/// One way to encode.
#[derive(Debug, Clone)]
pub struct Variant {
    /// The name that reports use.
    pub name: String,
    /// The model as `--model` takes it; the default model, if left out.
    pub model: Option<String>,
    /// Whether that is the path of a model file, which the decoder needs too.
    pub model_is_file: bool,
    /// The model's id and name, for people.
    pub model_label: String,
    /// The size of the model's file.
    pub model_bytes: u64,
    /// What `--effort` is given; nothing, if left out.
    pub effort: Option<u32>,
}

/// The contender `program compress`, `program decompress`. Its version holds a
/// digest of what it makes of a small picture, so that a changed encoder is not
/// taken for the old one.
pub fn ours(program: &Path, variant: Variant, qualities: Vec<f64>) -> Result<Contender> {
    let mut encode = vec!["compress", "{threads}", "-q", "{q}"];
    let mut decode = vec!["decompress", "{threads}"];
    let model = variant.model.as_deref();
    if let Some(model) = model {
        encode.extend(["--model", model]);
        if variant.model_is_file {
            decode.extend(["--model", model]);
        }
    }
    let effort = variant.effort.map(|effort| effort.to_string());
    if let Some(effort) = &effort {
        encode.extend(["--effort", effort]);
    }
    for tool in [&mut encode, &mut decode] {
        tool.extend(["--force", "{in}", "{out}"]);
    }
    let tool = |arguments: &[&str]| Tool {
        program: program.to_path_buf(),
        arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
        one_thread: vec!["--threads".into(), "1".into()],
        all_threads: Vec::new(),
    };
    let mut contender = Contender {
        name: variant.name,
        about: match &effort {
            Some(effort) => format!("model {}, effort {effort}", variant.model_label),
            None => format!("model {}", variant.model_label),
        },
        version: env!("CARGO_PKG_VERSION").into(),
        encoder: tool(&encode),
        decoder: tool(&decode),
        extension: "aec",
        pixels: [Pixels::Pnm, Pixels::Pnm],
        settings: qualities,
        bounds: (0.0, 100.0),
        whole: false,
        model_bytes: Some(variant.model_bytes),
    };
    let digest = probe(&contender).with_context(|| format!("cannot run {}", contender.name))?;
    contender.version += &format!("+{digest}");
    Ok(contender)
}

/// A digest of a small picture's pixels after coding at three qualities.
fn probe(contender: &Contender) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let picture = RgbImage::from_fn(96, 80, |x, y| {
        let texture = (x * x + 3 * y * y + 5 * x * y) % 61 + if (x / 16 + y / 16) % 2 == 0 { 90 } else { 30 };
        [texture + y, texture + x / 2, 2 * texture / 3 + 20].map(|v| v as u8).into()
    });
    let file = folder.path().join("probe.ppm");
    picture.save_with_format(&file, ImageFormat::Pnm)?;
    let mut hash = Sha256::new();
    for setting in [10.0, 50.0, 90.0] {
        let trial = contender.run(&file, true, setting, folder.path())?;
        hash.update(trial.bytes.to_le_bytes());
        hash.update(trial.decoded.as_bytes());
    }
    Ok(hex(&hash.finalize()[..4]))
}
