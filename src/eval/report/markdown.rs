//! Tables for documents, which therefore cannot drift from what was measured.

use std::fmt::Write as _;

use anyhow::{Context, Result};

use crate::eval::description::description_lengths;
use crate::eval::peers::ANCHOR;
use crate::eval::run::{Run, Timing};
use crate::eval::score::Metric;
use crate::eval::summary::{self, BANDS, Mean, compare};

/// Where generated figures begin in a document that has other text too.
pub const BEGIN: &str = "<!-- figures: written by `aecodec results`, do not edit -->";
/// Where they end.
pub const END: &str = "<!-- end of figures -->";

/// A document with the text between [`BEGIN`] and [`END`] replaced.
pub fn replace_figures(document: &str, figures: &str) -> Result<String> {
    let missing = || format!("the document lacks the lines '{BEGIN}' and '{END}'");
    let (before, rest) = document.split_once(BEGIN).with_context(missing)?;
    let (_, after) = rest.split_once(END).with_context(missing)?;
    Ok(format!("{before}{BEGIN}\n\n{figures}\n{END}{after}"))
}

/// The figures of a README: the first of our codecs beside the others.
/// `plot` is the path of the plot beside it, `details` that of the whole results.
pub fn readme(run: &Run, plot: &str, details: &str) -> Result<String> {
    let (anchor, ours) = anchor_and_ours(run)?;
    let mut out = format!("![PSNR over bits per pixel]({plot})\n\n");
    let comparison = compare(run, anchor, ours, Metric::PsnrRgb);
    let anchor_name = label(run, anchor);
    let _ = writeln!(
        out,
        "{} pictures ({}), real files, measured on {} with `aecodec bench`.\nBits against {anchor_name}\nat equal PSNR-RGB, the mean of each picture's BD-rate: **{} %**{}.\n",
        run.pictures.len(),
        run.set,
        run.date,
        percent(&comparison.whole),
        comparison.whole.as_ref().map_or(String::new(), |whole| {
            format!(", from {} to {} %", signed(whole.best), signed(whole.worst))
        }),
    );
    out += &bd_table(run, anchor, &[Metric::PsnrRgb, Metric::MsSsim, Metric::Ssimulacra2]);
    out += "\n";
    out += &quality_table(run, ours);
    if let (Some(us), Some(them)) = (timing(run, ours, true), timing(run, anchor, true)) {
        let _ = writeln!(
            out,
            "\nWhole processes on one thread near {:.0} dB: {:.2} times {anchor_name}'s CPU time to encode,\n{:.2} times to decode; peak memory {:.0} and {:.0} MiB ({:.0} and {:.0}).",
            crate::eval::timing::TIMED_AT,
            us.encode.cpu / them.encode.cpu,
            us.decode.cpu / them.decode.cpu,
            us.encode.peak_mib,
            us.decode.peak_mib,
            them.encode.peak_mib,
            them.decode.peak_mib
        );
    }
    let _ = writeln!(out, "\nEverything else: [{details}]({details}).");
    Ok(out)
}

/// The whole results. `source` is the path of the run's file beside the document.
pub fn results(run: &Run, source: &str) -> Result<String> {
    let (anchor, ours) = anchor_and_ours(run)?;
    let mut out = format!(
        "# Results\n\nWritten by `aecodec results` from `{source}`; do not edit.\n\n{} pictures ({}), measured on {}.\nMachine: {}.\n\nRates are those of files on disk, qualities those of the pixels read back from\nthem. BD-rates are the mean difference of rate at equal quality, negative for fewer\nbits, found for each picture by PCHIP interpolation of log-rate over quality on the\nqualities that both codecs reach, then averaged over the pictures.\n",
        run.pictures.len(),
        run.set,
        run.date,
        run.machine
    );
    let _ = writeln!(out, "\n## Bits against {}, percent\n", label(run, anchor));
    out += &bd_table(run, anchor, &Metric::ALL);
    out += "\n## Bits by rate, at equal PSNR-RGB\n\n";
    out += &band_table(run, anchor);
    out += &times(run, anchor);
    out += &format!("\n## {} by quality\n\n", run.codecs[ours].name);
    out += &quality_table(run, ours);
    out += &descriptions(run, anchor);
    out += "\n## Picture by picture, BD-rate at equal PSNR-RGB, percent\n\n";
    out += &picture_table(run, anchor);
    out += "\n## Codecs\n\n| codec | | version | commands |\n|---|---|---|---|\n";
    for codec in &run.codecs {
        let _ = writeln!(
            out,
            "| {} | {} | {} | `{}`, `{}` |",
            codec.name, codec.about, codec.version, codec.encode, codec.decode
        );
    }
    for missing in &run.missing {
        let _ = writeln!(out, "\nNot measured: {}: {}.", missing.name, missing.reason);
    }
    Ok(out)
}

