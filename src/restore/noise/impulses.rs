//! Whether impulses or masks were laid over a picture.
//!
//! Impulses lie everywhere, ignore each other, and differ from what they lie
//! on; what is black or white by nature, or by clipped noise, lacks one of these.

use super::{BLACK, LEVEL, Loss, Picture, WHITE};

/// Pixels along the sides of the fields that vote.
const FIELD: usize = 32;
/// Fields looked at, at most.
const FIELDS: usize = 2048;
/// In smaller pictures, patterns cannot be told from impulses.
const FEWEST_PIXELS: usize = 4096;
/// Samples closer than this to what impulses are set to are near it,
const NEAR: i32 = 24 * LEVEL as i32;
/// and those at least this far off are far.
const FAR: i32 = 2 * NEAR;
/// The part of a field that must lie among far samples, for it to be judged.
const JUDGED: f64 = 0.1;
/// Impulses outnumber the samples near them so many times. In clipped noise the
/// tail beyond a bound holds no more than thrice the part just inside.
const GAP: usize = 6;
/// Shares of black, and of white, among a field's samples: at least, and at
/// most for the gap to mean something.
const SALTED: [f64; 2] = [0.005, 0.45];
/// Shares of black pixels of a field that random masking leaves.
const MASKED: [f64; 2] = [0.025, 0.95];
/// Pixels along the sides of a masked block.
const BLOCK: usize = 8;
/// Shares of masked blocks.
const MASKED_BLOCKS: [f64; 2] = [0.03, 0.92];
/// Fewer masked blocks may be chance.
const FEWEST_BLOCKS: usize = 6;
/// With so many blocks, each of 16 parts of the picture should have its share;
/// with fewer, each of 4.
const MANY_BLOCKS: usize = 1024;
/// Brightest channel beside a masked block, on average at least.
const STEP: i32 = 6 * LEVEL as i32;

/// How often two neighbours are both struck, and how often they would be if
/// they did not know of each other.
#[derive(Debug, Default, Clone, Copy)]
struct Pairs {
    both: f64,
    expected: f64,
    /// Pairs of which a given one is struck.
    first: f64,
}

impl Pairs {
    /// Counts some pairs of a field, whose `share` is struck.
    fn count(&mut self, pairs: impl Iterator<Item = (Spot, Spot)>, share: f64) {
        let (mut judged, mut both) = (0u32, 0u32);
        for (one, other) in pairs {
            judged += u32::from(one != Spot::Unjudged && other != Spot::Unjudged);
            both += u32::from(one == Spot::Struck && other == Spot::Struck);
        }
        self.both += f64::from(both);
        self.first += share * f64::from(judged);
        self.expected += share * share * f64::from(judged);
    }

    /// Whether all are independent.
    fn keep_to_chance(pairs: &[Pairs], excess: f64) -> bool {
        pairs.iter().all(|pairs| pairs.are_independent(excess))
    }

    /// Whether they keep to chance; `excess` of what is left to certainty is
    /// let pass, since some lie on what was black or white before.
    fn are_independent(&self, excess: f64) -> bool {
        let chance = 4.0 * self.expected.sqrt() + 3.0;
        self.both <= self.expected + chance + excess * (self.first - self.expected)
            && self.both >= 0.5 * self.expected - chance
    }
}

/// A pixel of one channel, or of all, or a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spot {
    /// It has too few neighbours to be told by, or some that are near.
    Unjudged,
    /// It is what impulses are set to, its neighbours are far.
    Struck,
    /// It is near to that, though its neighbours are far.
    Near,
    /// It is far like its neighbours.
    Far,
}

/// A part of the picture.
struct Field {
    spots: Vec<Spot>,
    width: usize,
}

impl Field {
    /// Judges each spot by how far it, and its neighbours, are from what
    /// impulses are set to.
    fn judge(distances: &[i32], width: usize) -> Field {
        let height = distances.len() / width;
        let spot = |at: usize| {
            let (y, x) = (at / width, at % width);
            let (mut apart, mut nearest) = (0, i32::MAX);
            for row in y.saturating_sub(1)..(y + 2).min(height) {
                for column in x.saturating_sub(1)..(x + 2).min(width) {
                    let distance = distances[row * width + column];
                    if distance != 0 && (row, column) != (y, x) {
                        apart += 1;
                        nearest = nearest.min(distance);
                    }
                }
            }
            match distances[at] {
                _ if apart < 2 || nearest < FAR => Spot::Unjudged,
                0 => Spot::Struck,
                distance if distance < NEAR => Spot::Near,
                _ => Spot::Far,
            }
        };
        Field { spots: (0..distances.len()).map(spot).collect(), width }
    }

    fn count(&self, spot: Spot) -> usize {
        self.spots.iter().filter(|&&other| other == spot).count()
    }

    fn judged(&self) -> usize {
        self.spots.len() - self.count(Spot::Unjudged)
    }

