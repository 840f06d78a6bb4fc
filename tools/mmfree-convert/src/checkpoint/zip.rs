//! The table of contents of a zip file, and where the bytes of its entries lie.
//!
//! Small on purpose: torch stores entries as they are, so that they can be used where they lie in
//! the mapped file, and reading the central directory is all that takes. Archives above 4 GiB
//! (zip64) are read; compressed and encrypted entries are refused by the one who asks for them.
//! Checksums are for the one who reads the bytes.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::text::clip;

/// What stands before a file that is a zip.
pub const MAGIC: &[u8] = b"PK\x03\x04";

const END: &[u8] = b"PK\x05\x06";
const END_LEN: usize = 22;
const END64_LOCATOR: &[u8] = b"PK\x06\x07";
const END64_LOCATOR_LEN: usize = 20;
const END64: &[u8] = b"PK\x06\x06";
const END64_LEN: usize = 56;
const CENTRAL: &[u8] = b"PK\x01\x02";
const CENTRAL_LEN: usize = 46;
const LOCAL_LEN: usize = 30;

/// A field that does not fit stands in a zip64 record.
const IN_ZIP64: u64 = 0xFFFF_FFFF;

/// The entries of a zip file by their names.
#[derive(Debug)]
pub struct Archive<'a> {
    bytes: &'a [u8],
    entries: BTreeMap<&'a str, Entry>,
}

#[derive(Debug)]
struct Entry {
    encrypted: bool,
    method: u64,
    crc: u32,
    stored_len: u64,
    len: u64,
    /// Where its local header stands.
    local: u64,
}

impl<'a> Archive<'a> {
    /// Reads the central directory.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(bytes: &'a [u8]) -> Result<Archive<'a>, String> {
        let directory = Directory::find(bytes)?;
        let mut rest = directory.bytes;
        let mut entries = BTreeMap::new();
        for _ in 0..directory.count {
            let short = || "the list of its entries is cut short".to_owned();
            let record = rest.get(..CENTRAL_LEN).ok_or_else(short)?;
            if !record.starts_with(CENTRAL) {
                return Err("the list of its entries is damaged".into());
            }
            let [name_len, extra_len, comment_len] =
                [28, 30, 32].map(|at| le(record, at, 2) as usize);
            let end = CENTRAL_LEN + name_len + extra_len + comment_len;
            let variable = rest.get(CENTRAL_LEN..end).ok_or_else(short)?;
            let (name, variable) = variable.split_at(name_len);
            let name =
                std::str::from_utf8(name).map_err(|_| "an entry's name is not UTF-8".to_owned())?;
            let mut entry = Entry {
                encrypted: le(record, 8, 2) & 1 != 0,
                method: le(record, 10, 2),
                crc: le(record, 16, 4) as u32,
                stored_len: le(record, 20, 4),
                len: le(record, 24, 4),
                local: le(record, 42, 4),
            };
            entry
                .widen(&variable[..extra_len])
                .map_err(|e| format!("entry {}: {e}", clip(name)))?;
            if entries.insert(name, entry).is_some() {
                return Err(format!("entry {} stands there twice", clip(name)));
            }
            rest = &rest[end..];
        }
        Ok(Archive { bytes, entries })
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.entries.keys().copied()
    }

    /// Where in the file the bytes of an entry lie, and its checksum; `None` where there is no such
    /// entry.
    ///
    /// # Errors
    /// An entry that is not stored as it is, or not in the file.
    pub fn find(&self, name: &str) -> Result<Option<Found>, String> {
        let Some(entry) = self.entries.get(name) else { return Ok(None) };
        let span =
            entry.span(self.bytes, name).map_err(|e| format!("entry {}: {e}", clip(name)))?;
        Ok(Some(Found { span, crc: entry.crc }))
    }

    /// The bytes of an entry, which is small, held against its checksum.
    ///
    /// # Errors
    /// As [`find`](Self::find), and damage.
    pub fn entry(&self, name: &str) -> Result<Option<&'a [u8]>, String> {
        let Some(found) = self.find(name)? else { return Ok(None) };
        let bytes = &self.bytes[found.span];
        check_crc(bytes, found.crc).map_err(|e| format!("entry {}: {e}", clip(name)))?;
        Ok(Some(bytes))
    }
}

/// An entry whose bytes can be used where they lie.
#[derive(Debug)]
pub struct Found {
    /// Its bytes in the file.
    pub span: Range<usize>,
    /// The CRC-32 that the archive states for them.
    pub crc: u32,
}

/// Holds bytes against the CRC-32 of their entry. A 0 states none: torch writes it when it is told
/// to compute no checksums (`torch.serialization.set_crc32_options`).
///
/// # Errors
/// Bytes that are damaged.
pub fn check_crc(bytes: &[u8], stated: u32) -> Result<(), String> {
    if stated == 0 {
        return Ok(());
    }
    let crc = crc32fast::hash(bytes);
    if crc == stated {
        return Ok(());
    }
    Err(format!("is damaged: its CRC-32 is {crc:08x}, must be {stated:08x}"))
}

