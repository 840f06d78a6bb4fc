//! Ways in for the fuzzers that have no file around them.

use std::path::Path;

use crate::checkpoint::{pickle, safetensors, unpickle};
use crate::floats::type_size;

/// Reads a weights file, pickled or in safetensors, and checks that what it gives lies in the file.
pub fn weights(bytes: &[u8], pickled: bool) -> mmfree::Result<()> {
    let read = if pickled { pickle::tensors } else { safetensors::tensors };
    for stored in read(Path::new("fuzz"), bytes, 0)?.into_values() {
        let len = bytes[stored.span].len();
        let count: usize = stored.shape.iter().product();
        if let Ok(float) = stored.float {
            assert_eq!(count * type_size(float), len);
        }
    }
    Ok(())
}

/// Runs a pickle.
pub fn pickle(bytes: &[u8]) -> Result<(), String> {
    unpickle::unpickle(bytes).map(drop)
}
