//! Opening a model file: map it, and check its header against itself. No weight is read.
//!
//! Every field is hostile until checked: after [`ModelFile::open`] each tensor lies inside the file, is
//! aligned, and has the type and size that the config calls for, so the accessors cannot fail.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use safetensors::Dtype;
use serde::Deserialize;

use super::header::{HeaderError, check_items, read_header};
use super::kind::FileKind;
#[cfg(feature = "mmap")]
use super::residency::Streaming;
use super::{ALIGNMENT, ARCHITECTURE, Config, Role, TOKENIZER, TensorSpec, VERSION, keys};
use crate::aligned::AlignedBytes;
use crate::error::{Error, Result};
use crate::packing::{PackedMatrix, Packing};
#[cfg(feature = "mmap")]
use crate::storage::{Advice, Mapping};

/// Bytes of a tensor, counted from the start of the file.
pub type Span = Range<usize>;

/// The element type of an embedding that is not quantised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FloatType {
    /// IEEE binary32.
    F32,
    /// IEEE binary16.
    F16,
    /// The upper half of binary32.
    BF16,
}

/// Where the embedding lies, `[vocab_size, hidden_size]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Embedding {
    /// Rows of floats.
    Float {
        /// Their type.
        float: FloatType,
        /// Their bytes.
        data: Span,
    },
    /// Rows of int8, each with a float32 scale: value = int8 * scale.
    Int8 {
        /// The integers.
        data: Span,
        /// The scales, `[vocab_size]`.
        scales: Span,
    },
}

impl Embedding {
    /// The bytes of all rows, without scales.
    pub fn rows(&self) -> &Span {
        match self {
            Embedding::Float { data, .. } | Embedding::Int8 { data, .. } => data,
        }
    }
}

/// A packed matrix in the file.
#[derive(Clone, Debug)]
struct Ternary {
    packing: Packing,
    rows: usize,
    cols: usize,
    data: Span,
    scale: Span,
}

/// How the header describes a packed matrix.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TernaryEntry {
    packing: String,
    rows: usize,
    cols: usize,
}

pub(super) enum Bytes {
    #[cfg(feature = "mmap")]
    Mapped(Mapping),
    InMemory(Box<dyn AsRef<[u8]> + Send + Sync>),
}

impl std::ops::Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            #[cfg(feature = "mmap")]
            Bytes::Mapped(map) => map,
            Bytes::InMemory(owner) => (**owner).as_ref(),
        }
    }
}

/// An open model file: its bytes, mapped or in memory, and its checked header.
pub struct ModelFile {
    path: PathBuf,
    pub(super) bytes: Bytes,
    config: Config,
    hash: String,
    metadata: HashMap<String, String>,
    ternary: BTreeMap<String, Ternary>,
    floats: HashMap<String, Span>,
    embedding: Embedding,
    tokenizer: Option<Span>,
    #[cfg(feature = "mmap")]
    pub(super) streaming: Streaming,
}

impl fmt::Debug for ModelFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelFile").field("path", &self.path).field("config", &self.config).finish()
    }
}

impl ModelFile {
    /// Maps the model file at `path` and checks its header. Needs the feature `mmap`.
    ///
    /// # Errors
    /// [`Error::Io`] where it cannot be read, [`Error::Invalid`] where it is no sound model file,
    /// [`Error::Version`] where it is of another format version.
    #[cfg(feature = "mmap")]
    pub fn open(path: impl AsRef<Path>) -> Result<ModelFile> {
        let path = path.as_ref();
        if path.is_dir() {
            return Err(Error::invalid(path, no_folder(path)));
        }
        let map = Mapping::open(path)?;
        map.advise(Advice::HugePages, 0..map.len());
        Self::check(path.to_owned(), Bytes::Mapped(map))
    }

    /// A model file in memory, copied. `name` stands for the path in messages.
    ///
    /// # Errors
    /// As [`ModelFile::open`].
    pub fn from_bytes(name: &str, bytes: &[u8]) -> Result<ModelFile> {
        Self::from_owner(name, AlignedBytes::from(bytes))
    }

    /// A model file in memory, without a copy: in [`AlignedBytes`], in the program itself, or in whatever else holds bytes that
    /// start at a multiple of 64 and stay as they are. `name` stands for the path in messages.
    ///
    /// # Errors
    /// As [`ModelFile::open`]; also where the bytes do not start at a multiple of 64.
    pub fn from_owner(
        name: &str,
        owner: impl AsRef<[u8]> + Send + Sync + 'static,
    ) -> Result<ModelFile> {
        Self::check(name.into(), Bytes::InMemory(Box::new(owner)))
    }

