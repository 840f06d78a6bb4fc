//! Any bytes as the weights of a checkpoint with a known configuration, converted to the end.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use mmfree::ModelFile;
use mmfree_convert::{Options, convert};
use tempfile::TempDir;

const CONFIG: &str = r#"{"model_type": "hgrn_bit", "vocab_size": 11, "hidden_size": 8,
    "num_hidden_layers": 1, "intermediate_size": 9}"#;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
    // In memory, where there is such a place.
    let memory = std::path::Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let folder = tempfile::tempdir_in(parent).unwrap();
    std::fs::write(folder.path().join("config.json"), CONFIG).unwrap();
    folder
});

fuzz_target!(|data: &[u8]| {
    let _ = mmfree_convert::fuzzing::weights(data, false);
    std::fs::write(FOLDER.path().join("model.safetensors"), data).unwrap();
    let output = FOLDER.path().join("out.mmfree");
    let options = Options { force: true, threads: Some(1), ..Options::default() };
    if convert(FOLDER.path(), &output, &options).is_ok() {
        ModelFile::open(&output).unwrap();
    }
});
