//! From points to the figures that are quoted: averages and BD-rates.

use serde::Serialize;

use super::bd_rate::{self, BdRate, bd_rate};
use super::run::{Point, Run};
use super::score::Metric;

/// Ranges of the anchor's rate that BD-rates are also given for, in bits per
/// pixel: low, middle and high.
pub const BANDS: [(f64, f64); 3] = [(0.05, 0.25), (0.25, 0.75), (0.75, 2.0)];

/// Means over all pictures of one codec at one setting.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Average {
    /// The setting.
    pub setting: f64,
    /// Mean bits per pixel.
    pub bpp: f64,
    /// Mean bits per pixel that the error would take.
    pub error_bpp: f64,
    /// Mean of each of [`Metric::ALL`]; none where a picture has none.
    pub values: [Option<f64>; Metric::ALL.len()],
}

/// One codec against another, by one metric.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Place in the run's codecs.
    pub codec: usize,
    /// Place of the codec it is compared with.
    pub anchor: usize,
    /// What is held equal.
    pub metric: Metric,
    /// Over the whole overlap of each picture's curves.
    pub whole: Option<Mean>,
    /// Where the anchor spends so many bits per pixel, see [`BANDS`].
    pub bands: [Option<Mean>; BANDS.len()],
    /// Between the averaged curves. It differs from the mean over pictures where
    /// one codec holds the rate constant over a set and the other the quality.
    pub averaged: Option<BdRate>,
    /// Each picture's figure over the whole overlap, in percent.
    pub pictures: Vec<Option<f64>>,
}

/// BD-rates of single pictures, summed up. Percent; negative is fewer bits.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mean {
    /// Their mean.
    pub mean: f64,
    /// The highest.
    pub worst: f64,
    /// The lowest.
    pub best: f64,
    /// Pictures that gave a figure.
    pub pictures: usize,
    /// The lowest quality compared on any picture, see [`Metric::quality`].
    pub low: f64,
    /// The highest quality compared on any picture.
    pub high: f64,
}

impl Average {
    /// The mean of a metric.
    pub fn value(&self, metric: Metric) -> Option<f64> {
        self.values[metric as usize]
    }
}

/// A codec's averages by rising rate. Settings that were not measured on all of
/// the pictures are left out: their mean would be of another set.
pub fn averages(run: &Run, codec: usize) -> Vec<Average> {
    let points: Vec<&Point> = run.points.iter().filter(|point| point.codec == codec).collect();
    let mut settings: Vec<f64> = points.iter().map(|point| point.setting).collect();
    settings.sort_by(f64::total_cmp);
    settings.dedup();
    let mut averages = Vec::new();
    for setting in settings {
        let points: Vec<&Point> = points.iter().copied().filter(|point| point.setting == setting).collect();
        if points.len() != run.pictures.len() {
            continue;
        }
        let mean = |value: &dyn Fn(&Point) -> Option<f64>| {
            let values: Option<Vec<f64>> = points.iter().map(|point| value(point)).collect();
            values.map(|values| values.iter().sum::<f64>() / values.len() as f64)
        };
        let pixels = |point: &Point| {
            f64::from(run.pictures[point.picture].width) * f64::from(run.pictures[point.picture].height)
        };
        averages.push(Average {
            setting,
            bpp: mean(&|point| Some(run.bpp(point))).unwrap_or_default(),
            error_bpp: mean(&|point| Some(point.scores.error_bits as f64 / pixels(point)))
                .unwrap_or_default(),
            values: Metric::ALL.map(|metric| mean(&|point| metric.value(&point.scores))),
        });
    }
    averages.sort_by(|a, b| a.bpp.total_cmp(&b.bpp));
    averages
}

/// The curve of a codec on each picture.
fn curves(run: &Run, codec: usize, metric: Metric) -> Vec<Vec<bd_rate::Point>> {
    let mut curves = vec![Vec::new(); run.pictures.len()];
    for point in run.points.iter().filter(|point| point.codec == codec) {
        if let Some(value) = metric.value(&point.scores) {
            let (bpp, quality) = (run.bpp(point), metric.quality(value));
            curves[point.picture].push(bd_rate::Point { bpp, quality });
        }
    }
    curves
}

/// One codec against another.
pub fn compare(run: &Run, anchor: usize, codec: usize, metric: Metric) -> Comparison {
    let (anchors, tests) = (curves(run, anchor, metric), curves(run, codec, metric));
    let figures = |band: Option<(f64, f64)>| -> Vec<Option<BdRate>> {
        anchors.iter().zip(&tests).map(|(anchor, test)| bd_rate(anchor, test, band)).collect()
    };
    let whole = figures(None);
    let averaged = |codec: usize| -> Vec<bd_rate::Point> {
        let points = averages(run, codec).into_iter().filter_map(|average| {
            let quality = metric.quality(average.value(metric)?);
            Some(bd_rate::Point { bpp: average.bpp, quality })
        });
        points.collect()
    };
    Comparison {
        codec,
        anchor,
        metric,
        whole: mean(&whole),
        bands: BANDS.map(|band| mean(&figures(Some(band)))),
        averaged: bd_rate(&averaged(anchor), &averaged(codec), None),
        pictures: whole.iter().map(|figure| figure.map(|figure| figure.percent)).collect(),
    }
}