    fn check(path: PathBuf, bytes: Bytes) -> Result<ModelFile> {
        let invalid = |reason: String| Error::invalid(&path, reason);
        let (data_start, header) = read_header(&bytes).map_err(|error| {
            invalid(match (FileKind::of(&bytes), error) {
                (Some(kind), _) => no_model(&kind),
                (None, HeaderError::Short(reason)) => reason,
                (None, HeaderError::Invalid(reason)) => {
                    format!("not a model file, or a damaged one: {}", clip(&reason))
                }
            })
        })?;
        let no_metadata = HashMap::new();
        let metadata = header.metadata().as_ref().unwrap_or(&no_metadata);
        if metadata.get(keys::FORMAT).map(String::as_str) != Some(keys::FORMAT_VALUE) {
            return Err(invalid(no_model(&FileKind::of(&bytes).unwrap_or(FileKind::Safetensors))));
        }
        let get = |key: &str| {
            metadata.get(key).ok_or_else(|| invalid(format!("the header has no {key}")))
        };
        let version = get(keys::VERSION)?;
        if *version != VERSION.to_string() {
            return Err(Error::Version { path: path.clone(), found: clip(version), read: "1" });
        }
        let architecture = get(keys::ARCHITECTURE)?;
        if architecture != ARCHITECTURE {
            return Err(invalid(format!(
                "architecture {}, but this program runs {ARCHITECTURE}",
                clip(architecture)
            )));
        }
        let config: Config = serde_json::from_str(get(keys::CONFIG)?)
            .map_err(|e| invalid(format!("{}: {e}", keys::CONFIG)))?;
        config.validate().map_err(|e| invalid(format!("{}: {e}", keys::CONFIG)))?;
        let hash = get(keys::HASH)?.clone();
        if hash.len() != 64 || !hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(invalid(format!("{}: not 64 lower-case hex digits", keys::HASH)));
        }
        let ternary = get(keys::TERNARY)?;
        check_items(ternary).map_err(|e| invalid(format!("{}: {e}", keys::TERNARY)))?;
        let mut entries: BTreeMap<String, TernaryEntry> = serde_json::from_str(ternary)
            .map_err(|e| invalid(format!("{}: {e}", keys::TERNARY)))?;

        if !(bytes.as_ptr() as usize).is_multiple_of(ALIGNMENT) {
            return Err(invalid(format!("in memory, it must start at a multiple of {ALIGNMENT}")));
        }
        let tensors = header.tensors();
        let mut table = Table { path: &path, data_start, unread: tensors };
        // Before the list of tensors is made: a small file must not ask for a long list.
        if config.num_layers > table.unread.len() {
            return Err(invalid(format!(
                "{} layers, but only {} tensors",
                config.num_layers,
                table.unread.len()
            )));
        }

