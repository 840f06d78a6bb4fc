//! Writing the header of a model file.

use std::collections::BTreeMap;

use serde::Serialize;

use super::ALIGNMENT;

/// One tensor of a safetensors header.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// The element type as safetensors names it: `U8`, `I8`, `F16`, `BF16`, `F32`, `U32`.
    pub dtype: &'static str,
    /// The shape.
    pub shape: Vec<usize>,
    /// First byte and byte after the last, counted from the end of the header.
    pub data_offsets: (u64, u64),
}

/// A safetensors header in the making: the same input gives the same bytes, whatever the machine.
#[derive(Clone, Debug, Default)]
pub struct Header {
    metadata: BTreeMap<String, String>,
    entries: Vec<(String, Entry)>,
    end: u64,
}

impl Header {
    /// Sets a metadata value.
    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        self.metadata.insert(key.to_owned(), value.into());
    }

    /// Appends a tensor of `len` bytes; the data stands in the file in the order of these calls.
    /// Gives its offset from the end of the header.
    pub fn push(&mut self, name: &str, dtype: &'static str, shape: &[usize], len: u64) -> u64 {
        let start = self.end;
        self.end += len;
        let data_offsets = (start, self.end);
        self.entries.push((name.to_owned(), Entry { dtype, shape: shape.to_vec(), data_offsets }));
        start
    }

    /// Bytes of all tensors.
    pub fn data_len(&self) -> u64 {
        self.end
    }

    /// The tensors, in the order of their data.
    pub fn entries(&self) -> &[(String, Entry)] {
        &self.entries
    }

    /// The header as bytes, its length first, padded with spaces to a multiple of 64: where the
    /// data begin.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Put together by hand: in the order of the data, whatever order a JSON library's maps
        // have.
        let json = |value: serde_json::Result<String>| value.unwrap_or_default();
        let mut text =
            format!("{{\"__metadata__\":{}", json(serde_json::to_string(&self.metadata)));
        for (name, entry) in &self.entries {
            let (name, entry) = (serde_json::to_string(name), serde_json::to_string(entry));
            text.push_str(&format!(",{}:{}", json(name), json(entry)));
        }
        text.push('}');
        let mut bytes = vec![0; 8];
        bytes.extend(text.into_bytes());
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), b' ');
        let len = (bytes.len() - 8) as u64;
        bytes[..8].copy_from_slice(&len.to_le_bytes());
        bytes
    }
}
