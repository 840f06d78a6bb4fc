//! The server's program.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mmfree::storage::EndWithoutMemory = mmfree::storage::EndWithoutMemory;

fn main() -> ExitCode {
    mmfree_serve::main()
}