fn anchor_and_ours(run: &Run) -> Result<(usize, usize)> {
    let anchor = run.codec(ANCHOR).with_context(|| format!("the run has no {ANCHOR} to compare with"))?;
    let ours = run.codecs.iter().position(|codec| codec.model_bytes.is_some());
    Ok((anchor, ours.context("the run has none of our codecs")?))
}

fn label(run: &Run, codec: usize) -> String {
    let codec = &run.codecs[codec];
    format!("{} {} ({})", codec.name, codec.version, codec.about)
}

fn signed(value: f64) -> String {
    format!("{value:+.1}")
}

fn percent(mean: &Option<Mean>) -> String {
    mean.as_ref().map_or("-".into(), |mean| signed(mean.mean))
}

fn others(run: &Run, anchor: usize) -> impl Iterator<Item = usize> {
    (0..run.codecs.len()).filter(move |codec| *codec != anchor)
}

/// One column for each metric.
fn bd_table(run: &Run, anchor: usize, metrics: &[Metric]) -> String {
    let mut out = String::from("| codec |");
    metrics.iter().for_each(|metric| out += &format!(" {} |", metric.name()));
    out += &format!("\n|---|{}\n", "---:|".repeat(metrics.len()));
    for codec in others(run, anchor) {
        let _ = write!(out, "| {} |", run.codecs[codec].name);
        for &metric in metrics {
            let _ = write!(out, " {} |", percent(&compare(run, anchor, codec, metric).whole));
        }
        out += "\n";
    }
    out
}

/// One column for each band of rates, then what the figure rests on.
fn band_table(run: &Run, anchor: usize) -> String {
    let mut out = String::from("| codec | all |");
    BANDS.iter().for_each(|(low, high)| out += &format!(" {low}-{high} bpp |"));
    out += " best, worst | overlap, dB | pictures | averaged curves |\n|---|";
    out += &format!("{}\n", "---:|".repeat(BANDS.len() + 5));
    for codec in others(run, anchor) {
        let comparison = compare(run, anchor, codec, Metric::PsnrRgb);
        let _ = write!(out, "| {} | {} |", run.codecs[codec].name, percent(&comparison.whole));
        comparison.bands.iter().for_each(|band| out += &format!(" {} |", percent(band)));
        match &comparison.whole {
            Some(whole) => {
                let _ = write!(
                    out,
                    " {}, {} | {:.1} to {:.1} | {} |",
                    signed(whole.best),
                    signed(whole.worst),
                    whole.low,
                    whole.high,
                    whole.pictures
                );
            }
            None => out += " - | - | 0 |",
        }
        let averaged = comparison.averaged.map_or("-".into(), |figure| signed(figure.percent));
        let _ = writeln!(out, " {averaged} |");
    }
    out
}

/// Means over the pictures at each setting of one codec.
fn quality_table(run: &Run, codec: usize) -> String {
    let mut out = String::from("| quality | bpp |");
    Metric::ALL.iter().for_each(|metric| out += &format!(" {} |", metric.name()));
    out += &format!("\n|---:|{}\n", "---:|".repeat(1 + Metric::ALL.len()));
    for average in summary::averages(run, codec) {
        let _ = write!(out, "| {} | {:.3} |", average.setting, average.bpp);
        for (metric, decimals) in Metric::ALL.into_iter().zip([2, 2, 4, 1, 2]) {
            let value = average.value(metric).map_or("-".into(), |value| format!("{value:.decimals$}"));
            let _ = write!(out, " {value} |");
        }
        out += "\n";
    }
    out
}

fn timing(run: &Run, codec: usize, one_thread: bool) -> Option<&Timing> {
    run.times.iter().find(|time| time.codec == codec && time.one_thread == one_thread)
}

