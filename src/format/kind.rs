//! What a file is that is not what it should be, so that a message can say so.

use std::fmt;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::header::read_header;
use super::json::standard_json;
use super::keys;
use super::reader::clip;

/// The longest JSON file that is looked into. Tokenizers have some MB.
const MAX_JSON: usize = 16 << 20;

/// The longest text that is taken for an answer of a server.
const MAX_ANSWER: usize = 1 << 10;

/// The number that begins every file of `torch.save` before 1.6, pickled, without its last two
/// bytes: `MAGIC_NUMBER` of torch's `serialization.py`.
const TORCH_MAGIC: &[u8] = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8";

/// The members of a tar archive of `torch.save` before 0.2.
const TORCH_TAR: [&[u8]; 4] = [b"sys_info\0", b"pickle\0", b"tensors\0", b"storages\0"];

/// Files that are met where others belong. `Display` says what it is, with an article.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileKind {
    /// What a clone of a repository has in place of a large file.
    LfsPointer,
    /// A page for a browser.
    Html,
    /// What a server said in place of the file.
    Answer(String),
    /// Weights of llama.cpp.
    Gguf,
    /// Weights as torch writes them since 1.6: a zip archive of a pickle and bytes.
    Torch,
    /// The same before: pickles one after the other.
    LegacyTorch,
    /// Something of Python's pickle, without torch's frame.
    Pickle,
    /// An archive, or a compressed file, called so.
    Packed(&'static str),
    /// An HDF5 file, as Keras and TensorFlow have them.
    Hdf5,
    /// Weights in safetensors.
    Safetensors,
    /// A model file of this library.
    Model,
    /// A saved session of this library.
    State,
    /// Logits of this library.
    Logits,
    /// A small file of a checkpoint, called so.
    Checkpoint(&'static str),
    /// Other JSON.
    Json,
}

impl FileKind {
    /// Looks at the bytes of a file; `None` where they tell nothing.
    pub fn of(bytes: &[u8]) -> Option<FileKind> {
        // Whatever its first bytes spell, the length of a header is one. A damaged one is left to
        // whoever reads it.
        if is_headed(bytes) {
            return Self::by_header(bytes);
        }
        Self::by_magic(bytes).or_else(|| Self::by_text(bytes))
    }

    /// What the user can do about it, wherever it was met. Empty where that depends on what was
    /// asked for.
    pub fn remedy(&self) -> &'static str {
        match self {
            FileKind::LfsPointer => "`git lfs pull` fetches the file itself",
            FileKind::Html => "download the file itself, not its page",
            FileKind::Answer(_) => "if it was to be a download, do that again",
            FileKind::Gguf => "convert the checkpoint that it was made of",
            FileKind::Packed(_) => "unpack it first",
            _ => "",
        }
    }

    fn by_magic(bytes: &[u8]) -> Option<FileKind> {
        let starts = |magic: &[u8]| bytes.starts_with(magic);
        Some(if starts(b"version https://git-lfs.github.com/spec/") {
            FileKind::LfsPointer
        } else if starts(b"GGUF") {
            FileKind::Gguf
        } else if starts(b"PK\x03\x04") {
            if is_torch_zip(bytes) { FileKind::Torch } else { FileKind::Packed("a zip archive") }
        } else if is_legacy_torch(bytes) {
            FileKind::LegacyTorch
        } else if is_pickle(bytes) {
            FileKind::Pickle
        } else if bytes.get(257..262) == Some(b"ustar") {
            FileKind::Packed("a tar archive")
        } else if starts(b"\x1f\x8b") {
            FileKind::Packed("packed by gzip")
        } else if starts(b"\xfd7zXZ\0") {
            FileKind::Packed("packed by xz")
        } else if starts(b"\x28\xb5\x2f\xfd") {
            FileKind::Packed("packed by zstd")
        } else if starts(b"BZh") {
            FileKind::Packed("packed by bzip2")
        } else if starts(b"7z\xbc\xaf\x27\x1c") {
            FileKind::Packed("a 7z archive")
        } else if starts(b"\x89HDF\r\n") {
            FileKind::Hdf5
        } else {
            return None;
        })
    }

    fn by_header(bytes: &[u8]) -> Option<FileKind> {
        let (_, header) = read_header(bytes).ok()?;
        let format = header.metadata().as_ref().and_then(|metadata| metadata.get(keys::FORMAT));
        Some(match format.map(String::as_str) {
            Some(keys::FORMAT_VALUE) => FileKind::Model,
            Some("mmfree-state") => FileKind::State,
            Some("mmfree-logits") => FileKind::Logits,
            _ => FileKind::Safetensors,
        })
    }

    fn by_text(bytes: &[u8]) -> Option<FileKind> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii();
        let head = bytes.get(..bytes.len().min(14))?.to_ascii_lowercase();
        if [&b"<!doctype html"[..], b"<html", b"<head", b"<body"]
            .iter()
            .any(|t| head.starts_with(t))
        {
            return Some(FileKind::Html);
        }
        if bytes.len() > MAX_JSON {
            return None;
        }
        let text = std::str::from_utf8(bytes).ok()?;
        if text.starts_with('{') {
            return Self::by_keys(&standard_json(text));
        }
        // "Entry not found", `<?xml ..><Error>..`, and other answers. What is no sentence is not
        // shown: a single word may be a secret.
        let line = text.lines().next().unwrap_or_default();
        let is_answer = text.len() <= MAX_ANSWER && !text.contains('\0') && line.contains(' ');
        is_answer.then(|| FileKind::Answer(clip(line)))
    }

    fn by_keys(json: &str) -> Option<FileKind> {
        let keys: Keys = serde_json::from_str(json).ok()?;
        Some(if keys.weight_map.is_some() {
            FileKind::Checkpoint("the index of a checkpoint's shards")
        } else if keys.added_tokens.is_some() && keys.model.is_some() {
            FileKind::Checkpoint("a tokenizer.json")
        } else if keys.peft_type.is_some() {
            FileKind::Checkpoint("the adapter_config.json of a PEFT adapter")
        } else if keys.model_type.is_some() || keys.architectures.is_some() {
            FileKind::Checkpoint("the config.json of a checkpoint")
        } else if keys.tokenizer_class.is_some() {
            FileKind::Checkpoint("the tokenizer_config.json of a checkpoint")
        } else {
            answer(json).map_or(FileKind::Json, FileKind::Answer)
        })
    }
}