/// Every codec against every other, by every metric.
pub fn compare_all(run: &Run) -> Vec<Comparison> {
    let places = || 0..run.codecs.len();
    let pairs = places().flat_map(|anchor| places().map(move |codec| (anchor, codec)));
    pairs
        .filter(|(anchor, codec)| anchor != codec)
        .flat_map(|(anchor, codec)| Metric::ALL.map(|metric| compare(run, anchor, codec, metric)))
        .collect()
}

fn mean(figures: &[Option<BdRate>]) -> Option<Mean> {
    let figures: Vec<&BdRate> = figures.iter().flatten().collect();
    let most = |value: fn(&BdRate) -> f64| figures.iter().map(|f| value(f)).fold(f64::NEG_INFINITY, f64::max);
    let least = |value: fn(&BdRate) -> f64| figures.iter().map(|f| value(f)).fold(f64::INFINITY, f64::min);
    (!figures.is_empty()).then(|| Mean {
        mean: figures.iter().map(|figure| figure.percent).sum::<f64>() / figures.len() as f64,
        worst: most(|figure| figure.percent),
        best: least(|figure| figure.percent),
        pictures: figures.len(),
        low: least(|figure| figure.low),
        high: most(|figure| figure.high),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::run::{Codec, Picture};
    use crate::eval::score::Scores;

    fn point(codec: usize, setting: f64, picture: usize, bpp: f64, psnr: f64) -> Point {
        let scores = Scores {
            psnr_rgb: Some(psnr),
            psnr_y: Some(psnr + 1.0),
            ms_ssim: None,
            ssimulacra2: Some(2.0 * psnr),
            butteraugli: None,
            error_bits: 80_000,
        };
        Point { codec, picture, setting, bytes: (bpp * 1e4 / 8.0) as u64, scores }
    }

    /// Two pictures; the second codec needs half the bits on one and all on the other.
    fn run() -> Run {
        let mut run = Run::new("2026-11-24".into(), "a machine".into(), "two".into());
        for name in ["a", "b"] {
            run.pictures.push(Picture { name: name.into(), width: 100, height: 100, sha256: "0".into() });
        }
        for name in ["anchor", "test"] {
            let text = String::new;
            let codec = Codec {
                name: name.into(),
                about: text(),
                version: text(),
                encode: text(),
                decode: text(),
                model_bytes: None,
            };
            run.codecs.push(codec);
        }
        for (step, setting) in [10.0, 20.0, 30.0, 40.0].into_iter().enumerate() {
            for (picture, saving) in [(0, 0.5), (1, 1.0)] {
                let (bpp, psnr) = (0.16 * 2f64.powi(step as i32), 28.0 + 3.0 * step as f64);
                run.points.push(point(0, setting, picture, bpp, psnr));
                run.points.push(point(1, setting, picture, bpp * saving, psnr));
            }
        }
        run
    }

    #[test]
    fn figures_are_means_over_pictures() {
        let run = run();
        let averages = averages(&run, 1);
        assert_eq!(averages.len(), 4);
        assert!((averages[0].bpp - 0.12).abs() < 1e-12 && averages[0].error_bpp == 8.0, "{:?}", averages[0]);
        assert_eq!(averages[0].value(Metric::PsnrY), Some(29.0));
        assert_eq!(averages[0].value(Metric::MsSsim), None);
        let comparison = compare(&run, 0, 1, Metric::PsnrRgb);
        let figure = comparison.whole.unwrap();
        assert!((figure.mean + 25.0).abs() < 1e-9 && (figure.best + 50.0).abs() < 1e-9, "{figure:?}");
        assert_eq!((figure.pictures, figure.low, figure.high), (2, 28.0, 37.0));
        assert_eq!(comparison.bands[1].as_ref().unwrap().pictures, 2);
        assert_eq!(comparison.pictures.len(), 2);
        assert_eq!(compare(&run, 0, 1, Metric::Butteraugli).whole, None);
        assert_eq!(compare_all(&run).len(), 2 * Metric::ALL.len());
    }

    #[test]
    fn settings_that_failed_somewhere_are_not_averaged() {
        let mut run = run();
        run.points.retain(|point| !(point.codec == 0 && point.setting == 30.0 && point.picture == 1));
        assert_eq!(averages(&run, 0).len(), 3);
    }

    #[test]
    fn a_run_is_the_same_after_writing_and_reading() {
        let run = run();
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = run.json().unwrap();
        std::fs::write(file.path(), &text).unwrap();
        assert_eq!(Run::read(file.path()).unwrap(), run);
        let last = text.lines().filter(|line| line.contains("null")).count();
        assert_eq!(last, run.points.len(), "a line for each point");
        std::fs::write(file.path(), text.replacen("\"format\": 1", "\"format\": 9", 1)).unwrap();
        assert!(format!("{:#}", Run::read(file.path()).unwrap_err()).contains("format 9"));
    }
}
