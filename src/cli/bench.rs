//! `aecodec bench`: our codec against others on a folder of pictures.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use image::DynamicImage;
use indicatif::ProgressBar;

use aecodec::eval::cache::Cache;
use aecodec::eval::contender::refuse_equal_names;
use aecodec::eval::equal::EqualSize;
use aecodec::eval::ours::{Variant, ours};
use aecodec::eval::peers::PEERS;
use aecodec::eval::report::{csv, page, text};
use aecodec::eval::run::{Missing, Run, date};
use aecodec::eval::sweep::{Bench, Original};
use aecodec::eval::{Contender, timing};

use super::bench_restoration::{RestorationArgs, Task};
use super::output::Output;
use super::paths::{Conversion, Input, Job, plan};
use super::{batch, compress, model, note, picture, print};

/// Pictures that a report shows unless told which.
const SHOWN: usize = 3;

/// Measure rate, quality and time on pictures, beside other codecs
///
/// Every picture goes through files and whole programs: a rate is the size of a
/// file on disk, a quality that of the pixels read back. Other codecs are those
/// whose programs are on PATH; missing ones are named. What was measured before is
/// taken from the cache, so an interrupted run goes on where it ended. Times are
/// taken only with --time, in a pass of their own.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// A folder of pictures
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// What to measure
    #[arg(long, value_enum, default_value_t = Task::Codec)]
    task: Task,
    /// For restored pictures
    #[command(flatten, next_help_heading = "Denoising and enlarging")]
    restoration: RestorationArgs,
    /// Qualities to measure at
    #[arg(long, value_delimiter = ',', value_name = "LIST", value_parser = compress::parse_quality,
          default_values_t = [5.0, 15.0, 30.0, 45.0, 60.0, 75.0, 90.0])]
    qualities: Vec<f32>,
    /// Models to encode with: names or model files, or all that this program holds
    #[arg(long, alias = "model", value_delimiter = ',', value_name = "LIST")]
    models: Vec<String>,
    /// Efforts to encode at; the default one, if left out
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    efforts: Vec<u32>,
    /// Other codecs to measure: names, or none; all that are installed, if left out
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    peers: Vec<String>,
    /// Time every codec, so many rounds; nothing else should run meanwhile
    #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "ROUNDS")]
    time: usize,
    /// Where measurements are kept; the user's cache folder, if left out
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Write a report to explore: one HTML file
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Pictures that the report shows side by side; three, if left out
    #[arg(long, value_delimiter = ',', value_name = "NAMES", requires = "report")]
    show: Vec<String>,
    /// Bits per pixel at which they are shown
    #[arg(long, value_delimiter = ',', default_values_t = [0.25], value_name = "LIST", value_parser = parse_rate)]
    show_bpp: Vec<f64>,
    /// Write every measurement to a CSV file
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Write the run to a JSON file, from which results makes documents
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Replace report files that exist
    #[arg(long)]
    force: bool,
}

