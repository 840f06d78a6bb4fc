//! The types that an embedding can be stored in.

use mmfree::format::FloatType;

use crate::floats;

/// How an embedding is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmbeddingType {
    /// As floats.
    Float(FloatType),
    /// As int8 with a scale for each row.
    Int8,
}

impl EmbeddingType {
    /// The name of the type in safetensors.
    pub fn name(self) -> &'static str {
        match self {
            EmbeddingType::Float(float) => floats::type_name(float),
            EmbeddingType::Int8 => "I8",
        }
    }

    /// Bytes of a value.
    pub fn size(self) -> usize {
        match self {
            EmbeddingType::Float(float) => floats::type_size(float),
            EmbeddingType::Int8 => 1,
        }
    }
}

/// Appends a row as int8 to `out` and gives its scale: the largest magnitude over 127, in float32.
/// A value is divided by the scale and rounded to nearest, ties to even.
pub fn quantise_row(row: &[f32], out: &mut Vec<u8>) -> f32 {
    let max = row.iter().fold(0.0f32, |max, v| max.max(v.abs()));
    let scale = max / 127.0;
    out.extend(row.iter().map(|v| {
        // 0 where all of the row is, or where it is so small that the scale is 0.
        let int =
            if scale > 0.0 { (v / scale).round_ties_even().clamp(-127.0, 127.0) } else { 0.0 };
        (int as i8) as u8
    }));
    scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_reaches_127_and_rounds_ties_to_even() {
        let mut out = Vec::new();
        let scale = quantise_row(&[-254.0, 1.0, 3.0, 5.0, 127.0, 0.0], &mut out);
        let ints: Vec<i8> = out.iter().map(|&b| b as i8).collect();
        assert_eq!((scale, &ints[..]), (2.0, &[-127i8, 0, 2, 2, 64, 0][..]));
    }

    #[test]
    fn rows_of_nothing_are_zero() {
        for row in [[0.0, -0.0], [1e-45, -1e-45]] {
            let mut out = Vec::new();
            assert_eq!(quantise_row(&row, &mut out), 0.0);
            assert_eq!(out, [0, 0]);
        }
    }
}
