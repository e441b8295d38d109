//! One window of a network's output, row by row.
//!
//! Between two steps lie only the rows that the next step still needs: three for
//! a depthwise layer, and those that wait to be added where a residual ends.
//! They fit the second-level cache, and memory does not grow with the height of
//! the window. Rows outside the tensor are zero, those outside the window are
//! computed as far as they matter, so a value does not depend on how windows
//! were cut.

use std::ops::Range;

use super::kernel::{Accumulators, Epilogue, Kernel, TILE};
use super::plan::{Op, Step};
use super::requant::leaky_relu;
use super::shuffle::{shuffle_row, unshuffle_row};
use super::tensor::Source;
use super::weights::{LANES, Lanes, Pointwise};
use super::window::Window;
use crate::model::QualityIndex;

/// Positions of a pointwise layer that go through all blocks of weights
/// together: few enough that they stay in the first-level cache.
pub const CHUNK: usize = 8 * TILE;

/// A run of a network over one window of its output.
pub struct Stream<'a> {
    ops: &'a [Op],
    kernel: &'a dyn Kernel,
    /// Of each step that has pointwise layers, see [`Pointwise::offsets`].
    offsets: Vec<Vec<Lanes<i32>>>,
    /// The tensors between the steps, the input first and the output last.
    tensors: Vec<Rows>,
    /// Memory of tensors that hold no row at the moment.
    spare: Vec<Vec<i16>>,
    /// A row of zeros.
    outside: Vec<i16>,
}

/// The rows of a tensor that are in use.
#[derive(Debug)]
struct Rows {
    size: [usize; 3],
    columns: Range<usize>,
    /// The rows held. The last one is also the last one computed.
    held: Range<usize>,
    data: Vec<i16>,
}

impl Rows {
    fn stride(&self) -> usize {
        self.columns.len() * self.size[2]
    }

    /// Where columns of a row lie in the data.
    fn at(&self, y: usize, columns: &Range<usize>) -> Range<usize> {
        debug_assert!(self.held.start <= y && self.columns.start <= columns.start);
        debug_assert!(columns.end <= self.columns.end);
        let start =
            (y - self.held.start) * self.stride() + (columns.start - self.columns.start) * self.size[2];
        start..start + columns.len() * self.size[2]
    }

    fn row(&self, y: usize, columns: &Range<usize>) -> &[i16] {
        &self.data[self.at(y, columns)]
    }
}

