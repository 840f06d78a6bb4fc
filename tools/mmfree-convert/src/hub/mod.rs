//! Checkpoints from the Hub, through the cache that other tools share.
//!
//! The `hf-hub` crate (1.0) is asynchronous, over tokio and reqwest; so this is ours, over the
//! blocking client `ureq`. The layout of the cache is that of `huggingface_hub`: `blobs` named by
//! their etag, `snapshots` of links to them, `refs` from a branch to its commit.

mod cache;
mod client;
mod download;

use std::collections::BTreeSet;
use std::path::PathBuf;

use mmfree::format::standard_json;
use serde::Deserialize;

use crate::checkpoint::{FILES, KINDS};
use crate::error::{Error, Result};
use crate::is_hub_id;
use crate::options::Options;
use crate::text::clip;
use cache::Cache;
use client::{Client, Failure};

/// The longest list of a repository's files, or index of shards, in bytes.
const MAX_LIST: u64 = 16 << 20;

/// What the Hub says of a repository.
#[derive(Deserialize)]
struct Listing {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

/// An index of shards.
#[derive(Deserialize)]
struct Index {
    weight_map: std::collections::BTreeMap<String, String>,
}

/// Gives the folder of a checkpoint of the Hub, in the cache; downloads what is not there yet.
///
/// # Errors
/// An id or a revision that the Hub does not know or does not give out, a network that fails, data
/// that are not those that the Hub announced, a cache that cannot be written.
pub fn fetch(id: &str, revision: &str, options: &Options) -> Result<PathBuf> {
    let fail = |reason: String| Error::Hub { id: id.to_owned(), reason };
    if !is_hub_id(id) {
        return Err(fail("is no Hub id, must be organisation/name".into()));
    }
    if !is_revision(revision) {
        return Err(fail(format!("{} is no revision", clip(revision))));
    }
    // Whoever mistyped a path comes here too.
    let absent = |reason: String| fail(format!("no such folder here, and on the Hub: {reason}"));
    let cache = Cache::of(id).map_err(fail)?;
    if client::offline() {
        return cache.snapshot(revision).ok_or_else(|| {
            let place = cache.root().display();
            absent(format!("HF_HUB_OFFLINE is set, and revision {revision} is not in {place}"))
        });
    }
    let client = Client::from_env(options).map_err(fail)?;
    let listing = match client.listing(id, revision) {
        Ok(text) => text,
        // What is there already does without a network.
        Err(Failure::Network(reason)) => {
            return cache.snapshot(revision).ok_or_else(|| absent(reason));
        }
        Err(Failure::Answer(reason)) => return Err(absent(reason)),
        Err(Failure::Cancelled) => return Err(Error::Cancelled),
    };
    let listing: Listing = serde_json::from_slice(&listing)
        .map_err(|e| fail(format!("the Hub's answer is not valid: {}", clip(&e.to_string()))))?;
    let commit = &listing.sha;
    if commit.len() != 40 || !commit.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(fail(format!("the Hub names the commit {}, which is none", clip(commit))));
    }
    let there: BTreeSet<&str> = listing.siblings.iter().map(|s| s.rfilename.as_str()).collect();
    let get = |name: &str| -> Result<PathBuf> {
        options.check_cancelled()?;
        let file = download::File { id, commit, name };
        download::file(&client, &cache, &file, options)
    };
    for name in FILES.into_iter().chain(["tokenizer.json"]).filter(|name| there.contains(name)) {
        get(name)?;
    }
    let kind = KINDS.iter().find(|kind| there.contains(kind.single) || there.contains(kind.index));
    let kind = kind.ok_or_else(|| fail("has no weights that can be converted".into()))?;
    if there.contains(kind.single) {
        get(kind.single)?;
    } else {
        let index = get(kind.index)?;
        let text = crate::json::read_text(&index)?.unwrap_or_default();
        let index: Index = serde_json::from_str(&standard_json(&text))
            .map_err(|e| fail(format!("{}: {}", kind.index, clip(&e.to_string()))))?;
        let names = index.weight_map.values().map(|name| name.strip_prefix("./").unwrap_or(name));
        for shard in names.collect::<BTreeSet<_>>() {
            if !is_file_name(shard) || !there.contains(shard) {
                let shard = clip(shard);
                return Err(fail(format!("{} names {shard}, which is not there", kind.index)));
            }
            get(shard)?;
        }
    }
    cache.set_ref(revision, commit).map_err(fail)?;
    Ok(cache.snapshot_folder(commit))
}

/// The name of a file of the repository's top folder.
fn is_file_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-+ ".contains(&b);
    !name.is_empty() && name.len() <= 255 && !name.starts_with('.') && name.bytes().all(plain)
}

/// A branch, tag, `refs/pr/1` or commit.
fn is_revision(revision: &str) -> bool {
    revision.len() <= 255 && revision.split('/').all(is_file_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_revisions_lead_nowhere_else() {
        for id in ["ridger/MMfreeLM-370M", "a/b.c_d-1"] {
            assert!(is_hub_id(id), "{id}");
        }
        for id in ["a", "/a", "a/", "a/b/c", "../a", "a/..", "./a", "a/b--c", "a/b?c", "a/\u{e9}"] {
            assert!(!is_hub_id(id), "{id}");
        }
        for revision in ["main", "v1.0", "refs/pr/1"] {
            assert!(is_revision(revision), "{revision}");
        }
        for revision in ["", "..", "a/../b", "/a", "a\nb", "a\\b", "a?b"] {
            assert!(!is_revision(revision), "{revision}");
        }
    }
}
