//! Weights in one file of either kind, or in shards with an index.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Component, Path, PathBuf};

use mmfree::format::standard_json;
use mmfree::storage::Mapping;
use mmfree::{Error, Result};
use serde::Deserialize;

use super::weights::{Stored, Weights};
use super::{pickle, safetensors};
use crate::json::{self, Unique};
use crate::text::clip;

/// What a clone has in the place of a large file until that is fetched.
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

/// Finds the tensors in a file's bytes; the number is the file's.
type Reader = fn(&Path, &[u8], usize) -> Result<HashMap<String, Stored>>;

/// A kind of files that weights come in.
pub(crate) struct Kind {
    /// The name of a single file.
    pub single: &'static str,
    /// The name of the index of several.
    pub index: &'static str,
    /// Gives the tensors in the bytes of the file at a path, which is to have that number.
    read: Reader,
}

/// The kinds in the order in which other tools look for them.
pub(crate) const KINDS: [Kind; 2] = [
    Kind {
        single: "model.safetensors",
        index: "model.safetensors.index.json",
        read: safetensors::tensors,
    },
    Kind {
        single: "pytorch_model.bin",
        index: "pytorch_model.bin.index.json",
        read: pickle::tensors,
    },
];

/// Names of the files that weights, and what tells of them, may be in.
pub fn names() -> impl Iterator<Item = &'static str> {
    KINDS.iter().flat_map(|kind| [kind.single, kind.index])
}

/// Opens the weights in a folder.
///
/// # Errors
/// No weights; a file that cannot be read; an index or a shard that is missing or does not hold
/// what it should.
pub fn open(folder: &Path) -> Result<Weights> {
    for kind in &KINDS {
        let (single, index) = (folder.join(kind.single), folder.join(kind.index));
        if json::is_there(&single)? {
            let mut weights = Weights::default();
            for (name, stored) in open_file(&single, kind, &mut weights)? {
                weights.add(name, stored);
            }
            return Ok(weights);
        }
        if json::is_there(&index)? {
            return open_sharded(folder, &index, kind);
        }
    }
    let names: Vec<&str> = names().collect();
    Err(Error::invalid(folder, format!("has no weights: none of {}", names.join(", "))))
}

/// Maps a file, and gives its tensors.
fn open_file(path: &Path, kind: &Kind, weights: &mut Weights) -> Result<HashMap<String, Stored>> {
    let map = Mapping::open(path)?;
    if map.starts_with(LFS_POINTER) {
        let reason = "is a Git LFS pointer, not the weights: `git lfs pull` fetches them";
        return Err(Error::invalid(path, reason));
    }
    let tensors = (kind.read)(path, &map, weights.file_count())?;
    weights.add_file(path.to_owned(), map);
    Ok(tensors)
}

/// An index, as `model.safetensors.index.json`.
#[derive(Deserialize)]
struct Index {
    /// For each tensor the name of its shard.
    weight_map: Unique<String>,
}

/// Opens the weights in the shards that the index at `index_path` names, files of `folder`.
fn open_sharded(folder: &Path, index_path: &Path, kind: &Kind) -> Result<Weights> {
    let invalid = |reason: String| Error::invalid(index_path, reason);
    let text = json::read_text(index_path)?.ok_or_else(|| invalid("missing".into()))?;
    let index: Index = serde_json::from_str(&standard_json(&text))
        .map_err(|e| invalid(format!("is not valid: {}", clip(&e.to_string()))))?;
    let names: BTreeSet<&str> = index.weight_map.0.values().map(String::as_str).collect();
    let mut weights = Weights::default();
    let mut shards = BTreeMap::new();
    for name in names {
        let path = shard_path(folder, name).ok_or_else(|| {
            invalid(format!(
                "names the shard \"{}\", must be a file of the same folder",
                clip(name)
            ))
        })?;
        if !json::is_there(&path)? {
            let reason = format!("the shard {} that it names is missing", clip(name));
            return Err(invalid(reason));
        }
        shards.insert(name, open_file(&path, kind, &mut weights)?);
    }
    for (tensor, shard) in &index.weight_map.0 {
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

/// The path of a shard; `None` for a name that leads out of the folder, or that no file can have.
fn shard_path(folder: &Path, name: &str) -> Option<PathBuf> {
    if name.contains('\0') {
        return None;
    }
    let mut components = Path::new(name).components().skip_while(|part| *part == Component::CurDir);
    match (components.next(), components.next()) {
        (Some(Component::Normal(file)), None) => Some(folder.join(file)),
        _ => None,
    }
}
