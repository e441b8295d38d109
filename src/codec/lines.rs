//! Lines of pixels on their way from the synthesis output through a filter, with those around
//! them that filters read.

use std::ops::Range;

use super::clipped;
use super::filter::{self, Filter, REACH, Sums};
use crate::model::arch::{PIXEL_BLOCK, PIXEL_CHANNELS};
use crate::nn::{LANES, Network, Tensor};

/// The synthesis output of the darkest and of the brightest pixel there is.
const DARKEST: i16 = -8192;
const BRIGHTEST: i16 = 8191;

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

/// Rows of the synthesis output on their way through a filter: rows of blocks go in,
/// lines of pixels come out, two lines later.
pub(super) struct Filtering {
    /// The last lines, each at its number modulo their count.
    lines: Vec<Line>,
    sums: Sums,
    /// Lines that came in.
    came: Range<usize>,
    /// The next line to go out.
    next: usize,
}

impl Filtering {
    /// Of `width` pixels a line, the first being `first`.
    pub fn new(width: usize, first: usize) -> Filtering {
        let lines = vec![Line::new(width); PIXEL_BLOCK + 2 * REACH];
        Filtering { lines, sums: Sums::default(), came: first..first, next: first }
    }

    /// Shows all lines of a synthesis output.
    pub fn each_line(output: &Tensor, mut show: impl FnMut(usize, &mut Ready<'_>)) {
        let mut filtering = Filtering::new(output.width * PIXEL_BLOCK, 0);
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
        self.show(self.came.end.saturating_sub(REACH), show);
    }

    /// Shows the lines that are left.
    pub fn finish(mut self, show: impl FnMut(usize, &mut Ready<'_>)) {
        self.show(self.came.end, show);
    }

    fn show(&mut self, end: usize, mut show: impl FnMut(usize, &mut Ready<'_>)) {
        while self.next < end {
            let line = |y: usize| &self.lines[y.clamp(self.came.start, self.came.end - 1) % self.lines.len()];
            let y = self.next;
            let lines = std::array::from_fn(|i| line((y + i).saturating_sub(REACH)));
            let mut ready = Ready { lines, sums: &mut self.sums };
            show(y, &mut ready);
            self.next += 1;
        }
    }
}

/// A line of pixels whose neighbours are there.
pub(super) struct Ready<'a> {
    lines: [&'a Line; 2 * REACH + 1],
    sums: &'a mut Sums,
}

impl Ready<'_> {
    /// The line as it came.
    pub fn line(&self) -> &Line {
        self.lines[REACH]
    }

    /// What a tap of a linear part sees of pixels `at`.
    pub fn linear(&self, tap: usize, at: Range<usize>) -> impl Iterator<Item = i16> {
        filter::see(&self.lines, tap, at)
    }

    /// What a clipped pair sees of pixels `at` of one colour.
    pub fn clipped(
        &self,
        colour: usize,
        pair: usize,
        limit: u32,
        at: Range<usize>,
    ) -> impl Iterator<Item = [i16; 2]> {
        clipped::see(&self.lines, colour, pair, limit, at)
    }

    /// Pixels `at` of the line, red, green and blue of each, through a filter.
    pub fn through(&mut self, network: &Network, filter: Option<&Filter>, at: Range<usize>, out: &mut [i16]) {
        match filter {
            Some(filter) => filter.apply(network, &self.lines, at, self.sums, out),
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
