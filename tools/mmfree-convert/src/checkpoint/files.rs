//! Weights in one file of either kind, or in shards with an index.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use mmfree::format::standard_json;
use mmfree::storage::Mapping;
use mmfree::{Error, Result};
use serde::Deserialize;

use super::names::MERGE;
use super::weights::{Absent, Stored, Weights};
use super::{pickle, safetensors};
use crate::json::{self, Unique};
use crate::text::clip;

/// What a folder has that PEFT wrote, and no model.
pub const ADAPTERS: [&str; 3] =
    ["adapter_model.safetensors", "adapter_model.bin", "adapter_config.json"];

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
    for kind in &KINDS {
        if let Some(shards) = kind.shards(&file_names(folder)?) {
            let shards = shards.map_err(|reason| Error::invalid(folder, reason))?;
            return open_all(folder, &shards, kind);
        }
    }
    let names: Vec<&str> = names().collect();
    let adapter = ADAPTERS.iter().find(|name| folder.join(name).exists());
    let reason = match adapter {
        Some(name) => format!("has no weights but those of a PEFT adapter, {name}: {MERGE}"),
        None => {
            let others = other_weights(&file_names(folder)?);
            format!("has no weights: none of {}{others}", names.join(", "))
        }
    };
    Err(Error::invalid(folder, reason))
}

/// How files begin that training leaves beside the weights.
const OF_TRAINING: [&str; 4] = ["training_args", "optimizer", "scheduler", "rng_state"];

/// Says which of the files may be weights under a name that is not looked for, and what would be right.
fn other_weights(names: &[String]) -> String {
    let extension =
        |name: &str| name.rsplit_once('.').map_or("", |(_, extension)| extension).to_owned();
    let found = |extensions: &[&str]| {
        names
            .iter()
            .filter(|name| extensions.contains(&extension(name).as_str()))
            .filter(|name| !OF_TRAINING.iter().any(|other| name.starts_with(other)))
            .min()
            .map(|name| clip(name))
    };
    if let Some(name) = found(&["safetensors"]) {
        format!("; {name} is not looked at: if it has all of them, call it model.safetensors")
    } else if let Some(name) = found(&["bin", "pt", "pth", "ckpt"]) {
        format!(
            "; {name} is not looked at: if torch.save wrote it of a state dict, call it pytorch_model.bin"
        )
    } else if let Some(name) = found(&["h5", "msgpack", "gguf", "onnx", "npz", "tar", "gz", "zip"])
    {
        format!("; {name} cannot be read")
    } else {
        String::new()
    }
}

/// The names in a folder that are text.
fn file_names(folder: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(folder).map_err(Error::io("cannot read", folder))?;
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect())
}

impl Kind {
    /// The shards among the names of files, in order, where there are any: all of one set, called
    /// as `model-00001-of-00004.safetensors`.
    ///
    /// # Errors
    /// A set that is not complete, or several of them.
    pub fn shards(&self, names: &[String]) -> Option<std::result::Result<Vec<String>, String>> {
        let (stem, extension) = self.single.rsplit_once('.')?;
        let number = |text: &str| {
            let digits = text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
            text.parse::<usize>().ok().filter(|_| digits)
        };
        let numbers = |name: &str| {
            let name = name.strip_prefix(stem)?.strip_prefix('-')?;
            let (part, of) = name.strip_suffix(extension)?.strip_suffix('.')?.split_once("-of-")?;
            let (part, of) = (number(part)?, number(of)?);
            (1..=of).contains(&part).then_some((part, of))
        };
        let found: BTreeSet<(usize, usize)> = names.iter().filter_map(|n| numbers(n)).collect();
        let (first, of) = *found.first()?;
        let name = |part: usize, of: usize| format!("{stem}-{part:05}-of-{of:05}.{extension}");
        if let Some(&(part, other)) = found.iter().find(|(_, other)| *other != of) {
            let (one, other) = (name(first, of), name(part, other));
            return Some(Err(format!(
                "has no {}, and shards of two sets: {one}, {other}",
                self.index
            )));
        }
        if let Some(part) = (1..=of).find(|part| !found.contains(&(*part, of))) {
            let (index, lost) = (self.index, name(part, of));
            return Some(Err(format!("has no {index}, and not all of the shards: no {lost}")));
        }
        Some(Ok((1..=of).map(|part| name(part, of)).collect()))
    }
}

/// Opens all tensors of some shards that have no index.
fn open_all(folder: &Path, shards: &[String], kind: &Kind) -> Result<Weights> {
    let mut weights = Weights::default();
    for shard in shards {
        let path = folder.join(shard);
        for (name, stored) in open_file(&path, kind, &mut weights)? {
            if let Some(other) = weights.get(&name) {
                let other = weights.path(other).display();
                let reason = format!("tensor {} is in {other} too", clip(&name));
                return Err(Error::invalid(&path, reason));
            }
            weights.add(name, stored);
        }
    }
    weights.note(format!(
        "there is no {}: all of the {} shards was taken",
        kind.index,
        shards.len()
    ));
    Ok(weights)
}

/// Maps a file, and gives its tensors.
fn open_file(path: &Path, kind: &Kind, weights: &mut Weights) -> Result<HashMap<String, Stored>> {
    let map = Mapping::open(path)?;
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
    json::check(standard_json(&text).as_bytes()).map_err(invalid)?;
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
    let place: Arc<Path> = index_path.into();
    for (tensor, shard) in &index.weight_map.0 {
        let stored = shards.get_mut(shard.as_str()).and_then(|tensors| tensors.remove(tensor));
        let Some(stored) = stored else {
            if let Some((other, _)) =
                shards.iter().find(|(_, tensors)| tensors.contains_key(tensor))
            {
                let (tensor, shard, other) = (clip(tensor), clip(shard), clip(other));
                return Err(invalid(format!(
                    "places tensor {tensor} in {shard}, but it is in {other}"
                )));
            }
            // The model may have no need of it, as of a tied head.
            weights
                .add_absent(tensor.clone(), Absent { index: place.clone(), shard: shard.clone() });
            continue;
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
