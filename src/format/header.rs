//! Reading the header of a safetensors file, whoever wrote it.

use std::fmt;

use safetensors::tensor::Metadata;

/// The longest header that safetensors allows.
const MAX_LEN: u64 = 100_000_000;

/// The most entries and fields of a header: some 58 000 tensors. A byte of a long list of tensors
/// without data takes 17 of memory once it is read.
const MAX_ITEMS: usize = 1 << 19;

/// Makes sure, before a JSON text is read, that it has no more entries and fields than a header may
/// have: commas and colons outside of strings.
///
/// # Errors
/// What there is too much of, to be put after what it is that is read.
pub(super) fn check_items(json: &str) -> Result<(), String> {
    if json.len() <= MAX_ITEMS {
        return Ok(());
    }
    let (mut items, mut in_string, mut escaped) = (0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b',' | b':' if !in_string => items += 1,
            _ => {}
        }
    }
    match items > MAX_ITEMS {
        true => Err(format!("lists {items} entries and fields, must be {MAX_ITEMS} at most")),
        false => Ok(()),
    }
}

/// Why a header cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// The file ends before its last tensor does: how long it is, how long it should be, and the
    /// first tensor that is not all there.
    Short(String),
    /// It is no safetensors file, or a damaged one.
    Invalid(String),
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeaderError::Short(reason) | HeaderError::Invalid(reason) => f.write_str(reason),
        }
    }
}

/// Reads the header of a safetensors file; gives the offset at which its data begin, and the
/// header. Every tensor of it lies in the file, one after the other without holes, to the last
/// byte.
///
/// # Errors
/// [`HeaderError`].
pub fn read_header(bytes: &[u8]) -> Result<(usize, Metadata), HeaderError> {
    let invalid = |reason: &str| HeaderError::Invalid(reason.to_owned());
    let (len, rest) =
        bytes.split_first_chunk().ok_or_else(|| invalid("it has not even 8 bytes"))?;
    let len = u64::from_le_bytes(*len);
    if len > MAX_LEN {
        return Err(HeaderError::Invalid(format!("its header would have {len} bytes")));
    }
    let len = len as usize;
    let Some(json) = rest.get(..len) else {
        let reason = format!("cut short: {} bytes, but its header alone takes {len}", bytes.len());
        return Err(HeaderError::Short(reason));
    };
    let json = std::str::from_utf8(json).map_err(|_| invalid("its header is not UTF-8"))?;
    check_items(json).map_err(|e| HeaderError::Invalid(format!("its header {e}")))?;
    // Checks that tensors follow each other and that each has the size of its type and shape.
    let header: Metadata = serde_json::from_str(json)
        .map_err(|e| HeaderError::Invalid(format!("its header is not valid: {e}")))?;
    // The library's own check of the end adds without a look at overflow (0.8): tensors of 2^61
    // bytes pass it.
    let available = rest.len() - len;
    if header.data_len() > available {
        let tensors = header.tensors();
        let cut = tensors.iter().filter(|(_, info)| info.data_offsets.1 > available);
        let first = cut.min_by_key(|(name, info)| (info.data_offsets, *name));
        let name = first.map_or_else(String::new, |(name, _)| super::reader::clip(name));
        return Err(HeaderError::Short(format!(
            "cut short: {} bytes, but its header calls for {}; the first tensor that is not all \
             there is {name}",
            bytes.len(),
            (8 + len).saturating_add(header.data_len())
        )));
    }
    if header.data_len() < available {
        let behind = available - header.data_len();
        return Err(HeaderError::Invalid(format!(
            "{behind} bytes too many behind its last tensor"
        )));
    }
    Ok((8 + len, header))
}