impl Entry {
    /// Takes what does not fit the record from its zip64 field.
    fn widen(&mut self, mut extra: &[u8]) -> Result<(), String> {
        // In this order, those alone that do not fit.
        let fields = [&mut self.len, &mut self.stored_len, &mut self.local];
        let mut wide = fields.into_iter().filter(|field| **field == IN_ZIP64).peekable();
        while let (Some(_), Some(head)) = (wide.peek(), extra.get(..4)) {
            let (id, len) = (le(head, 0, 2), le(head, 2, 2) as usize);
            let body = extra.get(4..4 + len).ok_or("its extra field is cut short")?;
            extra = &extra[4 + len..];
            if id == 1 {
                for (field, value) in wide.by_ref().zip(body.chunks_exact(8)) {
                    *field = le(value, 0, 8);
                }
                break;
            }
        }
        Ok(())
    }

    fn span(&self, bytes: &[u8], name: &str) -> Result<Range<usize>, String> {
        if self.encrypted {
            return Err("is encrypted, must be stored as it is".into());
        }
        if self.method != 0 {
            let method = if self.method == 8 { " (deflate)" } else { "" };
            return Err(format!(
                "is compressed with method {}{method}, must be stored as it is, as torch.save does; \
                 unpack the archive, and pack it again with zip -0",
                self.method
            ));
        }
        if self.stored_len != self.len {
            return Err(format!("has {} bytes, but takes {}", self.len, self.stored_len));
        }
        let local = usize::try_from(self.local).ok();
        let header = local
            .and_then(|at| bytes.get(at..at.checked_add(LOCAL_LEN)?))
            .filter(|header| header.starts_with(MAGIC))
            .ok_or_else(|| format!("its header is not at byte {}", self.local))?;
        let [name_len, extra_len] = [26, 28].map(|at| le(header, at, 2) as usize);
        let name_at = self.local as usize + LOCAL_LEN;
        if bytes.get(name_at..name_at + name_len) != Some(name.as_bytes()) {
            return Err("the header in front of it has another name".into());
        }
        let start = name_at + name_len + extra_len;
        usize::try_from(self.len)
            .ok()
            .and_then(|len| start.checked_add(len))
            .filter(|&end| end <= bytes.len())
            .map(|end| start..end)
            .ok_or_else(|| format!("its {} bytes go past the end of the file", self.len))
    }
}

/// The central directory.
struct Directory<'a> {
    count: u64,
    bytes: &'a [u8],
}

impl<'a> Directory<'a> {
    fn find(bytes: &'a [u8]) -> Result<Directory<'a>, String> {
        let end = find_end(bytes).ok_or("it has no end record: cut short or damaged")?;
        let record = &bytes[end..];
        let (mut count, mut len, mut start) =
            (le(record, 10, 2), le(record, 12, 4), le(record, 16, 4));
        if count == 0xFFFF || len == IN_ZIP64 || start == IN_ZIP64 {
            // An archive may have these very sizes without being zip64.
            if let Some(record) = find_end64(bytes, end)? {
                (count, len, start) = (le(record, 32, 8), le(record, 40, 8), le(record, 48, 8));
            }
        }
        let wrong = || "the list of its entries is not where its end record says".to_owned();
        let first = usize::try_from(start).map_err(|_| wrong())?;
        let behind = usize::try_from(len).ok().and_then(|len| first.checked_add(len));
        let bytes = behind.and_then(|behind| bytes[..end].get(first..behind)).ok_or_else(wrong)?;
        if count > (bytes.len() / CENTRAL_LEN) as u64 {
            return Err(format!("it has no room for the {count} entries that it states"));
        }
        Ok(Directory { count, bytes })
    }
}

/// Where the end record stands: the last one whose comment goes to the end of the file.
fn find_end(bytes: &[u8]) -> Option<usize> {
    let last = bytes.len().checked_sub(END_LEN)?;
    let first = last.saturating_sub(0xFFFF);
    (first..=last).rev().find(|&at| {
        let record = &bytes[at..];
        record.starts_with(END) && le(record, 20, 2) as usize == record.len() - END_LEN
    })
}

/// The zip64 end record of a file whose end record is at `end`, where it has one.
fn find_end64(bytes: &[u8], end: usize) -> Result<Option<&[u8]>, String> {
    let locator = end.checked_sub(END64_LOCATOR_LEN).map(|at| &bytes[at..end]);
    let Some(locator) = locator.filter(|locator| locator.starts_with(END64_LOCATOR)) else {
        return Ok(None);
    };
    let at = le(locator, 8, 8);
    usize::try_from(at)
        .ok()
        .and_then(|at| bytes.get(at..at.checked_add(END64_LEN)?))
        .filter(|record| record.starts_with(END64))
        .map(Some)
        .ok_or_else(|| format!("its zip64 end record is not at byte {at}"))
}

/// The little-endian number of `len` bytes at `at`, which the caller knows to be there.
fn le(bytes: &[u8], at: usize, len: usize) -> u64 {
    bytes[at..at + len].iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte))
}
