//! Tables for a terminal.

use std::fmt::Write as _;

use crate::eval::peers::ANCHOR;
use crate::eval::run::Run;
use crate::eval::score::Metric;
use crate::eval::summary::{self, BANDS, Mean, compare};

/// Averages for each setting, then BD-rates and times against the anchor.
pub fn text(run: &Run) -> String {
    let mut out = format!("{:16} {:>8} {:>8}", "codec", "setting", "bpp");
    for metric in Metric::ALL {
        let _ = write!(out, " {:>11}", metric.name());
    }
    out += "\n";
    for (codec, about) in run.codecs.iter().enumerate() {
        for average in summary::averages(run, codec) {
            let _ = write!(out, "{:16} {:>8} {:>8.4}", about.name, average.setting, average.bpp);
            for (metric, decimals) in Metric::ALL.into_iter().zip([3, 3, 5, 2, 3]) {
                let value = average.value(metric).map_or("-".into(), |value| format!("{value:.decimals$}"));
                let _ = write!(out, " {value:>11}");
            }
            out += "\n";
        }
    }
    if let Some(anchor) = run.codec(ANCHOR) {
        Metric::ALL.iter().for_each(|&metric| out += &bd_rates(run, anchor, metric));
    }
    out += &times(run);
    for missing in &run.missing {
        let _ = writeln!(out, "\nnot measured: {}: {}", missing.name, missing.reason);
    }
    out
}

fn bd_rates(run: &Run, anchor: usize, metric: Metric) -> String {
    let mut lines = String::new();
    for (codec, about) in run.codecs.iter().enumerate().filter(|(codec, _)| *codec != anchor) {
        let comparison = compare(run, anchor, codec, metric);
        let Some(whole) = &comparison.whole else { continue };
        let percent =
            |mean: &Option<Mean>| mean.as_ref().map_or("-".into(), |mean| format!("{:+.1}", mean.mean));
        let _ = write!(lines, "  {:16} {:>+7.1}", about.name, whole.mean);
        comparison.bands.iter().for_each(|band| {
            let _ = write!(lines, " {:>10}", percent(band));
        });
        let averaged = comparison.averaged.map_or("-".into(), |figure| format!("{:+.1}", figure.percent));
        let _ = writeln!(
            lines,
            " {averaged:>9}   {:+.1} to {:+.1}, {} pictures, {:.2}..{:.2} {}",
            whole.best,
            whole.worst,
            whole.pictures,
            whole.low,
            whole.high,
            metric.unit()
        );
    }
    if lines.is_empty() {
        return lines;
    }
    let bands = BANDS.map(|(low, high)| format!("{:>10}", format!("{low}-{high}"))).join(" ");
    format!(
        "\nBD-rate against {} at equal {}, percent (negative: fewer bits); means over pictures\n  {:16} {:>7} {bands} {:>9}   best to worst, overlap\n{lines}",
        run.codecs[anchor].name,
        metric.name(),
        "where it spends",
        "all",
        "averaged",
    )
}

fn times(run: &Run) -> String {
    let mut out = String::new();
    for one_thread in [true, false] {
        let times: Vec<_> = run.times.iter().filter(|time| time.one_thread == one_thread).collect();
        let Some(first) = times.first() else { continue };
        let anchor = times.iter().find(|time| run.codecs[time.codec].name == ANCHOR);
        let threads = if one_thread { "one thread" } else { "default threads" };
        let _ = writeln!(
            out,
            "\nTimes, whole processes, {threads}, {:.1} megapixels, medians of {} rounds (ratio: CPU time to {ANCHOR})\n  {:16} {:>8} {:>8} | {:>8} {:>8} {:>7} {:>6} | {:>8} {:>8} {:>7} {:>6}",
            first.megapixels,
            first.rounds,
            "codec",
            "setting",
            "PSNR dB",
            "encode s",
            "CPU s",
            "MiB",
            "ratio",
            "decode s",
            "CPU s",
            "MiB",
            "ratio"
        );
        for time in &times {
            let _ = write!(
                out,
                "  {:16} {:>8} {:>8.2}",
                run.codecs[time.codec].name, time.setting, time.psnr_rgb
            );
            for (usage, anchor) in
                [(&time.encode, anchor.map(|a| &a.encode)), (&time.decode, anchor.map(|a| &a.decode))]
            {
                let ratio = anchor.map_or("-".into(), |anchor| format!("{:.2}", usage.cpu / anchor.cpu));
                let _ = write!(
                    out,
                    " | {:>8.3} {:>8.3} {:>7.1} {ratio:>6}",
                    usage.wall, usage.cpu, usage.peak_mib
                );
            }
            out += "\n";
        }
    }
    out
}
