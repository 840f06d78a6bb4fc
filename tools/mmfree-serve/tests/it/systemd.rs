//! As a service of systemd's: its sockets, its notifications, and an end when no one asks.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram, UnixStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::{Answer, Server, program};

/// The program as systemd starts it with sockets: the first one is descriptor 3. `pid` is a word of the shell's.
fn activated(socket: OwnedFd, pid: &str, args: &[&str]) -> Command {
    let program = program();
    let mut command = Command::new("sh");
    let script =
        format!("exec 3<&0 0</dev/null; export LISTEN_FDS=1 LISTEN_PID={pid}; exec \"$@\"");
    command.args(["-c", &script, "sh"]).arg(program.get_program()).args(program.get_args());
    command.args(["--threads", "1"]).args(args).stdin(Stdio::from(socket));
    command
}

fn socket() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// What a server that cannot start says, and its exit code.
fn refused(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_socket_that_is_passed_on_is_listened_on() {
    let (listener, address) = socket();
    // Comes before the server does, and is answered.
    let mut early = TcpStream::connect(address).unwrap();
    early
        .write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut server = Server::spawn(&mut activated(listener.into(), "$$", &[]));
    assert_eq!(server.address, address);
    assert_eq!(Answer::read(early).status, 200);
    server.signal("TERM");
    assert!(server.wait().success());
}

#[test]
fn a_socket_for_another_process_is_not_taken() {
    let (listener, address) = socket();
    let server = Server::spawn(&mut activated(listener.into(), "1", &["--port", "0"]));
    assert_ne!(server.address, address);
    assert_eq!(server.get("/health").status, 200);
}

#[test]
fn a_socket_that_cannot_be_used_is_said() {
    let (pair, _other) = UnixStream::pair().unwrap();
    let (code, said) = refused(&mut activated(pair.into(), "$$", &[]));
    assert_eq!(code, Some(1));
    assert!(said.contains("no TCP socket that listens"), "{said}");
    let (code, said) = refused(&mut activated(socket().0.into(), "x", &[]));
    assert_eq!(code, Some(1));
    assert!(said.contains("LISTEN_PID is \"x\""), "{said}");
    // Who may connect is decided by where it listens.
    let open = TcpListener::bind("0.0.0.0:0").unwrap();
    let (code, said) = refused(&mut activated(open.into(), "$$", &[]));
    assert_eq!(code, Some(2));
    assert!(said.contains("0.0.0.0: others may reach this address"), "{said}");
}

/// The next message.
fn message(socket: &UnixDatagram) -> String {
    let mut bytes = [0; 1000];
    let len = socket.recv(&mut bytes).unwrap();
    String::from_utf8(bytes[..len].to_vec()).unwrap()
}

#[test]
fn it_says_when_it_is_ready_and_when_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let name = format!("mmfree-serve-test-{}", std::process::id());
    let hidden = UnixAddress::from_abstract_name(&name).unwrap();
    for (socket, address) in [
        (UnixDatagram::bind(&path).unwrap(), path.to_str().unwrap().to_owned()),
        (UnixDatagram::bind_addr(&hidden).unwrap(), format!("@{name}")),
    ] {
        socket.set_read_timeout(Some(Duration::from_secs(300))).unwrap();
        let mut command = program();
        command.args(["--port", "0", "--threads", "1"]).env("NOTIFY_SOCKET", &address);
        let mut server = Server::spawn(&mut command);
        assert_eq!(message(&socket), "STATUS=opening the model");
        assert_eq!(message(&socket), format!("READY=1\nSTATUS=demo on http://{}", server.address));
        server.signal("TERM");
        assert_eq!(message(&socket), "STOPPING=1\nSTATUS=ending");
        assert!(server.wait().success());
    }
    // No one to tell is no reason not to serve.
    for address in ["relative", "/nowhere/notify", ""] {
        let mut command = program();
        command.args(["--port", "0", "--threads", "1"]).env("NOTIFY_SOCKET", address);
        assert_eq!(Server::spawn(&mut command).get("/health").status, 200);
    }
}

#[test]
fn it_ends_when_nothing_is_asked_for_and_the_next_connection_waits_for_its_successor() {
    let (listener, address) = socket();
    let again = listener.try_clone().unwrap();
    let args = ["--exit-when-idle", "1s"];
    let mut server = Server::spawn(&mut activated(listener.into(), "$$", &args));
    let begun = Instant::now();
    // An answer that takes longer than the limit is not cut off.
    let mut tokens = 2000;
    loop {
        let body = json!({"prompt": "Once", "max_tokens": tokens, "ignore_eos": true});
        let begun = Instant::now();
        assert_eq!(server.ask("/v1/completions", &body)["usage"]["completion_tokens"], tokens);
        if begun.elapsed() > Duration::from_millis(1500) {
            break;
        }
        tokens *= 2;
    }
    // Nor does a connection without a request, or one who only looks whether it is there, keep it.
    let idle = server.connect();
    while server.child.try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(300), "it does not end");
        if let Ok(mut stream) = TcpStream::connect(address) {
            let _ = stream.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(server.wait().success());
    drop(idle);
    let mut next = TcpStream::connect(address).unwrap();
    next.write_all(b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .unwrap();
    let _server = Server::spawn(&mut activated(again.into(), "$$", &args));
    assert_eq!(Answer::read(next).status, 200);
}
