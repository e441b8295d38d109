//! A prepared network, and its runs on rayon's current thread pool.

use rayon::prelude::*;

use super::kernel::{self, Differences, Kernel, Pair};
use super::level::Level;
use super::plan::{Op, Step, plan};
use super::stream::{Stream, windows};
use super::tensor::{Source, Tensor};
use super::window::{Cuts, Window};
use crate::model::{IntegerNetwork, QualityIndex};
use crate::{Error, Result};

/// Most columns of a strip, at the finest resolution within the network: 1024
/// pixels at 1/8.
const STRIP: usize = 128;
/// Positions that a step takes at once, at the finest resolution: enough that
/// the weights are worth fetching, few enough for the cache.
const BATCH: usize = 256;
/// Fewest rows of a band at the finest resolution; a band computes some of its
/// neighbours' rows again.
const BAND: usize = 32;

/// A network with packed weights, ready to run.
#[derive(Debug)]
pub struct Network {
    ops: Vec<Op>,
    kernel: Box<dyn Kernel>,
}

impl Network {
    /// Checks and packs a network. A description and parameters that do not fit
    /// together are [`Error::Model`]; a level that this processor lacks is
    /// [`Error::Parameter`].
    pub fn new(network: &IntegerNetwork, level: Level) -> Result<Network> {
        Ok(Network { ops: plan(network)?, kernel: kernel::required(level)? })
    }

    /// Prepares a network that ends in means, then log2 scales of as many
    /// channels, where a position wants only every other channel's: from channel
    /// `start` (0 or 1) on where row plus column is even, from the other one on
    /// elsewhere. It gives the means of those, then their scales; where there is
    /// an odd number of channels, the shorter half ends in zeros.
    pub fn alternating(network: &IntegerNetwork, level: Level, start: usize) -> Result<Network> {
        let mut prepared = Network::new(network, level)?;
        let Some(Op { step: Step::Pointwise(whole), add: None }) = prepared.ops.pop() else {
            return Err(Error::Model("predictions that no pointwise layer makes".into()));
        };
        let channels = whole.outputs / 2;
        let layer = |start: usize| {
            let half = |first: usize| {
                (0..channels.div_ceil(2))
                    .map(move |i| start + 2 * i)
                    .map(move |c| (c < channels).then_some(first + c))
            };
            whole.select(&half(0).chain(half(channels)).collect::<Vec<_>>())
        };
        prepared.ops.push(Op { step: Step::Alternating([layer(start), layer(1 - start)]), add: None });
        Ok(prepared)
    }

    /// What the network makes of `input` at a quality. The result depends on
    /// neither the level nor the number of threads.
    ///
    /// Panics if `input` does not have the channels the network reads, or if a
    /// size that is to be halved is odd.
    pub fn run(&self, input: &(impl Source + Sync + ?Sized), quality: QualityIndex) -> Tensor {
        let [height, width, channels] = self.output_size(input.size());
        let mut y = Tensor::new(height, width, channels);
        let cuts = self.cuts(&Window::whole(height, width));
        let pieces = cuts.split(&mut y.data, width * channels, 1, channels);
        for_each_piece(&cuts, pieces, |window, mut rows| {
            let first = window.rows.start;
            self.stream(input, quality, &window, |y, row| rows[y - first].copy_from_slice(row));
        });
        y
    }

    /// Computes one window of the output on this thread and hands its rows to
    /// `sink` from top to bottom, with their numbers. Memory does not grow with
    /// the window's height. Panics as [`Network::run`] does.
    pub fn stream(
        &self,
        input: &(impl Source + ?Sized),
        quality: QualityIndex,
        window: &Window,
        mut sink: impl FnMut(usize, &[i16]),
    ) {
        if window.is_empty() {
            return;
        }
        let sizes = self.sizes(input.size());
        let mut stream = Stream::new(&self.ops, &*self.kernel, quality, &sizes, window);
        let batch = self.batch(window.columns.len());
        let mut y = window.rows.start;
        while y < window.rows.end {
            let end = (y / batch * batch + batch).min(window.rows.end);
            stream.advance(input, end);
            (y..end).for_each(|y| sink(y, stream.output(y, &window.columns)));
            y = end;
        }
    }

