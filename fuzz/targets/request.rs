//! The first byte says which path, the rest is the body of a request: it is answered by a server of the demo model, with an
//! answer or with an error of the right form.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use mmfree_serve::fuzzing::Server;

static SERVER: LazyLock<Server> = LazyLock::new(Server::new);

const PATHS: [&str; 4] = ["/v1/completions", "/v1/chat/completions", "/tokenize", "/detokenize"];

fuzz_target!(|data: &[u8]| {
    let Some((path, body)) = data.split_first() else { return };
    SERVER.post(PATHS[usize::from(*path) % PATHS.len()], body);
});
