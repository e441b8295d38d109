//! Fits the filters for classes of blocks (`model/class_filters.rs`) to what a model's synthesis
//! transform gives of pictures: least squares, a class at a time. Pictures count by the
//! reciprocals of their mean squared errors, as a mean BD-rate counts them.

use anyhow::Result;
use image::DynamicImage;
use nalgebra::{DMatrix, DVector};
use rayon::prelude::*;

use super::import::read_model;
use super::release::{RATE_INDICES, model_file, save};
use super::requantise::{FitArgs, pictures, prepared};
use crate::codec::PreparedModel;
use crate::codec::training::{each_class_sample, synthesis_output};
use crate::model::class_filters::{
    CLASS_BITS, CLASS_TAPS, CLASSES, ClassFilters, MAX_CLASS_WEIGHT, MAX_UNIT,
};
use crate::model::{Model, QualityIndex};
use crate::nn::Tensor;

/// The efforts at which pictures are coded.
const EFFORTS: [u8; 2] = [0, 2];
/// What is added to the squares of a class, in theirs on average.
const RIDGE: f64 = 1e-5;

/// Reads a model, writes it with filters.
pub fn fit_filters(args: &FitArgs) -> Result<()> {
    let (mut model, _) = read_model(&args.from)?;
    model.class_filters = None;
    model.class_filters = Some(class_filters(&model, &pictures(&args.val, args.pictures)?)?);
    save(&args.output, &model_file(model))
}

/// The filters that a model without any should have.
pub fn class_filters(model: &Model, pictures: &[DynamicImage]) -> Result<ClassFilters> {
    let prepared = prepared(model)?;
    let (mut units, mut weights) = (Vec::new(), Vec::new());
    for index in RATE_INDICES {
        let coded = Coded::all(&prepared, pictures, QualityIndex(index))?;
        let logarithms: f64 = coded.iter().map(|coded| coded.square.ln()).sum();
        let unit = (0.5 * logarithms / coded.len() as f64).exp();
        let unit = unit.round().clamp(1.0, f64::from(MAX_UNIT)) as i16;
        let sums = coded.par_iter().map(|coded| coded.sums(unit)).collect::<Vec<Sums>>();
        let sums = sums.into_iter().reduce(Sums::merge).expect("there are pictures");
        let (mut fall, mut total) = (0.0, 0.0);
        for class in &sums.0 {
            let of_class = class.weights();
            fall += class.fall(&of_class);
            total += class.error;
            weights.extend(of_class);
        }
        let gain = -10.0 * (1.0 - fall / total).log10();
        eprintln!("index {index:3}: errors like {unit}, {gain:.3} dB less of them on these pictures");
        units.push(unit);
    }
    Ok(ClassFilters { units, weights })
}

/// What comes of a picture.
struct Coded {
    size: (usize, usize),
    /// The pixels that the synthesis transform gives, and those wanted.
    pixels: [Tensor; 2],
    /// The mean squared error.
    square: f64,
}

impl Coded {
    /// All pictures at all of [`EFFORTS`].
    fn all(model: &PreparedModel, pictures: &[DynamicImage], quality: QualityIndex) -> Result<Vec<Coded>> {
        let jobs: Vec<_> =
            pictures.iter().flat_map(|picture| EFFORTS.map(|effort| (picture, effort))).collect();
        jobs.into_par_iter()
            .map(|(picture, effort)| {
                let pixels = synthesis_output(picture, model, quality, effort)?;
                let size = (picture.width() as usize, picture.height() as usize);
                let (mut sum, mut count) = (0.0, 0);
                each_class_sample(&pixels, size, 1, |_, _, error| {
                    sum += f64::from(error).powi(2);
                    count += 1;
                });
                Ok(Coded { size, pixels, square: (sum / f64::from(count)).max(1.0) })
            })
            .collect()
    }

    fn sums(&self, unit: i16) -> Sums {
        let mut sums = Sums(vec![ClassSums::default(); CLASSES]);
        let share = 1.0 / self.square;
        each_class_sample(&self.pixels, self.size, unit, |class, seen, error| {
            sums.0[class].add(&seen.map(f64::from), error.into(), share);
        });
        sums
    }
}

/// Of each class, what its taps have in common with each other and with the errors.
struct Sums(Vec<ClassSums>);

#[derive(Clone, Default)]
struct ClassSums {
    /// Of the products of two taps; the second is not behind the first.
    squares: [[f64; CLASS_TAPS]; CLASS_TAPS],
    /// Of the products of a tap and an error.
    errors: [f64; CLASS_TAPS],
    /// Of the squared errors.
    error: f64,
}

impl Sums {
    fn merge(mut self, other: Sums) -> Sums {
        for (to, from) in self.0.iter_mut().zip(other.0) {
            let rows = to.squares.iter_mut().flatten().zip(from.squares.into_iter().flatten());
            rows.chain(to.errors.iter_mut().zip(from.errors)).for_each(|(to, from)| *to += from);
            to.error += from.error;
        }
        self
    }
}

impl ClassSums {
    fn add(&mut self, seen: &[f64; CLASS_TAPS], error: f64, share: f64) {
        for (i, (row, tap)) in self.squares.iter_mut().zip(seen).enumerate() {
            let tap = tap * share;
            row[..=i].iter_mut().zip(seen).for_each(|(sum, other)| *sum += tap * other);
        }
        self.errors.iter_mut().zip(seen).for_each(|(sum, tap)| *sum += share * tap * error);
        self.error += share * error * error;
    }

    fn matrix(&self) -> DMatrix<f64> {
        DMatrix::from_fn(CLASS_TAPS, CLASS_TAPS, |i, j| self.squares[i.max(j)][i.min(j)])
    }

    /// The weights with the least errors, as integers; none where nothing was seen.
    fn weights(&self) -> [i16; CLASS_TAPS] {
        let mut matrix = self.matrix();
        let ridge = RIDGE * matrix.trace() / CLASS_TAPS as f64;
        for i in 0..CLASS_TAPS {
            matrix[(i, i)] += ridge;
        }
        let Some(factors) = matrix.cholesky() else { return [0; CLASS_TAPS] };
        let solution = factors.solve(&DVector::from_row_slice(&self.errors));
        let most = f64::from(MAX_CLASS_WEIGHT);
        std::array::from_fn(|i| (solution[i] * f64::from(1 << CLASS_BITS)).round().clamp(-most, most) as i16)
    }

    /// By how much weights lower the squared errors.
    fn fall(&self, weights: &[i16; CLASS_TAPS]) -> f64 {
        let weights = DVector::from_fn(CLASS_TAPS, |i, _| f64::from(weights[i]) / f64::from(1 << CLASS_BITS));
        2.0 * weights.dot(&DVector::from_row_slice(&self.errors)) - (self.matrix() * &weights).dot(&weights)
    }
}
