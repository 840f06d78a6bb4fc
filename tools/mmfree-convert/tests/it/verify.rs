//! What `verify` finds, and what opening refuses at once.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use mmfree::format::read_header;
use mmfree::{Model, ModelFile, SamplerOptions, Session};
use mmfree_convert::Options;
use mmfree_convert::verify::verify;

use crate::common::*;

/// Where each tensor lies in the file.
fn spans(bytes: &[u8]) -> BTreeMap<String, Range<usize>> {
    let (start, header) = read_header(bytes).unwrap();
    let span = |(from, to): (usize, usize)| start + from..start + to;
    header.tensors().into_iter().map(|(name, info)| (name, span(info.data_offsets))).collect()
}

fn damaged(path: &Path) -> Vec<String> {
    verify(path, None).unwrap().damages.into_iter().map(|damage| damage.part).collect()
}

#[test]
fn a_sound_file_is_said_to_be_so() {
    let (_dir, path, summary) = converted(&case("b_bf16"), &Options::default());
    let run = converter().arg("verify").arg(&path).output().unwrap();
    assert_eq!((run.status.code(), stderr(&run).as_str()), (Some(0), ""));
    let text = String::from_utf8(run.stdout).unwrap();
    assert!(text.contains("all 70 tensors") && text.contains(&summary.hash), "{text}");
    let run = converter().arg("verify").arg(&path).arg("--json").output().unwrap();
    let json: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!((&json["sound"], &json["tensors"]), (&true.into(), &70.into()));
}

/// One bit of each tensor in turn: that tensor is named and no other, and where its values change,
/// the model hash.
#[test]
fn names_the_tensor_that_is_damaged() {
    let (_dir, path, _) = converted(&case("b_bf16"), &Options::default());
    let sound = std::fs::read(&path).unwrap();
    for (name, span) in spans(&sound) {
        let mut bytes = sound.clone();
        bytes[span.start + span.len() / 2] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let mut expected = vec![name.clone()];
        if name != "tokenizer.json" {
            expected.push("mmfree.hash".into());
        }
        assert_eq!(damaged(&path), expected);
    }
}

/// What no tensor holds: sampling defaults, token ids, the small files, and the checksum's own name.
#[test]
fn damage_of_the_header_is_found_too() {
    let (_dir, path, _) = converted(&case("b_bf16"), &Options::default());
    let sound = std::fs::read(&path).unwrap();
    let (start, header) = read_header(&sound).unwrap();
    let metadata = header.metadata().clone().unwrap();
    let at =
        |text: &str| sound[..start].windows(text.len()).position(|w| w == text.as_bytes()).unwrap();
    for (at, to) in [
        (at("eos_token_ids") + "eos_token_ids\\\":[".len(), b'7'),
        (at("transformers_version") + 2, b'A'),
        (at("source_types"), b'S'),
        (at("mmfree.header_sha256") + 7, b'H'),
        (at(&metadata["mmfree.header_sha256"]), b'x'),
    ] {
        let mut bytes = sound.clone();
        assert_ne!(bytes[at], to);
        bytes[at] = to;
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(damaged(&path), ["mmfree.header_sha256"], "{at}");
    }
}

