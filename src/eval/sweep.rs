//! Every picture through every codec at every setting.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use image::{DynamicImage, ImageFormat};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::cache::Cache;
use super::contender::{Contender, Pixels, digest, hex};
use super::run::{Picture, Point};
use super::score::{Judge, SCORES_VERSION, Scores};

/// A picture to measure on.
#[derive(Debug)]
pub struct Original {
    /// What reports say of it. Its hash is that of its size and pixels.
    pub picture: Picture,
    /// Its file.
    pub path: PathBuf,
    /// Whether it has colours.
    pub colour: bool,
}

impl Original {
    /// The picture `pixels`, read from `path`.
    pub fn new(name: String, path: PathBuf, pixels: &DynamicImage) -> Original {
        let (width, height) = (pixels.width(), pixels.height());
        let mut hash = Sha256::new();
        hash.update(format!("{width}x{height} {:?}\n", pixels.color()));
        hash.update(pixels.as_bytes());
        let sha256 = hex(&hash.finalize()[..8]);
        Original {
            picture: Picture { name, width, height, sha256 },
            path,
            colour: pixels.color().has_color(),
        }
    }
}

/// A table to measure at.
pub struct Bench<'a> {
    /// The codecs.
    pub contenders: &'a [Contender],
    /// The pictures.
    pub originals: &'a [Original],
    /// Reads a picture's pixels again.
    pub load: &'a (dyn Fn(&Path) -> Result<DynamicImage> + Sync),
    /// What was measured before.
    pub cache: &'a Cache,
    /// A folder for coded and decoded files.
    pub scratch: &'a Path,
    /// Called after each measurement, with what comes next.
    pub progress: &'a (dyn Fn(&str) + Sync),
}

/// What is cached of one measurement.
#[derive(serde::Serialize, serde::Deserialize)]
struct Measured {
    bytes: u64,
    scores: Scores,
}

/// The file of a picture, 8-bit RGB or grey, in a format; written unless it is there already.
pub(super) fn input(pixels: &DynamicImage, format: Pixels, folder: &Path) -> Result<PathBuf> {
    let colour = pixels.color().has_color();
    let file = folder.join(format!("original.{}", format.extension(colour)));
    if !file.exists() {
        let bytes = match format {
            Pixels::Pnm => {
                // The plainest header: some programs read no other.
                let kind = if colour { "P6" } else { "P5" };
                let mut bytes = format!("{kind}\n{} {}\n255\n", pixels.width(), pixels.height()).into_bytes();
                bytes.extend_from_slice(pixels.as_bytes());
                bytes
            }
            Pixels::Png => {
                let mut bytes = Cursor::new(Vec::new());
                pixels.write_to(&mut bytes, ImageFormat::Png)?;
                bytes.into_inner()
            }
        };
        fs::write(&file, bytes).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(file)
}

impl Bench<'_> {
    /// How many measurements a sweep takes.
    pub fn steps(&self) -> usize {
        self.originals.len() * self.contenders.iter().map(|contender| contender.settings.len()).sum::<usize>()
    }

    /// Measures what the cache does not hold, pictures side by side on rayon's
    /// current pool. The points are in the order of the codecs, then of the
    /// pictures; what failed is left out and handed to `failed`.
    pub fn sweep(&self, failed: &(dyn Fn(anyhow::Error) + Sync)) -> Vec<Point> {
        let mut points: Vec<Point> = self
            .originals
            .par_iter()
            .enumerate()
            .flat_map_iter(|(index, original)| {
                let name = &original.picture.name;
                self.sweep_one(index, original, failed).unwrap_or_else(|error| {
                    failed(error.context(format!("cannot measure on {name}")));
                    Vec::new()
                })
            })
            .collect();
        points.sort_by_key(|point| (point.codec, point.picture));
        points
    }

    fn sweep_one(
        &self,
        picture: usize,
        original: &Original,
        failed: &(dyn Fn(anyhow::Error) + Sync),
    ) -> Result<Vec<Point>> {
        let folder = tempfile::tempdir_in(self.scratch)?;
        let mut judge: Option<Judge> = None;
        let mut points = Vec::new();
        for (codec, contender) in self.contenders.iter().enumerate() {
            for &setting in &contender.settings {
                let name = &original.picture.name;
                let what = format!("{} {setting} {name}", contender.name);
                (self.progress)(&what);
                let key = self.key(contender, original, &format!("{setting} scores {SCORES_VERSION}"));
                let measured = match self.cache.get::<Measured>(&key) {
                    Some(measured) => Ok(measured),
                    None => {
                        if judge.is_none() {
                            judge = Some(Judge::new((self.load)(&original.path)?)?);
                        }
                        let judge = judge.as_ref().expect("just made");
                        measure(contender, setting, judge, folder.path())
                            .and_then(|measured| self.cache.put(&key, &what, &measured).map(|()| measured))
                    }
                };
                match measured {
                    Ok(Measured { bytes, scores }) => {
                        points.push(Point { codec, picture, setting, bytes, scores });
                    }
                    Err(error) => failed(error.context(what)),
                }
            }
        }
        Ok(points)
    }

    /// What a measurement is cached under.
    pub(super) fn key(&self, contender: &Contender, original: &Original, what: &str) -> String {
        digest(&[&original.picture.sha256, &contender.fingerprint(), what])
    }
}

fn measure(contender: &Contender, setting: f64, judge: &Judge, folder: &Path) -> Result<Measured> {
    let input = input(judge.original(), contender.pixels[0], folder)?;
    let trial = contender.run(&input, judge.original().color().has_color(), setting, folder)?;
    let scores = judge.scores(&judge.same_colour(trial.decoded))?;
    Ok(Measured { bytes: trial.bytes, scores })
}
