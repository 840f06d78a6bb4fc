//! Made-up models.

use mmfree::ModelFile;
use mmfree_convert::{Options, synthesize};

use crate::common::*;

fn bytes(size: &str, seed: u64, threads: usize) -> Vec<u8> {
    let dir = temp_dir();
    let path = dir.path().join("m.mmfree");
    let options = Options { threads: Some(threads), ..Options::default() };
    synthesize(size.parse().unwrap(), seed, &path, &options).unwrap();
    std::fs::read(path).unwrap()
}

const SIZE: &str = "hidden=320,layers=2,vocab=500";

#[test]
fn a_seed_is_a_file_whatever_the_threads() {
    let one = bytes(SIZE, 7, 1);
    assert!(bytes(SIZE, 7, 3) == one);
    assert!(bytes(SIZE, 8, 1) != one);
}

#[test]
fn trits_are_spread_evenly_and_differ_between_matrices() {
    let file = ModelFile::from_bytes("synthetic", &bytes(SIZE, 0, 2)).unwrap();
    assert_eq!(file.config().intermediate_size, 1024);
    let mut seen = std::collections::HashSet::new();
    for name in file.matrices() {
        let (matrix, scale) = file.matrix(name).unwrap();
        assert_eq!(matrix.first_invalid(), None);
        assert!(seen.insert(matrix.bytes().to_vec()), "{name}");
        assert!((0.001..1.0).contains(&scale));
        let mut counts = [0usize; 3];
        let mut row = vec![0; matrix.cols()];
        for r in 0..matrix.rows() {
            matrix.unpack_row(r, &mut row);
            row.iter().for_each(|&trit| counts[(trit + 1) as usize] += 1);
        }
        let total = (matrix.rows() * matrix.cols()) as f64;
        for (count, share) in counts.iter().zip([0.3125, 0.375, 0.3125]) {
            assert!((*count as f64 / total - share).abs() < 0.01, "{name} {counts:?}");
        }
    }
    assert!(file.tokenizer_json().is_none());
}

#[test]
fn the_program_writes_published_sizes() {
    let dir = temp_dir();
    let run = converter()
        .current_dir(dir.path())
        .args(["synthesize", "--size", "hidden=64,layers=3,vocab=90", "--seed", "5", "--json"])
        .args(["--pack", "i2", "--embed", "i8"])
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", stderr(&run));
    let json: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!((&json["packing"], &json["embedding"]), (&"i2".into(), &"I8".into()));
    let file = ModelFile::open(dir.path().join("synthetic-hidden-64-layers-3-vocab-90.mmfree"));
    assert!(
        file.unwrap()
            .checkpoint_file("config.json")
            .unwrap()
            .contains("\"synthesized_with_seed\": 5")
    );
}

#[test]
fn a_model_of_too_many_tensors_is_refused() {
    let dir = temp_dir();
    let size = "hidden=64,layers=65536".parse().unwrap();
    let error = synthesize(size, 0, &dir.path().join("m"), &Options::default()).unwrap_err();
    assert!(error.to_string().contains("983045 tensors"), "{error}");
    assert_eq!(names(dir.path()), [""; 0]);
}
