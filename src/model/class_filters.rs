//! What corrects the pixels of a synthesis transform, by the class of the block around them: how
//! much happens there, and in which direction. `codec/classes.rs` tells classes.
//!
//! Sources: filters chosen by local gradients, Romano et al. 2017 (RAISR); classes of blocks and
//! the turning of filters, the adaptive loop filter of ITU-T H.266 (Karczewicz et al. 2021).

use super::QualityIndex;
use super::quality::ANCHORS;

/// Classes by direction: none, then straight and diagonal ones, weak to strong.
pub const DIRECTIONS: usize = 7;
/// Classes by activity.
pub const ACTIVITIES: usize = 5;
/// Classes of blocks.
pub const CLASSES: usize = DIRECTIONS * ACTIVITIES;
/// Pairs of opposite neighbours that a filter weighs.
pub const PAIRS: usize = 10;
/// Weights of a class: of each pair within the narrow and within the wide limit.
pub const CLASS_TAPS: usize = 2 * PAIRS;
/// Fraction bits of the weights.
pub const CLASS_BITS: u32 = 8;
/// No weight is further from 0.
pub const MAX_CLASS_WEIGHT: i16 = 4095;
/// No unit is larger: its filters' wide limit still fits.
pub const MAX_UNIT: i16 = 4096;
/// The wide limit in narrow ones, and the most that it can be.
const WIDER: i16 = 8;
const WIDEST: i16 = 8192;

/// The filters of a model, for all qualities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassFilters {
    /// `ANCHORS`: what errors are like there, the root of their mean square in units of the
    /// synthesis output.
    pub units: Vec<i16>,
    /// `ANCHORS x CLASSES x CLASS_TAPS`, with [`CLASS_BITS`] fraction bits.
    pub weights: Vec<i16>,
}

/// The filters for one quality.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QualityFilters {
    /// See [`ClassFilters::units`].
    pub unit: i16,
    /// Of each class.
    pub weights: Vec<[i16; CLASS_TAPS]>,
}

impl ClassFilters {
    /// The filters for a quality, between those of the anchors.
    pub fn at(&self, quality: QualityIndex) -> QualityFilters {
        let weights = quality.lerp(&self.weights, self.weights.len() / ANCHORS);
        let weights: Vec<i16> = weights.into_iter().map(|weight| weight as i16).collect();
        QualityFilters {
            unit: quality.lerp(&self.units, 1)[0] as i16,
            weights: weights.as_chunks().0.to_vec(),
        }
    }
}

/// How far differences count, by the unit.
pub fn limits(unit: i16) -> [i16; 2] {
    [unit, unit.saturating_mul(WIDER).min(WIDEST)]
}
