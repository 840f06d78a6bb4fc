//! A state as a file: a safetensors file of the floats, the ids behind which they stand, and what a session adds.
//!
//! Version 2 has a checksum over every byte. Version 1 has none, and is still read.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::tensor::{Metadata, TensorInfo};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::State;
use crate::error::{Error, Result};
use crate::format::{ARCHITECTURE, Config, FileKind, Header, HeaderError, read_header};

const FORMAT: &str = "mmfree-state";

/// The version that is written.
const VERSION: &str = "2";

/// The versions that are read.
const READ: &str = "1 and 2";

/// SHA-256 of the whole file in lower-case hex, taken while these 64 digits are zeros.
const CHECKSUM: &str = "mmfree.state.sha256";

/// Where they are when the checksum is taken.
const ZEROS: [u8; 64] = [b'0'; 64];

/// What a saved state says of itself, whatever its model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SavedState {
    /// The version of its format.
    pub version: u32,
    /// Whether its checksum was there, and right. Version 1 has none.
    pub checked: bool,
    /// Whether it is a session, which has ids and sampling options besides a state.
    pub is_session: bool,
    /// The hash of the model that it belongs to.
    pub hash: String,
    /// Tokens that the state has seen.
    pub position: u64,
    /// Ids that it holds.
    pub ids: usize,
}

/// What a state is saved with.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Extra {
    /// More metadata: keys and values.
    pub metadata: BTreeMap<String, String>,
    /// The ids so far.
    pub ids: Vec<u32>,
    /// Which of them were generated: first and behind the last, in rising order.
    pub generated: Vec<[u32; 2]>,
}

impl SavedState {
    /// Whether these bytes state that they are a saved state: sound or damaged.
    pub fn is_one(bytes: &[u8]) -> bool {
        let header = read_header(bytes).ok();
        header.is_some_and(|(_, header)| {
            let metadata = header.metadata().as_ref();
            metadata.and_then(|metadata| metadata.get("format")).is_some_and(|f| f == FORMAT)
        })
    }

    /// Reads the bytes of a saved state, and checks them against its checksum; `None` where they are a safetensors file of
    /// another kind. `path` is named in errors.
    ///
    /// # Errors
    /// [`Error::Invalid`] where they are no safetensors file, or damaged; [`Error::Version`] for a version that is not known.
    pub fn read(bytes: &[u8], path: &Path) -> Result<Option<SavedState>> {
        Ok(Reader::new(bytes, path)?.map(|reader| reader.saved))
    }
}