impl<'a> Stream<'a> {
    /// Nothing is read or computed yet. `sizes` are those of all tensors.
    pub fn new(
        ops: &'a [Op],
        kernel: &'a dyn Kernel,
        quality: QualityIndex,
        sizes: &[[usize; 3]],
        window: &Window,
    ) -> Stream<'a> {
        let tensors: Vec<Rows> = windows(ops, sizes, window)
            .into_iter()
            .zip(sizes)
            .map(|(window, &size)| Rows {
                size,
                columns: window.columns,
                held: window.rows.start..window.rows.start,
                data: Vec::new(),
            })
            .collect();
        let offsets = ops.iter().map(|op| match &op.step {
            Step::Pointwise(layer) => layer.offsets(quality),
            Step::Alternating(layers) => layers.iter().flat_map(|layer| layer.offsets(quality)).collect(),
            _ => Vec::new(),
        });
        let outside = vec![0; tensors.iter().map(Rows::stride).max().unwrap_or(0)];
        Stream { ops, kernel, offsets: offsets.collect(), tensors, spare: Vec::new(), outside }
    }

    /// Computes the output up to row `end`; its earlier rows are forgotten.
    pub fn advance(&mut self, source: &(impl Source + ?Sized), end: usize) {
        let ends = self.ends(end);
        self.make_room(0, ends[0]);
        let input = &mut self.tensors[0];
        let columns = input.columns.clone();
        for y in input.held.end..ends[0] {
            let at = input.at(y, &columns);
            source.read(y, columns.clone(), &mut input.data[at]);
        }
        input.held.end = ends[0].max(input.held.end);
        for (index, op) in self.ops.iter().enumerate() {
            let rows = self.tensors[index + 1].held.end..ends[index + 1];
            if !rows.is_empty() {
                self.make_room(index + 1, rows.end);
                self.step(index, op, rows.clone());
                self.tensors[index + 1].held.end = rows.end;
                self.release(index);
                op.add.into_iter().for_each(|added| self.release(added));
            }
        }
    }

    /// Columns of an output row among those that were computed last.
    pub fn output(&self, y: usize, columns: &Range<usize>) -> &[i16] {
        self.tensors[self.ops.len()].row(y, columns)
    }

    /// The row that each tensor must reach for the output to reach row `end`.
    fn ends(&self, end: usize) -> Vec<usize> {
        let mut ends = vec![0; self.tensors.len()];
        ends[self.ops.len()] = end;
        for (index, op) in self.ops.iter().enumerate().rev() {
            let end = ends[index + 1];
            ends[index] = ends[index].max(op.step.reads(0..end, self.tensors[index].size[0]).end);
            if let Some(added) = op.add {
                ends[added] = ends[added].max(end);
            }
        }
        ends
    }

    /// The first row of a tensor that is still to be read.
    fn first_needed(&self, tensor: usize) -> usize {
        let done = |op: usize| self.tensors[op + 1].held.end;
        let readers = self.ops.iter().enumerate().skip(tensor);
        let adding = readers.filter(|(_, op)| op.add == Some(tensor)).map(|(index, _)| done(index));
        let reading = self.ops.get(tensor).map(|op| {
            // What its next row reads.
            op.step.reads(done(tensor)..done(tensor) + 1, usize::MAX).start
        });
        adding.chain(reading).min().unwrap_or(self.tensors[tensor].held.end)
    }

    /// Makes a tensor long enough for the rows before `end` and drops those
    /// that nothing will read again.
    fn make_room(&mut self, tensor: usize, end: usize) {
        let first = self.first_needed(tensor);
        let rows = &mut self.tensors[tensor];
        if rows.data.is_empty() {
            rows.data = self.spare.pop().unwrap_or_default();
        }
        let stride = rows.stride();
        if first > rows.held.start {
            let kept = (first - rows.held.start) * stride..rows.held.len() * stride;
            rows.data.copy_within(kept, 0);
            rows.held.start = first;
        }
        let length = (end - rows.held.start) * stride;
        if rows.data.len() < length {
            rows.data.resize(length, 0);
        }
    }

    /// Passes the memory of a tensor on if all its rows have been read.
    fn release(&mut self, tensor: usize) {
        let first = self.first_needed(tensor);
        let rows = &mut self.tensors[tensor];
        if first == rows.held.end {
            rows.held.start = first;
            self.spare.push(std::mem::take(&mut rows.data));
        }
    }

    /// Computes rows of the tensor behind a step.
    fn step(&mut self, index: usize, op: &Op, rows: Range<usize>) {
        let (before, after) = self.tensors.split_at_mut(index + 1);
        let (x, y) = (&before[index], &mut after[0]);
        let add = op.add.map(|added| &before[added]);
        let columns = y.columns.clone();
        if let Step::Pointwise(layer) = &op.step {
            return pointwise(self.kernel, layer, &self.offsets[index], (x, add, y), rows);
        }
        if let Step::Alternating(layers) = &op.step {
            return alternating(self.kernel, layers, &self.offsets[index], (x, y), rows);
        }
        let channels = x.size[2];
        for row in rows {
            let at = y.at(row, &columns);
            let out = &mut y.data[at];
            match op.step {
                Step::Pointwise(_) | Step::Alternating(_) => unreachable!("handled above"),
                Step::Depthwise(ref layer) => {
                    let read = columns.start.saturating_sub(1)..(columns.end + 1).min(x.size[1]);
                    let outside = &self.outside[..read.len() * channels];
                    let near = |y: usize| match y.checked_sub(1) {
                        Some(y) if y < x.size[0] => x.row(y, &read),
                        _ => outside,
                    };
                    let near = [near(row), near(row + 1), near(row + 2)];
                    self.kernel.depthwise_row(layer, near, columns.start - read.start, out);
                }
                Step::LeakyRelu => {
                    for (y, &x) in out.iter_mut().zip(x.row(row, &columns)) {
                        *y = leaky_relu(x);
                    }
                }
                Step::Gate { channels, gate } => {
                    let x = x.row(row, &columns).chunks_exact(2 * channels);
                    for (y, x) in out.chunks_exact_mut(channels).zip(x) {
                        for (channel, y) in y.iter_mut().enumerate() {
                            *y = gate.apply(x[channel], x[channel + channels]);
                        }
                    }
                }
                Step::Unshuffle => {
                    let read = 2 * columns.start..2 * columns.end;
                    unshuffle_row([x.row(2 * row, &read), x.row(2 * row + 1, &read)], channels, out);
                }
                Step::Shuffle => {
                    let read = columns.start / 2..columns.end / 2;
                    shuffle_row(x.row(row / 2, &read), row % 2 == 1, channels, out);
                }
                Step::Copy => out.copy_from_slice(x.row(row, &columns)),
            }
            if let Some(add) = add {
                for (y, &x) in out.iter_mut().zip(add.row(row, &columns)) {
                    *y = x.saturating_add(*y);
                }
            }
        }
    }
}