        let mut ternary = BTreeMap::new();
        let mut floats = HashMap::new();
        let mut embedding = None;
        for spec in config.tensors() {
            match spec.role {
                Role::Ternary => {
                    let entry = entries.remove(&spec.name).ok_or_else(|| {
                        invalid(format!("{}: no entry for {}", keys::TERNARY, spec.name))
                    })?;
                    ternary.insert(spec.name.clone(), table.ternary(&spec, entry, &bytes)?);
                }
                Role::Float => {
                    let data = table.take(&spec.name, &[Dtype::F32], &spec.shape)?.1;
                    floats.insert(spec.name, data);
                }
                Role::Embedding => embedding = Some(table.embedding(&spec)?),
            }
        }
        if let Some(name) = entries.keys().next() {
            return Err(invalid(format!("{}: {} is no matrix here", keys::TERNARY, clip(name))));
        }
        let tokenizer = table.tokenizer()?;
        if let Some(name) = table.unread.keys().min() {
            return Err(invalid(format!("tensor {}: not part of this architecture", clip(name))));
        }
        let embedding = embedding.ok_or_else(|| invalid("no embedding".into()))?;
        let metadata = metadata.clone();
        Ok(ModelFile {
            path,
            bytes,
            config,
            hash,
            metadata,
            ternary,
            floats,
            embedding,
            tokenizer,
            #[cfg(feature = "mmap")]
            streaming: Streaming::default(),
        })
    }

    /// Where the file is, or the name given in place of a path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The whole file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The model's configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The model hash: 64 hex digits over trits, scales, norms and embeddings, the same for every packing.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// A value of the file's metadata.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// A small file of the checkpoint, kept as it was: `config.json`, `chat_template.jinja`, ...
    pub fn checkpoint_file(&self, name: &str) -> Option<&str> {
        self.metadata(&format!("{}{name}", keys::FILE_PREFIX))
    }

    /// The text of `tokenizer.json`, where the checkpoint had one.
    pub fn tokenizer_json(&self) -> Option<&[u8]> {
        self.tokenizer.clone().map(|span| &self.bytes()[span])
    }

    /// Names of the packed matrices, sorted.
    pub fn matrices(&self) -> impl Iterator<Item = &str> {
        self.ternary.keys().map(String::as_str)
    }

    /// The packed matrix of that name, and its scale: the magnitude of its trits.
    pub fn matrix(&self, name: &str) -> Option<(PackedMatrix<'_>, f32)> {
        let t = self.ternary.get(name)?;
        let bytes = &self.bytes()[t.data.clone()];
        let matrix = PackedMatrix::new(t.packing, t.rows, t.cols, bytes)?;
        Some((matrix, self.floats_at(&t.scale)[0]))
    }

    /// Where the bytes of the packed matrix of that name lie.
    pub fn matrix_span(&self, name: &str) -> Option<Span> {
        self.ternary.get(name).map(|t| t.data.clone())
    }

    /// The part of the file that every token reads, but for the norms: from the first packed matrix to the last.
    pub fn packed_span(&self) -> Range<usize> {
        let spans = || self.matrices().filter_map(|name| self.matrix_span(name));
        let start = spans().map(|span| span.start).min().unwrap_or(0);
        start..spans().map(|span| span.end).max().unwrap_or(0)
    }

    /// The float32 tensor of that name.
    pub fn floats(&self, name: &str) -> Option<&[f32]> {
        self.floats.get(name).map(|span| self.floats_at(span))
    }

    /// Where the float32 tensor of that name lies.
    pub fn floats_span(&self, name: &str) -> Option<Span> {
        self.floats.get(name).cloned()
    }

    /// The float32 values at a span that this file gave out.
    ///
    /// # Panics
    /// If the span is from another file.
    pub fn floats_at(&self, span: &Span) -> &[f32] {
        bytemuck::cast_slice(&self.bytes()[span.clone()])
    }

    /// Where the embedding lies.
    pub fn embedding(&self) -> &Embedding {
        &self.embedding
    }

    /// Writes the embedding row of `token` to `out`, `hidden_size` values.
    ///
    /// # Panics
    /// If `token` is not below `vocab_size` or `out` has another length.
    pub fn embedding_row(&self, token: usize, out: &mut [f32]) {
        let width = self.config.hidden_size;
        assert!(token < self.config.vocab_size, "token {token}");
        assert_eq!(out.len(), width);
        let row = |span: &Span, size: usize| {
            let start = span.start + token * width * size;
            &self.bytes()[start..start + width * size]
        };
        match &self.embedding {
            Embedding::Float { float: FloatType::F32, data } => {
                out.copy_from_slice(bytemuck::cast_slice(row(data, 4)));
            }
            Embedding::Float { float: FloatType::F16, data } => {
                let row: &[u16] = bytemuck::cast_slice(row(data, 2));
                row.reinterpret_cast::<half::f16>().convert_to_f32_slice(out);
            }
            Embedding::Float { float: FloatType::BF16, data } => {
                let row: &[u16] = bytemuck::cast_slice(row(data, 2));
                for (value, &bits) in out.iter_mut().zip(row) {
                    *value = f32::from_bits(u32::from(bits) << 16);
                }
            }
            Embedding::Int8 { data, scales } => {
                let scale = self.floats_at(scales)[token];
                let row: &[i8] = bytemuck::cast_slice(row(data, 1));
                for (value, &int) in out.iter_mut().zip(row) {
                    *value = f32::from(int) * scale;
                }
            }
        }
    }
}

/// What a file is in place of a model file, and what would be right.
fn no_model(kind: &FileKind) -> String {
    let right = match kind {
        FileKind::Safetensors
        | FileKind::Torch
        | FileKind::LegacyTorch
        | FileKind::Pickle
        | FileKind::Checkpoint(_) => "mmfree-convert makes one from a checkpoint folder",
        FileKind::State => "--load-state takes it, with the model that it was saved with",
        _ => kind.remedy(),
    };
    let separator = if right.is_empty() { "" } else { "; " };
    format!("{kind}, but not a model file{separator}{right}")
}

/// What a folder is in place of a model file, and what would be right.
#[cfg(feature = "mmap")]
fn no_folder(path: &Path) -> String {
    let names = std::fs::read_dir(path).into_iter().flatten().flatten();
    let models =
        names.map(|entry| entry.path()).filter(|name| name.extension() == Some("mmfree".as_ref()));
    let right = match models.min() {
        _ if path.join("config.json").exists() => {
            format!("; `mmfree-convert {}` makes one of the checkpoint in it", path.display())
        }
        Some(model) => format!("; there is {}", model.display()),
        None => String::new(),
    };
    format!("a directory, where a model file is needed{right}")
}

