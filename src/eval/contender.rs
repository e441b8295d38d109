//! A codec that can be measured: two command lines and a list of settings.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use image::DynamicImage;
use sha2::{Digest, Sha256};

use super::process::{self, Usage};

/// A codec, ready to run. Pictures go in and come out as files.
#[derive(Debug, Clone)]
pub struct Contender {
    /// The name that reports use.
    pub name: String,
    /// What it is, in a few words.
    pub about: String,
    /// The version of the program, with whatever else decides its output.
    pub version: String,
    /// From pixels to the coded file.
    pub encoder: Tool,
    /// From the coded file to pixels.
    pub decoder: Tool,
    /// The extension of coded files.
    pub extension: &'static str,
    /// What the encoder reads and the decoder writes.
    pub pixels: [Pixels; 2],
    /// The settings of a sweep.
    pub settings: Vec<f64>,
    /// The settings of the smallest and of the largest file.
    pub bounds: (f64, f64),
    /// Whether settings are whole numbers.
    pub whole: bool,
    /// The size of what it learned from pictures, which comes with the program.
    pub model_bytes: Option<u64>,
}

/// A program and its arguments, in which `{in}`, `{out}` and `{q}` stand for
/// the files and the setting, and the argument `{threads}` for one of two lists.
#[derive(Debug, Clone)]
pub struct Tool {
    /// The program.
    pub program: PathBuf,
    /// All arguments.
    pub arguments: Vec<String>,
    /// `{threads}` for one thread.
    pub one_thread: Vec<String>,
    /// `{threads}` for as many threads as the program likes.
    pub all_threads: Vec<String>,
}

/// Formats that pictures are handed over in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pixels {
    /// PPM, or PGM for grey pictures.
    Pnm,
    /// PNG.
    Png,
}

/// How many threads a program may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// One, where the program can be told so.
    One,
    /// What it does unless told otherwise, or all processors where it can be told so.
    All,
}

/// What a coded picture took.
#[derive(Debug)]
pub struct Trial {
    /// Size of the coded file on disk.
    pub bytes: u64,
    /// The pixels read back from it.
    pub decoded: DynamicImage,
}

impl Pixels {
    /// The extension of a picture's file.
    pub fn extension(self, colour: bool) -> &'static str {
        match (self, colour) {
            (Pixels::Png, _) => "png",
            (Pixels::Pnm, true) => "ppm",
            (Pixels::Pnm, false) => "pgm",
        }
    }
}

impl Tool {
    /// The arguments of one call.
    pub fn call(&self, input: &Path, output: &Path, setting: f64, threads: Threads) -> Vec<OsString> {
        let fill = |argument: &String| -> OsString {
            match argument.as_str() {
                "{in}" => input.into(),
                "{out}" => output.into(),
                other => other.replace("{q}", &setting.to_string()).into(),
            }
        };
        let threads = match threads {
            Threads::One => &self.one_thread,
            Threads::All => &self.all_threads,
        };
        self.arguments
            .iter()
            .flat_map(|argument| {
                if argument == "{threads}" {
                    threads.iter().map(OsString::from).collect()
                } else {
                    vec![fill(argument)]
                }
            })
            .collect()
    }

    /// The call in one line, the program without its folder and without what
    /// sets the number of threads.
    pub fn line(&self) -> String {
        let program = self.program.file_stem().unwrap_or_default().to_string_lossy();
        let mut line = program.into_owned();
        for argument in self.arguments.iter().filter(|argument| *argument != "{threads}") {
            line += " ";
            line += argument;
        }
        line
    }
}

impl Contender {
    /// Codes the file `input` into `folder`, reads the pixels back, and returns
    /// both; each program runs on one thread.
    pub fn run(&self, input: &Path, colour: bool, setting: f64, folder: &Path) -> Result<Trial> {
        let coded = self.coded(folder);
        let decoded = folder.join(format!("decoded.{}", self.pixels[1].extension(colour)));
        for stale in [&coded, &decoded] {
            if stale.exists() {
                std::fs::remove_file(stale)?;
            }
        }
        let encode = self.encoder.call(input, &coded, setting, Threads::One);
        process::run(self.encoder.program.as_os_str(), &encode)?;
        let bytes = std::fs::metadata(&coded).with_context(|| format!("{} wrote no file", self.name))?.len();
        let decode = self.decoder.call(&coded, &decoded, setting, Threads::One);
        process::run(self.decoder.program.as_os_str(), &decode)?;
        let decoded =
            image::open(&decoded).with_context(|| format!("cannot read what {} decoded", self.name))?;
        Ok(Trial { bytes, decoded })
    }

    /// Encodes and decodes once, each as a metered process, and returns what both took.
    pub fn time(
        &self,
        meter: &[OsString],
        input: &Path,
        colour: bool,
        setting: f64,
        folder: &Path,
        threads: Threads,
    ) -> Result<[Usage; 2]> {
        let coded = self.coded(folder);
        let decoded = folder.join(format!("decoded.{}", self.pixels[1].extension(colour)));
        let run = |tool: &Tool, from: &Path, to: &Path| {
            process::run_metered(meter, tool.program.as_os_str(), &tool.call(from, to, setting, threads))
        };
        Ok([run(&self.encoder, input, &coded)?, run(&self.decoder, &coded, &decoded)?])
    }

    fn coded(&self, folder: &Path) -> PathBuf {
        folder.join(format!("coded.{}", self.extension))
    }

    /// What its measurements are cached under: everything that decides them but
    /// the picture and the setting.
    pub fn fingerprint(&self) -> String {
        digest(&[&self.name, &self.version, &self.encoder.line(), &self.decoder.line()])
    }
}

/// The SHA-256 of some texts, shortened to 16 hexadecimal digits.
pub fn digest(parts: &[&str]) -> String {
    hex(&Sha256::digest(parts.join("\n")))[..16].to_owned()
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Names that occur twice would mix two codecs' measurements.
pub fn refuse_equal_names(contenders: &[Contender]) -> Result<()> {
    for (index, contender) in contenders.iter().enumerate() {
        if contenders[..index].iter().any(|other| other.name == contender.name) {
            bail!("two codecs are called '{}'", contender.name);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool() -> Tool {
        Tool {
            program: "/usr/bin/enc".into(),
            arguments: ["{threads}", "-q", "{q}", "--level={q}", "{in}", "{out}"].map(String::from).to_vec(),
            one_thread: vec!["-j".into(), "1".into()],
            all_threads: Vec::new(),
        }
    }

    #[test]
    fn templates_are_filled_in() {
        let call = |threads| tool().call(Path::new("a b.ppm"), Path::new("c"), 2.5, threads);
        assert_eq!(call(Threads::One), ["-j", "1", "-q", "2.5", "--level=2.5", "a b.ppm", "c"]);
        assert_eq!(call(Threads::All), ["-q", "2.5", "--level=2.5", "a b.ppm", "c"]);
        assert_eq!(tool().line(), "enc -q {q} --level={q} {in} {out}");
    }
}
