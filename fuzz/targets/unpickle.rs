//! Any bytes as the file of `torch.save`, and as the pickle in it.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = mmfree_convert::fuzzing::weights(data, true);
    let _ = mmfree_convert::fuzzing::pickle(data);
});
