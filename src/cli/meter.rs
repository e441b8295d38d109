//! `aecodec meter`, which `aecodec bench` times other programs with.

use std::ffi::OsString;

use anyhow::{Context, Result};
use clap::Args;

use aecodec::eval::process;

use super::print;

/// Run a program and print the time and memory it took as JSON
#[derive(Debug, Args)]
#[command(hide = true)]
pub struct MeterArgs {
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl MeterArgs {
    /// Runs the program to its end.
    pub fn run(self) -> Result<()> {
        let (program, arguments) = self.command.split_first().context("no program")?;
        print(&(serde_json::to_string(&process::run(program, arguments)?)? + "\n"))
    }
}
