//! What a model file is written from: a checkpoint, or a generator of random weights.

use std::borrow::Cow;
use std::collections::BTreeMap;

use mmfree::Config;
use mmfree::format::{FloatType, TensorSpec};

use crate::embedding::EmbeddingType;
use crate::error::Result;

/// Everything that goes into a model file, tensor by tensor. Implementations hold no tensor in
/// memory.
///
/// Methods are called from many threads at once, with tensors of [`Config::tensors`].
pub trait Source: Sync {
    /// The configuration.
    fn config(&self) -> &Config;

    /// The type that a tensor has here. For a head tied to the embedding, that of the embedding.
    fn float_type(&self, tensor: &str) -> FloatType;

    /// How the embedding, which has this name, is stored here.
    fn embedding_type(&self, tensor: &str) -> EmbeddingType {
        EmbeddingType::Float(self.float_type(tensor))
    }

    /// `count` rows of the embedding from `first` on as they are stored, if that is as int8.
    fn int8_rows(&self, _first: usize, _count: usize) -> Option<Int8Rows<'_>> {
        None
    }

    /// The small files of the checkpoint, by name.
    fn files(&self) -> &BTreeMap<String, String>;

    /// The bytes of `tokenizer.json`.
    fn tokenizer(&self) -> Option<&[u8]>;

    /// A matrix as trits. May read all of it, to find the scale.
    ///
    /// # Errors
    /// Weights that are not finite, named.
    fn matrix(&self, spec: &TensorSpec) -> Result<Box<dyn TritMatrix + '_>>;

    /// Writes the values from number `first` on of a tensor that is not packed to `out`; whole rows
    /// of the embedding.
    ///
    /// # Errors
    /// Values that are not finite, named.
    fn floats(&self, spec: &TensorSpec, first: usize, out: &mut [f32]) -> Result<()>;
}

/// Rows of int8 as bytes, and the scale of each row.
pub type Int8Rows<'a> = (Cow<'a, [u8]>, Cow<'a, [f32]>);

/// A ternary matrix, read row by row.
pub trait TritMatrix: Sync {
    /// The magnitude of its trits: finite, above 0.
    fn scale(&self) -> f32;

    /// Writes row `row` to `out`, each value -1, 0 or 1.
    fn row(&self, row: usize, out: &mut [i8]);
}
