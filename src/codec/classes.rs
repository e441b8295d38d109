//! Which class the blocks of 4x4 pixels belong to, and how their filters are turned
//! (`model/class_filters.rs`).
//!
//! Luma's second differences in four directions, summed over the 8x8 pixels around a block, say
//! how much happens there and in which direction. A filter is turned so that its first direction
//! is the block's: what crosses an edge and what goes along it then have weights of their own in
//! one filter for all edges.

use std::ops::Range;

use super::filter::PAIRS;
use super::lines::Line;
use crate::model::class_filters::ACTIVITIES;

/// Pixels along each side of a block.
pub(super) const BLOCK: usize = 4;
/// Lines of pixels below a block that its class depends on.
pub(super) const BELOW: usize = 3;
/// Ways in which a filter can be turned.
pub(super) const TURNS: usize = 4;
/// Lines and columns of pixels whose differences are added up first.
const CELL: usize = 2;
/// Rows of cells that the classes of a row of blocks depend on.
const CELLS: usize = 4;

/// A block's class and its filter's turn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Class {
    pub class: u8,
    pub turn: u8,
}

/// Where each pair of a filter lies when it is turned: unchanged, rows and columns exchanged,
/// mirrored, both. Each undoes itself.
pub(super) const TURNED: [[usize; PAIRS.len()]; TURNS] = turned();

const fn turned() -> [[usize; PAIRS.len()]; TURNS] {
    let mut all = [[0; PAIRS.len()]; TURNS];
    let mut turn = 0;
    while turn < TURNS {
        let mut pair = 0;
        while pair < PAIRS.len() {
            let (down, right) = (PAIRS[pair].0 as isize, PAIRS[pair].1);
            let (y, x) = match turn {
                0 => (down, right),
                1 => (right, down),
                2 => (down, -right),
                _ => (right, -down),
            };
            let mut to = 0;
            while to < PAIRS.len() {
                let (down, right) = (PAIRS[to].0 as isize, PAIRS[to].1);
                if (down == y && right == x) || (down == -y && right == -x) {
                    all[turn][pair] = to;
                }
                to += 1;
            }
            pair += 1;
        }
        turn += 1;
    }
    all
}

/// Sums of the differences of a row of cells: across, down, and along both diagonals.
#[derive(Debug, Clone, Default)]
struct CellRow([Vec<u32>; 4]);

/// Tells the classes of rows of blocks, from the top on.
#[derive(Debug)]
pub(super) struct Classifier {
    /// What errors are like, in units of the synthesis output.
    unit: i16,
    /// The last rows of cells, each at its number modulo their count.
    cells: [CellRow; CELLS],
    /// The next row of cells to be added up.
    next: usize,
    /// The classes of the last row of blocks, and its number.
    row: usize,
    classes: Vec<Class>,
    /// Of the last row of cells that was added up, and of the lines above and below it.
    luma: [Vec<i16>; CELL + 2],
}

impl Classifier {
    /// For pictures whose errors are like `unit`.
    pub fn new(unit: i16) -> Classifier {
        Classifier {
            unit,
            cells: Default::default(),
            next: 0,
            row: usize::MAX,
            classes: Vec::new(),
            luma: Default::default(),
        }
    }

    /// The classes of row `row` of blocks. Rows are asked for in ascending order; `came` are the
    /// lines that there are, of `width` pixels, and `line` shows one.
    pub fn classes<'a>(
        &mut self,
        row: usize,
        came: Range<usize>,
        width: usize,
        line: impl Fn(usize) -> &'a Line,
    ) -> &[Class] {
        if self.row == row {
            return &self.classes;
        }
        // The second of the rows of cells around begins where the blocks do.
        let (cells, second) = (came.start / CELL..came.end / CELL, row * BLOCK / CELL);
        let first = second.saturating_sub(1).max(cells.start);
        for number in self.next.max(first)..(second + 3).min(cells.end) {
            self.add_up(number, &came, width, &line);
            self.next = number + 1;
        }
        let around = std::array::from_fn(|i| {
            let number = (second + i).saturating_sub(1).clamp(cells.start, cells.end - 1);
            &self.cells[number % CELLS]
        });
        self.classes = classes(around, self.unit);
        self.row = row;
        &self.classes
    }

    /// Adds up a row of cells.
    fn add_up<'a>(
        &mut self,
        number: usize,
        came: &Range<usize>,
        width: usize,
        line: &impl Fn(usize) -> &'a Line,
    ) {
        let CellRow(sums) = &mut self.cells[number % CELLS];
        for sums in sums.iter_mut() {
            sums.clear();
            sums.resize(width / CELL, 0);
        }
        // Those of the row before are there, but for the first one.
        let known = if number * CELL == came.start { 0 } else { CELL };
        self.luma.rotate_left(CELL);
        for (i, luma) in self.luma.iter_mut().enumerate().skip(known) {
            let y = (number * CELL + i).saturating_sub(1);
            line(y.clamp(came.start, came.end - 1)).luma(width, luma);
        }
        for rows in self.luma.windows(3) {
            let [above, here, below] = [0, 1, 2].map(|i| &rows[i][..width + 2]);
            let middle = &here[1..];
            let opposite =
                [[here, &here[2..]], [&above[1..], &below[1..]], [above, &below[2..]], [&above[2..], below]];
            for (sums, [a, b]) in sums.iter_mut().zip(opposite) {
                add_differences(&middle[..width], &a[..width], &b[..width], sums);
            }
        }
    }
}