/// The part of each tensor that a window of the output depends on.
pub fn windows(ops: &[Op], sizes: &[[usize; 3]], window: &Window) -> Vec<Window> {
    let mut needed: Vec<Option<Window>> = vec![None; sizes.len()];
    needed[ops.len()] = Some(window.clone());
    let widen = |needed: &mut Option<Window>, by: Window| {
        let union = |a: &Range<usize>, b: &Range<usize>| a.start.min(b.start)..a.end.max(b.end);
        *needed = Some(needed.as_ref().map_or(by.clone(), |window| Window {
            rows: union(&window.rows, &by.rows),
            columns: union(&window.columns, &by.columns),
        }));
    };
    for (index, op) in ops.iter().enumerate().rev() {
        let out = needed[index + 1].as_mut().expect("every tensor is read by the step behind it");
        if let Step::Shuffle = op.step {
            // The quarters of a position are written together.
            out.columns = out.columns.start / 2 * 2..out.columns.end.next_multiple_of(2);
        }
        let out = out.clone();
        let [height, width, _] = sizes[index];
        let rows = op.step.reads(out.rows.clone(), height);
        let columns = op.step.reads(out.columns.clone(), width);
        widen(&mut needed[index], Window { rows, columns });
        if let Some(added) = op.add {
            widen(&mut needed[added], out);
        }
    }
    needed.into_iter().map(|window| window.expect("every tensor is read")).collect()
}

/// A pointwise layer on rows of a tensor.
fn pointwise(
    kernel: &dyn Kernel,
    layer: &Pointwise,
    offsets: &[Lanes<i32>],
    (x, add, y): (&Rows, Option<&Rows>, &mut Rows),
    rows: Range<usize>,
) {
    let columns = y.columns.clone();
    let same = x.columns == columns && add.is_none_or(|add| add.columns == columns);
    // Rows of the same columns lie one behind the other.
    let together = if same { rows.len() } else { 1 };
    for first in rows.clone().step_by(together) {
        let reach = |at: Range<usize>| at.start..at.start + at.len() * together;
        let x = &x.data[reach(x.at(first, &columns))];
        let add = add.map(|add| &add.data[reach(add.at(first, &columns))]);
        let at = reach(y.at(first, &columns));
        let output = &mut y.data[at];
        for (index, output) in output.chunks_mut(CHUNK * layer.outputs).enumerate() {
            let x = &x[index * CHUNK * layer.inputs..];
            let add = add.map(|add| &add[index * CHUNK * layer.outputs..][..output.len()]);
            pointwise_chunk(kernel, layer, offsets, x, add, output);
        }
    }
}

/// Two pointwise layers on rows of a tensor, each at every other position.
fn alternating(
    kernel: &dyn Kernel,
    layers: &[Pointwise; 2],
    offsets: &[Lanes<i32>],
    (x, y): (&Rows, &mut Rows),
    rows: Range<usize>,
) {
    let columns = y.columns.clone();
    let (mut gathered, mut computed) = (Vec::new(), Vec::new());
    for row in rows {
        for (parity, (layer, offsets)) in layers.iter().zip(offsets.chunks(layers[0].blocks())).enumerate() {
            let first = (row + columns.start + parity) % 2;
            gathered.clear();
            let positions = x.row(row, &columns).chunks_exact(layer.inputs);
            positions.skip(first).step_by(2).for_each(|x| gathered.extend_from_slice(x));
            computed.resize(gathered.len() / layer.inputs * layer.outputs, 0);
            let chunks = gathered.chunks(CHUNK * layer.inputs);
            for (x, output) in chunks.zip(computed.chunks_mut(CHUNK * layer.outputs)) {
                pointwise_chunk(kernel, layer, offsets, x, None, output);
            }
            let at = y.at(row, &columns);
            let positions = y.data[at].chunks_exact_mut(layer.outputs).skip(first).step_by(2);
            positions.zip(computed.chunks_exact(layer.outputs)).for_each(|(y, out)| y.copy_from_slice(out));
        }
    }
}

/// A pointwise layer on the positions that `output` has room for. Blocks of
/// weights are the outer loop: one block fits the first-level cache.
pub fn pointwise_chunk(
    kernel: &dyn Kernel,
    layer: &Pointwise,
    offsets: &[Lanes<i32>],
    x: &[i16],
    add: Option<&[i16]>,
    output: &mut [i16],
) {
    let (inputs, outputs) = (layer.inputs, layer.outputs);
    let mut acc: [Accumulators; TILE] = [Lanes([0; LANES]); TILE];
    for (block, offsets) in offsets.iter().enumerate() {
        let channel = block * layer.block_width();
        let epilogue = Epilogue {
            offsets,
            shifts: layer.shifts(block),
            activation: layer.activation,
            channel,
            count: layer.block_width().min(outputs - channel),
            stride: outputs,
        };
        let weights = layer.weights(block);
        for (tile, output) in output.chunks_mut(TILE * outputs).enumerate() {
            let acc = &mut acc[..output.len() / outputs];
            let x = &x[tile * TILE * inputs..][..acc.len() * inputs];
            let add = add.map(|add| &add[tile * TILE * outputs..][..output.len()]);
            kernel.accumulate(weights, inputs, x, acc, epilogue.lanes());
            kernel.finish(acc, &epilogue, add, output);
        }
    }
}
