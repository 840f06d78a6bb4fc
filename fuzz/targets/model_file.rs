//! Any bytes as a model file: opened, hashed, each matrix checked, one forward pass run.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mmfree::{Model, ModelFile, Options, Step, Tokenizer, Want};

fuzz_target!(|data: &[u8]| {
    let Ok(file) = ModelFile::from_bytes("fuzz", data) else { return };
    // A config asks for no more than the tensors in the file hold, but for a state that is wide.
    if file.config().state_len() > 1 << 20 {
        return;
    }
    mmfree_convert::hash::model_hash(&file);
    for name in file.matrices() {
        if let Some((matrix, _)) = file.matrix(name) {
            matrix.first_invalid();
        }
    }
    let _ = Tokenizer::from_file(&file);
    let options = Options { threads: Some(1), ..Options::default() };
    let Ok(model) = Model::new(file, &options) else { return };
    let last = model.config().vocab_size as u32 - 1;
    let (mut state, mut logits) = (model.new_state(), Vec::new());
    let tokens = [0, last, last / 2];
    let (state, logits) = (&mut state, &mut logits);
    let step = Step { state, tokens: &tokens, want: Want::All, logits, states: None };
    if model.forward(&mut [step]).is_ok() {
        assert!(logits.iter().all(|v| v.is_finite()));
    }
});
