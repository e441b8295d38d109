//! The command line: one file for each command, and what they share.
//!
//! `paths` turns arguments into jobs, `batch` runs them side by side,
//! `picture` reads and writes pictures, `output` writes whole files or none,
//! `model` finds models, `limits` says what a picture may cost. `assets`
//! is for packagers.

mod assets;
mod batch;
mod bench;
mod bench_restoration;
mod compare;
mod compress;
mod decompress;
mod denoise;
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
mod upscale;

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::LazyLock;

use anyhow::{Context, Result};
use clap::builder::RangedU64ValueParser;
use clap::{CommandFactory, Parser, Subcommand};

use aecodec::container;
use aecodec::model::registry::{MODELS, RESTORERS};

/// The version, and what it decodes without further files.
static LONG_VERSION: LazyLock<String> = LazyLock::new(|| {
    let models = MODELS.iter().chain(RESTORERS).map(|model| format!("\nmodel {} {}", model.id, model.name));
    format!("{}\nformat {}{}", env!("CARGO_PKG_VERSION"), container::VERSION, models.collect::<String>())
});

/// A learned image codec whose files decode to the same pixels on every machine.
#[derive(Debug, Parser)]
#[command(version, long_version = LONG_VERSION.as_str(), help_expected = true, arg_required_else_help = true, max_term_width = 100)]
struct Cli {
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
    #[command(override_usage = "aecodec denoise [OPTIONS] <IN>... <OUT>")]
    Denoise(denoise::DenoiseArgs),
    Upscale(upscale::UpscaleArgs),
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
    /// Give a model two quantisers, and fit what is not in its networks to held-out pictures
    #[cfg(feature = "train")]
    Requantise(aecodec::train::FitArgs),
    /// Fit filters for classes of blocks to what a model gives of held-out pictures
    #[cfg(feature = "train")]
    FitFilters(aecodec::train::FitArgs),
}

/// Remove noise from pictures with a neural network, on any processor.
#[derive(Debug, Parser)]
#[command(name = "image-denoise", override_usage = "image-denoise [OPTIONS] <IN>... <OUT>", version, long_version = LONG_VERSION.as_str(), help_expected = true, arg_required_else_help = true, max_term_width = 100)]
struct ImageDenoise {
    /// Threads to use: all processors, if left out
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=1024))]
    threads: Option<usize>,
    #[command(flatten)]
    args: denoise::DenoiseArgs,
}

/// The program `aecodec`.
pub fn aecodec() -> ExitCode {
    let Cli { threads, command } = Cli::parse();
    let threads = match command {
        #[cfg(feature = "train")]
        // Its workers are threads of their own.
        Command::Train(_) => None,
        _ => threads,
    };
    report(on_threads(threads, || command.run()))
}

/// The program `image-denoise`.
pub fn image_denoise() -> ExitCode {
    let ImageDenoise { threads, args } = ImageDenoise::parse();
    report(on_threads(threads, || args.run()))
}

/// Runs on as many threads as were asked for.
fn on_threads(threads: Option<usize>, run: impl FnOnce() -> Result<()> + Send) -> Result<()> {
    match threads {
        None => run(),
        Some(threads) => rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .with_context(|| format!("cannot start {threads} threads"))?
            .install(run),
    }
}

/// Tells of an error, with its causes, and what that means for the exit code.
fn report(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let mut lines = format!("error: {error}\n");
            let mut said = error.to_string();
            for cause in error.chain().skip(1).map(ToString::to_string) {
                // Some errors repeat their cause in their own words.
                if !said.contains(&cause) {
                    lines += &format!("because: {cause}\n");
                }
                said = cause;
            }
            // If even this cannot be written, the exit code has to do.
            let _ = io::stderr().write_all(lines.as_bytes());
            ExitCode::FAILURE
        }
    }
}

impl Command {
    fn run(self) -> Result<()> {
        match self {
            Command::Compress(args) => args.run(),
            Command::Decompress(args) => args.run(),
            Command::Denoise(args) => args.run(),
            Command::Upscale(args) => args.run(),
            Command::Info(args) => args.run(),
            Command::Compare(args) => args.run(),
            Command::Bench(args) => args.run(),
            Command::Results(args) => args.run(),
            Command::Meter(args) => args.run(),
            Command::Assets(args) => args.run([Cli::command(), ImageDenoise::command()]),
            #[cfg(feature = "train")]
            Command::Train(args) => train::run(&args),
            #[cfg(feature = "train")]
            Command::Export(args) => train::export(&args),
            #[cfg(feature = "train")]
            Command::Requantise(args) => aecodec::train::requantise::requantise(&args),
            #[cfg(feature = "train")]
            Command::FitFilters(args) => aecodec::train::class_fit::fit_filters(&args),
        }
    }
}

/// Whether a command failed only because nobody reads its output any more.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

/// A number from 0 to `most`, as typed.
fn within(text: &str, most: f32) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(value) if (0.0..=most).contains(&value) => Ok(value),
        Ok(_) => Err(format!("not within 0..{most}")),
        Err(error) => Err(error.to_string()),
    }
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
        ImageDenoise::command().debug_assert();
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
