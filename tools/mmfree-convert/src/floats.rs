//! The float types of checkpoints, as bytes and as float32.

use half::{bf16, f16};
use mmfree::format::FloatType;

/// The name of a type in safetensors.
pub fn type_name(float: FloatType) -> &'static str {
    match float {
        FloatType::F32 => "F32",
        FloatType::F16 => "F16",
        FloatType::BF16 => "BF16",
    }
}

/// The type of that name in safetensors.
pub fn type_named(name: &str) -> Option<FloatType> {
    [FloatType::F32, FloatType::F16, FloatType::BF16]
        .into_iter()
        .find(|&float| type_name(float) == name)
}

/// Bytes of a value.
pub fn type_size(float: FloatType) -> usize {
    match float {
        FloatType::F32 => 4,
        FloatType::F16 | FloatType::BF16 => 2,
    }
}

/// Stored values: little-endian, at any address.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    /// Their type.
    pub float: FloatType,
    /// Their bytes.
    pub bytes: &'a [u8],
}

impl Values<'_> {
    /// Writes the values from number `first` on to `out`, exactly as they are.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn decode(&self, first: usize, out: &mut [f32]) {
        let size = type_size(self.float);
        let bytes = &self.bytes[first * size..][..out.len() * size];
        match self.float {
            FloatType::F32 => {
                let (values, _) = bytes.as_chunks();
                out.iter_mut().zip(values).for_each(|(out, &v)| *out = f32::from_le_bytes(v));
            }
            FloatType::F16 => {
                let (values, _) = bytes.as_chunks();
                out.iter_mut()
                    .zip(values)
                    .for_each(|(out, &v)| *out = f16::from_le_bytes(v).to_f32());
            }
            FloatType::BF16 => {
                let (values, _) = bytes.as_chunks();
                out.iter_mut().zip(values).for_each(|(out, &v)| {
                    *out = f32::from_bits(u32::from(u16::from_le_bytes(v)) << 16)
                });
            }
        }
    }
}

/// Appends `values` in type `float`, rounded to nearest, ties to even.
///
/// # Errors
/// The index of the first value that is too large for the type.
pub fn encode(values: &[f32], float: FloatType, out: &mut Vec<u8>) -> Result<(), usize> {
    match float {
        FloatType::F32 => out.extend(values.iter().flat_map(|v| v.to_le_bytes())),
        FloatType::F16 => out.extend(values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes())),
        FloatType::BF16 => out.extend(values.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes())),
    }
    let fits = |v: f32| match float {
        FloatType::F32 => v.is_finite(),
        FloatType::F16 => f16::from_f32(v).is_finite(),
        FloatType::BF16 => bf16::from_f32(v).is_finite(),
    };
    match values.iter().position(|&v| !fits(v)) {
        Some(at) => Err(at),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_value_survives_both_ways() {
        for float in [FloatType::F16, FloatType::BF16] {
            let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
            let mut values = vec![0.0; 1 << 16];
            Values { float, bytes: &bytes }.decode(0, &mut values);
            for (bits, value) in values.iter().enumerate().filter(|(_, v)| v.is_finite()) {
                let mut back = Vec::new();
                encode(&[*value], float, &mut back).unwrap();
                assert_eq!(back, (bits as u16).to_le_bytes(), "{float:?} {value}");
            }
        }
    }

    #[test]
    fn overflow_is_found() {
        let mut out = Vec::new();
        assert_eq!(encode(&[1.0, 65519.0, 65520.0], FloatType::F16, &mut out), Err(2));
        assert_eq!(encode(&[f32::MAX], FloatType::BF16, &mut out), Err(0));
        assert_eq!(encode(&[f32::MAX], FloatType::F32, &mut out), Ok(()));
    }
}
