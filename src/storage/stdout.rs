//! Writing to stdout without being stuck there: a pipe that nobody reads must not keep a signal from being heard.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

/// Bytes that are written at once. A pipe that takes any takes `PIPE_BUF` of them without blocking, 512 at least.
const PART: usize = 512;

/// How long stdout is waited for before it is asked again whether to give up.
const STEP: Duration = Duration::from_millis(50);

/// How long is waited where it is ready, and then takes nothing.
const PAUSE: Duration = Duration::from_millis(2);

/// How long stdout must have taken nothing before it is given up: a reader that is only slow gets all.
const STUCK: Duration = Duration::from_millis(500);

/// Writes all of a text to stdout, waiting for as long as it takes; whether stdout blocks makes no difference. False where it
/// took nothing for half a second and `gives_up`: then a part of the text is missing.
///
/// # Errors
/// The system's, as [`io::ErrorKind::BrokenPipe`] where no one reads any more.
pub fn write_stdout(text: &[u8], gives_up: impl Fn() -> bool) -> io::Result<bool> {
    let mut out = io::stdout().lock();
    out.flush()?;
    // Past the standard library's buffer: what is left there would be written when the program ends, which would block.
    let mut file = File::from(out.as_fd().try_clone_to_owned()?);
    let mut rest = text;
    let mut since = Instant::now();
    while !rest.is_empty() {
        if takes_bytes(file.as_fd()) {
            match file.write(&rest[..rest.len().min(PART)]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    rest = &rest[written..];
                    since = Instant::now();
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // It would take fewer bytes than a part has.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    std::thread::sleep(PAUSE)
                }
                Err(error) => return Err(error),
            }
        }
        if since.elapsed() >= STUCK && gives_up() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Waits until a file takes bytes, or a write to it would say why not; false after [`STEP`], or for a signal.
fn takes_bytes(file: BorrowedFd<'_>) -> bool {
    let mut asked = libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
    // SAFETY: the pointer is to one entry, as the count says, which outlives the call.
    match unsafe { libc::poll(&mut asked, 1, STEP.as_millis() as libc::c_int) } {
        0 => false,
        found if found > 0 => true,
        // Where polling fails but for a signal, the write tells why.
        _ => io::Error::last_os_error().kind() != io::ErrorKind::Interrupted,
    }
}