/// Keys that tell one JSON file of a checkpoint from another.
#[derive(Deserialize)]
struct Keys {
    weight_map: Option<IgnoredAny>,
    added_tokens: Option<IgnoredAny>,
    model: Option<IgnoredAny>,
    peft_type: Option<IgnoredAny>,
    model_type: Option<IgnoredAny>,
    architectures: Option<IgnoredAny>,
    tokenizer_class: Option<IgnoredAny>,
}

/// What a server says in JSON in place of a file.
fn answer(json: &str) -> Option<String> {
    if json.len() > MAX_ANSWER {
        return None;
    }
    let value: Value = serde_json::from_str(json).ok()?;
    ["error", "message", "detail"].iter().find_map(|key| value[key].as_str()).map(clip)
}

/// Whether `bytes` begin as a safetensors file: the length of a header, and its brace.
fn is_headed(bytes: &[u8]) -> bool {
    matches!(bytes, [_, _, _, _, 0, 0, 0, 0, b'{', ..])
}

/// Whether the list of a zip file's entries has one that torch writes: first in the file, or among
/// the last in the list.
fn is_torch_zip(bytes: &[u8]) -> bool {
    let near = 1 << 16;
    let (head, tail) =
        (&bytes[..bytes.len().min(near)], &bytes[bytes.len().saturating_sub(near)..]);
    [head, tail].iter().any(|part| part.windows(9).any(|window| window == b"/data.pkl"))
}

/// Whether `bytes` begin as a pickle of protocol 2 to 5: its version, and then a frame, or what the
/// objects that someone saves begin with.
fn is_pickle(bytes: &[u8]) -> bool {
    matches!(bytes, [0x80, 2..=5, b'\x95' | b'}' | b'(' | b']' | b'c' | b'\x8c' | b'\x8a', ..])
}

