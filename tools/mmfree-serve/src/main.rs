//! The server's program.

use std::process::ExitCode;

fn main() -> ExitCode {
    mmfree_serve::main()
}
