//! Weights in a safetensors file.

use std::collections::HashMap;
use std::path::Path;

use mmfree::format::FloatType;
use mmfree::{Error, Result};
use safetensors::{Dtype, SafeTensorError, SafeTensors};

use super::weights::Stored;
use crate::text::clip;

/// The tensors in the bytes of a file, which is number `file` of the checkpoint.
///
/// # Errors
/// Another kind of file, or a damaged one.
pub fn tensors(path: &Path, bytes: &[u8], file: usize) -> Result<HashMap<String, Stored>> {
    let (header_len, header) = SafeTensors::read_metadata(bytes)
        .map_err(|error| Error::invalid(path, describe(&error, bytes.len())))?;
    let start = header_len + 8;
    let mut tensors = HashMap::new();
    for (name, info) in header.tensors() {
        let float = match info.dtype {
            Dtype::F32 => Ok(FloatType::F32),
            Dtype::F16 => Ok(FloatType::F16),
            Dtype::BF16 => Ok(FloatType::BF16),
            other => Err(format!("{other:?}")),
        };
        // The library has checked offsets against the file, and their distance against type and
        // shape.
        let span = start + info.data_offsets.0..start + info.data_offsets.1;
        tensors.insert(name, Stored { file, float, shape: info.shape.clone(), span });
    }
    Ok(tensors)
}

fn describe(error: &SafeTensorError, len: usize) -> String {
    match error {
        SafeTensorError::MetadataIncompleteBuffer | SafeTensorError::InvalidHeaderLength => {
            format!("has {len} bytes, not as many as its header calls for: cut short or damaged")
        }
        other => format!("is no safetensors file, or a damaged one: {}", clip(&other.to_string())),
    }
}
