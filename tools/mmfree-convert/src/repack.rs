//! A model file as a source: the same model in another packing.

use std::collections::BTreeMap;
use std::path::Path;

use mmfree::Config;
use mmfree::format::{Embedding, FloatType, ModelFile, TensorSpec, keys};
use mmfree::packing::PackedMatrix;

use crate::checkpoint::FILES;
use crate::embedding::EmbeddingType;
use crate::error::Result;
use crate::floats::type_named;
use crate::source::{Int8Rows, Source, TritMatrix};
use crate::verify;

/// An open model file, every byte of which has been checked.
pub struct Packed {
    file: ModelFile,
    files: BTreeMap<String, String>,
    types: BTreeMap<String, FloatType>,
}

impl Packed {
    /// Opens the model file at `path` and reads all of it: what is written from it has checksums of
    /// its own, which must not vouch for damage.
    ///
    /// # Errors
    /// A file that is no model file, or a damaged one.
    pub fn open(path: &Path) -> Result<Packed> {
        let file = ModelFile::open(path)?;
        verify::check(&file)?.into_result()?;
        let text = |name: &str| Some((name.to_owned(), file.checkpoint_file(name)?.to_owned()));
        let files = FILES.iter().filter_map(|name| text(name)).collect();
        Ok(Packed { types: source_types(file.metadata(keys::SOURCE_TYPES)), files, file })
    }
}

/// The types that a header says tensors had in the checkpoint; what it says of none is left out.
pub fn source_types(json: Option<&str>) -> BTreeMap<String, FloatType> {
    let names: BTreeMap<String, String> =
        json.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
    names.into_iter().filter_map(|(name, float)| Some((name, type_named(&float)?))).collect()
}

impl Source for Packed {
    fn config(&self) -> &Config {
        self.file.config()
    }

    fn float_type(&self, tensor: &str) -> FloatType {
        self.types.get(tensor).copied().unwrap_or(FloatType::F32)
    }

    fn embedding_type(&self, _tensor: &str) -> EmbeddingType {
        match self.file.embedding() {
            Embedding::Float { float, .. } => EmbeddingType::Float(*float),
            Embedding::Int8 { .. } => EmbeddingType::Int8,
        }
    }

    fn int8_rows(&self, first: usize, count: usize) -> Option<Int8Rows<'_>> {
        let Embedding::Int8 { data, scales } = self.file.embedding() else { return None };
        let width = self.file.config().hidden_size;
        let ints = &self.file.bytes()[data.clone()][first * width..][..count * width];
        Some((ints.into(), self.file.floats_at(scales)[first..][..count].into()))
    }

    fn files(&self) -> &BTreeMap<String, String> {
        &self.files
    }

    fn tokenizer(&self) -> Option<&[u8]> {
        self.file.tokenizer_json()
    }

    fn matrix(&self, spec: &TensorSpec) -> Result<Box<dyn TritMatrix + '_>> {
        let (matrix, scale) = self.file.matrix(&spec.name).ok_or_else(|| self.missing(spec))?;
        Ok(Box::new(Trits { matrix, scale }))
    }

    fn floats(&self, spec: &TensorSpec, first: usize, out: &mut [f32]) -> Result<()> {
        if let Some(values) = self.file.floats(&spec.name) {
            out.copy_from_slice(&values[first..][..out.len()]);
            return Ok(());
        }
        let width = self.file.config().hidden_size;
        for (token, row) in (first / width..).zip(out.chunks_exact_mut(width)) {
            self.file.embedding_row(token, row);
        }
        Ok(())
    }
}

impl Packed {
    fn missing(&self, spec: &TensorSpec) -> crate::Error {
        // Opening found every tensor; this cannot be reached by an input.
        let reason = format!("tensor {}: missing", spec.name);
        mmfree::Error::invalid(self.file.path(), reason).into()
    }
}

/// A packed matrix whose every code is valid.
struct Trits<'a> {
    matrix: PackedMatrix<'a>,
    scale: f32,
}

impl TritMatrix for Trits<'_> {
    fn scale(&self) -> f32 {
        self.scale
    }

    fn row(&self, row: usize, out: &mut [i8]) {
        self.matrix.unpack_row(row, out);
    }
}
