//! The command line: one file for each command, and what they share.
//!
//! [`paths`] turns arguments into jobs, [`batch`] runs them side by side,
//! [`picture`] reads and writes pictures, [`output`] writes whole files or none,
//! [`model`] finds models, [`limits`] says what a picture may cost. [`assets`]
//! is for packagers.

mod assets;
mod batch;
mod bench;
mod compare;
mod compress;
mod decompress;
mod heat_map;
mod info;
mod limits;
mod meter;
mod model;
mod output;
mod paths;
mod picture;
mod results;
#[cfg(feature = "train")]
mod train;

use std::io::{self, Write};
use std::sync::LazyLock;

use anyhow::{Context, Result};
use clap::builder::RangedU64ValueParser;
use clap::{CommandFactory, Parser, Subcommand};

use aecodec::container;
use aecodec::model::registry::MODELS;

/// The version, and what it decodes without further files.
static LONG_VERSION: LazyLock<String> = LazyLock::new(|| {
    let models = MODELS.iter().map(|model| format!("\nmodel {} {}", model.id, model.name));
    format!("{}\nformat {}{}", env!("CARGO_PKG_VERSION"), container::VERSION, models.collect::<String>())
});

/// A learned image codec whose files decode to the same pixels on every machine.
#[derive(Debug, Parser)]
#[command(version, long_version = LONG_VERSION.as_str(), help_expected = true, arg_required_else_help = true, max_term_width = 100)]
pub struct Cli {
    /// Threads to use (bench: pictures in flight): all processors, if left out
    #[arg(long, global = true, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=1024))]
    threads: Option<usize>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Compress(compress::CompressArgs),
    Decompress(decompress::DecompressArgs),
    Info(info::InfoArgs),
    Compare(compare::CompareArgs),
    Bench(bench::BenchArgs),
    Results(results::ResultsArgs),
    Meter(meter::MeterArgs),
    #[command(hide = true)]
    Assets(assets::AssetsArgs),
    #[cfg(feature = "train")]
    Train(aecodec::train::TrainArgs),
    #[cfg(feature = "train")]
    Export(aecodec::train::ExportArgs),
}

impl Cli {
    /// Runs the command on as many threads as were asked for.
    pub fn run(self) -> Result<()> {
        let threads = match self.command {
            #[cfg(feature = "train")]
            // Its workers are threads of their own.
            Command::Train(_) => None,
            _ => self.threads,
        };
        match threads {
            None => self.command.run(),
            Some(threads) => rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .with_context(|| format!("cannot start {threads} threads"))?
                .install(|| self.command.run()),
        }
    }
}

impl Command {
    fn run(self) -> Result<()> {
        match self {
            Command::Compress(args) => args.run(),
            Command::Decompress(args) => args.run(),
            Command::Info(args) => args.run(),
            Command::Compare(args) => args.run(),
            Command::Bench(args) => args.run(),
            Command::Results(args) => args.run(),
            Command::Meter(args) => args.run(),
            Command::Assets(args) => args.run(Cli::command()),
            #[cfg(feature = "train")]
            Command::Train(args) => train::run(&args),
            #[cfg(feature = "train")]
            Command::Export(args) => aecodec::train::release::release(&args).map(drop),
        }
    }
}

/// Whether a command failed only because nobody reads its output any more.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

/// Prints one line for the user beside the output proper. A closed stderr is
/// no reason to fail.
fn note(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Prints to stdout, all at once.
fn print(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).context("cannot write to standard output")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_argument_is_sound_and_has_help() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_last_path_is_the_output() {
        let cli = Cli::try_parse_from(["aecodec", "compress", "a.png", "b.png", "-q", "30", "out"]).unwrap();
        let Command::Compress(args) = cli.command else { panic!("another command") };
        assert_eq!(args.io.inputs, ["a.png", "b.png"].map(std::path::PathBuf::from));
        assert_eq!(args.io.output, std::path::Path::new("out"));
    }

    #[test]
    fn values_out_of_range_are_usage_errors() {
        for bad in ["-q=101", "-q=-1", "-q=nan", "-q=best", "--threads=0"] {
            assert!(Cli::try_parse_from(["aecodec", "compress", "a.png", "b.aec", bad]).is_err(), "{bad}");
        }
    }
}
