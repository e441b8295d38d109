//! `aecodec info`: what a file says about itself.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use image::DynamicImage;
use serde::Serialize;

use aecodec::eval::bits_per_pixel;
use aecodec::{Cicp, Colour, DecodeOptions, Limits};

use super::heat_map;
use super::output::Output;
use super::paths::Input;
use super::picture::{self, Picture};
use super::{model, print};

/// Show what an .aec file holds
#[derive(Debug, Args)]
pub struct InfoArgs {
    /// The file, or - for standard input
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Write a picture of where the bits went: a heat map over the picture
    #[arg(long, value_name = "FILE")]
    map: Option<PathBuf>,
    /// The model file, for --map, where this build lacks the model
    #[arg(long, value_name = "FILE", requires = "map")]
    model: Option<PathBuf>,
    /// Replace a map that exists
    #[arg(long)]
    force: bool,
}

/// What is shown, in this order.
#[derive(Debug, Serialize)]
struct Report {
    file: String,
    width: u32,
    height: u32,
    colour: &'static str,
    alpha: bool,
    filtered: bool,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    map: Option<MapReport>,
}

/// Where the bits went.
#[derive(Debug, Serialize)]
struct MapReport {
    file: String,
    latent_bits: f64,
    hyper_latent_bits: f64,
    other_bits: f64,
    bpp_from: f64,
    bpp_to: f64,
}

#[derive(Debug, Serialize)]
struct CicpReport {
    primaries: u8,
    transfer: u8,
    matrix: u8,
    full_range: bool,
}

impl InfoArgs {
    /// Prints the report, writes the map.
    pub fn run(self) -> Result<()> {
        let input = Input::from_path(self.file);
        let bytes = input.read().with_context(|| format!("cannot read {input}"))?;
        let mut report = report(&input, &bytes).with_context(|| format!("cannot read {input}"))?;
        if let Some(path) = self.map {
            let models = self.model.as_deref().map(model::read).transpose()?.into_iter().collect();
            let options = DecodeOptions { models, ..DecodeOptions::default() };
            let output = Output::File(path);
            report.map = Some(write_map(&bytes, &options, &output, self.force)?);
        }
        print(&if self.json { serde_json::to_string_pretty(&report)? + "\n" } else { lines(&report) })
    }
}

fn write_map(bytes: &[u8], options: &DecodeOptions, output: &Output, force: bool) -> Result<MapReport> {
    let format = picture::output_format(output)?;
    output.check(force)?;
    let map = aecodec::codec::bit_map(bytes, options)?;
    let decoded = aecodec::decode(bytes, options)?;
    let mut drawn = Picture::from(DynamicImage::from(heat_map::draw(&map, &decoded)));
    output.write(&picture::write(&mut drawn, format)?, force)?;
    let (from, to) = heat_map::range(&map);
    Ok(MapReport {
        file: output.to_string(),
        latent_bits: map.latents,
        hyper_latent_bits: map.hyper_latents,
        other_bits: 8.0 * bytes.len() as f64 - map.latents - map.hyper_latents,
        bpp_from: from.into(),
        bpp_to: to.into(),
    })
}

fn report(input: &Input, bytes: &[u8]) -> Result<Report> {
    let info = aecodec::probe(bytes)?;
    let metadata = aecodec::metadata(bytes, &Limits::default())?;
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
        filtered: info.filtered,
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
        map: None,
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
        ("tiles", format!("{}{}", report.tiles, if report.filtered { ", with filters" } else { "" })),
        ("carries", carried.join(", ")),
        ("size", format!("{} bytes, {:.3} bpp", report.bytes, report.bpp)),
    ];
    let shown = rows.iter().filter(|(_, value)| !value.is_empty());
    let mut out: String = shown.map(|(name, value)| format!("{name:<9}{value}\n")).collect();
    if let Some(map) = &report.map {
        let percent = |bits: f64| bits / (8.0 * report.bytes as f64) * 100.0;
        let _ = write!(
            out,
            "latents  {:.0} bits, {:.1} %\nhyper    {:.0} bits, {:.1} %\nother    {:.0} bits, {:.1} %\nmap      {}: dark {:.3} to bright {:.3} bpp, on a logarithmic scale\n",
            map.latent_bits,
            percent(map.latent_bits),
            map.hyper_latent_bits,
            percent(map.hyper_latent_bits),
            map.other_bits,
            percent(map.other_bits),
            map.file,
            map.bpp_from,
            map.bpp_to,
        );
    }
    out
}
