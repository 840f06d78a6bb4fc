//! What an unpacked checkpoint says of the model file that it came from, so that converting it
//! again gives the same file.

use std::collections::BTreeMap;

use mmfree::format::{FloatType, keys, read_header};

use crate::checkpoint::CONFIG;
use crate::repack::source_types;
use crate::text::clip;

/// Metadata key: that this is an unpacked checkpoint, and in which manner.
pub const VERSION: &str = "mmfree.unpacked";

/// Metadata key: for each matrix the bits of its scale, 8 hex digits, in JSON.
pub const SCALES: &str = "mmfree.scales";

/// The metadata of an unpacked checkpoint.
#[derive(Debug)]
pub struct Unpacked {
    /// `config.json` as it was.
    pub config: String,
    /// The types that tensors once had.
    pub types: BTreeMap<String, FloatType>,
    scales: BTreeMap<String, f32>,
}

impl Unpacked {
    /// Reads the metadata of a safetensors file; `None` where it is of another origin.
    ///
    /// # Errors
    /// Metadata that are damaged.
    pub fn read(bytes: &[u8]) -> Result<Option<Unpacked>, String> {
        let Ok((_, header)) = read_header(bytes) else { return Ok(None) };
        let Some(metadata) = header.metadata() else { return Ok(None) };
        match metadata.get(VERSION).map(String::as_str) {
            None => return Ok(None),
            Some("1") => {}
            Some(other) => {
                return Err(format!("{VERSION} is {}, but this program knows 1", clip(other)));
            }
        }
        let get = |key: &str| metadata.get(key).ok_or_else(|| format!("has no {key}"));
        let texts: BTreeMap<String, String> = serde_json::from_str(get(SCALES)?)
            .map_err(|e| format!("{SCALES}: {}", clip(&e.to_string())))?;
        let mut scales = BTreeMap::new();
        for (name, text) in texts {
            let scale = u32::from_str_radix(&text, 16).map(f32::from_bits);
            let scale = scale.ok().filter(|scale| scale.is_finite() && *scale > 0.0);
            let wrong = || format!("{SCALES}: {} is no scale of {}", clip(&text), clip(&name));
            scales.insert(name.clone(), scale.ok_or_else(wrong)?);
        }
        Ok(Some(Unpacked {
            config: get(&format!("{}{CONFIG}", keys::FILE_PREFIX))?.clone(),
            types: source_types(metadata.get(keys::SOURCE_TYPES).map(String::as_str)),
            scales,
        }))
    }

    /// The exact scale of a matrix, from whose weights comes `derived`.
    ///
    /// # Errors
    /// Weights that are not those that were unpacked.
    pub fn scale(&self, tensor: &str, derived: f32) -> Result<f32, String> {
        let Some(&scale) = self.scales.get(tensor) else { return Ok(derived) };
        if (scale - derived).abs() > 1e-5 * scale {
            return Err(format!(
                "its weights have the scale {derived}, but {SCALES} in the file's metadata says \
                 {scale}: they were changed; save them without the metadata"
            ));
        }
        Ok(scale)
    }
}
