//! The cache folder of one repository.

use std::env;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use mmfree::Error;

/// `models--organisation--name` in the cache.
pub struct Cache {
    root: PathBuf,
    locks: PathBuf,
}

impl Cache {
    /// That of a repository, in the folder that the environment names: `HF_HUB_CACHE`, or `hub` in
    /// `HF_HOME`, or `~/.cache/huggingface/hub`.
    ///
    /// # Errors
    /// An environment that names none.
    pub fn of(id: &str) -> Result<Cache, String> {
        let hub = match path("HF_HUB_CACHE").or_else(|| path("HUGGINGFACE_HUB_CACHE")) {
            Some(path) => path,
            None => home()?.join("hub"),
        };
        let name = format!("models--{}", id.replace('/', "--"));
        Ok(Cache { root: hub.join(&name), locks: hub.join(".locks").join(name) })
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the bytes of the file with this etag are, or will be.
    pub fn blob(&self, etag: &str) -> PathBuf {
        self.root.join("blobs").join(etag)
    }

    /// What other tools lock too while they write the bytes of the file with this etag.
    pub fn lock_file(&self, etag: &str) -> PathBuf {
        self.locks.join(format!("{etag}.lock"))
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

    /// Notes that a commit has no such file, as other tools do. A cache that cannot be written has
    /// no need to know.
    pub fn set_absent(&self, commit: &str, name: &str) {
        let path = self.absent_file(commit, name);
        let folder = path.parent().unwrap_or(&self.root);
        let _ = fs::create_dir_all(folder).and_then(|()| fs::File::create(&path));
    }

    /// Whether it is known that a commit has no such file.
    pub fn is_known_absent(&self, commit: &str, name: &str) -> bool {
        self.absent_file(commit, name).is_file()
    }

    fn absent_file(&self, commit: &str, name: &str) -> PathBuf {
        self.root.join(".no_exist").join(commit).join(name)
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
        // A cache that has all of it may be one that cannot be written.
        if fs::read_to_string(&path).is_ok_and(|known| known.trim() == commit) {
            return Ok(());
        }
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

/// A path in the environment, if there is one; a `~` at its start is the user's home.
pub fn path(name: &str) -> Option<PathBuf> {
    let path = env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)?;
    match (path.strip_prefix("~"), env::var_os("HOME")) {
        (Ok(rest), Some(home)) => Some(PathBuf::from(home).join(rest)),
        _ => Some(path),
    }
}

/// `HF_HOME`, or `huggingface` in the user's cache.
///
/// # Errors
/// An environment that has none of it.
pub fn home() -> Result<PathBuf, String> {
    if let Some(home) = path("HF_HOME") {
        return Ok(home);
    }
    let cache = path("XDG_CACHE_HOME").or_else(|| Some(path("HOME")?.join(".cache")));
    let cache = cache.ok_or("no place for the cache: set HF_HOME")?;
    Ok(cache.join("huggingface"))
}