/// The header's tensors, taken out one by one.
struct Table<'a> {
    path: &'a Path,
    data_start: usize,
    unread: HashMap<String, &'a safetensors::tensor::TensorInfo>,
}

impl Table<'_> {
    /// Takes out a tensor of one of these types and of this shape.
    fn take(&mut self, name: &str, types: &[Dtype], shape: &[usize]) -> Result<(Dtype, Span)> {
        let invalid =
            |reason: String| Error::invalid(self.path, format!("tensor {name}: {reason}"));
        let info = self.unread.remove(name).ok_or_else(|| invalid("missing".into()))?;
        if !types.contains(&info.dtype) {
            return Err(invalid(format!("is {:?}, must be one of {types:?}", info.dtype)));
        }
        if info.shape != shape {
            return Err(invalid(format!("has shape {:?}, must be {shape:?}", info.shape)));
        }
        let span = self.data_start + info.data_offsets.0..self.data_start + info.data_offsets.1;
        // The library checks offsets, and sizes against shapes. Bytes may stand anywhere, floats may not.
        let align = match info.dtype {
            Dtype::F32 => 4,
            Dtype::F16 | Dtype::BF16 => 2,
            _ => 1,
        };
        if !span.start.is_multiple_of(align) {
            return Err(invalid(format!(
                "starts at byte {}, must be a multiple of {align}",
                span.start
            )));
        }
        Ok((info.dtype, span))
    }

    fn ternary(&mut self, spec: &TensorSpec, entry: TernaryEntry, file: &[u8]) -> Result<Ternary> {
        let name = &spec.name;
        let path = self.path;
        let invalid = |reason: String| Error::invalid(path, format!("tensor {name}: {reason}"));
        let packing = Packing::from_name(&entry.packing)
            .ok_or_else(|| invalid(format!("unknown packing {}", clip(&entry.packing))))?;
        let (rows, cols) = (entry.rows, entry.cols);
        if spec.shape != [rows, cols] {
            return Err(invalid(format!(
                "has {rows} rows and {cols} columns, must have {} and {}",
                spec.shape[0], spec.shape[1]
            )));
        }
        let len = packing
            .packed_len(rows, cols)
            .ok_or_else(|| invalid(format!("{rows} x {cols} is too large")))?;
        let (_, data) = self.take(name, &[Dtype::U8], &[len])?;
        if !data.start.is_multiple_of(ALIGNMENT) {
            return Err(invalid(format!(
                "starts at byte {}, must be a multiple of {ALIGNMENT}",
                data.start
            )));
        }
        let (_, scale) = self.take(&format!("{name}_scale"), &[Dtype::F32], &[1])?;
        let value: &[f32] = bytemuck::cast_slice(&file[scale.clone()]);
        if !(value[0].is_finite() && value[0] > 0.0) {
            return Err(invalid(format!("its scale is {}, must be above 0", value[0])));
        }
        Ok(Ternary { packing, rows, cols, data, scale })
    }

    fn embedding(&mut self, spec: &TensorSpec) -> Result<Embedding> {
        let types = [Dtype::F32, Dtype::F16, Dtype::BF16, Dtype::I8];
        let (dtype, data) = self.take(&spec.name, &types, &spec.shape)?;
        let float = match dtype {
            Dtype::F32 => FloatType::F32,
            Dtype::F16 => FloatType::F16,
            Dtype::BF16 => FloatType::BF16,
            _ => {
                let name = format!("{}_scale", spec.name);
                let (_, scales) = self.take(&name, &[Dtype::F32], &spec.shape[..1])?;
                return Ok(Embedding::Int8 { data, scales });
            }
        };
        Ok(Embedding::Float { float, data })
    }

    fn tokenizer(&mut self) -> Result<Option<Span>> {
        let Some(info) = self.unread.get(TOKENIZER) else { return Ok(None) };
        let [len] = info.shape[..] else {
            let reason = format!("tensor {TOKENIZER}: has shape {:?}, must be flat", info.shape);
            return Err(Error::invalid(self.path, reason));
        };
        Ok(Some(self.take(TOKENIZER, &[Dtype::U8], &[len])?.1))
    }
}

/// A text from the file, short enough for a message and without control characters.
pub(super) fn clip(text: &str) -> String {
    let mut out: String = text.chars().take(100).flat_map(char::escape_debug).collect();
    if text.chars().nth(100).is_some() {
        out.push_str("...");
    }
    out
}
