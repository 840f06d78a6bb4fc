//! The model's configuration, and the tensors that it calls for.

use serde::{Deserialize, Serialize};

use crate::packing::{MAX_COLS, MAX_ROWS};

/// A short causal convolution before the gates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShortConv {
    /// Taps.
    pub size: usize,
    /// One kernel on the layer's input for all projections, or separate ones after the input and
    /// the forget projection.
    pub shared: bool,
}

/// The sizes and switches of an `hgrn_bit` model, all defaults filled in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// V: tokens of the vocabulary.
    pub vocab_size: usize,
    /// H: width of the residual stream.
    pub hidden_size: usize,
    /// L: layers.
    pub num_layers: usize,
    /// Heads; they shape the recurrence's state and change no number.
    pub num_heads: usize,
    /// D: width of the recurrence, hidden size times expand ratio.
    pub state_size: usize,
    /// I: width of the channel mixing's gate and value.
    pub intermediate_size: usize,
    /// Epsilon of the layer norms; the norms of the projections always use 1e-6.
    pub rms_norm_eps: f32,
    /// Whether the forget gates of layers 1.. have lower bounds.
    pub lower_bounds: bool,
    /// The short convolution, where there is one.
    pub short_conv: Option<ShortConv>,
    /// Whether the head was ternarised from the embedding. It is a packed matrix of its own all the
    /// same.
    pub tie_word_embeddings: bool,
    /// Token that begins a sequence.
    pub bos_token_id: Option<u32>,
    /// Tokens that end one.
    pub eos_token_ids: Vec<u32>,
}

/// What a tensor is to the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A packed matrix, with a scale beside it.
    Ternary,
    /// The embedding, in any of its types.
    Embedding,
    /// Float32: a norm weight, bound or convolution.
    Float,
}

/// A tensor that a model must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Its name, as in the checkpoint.
    pub name: String,
    /// Its shape, as in the checkpoint.
    pub shape: Vec<usize>,
    /// What it is.
    pub role: Role,
}

impl Config {
    /// Checks every size against the bounds that the program is built for, and against each other.
    ///
    /// # Errors
    /// The field, its value and what would be right.
    pub fn validate(&self) -> Result<(), String> {
        let range = |name: &str, value: usize, max: usize| {
            if value == 0 || value > max {
                return Err(format!("{name} is {value}, must be 1 to {max}"));
            }
            Ok(())
        };
        range("vocab_size", self.vocab_size, MAX_ROWS)?;
        range("hidden_size", self.hidden_size, MAX_COLS)?;
        range("num_layers", self.num_layers, 1 << 16)?;
        range("state_size", self.state_size, MAX_COLS)?;
        range("intermediate_size", self.intermediate_size, MAX_COLS)?;
        range("num_heads", self.num_heads, self.hidden_size)?;
        if !self.hidden_size.is_multiple_of(self.num_heads) {
            return Err(format!(
                "hidden_size {} is not divisible by num_heads {}",
                self.hidden_size, self.num_heads
            ));
        }
        if !self.state_size.is_multiple_of(self.num_heads) {
            return Err(format!(
                "state_size {} is not divisible by num_heads {}",
                self.state_size, self.num_heads
            ));
        }
        if !(self.rms_norm_eps.is_finite() && self.rms_norm_eps >= 0.0) {
            return Err(format!("rms_norm_eps is {}, must be 0 or more", self.rms_norm_eps));
        }
        if self.lower_bounds && self.state_size != self.hidden_size && self.num_layers > 1 {
            return Err(format!(
                "lower bounds need state_size {} and hidden_size {} to be the same where there is \
                 more than one layer",
                self.state_size, self.hidden_size
            ));
        }
        if let Some(conv) = self.short_conv {
            range("short_conv.size", conv.size, 1 << 10)?;
        }
        let ids = self.bos_token_id.iter().chain(&self.eos_token_ids);
        if let Some(id) = ids.copied().find(|&id| id as usize >= self.vocab_size) {
            return Err(format!(
                "a special token has id {id}, must be below vocab_size {}",
                self.vocab_size
            ));
        }
        Ok(())
    }

    /// Every tensor of the model, by the names and shapes of the checkpoint: embedding, bounds, the
    /// layers in turn, last norm, head.
    pub fn tensors(&self) -> Vec<TensorSpec> {
        let (h, d, i) = (self.hidden_size, self.state_size, self.intermediate_size);
        let mut out = Vec::new();
        let mut add = |name: String, shape: &[usize], role| {
            out.push(TensorSpec { name, shape: shape.to_vec(), role });
        };
        add("model.embeddings.weight".into(), &[self.vocab_size, h], Role::Embedding);
        if self.lower_bounds {
            add("model.lower_bounds".into(), &[self.num_layers, h], Role::Float);
        }
        for n in 0..self.num_layers {
            let layer = format!("model.layers.{n}");
            let mut linear = |name: &str, rows: usize, cols: usize| {
                add(format!("{layer}.{name}.weight"), &[rows, cols], Role::Ternary);
                add(format!("{layer}.{name}.norm.weight"), &[cols], Role::Float);
            };
            linear("attn.i_proj", d, h);
            linear("attn.f_proj", d, h);
            linear("attn.g_proj", d, h);
            linear("attn.o_proj", h, d);
            linear("mlp.gate_proj", 2 * i, h);
            linear("mlp.down_proj", h, i);
            add(format!("{layer}.attn_norm.weight"), &[h], Role::Float);
            add(format!("{layer}.attn.g_norm.weight"), &[d], Role::Float);
            add(format!("{layer}.mlp_norm.weight"), &[h], Role::Float);
            match self.short_conv {
                None => {}
                Some(ShortConv { size, shared: true }) => {
                    add(format!("{layer}.attn.h_conv1d.weight"), &[h, 1, size], Role::Float);
                }
                Some(ShortConv { size, shared: false }) => {
                    add(format!("{layer}.attn.i_conv1d.weight"), &[d, 1, size], Role::Float);
                    add(format!("{layer}.attn.f_conv1d.weight"), &[d, 1, size], Role::Float);
                }
            }
        }
        add("model.norm.weight".into(), &[h], Role::Float);
        add("lm_head.weight".into(), &[self.vocab_size, h], Role::Ternary);
        add("lm_head.norm.weight".into(), &[h], Role::Float);
        out
    }

    /// Floats of a state: the recurrence of all layers, then the convolution windows.
    pub fn state_len(&self) -> usize {
        self.num_layers * (self.state_size + self.conv_window_len())
    }

    /// Floats of one layer's convolution windows, 0 without a convolution. A window holds the last
    /// `size` inputs of a channel, oldest first.
    pub fn conv_window_len(&self) -> usize {
        match self.short_conv {
            None => 0,
            Some(ShortConv { size, shared: true }) => self.hidden_size * size,
            Some(ShortConv { size, shared: false }) => 2 * self.state_size * size,
        }
    }
}
