//! Probability tables fitted to what a model really codes.
//!
//! Training assumes logistic residuals; the tables that ship follow the
//! histogram of each bin on calibration pictures, with the logistic as a prior
//! that fills in what was seen too rarely.

use anyhow::Result;
use rayon::prelude::*;

use super::kernels::Geometry;
use super::model::{Batch, CodecModel};
use super::net::Anchored;
use crate::entropy::logistic::from_pmf;
use crate::entropy::{BINS, BinTable, ScaleTables};

/// The logistic counts as much as this many symbols of a bin.
const PRIOR_SYMBOLS: f64 = 2000.0;
/// Points on the quality axis whose symbols are counted.
const POSITIONS: [Anchored; 8] =
    [(0, 0.2), (1, 0.2), (2, 0.2), (3, 0.2), (4, 0.2), (5, 0.2), (6, 0.2), (7, 0.2)];

/// Counts the symbols that `model` codes for `pictures`, and fits tables.
pub fn fit(model: &CodecModel, pictures: &[(Geometry, Vec<f32>)]) -> Result<ScaleTables> {
    let prior = ScaleTables::logistic();
    let jobs: Vec<_> = pictures.iter().flat_map(|p| POSITIONS.map(|q| (p, q))).collect();
    jobs.into_par_iter()
        .map(|((geometry, pixels), quality)| {
            let batch = Batch { pixels: pixels.clone(), geometry: *geometry, qualities: vec![quality] };
            let mut counts = Counts::new(&prior);
            for (bin, symbol) in model.symbols(&batch)? {
                counts.add(bin, symbol);
            }
            Ok::<_, anyhow::Error>(counts)
        })
        .try_reduce(|| Counts::new(&prior), |a, b| Ok(a.merge(&b)))?
        .tables()
}

/// How often each entry of each table was seen.
pub(super) struct Counts<'a> {
    prior: &'a ScaleTables,
    seen: Vec<Vec<f64>>,
}

impl<'a> Counts<'a> {
    /// Nothing seen of these tables.
    pub fn new(prior: &'a ScaleTables) -> Counts<'a> {
        Counts { prior, seen: prior.bins().iter().map(|bin| vec![0.0; bin.frequencies.len()]).collect() }
    }

    /// Counts a symbol, unless its bin has no table.
    pub fn add(&mut self, bin: usize, symbol: i32) {
        let table = &self.prior.bins()[bin];
        let cell = (symbol >> table.low_bits) - i32::from(table.first);
        let escape = table.frequencies.len().saturating_sub(1);
        if let Some(count) = self.seen[bin].get_mut(usize::try_from(cell).unwrap_or(escape).min(escape)) {
            *count += 1.0;
        }
    }

    /// Both together.
    pub fn merge(mut self, other: &Counts<'_>) -> Counts<'a> {
        self.seen.iter_mut().flatten().zip(other.seen.iter().flatten()).for_each(|(a, b)| *a += b);
        self
    }

    /// The tables fitted to what was seen.
    pub fn tables(&self) -> Result<ScaleTables> {
        let bins = self.prior.bins().iter().zip(&self.seen).map(|(table, seen)| blend(table, seen));
        Ok(ScaleTables::new(bins.collect())?)
    }
}

/// The table of the counts, evened out between the two signs, and the prior.
fn blend(prior: &BinTable, counts: &[f64]) -> BinTable {
    let Some(escape) = counts.len().checked_sub(1) else { return prior.clone() };
    let total: f64 = counts.iter().sum();
    let mirrored = |entry: usize| {
        // Cells of one symbol mirror at 0, wider ones between -1 and 0.
        let centre = if prior.low_bits == 0 { 0 } else { -1 };
        let mirror = centre - 2 * i32::from(prior.first) - entry as i32;
        usize::try_from(mirror).ok().filter(|mirror| *mirror < escape).unwrap_or(entry)
    };
    let pmf: Vec<f64> = (0..=escape)
        .map(|entry| {
            let seen =
                if entry == escape { counts[entry] } else { (counts[entry] + counts[mirrored(entry)]) / 2.0 };
            let expected = f64::from(prior.frequencies[entry]) / 65536.0;
            (seen + PRIOR_SYMBOLS * expected) / (total + PRIOR_SYMBOLS)
        })
        .collect();
    from_pmf(prior.low_bits, prior.first, &pmf[..escape], pmf[escape])
}

/// The bin of a float log2 scale in steps; what [`crate::entropy::scale_bin`] does to integers.
pub fn bin_of(log2_scale: f32) -> usize {
    ((log2_scale + 4.0) * 8.0).round().clamp(0.0, (BINS - 1) as f32) as usize
}
