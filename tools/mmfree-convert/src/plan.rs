//! Where everything stands in a model file, before any of it is written.

use std::collections::BTreeMap;

use mmfree::format::{ALIGNMENT, ARCHITECTURE, Header, Role, TOKENIZER, TensorSpec, VERSION, keys};
use mmfree::packing::Packing;
use mmfree::storage::mappable;
use serde::Serialize;

use crate::embedding::EmbeddingType;
use crate::error::{Error, Result};
use crate::floats::type_name;
use crate::hash::sha256;
use crate::source::Source;

/// What safetensors readers accept.
const MAX_HEADER: usize = 100_000_000;

/// A checksum's place until it is known.
const NO_DIGEST: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// A part of the file; offsets count from the end of the header.
#[derive(Debug)]
pub enum Part {
    /// A packed matrix and its scale.
    Matrix {
        /// The tensor.
        spec: TensorSpec,
        /// Where the packed bytes go.
        offset: u64,
        /// Where the scale goes.
        scale_offset: u64,
    },
    /// A float32 tensor.
    Floats {
        /// The tensor.
        spec: TensorSpec,
        /// Where it goes.
        offset: u64,
    },
    /// The embedding.
    Embedding {
        /// The tensor.
        spec: TensorSpec,
        /// Where it goes.
        offset: u64,
        /// Where the scales of its rows go, if it is stored as int8.
        scale_offset: u64,
    },
    /// The tokenizer.
    Tokenizer {
        /// Where it goes.
        offset: u64,
    },
}

/// A planned file.
#[derive(Debug)]
pub struct Plan {
    /// The header; checksums are zeros.
    pub header: Header,
    /// The parts, in the order of [`mmfree::Config::tensors`], the tokenizer last.
    pub parts: Vec<Part>,
    /// How matrices are packed.
    pub packing: Packing,
    /// How the embedding is stored.
    pub embedding: EmbeddingType,
}

/// How the header describes a packed matrix.
#[derive(Serialize)]
struct TernaryEntry {
    packing: &'static str,
    rows: usize,
    cols: usize,
}

impl Plan {
    /// Plans the file for a source.
    ///
    /// # Errors
    /// A model that no header can hold.
    pub fn new(source: &dyn Source, packing: Packing, embedding: EmbeddingType) -> Result<Plan> {
        let specs = source.config().tensors();
        // A lower bound, before an absurd header is made: the sources' types, the checksums and the
        // tensors name them.
        check_header(3 * specs.iter().map(|spec| spec.name.len()).sum::<usize>(), specs.len())?;
        let mut header = Header::default();
        let mut offsets = BTreeMap::new();
        let mut push = |header: &mut Header, name: String, dtype, shape: &[usize], len: u64| {
            let offset = header.push(&name, dtype, shape, len);
            offsets.insert(name, offset);
        };

        // Packed matrices first: each is a multiple of 64 bytes, so all of them are aligned.
        let of_role = |role: Role| specs.iter().filter(move |spec| spec.role == role);
        for spec in of_role(Role::Ternary) {
            let len = packing.packed_len(spec.shape[0], spec.shape[1]).ok_or_else(|| {
                Error::Option(format!("tensor {}: {:?} is too large", spec.name, spec.shape))
            })?;
            push(&mut header, spec.name.clone(), "U8", &[len], len as u64);
        }
        // Then float32, then the smaller types: safetensors has no holes to align with.
        for spec in specs.iter().filter(|spec| spec.role != Role::Embedding) {
            match spec.role {
                Role::Ternary => push(&mut header, scale_name(&spec.name), "F32", &[1], 4),
                _ => push(&mut header, spec.name.clone(), "F32", &spec.shape, 4 * count(spec)),
            }
        }
        for spec in of_role(Role::Embedding) {
            if embedding == EmbeddingType::Int8 {
                let rows = spec.shape[0];
                push(&mut header, scale_name(&spec.name), "F32", &[rows], 4 * rows as u64);
            }
            let len = count(spec) * embedding.size() as u64;
            push(&mut header, spec.name.clone(), embedding.name(), &spec.shape, len);
        }
        if let Some(bytes) = source.tokenizer() {
            push(&mut header, TOKENIZER.into(), "U8", &[bytes.len()], bytes.len() as u64);
        }

        set_metadata(&mut header, source, &specs, packing)?;
        let header_len = header.to_bytes().len();
        check_header(header_len, specs.len())?;

        let at = |name: &str| offsets.get(name).copied().unwrap_or_default();
        let mut parts: Vec<Part> = Vec::new();
        for spec in specs {
            let (offset, scale_offset) = (at(&spec.name), at(&scale_name(&spec.name)));
            parts.push(match spec.role {
                Role::Ternary => Part::Matrix { spec, offset, scale_offset },
                Role::Float => Part::Floats { spec, offset },
                Role::Embedding => Part::Embedding { spec, offset, scale_offset },
            });
        }
        if source.tokenizer().is_some() {
            parts.push(Part::Tokenizer { offset: at(TOKENIZER) });
        }
        debug_assert!(header_len.is_multiple_of(ALIGNMENT));
        // It is mapped to be hashed, and by whoever runs it.
        mappable(header_len as u64 + header.data_len()).map_err(|reason| {
            Error::Option(format!("the model file {}", reason.replacen("has", "would have", 1)))
        })?;
        Ok(Plan { header, parts, packing, embedding })
    }

