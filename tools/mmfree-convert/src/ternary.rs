//! Ternarisation: `m = max(mean |W|, 1e-5)` over the whole matrix, `s = 1 / m`, a trit is the sign
//! of the weight where `|W| * s > 0.5`, else 0, and stands for `1 / s`.
//!
//! All in float32 but the sum of the mean, which is in float64 and in one order whatever the
//! machine and its threads: in a row 16 lanes, value `i` added to lane `i % 16`, then the lanes one
//! after the other; then the rows one after the other. The mean is rounded to float32 once.

use std::cell::RefCell;

use rayon::prelude::*;

use crate::floats::Values;
use crate::source::TritMatrix;

/// The least mean that is divided by.
pub const MIN_MEAN: f32 = 1e-5;

/// Lanes of a row's sum.
const LANES: usize = 16;

/// Rows that a thread sums at a time.
const ROWS: usize = 32;

/// A stored matrix with what turns its weights into trits.
#[derive(Debug)]
pub struct Ternarised<'a> {
    values: Values<'a>,
    cols: usize,
    /// `s`.
    reciprocal: f32,
    scale: f32,
}

impl<'a> Ternarised<'a> {
    /// Reads all of a matrix of rows of `cols` weights, for its mean.
    ///
    /// # Errors
    /// What is wrong with a weight and where it is, or with the mean.
    pub fn measure(values: Values<'a>, rows: usize, cols: usize) -> Result<Ternarised<'a>, String> {
        let mut sums = vec![0.0; rows];
        sums.par_chunks_mut(ROWS).enumerate().for_each(|(i, sums)| {
            let mut row = vec![0.0; cols];
            for (r, sum) in sums.iter_mut().enumerate() {
                values.decode((i * ROWS + r) * cols, &mut row);
                *sum = abs_sum(&row);
            }
        });
        // No sum of finite float32 values overflows a float64, so this finds a NaN or an infinity.
        if let Some(row) = sums.iter().position(|sum| !sum.is_finite()) {
            let mut weights = vec![0.0; cols];
            values.decode(row * cols, &mut weights);
            let col = weights.iter().position(|w| !w.is_finite()).unwrap_or(0);
            return Err(not_finite(weights[col], &[row, col]));
        }
        let count = rows as f64 * cols as f64;
        let mean = (sums.iter().fold(0.0, |sum, row| sum + row) / count) as f32;
        let reciprocal = 1.0 / mean.max(MIN_MEAN);
        let scale = 1.0 / reciprocal;
        if !scale.is_finite() {
            return Err(format!("its weights are too large: their mean magnitude is {mean}"));
        }
        Ok(Ternarised { values, cols, reciprocal, scale })
    }

    /// Puts another scale in the place of the measured one, which the trits go by all the same.
    pub fn set_scale(&mut self, scale: f32) {
        self.scale = scale;
    }
}

impl TritMatrix for Ternarised<'_> {
    fn scale(&self) -> f32 {
        self.scale
    }

    fn row(&self, row: usize, out: &mut [i8]) {
        thread_local! {
            static WEIGHTS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
        }
        WEIGHTS.with_borrow_mut(|weights| {
            weights.resize(self.cols, 0.0);
            self.values.decode(row * self.cols, weights);
            for (trit, &w) in out.iter_mut().zip(weights.iter()) {
                // |w| * s and w * s have the same magnitude: a product's sign plays no part in its
                // rounding.
                let scaled = w * self.reciprocal;
                *trit = i8::from(scaled > 0.5) - i8::from(scaled < -0.5);
            }
        });
    }
}

/// Says that a value is NaN or infinite, and where: its index in each dimension.
pub fn not_finite(value: f32, place: &[usize]) -> String {
    format!("the value at {place:?} is {value}, must be finite")
}

fn abs_sum(row: &[f32]) -> f64 {
    let mut lanes = [0.0; LANES];
    for values in row.chunks(LANES) {
        for (lane, value) in lanes.iter_mut().zip(values) {
            *lane += f64::from(value.abs());
        }
    }
    lanes.iter().fold(0.0, |sum, lane| sum + lane)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mmfree::format::FloatType;

    fn ternarise(weights: &[f32], cols: usize) -> Result<(Vec<i8>, f32), String> {
        let bytes: Vec<u8> = weights.iter().flat_map(|w| w.to_le_bytes()).collect();
        let values = Values { float: FloatType::F32, bytes: &bytes };
        let matrix = Ternarised::measure(values, weights.len() / cols, cols)?;
        let mut trits = vec![0; weights.len()];
        for (row, out) in trits.chunks_mut(cols).enumerate() {
            matrix.row(row, out);
        }
        Ok((trits, matrix.scale()))
    }

    #[test]
    fn a_tie_is_zero() {
        // The mean is 1, so 0.5 is exactly half of it.
        let (trits, scale) = ternarise(&[0.5, -0.5, 1.5, -1.5, 0.50000006, 1.5], 3).unwrap();
        assert_eq!(trits, [0, 0, 1, -1, 1, 1]);
        assert!((scale - 1.0).abs() < 1e-6);
        assert_eq!(ternarise(&[0.5, -0.5, 1.5, -1.5], 2).unwrap(), (vec![0, 0, 1, -1], 1.0));
    }

    #[test]
    fn tiny_weights_are_held_against_the_least_mean() {
        let (trits, scale) = ternarise(&[4e-6, -6e-6, 0.0, -0.0], 2).unwrap();
        assert_eq!(trits, [0, -1, 0, 0]);
        assert_eq!(scale, 1.0 / (1.0 / 1e-5_f32));
    }

    #[test]
    fn a_long_mean_is_exact() {
        // A float32 sum would stop growing at 2^24.
        let (_, scale) = ternarise(&vec![1.0; 1 << 25], 1 << 10).unwrap();
        assert_eq!(scale, 1.0);
    }

    #[test]
    fn rejects_weights_that_are_not_finite() {
        for (bad, text) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")]
        {
            let error = ternarise(&[1.0, 2.0, 3.0, bad], 2).unwrap_err();
            assert!(error.contains("[1, 1]") && error.contains(text), "{error}");
        }
        assert!(ternarise(&[f32::MAX; 4], 2).is_err_and(|e| e.contains("too large")));
    }
}
