//! A chat template, after a 0 a conversation as JSON. Time and memory are a process's to bound; here it may not panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mmfree_serve::fuzzing::render;

fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(2, |&byte| byte == 0);
    let mut next = || String::from_utf8_lossy(parts.next().unwrap_or_default());
    let (source, context) = (next(), next());
    let context = if context.is_empty() { "{\"messages\": []}" } else { &*context };
    let _ = render(&source, context);
});
