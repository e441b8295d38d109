//! Space to depth and back: pure copies.

use super::tensor::Tensor;

/// [`crate::model::Layer::Unshuffle`]: both sizes must be even.
pub fn unshuffle(x: &Tensor, y: &mut Tensor) {
    let row = x.width * x.channels;
    if row == 0 {
        return;
    }
    let pair = 2 * x.channels;
    // Two neighbouring positions of a row are two consecutive quarters of the
    // new channels, so a row of the input is copied in pieces of that size.
    for (rows, y) in x.data.chunks_exact(2 * row).zip(y.data.chunks_exact_mut(2 * row)) {
        let (upper, lower) = rows.split_at(row);
        for ((upper, lower), y) in
            upper.chunks_exact(pair).zip(lower.chunks_exact(pair)).zip(y.chunks_exact_mut(2 * pair))
        {
            y[..pair].copy_from_slice(upper);
            y[pair..].copy_from_slice(lower);
        }
    }
}

/// [`crate::model::Layer::Shuffle`]: the channels must be a multiple of four.
pub fn shuffle(x: &Tensor, y: &mut Tensor) {
    let row = x.width * x.channels;
    if row == 0 {
        return;
    }
    let pair = x.channels / 2;
    for (x, rows) in x.data.chunks_exact(row).zip(y.data.chunks_exact_mut(row)) {
        let (upper, lower) = rows.split_at_mut(row / 2);
        for ((upper, lower), x) in
            upper.chunks_exact_mut(pair).zip(lower.chunks_exact_mut(pair)).zip(x.chunks_exact(2 * pair))
        {
            upper.copy_from_slice(&x[..pair]);
            lower.copy_from_slice(&x[pair..]);
        }
    }
}