#[test]
fn names_all_that_is_damaged_and_fails() {
    for (packing, code) in [("t5", 0x80), ("i2", 0xFF)] {
        let dir = temp_dir();
        let path = dir.path().join("m.mmfree");
        let mut command = converter();
        command.arg(case("b_bf16")).args(["--quiet", "--pack", packing, "-o"]).arg(&path);
        assert!(command.output().unwrap().status.success());
        let mut bytes = std::fs::read(&path).unwrap();
        let spans = spans(&bytes);
        let at = |name: &str| spans[name].start;
        bytes[at("lm_head.weight")] = code;
        bytes[at("model.layers.0.attn.i_proj.weight")] = code;
        let norm = at("model.norm.weight");
        bytes[norm..norm + 4].copy_from_slice(&f32::NAN.to_le_bytes());
        std::fs::write(&path, bytes).unwrap();

        let run = converter().arg("verify").arg(&path).output().unwrap();
        assert_eq!(run.status.code(), Some(1));
        let (out, err) = (String::from_utf8(run.stdout.clone()).unwrap(), stderr(&run));
        for part in [
            "model.layers.0.attn.i_proj.weight: its SHA-256 is not that of the header; byte 0 is none",
            "lm_head.weight: its SHA-256",
            "model.norm.weight: its SHA-256 is not that of the header; value 0 is not finite",
            "mmfree.hash: is ",
        ] {
            assert!(out.contains(part), "no {part:?} in {out}");
        }
        assert_eq!(out.lines().count(), 4, "{out}");
        assert_eq!(err.lines().count(), 1, "{err}");
        assert!(err.starts_with("error: ") && err.contains("is damaged: "), "{err}");
    }
}

/// A row constant that its row does not have, with a checksum that was made to fit.
#[test]
fn counts_row_constants_whatever_the_checksums_say() {
    let (_dir, path, _) = converted(&case("b_bf16"), &Options::default());
    let mut bytes = std::fs::read(&path).unwrap();
    let span = spans(&bytes)["lm_head.weight"].clone();
    let digest = |bytes: &[u8]| mmfree_convert::hash::sha256(&bytes[span.clone()]);
    let before = digest(&bytes);
    bytes[span.end - 2] ^= 1;
    let after = digest(&bytes);
    let header = bytes.windows(64).position(|window| window == before.as_bytes()).unwrap();
    bytes[header..header + 64].copy_from_slice(after.as_bytes());
    std::fs::write(&path, bytes).unwrap();
    let found = verify(&path, Some(2)).unwrap();
    assert_eq!(found.damages[0].part, "lm_head.weight");
    assert_eq!(
        found.damages[0].reason,
        format!("byte {} is none that its packing has there", span.len() - 2)
    );
}

#[test]
fn a_short_file_is_refused_and_its_first_incomplete_tensor_named() {
    let (_dir, path, _) = converted(&case("b_bf16"), &Options::default());
    let bytes = std::fs::read(&path).unwrap();
    let span = spans(&bytes)["model.norm.weight"].clone();
    std::fs::write(&path, &bytes[..span.end - 1]).unwrap();
    for command in ["verify", "inspect"] {
        let run = converter().arg(command).arg(&path).output().unwrap();
        assert_fails(&run, &["m", "cut short", "not all there is model.norm.weight"]);
    }
}

#[test]
fn a_saved_session_is_checked_too() {
    let (dir, path, summary) = converted(&case("b_bf16"), &Options::default());
    let model = Model::new(ModelFile::open(&path).unwrap(), &mmfree::Options::default()).unwrap();
    let mut session = Session::new(&model, SamplerOptions::default()).unwrap();
    session.push(&[1, 5, 7]).unwrap();
    session.next_token().unwrap();
    let saved = dir.path().join("saved.state");
    session.save(&saved).unwrap();
    let verify = |args: &[&str]| converter().arg("verify").arg(&saved).args(args).output().unwrap();
    let run = verify(&[]);
    assert_eq!((run.status.code(), stderr(&run).as_str()), (Some(0), ""));
    let text = String::from_utf8(run.stdout).unwrap();
    assert!(text.contains("a saved session of version 2 is as it was written"), "{text}");
    assert!(text.contains("4 ids, 3 of them seen") && text.contains(&summary.hash), "{text}");
    let mut bytes = std::fs::read(&saved).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&saved, bytes).unwrap();
    let run = verify(&["--json"]);
    assert_eq!(run.status.code(), Some(1));
    assert!(stderr(&run).contains("saved.state: is damaged"), "{}", stderr(&run));
    let json: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(json["sound"], false);
}
