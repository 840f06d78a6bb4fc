//! Tensors under other names than the model's own: behind the prefixes that training leaves in front
//! of them, and tied ones that stand in the file once.

use std::collections::BTreeSet;

use mmfree::format::read_header;

use super::weights::Weights;
use super::{EMBEDDING, HEAD};
use crate::text::clip;

/// Parts of a name that wrappers of a module add, wherever they stand: `torch.compile`, `DataParallel`
/// and `DistributedDataParallel`, fully sharded ones, and checkpointed activations.
const WRAPPERS: [&str; 4] =
    ["_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"];

/// What PEFT puts in front of a model's names.
const PEFT: &str = "base_model.model.";

/// What is done about adapters.
pub const MERGE: &str = "merge the adapter into the model first, model.merge_and_unload() of PEFT, and \
                         save what that gives";

/// Gives the tensors that the model needs, by their own names `needed`, those names, where they
/// stand under others. Says so in notes.
///
/// # Errors
/// Adapters, which are no part of any one tensor; several models in one file.
pub fn settle(weights: &mut Weights, needed: &[&str], tied: bool) -> Result<Vec<String>, String> {
    // Beside complete weights too: without them the text would be that of another model.
    if let Some(name) = weights.names().find(|name| is_adapter(name)) {
        return Err(format!("tensor {} is of a PEFT adapter: {MERGE}", clip(name)));
    }
    let mut notes = Vec::new();
    if missing(weights, needed, "").is_none() {
        return Ok(notes);
    }
    notes.extend(strip_wrappers(weights));
    notes.extend(strip_prefix(weights, needed)?);
    find_shared(weights, needed);
    if tied && weights.get(EMBEDDING).is_none() && weights.alias(EMBEDDING, HEAD) {
        notes.push(format!("the embedding, which is tied to the head, was taken from {HEAD}"));
    }
    Ok(notes)
}

fn is_adapter(name: &str) -> bool {
    name.split('.').any(|part| part.starts_with("lora_") || part == "base_layer")
}

/// The first of the tensors that is not there behind a prefix.
fn missing<'n>(weights: &Weights, needed: &[&'n str], prefix: &str) -> Option<&'n str> {
    let there = |name: &&str| match prefix {
        "" => weights.get(name).is_some(),
        _ => weights.get(&format!("{prefix}{name}")).is_some(),
    };
    needed.iter().find(|name| !there(name)).copied()
}

fn strip_wrappers(weights: &mut Weights) -> Option<String> {
    let bare = |name: &str| {
        let parts: Vec<&str> = name.split('.').filter(|part| !WRAPPERS.contains(part)).collect();
        parts.join(".")
    };
    let first = weights.names().find(|name| bare(name) != **name)?.to_owned();
    weights.rename(bare).then(|| renamed(&first, &bare(&first)))
}

fn strip_prefix(weights: &mut Weights, needed: &[&str]) -> Result<Option<String>, String> {
    if missing(weights, needed, "").is_none() {
        return Ok(None);
    }
    // Any tensor will do that has one name in the model.
    let Some(known) = needed.last() else { return Ok(None) };
    let prefix = |name: &str| Some(name.strip_suffix(known)?.to_owned());
    let prefixes: BTreeSet<String> = weights
        .names()
        .filter_map(prefix)
        .filter(|prefix| prefix.ends_with('.') && missing(weights, needed, prefix).is_none())
        .collect();
    let mut prefixes = prefixes.into_iter();
    let Some(prefix) = prefixes.next() else { return Ok(None) };
    if let Some(other) = prefixes.next() {
        let (prefix, other) = (clip(&prefix), clip(&other));
        return Err(format!(
            "the model's tensors are there behind {prefix} and behind {other}; save one of both alone"
        ));
    }
    let others = weights.names().filter(|name| name.starts_with(&prefix)).count() - needed.len();
    if prefix.ends_with(PEFT) && others > 0 {
        return Err(format!(
            "the model's tensors are all there behind {}, and {others} more of PEFT: {MERGE}",
            clip(&prefix)
        ));
    }
    let bare = |name: &str| name.strip_prefix(&prefix).unwrap_or(name).to_owned();
    let note = renamed(&format!("{prefix}{known}"), known);
    Ok(weights.rename(bare).then_some(note))
}

fn renamed(from: &str, to: &str) -> String {
    format!("tensors have names as {}, which was taken for {}", clip(from), clip(to))
}

/// Tensors that share their bytes are stored once by `safetensors.torch.save_model`, which notes in
/// the metadata for each other name the one that was kept.
fn find_shared(weights: &mut Weights, needed: &[&str]) {
    let absent: Vec<&str> =
        needed.iter().copied().filter(|name| weights.get(name).is_none()).collect();
    if absent.is_empty() {
        return;
    }
    let mut kept = Vec::new();
    for bytes in weights.files() {
        let Ok((_, header)) = read_header(bytes) else { continue };
        let Some(metadata) = header.metadata() else { continue };
        kept.extend(absent.iter().filter_map(|name| Some((*name, metadata.get(*name)?.clone()))));
    }
    for (name, kept) in kept {
        weights.alias(name, &kept);
    }
}