    /// Puts the checksums in their place: of each tensor in the order of the header, of the model,
    /// and of the header itself.
    pub fn set_digests(&mut self, tensors: &[String], model: &str) -> Result<()> {
        let names = self.header.entries().iter().map(|(name, _)| name.as_str());
        let map: BTreeMap<&str, &str> = names.zip(tensors.iter().map(String::as_str)).collect();
        let text = json(&map)?;
        self.header.set(keys::SHA256, text);
        self.header.set(keys::HASH, model);
        // Its own is still zeros.
        let digest = sha256(&self.header.to_bytes());
        self.header.set(keys::HEADER_SHA256, digest);
        Ok(())
    }
}

fn check_header(len: usize, tensors: usize) -> Result<()> {
    if len > MAX_HEADER {
        return Err(Error::Option(format!(
            "the model has {tensors} tensors: their header would take more than the {MAX_HEADER} bytes \
             that safetensors allows"
        )));
    }
    Ok(())
}

fn set_metadata(
    header: &mut Header,
    source: &dyn Source,
    specs: &[TensorSpec],
    packing: Packing,
) -> Result<()> {
    let mut ternary = BTreeMap::new();
    let mut types = BTreeMap::new();
    for spec in specs {
        types.insert(&spec.name, type_name(source.float_type(&spec.name)));
        if spec.role == Role::Ternary {
            let (rows, cols) = (spec.shape[0], spec.shape[1]);
            ternary.insert(&spec.name, TernaryEntry { packing: packing.name(), rows, cols });
        }
    }
    let digests: BTreeMap<&str, &str> =
        header.entries().iter().map(|(name, _)| (name.as_str(), NO_DIGEST)).collect();
    let digests = json(&digests)?;
    header.set(keys::FORMAT, keys::FORMAT_VALUE);
    header.set(keys::VERSION, VERSION.to_string());
    header.set(keys::ARCHITECTURE, ARCHITECTURE);
    header.set(keys::CONFIG, json(source.config())?);
    header.set(keys::TERNARY, json(&ternary)?);
    header.set(keys::SOURCE_TYPES, json(&types)?);
    header.set(keys::SHA256, digests);
    header.set(keys::HASH, NO_DIGEST);
    header.set(keys::HEADER_SHA256, NO_DIGEST);
    for (name, text) in source.files() {
        header.set(&format!("{}{name}", keys::FILE_PREFIX), text.as_str());
    }
    Ok(())
}

/// Name of the tensor that holds the scale of another, or its scales.
pub fn scale_name(tensor: &str) -> String {
    format!("{tensor}_scale")
}

/// Elements of a tensor.
pub fn count(spec: &TensorSpec) -> u64 {
    spec.shape.iter().map(|&size| size as u64).product()
}

fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::Option(e.to_string()))
}
