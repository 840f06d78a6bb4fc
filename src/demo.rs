//! The demo model, compiled in.

use crate::error::Result;
use crate::format::ModelFile;

/// Bytes at an address that suits a model file.
#[repr(C, align(64))]
struct Aligned<T: ?Sized>(T);

static DEMO: &Aligned<[u8]> = &Aligned(*include_bytes!("../models/demo.mmfree"));

impl ModelFile {
    /// The demo model that is compiled into the crate (feature `demo`): 2.6 million parameters,
    /// trained on fairy tales. `models/README.md` tells how it was made.
    ///
    /// # Errors
    /// None in practice: the file is under test.
    pub fn demo() -> Result<ModelFile> {
        ModelFile::from_owner("the demo model", &DEMO.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_model_opens_and_is_undamaged() {
        let file = ModelFile::demo().unwrap();
        assert!(file.tokenizer_json().is_some());
        for name in file.matrices() {
            assert_eq!(file.matrix(name).unwrap().0.first_invalid(), None, "{name}");
        }
    }
}