    /// The struck ones of those judged.
    fn share(&self) -> f64 {
        self.count(Spot::Struck) as f64 / self.judged().max(1) as f64
    }

    /// Counts the neighbours on the right, below, and below on the right.
    fn count_neighbours(&self, pairs: &mut [Pairs; 3]) {
        let share = self.share();
        for (pairs, (down, right)) in pairs.iter_mut().zip([(0, 1), (1, 0), (1, 1)]) {
            let rows = self.spots.chunks_exact(self.width);
            let lines = rows.clone().zip(rows.skip(down));
            let spots = lines.flat_map(|(a, b)| a.iter().copied().zip(b[right..].iter().copied()));
            pairs.count(spots, share);
        }
    }

    /// Whether no part of the field has far fewer struck ones than the whole.
    fn is_even(&self) -> bool {
        let parts = if self.spots.len() < MANY_BLOCKS { 2 } else { 4 };
        let height = self.spots.len() / self.width;
        let mut fair = 0;
        for part in 0..parts * parts {
            let rows = part / parts * height / parts..(part / parts + 1) * height / parts;
            let columns = part % parts * self.width / parts..(part % parts + 1) * self.width / parts;
            let area = rows.len() * columns.len();
            let spots = rows.flat_map(|y| &self.spots[y * self.width..][columns.clone()]);
            let struck = spots.filter(|&&spot| spot == Spot::Struck).count();
            fair += usize::from(struck as f64 >= 0.25 * self.share() * area as f64);
        }
        5 * fair >= 4 * parts * parts
    }
}

