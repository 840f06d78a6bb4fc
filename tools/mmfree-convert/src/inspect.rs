//! What is in a model file.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use mmfree::format::{Config, ModelFile, keys, read_header};
use mmfree::{Error, Result};
use serde::Serialize;

use crate::checkpoint::FILES;
use crate::text;

/// The contents of a model file, weights left out.
#[derive(Clone, Debug, Serialize)]
pub struct Contents {
    /// The format version.
    pub version: String,
    /// The architecture.
    pub architecture: String,
    /// The configuration.
    pub config: Config,
    /// The model hash.
    pub hash: String,
    /// Small files of the checkpoint that it carries.
    pub files: Vec<String>,
    /// Bytes of the header, its length and padding.
    pub header_bytes: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Bits that a packed weight takes, over all matrices.
    pub bits_per_weight: f64,
    /// The tensors, in the order of their data.
    pub tensors: Vec<Tensor>,
}

/// A tensor of a model file.
#[derive(Clone, Debug, Serialize)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// Its type in the file, as safetensors names it.
    pub dtype: String,
    /// Its shape; of a packed matrix, that of the matrix.
    pub shape: Vec<usize>,
    /// The packing of a matrix.
    pub packing: Option<&'static str>,
    /// The scale of a matrix.
    pub scale: Option<f32>,
    /// Bits that a value takes.
    pub bits: f64,
    /// Where it begins in the file.
    pub offset: u64,
    /// Its length in bytes.
    pub bytes: u64,
    /// The SHA-256 that the header states.
    pub sha256: Option<String>,
    /// Its type in the checkpoint.
    pub source_type: Option<String>,
}

/// Reads the header of the model file at `path`.
///
/// # Errors
/// As [`ModelFile::open`].
pub fn inspect(path: &Path) -> Result<Contents> {
    let file = ModelFile::open(path)?;
    let invalid = |reason: String| Error::invalid(path, reason);
    let (data_start, header) =
        read_header(file.bytes()).map_err(|e| invalid(text::clip(&e.to_string())))?;
    let data_start = data_start as u64;
    let map = |key: &str| -> Result<BTreeMap<String, String>> {
        let Some(json) = file.metadata(key) else { return Ok(BTreeMap::new()) };
        serde_json::from_str(json)
            .map_err(|e| invalid(format!("{key}: {}", text::clip(&e.to_string()))))
    };
    let (digests, source_types) = (map(keys::SHA256)?, map(keys::SOURCE_TYPES)?);

    let (mut packed_bytes, mut packed_weights) = (0.0, 0.0);
    let mut tensors: Vec<Tensor> = Vec::new();
    for (name, info) in header.tensors() {
        let bytes = (info.data_offsets.1 - info.data_offsets.0) as u64;
        let matrix = file.matrix(&name);
        let shape = match &matrix {
            Some((matrix, _)) => vec![matrix.rows(), matrix.cols()],
            None => info.shape.clone(),
        };
        let count: f64 = shape.iter().map(|&size| size as f64).product();
        if matrix.is_some() {
            packed_bytes += bytes as f64;
            packed_weights += count;
        }
        tensors.push(Tensor {
            dtype: format!("{:?}", info.dtype),
            packing: matrix.as_ref().map(|(matrix, _)| matrix.packing().name()),
            scale: matrix.map(|(_, scale)| scale),
            bits: if count > 0.0 { 8.0 * bytes as f64 / count } else { 0.0 },
            offset: data_start + info.data_offsets.0 as u64,
            bytes,
            shape,
            sha256: digests.get(&name).cloned(),
            source_type: source_types.get(&name).cloned(),
            name,
        });
    }
    tensors.sort_by(|a, b| (a.offset, &a.name).cmp(&(b.offset, &b.name)));
    Ok(Contents {
        version: file.metadata(keys::VERSION).unwrap_or_default().to_owned(),
        architecture: file.metadata(keys::ARCHITECTURE).unwrap_or_default().to_owned(),
        config: file.config().clone(),
        hash: file.hash().to_owned(),
        files: FILES
            .iter()
            .filter(|f| file.checkpoint_file(f).is_some())
            .map(|f| f.to_string())
            .collect(),
        header_bytes: data_start,
        file_bytes: file.bytes().len() as u64,
        bits_per_weight: 8.0 * packed_bytes / packed_weights,
        tensors,
    })
}

impl fmt::Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = &self.config;
        writeln!(f, "{} model, format version {}", self.architecture, self.version)?;
        writeln!(
            f,
            "  vocabulary {}, hidden {}, layers {}, heads {}, state {}, intermediate {}",
            config.vocab_size,
            config.hidden_size,
            config.num_layers,
            config.num_heads,
            config.state_size,
            config.intermediate_size
        )?;
        let conv = match config.short_conv {
            None => "none".to_owned(),
            Some(conv) if conv.shared => format!("shared, size {}", conv.size),
            Some(conv) => format!("separate, size {}", conv.size),
        };
        writeln!(
            f,
            "  norm epsilon {:e}, lower bounds {}, short convolution {conv}, tied embeddings {}",
            config.rms_norm_eps,
            yes(config.lower_bounds),
            yes(config.tie_word_embeddings)
        )?;
        let bos = config.bos_token_id.map_or("none".to_owned(), |id| id.to_string());
        writeln!(f, "  begin token {bos}, end tokens {:?}", config.eos_token_ids)?;
        writeln!(f, "  carries {}", self.files.join(", "))?;
        writeln!(f, "  model hash {}", self.hash)?;
        writeln!(
            f,
            "  {}, header {}, {:.3} bits per ternary weight",
            text::bytes(self.file_bytes),
            text::bytes(self.header_bytes),
            self.bits_per_weight
        )?;
        writeln!(f)?;
        let width = self.tensors.iter().map(|tensor| tensor.name.len()).max().unwrap_or(0);
        writeln!(
            f,
            "{:width$}  {:>14}  {:4}  {:>6}  {:>12}  {:>12}  sha256",
            "tensor", "shape", "type", "bits", "offset", "bytes"
        )?;
        for tensor in &self.tensors {
            let shape: Vec<String> = tensor.shape.iter().map(usize::to_string).collect();
            writeln!(
                f,
                "{:width$}  {:>14}  {:4}  {:>6.3}  {:>12}  {:>12}  {}",
                tensor.name,
                shape.join(" x "),
                tensor.packing.unwrap_or(&tensor.dtype),
                tensor.bits,
                tensor.offset,
                tensor.bytes,
                tensor
                    .sha256
                    .as_deref()
                    .map_or("-".into(), |sha| text::clip(sha.get(..12).unwrap_or(sha)))
            )?;
        }
        Ok(())
    }
}

fn yes(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}
