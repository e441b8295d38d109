//! `aecodec bench`: our codec against JPEG 2000 on a folder of pictures.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;

use aecodec::EncodeOptions;
use aecodec::eval::{Aecodec, Contender, OpenJpeg, Row, Sample, measure, summarize};

use super::bench_report::{csv, json, table};
use super::output::Output;
use super::paths::{Conversion, Input, Job, plan};
use super::{batch, compress, model, note, picture, print};

/// The codec that BD-rates are against.
const ANCHOR: &str = "openjpeg";

/// Measure rate, quality and time on pictures, beside OpenJPEG 9/7
///
/// Every picture goes through files: a rate is the size of a file on disk, a
/// quality that of the pixels read back. Pictures and settings run one after
/// another. Our times are those of the library on one thread (or --threads);
/// OpenJPEG's are those of whole processes.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// A folder of pictures
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Qualities to measure at
    #[arg(long, value_delimiter = ',', value_name = "LIST", value_parser = compress::parse_quality,
          default_values_t = [5.0, 15.0, 30.0, 45.0, 60.0, 75.0, 90.0])]
    qualities: Vec<f32>,
    /// The model to encode with: a name, or a model file
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Runs of each measurement, whose median time counts
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    repeat: u16,
    /// Turn pictures upright and drop their colour profile and metadata
    #[arg(long)]
    strip: bool,
    /// Write every measurement to a CSV file
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Write every measurement and the summary to a JSON file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Replace report files that exist
    #[arg(long)]
    force: bool,
}

impl BenchArgs {
    /// Measures, prints the tables, writes the reports.
    pub fn run(self) -> Result<()> {
        let reports: Vec<Output> =
            [&self.csv, &self.json].into_iter().flatten().cloned().map(Output::File).collect();
        for report in &reports {
            report.check(self.force)?;
        }
        if !self.folder.is_dir() {
            bail!("{} is not a folder", self.folder.display());
        }
        let (rows, failures) = self.measure_all()?;
        let summary = summarize(&rows, ANCHOR);
        if let Some(path) = self.csv {
            Output::File(path).write(csv(&rows).as_bytes(), self.force)?;
        }
        if let Some(path) = self.json {
            Output::File(path).write(json(&rows, &summary)?.as_bytes(), self.force)?;
        }
        print(&table(&summary))?;
        if failures > 0 {
            bail!("{failures} measurements failed");
        }
        Ok(())
    }

    /// Every picture through every codec at every setting; what fails is
    /// reported at once and counted.
    fn measure_all(&self) -> Result<(Vec<Row>, usize)> {
        let scratch = tempfile::tempdir().context("cannot create a temporary folder")?;
        let contenders = self.contenders()?;
        let conversion = Conversion { wanted: picture::is_picture, what: "pictures", extension: "aec" };
        let jobs = plan(std::slice::from_ref(&self.folder), scratch.path(), conversion)?;
        let settings: usize = contenders.iter().map(|codec| codec.settings().len()).sum();
        let bar = batch::progress_bar(jobs.len() * settings);
        let (mut rows, mut failures) = (Vec::new(), 0);
        for job in &jobs {
            let mut fail = |error: anyhow::Error| {
                bar.suspend(|| note(&format!("error: {error:#}")));
                failures += 1;
            };
            let folder = tempfile::tempdir_in(scratch.path())?;
            let sample = match self.sample(job, folder.path()) {
                Ok(sample) => sample,
                Err(error) => {
                    fail(error);
                    continue;
                }
            };
            for codec in &contenders {
                for &setting in codec.settings() {
                    bar.set_message(format!("{} {setting} {}", codec.name(), sample.name));
                    let row = measure(codec.as_ref(), setting, &sample, folder.path(), self.repeat.into());
                    row.map_or_else(&mut fail, |row| rows.push(row));
                    bar.inc(1);
                }
            }
        }
        bar.finish_and_clear();
        Ok((rows, failures))
    }

    fn contenders(&self) -> Result<Vec<Box<dyn Contender>>> {
        let model = self.model.as_deref().map(model::load).transpose()?;
        // Through text, so that 12.3 is not 12.300000190734863.
        let qualities =
            self.qualities.iter().filter_map(|quality| quality.to_string().parse().ok()).collect();
        let ours = Aecodec::new(EncodeOptions { model, ..EncodeOptions::default() }, qualities)?;
        let mut contenders: Vec<Box<dyn Contender>> = vec![Box::new(ours)];
        match OpenJpeg::find() {
            Ok(peer) => contenders.push(Box::new(peer)),
            Err(error) => note(&format!("without OpenJPEG: {error:#}")),
        }
        Ok(contenders)
    }

    /// The picture of a job, named by its path below the folder.
    fn sample(&self, job: &Job, folder: &std::path::Path) -> Result<Sample> {
        let Input::File(path) = &job.input else { unreachable!("a folder holds files") };
        let name = path.strip_prefix(&self.folder)?.with_extension("").display().to_string();
        let read = || -> Result<Sample> {
            let picture = picture::read_pixels(&job.input, &fs::read(path)?)?;
            Sample::new(name, picture, folder)
        };
        read().with_context(|| format!("cannot measure on {}", job.input))
    }
}
