//! Checkpoints from the Hub, through the cache that other tools share.
//!
//! The `hf-hub` crate (1.0) is asynchronous, over tokio and reqwest; so this is ours, over the
//! blocking client `ureq`. The layout of the cache is that of `huggingface_hub`: `blobs` named by
//! their etag, `snapshots` of links to them, `refs` from a branch to its commit.

mod cache;
mod client;
mod download;
mod local;
mod roots;

use std::collections::BTreeSet;
use std::path::PathBuf;

use mmfree::format::{FileKind, standard_json};
use serde::Deserialize;

use crate::checkpoint::{FILES, KINDS, TOKENIZER, TOKENIZERS};
use crate::error::{Error, Result};
use crate::is_hub_id;
use crate::options::Options;
use crate::text::clip;
use cache::Cache;
use client::{Client, Failure};
use local::Lack;

/// The longest list of a repository's files, or index of shards, in bytes.
const MAX_LIST: u64 = 16 << 20;

/// The small files that a checkpoint may have, and the tokenizer.
fn small() -> impl Iterator<Item = &'static str> {
    FILES.into_iter().chain([TOKENIZER])
}

/// A checkpoint in the cache.
#[derive(Debug)]
pub struct Fetched {
    /// Its folder.
    pub folder: PathBuf,
    /// What a user should know: that the Hub was not asked, or did not answer.
    pub notes: Vec<String>,
}

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

/// Gives the folder of a checkpoint of the Hub, in the cache; downloads what is not there yet. Where
/// the Hub is not reached or gives nothing out, a checkpoint that the cache has all of will do.
///
/// # Errors
/// An id or a revision that the Hub does not know or does not give out, a network that fails, data
/// that are not those that the Hub announced, a cache that cannot be written.
pub fn fetch(id: &str, revision: &str, options: &Options) -> Result<Fetched> {
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
    let cached = || {
        local::snapshot(&cache, revision).map_err(|lack| match lack {
            Lack::Revision => None,
            Lack::Files(folder, missing) => {
                Some(format!("{} has no {}", folder.display(), missing.join(", no ")))
            }
        })
    };
    if let Some(variable) = client::offline() {
        return cached().map_err(|lack| match lack {
            None => {
                let place = cache.root().display();
                absent(format!("{variable} is set, and revision {revision} is not in {place}"))
            }
            Some(lack) => fail(format!("{variable} is set, and {lack}")),
        });
    }
    let client = Client::from_env(options).map_err(fail)?;
    // What is there already does without the Hub.
    let instead = |reason: String, without: Error| {
        let mut fetched = cached().map_err(|lack| match lack {
            None => without,
            Some(lack) => fail(format!("{reason}; and {lack}")),
        })?;
        let place = fetched.folder.display();
        let note = format!("the Hub: {reason}; what the cache has is used, {place}");
        fetched.notes.insert(0, note);
        Ok(fetched)
    };
    let listing = match client.listing(id, revision) {
        Ok(text) => text,
        Err(Failure::Network(reason) | Failure::Refused(reason)) => {
            let without = absent(reason.clone());
            return instead(reason, without);
        }
        Err(Failure::Answer(reason)) => return Err(absent(reason)),
        Err(Failure::Cancelled) => return Err(Error::Cancelled),
    };
    match download_all(id, revision, &listing, &client, &cache, options) {
        // A newer commit, which this user is not to have; one before it may be there.
        Err(Trouble::Refused(reason)) => instead(reason.clone(), fail(reason)),
        Err(Trouble::Other(error)) => Err(error),
        Ok(folder) => Ok(Fetched { folder, notes: Vec::new() }),
    }
}

/// Why files of a checkpoint are not there.
enum Trouble {
    /// The Hub gives one of them out to others, or at another time.
    Refused(String),
    /// Anything else.
    Other(Error),
}

impl<E: Into<Error>> From<E> for Trouble {
    fn from(error: E) -> Trouble {
        Trouble::Other(error.into())
    }
}

/// Downloads what the cache does not have of the commit that the Hub's `listing` is of; gives its
/// folder.
fn download_all(
    id: &str,
    revision: &str,
    listing: &[u8],
    client: &Client<'_>,
    cache: &Cache,
    options: &Options,
) -> std::result::Result<PathBuf, Trouble> {
    let fail = |reason: String| Error::Hub { id: id.to_owned(), reason };
    let listing: Listing = serde_json::from_slice(listing).map_err(|error| {
        let kind = FileKind::of(listing).filter(|kind| *kind != FileKind::Json);
        fail(match kind {
            // A network that wants its own page to be seen first.
            Some(kind) => format!("the answer is {kind}, not the Hub's list of its files"),
            None => format!("the Hub's answer is not valid: {}", clip(&error.to_string())),
        })
    })?;
    let commit = &listing.sha;
    if commit.len() != 40 || !commit.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(
            fail(format!("the Hub names the commit {}, which is none", clip(commit))).into()
        );
    }
    let there: BTreeSet<&str> = listing.siblings.iter().map(|s| s.rfilename.as_str()).collect();
    let get = |name: &str| -> std::result::Result<PathBuf, Trouble> {
        options.check_cancelled()?;
        let file = download::File { id, commit, name };
        download::file(client, cache, &file, options)
    };
    for name in small() {
        match there.contains(name) {
            true => drop(get(name)?),
            false => cache.set_absent(commit, name),
        }
    }
    // Not read, but it is known then how to make one that is.
    if !there.contains(TOKENIZER) {
        for name in TOKENIZERS.into_iter().filter(|name| there.contains(name)).take(1) {
            get(name)?;
        }
    }
    let kind = KINDS.iter().find(|kind| there.contains(kind.single) || there.contains(kind.index));
    let names = || there.iter().map(|name| name.to_string()).collect::<Vec<_>>();
    if let Some(single) = kind.map(|kind| kind.single).filter(|single| there.contains(single)) {
        get(single)?;
    } else if let Some(kind) = kind {
        let index = get(kind.index)?;
        let text = crate::json::read_text(&index)?.unwrap_or_default();
        let index: Index = serde_json::from_str(&standard_json(&text))
            .map_err(|e| fail(format!("{}: {}", kind.index, clip(&e.to_string()))))?;
        let names = index.weight_map.values().map(|name| name.strip_prefix("./").unwrap_or(name));
        for shard in names.collect::<BTreeSet<_>>() {
            if !is_file_name(shard) || !there.contains(shard) {
                let shard = clip(shard);
                let reason = format!("{} names {shard}, which is not there", kind.index);
                return Err(fail(reason).into());
            }
            get(shard)?;
        }
    } else if let Some(shards) = KINDS.iter().find_map(|kind| kind.shards(&names())) {
        for shard in shards.map_err(fail)? {
            get(&shard)?;
        }
    } else {
        return Err(fail("has no weights that can be converted".into()).into());
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
