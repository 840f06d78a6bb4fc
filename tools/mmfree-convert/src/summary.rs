//! What a conversion did.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::text;

/// The result of writing a model file.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The file.
    #[serde(serialize_with = "lossy")]
    pub output: PathBuf,
    /// Its packing.
    pub packing: &'static str,
    /// The type of its embedding.
    pub embedding: &'static str,
    /// Tensors of the model, scales and tokenizer not counted.
    pub tensors: usize,
    /// Packed matrices among them.
    pub matrices: usize,
    /// Weights in all tensors.
    pub parameters: u64,
    /// Weights in packed matrices.
    pub ternary_parameters: u64,
    /// Bits that a packed weight takes, padding and row constants counted in.
    pub bits_per_weight: f64,
    /// The share of zeros among all trits.
    pub zeros: f64,
    /// The share of zeros in each matrix.
    pub zeros_by_matrix: BTreeMap<String, f64>,
    /// Where the bytes are.
    pub sizes: Sizes,
    /// The model hash.
    pub hash: String,
    /// Seconds that it took.
    pub seconds: f64,
    /// What a user should know.
    pub notes: Vec<String>,
}

/// Bytes of a model file.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Sizes {
    /// The header, its length and padding.
    pub header: u64,
    /// Packed matrices.
    pub packed: u64,
    /// Scales, norms, bounds, convolutions.
    pub floats: u64,
    /// The embedding, with its scales.
    pub embedding: u64,
    /// The tokenizer.
    pub tokenizer: u64,
    /// All of it.
    pub file: u64,
}

/// JSON is UTF-8, which a path need not be.
fn lossy<S: serde::Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

impl Summary {
    pub(crate) fn set_time(&mut self, time: Duration) {
        self.seconds = time.as_secs_f64();
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let zeros = self.zeros_by_matrix.values();
        let least = zeros.clone().fold(1.0, |a: f64, &b| a.min(b));
        let most = zeros.fold(0.0, |a: f64, &b| a.max(b));
        writeln!(f, "{}", self.output.display())?;
        writeln!(
            f,
            "  {} parameters in {} tensors, {} of them in {} ternary matrices",
            self.parameters, self.tensors, self.ternary_parameters, self.matrices
        )?;
        writeln!(
            f,
            "  {}: {:.3} bits per weight; zeros {:.1} % ({:.1} to {:.1} % of a matrix)",
            self.packing,
            self.bits_per_weight,
            100.0 * self.zeros,
            100.0 * least,
            100.0 * most
        )?;
        let size = &self.sizes;
        writeln!(
            f,
            "  {}: matrices {}, embedding {} ({}), norms and scales {}, tokenizer {}, header {}",
            text::bytes(size.file),
            text::bytes(size.packed),
            text::bytes(size.embedding),
            self.embedding,
            text::bytes(size.floats),
            text::bytes(size.tokenizer),
            text::bytes(size.header)
        )?;
        writeln!(f, "  model hash {}", self.hash)?;
        write!(f, "  {:.1} s", self.seconds)
    }
}
