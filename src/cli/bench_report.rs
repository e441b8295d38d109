//! What `aecodec bench` writes: tables for people, CSV and JSON for programs.

use std::fmt::Write as _;

use anyhow::Result;
use serde::Serialize;

use aecodec::eval::summary::{Comparison, PerImage};
use aecodec::eval::{Row, Summary};

const COLUMNS: &str = "codec,setting,image,width,height,bytes,bpp,psnr_rgb,psnr_y,enc_wall,dec_wall";

/// One line for each measurement.
pub fn csv(rows: &[Row]) -> String {
    let mut out = format!("{COLUMNS}\n");
    for row in rows {
        let image = if row.image.contains([',', '"', '\n']) {
            format!("\"{}\"", row.image.replace('"', "\"\""))
        } else {
            row.image.clone()
        };
        let _ = writeln!(
            out,
            "{},{},{image},{},{},{},{:.6},{:.4},{:.4},{:.6},{:.6}",
            row.codec,
            row.setting,
            row.width,
            row.height,
            row.bytes,
            row.bpp,
            row.psnr_rgb,
            row.psnr_y,
            row.enc_wall,
            row.dec_wall
        );
    }
    out
}

/// Every measurement and the summary.
pub fn json(rows: &[Row], summary: &Summary) -> Result<String> {
    #[derive(Serialize)]
    struct Report<'a> {
        rows: &'a [Row],
        summary: &'a Summary,
    }
    Ok(serde_json::to_string_pretty(&Report { rows, summary })? + "\n")
}

/// Averages for each setting, then the BD-rates.
pub fn table(summary: &Summary) -> String {
    let mut out = format!(
        "{:10} {:>8} {:>7} {:>9} {:>9} {:>9} {:>10} {:>10}\n",
        "codec", "setting", "images", "bpp", "PSNR-RGB", "PSNR-Y", "encode ms", "decode ms"
    );
    for average in &summary.averages {
        let _ = writeln!(
            out,
            "{:10} {:>8} {:>7} {:>9.4} {:>9.3} {:>9.3} {:>10.1} {:>10.1}",
            average.codec,
            average.setting,
            average.images,
            average.bpp,
            average.psnr_rgb,
            average.psnr_y,
            1000.0 * average.enc_wall,
            1000.0 * average.dec_wall
        );
    }
    if summary.averages.iter().any(|average| average.codec == "openjpeg") {
        out += "(times of openjpeg are those of whole processes)\n";
    }
    for comparison in &summary.comparisons {
        out += &comparison_lines(comparison);
    }
    out
}

fn comparison_lines(comparison: &Comparison) -> String {
    let mut out = format!(
        "\nBD-rate of {} against {}, {}, percent (negative: fewer bits)\n",
        comparison.codec,
        comparison.anchor,
        comparison.metric.name()
    );
    let mut line = |name: &str, figure: &Option<PerImage>| {
        let text = figure.as_ref().map_or_else(
            || "no overlap".to_owned(),
            |figure| {
                format!(
                    "{:>7.2}  ({:.1} worst, {:.1} best)  {} images, {:.2}..{:.2} dB",
                    figure.mean, figure.worst, figure.best, figure.images, figure.low, figure.high
                )
            },
        );
        let _ = writeln!(out, "  {name:32} {text}");
    };
    line("mean over images", &comparison.per_image);
    for band in &comparison.bands {
        line(&format!("  where it spends {}..{} bpp", band.from_bpp, band.to_bpp), &band.per_image);
    }
    if let Some(percent) = comparison.averaged_curves {
        let _ = writeln!(out, "  {:32} {percent:>7.2}", "averaged curves");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_commas_are_quoted() {
        let row = Row {
            codec: "aecodec".into(),
            setting: 12.5,
            image: "a, \"b\"".into(),
            width: 16,
            height: 8,
            bytes: 16,
            bpp: 1.0,
            psnr_rgb: 30.25,
            psnr_y: 31.0,
            enc_wall: 0.5,
            dec_wall: 0.25,
        };
        let expected = format!(
            "{COLUMNS}\naecodec,12.5,\"a, \"\"b\"\"\",16,8,16,1.000000,30.2500,31.0000,0.500000,0.250000\n"
        );
        assert_eq!(csv(&[row]), expected);
    }
}
