//! What systemd and a service say to each other, without its library: sockets that it opened (sd_listen_fds(3)), and how
//! the service fares (sd_notify(3)).

use std::ffi::OsStr;
use std::io;
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use mmfree::storage::passed_sockets;

use crate::failure::Failure;

/// How long a message may take to be sent.
const PATIENCE: Duration = Duration::from_secs(5);

/// The socket to listen on, if one was passed on.
///
/// # Errors
/// Where there are several, or it is not a TCP socket that listens.
pub fn listener() -> Result<Option<TcpListener>, Failure> {
    let wrong = |reason: String| Failure::Message(format!("the socket passed on: {reason}"));
    let mut sockets = passed_sockets().map_err(|error| wrong(error.to_string()))?;
    let Some(socket) = sockets.pop() else { return Ok(None) };
    if !sockets.is_empty() {
        return Err(wrong(format!("there are {}, must be one", sockets.len() + 1)));
    }
    let listens = rustix::net::sockopt::socket_acceptconn(&socket);
    let listener = TcpListener::from(socket);
    match (listens, listener.local_addr()) {
        (Ok(true), Ok(_)) => Ok(Some(listener)),
        _ => Err(wrong("it is no TCP socket that listens (ListenStream=ADDRESS:PORT)".to_owned())),
    }
}

/// Whoever started the service and wants to know how it fares; no one without `NOTIFY_SOCKET`.
#[derive(Debug)]
pub struct Notify(Option<UnixDatagram>);

impl Notify {
    /// As `NOTIFY_SOCKET` says. Where that is no socket, a line of the log says so, and no one is told.
    pub fn from_env() -> Notify {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Notify(None);
        };
        match connect(&name) {
            Ok(socket) => Notify(Some(socket)),
            Err(error) => {
                tracing::warn!("NOTIFY_SOCKET {}: {error}", name.display());
                Notify(None)
            }
        }
    }

    /// Says something: `READY=1`, `STOPPING=1`, or nothing but the status, a line for people.
    pub fn say(&self, what: &str, status: &str) {
        let Some(socket) = &self.0 else { return };
        let status = status.replace(char::is_control, " ");
        let separator = if what.is_empty() { "" } else { "\n" };
        if let Err(error) = socket.send(format!("{what}{separator}STATUS={status}").as_bytes()) {
            tracing::warn!("NOTIFY_SOCKET: {error}");
        }
    }
}

fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(PATIENCE))?;
    match name.as_bytes() {
        [b'/', ..] => socket.connect(name)?,
        #[cfg(target_os = "linux")]
        [b'@', name @ ..] => {
            use std::os::linux::net::SocketAddrExt;
            let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
            socket.connect_addr(&address)?;
        }
        _ => {
            let reason = "must be a path, or @ and an abstract name";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
    }
    Ok(socket)
}
