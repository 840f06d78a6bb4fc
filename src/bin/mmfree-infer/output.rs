//! Files that are written, and what may be replaced.

use std::path::Path;

use mmfree::Error;
use mmfree::format::read_header;
use mmfree::storage::{AtomicFile, Mapping};

use crate::failure::Failure;

/// Metadata `format` of a file of logits.
pub const LOGITS: &str = "mmfree-logits";

/// Metadata `format` of a saved state.
pub const STATE: &str = "mmfree-state";

/// Makes sure, before the work begins, that a file can be written. One that exists may be replaced
/// only if its metadata state the same `format`: a typing mistake must not cost a model or a text.
pub fn check(path: &Path, format: &str) -> Result<(), Failure> {
    // A folder or a device is refused below.
    if std::fs::metadata(path).is_ok_and(|meta| meta.is_file()) && !has_format(path, format) {
        let kind = if format == LOGITS { "file of logits" } else { "saved state" };
        let reason = format!("exists and is no {kind}, so it is not replaced; name another file");
        return Err(Error::invalid(path, reason).into());
    }
    // Dropped, it leaves nothing behind.
    AtomicFile::create(path, true)?;
    Ok(())
}

fn has_format(path: &Path, format: &str) -> bool {
    let Ok(bytes) = Mapping::open(path) else { return false };
    let Ok((_, header)) = read_header(&bytes) else { return false };
    let metadata = header.metadata().as_ref();
    metadata.and_then(|metadata| metadata.get("format")).is_some_and(|found| found == format)
}
