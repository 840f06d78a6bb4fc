//! The tensors of a checkpoint, whatever kind of file they are in: a table over mapped files.
//!
//! To add a kind of file, write a function that fills such a table.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use mmfree::format::{FloatType, Mapping};

use crate::floats::Values;

/// Where a tensor is stored.
#[derive(Debug)]
pub struct Stored {
    /// Which file.
    pub file: usize,
    /// Its type, or the name of one that cannot be used.
    pub float: Result<FloatType, String>,
    /// Its shape; it is stored row-major without gaps.
    pub shape: Vec<usize>,
    /// Its bytes in the file, as many as type and shape call for.
    pub span: Range<usize>,
}

/// Mapped files and the tensors in them.
#[derive(Debug, Default)]
pub struct Weights {
    files: Vec<(PathBuf, Mapping)>,
    tensors: BTreeMap<String, Stored>,
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

    /// The values of a tensor, as type `float`, which is the one that it has.
    pub fn values(&self, stored: &Stored, float: FloatType) -> Values<'_> {
        Values { float, bytes: &self.files[stored.file].1[stored.span.clone()] }
    }
}
