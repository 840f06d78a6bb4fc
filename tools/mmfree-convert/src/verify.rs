//! Holding a model file, or a saved session, against its own checksums.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use mmfree::format::{ModelFile, keys, read_header};
use mmfree::storage::Mapping;
use mmfree::{Error, Result, SavedState};
use rayon::prelude::*;
use serde::Serialize;

use crate::hash;
use crate::pool;
use crate::text::clip;

/// What a check of a model file or of a saved state found.
#[derive(Clone, Debug, Serialize)]
pub struct Verification {
    /// The file.
    pub file: PathBuf,
    /// Whether every byte is as it was written.
    pub sound: bool,
    /// Tensors that were checked.
    pub tensors: usize,
    /// What is damaged, in the order of the file.
    pub damages: Vec<Damage>,
    /// The model hash that the header states; of a saved state, that of the model to which it belongs.
    pub hash: String,
    /// What a saved state says of itself; `None` for a model file, and where it is damaged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saved: Option<SavedState>,
}

/// A part of a model file that is not as it was written.
#[derive(Clone, Debug, Serialize)]
pub struct Damage {
    /// The tensor, or the key of the metadata.
    pub part: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Reads all of the file at `path`. Of a model file: the SHA-256 of the header and of each tensor, every code of
/// the packed matrices, their row constants, every float, and the model hash. Of a saved state or session: its SHA-256.
/// On so many threads, or as many as the machine has.
///
/// # Errors
/// As [`ModelFile::open`]: a file that cannot be opened as a model. Damage is no error here.
pub fn verify(path: &Path, threads: Option<usize>) -> Result<Verification> {
    let bytes = Mapping::open(path)?;
    if SavedState::is_one(&bytes) {
        check_saved(path, &bytes)
    } else {
        let file = ModelFile::open(path)?;
        pool::run(threads, || check(&file))
    }
}

/// The same for the bytes of a saved state.
fn check_saved(path: &Path, bytes: &[u8]) -> Result<Verification> {
    let (_, header) = read_header(bytes).map_err(|e| Error::invalid(path, e.to_string()))?;
    let metadata = header.metadata().clone().unwrap_or_default();
    let (saved, damages) = match SavedState::read(bytes, path) {
        Ok(saved) => (saved, Vec::new()),
        Err(Error::Invalid { reason, .. }) => {
            (None, vec![Damage { part: "saved state".to_owned(), reason }])
        }
        Err(error) => return Err(error),
    };
    Ok(Verification {
        file: path.to_owned(),
        sound: damages.is_empty(),
        tensors: header.tensors().len(),
        damages,
        hash: metadata.get("mmfree.hash").map_or_else(String::new, |hash| clip(hash)),
        saved,
    })
}

/// The same for an open file, on the threads of the pool that calls it.
pub(crate) fn check(file: &ModelFile) -> Result<Verification> {
    let invalid = |reason: String| Error::invalid(file.path(), reason);
    let (start, header) = read_header(file.bytes()).map_err(|e| invalid(clip(&e.to_string())))?;
    let mut digests: BTreeMap<String, String> = match file.metadata(keys::SHA256) {
        None => BTreeMap::new(),
        Some(json) => serde_json::from_str(json)
            .map_err(|e| invalid(format!("{}: {}", keys::SHA256, clip(&e.to_string()))))?,
    };
    let mut tensors: Vec<_> = header.tensors().into_iter().collect();
    tensors.sort_by(|(a, x), (b, y)| (x.data_offsets, a).cmp(&(y.data_offsets, b)));
    let tensors: Vec<_> = tensors
        .into_iter()
        .map(|(name, info)| {
            let span = start + info.data_offsets.0..start + info.data_offsets.1;
            let digest = digests.remove(&name);
            (name, span, digest)
        })
        .collect();
    let found: Vec<Option<Damage>> = tensors
        .par_iter()
        .map(|(name, span, digest)| {
            let reason = damage(file, name, &file.bytes()[span.clone()], digest.as_deref())?;
            Some(Damage { part: clip(name), reason })
        })
        .collect();
    let mut damages: Vec<Damage> = found.into_iter().flatten().collect();
    damages.extend(digests.keys().map(|name| Damage {
        part: keys::SHA256.to_owned(),
        reason: format!("has a checksum of {}, which is not there", clip(name)),
    }));
    damages.extend(header_damage(&file.bytes()[..start]));
    let hash = hash::model_hash(file);
    if hash != file.hash() {
        let reason = format!("is {}, but the tensors give {hash}", file.hash());
        damages.push(Damage { part: keys::HASH.to_owned(), reason });
    }
    Ok(Verification {
        file: file.path().to_owned(),
        sound: damages.is_empty(),
        tensors: tensors.len(),
        damages,
        hash: file.hash().to_owned(),
        saved: None,
    })
}

/// What is wrong with the header.
fn header_damage(header: &[u8]) -> Option<Damage> {
    let reason = match hash::header_sha256(header) {
        None => "is not there: the header has no checksum".to_owned(),
        Some((stated, digest)) if stated != digest.as_bytes() => {
            let stated = clip(&String::from_utf8_lossy(stated));
            format!("is {stated}, but the header gives {digest}")
        }
        Some(_) => return None,
    };
    Some(Damage { part: keys::HEADER_SHA256.to_owned(), reason })
}

/// What is wrong with a tensor.
fn damage(file: &ModelFile, name: &str, bytes: &[u8], digest: Option<&str>) -> Option<String> {
    let mut reasons = Vec::new();
    match digest {
        None => reasons.push("the header has no checksum of it".to_owned()),
        Some(digest) if digest != hash::sha256(bytes) => {
            reasons.push("its SHA-256 is not that of the header".to_owned());
        }
        Some(_) => {}
    }
    if let Some(at) = file.matrix(name).and_then(|(matrix, _)| matrix.first_invalid()) {
        reasons.push(format!("byte {at} is none that its packing has there"));
    }
    if let Some(at) = file.floats(name).and_then(|v| v.iter().position(|v| !v.is_finite())) {
        reasons.push(format!("value {at} is not finite"));
    }
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

impl Verification {
    /// The damage in one line.
    pub(crate) fn error(&self) -> crate::Error {
        let names: Vec<&str> = self.damages.iter().take(3).map(|d| d.part.as_str()).collect();
        let more = if self.damages.len() > 3 { ", ..." } else { "" };
        let reason = format!("is damaged: {}{more}", names.join(", "));
        Error::invalid(&self.file, reason).into()
    }

    /// Fails if anything is damaged.
    ///
    /// # Errors
    /// One line that names the first parts that are.
    pub fn into_result(self) -> crate::Result<Verification> {
        if self.sound { Ok(self) } else { Err(self.error()) }
    }
}

impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for damage in &self.damages {
            writeln!(f, "{}: {}", damage.part, damage.reason)?;
        }
        if let Some(saved) = &self.saved {
            let kind = if saved.is_session { "a saved session" } else { "a saved state" };
            let checked = match saved.checked {
                true => "is as it was written",
                false => "has no checksum, so damage to its numbers would not show",
            };
            return writeln!(
                f,
                "{}: {kind} of version {} {checked}\n  {} ids, {} of them seen\n  model hash {}",
                self.file.display(),
                saved.version,
                saved.ids,
                saved.position,
                self.hash
            );
        }
        if self.sound {
            let (file, tensors, hash) = (self.file.display(), self.tensors, &self.hash);
            writeln!(
                f,
                "{file}: all {tensors} tensors are as they were written\n  model hash {hash}"
            )?;
        }
        Ok(())
    }
}
