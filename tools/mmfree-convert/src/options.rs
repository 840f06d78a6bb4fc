//! What a conversion can be told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mmfree::Config;
use mmfree::packing::Packing;

use crate::embedding::EmbeddingType;
use crate::error::{Error, Result};
use crate::progress::Report;

/// How to write a model file. The defaults are those of the command line.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How trits are packed.
    pub pack: Pack,
    /// How the embedding is stored.
    pub embed: Embed,
    /// Replace an existing file.
    pub force: bool,
    /// Threads; `None` takes as many as the machine has. They do not change a byte of the file.
    pub threads: Option<usize>,
    /// How progress is shown.
    pub report: Report,
    /// Once true, the work ends with [`Error::Cancelled`].
    pub cancel: Option<Arc<AtomicBool>>,
}

impl Options {
    /// Fails once the work is to end.
    pub(crate) fn check_cancelled(&self) -> Result<()> {
        match &self.cancel {
            Some(cancel) if cancel.load(Ordering::Relaxed) => Err(Error::Cancelled),
            _ => Ok(()),
        }
    }
}

/// A choice of packing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pack {
    /// The one that runs fastest on most machines.
    #[default]
    Auto,
    /// This one.
    Only(Packing),
}

impl Pack {
    /// The packing for a model.
    pub fn resolve(self, _config: &Config) -> Packing {
        match self {
            // Past the caches fewer bytes win, and every published model is past them.
            Pack::Auto => Packing::T5,
            Pack::Only(packing) => packing,
        }
    }
}

/// A choice of type for the embedding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Embed {
    /// As the checkpoint has it: lossless.
    #[default]
    Source,
    /// This one.
    Only(EmbeddingType),
}

impl Embed {
    /// The type for an embedding that is stored as `source`.
    pub fn resolve(self, source: EmbeddingType) -> EmbeddingType {
        match self {
            Embed::Source => source,
            Embed::Only(choice) => choice,
        }
    }
}
