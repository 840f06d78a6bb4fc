//! The state of a sequence: all that a model remembers of it.

#[cfg(feature = "mmap")]
use std::path::Path;

use super::memory::Memory;
use super::saved;
use crate::error::Result;
use crate::format::{Config, ShortConv};
#[cfg(feature = "mmap")]
use crate::storage::write_private;

/// The memory of one sequence: for each layer the recurrence, `state_size` floats, and the windows of the short
/// convolution where the model has one. Its size does not grow with the sequence.
///
/// Made by [`Model::new_state`](crate::Model::new_state); a clone is a fork.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    pub(crate) hash: String,
    pub(super) layers: usize,
    pub(super) width: usize,
    pub(super) window_len: usize,
    pub(super) conv: Option<ShortConv>,
    /// The recurrence, `[layers, width]`, then the windows, `[layers, window_len]`.
    data: Memory,
    pub(crate) position: u64,
    pub(crate) poisoned: bool,
}

impl State {
    pub(crate) fn new(config: &Config, hash: &str) -> State {
        State {
            hash: hash.to_owned(),
            layers: config.num_layers,
            width: config.state_size,
            window_len: config.conv_window_len(),
            conv: config.short_conv,
            data: Memory::new(config.state_len()),
            position: 0,
            poisoned: false,
        }
    }

    /// Whether the state belongs to the model with this configuration and hash. The sizes count too: a file can state any
    /// hash.
    pub(crate) fn is_of(&self, config: &Config, hash: &str) -> bool {
        self.hash == hash
            && (self.layers, self.width) == (config.num_layers, config.state_size)
            && (self.window_len, self.conv) == (config.conv_window_len(), config.short_conv)
    }

    /// Where the floats lie.
    pub(crate) fn memory_mut(&mut self) -> &mut Memory {
        &mut self.data
    }

    /// Forgets everything: as new.
    pub fn reset(&mut self) {
        self.data.reset();
        self.position = 0;
        self.poisoned = false;
    }

    /// Tokens seen.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The recurrence of all layers, `[layers, state_size]`. Of a state whose values lie on a GPU that has been lost it is not a
    /// number throughout; [`save`](Self::save) gives the reason.
    pub fn recurrence(&self) -> &[f32] {
        &self.data.floats()[..self.layers * self.width]
    }

    /// The convolution windows of a layer, empty without a convolution. Shared: `[size, hidden_size]`; separate: that of the
    /// input projection, then that of the forget projection, each `[size, state_size]`. Oldest input first.
    pub fn windows(&self, layer: usize) -> &[f32] {
        &self.data.floats()[self.layers * self.width + layer * self.window_len..][..self.window_len]
    }

    pub(crate) fn layer(&self, layer: usize) -> &[f32] {
        &self.data.floats()[layer * self.width..][..self.width]
    }

    pub(crate) fn layer_mut(&mut self, layer: usize) -> &mut [f32] {
        &mut self.data.floats_mut()[layer * self.width..][..self.width]
    }

    pub(crate) fn windows_mut(&mut self, layer: usize) -> &mut [f32] {
        let start = self.layers * self.width + layer * self.window_len;
        &mut self.data.floats_mut()[start..][..self.window_len]
    }

    /// The recurrence and the windows, or why they cannot be had.
    pub(super) fn parts(&self) -> Result<(&[f32], &[f32])> {
        Ok(self.data.try_floats()?.split_at(self.layers * self.width))
    }

    /// Takes on all floats, recurrence first.
    pub(super) fn set(&mut self, floats: &[f32], position: u64) {
        self.data.floats_mut().copy_from_slice(floats);
        self.position = position;
    }

    /// Whether both are of one model.
    pub(crate) fn same_model(&self, other: &State) -> bool {
        let shape = |state: &State| (state.layers, state.width, state.window_len, state.conv);
        self.hash == other.hash && shape(self) == shape(other)
    }

    /// A copy whose floats lie in the host's memory.
    pub(crate) fn on_host(&self) -> Result<State> {
        let mut copy = self.clone();
        copy.data.bring_to_host()?;
        Ok(copy)
    }

    /// Bytes that a copy on the host takes, besides itself.
    pub(crate) fn memory_len(&self) -> usize {
        4 * self.data.len() + self.hash.len()
    }

    /// The state as the bytes of a file, from which [`Model::state_from_bytes`](crate::Model::state_from_bytes) makes it
    /// again: a safetensors file with a checksum.
    ///
    /// # Errors
    /// [`Error::PoisonedState`](crate::Error::PoisonedState).
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        saved::to_bytes(self, &saved::Extra::default())
    }

    /// Saves the state to a file, whole or not at all; an existing file is replaced.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) where it cannot be written, [`Error::PoisonedState`](crate::Error::PoisonedState).
    #[cfg(feature = "mmap")]
    pub fn save(&self, path: &Path) -> Result<()> {
        write_private(path, &self.to_bytes()?)
    }
}