/// Whether `bytes` begin with torch's number, in any protocol of pickle that writes it in binary,
/// or with a member of torch's tar.
fn is_legacy_torch(bytes: &[u8]) -> bool {
    if bytes.get(257..262) == Some(b"ustar") {
        return TORCH_TAR.iter().any(|name| bytes.starts_with(name));
    }
    let Some(rest) = bytes.strip_prefix(b"\x80") else { return false };
    let Some((2..=5, rest)) = rest.split_first().map(|(version, rest)| (*version, rest)) else {
        return false;
    };
    // From protocol 4 on in a frame, whose length is 8 bytes.
    let rest = match rest.strip_prefix(b"\x95") {
        Some(frame) => frame.get(8..).unwrap_or_default(),
        None => rest,
    };
    rest.starts_with(TORCH_MAGIC)
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileKind::LfsPointer => f.write_str("a Git LFS pointer"),
            FileKind::Html => f.write_str("a page of HTML"),
            FileKind::Answer(text) => write!(f, "the text \"{text}\""),
            FileKind::Gguf => f.write_str("a GGUF file of llama.cpp"),
            FileKind::Torch => f.write_str("weights of torch.save"),
            FileKind::LegacyTorch => f.write_str("weights of torch.save as before torch 1.6"),
            FileKind::Pickle => f.write_str("a pickle of Python"),
            FileKind::Hdf5 => f.write_str("an HDF5 file"),
            FileKind::Safetensors => f.write_str("a safetensors file"),
            FileKind::Model => f.write_str("a model file of mmfree"),
            FileKind::State => f.write_str("a saved session of mmfree"),
            FileKind::Logits => f.write_str("logits of mmfree"),
            FileKind::Packed(text) | FileKind::Checkpoint(text) => f.write_str(text),
            FileKind::Json => f.write_str("a JSON file"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(bytes: &[u8]) -> String {
        FileKind::of(bytes).map_or_else(String::new, |kind| kind.to_string())
    }

    #[test]
    fn files_are_told_by_how_they_begin() {
        let mut tar = vec![0; 512];
        tar[..4].copy_from_slice(b"a.py");
        tar[257..262].copy_from_slice(b"ustar");
        let mut torch_tar = tar.clone();
        torch_tar[..9].copy_from_slice(b"sys_info\0");
        for (bytes, expected) in [
            (
                &b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"[..],
                "a Git LFS pointer",
            ),
            (b"\n <!DOCTYPE HTML><p>", "a page of HTML"),
            (b"<html lang=en>", "a page of HTML"),
            (b"Entry not found\n", "the text \"Entry not found\""),
            (b"<?xml version='1.0'?>\n<Error>", "the text \"<?xml version=\\'1.0\\'?>\""),
            (b"{\"error\": \"Repository not found\"}", "the text \"Repository not found\""),
            (b"GGUF\x03\0\0\0", "a GGUF file of llama.cpp"),
            (b"PK\x03\x04....archive/data.pkl", "weights of torch.save"),
            (b"PK\x03\x04....a.txt", "a zip archive"),
            (b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8P\x19.", "as before torch 1.6"),
            (b"\x80\x03\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8P\x19.", "as before torch 1.6"),
            (
                b"\x80\x04\x95\x0d\0\0\0\0\0\0\0\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8P\x19.",
                "as before torch 1.6",
            ),
            (&torch_tar, "as before torch 1.6"),
            (&tar, "a tar archive"),
            (b"\x80\x04\x95\x0d\0\0\0\0\0\0\0}", "a pickle of Python"),
            (b"\x80\x02}q\0(", "a pickle of Python"),
            (b"\x1f\x8b\x08", "packed by gzip"),
            (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
            (b"\x02\0\0\0\0\0\0\0{}", "a safetensors file"),
            (b"{\"model_type\": \"llama\", \"x\": NaN}", "the config.json of a checkpoint"),
            (b"{\"metadata\": {}, \"weight_map\": {}}", "the index of a checkpoint's shards"),
            (b"{\"version\": 1, \"added_tokens\": [], \"model\": {}}", "a tokenizer.json"),
            (b"{\"peft_type\": \"LORA\"}", "the adapter_config.json of a PEFT adapter"),
            (b"\xef\xbb\xbf{\"a\": 1}", "a JSON file"),
        ] {
            let shown = shown(bytes);
            assert!(shown.ends_with(expected), "{shown}: {expected}");
        }
    }

    #[test]
    fn bytes_that_tell_nothing_are_given_no_name() {
        let long = [b'x'; 2 * MAX_ANSWER];
        let damaged = b"\x1f\x8b\x08\0\0\0\0\0{\"x\": 1}";
        for bytes in [
            damaged,
            &b""[..],
            &[0; 64],
            &[0xFF; 64],
            &long,
            b"{\"a\": ",
            b"hf_token",
            b"\x80\x02",
            b"\x80",
        ] {
            assert_eq!(FileKind::of(bytes), None, "{bytes:?}");
        }
    }
}