impl BenchArgs {
    /// Measures, prints the tables, writes the reports.
    pub fn run(self) -> Result<()> {
        if self.task != Task::Codec {
            return self.restoration.run(self.task, &self.folder, self.json.as_deref(), self.force);
        }
        let outputs = [&self.csv, &self.json, &self.report];
        for path in outputs.into_iter().flatten() {
            Output::File(path.clone()).check(self.force)?;
        }
        ensure!(self.folder.is_dir(), "{} is not a folder", self.folder.display());
        let failures = Failures::default();
        let originals = self.originals(&failures)?;
        let (contenders, missing) = self.contenders()?;
        let shown = self.shown(&originals)?;
        let cache = Cache::open(&self.cache.clone().map_or_else(default_cache, Ok)?)?;
        let scratch = tempfile::tempdir().context("cannot create a temporary folder")?;

        let bar = batch::progress_bar(0);
        let bench = Bench {
            contenders: &contenders,
            originals: &originals,
            load: &|path| self.load(path),
            cache: &cache,
            scratch: scratch.path(),
            progress: &|what| {
                bar.inc(1);
                bar.set_message(what.to_owned());
            },
        };
        let mut run = Run::new(today()?, machine(), self.set());
        run.pictures = originals.iter().map(|original| original.picture.clone()).collect();
        run.codecs = contenders.iter().map(Into::into).collect();
        run.missing = missing;
        start(&bar, bench.steps());
        run.points = bench.sweep(&|error| failures.report(&bar, &error));
        if self.time > 0 {
            start(&bar, timing::steps(&bench, self.time));
            let failed = |error| failures.report(&bar, &error);
            run.times = timing::time(&bench, &run, self.time, &meter()?, &failed)?;
        }
        let mut views: Vec<EqualSize> = Vec::new();
        if self.report.is_some() {
            start(&bar, shown.len() * self.show_bpp.len() * contenders.len());
            for &bpp in &self.show_bpp {
                for &place in &shown {
                    match bench.at_equal_size(place, bpp, &|error| failures.report(&bar, &error)) {
                        Ok(view) => views.push(view),
                        Err(error) => failures.report(&bar, &error),
                    }
                }
            }
        }
        bar.finish_and_clear();
        if let Some(path) = self.csv {
            Output::File(path).write(csv::csv(&run).as_bytes(), self.force)?;
        }
        if let Some(path) = self.json {
            Output::File(path).write(run.json()?.as_bytes(), self.force)?;
        }
        if let Some(path) = self.report {
            Output::File(path).write(page::page(&run, &views)?.as_bytes(), self.force)?;
        }
        print(&text::text(&run))?;
        match failures.0.into_inner() {
            0 => Ok(()),
            failures => bail!("{failures} measurements failed"),
        }
    }

