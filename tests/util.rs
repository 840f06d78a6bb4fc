//! A folder that goes away.

use std::path::{Path, PathBuf};

use mmfree::{Device, Options};

/// A folder of the test's own, removed at its end.
pub struct TempDir(tempfile::TempDir);

impl TempDir {
    pub fn new() -> TempDir {
        TempDir(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file and gives its path.
    pub fn write(&self, name: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

/// The device that models of these tests run on: that of `MMFREE_TEST_DEVICE` (a name as `--device` takes it), else the CPU.
pub fn device() -> Device {
    match std::env::var("MMFREE_TEST_DEVICE") {
        Ok(name) => Device::from_name(&name).unwrap(),
        Err(_) => Device::Cpu,
    }
}

/// Default options on the device under test.
pub fn options() -> Options {
    Options { device: device(), ..Options::default() }
}
