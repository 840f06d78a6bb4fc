//! The model's weights: where each lies in the file.

#[cfg(feature = "mmap")]
use std::sync::OnceLock;

use crate::error::{Error, Result};
use crate::format::{ModelFile, ShortConv, Span};
use crate::packing::{PackedMatrix, Packing};
#[cfg(feature = "mmap")]
use crate::storage::Piece;

/// A ternary matrix with the norm in front of it: `y = W q(norm(x))`.
pub(crate) struct Linear {
    packing: Packing,
    pub rows: usize,
    pub cols: usize,
    data: Span,
    /// The packed trits in another packing, once they have been [re-packed](super::repack).
    #[cfg(feature = "mmap")]
    in_memory: OnceLock<(Packing, Piece)>,
    /// The magnitude of a trit.
    pub scale: f32,
    pub norm: Span,
}

impl Linear {
    fn new(file: &ModelFile, name: &str) -> Result<Linear> {
        let weight = format!("{name}.weight");
        let (matrix, scale) = file.matrix(&weight).ok_or_else(|| missing(file, &weight))?;
        let data = file.matrix_span(&weight).ok_or_else(|| missing(file, &weight))?;
        Ok(Linear {
            packing: matrix.packing(),
            rows: matrix.rows(),
            cols: matrix.cols(),
            data,
            #[cfg(feature = "mmap")]
            in_memory: OnceLock::new(),
            scale,
            norm: floats(file, &format!("{name}.norm.weight"))?,
        })
    }

    /// The packing of [`matrix`](Self::matrix).
    pub fn packing(&self) -> Packing {
        self.in_memory().map_or(self.packing, |(packing, _)| packing)
    }

    /// The trits as they have been re-packed.
    fn in_memory(&self) -> Option<(Packing, &[u8])> {
        #[cfg(feature = "mmap")]
        return self.in_memory.get().map(|(packing, bytes)| (*packing, &bytes[..]));
        #[cfg(not(feature = "mmap"))]
        None
    }

    /// From here on the trits are read from memory, the same ones in a packing that may be another.
    ///
    /// # Panics
    /// If they are not as many.
    #[cfg(feature = "mmap")]
    pub fn keep_in_memory(&self, packing: Packing, bytes: Piece) {
        assert_eq!(packing.packed_len(self.rows, self.cols), Some(bytes.len()));
        let _ = self.in_memory.set((packing, bytes));
    }

    /// Where the packed trits lie in the file.
    #[cfg(feature = "mmap")]
    pub fn span(&self) -> &Span {
        &self.data
    }

    /// The packed trits, `[rows, cols]`.
    pub fn matrix<'a>(&'a self, file: &'a ModelFile) -> PackedMatrix<'a> {
        let (packing, bytes) =
            self.in_memory().unwrap_or_else(|| (self.packing, &file.bytes()[self.data.clone()]));
        PackedMatrix::new(packing, self.rows, self.cols, bytes)
            .expect("the span was this matrix's when the file was opened")
    }

    /// The norm's weights, `[cols]`.
    pub fn norm<'a>(&self, file: &'a ModelFile) -> &'a [f32] {
        file.floats_at(&self.norm)
    }
}

/// The short convolution of a layer.
pub(crate) enum Conv {
    /// On the layer's input, `[hidden, 1, size]`.
    Shared(Span),
    /// Behind the input and the forget projection, each `[state, 1, size]`.
    Separate([Span; 2]),
}

/// One layer's weights.
pub(crate) struct Layer {
    pub attn_norm: Span,
    /// Input, forget and gate projection, each `[state, hidden]`.
    pub ifg: [Linear; 3],
    pub conv: Option<Conv>,
    pub g_norm: Span,
    /// `[hidden, state]`.
    pub o_proj: Linear,
    pub mlp_norm: Span,
    /// `[2 * intermediate, hidden]`: the gate's rows, then the value's.
    pub gate_proj: Linear,
    /// `[hidden, intermediate]`.
    pub down_proj: Linear,
}

/// All weights but the embedding, which the file gives by row.
pub(crate) struct Weights {
    pub layers: Vec<Layer>,
    pub norm: Span,
    /// `[vocabulary, hidden]`.
    pub lm_head: Linear,
}

impl Weights {
    pub fn new(file: &ModelFile) -> Result<Weights> {
        let config = file.config();
        let layers = (0..config.num_layers).map(|n| Layer::new(file, n)).collect::<Result<_>>()?;
        Ok(Weights {
            layers,
            norm: floats(file, "model.norm.weight")?,
            lm_head: Linear::new(file, "lm_head")?,
        })
    }
}

impl Layer {
    fn new(file: &ModelFile, n: usize) -> Result<Layer> {
        let name = |part: &str| format!("model.layers.{n}.{part}");
        let linear = |part: &str| Linear::new(file, &name(part));
        let conv = |part: &str| floats(file, &name(&format!("attn.{part}_conv1d.weight")));
        Ok(Layer {
            attn_norm: floats(file, &name("attn_norm.weight"))?,
            ifg: [linear("attn.i_proj")?, linear("attn.f_proj")?, linear("attn.g_proj")?],
            conv: match file.config().short_conv {
                None => None,
                Some(ShortConv { shared: true, .. }) => Some(Conv::Shared(conv("h")?)),
                Some(ShortConv { shared: false, .. }) => {
                    Some(Conv::Separate([conv("i")?, conv("f")?]))
                }
            },
            g_norm: floats(file, &name("attn.g_norm.weight"))?,
            o_proj: linear("attn.o_proj")?,
            mlp_norm: floats(file, &name("mlp_norm.weight"))?,
            gate_proj: linear("mlp.gate_proj")?,
            down_proj: linear("mlp.down_proj")?,
        })
    }
}

fn floats(file: &ModelFile, name: &str) -> Result<Span> {
    file.floats_span(name).ok_or_else(|| missing(file, name))
}

fn missing(file: &ModelFile, name: &str) -> Error {
    Error::invalid(file.path(), format!("tensor {name}: missing"))
}
