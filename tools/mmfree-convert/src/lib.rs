//! Packs a checkpoint of a ternary language model into one memory-mapped file.
//!
//! [`convert`] reads a [`Checkpoint`], [`synthesize`] makes weights up; both are a [`Source`] that
//! [`write_model`] writes. `docs/FORMAT.md` describes what comes out.

#![forbid(unsafe_code)]

mod checkpoint;
mod config;
mod embedding;
mod error;
mod floats;
#[doc(hidden)]
pub mod fuzzing;
pub mod hash;
#[cfg(feature = "hub")]
pub mod hub;
pub mod inspect;
mod json;
mod options;
mod plan;
mod pool;
mod progress;
mod repack;
mod source;
mod summary;
mod synthesize;
mod ternary;
pub mod text;
mod unpack;
mod unpacked;
pub mod verify;
mod write;

use std::path::{Path, PathBuf};

use mmfree::format::ModelFile;
use mmfree::storage::AtomicFile;

pub use checkpoint::Checkpoint;
pub use embedding::EmbeddingType;
pub use error::{Error, Result};
pub use options::{Embed, Options, Pack};
pub use progress::Report;
pub use source::{Source, TritMatrix};
pub use summary::{Sizes, Summary};
pub use synthesize::{Size, synthesize};
pub use unpack::unpack;
pub use write::write_model;

/// Converts the checkpoint in the folder `input`, or packs the model file `input` anew, to a model
/// file at `output`, whole or not at all. A model file keeps its embedding as it is unless the
/// options say otherwise, and its model hash with it.
///
/// # Errors
/// What is wrong with the checkpoint, naming the file and the tensor; an output that exists or
/// cannot be written.
pub fn convert(input: &Path, output: &Path, options: &Options) -> Result<Summary> {
    // An output that cannot be written is found before anything is read; dropped, it leaves nothing.
    drop(AtomicFile::create(output, options.force)?);
    if std::fs::metadata(input).is_ok_and(|meta| meta.is_file()) {
        return pool::run(options.threads, || {
            write::write_here(&repack::Packed::open(input)?, output, options)
        });
    }
    let checkpoint = Checkpoint::open(input)?;
    if checkpoint.reads_from(output) {
        let reason = "is a file of the checkpoint that is to be converted; name another output";
        return Err(mmfree::Error::invalid(output, reason).into());
    }
    let mut summary = write_model(&checkpoint, output, options)?;
    summary.notes = checkpoint.notes().to_vec();
    Ok(summary)
}

/// Where the model file of a checkpoint folder goes unless told otherwise: `NAME.mmfree` in the
/// current folder.
///
/// # Errors
/// A folder without a name, as `/`; a file: of a model file, which is packed to a name that must be
/// given, or what it is in its place.
pub fn default_output(folder: &Path) -> Result<PathBuf> {
    if std::fs::metadata(folder).is_ok_and(|meta| meta.is_file()) {
        // Anything else has no other way either.
        drop(ModelFile::open(folder)?);
        let path = folder.display();
        return Err(Error::Option(format!("{path} is a file: to pack it anew, give --output")));
    }
    // As it was typed, if that ends in a name: a link's own name says more than that of its target.
    let name = folder.file_name().map(|name| name.to_owned());
    let resolved = || std::fs::canonicalize(folder).ok()?.file_name().map(|name| name.to_owned());
    let mut name = name.or_else(resolved).ok_or_else(|| {
        Error::Option(format!(
            "{} has no name to call the output by; give --output",
            folder.display()
        ))
    })?;
    name.push(".mmfree");
    Ok(PathBuf::from(name))
}

/// Whether `text` has the form of a Hub id, `organisation/name`.
pub fn is_hub_id(text: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && part.len() <= 96
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
            && !part.starts_with(['.', '-'])
            && !part.contains("..")
            && !part.contains("--")
    };
    text.split_once('/').is_some_and(|(organisation, name)| part(organisation) && part(name))
}
