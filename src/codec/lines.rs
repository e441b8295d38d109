//! Lines of pixels on their way from the synthesis output through a filter, with those around
//! them that filters read.

use std::ops::Range;

use super::classes::{BELOW, BLOCK, Class, Classifier, TURNED};
use super::clipped;
use super::correction::{Correction, Room};
use super::filter::{self, REACH};
use crate::model::arch::{PIXEL_BLOCK, PIXEL_CHANNELS};
use crate::nn::{LANES, Network, Tensor};

/// The synthesis output of the darkest and of the brightest pixel there is.
pub(super) const DARKEST: i16 = -8192;
pub(super) const BRIGHTEST: i16 = 8191;

/// A line of pixels, colour by colour, with its first and last pixel repeated at the ends.
#[derive(Debug, Clone)]
pub(super) struct Line {
    values: Vec<i16>,
    stride: usize,
}

impl Line {
    fn new(width: usize) -> Line {
        let stride = width.next_multiple_of(LANES) + 2 * REACH;
        Line { values: vec![0; 3 * stride], stride }
    }

    /// One colour: [`REACH`] repeated values, then those of the line.
    pub fn colour(&self, colour: usize) -> &[i16] {
        &self.values[colour * self.stride..][..self.stride]
    }

    /// One colour of the pixels.
    pub fn pixels(&self, colour: usize) -> &[i16] {
        &self.colour(colour)[REACH..]
    }

    /// The mean of the colours, green twice, from one pixel in front of a line of `width` to one
    /// behind it.
    pub fn luma(&self, width: usize, luma: &mut Vec<i16>) {
        let [red, green, blue] = [0, 1, 2].map(|colour| &self.colour(colour)[REACH - 1..][..width + 2]);
        luma.clear();
        luma.extend(red.iter().zip(green).zip(blue).map(|((r, g), b)| (r >> 2) + (g >> 1) + (b >> 2)));
    }

    /// Line `dy` of a row of the synthesis output.
    fn set(&mut self, row: &[i16], dy: usize) {
        for (colour, values) in self.values.chunks_exact_mut(self.stride).enumerate() {
            let blocks = row.as_chunks::<PIXEL_CHANNELS>().0;
            let mut last = 0;
            for (values, block) in values[REACH..].chunks_exact_mut(PIXEL_BLOCK).zip(blocks) {
                let line = &block[dy * 3 * PIXEL_BLOCK..][..3 * PIXEL_BLOCK];
                for (value, pixel) in values.iter_mut().zip(line.as_chunks::<3>().0) {
                    *value = pixel[colour].clamp(DARKEST, BRIGHTEST);
                    last = *value;
                }
            }
            let first = values[REACH];
            values[..REACH].fill(first);
            values[REACH + blocks.len() * PIXEL_BLOCK..].fill(last);
        }
    }
}

/// Rows of the synthesis output on their way to corrected pixels: rows of blocks go in,
/// lines of pixels come out, some lines later.
pub(super) struct Filtering {
    /// Pixels of a line.
    width: usize,
    /// The last lines, each at its number modulo their count.
    lines: Vec<Line>,
    room: Room,
    /// Where blocks have classes.
    classifier: Option<Classifier>,
    /// Lines that came in.
    came: Range<usize>,
    /// The next line to go out.
    next: usize,
}

/// Lines that wait for those below them.
const WAITING: usize = BLOCK;
const _: () = assert!(WAITING >= REACH && WAITING >= BELOW);

impl Filtering {
    /// Of `width` pixels a line, the first being `first`. Blocks have classes where errors are
    /// like `unit`.
    pub fn new(width: usize, first: usize, unit: Option<i16>) -> Filtering {
        let lines = vec![Line::new(width); 2 * PIXEL_BLOCK];
        let classifier = unit.map(Classifier::new);
        Filtering { width, lines, room: Room::default(), classifier, came: first..first, next: first }
    }

    /// Shows all lines of a synthesis output.
    pub fn each_line(output: &Tensor, unit: Option<i16>, mut show: impl FnMut(usize, &mut Ready<'_>)) {
        let mut filtering = Filtering::new(output.width * PIXEL_BLOCK, 0, unit);
        for row in output.data.chunks_exact(output.width * PIXEL_CHANNELS) {
            filtering.push(row, &mut show);
        }
        filtering.finish(&mut show);
    }

    /// Takes a row of blocks, and shows lines that are complete.
    pub fn push(&mut self, row: &[i16], show: impl FnMut(usize, &mut Ready<'_>)) {
        for dy in 0..PIXEL_BLOCK {
            let slot = self.came.end % self.lines.len();
            self.lines[slot].set(row, dy);
            self.came.end += 1;
        }
        self.show(self.came.end - WAITING, show);
    }

    /// Shows the lines that are left.
    pub fn finish(mut self, show: impl FnMut(usize, &mut Ready<'_>)) {
        self.show(self.came.end, show);
    }

    fn show(&mut self, end: usize, mut show: impl FnMut(usize, &mut Ready<'_>)) {
        let Filtering { width, lines, room, classifier, came, next } = self;
        let line = |y: usize| &lines[y.clamp(came.start, came.end - 1) % lines.len()];
        while *next < end {
            let y = *next;
            let classes = match classifier {
                Some(classifier) => classifier.classes(y / BLOCK, came.clone(), *width, line),
                None => &[],
            };
            let lines = std::array::from_fn(|i| line((y + i).saturating_sub(REACH)));
            show(y, &mut Ready { y, lines, classes, room });
            *next += 1;
        }
    }
}

/// A line of pixels whose neighbours are there.
pub(super) struct Ready<'a> {
    y: usize,
    lines: [&'a Line; 2 * REACH + 1],
    /// Of the line's blocks, if they have any.
    classes: &'a [Class],
    room: &'a mut Room,
}

impl Ready<'_> {
    /// The line as it came.
    pub fn line(&self) -> &Line {
        self.lines[REACH]
    }

    /// The classes of the line's blocks, if they have any.
    #[cfg(feature = "train")]
    pub fn classes(&self) -> &[Class] {
        self.classes
    }

    /// What a tap of a linear part sees of pixels `at`.
    pub fn linear(&self, tap: usize, at: Range<usize>) -> impl Iterator<Item = i16> {
        filter::see(&self.lines, tap, at)
    }

    /// What a clipped pair, turned as its blocks are, sees of pixels `at` of one colour.
    pub fn clipped(
        &self,
        colour: usize,
        pair: usize,
        limits: [i16; 2],
        at: Range<usize>,
    ) -> impl Iterator<Item = [i16; 2]> {
        let blocks = at.start / BLOCK..at.end.div_ceil(BLOCK);
        blocks.flat_map(move |block| {
            let turn = self.classes.get(block).map_or(0, |class| class.turn);
            let at = (block * BLOCK).max(at.start)..((block + 1) * BLOCK).min(at.end);
            clipped::see(&self.lines, colour, TURNED[usize::from(turn)][pair], limits, at)
        })
    }

    /// Pixels `at` of the line, red, green and blue of each, with what corrects them.
    pub fn through(
        &mut self,
        network: &Network,
        correction: Option<&Correction<'_>>,
        at: Range<usize>,
        out: &mut [i16],
    ) {
        match correction {
            Some(correction) => {
                correction.apply(network, (self.y, &self.lines), self.classes, at, self.room, out);
            }
            None => {
                for colour in 0..3 {
                    let values = &self.line().pixels(colour)[at.clone()];
                    let pixels = out.chunks_exact_mut(3);
                    pixels.zip(values).for_each(|(pixel, &value)| pixel[colour] = value);
                }
            }
        }
    }
}
