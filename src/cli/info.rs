//! `aecodec info`: what a file says about itself.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;

use aecodec::eval::sweep::bits_per_pixel;
use aecodec::{Cicp, Colour, Limits};

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
    alpha: bool,
    orientation: u8,
    cicp: Option<CicpReport>,
    icc_bytes: usize,
    exif_bytes: usize,
    xmp_bytes: usize,
    quality_index: u8,
    model: Option<&'static str>,
    model_id: String,
    tiles: usize,
    bytes: usize,
    bpp: f64,
}

#[derive(Debug, Serialize)]
struct CicpReport {
    primaries: u8,
    transfer: u8,
    matrix: u8,
    full_range: bool,
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
    let metadata = aecodec::metadata(&bytes, &Limits::default())?;
    let size = |payload: Option<Vec<u8>>| payload.map_or(0, |payload| payload.len());
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
        alpha: info.alpha,
        orientation: metadata.orientation.to_exif(),
        cicp: metadata.cicp.map(|Cicp { primaries, transfer, matrix, full_range }| CicpReport {
            primaries,
            transfer,
            matrix,
            full_range,
        }),
        icc_bytes: size(metadata.icc),
        exif_bytes: size(metadata.exif),
        xmp_bytes: size(metadata.xmp),
        quality_index: info.quality.0,
        model: info.model_name,
        model_id: info.model.to_string(),
        tiles: info.tiles,
        bytes: info.bytes,
        bpp: bits_per_pixel(info.bytes as u64, info.width, info.height),
    })
}

fn lines(report: &Report) -> String {
    let alpha = if report.alpha { " with alpha" } else { "" };
    let mut carried = Vec::new();
    if let Some(cicp) = &report.cicp {
        carried.push(format!("CICP {}/{}/{}", cicp.primaries, cicp.transfer, cicp.matrix));
    }
    if report.orientation != 1 {
        carried.push(format!("orientation {}", report.orientation));
    }
    for (name, bytes) in [("ICC", report.icc_bytes), ("Exif", report.exif_bytes), ("XMP", report.xmp_bytes)] {
        if bytes > 0 {
            carried.push(format!("{name} {bytes} bytes"));
        }
    }
    let rows = [
        ("file", report.file.clone()),
        ("pixels", format!("{} x {}, {}{alpha}", report.width, report.height, report.colour)),
        ("quality", format!("index {} of 255", report.quality_index)),
        ("model", format!("{} ({})", report.model.unwrap_or("not in this build"), report.model_id)),
        ("tiles", report.tiles.to_string()),
        ("carries", carried.join(", ")),
        ("size", format!("{} bytes, {:.3} bpp", report.bytes, report.bpp)),
    ];
    let shown = rows.iter().filter(|(_, value)| !value.is_empty());
    shown.map(|(name, value)| format!("{name:<9}{value}\n")).collect()
}
