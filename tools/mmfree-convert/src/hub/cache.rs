//! The cache folder of one repository.

use std::env;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use mmfree::Error;

/// `models--organisation--name` in the cache.
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// That of a repository, in the folder that the environment names: `HF_HUB_CACHE`, or `hub` in
    /// `HF_HOME`, or `~/.cache/huggingface/hub`.
    ///
    /// # Errors
    /// An environment that names none.
    pub fn of(id: &str) -> Result<Cache, String> {
        let hub = match variable("HF_HUB_CACHE").or_else(|| variable("HUGGINGFACE_HUB_CACHE")) {
            Some(path) => PathBuf::from(path),
            None => home()?.join("hub"),
        };
        Ok(Cache { root: hub.join(format!("models--{}", id.replace('/', "--"))) })
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the bytes of the file with this etag are, or will be.
    pub fn blob(&self, etag: &str) -> PathBuf {
        self.root.join("blobs").join(etag)
    }

    /// The folder of a commit.
    pub fn snapshot_folder(&self, commit: &str) -> PathBuf {
        self.root.join("snapshots").join(commit)
    }

    /// The folder of a branch or commit that has been downloaded before.
    pub fn snapshot(&self, revision: &str) -> Option<PathBuf> {
        let commit = fs::read_to_string(self.root.join("refs").join(revision)).ok();
        let commit = commit.as_deref().map_or(revision, str::trim);
        let plain = !commit.is_empty() && commit.bytes().all(|b| b.is_ascii_alphanumeric());
        Some(self.snapshot_folder(commit)).filter(|folder| plain && folder.is_dir())
    }

    /// Notes which commit a branch is at.
    ///
    /// # Errors
    /// A cache that cannot be written.
    pub fn set_ref(&self, revision: &str, commit: &str) -> Result<(), String> {
        if revision == commit {
            return Ok(());
        }
        let path = self.root.join("refs").join(revision);
        let write = || {
            let folder = path.parent().unwrap_or(&self.root);
            fs::create_dir_all(folder)?;
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            file.write_all(commit.as_bytes())?;
            file.persist(&path)?;
            Ok(())
        };
        write().map_err(|e| Error::io("cannot write", &path)(e).to_string())
    }

    /// Makes a file of a snapshot: a link to its blob.
    ///
    /// # Errors
    /// A cache that cannot be written.
    pub fn link(&self, commit: &str, name: &str, etag: &str) -> Result<PathBuf, String> {
        let folder = self.snapshot_folder(commit);
        let path = folder.join(name);
        let link = || {
            fs::create_dir_all(&folder)?;
            let temp = tempfile::Builder::new().prefix(".link.").tempdir_in(&folder)?;
            let new = temp.path().join("link");
            std::os::unix::fs::symlink(Path::new("../../blobs").join(etag), &new)?;
            fs::rename(&new, &path)
        };
        link().map_err(|e| Error::io("cannot write", &path)(e).to_string())?;
        Ok(path)
    }
}

/// A variable of the environment, if it says something.
pub fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// `HF_HOME`, or `huggingface` in the user's cache.
///
/// # Errors
/// An environment that has none of it.
pub fn home() -> Result<PathBuf, String> {
    if let Some(home) = variable("HF_HOME") {
        return Ok(home.into());
    }
    let cache = variable("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(variable("HOME")?).join(".cache")));
    let cache = cache.ok_or("no place for the cache: set HF_HOME")?;
    Ok(cache.join("huggingface"))
}
