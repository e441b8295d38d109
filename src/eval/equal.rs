//! The same picture from every codec at the same size of file, to look at.

use std::path::Path;

use anyhow::{Result, ensure};
use image::DynamicImage;
use rayon::prelude::*;

use super::contender::{Contender, Trial};
use super::score::{Judge, Scores};
use super::sweep::{Bench, Original, input};

/// Halvings of the range of settings.
const STEPS: u32 = 11;

/// The largest picture that is shown, in pixels each way: of larger ones, the middle.
const SHOWN: [u32; 2] = [1024, 768];

/// One picture, from every codec at about the same size of file.
#[derive(Debug)]
pub struct EqualSize {
    /// Place in the run's pictures.
    pub picture: usize,
    /// The size that was asked for.
    pub target: u64,
    /// What is shown of the original.
    pub original: DynamicImage,
    /// What codecs made of it, in their order.
    pub entries: Vec<Entry>,
}

/// What one codec made of a picture.
#[derive(Debug)]
pub struct Entry {
    /// Place in the run's codecs.
    pub codec: usize,
    /// The setting that was found.
    pub setting: f64,
    /// Size of the coded file.
    pub bytes: u64,
    /// Metrics of the whole picture.
    pub scores: Scores,
    /// What is shown of it.
    pub decoded: DynamicImage,
}

/// A codec's measurement in one search.
struct Job<'a> {
    contender: &'a Contender,
    judge: &'a Judge,
    folder: &'a Path,
}

impl Bench<'_> {
    /// Codes one picture at `bpp` bits per pixel with every codec. Ours is never
    /// larger than that, the others never smaller, as far as they reach. A codec
    /// that fails is handed to `failed` and left out.
    pub fn at_equal_size(
        &self,
        picture: usize,
        bpp: f64,
        failed: &(dyn Fn(anyhow::Error) + Sync),
    ) -> Result<EqualSize> {
        let original = &self.originals[picture];
        let judge = Judge::new((self.load)(&original.path)?)?;
        let pixels = f64::from(original.picture.width) * f64::from(original.picture.height);
        let target = (bpp * pixels / 8.0).round() as u64;
        let entry = |codec: usize| -> Result<Entry> {
            let contender = &self.contenders[codec];
            let folder = tempfile::tempdir_in(self.scratch)?;
            let job = Job { contender, judge: &judge, folder: folder.path() };
            (self.progress)(&format!("{} at {bpp} bpp {}", contender.name, original.picture.name));
            let setting = self.setting_for(&job, original, target)?;
            let trial = job.run(setting)?;
            let decoded = judge.same_colour(trial.decoded);
            let scores = judge.scores(&decoded)?;
            Ok(Entry { codec, setting, bytes: trial.bytes, scores, decoded: middle(&decoded) })
        };
        let entries = (0..self.contenders.len())
            .into_par_iter()
            .filter_map(|codec| {
                let what =
                    || format!("{} at {bpp} bpp on {}", self.contenders[codec].name, original.picture.name);
                entry(codec).map_err(|error| failed(error.context(what()))).ok()
            })
            .collect();
        Ok(EqualSize { picture, target, original: middle(judge.original()), entries })
    }

    /// The setting for a size of file, from the cache if it was found before.
    fn setting_for(&self, job: &Job, original: &Original, target: u64) -> Result<f64> {
        let key = self.key(job.contender, original, &format!("setting for {target} bytes"));
        if let Some(setting) = self.cache.get(&key) {
            return Ok(setting);
        }
        let at_most = job.contender.model_bytes.is_some();
        let setting = search(job.contender, target, at_most, |setting| Ok(job.run(setting)?.bytes))?;
        let what = format!("{} {} at {target} bytes", job.contender.name, original.picture.name);
        self.cache.put(&key, &what, &setting)?;
        Ok(setting)
    }
}

impl Job<'_> {
    fn run(&self, setting: f64) -> Result<Trial> {
        let file = input(self.judge.original(), self.contender.pixels[0], self.folder)?;
        self.contender.run(&file, self.judge.original().color().has_color(), setting, self.folder)
    }
}

/// The setting whose file is the largest of at most `target` bytes, or else the
/// smallest of at least that many; where no file is on that side, the closest.
fn search(
    contender: &Contender,
    target: u64,
    at_most: bool,
    bytes: impl Fn(f64) -> Result<u64>,
) -> Result<f64> {
    let (mut low, mut high) = (0.0f64, 1.0f64);
    let mut tried: Vec<(f64, u64)> = Vec::new();
    for _ in 0..STEPS {
        let place = (low + high) / 2.0;
        let setting = setting_at(contender, place);
        let size = match tried.iter().find(|(known, _)| *known == setting) {
            Some(&(_, size)) => size,
            None => {
                let size = bytes(setting)?;
                tried.push((setting, size));
                size
            }
        };
        if size > target || (size == target && !at_most) { high = place } else { low = place }
    }
    ensure!(!tried.is_empty(), "no setting was tried");
    let distance = |&(_, size): &(f64, u64)| {
        let right_side = if at_most { size <= target } else { size >= target };
        (!right_side, size.abs_diff(target))
    };
    tried.sort_by_key(distance);
    Ok(tried[0].0)
}

/// A place from 0, the smallest file, to 1, the largest, as a setting. Rates and
/// distances are spaced by their logarithms, qualities evenly.
fn setting_at(contender: &Contender, place: f64) -> f64 {
    let (small, large) = contender.bounds;
    let setting = if small > large && large > 0.0 {
        small * (large / small).powf(place)
    } else {
        small + (large - small) * place
    };
    if contender.whole { setting.round() } else { (setting * 1000.0).round() / 1000.0 }
}

/// The middle of a large picture, all of a small one.
fn middle(picture: &DynamicImage) -> DynamicImage {
    let [width, height] = [picture.width().min(SHOWN[0]), picture.height().min(SHOWN[1])];
    picture.crop_imm((picture.width() - width) / 2, (picture.height() - height) / 2, width, height)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::contender::{Pixels, Tool};

    fn contender(bounds: (f64, f64), whole: bool) -> Contender {
        let tool = Tool {
            program: "none".into(),
            arguments: Vec::new(),
            one_thread: Vec::new(),
            all_threads: Vec::new(),
        };
        Contender {
            name: "test".into(),
            about: String::new(),
            version: "1".into(),
            encoder: tool.clone(),
            decoder: tool,
            extension: "bin",
            pixels: [Pixels::Pnm; 2],
            settings: Vec::new(),
            bounds,
            whole,
            model_bytes: None,
        }
    }

    #[test]
    fn files_are_found_on_the_side_that_was_asked_for() {
        let quality = contender((0.0, 100.0), true);
        let size = |setting: f64| Ok(1000 + 10 * setting as u64);
        assert_eq!(search(&quality, 1555, true, size).unwrap(), 55.0);
        assert_eq!(search(&quality, 1555, false, size).unwrap(), 56.0);
        assert_eq!(search(&quality, 1550, true, size).unwrap(), 55.0);
        assert_eq!(search(&quality, 1550, false, size).unwrap(), 55.0);
        assert_eq!(search(&quality, 10, true, size).unwrap(), 0.0, "nothing is that small");
        let ratio = contender((2000.0, 3.0), false);
        let found = search(&ratio, 40_000, false, |ratio| Ok((1_000_000.0 / ratio) as u64)).unwrap();
        assert!((24.8..=25.0).contains(&found), "{found}");
    }
}
