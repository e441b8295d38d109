//! What a model has once for all quality indices, or once for each of several ranges.

use std::ops::RangeInclusive;

use super::QualityIndex;
use crate::error::{Error, Result};

/// Most values.
pub const MAX_RANGES: usize = 8;

/// One value for all quality indices, or up to [`MAX_RANGES`], each for the indices from its
/// own first one to the next one's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ByQuality<T>(Vec<(QualityIndex, T)>);

impl<T> ByQuality<T> {
    /// One value for all indices.
    pub fn one(value: T) -> ByQuality<T> {
        ByQuality(vec![(QualityIndex(0), value)])
    }

    /// Values with their first indices, which ascend from 0; `None` for others.
    pub fn new(values: Vec<(QualityIndex, T)>) -> Option<ByQuality<T>> {
        let starts = values.first().is_some_and(|(first, _)| *first == QualityIndex(0));
        let ascend = values.is_sorted_by(|(a, _), (b, _)| a < b);
        (starts && ascend && values.len() <= MAX_RANGES).then_some(ByQuality(values))
    }

    fn position(&self, index: QualityIndex) -> usize {
        self.0.partition_point(|(first, _)| *first <= index) - 1
    }

    /// The value for an index.
    pub fn at(&self, index: QualityIndex) -> &T {
        &self.0[self.position(index)].1
    }

    /// The indices that have the value of `index`.
    pub fn range(&self, index: QualityIndex) -> RangeInclusive<u8> {
        let position = self.position(index);
        let last = self.0.get(position + 1).map_or(u8::MAX, |(next, _)| next.0 - 1);
        self.0[position].0.0..=last
    }

    /// Gives the indices from `first` to the next value's first one a value of their own; an
    /// error where that would make more than [`MAX_RANGES`].
    pub fn set(&mut self, first: QualityIndex, value: T) -> Result<()> {
        let position = self.position(first);
        if self.0[position].0 == first {
            self.0[position].1 = value;
        } else if self.0.len() < MAX_RANGES {
            self.0.insert(position + 1, (first, value));
        } else {
            return Err(Error::Model(format!("more than {MAX_RANGES} ranges of quality indices")));
        }
        Ok(())
    }

    /// Makes one range of neighbours that have the same value.
    pub fn merge(&mut self)
    where
        T: PartialEq,
    {
        self.0.dedup_by(|(_, next), (_, value)| next == value);
    }

    /// All values with their first indices.
    pub fn iter(&self) -> impl Iterator<Item = (QualityIndex, &T)> {
        self.0.iter().map(|(first, value)| (*first, value))
    }

    /// The same, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (QualityIndex, &mut T)> {
        self.0.iter_mut().map(|(first, value)| (*first, value))
    }

    /// What comes of each value.
    pub fn map<U>(&self, mut to: impl FnMut(&T) -> U) -> ByQuality<U> {
        ByQuality(self.iter().map(|(first, value)| (first, to(value))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_split_and_replaced() {
        let mut all = ByQuality::one('a');
        for (first, value) in [(160, 'c'), (96, 'b'), (0, 'x')] {
            all.set(QualityIndex(first), value).unwrap();
        }
        let listed: Vec<(u8, char)> = all.iter().map(|(first, value)| (first.0, *value)).collect();
        assert_eq!(listed, [(0, 'x'), (96, 'b'), (160, 'c')]);
        for (index, value, range) in
            [(0, 'x', 0..=95), (95, 'x', 0..=95), (96, 'b', 96..=159), (160, 'c', 160..=255)]
        {
            let index = QualityIndex(index);
            assert_eq!((*all.at(index), all.range(index)), (value, range));
        }
    }

    #[test]
    fn neighbours_with_one_value_become_one_range() {
        let mut all = ByQuality::one('a');
        for (first, value) in [(200, 'a'), (100, 'b'), (150, 'b')] {
            all.set(QualityIndex(first), value).unwrap();
        }
        all.merge();
        let listed: Vec<(u8, char)> = all.iter().map(|(first, value)| (first.0, *value)).collect();
        assert_eq!(listed, [(0, 'a'), (100, 'b'), (200, 'a')]);
    }

    #[test]
    fn no_more_ranges_than_files_may_have() {
        let mut all = ByQuality::one(0);
        for first in 1..MAX_RANGES as u8 {
            all.set(QualityIndex(first), first).unwrap();
        }
        assert!(all.set(QualityIndex(100), 100).is_err());
        assert!(all.set(QualityIndex(3), 7).is_ok() && *all.at(QualityIndex(3)) == 7);
    }

    #[test]
    fn ranges_begin_at_0_and_ascend() {
        let new =
            |firsts: &[u8]| ByQuality::new(firsts.iter().map(|first| (QualityIndex(*first), ())).collect());
        assert!(new(&[0, 5, 255]).is_some());
        for wrong in [&[][..], &[1], &[0, 7, 7], &[0, 9, 8], &[0, 1, 2, 3, 4, 5, 6, 7, 8]] {
            assert!(new(wrong).is_none(), "{wrong:?}");
        }
    }
}