fn times(run: &Run, anchor: usize) -> String {
    let mut out = String::new();
    for (one_thread, threads) in [(true, "one thread"), (false, "default threads")] {
        let Some(base) = timing(run, anchor, one_thread) else { continue };
        let _ = writeln!(
            out,
            "\n## Time and memory, {threads}\n\nWhole processes, one after another in turns, each codec at its setting closest to\n{:.0} dB; {:.1} megapixels, medians of {} rounds. Times are ratios to {}.\n",
            crate::eval::timing::TIMED_AT,
            base.megapixels,
            base.rounds,
            run.codecs[anchor].name
        );
        out += "| codec | setting | PSNR, dB | encode CPU | encode wall | decode CPU | decode wall | encode MP/s | decode MP/s | peak MiB |\n|---|";
        out += &format!("{}\n", "---:|".repeat(9));
        for time in run.times.iter().filter(|time| time.one_thread == one_thread) {
            let _ = writeln!(
                out,
                "| {} | {} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.1} | {:.1} | {:.0}, {:.0} |",
                run.codecs[time.codec].name,
                time.setting,
                time.psnr_rgb,
                time.encode.cpu / base.encode.cpu,
                time.encode.wall / base.encode.wall,
                time.decode.cpu / base.decode.cpu,
                time.decode.wall / base.decode.wall,
                time.megapixels / time.encode.wall,
                time.megapixels / time.decode.wall,
                time.encode.peak_mib,
                time.decode.peak_mib
            );
        }
    }
    out
}

fn descriptions(run: &Run, anchor: usize) -> String {
    let mut out = String::new();
    let n = run.pictures.len() as f64;
    let pixels = run.pictures.iter().map(|p| f64::from(p.width) * f64::from(p.height)).sum::<f64>();
    for (codec, about) in run.codecs.iter().enumerate() {
        let Some(model_bytes) = about.model_bytes else { continue };
        let model = 8.0 * model_bytes as f64 / pixels;
        let _ = writeln!(
            out,
            "\n## The description length in full: {}\n\nBits per pixel of the coded files, of the error they leave (an adaptive code of\norder 0 for each colour), and of the model's {model_bytes} bytes spread over the {n} pictures;\nbeside {} at the same PSNR on each picture.\n",
            about.name, run.codecs[anchor].name
        );
        out += "| quality | PSNR, dB | latents | error | model | sum | anchor's file | its error | sum | pictures until the model is paid for |\n|---:|";
        out += &format!("{}\n", "---:|".repeat(9));
        for l in description_lengths(run, anchor, codec, model_bytes) {
            let _ = writeln!(
                out,
                "| {} | {:.2} | {:.3} | {:.3} | {model:.3} | {:.3} | {:.3} | {:.3} | {:.3} | {} |",
                l.setting,
                l.psnr_rgb,
                l.latents_bpp,
                l.error_bpp,
                l.latents_bpp + l.error_bpp + model,
                l.anchor_bpp,
                l.anchor_error_bpp,
                l.anchor_bpp + l.anchor_error_bpp,
                l.pictures_to_pay.map_or("never".into(), |n| n.to_string())
            );
        }
    }
    out
}

fn picture_table(run: &Run, anchor: usize) -> String {
    let codecs: Vec<usize> = others(run, anchor).collect();
    let figures: Vec<_> =
        codecs.iter().map(|&codec| compare(run, anchor, codec, Metric::PsnrRgb).pictures).collect();
    let mut out = String::from("| picture |");
    codecs.iter().for_each(|&codec| out += &format!(" {} |", run.codecs[codec].name));
    out += &format!("\n|---|{}\n", "---:|".repeat(codecs.len()));
    for (index, picture) in run.pictures.iter().enumerate() {
        let _ = write!(out, "| {} |", picture.name);
        for figure in &figures {
            let _ = write!(out, " {} |", figure[index].map_or("-".into(), signed));
        }
        out += "\n";
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_marked_part_of_a_document_changes() {
        let document = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let new = replace_figures(&document, "new\n").unwrap();
        assert_eq!(new, format!("before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"));
        assert_eq!(replace_figures(&new, "new\n").unwrap(), new);
        assert!(replace_figures("nothing", "new").is_err());
    }
}
