//! From rows to the figures that are quoted: averages and BD-rates.

use serde::Serialize;

use super::bd_rate::{BdRate, Point, bd_rate};
use super::sweep::Row;

/// Ranges of the anchor's rate, in bits per pixel, that BD-rates are also given for.
const BANDS: [(f64, f64); 3] = [(0.05, 0.4), (0.4, 1.0), (1.0, 2.5)];

/// What a set of rows says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Means over the pictures, for each codec and setting.
    pub averages: Vec<Average>,
    /// BD-rates of each other codec against the anchor; empty without an anchor.
    pub comparisons: Vec<Comparison>,
}

/// Means over all pictures of one codec at one setting.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Average {
    /// Name of the codec.
    pub codec: String,
    /// The setting.
    pub setting: f64,
    /// Pictures averaged.
    pub images: usize,
    /// Mean bits per pixel.
    pub bpp: f64,
    /// Mean PSNR-RGB.
    pub psnr_rgb: f64,
    /// Mean PSNR-Y.
    pub psnr_y: f64,
    /// Mean seconds to encode.
    pub enc_wall: f64,
    /// Mean seconds to decode.
    pub dec_wall: f64,
}

/// One codec against the anchor, by one metric.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Name of the codec.
    pub codec: String,
    /// Name of the codec it is compared with.
    pub anchor: String,
    /// `psnr_rgb` or `psnr_y`.
    pub metric: Metric,
    /// One BD-rate for each picture, over the whole overlap of its curves.
    pub per_image: Option<PerImage>,
    /// The same where the anchor spends so many bits per pixel.
    pub bands: Vec<Band>,
    /// BD-rate between the averaged curves, in percent. It differs from the
    /// mean over pictures where one codec holds the rate constant over a set
    /// and the other the quality.
    pub averaged_curves: Option<f64>,
}

/// A BD-rate in one range of the anchor's rate.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Band {
    /// Lowest rate of the anchor, in bits per pixel.
    pub from_bpp: f64,
    /// Highest rate of the anchor.
    pub to_bpp: f64,
    /// The figure, if any picture's curves overlap there.
    pub per_image: Option<PerImage>,
}

/// BD-rates of single pictures, summed up. Percent; negative is fewer bits.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PerImage {
    /// Their mean.
    pub mean: f64,
    /// The highest.
    pub worst: f64,
    /// The lowest.
    pub best: f64,
    /// Pictures that gave a figure.
    pub images: usize,
    /// The lowest quality compared on any picture, in dB.
    pub low: f64,
    /// The highest quality compared on any picture, in dB.
    pub high: f64,
}

/// The quality that a BD-rate holds equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// PSNR over all samples.
    PsnrRgb,
    /// PSNR of the luma.
    PsnrY,
}

impl Metric {
    /// How the metric is printed.
    pub fn name(self) -> &'static str {
        match self {
            Metric::PsnrRgb => "PSNR-RGB",
            Metric::PsnrY => "PSNR-Y",
        }
    }

    fn of(self, row: &Row) -> f64 {
        match self {
            Metric::PsnrRgb => row.psnr_rgb,
            Metric::PsnrY => row.psnr_y,
        }
    }

    fn of_average(self, average: &Average) -> f64 {
        match self {
            Metric::PsnrRgb => average.psnr_rgb,
            Metric::PsnrY => average.psnr_y,
        }
    }
}

/// Sums rows up; BD-rates are against the codec named `anchor`.
pub fn summarize(rows: &[Row], anchor: &str) -> Summary {
    let averages = averages(rows);
    let others = distinct(rows.iter().map(|row| row.codec.as_str()).filter(|&codec| codec != anchor));
    let has_anchor = rows.iter().any(|row| row.codec == anchor);
    let comparisons = others
        .into_iter()
        .filter(|_| has_anchor)
        .flat_map(|codec| [Metric::PsnrRgb, Metric::PsnrY].map(|metric| (codec, metric)))
        .map(|(codec, metric)| Comparison {
            codec: codec.into(),
            anchor: anchor.into(),
            metric,
            per_image: per_image(rows, anchor, codec, metric, None),
            bands: BANDS
                .iter()
                .map(|&(from_bpp, to_bpp)| Band {
                    from_bpp,
                    to_bpp,
                    per_image: per_image(rows, anchor, codec, metric, Some((from_bpp, to_bpp))),
                })
                .collect(),
            averaged_curves: averaged_curves(&averages, anchor, codec, metric),
        })
        .collect();
    Summary { averages, comparisons }
}

/// Codec by codec in the rows' order, each by rising rate. Settings that failed
/// on some of the pictures are left out: their mean would be of another set.
fn averages(rows: &[Row]) -> Vec<Average> {
    let images = distinct(rows.iter().map(|row| row.image.as_str())).len();
    let mut out = Vec::new();
    for codec in distinct(rows.iter().map(|row| row.codec.as_str())) {
        let rows: Vec<&Row> = rows.iter().filter(|row| row.codec == codec).collect();
        let mut settings: Vec<f64> = rows.iter().map(|row| row.setting).collect();
        settings.sort_by(f64::total_cmp);
        settings.dedup();
        let mut points: Vec<Average> = settings
            .into_iter()
            .map(|setting| average(codec, setting, &rows))
            .filter(|average| average.images == images)
            .collect();
        points.sort_by(|a, b| a.bpp.total_cmp(&b.bpp));
        out.extend(points);
    }
    out
}

