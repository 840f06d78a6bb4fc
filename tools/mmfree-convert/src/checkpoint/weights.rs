//! The tensors of a checkpoint, whatever kind of file they are in: a table over mapped files.
//!
//! To add a kind of file, write a function that fills such a table.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use mmfree::format::FloatType;
use mmfree::storage::Mapping;

use super::zip::check_crc;
use crate::floats::Values;
use crate::text::clip;

/// Where a tensor is stored.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Which file.
    pub file: usize,
    /// Its type, or the name of one that cannot be used.
    pub float: Result<FloatType, String>,
    /// Its shape; it is stored row-major without gaps.
    pub shape: Vec<usize>,
    /// Its bytes in the file, as many as type and shape call for.
    pub span: Range<usize>,
    /// What its file says of the bytes that it lies in, where the file has checksums.
    pub checksum: Option<Arc<Checksum>>,
}

/// A CRC-32 over some bytes of a file, in which there may be many tensors.
#[derive(Debug)]
pub struct Checksum {
    /// What the bytes are called.
    pub entry: String,
    /// The bytes.
    pub span: Range<usize>,
    /// What their CRC-32 must be.
    pub crc: u32,
    /// Computed when the first tensor is read, once: a file may have more tensors than bytes.
    pub result: OnceLock<Result<(), String>>,
}

/// Mapped files and the tensors in them.
#[derive(Debug, Default)]
pub struct Weights {
    files: Vec<(PathBuf, Mapping)>,
    tensors: BTreeMap<String, Stored>,
    /// Tensors that an index lists and no file has.
    absent: BTreeMap<String, Absent>,
    /// What a user should know of the files.
    notes: Vec<String>,
}

/// A tensor that an index lists and no shard has.
#[derive(Debug)]
pub struct Absent {
    /// The index.
    pub index: Arc<Path>,
    /// The shard that should have it.
    pub shard: String,
}

impl Weights {
    /// How many files there are: the number of the next.
    pub fn file_count(&self) -> usize {
        self.files.len()
    }

    /// Adds a file.
    pub fn add_file(&mut self, path: PathBuf, map: Mapping) {
        self.files.push((path, map));
    }

    /// Adds a tensor, or replaces the one of that name.
    pub fn add(&mut self, name: String, stored: Stored) {
        self.tensors.insert(name, stored);
    }

    /// Keeps in mind that an index lists a tensor which is not there.
    pub fn add_absent(&mut self, name: String, absent: Absent) {
        self.absent.insert(name, absent);
    }

    /// The tensors that an index lists and no file has.
    pub fn absent(&self) -> &BTreeMap<String, Absent> {
        &self.absent
    }

    /// Adds a note.
    pub fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// What a user should know of the files.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Gives each tensor another name; false, and nothing is done, where two would have the same.
    pub fn rename(&mut self, name: impl Fn(&str) -> String) -> bool {
        let mut names: Vec<String> = self.names().map(&name).collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return false;
        }
        let tensors = std::mem::take(&mut self.tensors);
        self.tensors = tensors.into_iter().map(|(old, stored)| (name(&old), stored)).collect();
        true
    }

    /// Adds a tensor under a second name; false where there is none of the first.
    pub fn alias(&mut self, name: &str, of: &str) -> bool {
        let Some(stored) = self.tensors.get(of).cloned() else { return false };
        self.tensors.insert(name.to_owned(), stored);
        true
    }

    /// The tensor of that name.
    pub fn get(&self, name: &str) -> Option<&Stored> {
        self.tensors.get(name)
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The file that a tensor is in.
    pub fn path(&self, stored: &Stored) -> &Path {
        &self.files[stored.file].0
    }

    /// All files.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|(path, _)| path.as_path())
    }

    /// The bytes of all files.
    pub fn files(&self) -> impl Iterator<Item = &[u8]> {
        self.files.iter().map(|(_, map)| &map[..])
    }

    /// The path and the bytes of the first file.
    pub fn first_file(&self) -> Option<(&Path, &[u8])> {
        self.files.first().map(|(path, map)| (path.as_path(), &map[..]))
    }

    /// The only file, or else the folder: where to look for what is missing.
    pub fn place(&self, folder: &Path) -> PathBuf {
        match &self.files[..] {
            [(path, _)] => path.clone(),
            _ => folder.to_owned(),
        }
    }

    /// Bytes of all files.
    pub fn size(&self) -> u64 {
        self.files.iter().map(|(_, map)| map.len() as u64).sum()
    }

    /// Holds the bytes that a tensor lies in against their checksum, if they have one.
    ///
    /// # Errors
    /// Bytes that are damaged.
    pub fn check(&self, stored: &Stored) -> Result<(), String> {
        let Some(checksum) = &stored.checksum else { return Ok(()) };
        let bytes = &self.files[stored.file].1[checksum.span.clone()];
        let result = checksum.result.get_or_init(|| check_crc(bytes, checksum.crc));
        result.clone().map_err(|e| format!("entry {}: {e}", clip(&checksum.entry)))
    }

    /// The values of a tensor, as type `float`, which is the one that it has.
    pub fn values(&self, stored: &Stored, float: FloatType) -> Values<'_> {
        Values { float, bytes: &self.files[stored.file].1[stored.span.clone()] }
    }
}
