//! One row of a tile's latents: which of them are coded, and what their symbols
//! make of them.

use super::latents::{Quantiser, Symbols, saturate};
use crate::entropy::scale_bin;
use crate::model::arch::start_of_half;
use crate::nn::Tensor;

/// The latents of one half in a row that are coded, in order.
pub(super) struct CodedRow<'a> {
    /// The index of the row's first value.
    index: usize,
    /// Channels of a position.
    channels: usize,
    /// What is predicted at each position: the means of the half's channels, then scales.
    predictions: &'a [i16],
    /// Of each position the first channel of the half, and where its latents end in what follows.
    positions: &'a [(usize, usize)],
    /// Of each latent, which of the half's channels it is.
    places: &'a [u16],
    /// Of each latent, the distribution of quantiser 0.
    pub bins: &'a [u8],
}

impl CodedRow<'_> {
    /// Shows the index, the bin and the mean of each latent.
    pub fn each(&self, mut show: impl FnMut(usize, u8, i16)) {
        let mut done = 0;
        let predictions = self.predictions.chunks_exact(2 * self.channels.div_ceil(2));
        for (x, (&(start, end), means)) in self.positions.iter().zip(predictions).enumerate() {
            let index = self.index + x * self.channels + start;
            for (&place, &bin) in self.places[done..end].iter().zip(&self.bins[done..end]) {
                show(index + 2 * usize::from(place), bin, means[usize::from(place)]);
            }
            done = end;
        }
    }
}

/// Visits the latents of one half in row `y`. `predictions` holds, at each
/// position, the means of its channels in that half, then the log2 of their scales.
pub(super) fn walk(
    first: bool,
    y: usize,
    predictions: &[i16],
    quantiser: &Quantiser,
    y_hat: &mut Tensor,
    symbols: &mut impl Symbols,
) {
    let m = quantiser.half_steps.len();
    let half = m.div_ceil(2);
    let stride = y_hat.width * m;
    let row = &mut y_hat.data[y * stride..][..stride];
    // What comes next is in loops that do one thing each. The bins, and the channels that
    // hold a symbol:
    let (mut bins, mut coded) = (vec![0; half], Vec::with_capacity(y_hat.width * half));
    let mut places = vec![0; y_hat.width * half + 8];
    let positions: Vec<(usize, usize)> = predictions
        .chunks_exact(2 * half)
        .enumerate()
        .map(|(x, prediction)| {
            let start = start_of_half(first, y, x);
            let scales = prediction[half..].iter().zip(&quantiser.bin_starts[start]);
            bins.iter_mut().zip(scales).for_each(|(bin, (&scale, &least))| *bin = scale_bin(scale, least));
            let places = &mut places[coded.len()..];
            let count = list_coded(&bins[..(m - start).div_ceil(2)], places);
            coded.extend(places[..count].iter().map(|&place| bins[usize::from(place)]));
            (start, coded.len())
        })
        .collect();
    // The symbols:
    let mut values = vec![0; coded.len()];
    let index = y * stride;
    let (positions, places) = (&positions[..], &places[..coded.len()]);
    let coded = CodedRow { index, channels: m, predictions, positions, places, bins: &coded };
    symbols.row(coded, &mut values);
    // What they stand for:
    let mut done = 0;
    for ((y_hat, means), &(start, end)) in
        row.chunks_exact_mut(m).zip(predictions.chunks_exact(2 * half)).zip(positions)
    {
        set_half(y_hat, &means[..half], start);
        for (&place, &value) in places[done..end].iter().zip(&values[done..end]) {
            let c = start + 2 * usize::from(place);
            y_hat[c] = saturate(i32::from(y_hat[c]) + quantiser.half_steps[c].dequantize(value));
        }
        done = end;
    }
}

/// The bits that are set in each byte, lowest first; what is behind them does not count.
const SET_BITS: [[u8; 8]; 256] = {
    let mut table = [[0; 8]; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut bit, mut count) = (0, 0);
        while bit < 8 {
            table[byte][count] = bit;
            count += byte >> bit & 1;
            if count == 8 {
                break;
            }
            bit += 1;
        }
        byte += 1;
    }
    table
};

/// Lists the bins that are not 0, and returns their number. `list` has room for
/// eight more than there are bins.
fn list_coded(bins: &[u8], list: &mut [u16]) -> usize {
    let mut count = 0;
    let (eights, rest) = bins.as_chunks::<8>();
    for (eight, bins) in eights.iter().enumerate() {
        // Bins are below 128: the sum's upper bits tell which are not 0, and
        // the product gathers them.
        let upper = (u64::from_le_bytes(*bins) + 0x7f7f_7f7f_7f7f_7f7f) & 0x8080_8080_8080_8080;
        let set = ((upper >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) as usize;
        let list: &mut [u16; 8] = (&mut list[count..][..8]).try_into().expect("a slice of eight");
        *list = SET_BITS[set].map(|bit| (8 * eight) as u16 + u16::from(bit));
        count += set.count_ones() as usize;
    }
    for (i, &bin) in rest.iter().enumerate() {
        list[count] = (8 * eights.len() + i) as u16;
        count += usize::from(bin != 0);
    }
    count
}

/// Sets every other value from `start`, 0 or 1, on.
fn set_half(to: &mut [i16], from: &[i16], start: usize) {
    let (pairs, last) = to.as_chunks_mut::<2>();
    // Whole pairs are stored, which the compiler does with registers.
    if start == 0 {
        pairs.iter_mut().zip(from).for_each(|(pair, &from)| *pair = [from, pair[1]]);
        last.iter_mut().zip(from.last()).for_each(|(to, &from)| *to = from);
    } else {
        pairs.iter_mut().zip(from).for_each(|(pair, &from)| *pair = [pair[0], from]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_coded_is_listed_in_order() {
        let mut state = 1u32;
        for length in [0, 1, 7, 8, 9, 40, 257] {
            for odds in [1, 3, 60] {
                let bins: Vec<u8> = (0..length)
                    .map(|_| {
                        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        if (state >> 16).is_multiple_of(odds) { (state >> 24) as u8 % 96 } else { 0 }
                    })
                    .collect();
                let expected: Vec<u16> = (0..length).filter(|&i| bins[usize::from(i)] != 0).collect();
                let mut list = vec![0; bins.len() + 8];
                let count = list_coded(&bins, &mut list);
                assert_eq!(list[..count], expected, "{bins:?}");
            }
        }
    }
}