    /// What the pictures are called together.
    fn set(&self) -> String {
        let folder = self.folder.canonicalize().unwrap_or_else(|_| self.folder.clone());
        folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The pictures of the folder, named by their paths below it.
    fn originals(&self, failures: &Failures) -> Result<Vec<Original>> {
        let conversion = Conversion { wanted: picture::is_picture, what: "pictures", extension: "aec" };
        let nowhere = env::temp_dir().join("aecodec-bench");
        let jobs = plan(std::slice::from_ref(&self.folder), &nowhere, conversion)?;
        let mut originals = Vec::new();
        for Job { input, .. } in jobs {
            let Input::File(path) = input else { unreachable!("a folder holds files") };
            let name = path.strip_prefix(&self.folder)?.with_extension("").display().to_string();
            match self.load(&path) {
                Ok(pixels) => originals.push(Original::new(name, path, &pixels)),
                Err(error) => failures.report(&ProgressBar::hidden(), &error),
            }
        }
        ensure!(!originals.is_empty(), "{} holds no picture that can be measured", self.folder.display());
        Ok(originals)
    }

    fn load(&self, path: &Path) -> Result<DynamicImage> {
        let read = || -> Result<DynamicImage> {
            let pixels = picture::read_pixels(&Input::File(path.into()), &fs::read(path)?)?;
            let known = matches!(pixels, DynamicImage::ImageRgb8(_) | DynamicImage::ImageLuma8(_));
            ensure!(
                known,
                "colour type {:?}: only 8-bit RGB and grey pictures can be measured",
                pixels.color()
            );
            Ok(pixels)
        };
        read().with_context(|| format!("cannot measure on {}", path.display()))
    }

    /// The codecs to measure, ours first, and those that are missing.
    fn contenders(&self) -> Result<(Vec<Contender>, Vec<Missing>)> {
        let program = env::current_exe().context("cannot tell where this program is")?;
        // Through text, so that 12.3 is not 12.300000190734863.
        let qualities: Vec<f64> =
            self.qualities.iter().filter_map(|quality| quality.to_string().parse().ok()).collect();
        let mut contenders = Vec::new();
        for variant in self.variants()? {
            contenders.push(ours(&program, variant, qualities.clone())?);
        }
        let wanted = |name: &str| self.peers.is_empty() || self.peers.iter().any(|peer| peer == name);
        for name in self.peers.iter().filter(|name| *name != "none") {
            let known: Vec<&str> = PEERS.iter().map(|peer| peer.name).collect();
            ensure!(known.contains(&name.as_str()), "'{name}' is not one of {}", known.join(", "));
        }
        let mut missing = Vec::new();
        for peer in PEERS.iter().filter(|peer| wanted(peer.name)) {
            match peer.find() {
                Ok(contender) => contenders.push(contender),
                Err(error) => {
                    note(&format!("without {}: {error:#}", peer.name));
                    missing.push(Missing { name: peer.name.into(), reason: format!("{error:#}") });
                }
            }
        }
        refuse_equal_names(&contenders)?;
        Ok((contenders, missing))
    }

    /// Every model at every effort, named by what tells them apart.
    fn variants(&self) -> Result<Vec<Variant>> {
        let models = if self.models.is_empty() {
            vec![model::describe(None)?]
        } else if self.models == ["all"] {
            model::names().map(|name| model::describe(Some(name))).collect::<Result<_>>()?
        } else {
            self.models.iter().map(|name| model::describe(Some(name))).collect::<Result<Vec<_>>>()?
        };
        let efforts: Vec<Option<u32>> = if self.efforts.is_empty() {
            vec![None]
        } else {
            self.efforts.iter().copied().map(Some).collect()
        };
        let mut variants = Vec::new();
        for model in &models {
            for &effort in &efforts {
                let mut name = "aecodec".to_owned();
                if models.len() > 1 {
                    name += &format!("-{}", model.name);
                }
                if let (Some(effort), true) = (effort, efforts.len() > 1) {
                    name += &format!("-e{effort}");
                }
                variants.push(Variant {
                    name,
                    model: model.argument.clone(),
                    model_is_file: model.is_file,
                    model_label: format!("{} ({})", model.name, model.id),
                    model_bytes: model.bytes,
                    effort,
                });
            }
        }
        Ok(variants)
    }

    /// The places of the pictures to show.
    fn shown(&self, originals: &[Original]) -> Result<Vec<usize>> {
        let n = originals.len().min(SHOWN);
        if self.show.is_empty() {
            return Ok((0..n).map(|i| (2 * i + 1) * originals.len() / (2 * n)).collect());
        }
        let place = |name: &String| {
            let found = originals.iter().position(|original| original.picture.name == *name);
            found.with_context(|| format!("no picture is called '{name}'"))
        };
        self.show.iter().map(place).collect()
    }
}

/// Counts what failed, after telling of it.
#[derive(Debug, Default)]
struct Failures(AtomicUsize);

impl Failures {
    fn report(&self, bar: &ProgressBar, error: &anyhow::Error) {
        bar.suspend(|| note(&format!("error: {error:#}")));
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn start(bar: &ProgressBar, steps: usize) {
    bar.reset();
    bar.set_length(steps as u64);
}

/// This program as the meter of others.
fn meter() -> Result<Vec<OsString>> {
    let program = env::current_exe().context("cannot tell where this program is")?;
    Ok(vec![program.into(), "meter".into(), "--".into()])
}

fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= 24.0 => Ok(rate),
        Ok(_) => Err("not above 0 and at most 24".into()),
        Err(error) => Err(error.to_string()),
    }
}

fn default_cache() -> Result<PathBuf> {
    let folder = |variable: &str| env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    folder("XDG_CACHE_HOME")
        .or_else(|| folder("LOCALAPPDATA"))
        .or_else(|| folder("HOME").map(|home| home.join(".cache")))
        .map(|folder| folder.join("aecodec").join("bench"))
        .context("no cache folder is known; name one with --cache")
}

fn today() -> Result<String> {
    Ok(date(SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?.as_secs()))
}

/// The processor, as far as the system tells.
fn machine() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or(env::consts::ARCH, |(_, model)| model.trim());
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{model}, {processors} processors, {}", env::consts::OS)
}
