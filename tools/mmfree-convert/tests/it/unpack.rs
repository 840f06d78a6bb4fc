//! A model file unpacked is a checkpoint again, and converting that gives the same file.

use std::path::{Path, PathBuf};

use mmfree::ModelFile;
use mmfree::format::{FloatType, Role};
use mmfree::packing::Packing;
use mmfree_convert::{Embed, EmbeddingType, Options, Pack, convert, unpack};

use crate::common::*;

fn unpacked(file: &Path) -> PathBuf {
    let folder = file.with_file_name("unpacked");
    unpack(file, &folder, &Options::default()).unwrap();
    folder
}

#[test]
fn converting_it_again_gives_the_same_file() {
    let mut checkpoints = cases();
    checkpoints.push(case("a_basic_fp32").with_file_name("e_pytorch_bin_fp32"));
    for checkpoint in checkpoints {
        for (packing, embed) in [
            (Packing::T5, Embed::Source),
            (Packing::I2, Embed::Only(EmbeddingType::Int8)),
            (Packing::T5, Embed::Only(EmbeddingType::Float(FloatType::BF16))),
        ] {
            let options = Options { pack: Pack::Only(packing), embed, ..Options::default() };
            let (dir, file, _) = converted(&checkpoint, &options);
            let folder = unpacked(&file);
            let expected = std::fs::read(&file).unwrap();
            // With the same options, and with those that keep the embedding as it is.
            for embed in [embed, Embed::Source] {
                let again = dir.path().join("again");
                let options = Options { embed, force: true, ..options.clone() };
                let summary = convert(&folder, &again, &options).unwrap();
                assert!(std::fs::read(&again).unwrap() == expected, "{checkpoint:?} {embed:?}");
                // A case without a tokenizer is noted, and nothing else.
                let others = summary.notes.iter().filter(|note| !note.contains("tokenizer.json"));
                assert_eq!(others.count(), 0, "{:?}", summary.notes);
            }
        }
    }
}

/// What the original code makes of it, which knows nothing of the metadata: the same trits, and the
/// same scales but for rounding.
#[test]
fn the_original_quantiser_finds_the_same_trits_and_scales() {
    for name in ["b_bf16", "j_odder_sizes", "k_tied_fp32", "m_small_activations_eps"] {
        let (_dir, file, _) = converted(&case(name), &Options::default());
        let folder = unpacked(&file);
        let tensors = read_checkpoint(&folder);
        let file = ModelFile::open(&file).unwrap();
        for spec in file.config().tensors() {
            let weights = values(&tensors[&spec.name]);
            let Some((matrix, scale)) = file.matrix(&spec.name) else {
                if spec.role == Role::Float {
                    assert_eq!(file.floats(&spec.name).unwrap(), weights);
                }
                continue;
            };
            let sum: f64 = weights.iter().map(|&w| f64::from(w.abs())).sum();
            let mean = ((sum / weights.len() as f64) as f32).max(1e-5);
            let s = 1.0 / mean;
            assert!((1.0 / s - scale).abs() <= 2.5e-7 * scale, "{} {scale}", spec.name);
            let mut trits = vec![0; matrix.cols()];
            for (row, weights) in weights.chunks(matrix.cols()).enumerate() {
                matrix.unpack_row(row, &mut trits);
                for (&trit, &w) in trits.iter().zip(weights) {
                    let expected = i8::from(w * s > 0.5) - i8::from(w * s < -0.5);
                    assert_eq!(trit, expected, "{}", spec.name);
                }
            }
        }
        let config = std::fs::read(folder.join("config.json")).unwrap();
        let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
        assert_ne!(config["tie_word_embeddings"], true);
        assert_eq!(config["torch_dtype"], "float32");
    }
}

#[test]
fn made_up_models_unpack_too() {
    let dir = temp_dir();
    let [file, again] = ["m.mmfree", "again"].map(|name| dir.path().join(name));
    let size = "hidden=96,layers=2,vocab=100".parse().unwrap();
    mmfree_convert::synthesize(size, 3, &file, &Options::default()).unwrap();
    convert(&unpacked(&file), &again, &Options::default()).unwrap();
    assert!(std::fs::read(&again).unwrap() == std::fs::read(&file).unwrap());
}

#[test]
fn rejects_weights_that_were_changed_under_their_metadata() {
    let (dir, file, _) = converted(&case("b_bf16"), &Options::default());
    let folder = unpacked(&file);
    let path = folder.join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let (start, header) = mmfree::format::read_header(&bytes).unwrap();
    let at = start + header.info("lm_head.weight").unwrap().data_offsets.0;
    bytes[at..at + 4].copy_from_slice(&100f32.to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    let run = converter().arg(&folder).arg("-o").arg(dir.path().join("again")).output().unwrap();
    assert_fails(&run, &["lm_head.weight", "they were changed", "without the metadata"]);
}

#[test]
fn the_folder_appears_whole_or_not_at_all() {
    let (dir, file, _) = converted(&case("b_bf16"), &Options::default());
    let run = |input: &Path, output: &Path| {
        converter().arg("unpack").arg(input).arg("-o").arg(output).output().unwrap()
    };
    let folder = dir.path().join("folder");
    let done = run(&file, &folder);
    assert!(done.status.success(), "{}", stderr(&done));
    let mut expected = names(&case("b_bf16"));
    expected.retain(|name| !name.contains("golden"));
    assert_eq!(names(&folder), expected);
    // What has something in it stays as it is; an empty folder is taken.
    assert_fails(&run(&file, &folder), &["folder", "exists already"]);
    assert_fails(&run(&file, &file), &["exists already"]);
    assert_fails(&run(&file, &dir.path().join("none/folder")), &["cannot write in", "none"]);
    let empty = dir.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    assert!(run(&file, &empty).status.success());
    assert_eq!(names(&empty), expected);

    let mut bytes = std::fs::read(&file).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let damaged = dir.path().join("damaged");
    std::fs::write(&damaged, bytes).unwrap();
    assert_fails(&run(&damaged, &dir.path().join("other")), &["is damaged: tokenizer.json"]);
    assert_eq!(names(dir.path()), ["damaged", "empty", "folder", "model.mmfree"]);
}