    /// Adds to each of three rows of sums what pairs of rows of values weigh in it, with the kernel's
    /// instructions. Two values of a pair add up to 16 bits, sums wrap; rows are whole numbers of
    /// [`LANES`](super::LANES).
    pub fn weigh(&self, pairs: &[Pair<'_>], weights: &[[i16; 3]], sums: &mut [Vec<i32>; 3]) {
        self.kernel.weigh(pairs, weights, sums);
    }

    /// Adds what [`Differences`] say to a row of sums, with the kernel's instructions.
    pub fn differences(&self, differences: &Differences<'_>, sums: &mut [i32]) {
        self.kernel.differences(differences, sums);
    }

    /// Adds the sums of the products of a row and each of `others`, all as long: whole numbers of
    /// [`SUM_LANES`](super::SUM_LANES), each of which is added up alone.
    pub fn sums_of_products(&self, row: &[f32], others: &[Vec<f32>], sums: &mut [f64]) {
        self.kernel.sums_of_products(row, others, sums);
    }

    /// The part of an input of this size that a window of the output depends on.
    pub fn input_window(&self, input: [usize; 3], window: &Window) -> Window {
        if window.is_empty() {
            return window.clone();
        }
        windows(&self.ops, &self.sizes(input), window).swap_remove(0)
    }

    /// Rows, columns and channels of the output for an input of this size.
    pub fn output_size(&self, input: [usize; 3]) -> [usize; 3] {
        *self.sizes(input).last().expect("at least the input")
    }

    /// How a window of the output is best cut for the threads there are.
    pub fn cuts(&self, window: &Window) -> Cuts {
        let scale = self.finest().0;
        // Pieces compute their neighbours' margins again: the further a network
        // reaches, the larger they are.
        let reach = self.reach();
        let strip = (STRIP / scale).max(16 * reach).max(1);
        let band = (BAND / scale).max(3 * reach).max(1);
        // Asking for the number of threads starts them.
        let small = window.columns.len() <= strip && window.rows.len() <= band;
        let threads = if small { 1 } else { rayon::current_num_threads() };
        let strips = window.columns.len().div_ceil(strip).max(1);
        let bands = match threads {
            1 => 1,
            _ => {
                let most = (window.rows.len() / band).max(1);
                let wanted = (4 * threads).div_ceil(strips).min(most);
                // The same number for each thread, where there is more than one.
                if wanted * strips > threads { wanted.next_multiple_of(threads) } else { wanted }
            }
        };
        Cuts::new(window, window.rows.len().div_ceil(bands), strip)
    }

    /// How many rows of the output beyond a row the input that it depends on
    /// stands for.
    fn reach(&self) -> usize {
        const FAR: usize = 1 << 20;
        let mut ends = vec![0; self.ops.len() + 1];
        ends[self.ops.len()] = FAR;
        let mut level = 0i32;
        for (index, op) in self.ops.iter().enumerate().rev() {
            let end = ends[index + 1];
            ends[index] = ends[index].max(op.step.reads(0..end, usize::MAX).end);
            if let Some(added) = op.add {
                ends[added] = ends[added].max(end);
            }
            level += match op.step {
                Step::Shuffle => 1,
                Step::Unshuffle => -1,
                _ => 0,
            };
        }
        let end = if level >= 0 { ends[0] << level.min(16) } else { ends[0] >> (-level).min(16) };
        end.saturating_sub(FAR)
    }

    /// Rows of the output to compute at once.
    fn batch(&self, columns: usize) -> usize {
        let (scale, step) = self.finest();
        (BATCH / (columns * scale * scale)).max(1).next_multiple_of(step)
    }

    /// Rows of the finest tensor to one of the output, and rows of the output to
    /// one of the coarsest.
    fn finest(&self) -> (usize, usize) {
        let mut level = 0i32;
        let levels: Vec<i32> = self
            .ops
            .iter()
            .map(|op| {
                level += match op.step {
                    Step::Shuffle => 1,
                    Step::Unshuffle => -1,
                    _ => 0,
                };
                level
            })
            .collect();
        let finest = levels.iter().copied().max().unwrap_or(0).max(0);
        let coarsest = levels.iter().copied().min().unwrap_or(0).min(0);
        (1 << (finest - level).min(16), 1 << (level - coarsest).min(16))
    }

    /// The sizes of all tensors, from the input to the output.
    fn sizes(&self, input: [usize; 3]) -> Vec<[usize; 3]> {
        let mut sizes = vec![input];
        for op in &self.ops {
            sizes.push(op.step.output_size(sizes[sizes.len() - 1]));
        }
        sizes
    }
}

/// Calls `f` with every window of `cuts` and the piece that belongs to it, in
/// parallel where there is more than one.
pub fn for_each_piece<T: Send>(cuts: &Cuts, pieces: Vec<T>, f: impl Fn(Window, T) + Sync) {
    let windows: Vec<Window> = cuts.windows().collect();
    if windows.len() == 1 {
        windows.into_iter().zip(pieces).for_each(|(window, piece)| f(window, piece));
    } else {
        windows.into_par_iter().zip(pieces).for_each(|(window, piece)| f(window, piece));
    }
}