/// Adds the second differences of pixels to the sums of their cells.
fn add_differences(middle: &[i16], a: &[i16], b: &[i16], sums: &mut [u32]) {
    let (middle, a, b) = (middle.as_chunks::<CELL>().0, a.as_chunks::<CELL>().0, b.as_chunks::<CELL>().0);
    for (((sum, middle), a), b) in sums.iter_mut().zip(middle).zip(a).zip(b) {
        // Luma has 14 bits: nothing overflows.
        let [first, second] = [0, 1].map(|i| (2 * middle[i] - a[i] - b[i]).unsigned_abs());
        *sum += u32::from(first) + u32::from(second);
    }
}

/// The classes of the blocks in the middle of four rows of cells.
fn classes(cells: [&CellRow; CELLS], unit: i16) -> Vec<Class> {
    let mut columns: [Vec<u32>; 4] = Default::default();
    for (direction, sums) in columns.iter_mut().enumerate() {
        sums.extend(&cells[0].0[direction]);
        for row in &cells[1..] {
            sums.iter_mut().zip(&row.0[direction]).for_each(|(sum, cell)| *sum += cell);
        }
    }
    let count = columns[0].len();
    let block = |x: usize| {
        let around = [(2 * x).saturating_sub(1), 2 * x, 2 * x + 1, (2 * x + 2).min(count - 1)];
        class(columns.each_ref().map(|sums| around.iter().map(|&at| sums[at]).sum()), unit)
    };
    (0..count * CELL / BLOCK).map(block).collect()
}

/// The class of a block, by the sums of differences across, down, and along both diagonals.
fn class([across, down, falling, rising]: [u32; 4], unit: i16) -> Class {
    let ordered = |a: u32, b: u32| (u64::from(a.max(b)), u64::from(a.min(b)));
    let (straight, diagonal) = (ordered(across, down), ordered(falling, rising));
    // Which of the two ratios is larger.
    let is_straight = straight.0 * diagonal.1 > diagonal.0 * straight.1;
    let (most, least) = if is_straight { straight } else { diagonal };
    let strength = u8::from(most >= 2 * least) + u8::from(most >= 4 * least);
    let direction = match 5 * most <= 7 * least {
        true => 0,
        false => 2 * strength + if is_straight { 1 } else { 2 },
    };
    let (activity, unit) = (u64::from(across + down), unit as u64);
    let activity = [13, 32, 64, 128].iter().filter(|&&bound| activity >= bound * unit).count();
    Class {
        class: direction * ACTIVITIES as u8 + activity as u8,
        turn: u8::from(down > across) + 2 * u8::from(rising > falling),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::class_filters::CLASSES;

    #[test]
    fn turns_undo_themselves_and_keep_every_pair() {
        for turned in TURNED {
            for (pair, &to) in turned.iter().enumerate() {
                assert_eq!(turned[to], pair);
            }
        }
        // One to the right, one down.
        assert_eq!((PAIRS[TURNED[1][0]], PAIRS[TURNED[2][0]]), ((1, 0), (0, 1)));
        // Two to the right and one down, and one to the right and two down.
        assert_eq!(PAIRS[TURNED[1][6]], (2, 1));
    }

    #[test]
    fn classes_are_those_of_directions_and_activities() {
        let [flat, across, rising] = [[0; 4], [6400, 0, 3000, 3000], [900, 900, 100, 2000]];
        assert_eq!(class(flat, 100), Class { class: 0, turn: 0 });
        assert_eq!(class(across, 100), Class { class: 5 * 5 + 3, turn: 0 });
        assert_eq!(class(rising, 100), Class { class: 6 * 5 + 1, turn: 2 });
        assert_eq!(class([0, 6400, 3000, 3000], 100), Class { class: 5 * 5 + 3, turn: 1 });
        for sums in [[u32::MAX / 2; 4], [64 * 32766, 0, 0, 64 * 32766]] {
            assert!(usize::from(class(sums, 1).class) < CLASSES);
        }
    }
}
