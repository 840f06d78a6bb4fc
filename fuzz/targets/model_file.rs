//! Any bytes as a model file: opened, verified, its tokenizer read, one forward pass run.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mmfree::{Model, ModelFile, Options, Step, Tokenizer, Want};

fuzz_target!(|data: &[u8]| {
    let Ok(file) = ModelFile::from_bytes("fuzz", data) else { return };
    // A config asks for no more than the tensors in the file hold, but for a state that is wide.
    if file.config().state_len() > 1 << 20 {
        return;
    }
    let _ = mmfree_convert::fuzzing::verify(&file);
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
