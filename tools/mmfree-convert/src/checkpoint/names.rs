//! Tensors under other names than the model's own: behind the prefixes that training leaves in front
//! of them, and tied ones that stand in the file once.

use std::collections::{BTreeSet, HashSet};

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

/// What stands before the names of all tensors but the head's.
const BODY: &str = "model.";

/// Takes another prefix for the model's own: one before all names, another in place of `model.`, or none in its place. The
/// head's tensors have their own names then, or stand beside or behind the others.
fn strip_prefix(weights: &mut Weights, needed: &[&str]) -> Result<Option<String>, String> {
    if missing(weights, needed, "").is_none() {
        return Ok(None);
    }
    let body: Vec<&str> = needed.iter().filter_map(|name| name.strip_prefix(BODY)).collect();
    let head: Vec<&str> = needed.iter().copied().filter(|name| !name.starts_with(BODY)).collect();
    // Any tensor will do whose name ends no other's.
    let Some(known) = body.first() else { return Ok(None) };
    let prefix = |name: &str| {
        let prefix = name.strip_suffix(known)?;
        (prefix.is_empty() || prefix.ends_with('.')).then(|| prefix.to_owned())
    };
    let (found, partial): (BTreeSet<String>, BTreeSet<String>) = weights
        .names()
        .filter_map(prefix)
        .partition(|prefix| missing(weights, &body, prefix).is_none());
    let of_head = |prefix: &str| {
        let places = ["", prefix.strip_suffix(BODY).unwrap_or(prefix), prefix];
        let place = places.into_iter().find(|place| missing(weights, &head, place).is_none());
        place.map(str::to_owned)
    };
    let mut whole = found.iter().filter_map(|prefix| Some((prefix, of_head(prefix)?)));
    let Some((prefix, head_prefix)) = whole.next() else {
        return no_prefix(weights, (&body, &head), &found, &partial);
    };
    if let Some((other, _)) = whole.next() {
        let shown = |prefix: &str| {
            clip(prefix.strip_suffix(BODY).filter(|p| !p.is_empty()).unwrap_or(prefix))
        };
        let (prefix, other) = (shown(prefix), shown(other));
        return Err(format!(
            "the model's tensors are there behind {prefix} and behind {other}; save one of both alone"
        ));
    }
    let before = prefix.strip_suffix(BODY).unwrap_or(prefix);
    if before.ends_with(PEFT) {
        let others = weights.names().filter(|name| name.starts_with(before)).count();
        let others = others.saturating_sub(needed.len());
        if others > 0 {
            return Err(format!(
                "the model's tensors are all there behind {}, and {others} more of PEFT: {MERGE}",
                clip(before)
            ));
        }
    }
    let (body, head): (HashSet<&str>, HashSet<&str>) =
        (body.iter().copied().collect(), head.iter().copied().collect());
    let bare =
        |name: &str| match (name.strip_prefix(prefix.as_str()), name.strip_prefix(&head_prefix)) {
            (_, Some(rest)) if head.contains(rest) => rest.to_owned(),
            (Some(rest), _) if body.contains(rest) => format!("{BODY}{rest}"),
            // What else stands behind the prefix keeps its place beside the others.
            _ => name
                .strip_prefix(before)
                .filter(|_| prefix.ends_with(BODY))
                .unwrap_or(name)
                .to_owned(),
        };
    let note = match (prefix.as_str(), head.iter().min()) {
        (BODY, Some(name)) => renamed(&format!("{head_prefix}{name}"), name),
        _ => renamed(&format!("{prefix}{known}"), &format!("{BODY}{known}")),
    };
    Ok(weights.rename(bare).then_some(note))
}

/// Says what there is where no prefix has all that the model needs, if a prefix is what is wrong.
fn no_prefix(
    weights: &Weights,
    (body, head): (&[&str], &[&str]),
    found: &BTreeSet<String>,
    partial: &BTreeSet<String>,
) -> Result<Option<String>, String> {
    let known = body.first().copied().unwrap_or_default();
    // With right names, what is missing is told by its own.
    if found.contains(BODY) || partial.contains(BODY) {
        return Ok(None);
    }
    if let Some(prefix) = found.first() {
        let name = clip(&format!("{prefix}{known}"));
        return Err(format!(
            "tensors have names as {name}, where {BODY}{known} is right, and there is no {}: it is a save of the model \
             without its head; save the one with it, an AutoModelForCausalLM",
            head.first().unwrap_or(&HEAD)
        ));
    }
    let Some(prefix) = partial.first() else { return Ok(None) };
    let lost = missing(weights, body, prefix).unwrap_or(known);
    Err(format!(
        "tensors have names as {}, where {BODY}{known} is right, and not all are there: no {}",
        clip(&format!("{prefix}{known}")),
        clip(&format!("{prefix}{lost}"))
    ))
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
