//! Checksums: of each tensor as it stands in the file, of the header, and of the model whatever its
//! packing.
//!
//! All are taken from the written file, so that they vouch for what is in it and can be checked by
//! the same code. `docs/FORMAT.md` defines the model hash for other readers.

use std::fmt::Write;

use mmfree::format::{ARCHITECTURE, Config, ModelFile, Role, ShortConv, TensorSpec, keys};
use mmfree::packing::PackedMatrix;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::text::hex;

/// Hex digits of a SHA-256.
const DIGITS: usize = 64;

/// SHA-256 of some bytes in lower-case hex.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// What the header of a model file says of itself, and the SHA-256 that it has: over all bytes in
/// front of the data, those digits taken as zeros. `None` where it does not say.
pub fn header_sha256(header: &[u8]) -> Option<(&[u8], String)> {
    // In a text of the header its quotes would be escaped: this is the key.
    let key = format!("\"{}\":\"", keys::HEADER_SHA256);
    let at = header.windows(key.len()).position(|w| w == key.as_bytes())? + key.len();
    let (front, rest) = header.split_at(at);
    let (stated, behind) = rest.split_at_checked(DIGITS)?;
    let mut digest = Sha256::new_with_prefix(front);
    digest.update([b'0'; DIGITS]);
    digest.update(behind);
    Some((stated, hex(&digest.finalize())))
}

/// The model hash: SHA-256 over the numbers that make the logits, the same for every packing and
/// every lossless type of the embedding. Of a damaged file it is some hash.
pub fn model_hash(file: &ModelFile) -> String {
    let config = file.config();
    let lines: Vec<String> =
        config.tensors().par_iter().map(|spec| tensor_line(file, spec)).collect();
    let mut text = config_lines(config);
    lines.iter().for_each(|line| text.push_str(line));
    sha256(text.as_bytes())
}

/// The parts of the configuration that change numbers, a line each.
fn config_lines(config: &Config) -> String {
    let conv = match config.short_conv {
        None => "none".to_owned(),
        Some(ShortConv { size, shared: true }) => format!("shared {size}"),
        Some(ShortConv { size, shared: false }) => format!("separate {size}"),
    };
    let mut text = format!("mmfree model hash 1\narchitecture {ARCHITECTURE}\n");
    for (key, value) in [
        ("vocab_size", config.vocab_size),
        ("hidden_size", config.hidden_size),
        ("num_layers", config.num_layers),
        ("state_size", config.state_size),
        ("intermediate_size", config.intermediate_size),
        ("lower_bounds", usize::from(config.lower_bounds)),
    ] {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{key} {value}");
    }
    let eps = config.rms_norm_eps.to_bits();
    let _ = writeln!(text, "rms_norm_eps {eps:08x}\nshort_conv {conv}");
    text
}

/// A tensor's name, shape, scale where it has one, and the digest of its values.
fn tensor_line(file: &ModelFile, spec: &TensorSpec) -> String {
    let shape: Vec<String> = spec.shape.iter().map(usize::to_string).collect();
    let (name, shape) = (&spec.name, shape.join("x"));
    match (spec.role, file.matrix(name), file.floats(name)) {
        (Role::Ternary, Some((matrix, scale)), _) => {
            let (scale, digest) = (scale.to_bits(), trits_digest(&matrix));
            format!("{name} {shape} trits {scale:08x} {digest}\n")
        }
        (Role::Float, _, Some(values)) => {
            let mut digest = Sha256::new();
            update(&mut digest, values);
            format!("{name} {shape} floats {}\n", hex(&digest.finalize()))
        }
        _ => format!("{name} {shape} floats {}\n", embedding_digest(file)),
    }
}

fn update(digest: &mut Sha256, values: &[f32]) {
    for part in values.chunks(1024) {
        let bytes: Vec<u8> = part.iter().flat_map(|v| v.to_le_bytes()).collect();
        digest.update(&bytes);
    }
}

fn embedding_digest(file: &ModelFile) -> String {
    let mut digest = Sha256::new();
    let mut row = vec![0.0; file.config().hidden_size];
    for token in 0..file.config().vocab_size {
        file.embedding_row(token, &mut row);
        update(&mut digest, &row);
    }
    hex(&digest.finalize())
}

/// SHA-256 over the trits, row by row, five to a byte: the sum of `(trit + 1) * 3^i`, trits that
/// are missing in the last byte of a row counted as 0.
fn trits_digest(matrix: &PackedMatrix<'_>) -> String {
    let mut digest = Sha256::new();
    let mut trits = vec![0i8; matrix.cols()];
    let mut bytes = vec![0u8; matrix.cols().div_ceil(5)];
    for row in 0..matrix.rows() {
        matrix.unpack_row(row, &mut trits);
        let (groups, rest) = trits.as_chunks();
        for (byte, group) in bytes.iter_mut().zip(groups) {
            *byte = code(group);
        }
        if let Some(last) = bytes.last_mut().filter(|_| !rest.is_empty()) {
            let mut group = [0; 5];
            group[..rest.len()].copy_from_slice(rest);
            *last = code(&group);
        }
        digest.update(&bytes);
    }
    hex(&digest.finalize())
}

/// Up to 242; an invalid code may give more, and then any byte will do.
fn code(trits: &[i8; 5]) -> u8 {
    trits.iter().rev().fold(0u32, |sum, &trit| 3 * sum + (trit + 1) as u32) as u8
}
