//! Outputs that cannot be written: an old file stays as it was, and nothing else is left.

use std::path::Path;
use std::process::Output;

use crate::common::*;

fn convert_to(output: &Path, extra: &[&str]) -> Output {
    converter().arg(case("b_bf16")).arg("-o").arg(output).args(extra).output().unwrap()
}

#[test]
fn rejects_a_directory() {
    let dir = temp_dir();
    let output = convert_to(dir.path(), &["--force"]);
    assert_fails(&output, &[dir.path().to_str().unwrap(), "is a directory"]);
}

#[test]
fn rejects_an_existing_file_before_the_work_begins() {
    let dir = temp_dir();
    let path = dir.path().join("m.mmfree");
    std::fs::write(&path, "old").unwrap();
    let output = convert_to(&path, &[]);
    assert_fails(&output, &["m.mmfree", "exists already", "--force"]);
    assert!(!stderr(&output).contains("packing"));
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
}

#[test]
fn rejects_a_device() {
    let output = convert_to(Path::new("/dev/null"), &["--force"]);
    assert_fails(&output, &["/dev/null", "is not a regular file"]);
    assert!(std::fs::metadata("/dev/null").is_ok_and(|meta| !meta.is_file()));
}

#[test]
fn rejects_a_folder_that_cannot_be_written() {
    // Permissions do not bind root, so a file in place of a folder, and one that takes no files.
    let dir = temp_dir();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let output = convert_to(&dir.path().join("file/m.mmfree"), &[]);
    assert_fails(&output, &["cannot write in", "file"]);
    let output = convert_to(&dir.path().join("none/m.mmfree"), &[]);
    assert_fails(&output, &["cannot write in", "none", "No such file"]);
    let output = convert_to(Path::new("/proc/m.mmfree"), &[]);
    assert_fails(&output, &["cannot write in", "/proc"]);
}

#[test]
fn rejects_to_replace_its_own_input() {
    let copy = Copy::of("d_sharded_fp32");
    std::fs::copy(case("b_bf16").join("tokenizer.json"), copy.path().join("tokenizer.json"))
        .unwrap();
    copy.write("special_tokens_map.json", "{}");
    let dir = temp_dir();
    for name in names(copy.path()) {
        let input = copy.path().join(&name);
        let link = dir.path().join(&name);
        std::os::unix::fs::symlink(&input, &link).unwrap();
        let before = std::fs::read(&input).unwrap();
        for path in [&input, &link] {
            let output =
                converter().arg(copy.path()).arg("-o").arg(path).arg("--force").output().unwrap();
            assert_fails(&output, &[&name, "is a file of the checkpoint"]);
        }
        assert!(std::fs::read(&input).unwrap() == before);
    }
}

/// As a cache of the Hub's has it: the folder's files are links.
#[test]
fn rejects_to_replace_what_its_input_links_to() {
    let copy = Copy::of("m_small_activations_eps");
    let blob = temp_dir();
    let target = blob.path().join("blob");
    std::fs::rename(copy.path().join("config.json"), &target).unwrap();
    std::os::unix::fs::symlink(&target, copy.path().join("config.json")).unwrap();
    let output =
        converter().arg(copy.path()).arg("-o").arg(&target).arg("--force").output().unwrap();
    assert_fails(&output, &["blob", "is a file of the checkpoint"]);
}

#[test]
fn an_output_that_cannot_be_written_is_found_before_anything_is_read() {
    let copy = Copy::of("m_small_activations_eps");
    copy.write("model.safetensors", "damaged");
    let none = copy.path().join("none/m.mmfree");
    let output = converter().arg(copy.path()).arg("-o").arg(none).output().unwrap();
    assert_fails(&output, &["cannot write in", "none"]);
}

/// A limit on the size of files stands in for a full disk: the write fails half-way in the same
/// manner.
#[test]
fn a_full_disk_leaves_the_old_file_and_nothing_else() {
    let dir = temp_dir();
    let path = dir.path().join("m.mmfree");
    std::fs::write(&path, "old").unwrap();
    let program = converter();
    let words: Vec<_> = std::iter::once(program.get_program()).chain(program.get_args()).collect();
    let output = std::process::Command::new("sh")
        // sh counts in blocks of 512 bytes.
        .args(["-c", "ulimit -f 100; exec \"$@\"", "sh"])
        .args(words)
        .arg(case("b_bf16"))
        .arg("-o")
        .arg(&path)
        .args(["--force", "--quiet"])
        .output()
        .unwrap();
    assert_fails(&output, &["cannot write", "m.mmfree", "File too large"]);
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
    assert_eq!(names(dir.path()), ["m.mmfree"]);
}

#[test]
fn an_embedding_too_large_for_its_type_is_named() {
    let copy = Copy::of("m_small_activations_eps");
    copy.edit_tensors("model.safetensors", |tensors| {
        let bytes = &mut tensors.get_mut("model.embeddings.weight").unwrap().2;
        bytes[4 * 65..4 * 66].copy_from_slice(&1e6f32.to_le_bytes());
    });
    let dir = temp_dir();
    let output = converter()
        .arg(copy.path())
        .arg("-o")
        .arg(dir.path().join("m.mmfree"))
        .args(["--embed", "f16"])
        .output()
        .unwrap();
    assert_fails(&output, &["model.embeddings.weight", "1000000", "[1, 1]", "F16"]);
    assert_eq!(names(dir.path()), [""; 0]);
}
