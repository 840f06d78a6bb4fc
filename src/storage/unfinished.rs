//! What a killed program leaves behind, and the next one removes.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

/// Between this and [`SUFFIX`] stands the name of the output, and random letters after it.
const PREFIX: &str = ".";
const SUFFIX: &str = ".tmp";

/// As many random letters and digits.
const RANDOM: usize = 6;

/// Younger ones may not be locked yet by the program that has just made them.
const AGE: Duration = Duration::from_secs(60);

/// The unfinished outputs of one name in a folder: files or folders called `.NAME.XXXXXX.tmp`.
///
/// Each is locked by the program that writes it, and a lock ends with its program. So one that is
/// not locked was left behind, by a kill or a loss of power.
pub struct Unfinished {
    prefix: OsString,
}

impl Unfinished {
    /// Those of the output called `name`.
    pub fn of(name: &OsStr) -> Unfinished {
        let mut prefix = OsString::from(PREFIX);
        prefix.push(name);
        prefix.push(".");
        Unfinished { prefix }
    }

    /// Gives new ones their names.
    pub fn builder(&self) -> tempfile::Builder<'_, 'static> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(&self.prefix).suffix(SUFFIX).rand_bytes(RANDOM);
        builder
    }

    /// Locks a new one, for as long as it is open. Where there are no locks it stays behind if the
    /// program is killed.
    pub fn hold(new: &File) {
        let _ = new.try_lock();
    }

    /// Removes those in `folder` that nobody writes any more. That it cannot is no reason not to
    /// write another.
    pub fn remove_left_behind(&self, folder: &Path) {
        let Ok(entries) = fs::read_dir(folder) else { return };
        for entry in entries.flatten() {
            if self.has(&entry.file_name()) {
                let _ = remove_unless_held(&entry);
            }
        }
    }

    fn has(&self, name: &OsStr) -> bool {
        let random = name.as_encoded_bytes().strip_prefix(self.prefix.as_encoded_bytes());
        let random = random.and_then(|rest| rest.strip_suffix(SUFFIX.as_bytes()));
        random.is_some_and(|r| r.len() == RANDOM && r.iter().all(u8::is_ascii_alphanumeric))
    }
}

fn remove_unless_held(entry: &fs::DirEntry) -> std::io::Result<()> {
    let meta = entry.metadata()?;
    let old = meta.modified()?.elapsed().is_ok_and(|age| age > AGE);
    // A pipe of that name would hold up whoever opens it.
    if !old || !(meta.is_file() || meta.is_dir()) {
        return Ok(());
    }
    let open = File::open(entry.path())?;
    if open.try_lock().is_err() {
        return Ok(());
    }
    if meta.is_dir() { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn only_what_is_old_and_not_held_goes() {
        let folder = tempfile::tempdir().unwrap();
        let ours = Unfinished::of("a.b".as_ref());
        let aged = |name: &str| {
            let path = folder.path().join(name);
            let file = File::create(&path).unwrap();
            file.set_modified(SystemTime::now() - 2 * AGE).unwrap();
            file
        };
        // Others' files, of a name that is almost the same.
        let others = ["a.b", ".a.b.tmp", ".a.b.abc12.tmp", ".a.b.abc-12.tmp", ".a.c.abc123.tmp"];
        for name in others {
            aged(name);
        }
        let held = aged(".a.b.abc123.tmp");
        Unfinished::hold(&held);
        aged(".a.b.abc124.tmp");
        let dir = folder.path().join(".a.b.abc125.tmp");
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("x"), "").unwrap();
        File::open(&dir).unwrap().set_modified(SystemTime::now() - 2 * AGE).unwrap();
        let new = ours.builder().tempfile_in(folder.path()).unwrap();
        let count = || fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(count(), others.len() + 4);
        ours.remove_left_behind(folder.path());
        assert_eq!(count(), others.len() + 2);
        assert!(new.path().exists() && folder.path().join(".a.b.abc123.tmp").exists());
        drop(held);
        ours.remove_left_behind(folder.path());
        assert_eq!(count(), others.len() + 1);
    }
}