/// A saved state that is being read: what it says of itself has been checked.
struct Reader<'a> {
    path: &'a Path,
    data: &'a [u8],
    header: Metadata,
    metadata: BTreeMap<String, String>,
    saved: SavedState,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8], path: &'a Path) -> Result<Option<Reader<'a>>> {
        let invalid = |reason: String| Error::invalid(path, reason);
        let (data_start, header) = read_header(bytes).map_err(|error| {
            invalid(match (FileKind::of(bytes), error) {
                (Some(kind), _) => no_state(&kind),
                (None, HeaderError::Short(reason)) => reason,
                (None, HeaderError::Invalid(reason)) => {
                    format!("not a saved state, or a damaged one: {reason}")
                }
            })
        })?;
        let metadata: BTreeMap<String, String> =
            header.metadata().clone().unwrap_or_default().into_iter().collect();
        let get = |key: &str| metadata.get(key).map_or("", String::as_str);
        if get("format") != FORMAT {
            return Ok(None);
        }
        let version = match get("mmfree.state.version") {
            "1" => 1,
            "2" => 2,
            other => {
                let found = other.chars().take(20).collect();
                return Err(Error::Version { path: path.to_owned(), found, read: READ });
            }
        };
        if version == 2 {
            check(&bytes[..data_start], &bytes[data_start..]).map_err(&invalid)?;
        }
        let position = get("mmfree.state.position")
            .parse()
            .map_err(|_| invalid("mmfree.state.position: not a number".into()))?;
        let saved = SavedState {
            version,
            checked: version == 2,
            is_session: metadata.contains_key("mmfree.session.draws"),
            hash: get("mmfree.hash").to_owned(),
            position,
            ids: header.info("ids").map_or(0, |info| info.shape.iter().product()),
        };
        let data = &bytes[data_start..];
        Ok(Some(Reader { path, data, header, metadata, saved }))
    }

    fn bytes(&self, info: &TensorInfo) -> &'a [u8] {
        &self.data[info.data_offsets.0..info.data_offsets.1]
    }

    /// The floats of a tensor that must have this shape.
    fn floats(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let invalid =
            |reason: String| Error::invalid(self.path, format!("tensor {name}: {reason}"));
        let info = self.header.info(name).ok_or_else(|| invalid("missing".into()))?;
        if info.dtype != safetensors::Dtype::F32 {
            return Err(invalid(format!("is {:?}, must be F32", info.dtype)));
        }
        if info.shape != shape {
            let (found, expected) = (format!("{:?}", info.shape), format!("{shape:?}"));
            return Err(self.mismatch(&format!("the shape of {name}"), &found, &expected));
        }
        let (values, _) = self.bytes(info).as_chunks();
        let floats: Vec<f32> = values.iter().map(|&b| f32::from_le_bytes(b)).collect();
        match floats.iter().position(|v| !v.is_finite()) {
            Some(at) => Err(invalid(format!("value {at} is not finite"))),
            None => Ok(floats),
        }
    }

    /// The integers of a tensor; none where it is not there.
    fn integers(&self, name: &str) -> Result<Vec<u32>> {
        match self.header.info(name) {
            None => Ok(Vec::new()),
            Some(info) if info.dtype == safetensors::Dtype::U32 => {
                let (values, _) = self.bytes(info).as_chunks();
                Ok(values.iter().map(|&b| u32::from_le_bytes(b)).collect())
            }
            Some(info) => {
                let reason = format!("tensor {name}: is {:?}, must be U32", info.dtype);
                Err(Error::invalid(self.path, reason))
            }
        }
    }

    fn mismatch(&self, what: &str, found: &str, expected: &str) -> Error {
        let path = self.path.display();
        let reason = format!("{path}: {what} is {found}, the model's is {expected}");
        Error::StateMismatch { reason }
    }

    /// The spans of generated ids, which must lie one behind the other within the ids.
    fn spans(&self, ids: usize) -> Result<Vec<[u32; 2]>> {
        let flat = self.integers("generated")?;
        let (spans, rest) = flat.as_chunks::<2>();
        let mut end = 0;
        let ordered = spans.iter().all(|&[from, to]| {
            let good = end <= from && from < to && to as usize <= ids;
            end = to;
            good
        });
        if !ordered || !rest.is_empty() {
            let reason = "tensor generated: must be spans of ids, one behind the other";
            return Err(Error::invalid(self.path, reason));
        }
        Ok(spans.to_vec())
    }
}

/// What a file is in place of a saved state, and what would be right.
fn no_state(kind: &FileKind) -> String {
    let right = match kind {
        FileKind::Model => "-m takes it",
        _ => kind.remedy(),
    };
    let separator = if right.is_empty() { "" } else { "; " };
    format!("{kind}, but not a saved state{separator}{right}")
}

/// The place of the checksum's digits in a header.
fn checksum_at(header: &[u8]) -> Option<usize> {
    // In a text of the header its quotes would be escaped: this is the key.
    let key = format!("\"{CHECKSUM}\":\"");
    let at = header.windows(key.len()).position(|w| w == key.as_bytes())? + key.len();
    (at + ZEROS.len() <= header.len()).then_some(at)
}

