//! A run: everything that was measured, as it is kept in a JSON file.
//!
//! The file is small: points are arrays of numbers. All figures that are quoted
//! (tables, reports, documents) are computed from it and from nothing else.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::contender::Contender;
use super::process::Usage;
use super::score::Scores;

/// Goes up when an older file can no longer be read.
const FORMAT: u32 = 1;

/// Everything that was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The version of this format.
    pub format: u32,
    /// When it was measured, UTC: `2026-11-24`.
    pub date: String,
    /// The processor and what it runs.
    pub machine: String,
    /// What the pictures are called together: the name of their folder.
    pub set: String,
    /// The pictures.
    pub pictures: Vec<Picture>,
    /// The codecs, ours first.
    pub codecs: Vec<Codec>,
    /// What could not be measured, and why.
    pub missing: Vec<Missing>,
    /// The measurements of the sweep.
    pub points: Vec<Point>,
    /// Times and memory; empty unless there was a timing pass.
    pub times: Vec<Timing>,
}

/// A picture that codecs were measured on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Picture {
    /// Its path below the folder, without the extension.
    pub name: String,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// The beginning of the SHA-256 of its file.
    pub sha256: String,
}

/// A codec that was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Codec {
    /// The name that reports use.
    pub name: String,
    /// What it is, in a few words.
    pub about: String,
    /// The version of the program.
    pub version: String,
    /// How it encodes.
    pub encode: String,
    /// How it decodes.
    pub decode: String,
    /// The size of its learned model, where it has one: it is one of ours.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub model_bytes: Option<u64>,
}

/// A codec that could not be measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Missing {
    /// The name that reports use.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// One picture through one codec at one setting.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(from = "Flat", into = "Flat")]
pub struct Point {
    /// Place in [`Run::codecs`].
    pub codec: usize,
    /// Place in [`Run::pictures`].
    pub picture: usize,
    /// The setting, in the codec's own unit.
    pub setting: f64,
    /// Size of the coded file on disk.
    pub bytes: u64,
    /// How close the decoded picture is.
    pub scores: Scores,
}

/// A point as an array, in the order of [`COLUMNS`].
type Flat = (usize, usize, f64, u64, Option<f64>, Option<f64>, Option<f64>, Option<f64>, Option<f64>, u64);

impl From<Flat> for Point {
    fn from(flat: Flat) -> Point {
        let (codec, picture, setting, bytes, psnr_rgb, psnr_y, ms_ssim, ssimulacra2, butteraugli, error_bits) =
            flat;
        let scores = Scores { psnr_rgb, psnr_y, ms_ssim, ssimulacra2, butteraugli, error_bits };
        Point { codec, picture, setting, bytes, scores }
    }
}

impl From<Point> for Flat {
    fn from(point: Point) -> Flat {
        let Point { codec, picture, setting, bytes, scores: s } = point;
        (
            codec,
            picture,
            setting,
            bytes,
            s.psnr_rgb,
            s.psnr_y,
            s.ms_ssim,
            s.ssimulacra2,
            s.butteraugli,
            s.error_bits,
        )
    }
}

/// Times and memory of one codec: sums over some pictures of the medians of
/// several rounds, memory the largest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// Place in [`Run::codecs`].
    pub codec: usize,
    /// The setting.
    pub setting: f64,
    /// Whether the programs were held to one thread.
    pub one_thread: bool,
    /// Rounds.
    pub rounds: usize,
    /// Millions of pixels in all pictures together.
    pub megapixels: f64,
    /// Mean PSNR-RGB at this setting over all pictures of the run.
    pub psnr_rgb: f64,
    /// Of the encoder's processes.
    pub encode: Usage,
    /// Of the decoder's processes.
    pub decode: Usage,
}

impl From<&Contender> for Codec {
    fn from(contender: &Contender) -> Codec {
        Codec {
            name: contender.name.clone(),
            about: contender.about.clone(),
            version: contender.version.clone(),
            encode: contender.encoder.line(),
            decode: contender.decoder.line(),
            model_bytes: contender.model_bytes,
        }
    }
}

impl Run {
    /// A run without measurements.
    pub fn new(date: String, machine: String, set: String) -> Run {
        let (pictures, codecs, missing, points, times) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Run { format: FORMAT, date, machine, set, pictures, codecs, missing, points, times }
    }

    /// Reads a run.
    pub fn read(path: &Path) -> Result<Run> {
        let read = || -> Result<Run> {
            let run: Run = serde_json::from_slice(&std::fs::read(path)?)?;
            ensure!(run.format == FORMAT, "a run of format {}, this program reads {FORMAT}", run.format);
            let sound = |point: &Point| point.codec < run.codecs.len() && point.picture < run.pictures.len();
            ensure!(run.points.iter().all(sound), "a point of a codec or a picture that is not listed");
            ensure!(run.times.iter().all(|time| time.codec < run.codecs.len()), "a time of no codec");
            Ok(run)
        };
        read().with_context(|| format!("cannot read the run {}", path.display()))
    }

    /// The text of its file: a line for each entry of a list.
    pub fn json(&self) -> Result<String> {
        let mut out = String::from("{\n");
        let text = |value: &str| serde_json::to_string(value);
        let _ = writeln!(out, " \"format\": {},", self.format);
        for (name, value) in [("date", &self.date), ("machine", &self.machine), ("set", &self.set)] {
            let _ = writeln!(out, " \"{name}\": {},", text(value)?);
        }
        list(&mut out, "pictures", &self.pictures)?;
        list(&mut out, "codecs", &self.codecs)?;
        list(&mut out, "missing", &self.missing)?;
        list(&mut out, "points", &self.points)?;
        list(&mut out, "times", &self.times)?;
        out.truncate(out.len() - 2);
        out += "\n}\n";
        Ok(out)
    }

    /// The place of a codec.
    pub fn codec(&self, name: &str) -> Option<usize> {
        self.codecs.iter().position(|codec| codec.name == name)
    }

    /// Bits per pixel of a point.
    pub fn bpp(&self, point: &Point) -> f64 {
        bits_per_pixel(point.bytes, self.pictures[point.picture].width, self.pictures[point.picture].height)
    }
}

fn list<T: Serialize>(out: &mut String, name: &str, entries: &[T]) -> Result<()> {
    let _ = write!(out, " \"{name}\": [");
    for (index, entry) in entries.iter().enumerate() {
        *out += if index > 0 { ",\n  " } else { "\n  " };
        *out += &serde_json::to_string(entry)?;
    }
    *out += "],\n";
    Ok(())
}

/// Bits of a file of `bytes` per pixel of its picture.
pub fn bits_per_pixel(bytes: u64, width: u32, height: u32) -> f64 {
    8.0 * bytes as f64 / (f64::from(width) * f64::from(height))
}

/// The date of a moment, UTC, as `2026-11-24`. Hinnant's `civil_from_days`.
pub fn date(seconds_since_1970: u64) -> String {
    let days = (seconds_since_1970 / 86_400) as i64 + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153; // from March on
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    format!("{:04}-{month:02}-{day:02}", year_of_era + era * 400 + next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01"),
            (951_782_399, "2000-02-28"),
            (951_782_400, "2000-02-29"),
            (1_795_478_400, "2026-11-24"),
            (4_107_542_399, "2100-02-28"),
        ] {
            assert_eq!(date(seconds), expected);
        }
    }

    #[test]
    fn rates_count_every_byte() {
        assert_eq!(bits_per_pixel(49_152, 768, 512), 1.0);
    }
}
