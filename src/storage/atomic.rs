//! Writing files: whole or not at all.

use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::signals::Temporary;
use super::unfinished::Unfinished;
use crate::error::{Error, Result};

/// A file that appears under its name only once it is complete.
///
/// It is written to a unique name beside the final one, synced, and renamed. Dropped before
/// [`commit`](Self::commit), it is removed; a killed process leaves the old file as it was, and the
/// unique name behind, which the next file of that name removes.
///
/// A file that is replaced hands its permissions on, and its owner and group where the system
/// allows it.
#[derive(Debug)]
pub struct AtomicFile {
    temp: tempfile::NamedTempFile,
    temporary: Temporary,
    path: PathBuf,
    replace: bool,
    /// The file that is to be replaced, as it was at the start.
    old: Option<Metadata>,
}

impl AtomicFile {
    /// Starts a file that is to be `path`. With `replace` false an existing file is kept, and is an
    /// error.
    ///
    /// # Errors
    /// [`Error::Io`] where the folder cannot be written, [`Error::Invalid`] where `path` exists or
    /// cannot be a file.
    pub fn create(path: &Path, replace: bool) -> Result<AtomicFile> {
        // As any new file: the umask takes its part.
        AtomicFile::with_mode(path, replace, 0o666)
    }

    /// As [`create`](Self::create), but what is new only its owner may read, whatever the umask.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn create_private(path: &Path, replace: bool) -> Result<AtomicFile> {
        AtomicFile::with_mode(path, replace, PRIVATE)
    }

    fn with_mode(path: &Path, replace: bool, new_mode: u32) -> Result<AtomicFile> {
        let old = std::fs::metadata(path);
        match &old {
            Ok(meta) if meta.is_dir() => {
                return Err(Error::invalid(path, "is a directory, where a file is to be written"));
            }
            Ok(meta) if !meta.is_file() => {
                // A device or a pipe: renaming over it would destroy it.
                return Err(Error::invalid(path, "is not a regular file, it cannot be replaced"));
            }
            Ok(_) if !replace => return Err(exists(path)),
            Ok(_) => {}
            Err(_) if path.is_symlink() => {
                return Err(Error::invalid(path, "is a link to a file that cannot be reached"));
            }
            Err(_) if path.as_os_str().as_encoded_bytes().ends_with(b"/") => {
                return Err(Error::invalid(path, "names a folder, where a file is to be written"));
            }
            Err(_) => {}
        }
        // A link is followed, so that the file it names is replaced and not the link.
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let name = path.file_name().ok_or_else(|| Error::invalid(&path, "is no file name"))?;
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let unfinished = Unfinished::of(name);
        unfinished.remove_left_behind(folder);
        let mut builder = unfinished.builder();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = if old.is_ok() { PRIVATE } else { new_mode };
            builder.permissions(std::fs::Permissions::from_mode(mode));
        }
        #[cfg(not(unix))]
        let _ = new_mode;
        let temp = builder.tempfile_in(folder).map_err(Error::io("cannot write in", folder))?;
        let temporary = Temporary::new(temp.path());
        Unfinished::hold(temp.as_file());
        Ok(AtomicFile { temp, temporary, path, replace, old: old.ok() })
    }

    /// The open file, for writing and seeking.
    pub fn file(&mut self) -> &mut File {
        self.temp.as_file_mut()
    }

    /// The open file, for writing at offsets from several threads.
    pub fn get(&self) -> &File {
        self.temp.as_file()
    }

    /// The unique name that the file has until it is committed.
    pub fn temp_path(&self) -> &Path {
        self.temp.path()
    }

    /// Turns an error of writing into one that names the file.
    pub fn error(&self) -> impl FnOnce(io::Error) -> Error + use<'_> {
        Error::io("cannot write", &self.path)
    }

    /// Syncs the file and gives it its name.
    ///
    /// # Errors
    /// [`Error::Io`] where that fails, [`Error::Invalid`] where the file exists by now and is not
    /// to be replaced.
    pub fn commit(self) -> Result<()> {
        let AtomicFile { temp, temporary, path, replace, old } = self;
        // As it is by now, if it still is.
        let now = std::fs::symlink_metadata(&path).ok().filter(Metadata::is_file);
        if let (true, Some(old)) = (replace, now.or(old)) {
            take_over(temp.as_file(), &old);
        }
        temp.as_file().sync_all().map_err(Error::io("cannot write", &path))?;
        let persisted = if replace { temp.persist(&path) } else { temp.persist_noclobber(&path) };
        persisted.map_err(|error| match error.error.kind() {
            io::ErrorKind::AlreadyExists => exists(&path),
            _ => Error::io("cannot write", &path)(error.error),
        })?;
        drop(temporary);
        // The rename is on disk once the folder is; a file system that cannot sync folders has done
        // its best.
        if let Some(folder) = path.parent() {
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            if let Ok(folder) = File::open(folder) {
                let _ = folder.sync_all();
            }
        }
        Ok(())
    }
}

