//! Sockets that a program was started with.

use std::env;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// The first descriptor that is passed on; those before are the standard streams.
const FIRST: libc::c_int = 3;

/// More than anyone passes on.
const MOST: libc::c_int = 1024;

static TAKEN: AtomicBool = AtomicBool::new(false);

/// The sockets that systemd, or who speaks its protocol (sd_listen_fds(3)), opened for this very process: `LISTEN_FDS` of
/// them, if `LISTEN_PID` is this process. They are given once; a second call gives none. Programs that are started from
/// here inherit none of them.
///
/// # Errors
/// Where what is stated is no number, or there is no such descriptor.
pub fn passed_sockets() -> io::Result<Vec<OwnedFd>> {
    let number = |name: &str| match env::var(name) {
        Ok(text) => match text.parse::<libc::c_int>() {
            Ok(number) if number >= 0 => Ok(Some(number)),
            _ => Err(invalid(format!("{name} is {text:?}, must be a number"))),
        },
        Err(_) => Ok(None),
    };
    let (Some(pid), Some(count)) = (number("LISTEN_PID")?, number("LISTEN_FDS")?) else {
        return Ok(Vec::new());
    };
    if u32::try_from(pid) != Ok(std::process::id()) || TAKEN.swap(true, Ordering::Relaxed) {
        return Ok(Vec::new());
    }
    if count > MOST {
        return Err(invalid(format!("LISTEN_FDS is {count}, must be {MOST} at most")));
    }
    (FIRST..FIRST + count).map(take).collect()
}

fn take(fd: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: Without a pointer; it fails where there is no such descriptor.
    if unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } == -1 {
        let error = io::Error::last_os_error();
        return Err(invalid(format!("descriptor {fd} of LISTEN_FDS: {error}")));
    }
    // SAFETY: The descriptor is open, and whoever started this process says by its id that it is for it to own. It is
    // taken once.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn invalid(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, reason)
}
