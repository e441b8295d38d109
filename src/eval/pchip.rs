//! Monotone piecewise cubic interpolation (PCHIP).
//!
//! Fritsch and Carlson's method with Fritsch and Butland's slopes, the same
//! definition as SciPy's `PchipInterpolator`: the curve goes through every knot
//! and never overshoots between two of them.

/// A piecewise cubic through given knots.
#[derive(Debug, Clone)]
pub struct Pchip {
    x: Vec<f64>,
    y: Vec<f64>,
    slope: Vec<f64>,
}

impl Pchip {
    /// The curve through the knots `(x, y)`.
    ///
    /// # Panics
    ///
    /// Unless there are at least two knots and `x` rises strictly.
    pub fn new(x: &[f64], y: &[f64]) -> Pchip {
        assert!(x.len() >= 2 && x.len() == y.len(), "two or more knots");
        assert!(x.windows(2).all(|pair| pair[0] < pair[1]), "knots in rising order");
        Pchip { x: x.to_vec(), y: y.to_vec(), slope: slopes(x, y) }
    }

    /// The curve's value at `x`; outside the knots the last cubic goes on.
    pub fn value(&self, x: f64) -> f64 {
        let k = self.piece(x);
        let [a, b, c, d] = self.cubic(k);
        let t = x - self.x[k];
        a + t * (b + t * (c + t * d))
    }

    /// The integral of the curve from `low` to `high`.
    pub fn integral(&self, low: f64, high: f64) -> f64 {
        let (first, last) = (self.piece(low), self.piece(high));
        (first..=last)
            .map(|k| {
                let from = if k == first { low } else { self.x[k] };
                let to = if k == last { high } else { self.x[k + 1] };
                self.primitive(k, to) - self.primitive(k, from)
            })
            .sum()
    }

    /// The piece `x` falls into.
    fn piece(&self, x: f64) -> usize {
        self.x.partition_point(|&knot| knot <= x).clamp(1, self.x.len() - 1) - 1
    }

    /// Coefficients of piece `k` in powers of `x - x[k]`, the constant first.
    fn cubic(&self, k: usize) -> [f64; 4] {
        let h = self.x[k + 1] - self.x[k];
        let secant = (self.y[k + 1] - self.y[k]) / h;
        let (left, right) = (self.slope[k], self.slope[k + 1]);
        [self.y[k], left, (3.0 * secant - 2.0 * left - right) / h, (left + right - 2.0 * secant) / (h * h)]
    }

    /// The integral of piece `k` from its left knot to `x`.
    fn primitive(&self, k: usize, x: f64) -> f64 {
        let [a, b, c, d] = self.cubic(k);
        let t = x - self.x[k];
        t * (a + t * (b / 2.0 + t * (c / 3.0 + t * d / 4.0)))
    }
}

/// The slope at each knot.
fn slopes(x: &[f64], y: &[f64]) -> Vec<f64> {
    let h: Vec<f64> = x.windows(2).map(|x| x[1] - x[0]).collect();
    let secant: Vec<f64> = y.windows(2).zip(&h).map(|(y, h)| (y[1] - y[0]) / h).collect();
    if secant.len() == 1 {
        return vec![secant[0]; 2];
    }
    let n = secant.len();
    let inner = (1..n).map(|k| {
        if secant[k - 1] * secant[k] <= 0.0 {
            return 0.0; // a local extremum stays one
        }
        let (left, right) = (2.0 * h[k] + h[k - 1], h[k] + 2.0 * h[k - 1]);
        (left + right) / (left / secant[k - 1] + right / secant[k])
    });
    std::iter::once(end_slope(h[0], h[1], secant[0], secant[1]))
        .chain(inner)
        .chain([end_slope(h[n - 1], h[n - 2], secant[n - 1], secant[n - 2])])
        .collect()
}

/// The one-sided three-point estimate, held back where it would overshoot.
/// `near` belongs to the piece at the end, `far` to its neighbour.
fn end_slope(h_near: f64, h_far: f64, near: f64, far: f64) -> f64 {
    let slope = ((2.0 * h_near + h_far) * near - h_near * far) / (h_near + h_far);
    if slope * near <= 0.0 {
        0.0
    } else if near * far <= 0.0 && slope.abs() > 3.0 * near.abs() {
        3.0 * near
    } else {
        slope
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(got: f64, want: f64) {
        assert!((got - want).abs() < 1e-12, "{got}, expected {want}");
    }

    // All expected numbers are SciPy 1.17's.
    #[test]
    fn curves_match_scipy() {
        let curve = Pchip::new(&[0.0, 1.0, 2.5, 4.0, 4.5, 7.0, 8.0], &[1.0, 3.0, 2.5, 2.5, 6.0, 6.5, 0.0]);
        let slopes = [2.933333333333333, 0.0, 0.0, 0.0, 0.4921875, 0.0, -8.414285714285715];
        for (&got, want) in curve.slope.iter().zip(slopes) {
            close(got, want);
        }
        for (x, want) in [
            (0.5, 2.3666666666666667),
            (1.7, 2.774962962962963),
            (3.0, 2.5),
            (4.2, 3.7083750000000015),
            (5.5, 6.353187500000001),
            (7.9, 0.8635571428571405),
        ] {
            close(curve.value(x), want);
        }
        for (low, high, want) in
            [(0.0, 8.0, 32.06672867063492), (0.3, 7.7, 31.24228902777778), (1.2, 2.2, 2.7712592592592595)]
        {
            close(curve.integral(low, high), want);
        }
    }

    #[test]
    fn two_knots_make_a_line() {
        let line = Pchip::new(&[1.0, 3.0], &[2.0, 5.0]);
        close(line.value(1.7), 3.05);
        close(line.integral(1.5, 2.5), 3.5);
    }

    #[test]
    fn end_slopes_are_held_back() {
        let curve = Pchip::new(&[0.0, 1.0, 2.0], &[0.0, 1.0, -3.0]);
        assert_eq!(curve.slope, [3.0, 0.0, -6.5]);
    }
}
