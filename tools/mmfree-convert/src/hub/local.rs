//! What the cache has of a checkpoint, where the Hub cannot be asked.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use mmfree::format::standard_json;

use super::cache::Cache;
use super::{Fetched, Index, is_file_name, small};
use crate::checkpoint::{CONFIG, KINDS};
use crate::json;

/// The checkpoint of a revision, if the cache has all of it.
///
/// # Errors
/// Why it cannot be used: that the revision is not there, or what is missing of it.
pub fn snapshot(cache: &Cache, revision: &str) -> Result<Fetched, Lack> {
    let folder = cache.snapshot(revision).ok_or(Lack::Revision)?;
    let missing = missing(&folder);
    if !missing.is_empty() {
        return Err(Lack::Files(folder, missing));
    }
    // A commit that was downloaded whole says which of these the repository has not.
    let commit = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let unknown: Vec<&str> = small()
        .filter(|name| !folder.join(name).exists() && !cache.is_known_absent(commit, name))
        .collect();
    let note = format!(
        "the cache has no {}, and without the Hub it is not known whether the checkpoint has",
        unknown.join(", ")
    );
    Ok(Fetched { folder, notes: if unknown.is_empty() { Vec::new() } else { vec![note] } })
}

/// What the cache lacks.
pub enum Lack {
    /// All of a revision.
    Revision,
    /// Files that the checkpoint must have, in this folder.
    Files(PathBuf, Vec<String>),
}

/// Files that a checkpoint must have and that are not in `folder`.
fn missing(folder: &Path) -> Vec<String> {
    let there = |name: &str| folder.join(name).is_file();
    let mut missing = Vec::new();
    if !there(CONFIG) {
        missing.push(CONFIG.to_owned());
    }
    let names: Vec<String> = std::fs::read_dir(folder)
        .map(|all| all.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect())
        .unwrap_or_default();
    if let Some(kind) = KINDS.iter().find(|kind| there(kind.single) || there(kind.index)) {
        if !there(kind.single) {
            // An index that cannot be read is explained by whoever reads it next.
            let text = json::read_text(&folder.join(kind.index)).ok().flatten().unwrap_or_default();
            let index = serde_json::from_str::<Index>(&standard_json(&text));
            let shards = index.map(|index| index.weight_map).unwrap_or_default().into_values();
            let shards: BTreeSet<String> =
                shards.map(|name| name.trim_start_matches("./").to_owned()).collect();
            missing.extend(shards.into_iter().filter(|name| is_file_name(name) && !there(name)));
        }
    } else {
        match KINDS.iter().find_map(|kind| kind.shards(&names)) {
            Some(Ok(_)) => {}
            Some(Err(reason)) => missing.push(format!("complete set of weights (it {reason})")),
            None => missing.push(format!("weights ({})", KINDS.map(|kind| kind.single).join(", "))),
        }
    }
    missing
}