/// The checksum of a header whose digits stand at `at`, and the data.
fn checksum(header: &[u8], at: usize, data: &[u8]) -> String {
    let mut digest = Sha256::new_with_prefix(&header[..at]);
    digest.update(ZEROS);
    digest.update(&header[at + ZEROS.len()..]);
    digest.update(data);
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn check(header: &[u8], data: &[u8]) -> Result<(), String> {
    let at = checksum_at(header).ok_or_else(|| format!("is damaged: it has no {CHECKSUM}"))?;
    let (stated, found) = (&header[at..at + ZEROS.len()], checksum(header, at, data));
    if stated == found.as_bytes() {
        return Ok(());
    }
    let stated = String::from_utf8_lossy(stated);
    Err(format!("is damaged: its SHA-256 is {found}, and it states {stated}"))
}

/// A state as the bytes of a file.
pub(crate) fn to_bytes(state: &State, extra: &Extra) -> Result<Vec<u8>> {
    if state.poisoned {
        return Err(Error::PoisonedState);
    }
    let mut header = Header::default();
    header.set("format", FORMAT);
    header.set("mmfree.state.version", VERSION);
    header.set("mmfree.architecture", ARCHITECTURE);
    header.set("mmfree.hash", &*state.hash);
    header.set("mmfree.state.position", state.position.to_string());
    header.set(CHECKSUM, String::from_utf8_lossy(&ZEROS));
    for (key, value) in &extra.metadata {
        header.set(key, value);
    }
    let mut data = Vec::new();
    let mut push = |name: &str, dtype: &'static str, shape: &[usize], words: &[[u8; 4]]| {
        header.push(name, dtype, shape, 4 * words.len() as u64);
        data.extend_from_slice(words.as_flattened());
    };
    let floats = |values: &[f32]| values.iter().map(|v| v.to_le_bytes()).collect::<Vec<_>>();
    let integers = |values: &[u32]| values.iter().map(|v| v.to_le_bytes()).collect::<Vec<_>>();
    let (recurrence, windows) = state.parts()?;
    push("state", "F32", &[state.layers, state.width], &floats(recurrence));
    if state.conv.is_some() {
        push("windows", "F32", &[state.layers, state.window_len], &floats(windows));
    }
    push("ids", "U32", &[extra.ids.len()], &integers(&extra.ids));
    if !extra.generated.is_empty() {
        let spans = integers(extra.generated.as_flattened());
        push("generated", "U32", &[extra.generated.len(), 2], &spans);
    }
    let mut bytes = header.to_bytes();
    // There, since it was set above.
    if let Some(at) = checksum_at(&bytes) {
        let digits = checksum(&bytes, at, &data);
        bytes[at..at + ZEROS.len()].copy_from_slice(digits.as_bytes());
    }
    bytes.append(&mut data);
    Ok(bytes)
}

/// A state for the model with this configuration and hash, from the bytes of a file; `path` is named in errors.
pub(crate) fn from_bytes(
    bytes: &[u8],
    path: &Path,
    config: &Config,
    hash: &str,
) -> Result<(State, Extra, SavedState)> {
    let reader = Reader::new(bytes, path)?.ok_or_else(|| {
        Error::invalid(path, no_state(&FileKind::of(bytes).unwrap_or(FileKind::Safetensors)))
    })?;
    let architecture = reader.metadata.get("mmfree.architecture").map_or("", String::as_str);
    if architecture != ARCHITECTURE {
        return Err(reader.mismatch("architecture", architecture, ARCHITECTURE));
    }
    let mut state = State::new(config, hash);
    // Sizes before the hash: they say more about what was mixed up.
    let mut floats = reader.floats("state", &[state.layers, state.width])?;
    if state.conv.is_some() {
        floats.extend(reader.floats("windows", &[state.layers, state.window_len])?);
    }
    if reader.saved.hash != hash {
        return Err(reader.mismatch("the model hash", &reader.saved.hash, hash));
    }
    state.set(&floats, reader.saved.position);
    let ids = reader.integers("ids")?;
    if let Some(&id) = ids.iter().find(|&&id| id as usize >= config.vocab_size) {
        let last = config.vocab_size - 1;
        let reason =
            format!("token id {id} is outside the vocabulary: the model's ids are 0 to {last}");
        return Err(Error::invalid(path, reason));
    }
    let generated = reader.spans(ids.len())?;
    let extra = Extra { metadata: reader.metadata, ids, generated };
    Ok((state, extra, reader.saved))
}
