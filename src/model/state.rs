//! The state of a sequence: all that a model remembers of it.

use std::collections::BTreeMap;
use std::path::Path;

use super::memory::Memory;
use crate::error::{Error, Result};
use crate::format::{Config, HeaderError, Mapping, ShortConv, read_header, write_tensors};

const FORMAT: &str = "mmfree-state";
const VERSION: &str = "1";

/// The memory of one sequence: for each layer the recurrence, `state_size` floats, and the windows of the short
/// convolution where the model has one. Its size does not grow with the sequence.
///
/// Made by [`Model::new_state`](crate::Model::new_state); a clone is a fork.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    pub(crate) hash: String,
    layers: usize,
    width: usize,
    window_len: usize,
    conv: Option<ShortConv>,
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

    /// Whether the state belongs to the model with this configuration and hash.
    pub(crate) fn is_of(&self, config: &Config, hash: &str) -> bool {
        self.hash == hash && self.data.len() == config.state_len()
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

    /// Saves the state to a file, whole or not at all; an existing file is replaced.
    ///
    /// # Errors
    /// [`Error::Io`] where it cannot be written, [`Error::PoisonedState`].
    pub fn save(&self, path: &Path) -> Result<()> {
        self.save_with(path, &[], &[])
    }

    /// Saves with more metadata and the ids fed so far.
    pub(crate) fn save_with(
        &self,
        path: &Path,
        extra: &[(&str, String)],
        ids: &[u32],
    ) -> Result<()> {
        if self.poisoned {
            return Err(Error::PoisonedState);
        }
        let mut metadata = vec![
            ("format", FORMAT.to_owned()),
            ("mmfree.state.version", VERSION.to_owned()),
            ("mmfree.architecture", crate::format::ARCHITECTURE.to_owned()),
            ("mmfree.hash", self.hash.clone()),
            ("mmfree.state.position", self.position.to_string()),
        ];
        metadata.extend(extra.iter().cloned());
        let (recurrence, windows) = self.data.try_floats()?.split_at(self.layers * self.width);
        let le = |floats: &[f32]| floats.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        let (recurrence, windows) = (le(recurrence), le(windows));
        let ids_le: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        let mut tensors =
            vec![("state", "F32", vec![self.layers, self.width], recurrence.as_slice())];
        if self.conv.is_some() {
            tensors.push(("windows", "F32", vec![self.layers, self.window_len], &windows));
        }
        tensors.push(("ids", "U32", vec![ids.len()], &ids_le));
        write_tensors(path, &metadata, &tensors)
    }

    /// Loads a saved state for the model with this configuration and hash, with its metadata and ids.
    pub(crate) fn load_with(
        path: &Path,
        config: &Config,
        hash: &str,
    ) -> Result<(State, BTreeMap<String, String>, Vec<u32>)> {
        let invalid = |reason: String| Error::invalid(path, reason);
        let bytes = Mapping::open(path)?;
        let (data_start, header) = read_header(&bytes).map_err(|error| {
            invalid(match error {
                HeaderError::Short(reason) => reason,
                HeaderError::Invalid(reason) => {
                    format!("not a saved state, or a damaged one: {reason}")
                }
            })
        })?;
        let metadata: BTreeMap<String, String> =
            header.metadata().clone().unwrap_or_default().into_iter().collect();
        let get = |key: &str| metadata.get(key).map_or("", String::as_str);
        if get("format") != FORMAT {
            return Err(invalid("a safetensors file, but not a saved state".into()));
        }
        if get("mmfree.state.version") != VERSION {
            return Err(Error::Version {
                path: path.to_owned(),
                found: get("mmfree.state.version").chars().take(20).collect(),
            });
        }
        let mismatch = |what: &str, found: &str, expected: &str| Error::StateMismatch {
            reason: format!("{}: {what} is {found}, the model's is {expected}", path.display()),
        };
        let architecture = get("mmfree.architecture");
        if architecture != crate::format::ARCHITECTURE {
            return Err(mismatch("architecture", architecture, crate::format::ARCHITECTURE));
        }
        let mut state = State::new(config, hash);
        let floats = |name: &str, shape: &[usize]| -> Result<Vec<f32>> {
            let info =
                header.info(name).ok_or_else(|| invalid(format!("tensor {name}: missing")))?;
            if info.dtype != safetensors::Dtype::F32 {
                return Err(invalid(format!("tensor {name}: is {:?}, must be F32", info.dtype)));
            }
            if info.shape != shape {
                return Err(mismatch(
                    &format!("the shape of {name}"),
                    &format!("{:?}", info.shape),
                    &format!("{shape:?}"),
                ));
            }
            let data = &bytes[data_start..][info.data_offsets.0..info.data_offsets.1];
            let floats: Vec<f32> = data
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect();
            match floats.iter().position(|v| !v.is_finite()) {
                Some(at) => Err(invalid(format!("tensor {name}: value {at} is not finite"))),
                None => Ok(floats),
            }
        };
        // Sizes before the hash: they say more about what was mixed up.
        let recurrence = floats("state", &[state.layers, state.width])?;
        let windows = match state.conv {
            Some(_) => floats("windows", &[state.layers, state.window_len])?,
            None => Vec::new(),
        };
        if get("mmfree.hash") != hash {
            return Err(mismatch("the model hash", get("mmfree.hash"), hash));
        }
        state.position = get("mmfree.state.position")
            .parse()
            .map_err(|_| invalid("mmfree.state.position: not a number".into()))?;
        let split = recurrence.len();
        let (h, taps) = state.data.floats_mut().split_at_mut(split);
        h.copy_from_slice(&recurrence);
        taps.copy_from_slice(&windows);
        let ids = match header.info("ids") {
            Some(info) if info.dtype == safetensors::Dtype::U32 => bytes[data_start..]
                [info.data_offsets.0..info.data_offsets.1]
                .chunks_exact(4)
                .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect(),
            Some(info) => {
                return Err(invalid(format!("tensor ids: is {:?}, must be U32", info.dtype)));
            }
            None => Vec::new(),
        };
        if let Some(&id) = ids.iter().find(|&&id| id as usize >= config.vocab_size) {
            return Err(Error::Token { id, vocab_size: config.vocab_size });
        }
        Ok((state, metadata, ids))
    }
}
