//! Space to depth and back: pure copies.

/// [`crate::model::Layer::Unshuffle`]: a row `y` of the result from two of its
/// input, each of `channels` at an even number of positions.
pub fn unshuffle_row(rows: [&[i16]; 2], channels: usize, y: &mut [i16]) {
    // Two neighbouring positions of a row are two consecutive quarters of the
    // new channels, so a row of the input is copied in pieces of that size.
    let pair = 2 * channels;
    let [upper, lower] = rows.map(|row| row.chunks_exact(pair));
    for ((upper, lower), y) in upper.zip(lower).zip(y.chunks_exact_mut(2 * pair)) {
        y[..pair].copy_from_slice(upper);
        y[pair..].copy_from_slice(lower);
    }
}

/// [`crate::model::Layer::Shuffle`]: the row `2 * y + lower` of the result from
/// row y of its input, which has `channels`, a multiple of four.
pub fn shuffle_row(x: &[i16], lower: bool, channels: usize, y: &mut [i16]) {
    let half = channels / 2;
    let start = if lower { half } else { 0 };
    for (x, y) in x.chunks_exact(channels).zip(y.chunks_exact_mut(half)) {
        y.copy_from_slice(&x[start..start + half]);
    }
}