/// Writes a small file, whole or not at all; an existing one is replaced, a new one only its owner
/// may read.
///
/// # Errors
/// As [`AtomicFile`].
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut out = AtomicFile::create_private(path, true)?;
    out.file().write_all(bytes).map_err(out.error())?;
    out.commit()
}

/// What its owner may read and write, and nobody else.
const PRIVATE: u32 = 0o600;

/// Gives a new file, so far private, the permissions of the one that it replaces, and owner and
/// group where the system allows it: root may give files away, others only to groups that they are
/// in.
#[cfg(unix)]
fn take_over(new: &File, old: &Metadata) {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
    let mut mode = old.mode() & 0o777;
    let own = new.metadata().map(|new| (new.uid(), new.gid()));
    if own.is_ok_and(|own| own != (old.uid(), old.gid()))
        && fchown(new, Some(old.uid()), Some(old.gid())).is_err()
        && fchown(new, None, Some(old.gid())).is_err()
    {
        // Another group has no right that not all have.
        mode &= !0o070 | (mode & 0o007) << 3;
    }
    // Where a file system has no permissions there are none to be kept.
    let _ = new.set_permissions(std::fs::Permissions::from_mode(mode));
}

#[cfg(not(unix))]
fn take_over(_new: &File, _old: &Metadata) {}

fn exists(path: &Path) -> Error {
    Error::invalid(path, "exists already; --force replaces it")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(folder: &Path) -> usize {
        std::fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn an_abandoned_file_leaves_the_old_one_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        std::fs::write(&path, "old").unwrap();
        let mut file = AtomicFile::create(&path, true).unwrap();
        file.file().write_all(b"half of the ne").unwrap();
        drop(file);
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(entries(folder.path()), 1);
    }

    #[test]
    fn an_existing_file_is_kept_unless_told_even_if_it_appears_late() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let late = AtomicFile::create(&path, false).unwrap();
        std::fs::write(&path, "old").unwrap();
        assert!(late.commit().unwrap_err().to_string().contains("--force"));
        assert!(AtomicFile::create(&path, false).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        AtomicFile::create(&path, true).unwrap().commit().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"");
        assert_eq!(entries(folder.path()), 1);
    }

    #[test]
    #[cfg(unix)]
    fn a_link_is_followed_and_a_dead_one_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(AtomicFile::create(&link, true).unwrap_err().to_string().contains("a link"));
        std::fs::write(&target, "old").unwrap();
        AtomicFile::create(&link, true).unwrap().commit().unwrap();
        assert!(link.is_symlink());
        assert_eq!(std::fs::read(&target).unwrap(), b"");
    }

    #[test]
    fn what_cannot_be_a_file_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["", "new/"] {
            let path = folder.path().join(name);
            let error = AtomicFile::create(&path, true).unwrap_err().to_string();
            assert!(error.contains("where a file is to be written"), "{error}");
        }
        assert_eq!(entries(folder.path()), 0);
        assert!(AtomicFile::create("/dev/null".as_ref(), true).is_err());
    }
}
