//! `aecodec info`: what a file says about itself.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;

use aecodec::Colour;
use aecodec::eval::sweep::bits_per_pixel;

use super::paths::Input;
use super::print;

/// Show what an .aec file holds
#[derive(Debug, Args)]
pub struct InfoArgs {
    /// The file, or - for standard input
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is shown, in this order.
#[derive(Debug, Serialize)]
struct Report {
    file: String,
    width: u32,
    height: u32,
    colour: &'static str,
    quality_index: u8,
    model: Option<&'static str>,
    model_id: String,
    tiles: usize,
    bytes: usize,
    bpp: f64,
}

impl InfoArgs {
    /// Prints the report.
    pub fn run(self) -> Result<()> {
        let input = Input::from_path(self.file);
        let report = report(&input).with_context(|| format!("cannot read {input}"))?;
        print(&if self.json { serde_json::to_string_pretty(&report)? + "\n" } else { lines(&report) })
    }
}

fn report(input: &Input) -> Result<Report> {
    let bytes = input.read()?;
    let info = aecodec::probe(&bytes)?;
    Ok(Report {
        file: input.to_string(),
        width: info.width,
        height: info.height,
        colour: match info.colour {
            Colour::Rgb8 => "rgb8",
            Colour::Grey8 => "grey8",
            Colour::Rgb16 => "rgb16",
            Colour::Grey16 => "grey16",
        },
        quality_index: info.quality.0,
        model: info.model_name,
        model_id: info.model.to_string(),
        tiles: info.tiles,
        bytes: info.bytes,
        bpp: bits_per_pixel(info.bytes as u64, info.width, info.height),
    })
}

fn lines(report: &Report) -> String {
    format!(
        "file     {}\npixels   {} x {}, {}\nquality  index {} of 255\nmodel    {} ({})\ntiles    {}\nsize     {} bytes, {:.3} bpp\n",
        report.file,
        report.width,
        report.height,
        report.colour,
        report.quality_index,
        report.model.unwrap_or("not in this build"),
        report.model_id,
        report.tiles,
        report.bytes,
        report.bpp,
    )
}
