//! Weights as `torch.save` writes them: a zip of a pickle and of the tensors' bytes.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use mmfree::Error;
use mmfree::format::FileKind;

use super::unpickle::{self, Tensor};
use super::weights::{Checksum, Stored};
use super::zip::{self, Archive, Found};
use crate::text::clip;

/// The tensors in the bytes of a file, which is number `file` of the checkpoint.
///
/// # Errors
/// Another kind of file, a damaged one, or one whose pickle makes more than tensors; the entry,
/// opcode or tensor is named.
pub fn tensors(path: &Path, bytes: &[u8], file: usize) -> mmfree::Result<HashMap<String, Stored>> {
    read(bytes, file).map_err(|reason| Error::invalid(path, reason))
}

fn read(bytes: &[u8], file: usize) -> Result<HashMap<String, Stored>, String> {
    if !bytes.starts_with(zip::MAGIC) {
        return Err(no_zip(bytes));
    }
    let archive = Archive::read(bytes).map_err(|e| format!("is a damaged zip file: {e}"))?;
    let pickles: Vec<&str> = archive.names().filter(|name| name.ends_with("/data.pkl")).collect();
    let [pickle] = pickles[..] else {
        let count = pickles.len();
        return Err(format!(
            "has {count} entries called data.pkl, must have one, as torch.save writes it"
        ));
    };
    let folder = pickle.strip_suffix("data.pkl").unwrap_or_default();
    // Without this entry, the order of the machine that wrote it: little-endian in practice.
    if let Some(order) = archive.entry(&format!("{folder}byteorder"))?
        && order != b"little"
    {
        let order = clip(&String::from_utf8_lossy(order));
        return Err(format!("its byte order is {order}, must be little"));
    }
    let pickle = archive.entry(pickle)?.unwrap_or_default();
    let tensors = unpickle::unpickle(pickle).map_err(|e| format!("data.pkl: {e}"))?;
    let (mut out, mut checksums) = (HashMap::new(), Checksums::new());
    for (name, tensor) in tensors {
        let stored = place(&archive, folder, &tensor, file, &mut checksums)
            .map_err(|e| format!("tensor {}: {e}", clip(&name)))?;
        out.insert(name.as_ref().to_owned(), stored);
    }
    Ok(out)
}

/// What a file is that is no zip, and what would be right.
fn no_zip(bytes: &[u8]) -> String {
    const AGAIN: &str = "torch.save(torch.load(NAME, map_location=\"cpu\"), NAME)";
    let no_zip = "is no zip file, as torch.save writes it";
    match FileKind::of(bytes) {
        Some(FileKind::LegacyTorch) => format!(
            "was written by torch before 1.6, or told to write as that did, which is not read; save it \
             again with a newer torch: {AGAIN}"
        ),
        Some(FileKind::Pickle) => format!(
            "{no_zip}, but a bare pickle of Python; load it with that, and save its state dict with \
             torch.save"
        ),
        Some(FileKind::Safetensors) => {
            format!("{no_zip}, but a safetensors file: call it model.safetensors")
        }
        Some(FileKind::Model) => {
            format!("{no_zip}, but a model file of mmfree already: mmfree-infer runs it as it is")
        }
        Some(kind) if kind.remedy().is_empty() => format!("{no_zip}, but {kind}"),
        Some(kind) => format!("{no_zip}, but {kind}: {}", kind.remedy()),
        None => no_zip.to_owned(),
    }
}

/// Those of the entries that tensors lie in, by where these begin.
type Checksums = HashMap<usize, Arc<Checksum>>;

/// Where a tensor lies in the file.
fn place(
    archive: &Archive<'_>,
    folder: &str,
    tensor: &Tensor,
    file: usize,
    checksums: &mut Checksums,
) -> Result<Stored, String> {
    let (storage, shape) = (&tensor.storage, &tensor.shape);
    if tensor.strides.len() != shape.len() {
        return Err(format!(
            "has {} dimensions and {} strides, must have as many of both",
            shape.len(),
            tensor.strides.len()
        ));
    }
    let too_large = || format!("its shape {shape:?} is too large");
    let count = shape.iter().try_fold(1u64, |count, &size| count.checked_mul(size));
    let count = count.ok_or_else(too_large)?;
    let mut expected = 1u64;
    for (&size, &stride) in shape.iter().zip(&tensor.strides).rev() {
        // A dimension with one index has no step.
        if size > 1 && stride != expected && count > 0 {
            return Err(format!(
                "is not stored row by row: shape {shape:?}, strides {:?}; make it contiguous and \
                 save it again",
                tensor.strides
            ));
        }
        expected = expected.checked_mul(size.max(1)).ok_or_else(too_large)?;
    }
    let name = format!("{folder}data/{}", storage.key);
    let found = archive.find(&name)?;
    let Found { span, crc } = found.ok_or_else(|| format!("entry {} is missing", clip(&name)))?;
    if storage.len.checked_mul(storage.size) != Some(span.len() as u64) {
        return Err(format!(
            "entry {} has {} bytes, must hold {} values of {} bytes",
            clip(&name),
            span.len(),
            storage.len,
            storage.size
        ));
    }
    let end = tensor.offset.checked_add(count).filter(|&end| end <= storage.len);
    let end = end.ok_or_else(|| {
        format!(
            "has {count} values from number {} on, but entry {} holds {}",
            tensor.offset,
            clip(&name),
            storage.len
        )
    })?;
    let checksum = checksums.entry(span.start).or_insert_with(|| {
        Arc::new(Checksum { entry: name, span: span.clone(), crc, result: OnceLock::new() })
    });
    // All of these are at most the length of the file.
    let at = |value: u64| span.start + (value * storage.size) as usize;
    Ok(Stored {
        file,
        float: storage.element.map_err(str::to_owned),
        // An empty tensor's other sizes may be anything.
        shape: shape.iter().map(|&size| usize::try_from(size).unwrap_or(usize::MAX)).collect(),
        span: at(tensor.offset)..at(end),
        checksum: Some(checksum.clone()),
    })
}
