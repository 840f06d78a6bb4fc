//! Weights in safetensors: one file, or shards with an index.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Component, Path, PathBuf};

use mmfree::format::{FloatType, Mapping};
use mmfree::{Error, Result};
use safetensors::{Dtype, SafeTensorError, SafeTensors};
use serde::Deserialize;

use super::weights::{Stored, Weights};
use crate::json;
use crate::text::clip;

/// Opens the weights in one file.
///
/// # Errors
/// A file that cannot be read or is no safetensors file.
pub fn open_single(path: &Path) -> Result<Weights> {
    let mut weights = Weights::default();
    for (name, stored) in open_file(path, &mut weights)? {
        weights.add(name, stored);
    }
    Ok(weights)
}

/// `model.safetensors.index.json`.
#[derive(Deserialize)]
struct Index {
    /// For each tensor the name of its shard.
    weight_map: BTreeMap<String, String>,
}

/// Opens the weights in the shards that the index at `index_path` names, files of `folder`.
///
/// # Errors
/// An index or a shard that cannot be read, a shard that is missing or has not the tensors that it
/// should have.
pub fn open_sharded(folder: &Path, index_path: &Path) -> Result<Weights> {
    let invalid = |reason: String| Error::invalid(index_path, reason);
    let text = json::read_text(index_path)?.ok_or_else(|| invalid("missing".into()))?;
    let index: Index = serde_json::from_str(&text)
        .map_err(|e| invalid(format!("is not valid: {}", clip(&e.to_string()))))?;
    let names: BTreeSet<&str> = index.weight_map.values().map(String::as_str).collect();
    let mut weights = Weights::default();
    let mut shards = BTreeMap::new();
    for name in names {
        let path = shard_path(folder, name).ok_or_else(|| {
            invalid(format!("names the shard {}, must be a file of the same folder", clip(name)))
        })?;
        if !path.exists() {
            let reason = format!("the shard {} that it names is missing", clip(name));
            return Err(invalid(reason));
        }
        shards.insert(name, open_file(&path, &mut weights)?);
    }
    for (tensor, shard) in &index.weight_map {
        let stored = shards.get_mut(shard.as_str()).and_then(|tensors| tensors.remove(tensor));
        let Some(stored) = stored else {
            let other = shards.iter().find(|(_, tensors)| tensors.contains_key(tensor));
            let found = match other {
                Some((other, _)) => format!("it is in {}", clip(other)),
                None => "no shard has it".to_owned(),
            };
            let (tensor, shard) = (clip(tensor), clip(shard));
            return Err(invalid(format!("places tensor {tensor} in {shard}, but {found}")));
        };
        weights.add(tensor.clone(), stored);
    }
    Ok(weights)
}

/// The path of a shard; `None` for a name that leads out of the folder.
fn shard_path(folder: &Path, name: &str) -> Option<PathBuf> {
    let mut components = Path::new(name).components();
    match (components.next(), components.next()) {
        (Some(Component::Normal(file)), None) => Some(folder.join(file)),
        _ => None,
    }
}

/// Maps a file, and gives its tensors.
fn open_file(path: &Path, weights: &mut Weights) -> Result<HashMap<String, Stored>> {
    let map = Mapping::open(path)?;
    let (header_len, header) = SafeTensors::read_metadata(&map)
        .map_err(|error| Error::invalid(path, describe(&error, map.len())))?;
    let file = weights.add_file(path.to_owned(), map);
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
