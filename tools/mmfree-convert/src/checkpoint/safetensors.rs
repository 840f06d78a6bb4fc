//! Weights in a safetensors file.

use std::collections::HashMap;
use std::path::Path;

use mmfree::format::{FileKind, FloatType, HeaderError, keys, read_header};
use mmfree::{Error, Result};
use safetensors::Dtype;
use serde::de::IgnoredAny;

use super::weights::Stored;
use crate::json::{self, Unique};
use crate::text::clip;

/// The tensors in the bytes of a file, which is number `file` of the checkpoint.
///
/// # Errors
/// Another kind of file, or a damaged one.
pub fn tensors(path: &Path, bytes: &[u8], file: usize) -> Result<HashMap<String, Stored>> {
    let (start, header) =
        read_header(bytes).map_err(|error| Error::invalid(path, unreadable(bytes, error)))?;
    let metadata = header.metadata().as_ref();
    if metadata.is_some_and(|m| m.get(keys::FORMAT).is_some_and(|f| f == keys::FORMAT_VALUE)) {
        let reason = "is a model file of mmfree already: mmfree-infer runs it as it is";
        return Err(Error::invalid(path, reason));
    }
    // The library takes the last of two tensors of one name; which one is meant cannot be known.
    serde_json::from_slice::<Unique<IgnoredAny>>(&bytes[8..start]).map_err(|error| {
        Error::invalid(path, format!("its header is not valid: {}", clip(&error.to_string())))
    })?;
    let mut tensors = HashMap::new();
    for (name, info) in header.tensors() {
        let float = match info.dtype {
            Dtype::F32 => Ok(FloatType::F32),
            Dtype::F16 => Ok(FloatType::F16),
            Dtype::BF16 => Ok(FloatType::BF16),
            other => Err(format!("{other:?}")),
        };
        // In the file, and as long as type and shape call for: read_header has checked it.
        let span = start + info.data_offsets.0..start + info.data_offsets.1;
        let stored = Stored { file, float, shape: info.shape.clone(), span, checksum: None };
        tensors.insert(name, stored);
    }
    Ok(tensors)
}

/// What a file is whose header cannot be read.
fn unreadable(bytes: &[u8], error: HeaderError) -> String {
    match (FileKind::of(bytes), error) {
        (Some(kind @ (FileKind::Torch | FileKind::LegacyTorch)), _) => {
            format!("is no safetensors file, but {kind}: call it pytorch_model.bin")
        }
        (Some(kind), _) => json::mistaken(&kind, "a safetensors file"),
        (None, HeaderError::Short(reason)) => reason,
        (None, HeaderError::Invalid(reason)) => {
            format!("is no safetensors file, or a damaged one: {}", clip(&reason))
        }
    }
}
