//! Parts of tensors, and how they are cut for the workers.

use std::ops::Range;

/// A rectangle of positions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Rows.
    pub rows: Range<usize>,
    /// Columns.
    pub columns: Range<usize>,
}

impl Window {
    /// All of a tensor.
    pub fn whole(height: usize, width: usize) -> Window {
        Window { rows: 0..height, columns: 0..width }
    }

    /// Whether there is no position in it.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() || self.columns.is_empty()
    }
}

/// A window cut into bands of rows and these into strips of columns, each of
/// about the same size.
#[derive(Debug, Clone)]
pub struct Cuts {
    bands: Vec<Range<usize>>,
    strips: Vec<Range<usize>>,
}

impl Cuts {
    /// Bands of at most `rows` and strips of at most `columns` positions.
    pub fn new(window: &Window, rows: usize, columns: usize) -> Cuts {
        Cuts { bands: cut(&window.rows, rows), strips: cut(&window.columns, columns) }
    }

    /// The pieces, band by band.
    pub fn windows(&self) -> impl Iterator<Item = Window> {
        self.bands.iter().flat_map(|rows| {
            self.strips.iter().map(|columns| Window { rows: rows.clone(), columns: columns.clone() })
        })
    }

    /// The rows of each piece in a buffer that holds the cut window, row by row,
    /// with `size` values a position and `lines` lines to a row of positions.
    /// The last line and the last column may be cut short.
    pub fn split<'a, T>(
        &self,
        buffer: &'a mut [T],
        line: usize,
        lines: usize,
        size: usize,
    ) -> Vec<Vec<&'a mut [T]>> {
        let mut buffer_lines = buffer.chunks_mut(line.max(1));
        let mut pieces = Vec::with_capacity(self.bands.len() * self.strips.len());
        for band in &self.bands {
            let mut of_band: Vec<Vec<&mut [T]>> =
                self.strips.iter().map(|_| Vec::with_capacity(band.len() * lines)).collect();
            for mut rest in buffer_lines.by_ref().take(band.len() * lines) {
                for (strip, piece) in self.strips.iter().zip(&mut of_band) {
                    let (now, later) = rest.split_at_mut((strip.len() * size).min(rest.len()));
                    piece.push(now);
                    rest = later;
                }
            }
            pieces.extend(of_band);
        }
        pieces
    }
}

/// Even pieces of a range, none of them longer than `most`.
fn cut(range: &Range<usize>, most: usize) -> Vec<Range<usize>> {
    let pieces = range.len().div_ceil(most.max(1));
    let at = |piece: usize| range.start + range.len() * piece / pieces;
    (0..pieces).map(|piece| at(piece)..at(piece + 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_a_window_once_and_stay_small() {
        let window = Window { rows: 3..20, columns: 5..6 };
        let cuts = Cuts::new(&window, 4, 128);
        let rows: Vec<usize> = cuts.windows().flat_map(|piece| piece.rows).collect();
        assert_eq!(rows, window.rows.clone().collect::<Vec<_>>());
        assert!(cuts.windows().all(|piece| piece.columns == window.columns && piece.rows.len() <= 4));
        assert_eq!(Cuts::new(&Window::whole(0, 7), 4, 4).windows().count(), 0);
    }

    #[test]
    fn buffers_are_split_as_the_window_is() {
        // 3 x 5 positions of 2 x 2 values, the last line and column missing.
        let mut buffer: Vec<usize> = (0..5 * 9).collect();
        let cuts = Cuts::new(&Window::whole(3, 5), 2, 3);
        let pieces = cuts.split(&mut buffer, 9, 2, 2);
        assert_eq!(pieces.len(), cuts.windows().count());
        let first: Vec<usize> = pieces.iter().map(|piece| piece[0][0]).collect();
        assert_eq!(first, [0, 4, 18, 22]);
        assert_eq!(pieces[3].len(), 3);
        assert_eq!(pieces.iter().flatten().map(|line| line.len()).sum::<usize>(), 45);
    }
}
