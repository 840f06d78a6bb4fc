//! Any bytes as the saved state of a small model; what loads is continued from and saved again.

#![no_main]

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use mmfree::{Model, ModelFile, Options, Session};
use tempfile::TempDir;

static MODEL: LazyLock<(TempDir, Arc<Model>)> = LazyLock::new(|| {
    // In memory, where there is such a place.
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let folder = tempfile::tempdir_in(parent).unwrap();
    let path: PathBuf = folder.path().join("m.mmfree");
    // As the seeds' model.
    let size = "hidden=8,layers=1,intermediate=9,vocab=11".parse().unwrap();
    mmfree_convert::synthesize(size, 0, &path, &mmfree_convert::Options::default()).unwrap();
    let options = Options { threads: Some(1), ..Options::default() };
    let model = Model::new(ModelFile::open(&path).unwrap(), &options).unwrap();
    (folder, model)
});

fuzz_target!(|data: &[u8]| {
    let (folder, model) = &*MODEL;
    let path = folder.path().join("state");
    std::fs::write(&path, data).unwrap();
    let _ = model.load_state(&path);
    let Ok(mut session) = Session::load(model, &path) else { return };
    for _ in 0..2 {
        if session.next_token().is_err() {
            return;
        }
    }
    session.save(&path).unwrap();
    assert_eq!(Session::load(model, &path).unwrap().ids(), session.ids());
});