impl Picture<'_> {
    /// How samples were lost.
    pub(super) fn losses(&self) -> Loss {
        if self.width * self.height < FEWEST_PIXELS {
            Loss::None
        } else if self.is_salted() {
            Loss::SaltAndPepper
        } else if self.is_masked() || self.has_masked_blocks() {
            Loss::Masking
        } else {
            Loss::None
        }
    }

    /// The upper left corners of the fields, and their height and width.
    fn fields(&self) -> (Vec<(usize, usize)>, (usize, usize)) {
        let (tall, wide) = (self.height.min(FIELD), self.width.min(FIELD));
        let (down, across) = (self.height / tall, self.width / wide);
        let step = (down * across).div_ceil(FIELDS);
        let corners = (0..down * across).step_by(step).map(|at| (at / across * tall, at % across * wide));
        (corners.collect(), (tall, wide))
    }

    /// A number for each pixel of the field at a corner.
    fn measure(
        &self,
        (y, x): (usize, usize),
        (tall, wide): (usize, usize),
        distance: impl Fn(&[i16; 3]) -> i32,
    ) -> Vec<i32> {
        let lines = (y..y + tall).map(|row| &self.samples[(row * self.width + x) * 3..][..wide * 3]);
        lines.flat_map(|line| line.as_chunks().0).map(distance).collect()
    }

    /// Whether most fields have pepper and salt, at least one of them with a gap
    /// to all other samples, and that one without regard to its neighbours.
    fn is_salted(&self) -> bool {
        let (corners, size) = self.fields();
        let (mut votes, mut clear_votes) = (0, 0);
        let mut neighbours = [Pairs::default(); 3];
        let mut channels = Pairs::default();
        for &corner in &corners {
            let mut clear = Vec::with_capacity(2);
            let mut salted = true;
            for extreme in [BLACK, WHITE].map(i32::from) {
                let distances: [Vec<i32>; 3] = std::array::from_fn(|channel| {
                    self.measure(corner, size, |pixel| (i32::from(pixel[channel]) - extreme).abs())
                });
                let all = (3 * size.0 * size.1) as f64;
                let count = distances.iter().flatten().filter(|&&distance| distance == 0).count();
                salted &= count as f64 >= SALTED[0] * all;
                if !salted {
                    break;
                }
                let fields = distances.map(|distances| Field::judge(&distances, size.1));
                let sum = |count: &dyn Fn(&Field) -> usize| fields.iter().map(count).sum::<usize>();
                let (judged, struck) = (sum(&Field::judged), sum(&|field| field.count(Spot::Struck)));
                let share = struck as f64 / judged.max(1) as f64;
                if judged as f64 >= JUDGED * all
                    && (SALTED[0]..=SALTED[1]).contains(&share)
                    && struck >= GAP * sum(&|field| field.count(Spot::Near))
                {
                    let mut own = [Pairs::default(); 3];
                    fields.iter().for_each(|field| field.count_neighbours(&mut own));
                    if Pairs::keep_to_chance(&own, 0.2) {
                        clear.push(fields);
                    }
                }
            }
            if !salted || clear.is_empty() {
                continue;
            }
            votes += 1;
            clear_votes += usize::from(clear.len() == 2);
            for fields in &clear {
                fields.iter().for_each(|field| field.count_neighbours(&mut neighbours));
                for pair in fields.windows(2) {
                    let spots = pair[0].spots.iter().copied().zip(pair[1].spots.iter().copied());
                    channels.count(spots, (pair[0].share() * pair[1].share()).sqrt());
                }
            }
        }
        // In grey pictures the channels are struck together: then pepper alone
        // might be a mask.
        let enough = corners.len().div_ceil(2);
        let voted = if self.channels == 1 {
            clear_votes >= enough
        } else {
            votes >= enough && channels.are_independent(0.3)
        };
        voted && Pairs::keep_to_chance(&neighbours, 0.2)
    }

    /// Whether nearly all fields that are not dark have black pixels, without
    /// regard to their neighbours.
    fn is_masked(&self) -> bool {
        let (corners, size) = self.fields();
        let (mut votes, mut judges) = (0, 0);
        let mut neighbours = [Pairs::default(); 3];
        for &corner in &corners {
            let field = Field::judge(&self.measure(corner, size, brightness), size.1);
            if (field.judged() as f64) < JUDGED * (size.0 * size.1) as f64 {
                continue;
            }
            judges += 1;
            let gap = field.count(Spot::Struck) >= GAP * field.count(Spot::Near);
            let mut own = [Pairs::default(); 3];
            field.count_neighbours(&mut own);
            if gap && (MASKED[0]..=MASKED[1]).contains(&field.share()) && Pairs::keep_to_chance(&own, 0.25) {
                votes += 1;
                field.count_neighbours(&mut neighbours);
            }
        }
        4 * judges >= corners.len()
            && votes > 0
            && 10 * votes >= 7 * judges
            && Pairs::keep_to_chance(&neighbours, 0.25)
    }

    /// Whether blocks of the grid are black all over, everywhere, without regard
    /// to each other, and what is beside them is not.
    fn has_masked_blocks(&self) -> bool {
        let (down, across) = (self.height / BLOCK, self.width / BLOCK);
        if down < 2 || across < 2 {
            return false;
        }
        let grid = self.block_grid(down, across);
        let share = grid.share();
        if grid.count(Spot::Struck) < FEWEST_BLOCKS || !(MASKED_BLOCKS[0]..=MASKED_BLOCKS[1]).contains(&share)
        {
            return false;
        }
        let mut neighbours = [Pairs::default(); 3];
        grid.count_neighbours(&mut neighbours);
        grid.is_even() && self.has_steps(&grid) && Pairs::keep_to_chance(&neighbours, 0.3)
    }

    /// Which blocks are black.
    fn block_grid(&self, down: usize, across: usize) -> Field {
        let mut spots = vec![Spot::Struck; down * across];
        for (y, row) in self.samples.chunks_exact(self.width * 3).take(down * BLOCK).enumerate() {
            let blocks = &mut spots[y / BLOCK * across..][..across];
            for (block, samples) in blocks.iter_mut().zip(row.chunks_exact(BLOCK * 3)) {
                if samples.iter().any(|&sample| sample != BLACK) {
                    *block = Spot::Far;
                }
            }
        }
        Field { spots, width: across }
    }

    /// Whether most borders of black blocks are steps.
    fn has_steps(&self, grid: &Field) -> bool {
        let (mut steps, mut borders) = (0, 0);
        // From a black block to the one beside it, in rows and columns of pixels.
        let mut look = |black: usize, other: usize| {
            if grid.spots[black] != Spot::Struck || grid.spots[other] == Spot::Struck {
                return;
            }
            borders += 1;
            let row_and_column = |block: usize| (block / grid.width * BLOCK, block % grid.width * BLOCK);
            let ((black_y, black_x), (y, x)) = (row_and_column(black), row_and_column(other));
            // The line of the other block that touches the black one.
            let rows = y.max(black_y.saturating_sub(1))..(y + BLOCK).min(black_y + BLOCK + 1);
            let columns = x.max(black_x.saturating_sub(1))..(x + BLOCK).min(black_x + BLOCK + 1);
            let line = rows.flat_map(|y| columns.clone().map(move |x| (y * self.width + x) * 3));
            let pixels = line.flat_map(|start| self.samples[start..start + 3].as_chunks().0);
            steps += usize::from(pixels.map(brightness).sum::<i32>() >= STEP * BLOCK as i32);
        };
        for block in 0..grid.spots.len() {
            if (block + 1) % grid.width != 0 {
                look(block, block + 1);
                look(block + 1, block);
            }
            if block + grid.width < grid.spots.len() {
                look(block, block + grid.width);
                look(block + grid.width, block);
            }
        }
        3 * steps >= 2 * borders
    }
}

/// How far the brightest channel of a pixel is from black.
fn brightness(pixel: &[i16; 3]) -> i32 {
    let [r, g, b] = *pixel;
    i32::from(r.max(g).max(b)) - i32::from(BLACK)
}
