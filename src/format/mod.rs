//! The model file: one valid safetensors file that holds everything a model needs.
//!
//! Packed matrices are U8 tensors, norms F32, the embedding in the checkpoint's type or I8 with a
//! scale per row, the tokenizer a U8 tensor; version, architecture, config, packings and checksums
//! stand in `__metadata__`. `docs/FORMAT.md` has it all, with a reader in Python.

mod config;
mod header;
mod json;
mod kind;
mod reader;
#[cfg(feature = "mmap")]
mod residency;
mod writer;

pub use config::{Config, Role, ShortConv, TensorSpec};
pub use header::{HeaderError, read_header};
pub use json::{replace_numbers, shown, sorted, standard_json};
pub use kind::FileKind;
pub use reader::{Embedding, FloatType, ModelFile, Span};
pub use writer::{Entry, Header};

/// The version of the format that this library writes, and the only one that it reads.
pub const VERSION: u32 = 1;

/// The only architecture so far.
pub const ARCHITECTURE: &str = "hgrn_bit";

/// Every tensor that needs it starts at a multiple of this, in the file and in memory.
pub const ALIGNMENT: usize = 64;

/// Name of the tensor that holds `tokenizer.json`.
pub const TOKENIZER: &str = "tokenizer.json";

/// Keys of the file's `__metadata__`. Every value is a string; those marked JSON hold a JSON text.
pub mod keys {
    /// Always `mmfree`: what makes a safetensors file a model file.
    pub const FORMAT: &str = "format";
    /// The value of [`FORMAT`].
    pub const FORMAT_VALUE: &str = "mmfree";
    /// The format version, a decimal number.
    pub const VERSION: &str = "mmfree.version";
    /// The architecture, `hgrn_bit`.
    pub const ARCHITECTURE: &str = "mmfree.architecture";
    /// JSON: the [`Config`](super::Config).
    pub const CONFIG: &str = "mmfree.config";
    /// JSON object: for each packed matrix its packing, rows and columns.
    pub const TERNARY: &str = "mmfree.ternary";
    /// JSON object: the type, as safetensors names it, that each tensor had in the checkpoint.
    pub const SOURCE_TYPES: &str = "mmfree.source_types";
    /// JSON object: SHA-256 of each tensor's bytes, in lower-case hex.
    pub const SHA256: &str = "mmfree.sha256";
    /// The model hash in lower-case hex: SHA-256 over trits, scales, norms and embeddings, whatever
    /// their packing.
    pub const HASH: &str = "mmfree.hash";
    /// SHA-256 of the header in lower-case hex, taken while these 64 digits are zeros.
    pub const HEADER_SHA256: &str = "mmfree.header_sha256";
    /// Prefix of a small file of the checkpoint kept as it was: `mmfree.file.config.json`.
    pub const FILE_PREFIX: &str = "mmfree.file.";
}
