//! Many files side by side: one bad file does not stop the others.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;

use super::note;
use super::paths::Job;

/// Runs every job on rayon's current pool. `work` returns the line to print
/// about a file; `verb` says in errors what could not be done to it.
///
/// Where there are several files each failure is one line at once, and the
/// error at the end only counts them.
pub fn run(jobs: &[Job], verb: &str, work: impl Fn(&Job) -> Result<String> + Sync) -> Result<()> {
    let work = |job: &Job| work(job).with_context(|| format!("cannot {verb} {}", job.input));
    if let [job] = jobs {
        note(&work(job)?);
        return Ok(());
    }
    let failures = AtomicUsize::new(0);
    let bar = progress_bar(jobs.len());
    jobs.par_iter().for_each(|job| {
        let line = work(job).unwrap_or_else(|error| {
            failures.fetch_add(1, Ordering::Relaxed);
            format!("error: {error:#}")
        });
        bar.suspend(|| note(&line));
        bar.inc(1);
    });
    bar.finish_and_clear();
    match failures.into_inner() {
        0 => Ok(()),
        failures => bail!("{failures} of {} files failed", jobs.len()),
    }
}

/// A line about a file, with a line for each note.
pub fn with_notes(line: String, notes: &[String]) -> String {
    notes.iter().fold(line, |lines, note| lines + "\n  note: " + note)
}

/// Shown on a terminal only: indicatif draws nothing elsewhere.
pub fn progress_bar(steps: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len}  {eta} left  {msg}")
        .expect("a template that indicatif knows");
    ProgressBar::new(steps as u64).with_style(style)
}
