//! `aecodec results`: documents from a run that was measured before.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;

use aecodec::eval::Run;
use aecodec::eval::report::{csv, markdown, plot, text};

use super::output::Output;
use super::print;

/// Write documents from the JSON file of an earlier bench
///
/// Without options the tables are printed.
#[derive(Debug, Args)]
pub struct ResultsArgs {
    /// The file that bench --json wrote
    run: PathBuf,
    /// Write the whole results as Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Write rate-distortion curves as SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Replace the figures between the two marks of a document; needs the paths
    /// of --markdown and --plot to link to
    #[arg(long, value_name = "FILE", requires_all = ["markdown", "plot"])]
    readme: Option<PathBuf>,
    /// Write every measurement as CSV
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Replace files that exist
    #[arg(long)]
    force: bool,
}

impl ResultsArgs {
    /// Writes what was asked for.
    pub fn run(self) -> Result<()> {
        let outputs = [&self.markdown, &self.plot, &self.csv];
        for path in outputs.into_iter().flatten() {
            Output::File(path.clone()).check(self.force)?;
        }
        let run = Run::read(&self.run)?;
        let write = |path: &Path, text: &str| Output::File(path.into()).write(text.as_bytes(), self.force);
        if let Some(path) = &self.markdown {
            write(path, &markdown::results(&run, &link(path, &self.run))?)?;
        }
        if let Some(path) = &self.plot {
            write(path, &plot::plot(&run))?;
        }
        if let Some(path) = &self.csv {
            write(path, &csv::csv(&run))?;
        }
        if let (Some(readme), Some(details), Some(plot)) = (&self.readme, &self.markdown, &self.plot) {
            let old =
                fs::read_to_string(readme).with_context(|| format!("cannot read {}", readme.display()))?;
            let figures = markdown::readme(&run, &link(readme, plot), &link(readme, details))?;
            let new = markdown::replace_figures(&old, &figures)
                .with_context(|| format!("cannot write the figures into {}", readme.display()))?;
            Output::File(readme.clone()).write(new.as_bytes(), true)?;
        }
        if self.readme.is_none() && outputs.into_iter().flatten().next().is_none() {
            print(&text::text(&run))?;
        }
        Ok(())
    }
}

/// The path of `target` as a link in the document `from`.
fn link(from: &Path, target: &Path) -> String {
    let below = from.parent().and_then(|folder| target.strip_prefix(folder).ok()).unwrap_or(target);
    below.display().to_string().replace('\\', "/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_relative_to_the_document() {
        let link = |from: &str, target: &str| link(Path::new(from), Path::new(target));
        assert_eq!(link("README.md", "docs/results.md"), "docs/results.md");
        assert_eq!(link("docs/results.md", "docs/results/kodak.json"), "results/kodak.json");
    }
}
