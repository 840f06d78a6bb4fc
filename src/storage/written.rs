//! Writing what lies in a mapped file.

use std::hint::black_box;
use std::io;

/// Pages are no smaller anywhere.
const PAGE: usize = 4096;

/// For the error of a write of `bytes`, which may be those of a mapped file. If that was cut short, the system cannot read
/// them, and says no more than that their address is bad: then they are read here, which ends the process with the line
/// that reading a lost mapping does (see [`handle_signals`](super::handle_signals)). Any other error is given back.
pub fn or_lost_mapping(bytes: &[u8]) -> impl FnOnce(io::Error) -> io::Error {
    move |error| {
        if error.raw_os_error() == Some(libc::EFAULT) {
            for byte in bytes.iter().step_by(PAGE).chain(bytes.last()) {
                black_box(*byte);
            }
        }
        error
    }
}
