//! The plot of a README: PSNR over rate, as an SVG file that is legible on a
//! light and on a dark page.

use std::fmt::Write as _;

use crate::eval::run::Run;
use crate::eval::score::Metric;
use crate::eval::summary;

const SIZE: [f64; 2] = [900.0, 500.0];
const LEFT: f64 = 48.0;
const RIGHT: f64 = 176.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 46.0;

/// Rates that are drawn, in bits per pixel.
const RATES: (f64, f64) = (0.045, 2.8);
const RATE_TICKS: [f64; 6] = [0.05, 0.1, 0.2, 0.5, 1.0, 2.0];

/// Mid tones, which stand out from white and from black.
const OURS: [&str; 6] = ["#e0561b", "#e69520", "#c0406f", "#9a5a2c", "#e07aa8", "#a08a1c"];
const PEERS: [&str; 8] =
    ["#3f83cc", "#7d9fc4", "#858b93", "#a39a86", "#2f9e77", "#9167c8", "#1f9aab", "#6f9a3a"];

/// One codec's curve.
struct Curve<'a> {
    name: &'a str,
    own: bool,
    colour: &'static str,
    /// Bits per pixel and PSNR, by rising rate.
    points: Vec<(f64, f64)>,
}

/// Curves of all codecs, means over the pictures at each setting.
pub fn plot(run: &Run) -> String {
    let [width, height] = SIZE;
    let (mut ours, mut peers) = (OURS.iter().cycle(), PEERS.iter().cycle());
    let mut curves = Vec::new();
    for (codec, about) in run.codecs.iter().enumerate() {
        let own = about.model_bytes.is_some();
        let colour = if own { ours.next() } else { peers.next() }.expect("a cycle does not end");
        let points: Vec<(f64, f64)> = summary::averages(run, codec)
            .iter()
            .filter_map(|average| Some((average.bpp, average.value(Metric::PsnrRgb)?)))
            .filter(|(bpp, _)| (RATES.0..=RATES.1).contains(bpp))
            .collect();
        if points.len() > 1 {
            curves.push(Curve { name: &about.name, own, colour, points });
        }
    }
    // Ours last, on top.
    curves.sort_by_key(|curve| curve.own);
    let psnrs = || curves.iter().flat_map(|curve| curve.points.iter().map(|point| point.1));
    let (low, high) = (psnrs().fold(f64::INFINITY, f64::min).floor(), psnrs().fold(0.0, f64::max).ceil());
    let x = |bpp: f64| LEFT + (bpp / RATES.0).ln() / (RATES.1 / RATES.0).ln() * (width - LEFT - RIGHT);
    let y = |psnr: f64| height - BOTTOM - (psnr - low) / (high - low).max(1.0) * (height - TOP - BOTTOM);

    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"system-ui, sans-serif\" font-size=\"13\">\n"
    );
    for bpp in RATE_TICKS {
        let x = x(bpp);
        let _ = writeln!(
            out,
            "<path d=\"M{x:.1} {TOP}V{:.1}\" stroke=\"#888\" stroke-opacity=\".25\"/><text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#888\">{bpp}</text>",
            height - BOTTOM,
            height - BOTTOM + 18.0
        );
    }
    let ticks = (low as i64..=high as i64).filter(|psnr| psnr % 4 == 0).map(|psnr| psnr as f64);
    for psnr in ticks {
        let y = y(psnr);
        let _ = writeln!(
            out,
            "<path d=\"M{LEFT} {y:.1}H{:.1}\" stroke=\"#888\" stroke-opacity=\".25\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#888\">{psnr}</text>",
            width - RIGHT,
            LEFT - 8.0,
            y + 4.0
        );
    }
    let _ = writeln!(
        out,
        "<text x=\"8\" y=\"16\" fill=\"#888\">PSNR-RGB, dB ({} pictures: {})</text><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#888\">bits per pixel</text>",
        run.pictures.len(),
        xml(&run.set),
        width - RIGHT,
        height - 8.0
    );
    for Curve { own, colour, points, .. } in &curves {
        let mut line = String::new();
        let mut dots = String::new();
        for (index, &(bpp, psnr)) in points.iter().enumerate() {
            let (x, y) = (x(bpp), y(psnr));
            let _ = write!(line, "{}{x:.1} {y:.1}", if index == 0 { "M" } else { "L" });
            let _ =
                write!(dots, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{}\"/>", if *own { 3.4 } else { 2.4 });
        }
        let weight = if *own { 2.8 } else { 1.7 };
        let _ = writeln!(
            out,
            "<path d=\"{line}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{weight}\" stroke-linejoin=\"round\"/><g fill=\"{colour}\">{dots}</g>"
        );
    }
    out += &labels(&curves, x(RATES.1), &y);
    out + "</svg>\n"
}

/// Names at the right, beside the ends of their curves, moved apart where they
/// would overlap.
fn labels(curves: &[Curve], x: f64, y: &dyn Fn(f64) -> f64) -> String {
    let end = |curve: &Curve| y(curve.points[curve.points.len() - 1].1);
    let mut ends: Vec<(f64, &Curve)> = curves.iter().map(|curve| (end(curve), curve)).collect();
    ends.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut out = String::new();
    let mut next = TOP;
    for (y, Curve { name, own, colour, .. }) in ends {
        let y = y.max(next);
        next = y + 17.0;
        let weight = if *own { 700 } else { 400 };
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"{colour}\" font-weight=\"{weight}\">{}</text>",
            x + 10.0,
            y + 4.0,
            xml(name)
        );
    }
    out
}

fn xml(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
