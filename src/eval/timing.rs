//! Times and memory: whole processes, one after another, in turns.

use std::ffi::OsString;
use std::path::Path;

use anyhow::Result;
use image::DynamicImage;

use super::contender::{Contender, Threads};
use super::process::Usage;
use super::run::{Run, Timing};
use super::score::Metric;
use super::sweep::{Bench, Original, input};

/// Each codec is timed at the setting whose mean PSNR-RGB is closest to this, in dB.
pub const TIMED_AT: f64 = 34.0;

/// Most pictures that are timed; more are thinned out evenly.
const MOST_PICTURES: usize = 6;

const MODES: [Threads; 2] = [Threads::One, Threads::All];

/// How many measurements a timing pass takes.
pub fn steps(bench: &Bench, rounds: usize) -> usize {
    rounds * timed_pictures(bench.originals.len()).len() * MODES.len() * bench.contenders.len()
}

/// Times every codec of a run near [`TIMED_AT`], `rounds` times: in each round
/// every picture goes through every codec once, so that whatever else the
/// machine does falls on all of them. Rounds that the cache holds, of this
/// machine, are not run again. `meter` starts [`super::process::run_metered`]'s
/// helper. A codec that fails is handed to `failed` and left out.
pub fn time(
    bench: &Bench,
    run: &Run,
    rounds: usize,
    meter: &[OsString],
    failed: &dyn Fn(anyhow::Error),
) -> Result<Vec<Timing>> {
    let mut settings: Vec<Option<(f64, f64)>> =
        (0..run.codecs.len()).map(|codec| timed_setting(run, codec)).collect();
    let pictures = timed_pictures(bench.originals.len());
    // By codec, then mode: the usages of all rounds of each picture.
    let mut samples = vec![vec![vec![Vec::new(); pictures.len()]; MODES.len()]; settings.len()];
    for round in 0..rounds {
        for (place, &picture) in pictures.iter().enumerate() {
            let original = &bench.originals[picture];
            let pixels = (bench.load)(&original.path)?;
            let folder = tempfile::tempdir_in(bench.scratch)?;
            let turn =
                Turn { bench, meter, original, pixels, folder: folder.path(), round, machine: &run.machine };
            for (mode, &threads) in MODES.iter().enumerate() {
                for (codec, setting) in settings.iter_mut().enumerate() {
                    let Some((value, _)) = *setting else { continue };
                    match turn.usage(&bench.contenders[codec], value, threads) {
                        Ok(usage) => samples[codec][mode][place].push(usage),
                        Err(error) => {
                            failed(error.context(format!("cannot time {}", run.codecs[codec].name)));
                            *setting = None;
                        }
                    }
                }
            }
        }
    }
    let pixels = |&picture: &usize| {
        let picture = &bench.originals[picture].picture;
        f64::from(picture.width) * f64::from(picture.height)
    };
    let megapixels = pictures.iter().map(pixels).sum::<f64>() / 1e6;
    let mut times = Vec::new();
    for (codec, setting) in settings.iter().enumerate() {
        let Some((setting, psnr_rgb)) = *setting else { continue };
        for (mode, threads) in MODES.iter().enumerate() {
            let [encode, decode] = [0, 1].map(|way| summed(&samples[codec][mode], way));
            let one_thread = *threads == Threads::One;
            times.push(Timing { codec, setting, one_thread, rounds, megapixels, psnr_rgb, encode, decode });
        }
    }
    Ok(times)
}

/// One picture's turn in one round.
struct Turn<'a> {
    bench: &'a Bench<'a>,
    meter: &'a [OsString],
    original: &'a Original,
    pixels: DynamicImage,
    folder: &'a Path,
    round: usize,
    machine: &'a str,
}

impl Turn<'_> {
    /// What encoding and decoding took, by measurement or from the cache.
    fn usage(&self, contender: &Contender, setting: f64, threads: Threads) -> Result<[Usage; 2]> {
        let (bench, round) = (self.bench, self.round);
        let what =
            format!("{} {setting} {} {threads:?} round {round}", contender.name, self.original.picture.name);
        (bench.progress)(&what);
        let key =
            bench.key(contender, self.original, &format!("{setting} {threads:?} {round} {}", self.machine));
        if let Some(usage) = bench.cache.get(&key) {
            return Ok(usage);
        }
        let file = input(&self.pixels, contender.pixels[0], self.folder)?;
        let usage = contender.time(self.meter, &file, self.original.colour, setting, self.folder, threads)?;
        bench.cache.put(&key, &what, &usage)?;
        Ok(usage)
    }
}

/// The setting of a codec to time, and its mean PSNR-RGB.
fn timed_setting(run: &Run, codec: usize) -> Option<(f64, f64)> {
    let averages = super::summary::averages(run, codec);
    let known = averages.iter().filter_map(|a| a.value(Metric::PsnrRgb).map(|psnr| (a.setting, psnr)));
    known.min_by(|a, b| (a.1 - TIMED_AT).abs().total_cmp(&(b.1 - TIMED_AT).abs()))
}

/// Evenly spaced places in a list of `count` pictures.
fn timed_pictures(count: usize) -> Vec<usize> {
    let n = count.min(MOST_PICTURES);
    (0..n).map(|i| i * count / n).collect()
}

/// The sum over pictures of each one's median; of memory, the largest.
fn summed(pictures: &[Vec<[Usage; 2]>], way: usize) -> Usage {
    let medians = |value: fn(&Usage) -> f64| {
        pictures.iter().map(move |rounds| median(rounds.iter().map(|usage| value(&usage[way])).collect()))
    };
    let round = |value: f64, scale: f64| (value * scale).round() / scale;
    Usage {
        wall: round(medians(|usage| usage.wall).sum(), 1e6),
        cpu: round(medians(|usage| usage.cpu).sum(), 1e6),
        peak_mib: round(medians(|usage| usage.peak_mib).fold(0.0, f64::max), 100.0),
    }
}

/// The middle of an odd number of values, the mean of the middle two otherwise.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    (values[(n - 1) / 2] + values[n / 2]) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![7.0]), 7.0);
        assert_eq!(median(vec![9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![9.0, 1.0, 2.0, 4.0]), 3.0);
    }

    #[test]
    fn timed_pictures_are_spread_over_the_set() {
        assert_eq!(timed_pictures(24), [0, 4, 8, 12, 16, 20]);
        assert_eq!(timed_pictures(3), [0, 1, 2]);
    }
}
