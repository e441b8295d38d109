//! The `aecodec` command: parse, run, report.
#![deny(missing_docs)]

mod cli;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has seen enough.
        Err(error) if cli::is_broken_pipe(&error) => ExitCode::SUCCESS,
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
            let _ = std::io::stderr().write_all(lines.as_bytes());
            ExitCode::FAILURE
        }
    }
}