fn average(codec: &str, setting: f64, rows: &[&Row]) -> Average {
    let rows: Vec<&&Row> = rows.iter().filter(|row| row.setting == setting).collect();
    let mean = |value: fn(&Row) -> f64| rows.iter().map(|row| value(row)).sum::<f64>() / rows.len() as f64;
    Average {
        codec: codec.into(),
        setting,
        images: rows.len(),
        bpp: mean(|row| row.bpp),
        psnr_rgb: mean(|row| row.psnr_rgb),
        psnr_y: mean(|row| row.psnr_y),
        enc_wall: mean(|row| row.enc_wall),
        dec_wall: mean(|row| row.dec_wall),
    }
}

fn per_image(
    rows: &[Row],
    anchor: &str,
    codec: &str,
    metric: Metric,
    anchor_bpp: Option<(f64, f64)>,
) -> Option<PerImage> {
    let curve = |codec: &str, image: &str| -> Vec<Point> {
        rows.iter()
            .filter(|row| row.codec == codec && row.image == image)
            .map(|row| Point { bpp: row.bpp, quality: metric.of(row) })
            .collect()
    };
    let figures: Vec<BdRate> = distinct(rows.iter().map(|row| row.image.as_str()))
        .into_iter()
        .filter_map(|image| bd_rate(&curve(anchor, image), &curve(codec, image), anchor_bpp))
        .collect();
    let most = |value: fn(&BdRate) -> f64| figures.iter().map(value).fold(f64::NEG_INFINITY, f64::max);
    let least = |value: fn(&BdRate) -> f64| figures.iter().map(value).fold(f64::INFINITY, f64::min);
    (!figures.is_empty()).then(|| PerImage {
        mean: figures.iter().map(|figure| figure.percent).sum::<f64>() / figures.len() as f64,
        worst: most(|figure| figure.percent),
        best: least(|figure| figure.percent),
        images: figures.len(),
        low: least(|figure| figure.low),
        high: most(|figure| figure.high),
    })
}

fn averaged_curves(averages: &[Average], anchor: &str, codec: &str, metric: Metric) -> Option<f64> {
    let curve = |codec: &str| -> Vec<Point> {
        averages
            .iter()
            .filter(|average| average.codec == codec)
            .map(|average| Point { bpp: average.bpp, quality: metric.of_average(average) })
            .collect()
    };
    bd_rate(&curve(anchor), &curve(codec), None).map(|figure| figure.percent)
}

/// The different names, in the order they are first met.
fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut out = Vec::new();
    for name in names {
        if !out.contains(&name) {
            out.push(name);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(codec: &str, setting: f64, image: &str, bpp: f64, psnr: f64) -> Row {
        Row {
            codec: codec.into(),
            setting,
            image: image.into(),
            width: 8,
            height: 8,
            bytes: (bpp * 8.0) as u64,
            bpp,
            psnr_rgb: psnr,
            psnr_y: psnr + 1.0,
            enc_wall: 0.25,
            dec_wall: 0.5,
        }
    }

    /// Two pictures; the test codec needs half the bits on one and all on the other.
    fn rows() -> Vec<Row> {
        let mut rows = Vec::new();
        for (step, setting) in [10.0, 20.0, 30.0, 40.0].into_iter().enumerate() {
            for (image, saving) in [("a", 0.5), ("b", 1.0)] {
                let (bpp, psnr) = (0.1 * 2f64.powi(step as i32), 28.0 + 3.0 * step as f64);
                rows.push(row("openjpeg", setting, image, bpp, psnr));
                rows.push(row("aecodec", setting, image, bpp * saving, psnr));
            }
        }
        rows
    }

    #[test]
    fn figures_are_means_over_pictures() {
        let summary = summarize(&rows(), "openjpeg");
        assert_eq!(summary.averages.len(), 8);
        assert!((summary.averages[4].bpp - 0.075).abs() < 1e-12, "{:?}", summary.averages[4]);
        let [rgb, y] = &summary.comparisons[..] else { panic!("one comparison for each metric") };
        assert_eq!((rgb.metric, y.metric), (Metric::PsnrRgb, Metric::PsnrY));
        let figure = rgb.per_image.as_ref().unwrap();
        assert!((figure.mean + 25.0).abs() < 1e-9 && (figure.best + 50.0).abs() < 1e-9, "{figure:?}");
        assert_eq!((figure.images, figure.low, figure.high), (2, 28.0, 37.0));
        assert_eq!(rgb.bands[0].per_image.as_ref().unwrap().images, 2);
        assert_eq!(rgb.bands[2].per_image, None);
    }

    #[test]
    fn without_the_anchor_there_are_averages_only() {
        let rows: Vec<Row> = rows().into_iter().filter(|row| row.codec == "aecodec").collect();
        let summary = summarize(&rows, "openjpeg");
        assert_eq!((summary.averages.len(), summary.comparisons.len()), (4, 0));
    }

    #[test]
    fn settings_that_failed_somewhere_are_not_averaged() {
        let mut rows = rows();
        rows.retain(|row| !(row.codec == "openjpeg" && row.setting == 30.0 && row.image == "b"));
        assert_eq!(summarize(&rows, "openjpeg").averages.len(), 7);
    }
}
