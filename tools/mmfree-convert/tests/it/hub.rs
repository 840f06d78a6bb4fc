//! Downloading from the Hub, which a server on this machine stands in for.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use mmfree::ModelFile;
use mmfree_convert::text::hex;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::common::*;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const WEIGHTS: &str = "model.safetensors";

/// What the server is to do, beside serving the files of a folder.
#[derive(Clone, Default)]
struct Behaviour {
    /// Answers to the first requests in place of the right ones.
    refuse: Vec<u16>,
    /// The weights' answer ends after so many bytes, once.
    cut: Option<usize>,
    /// It knows nothing of ranges.
    no_ranges: bool,
    /// The announced hash is another.
    wrong_hash: Option<&'static str>,
    /// The token that it asks for.
    token: Option<&'static str>,
    /// A file that its list has besides.
    index: Option<String>,
    /// The cut connection stays open, and says nothing.
    silent: bool,
    /// Where every file is in truth: what a redirect puts before its path.
    moved: Option<&'static str>,
    /// The weights are sent on from one place to the next without end.
    round: bool,
    /// The weights' answer has so many bytes more than announced.
    longer: usize,
    /// An answer to HEAD says nothing of the length, and a whole file is sent so.
    unsized_as: Option<Unsized>,
    /// Small files have this etag.
    etag: Option<&'static str>,
    /// Files are refused so, but not the list of them.
    refuse_files: Option<u16>,
    /// The list of the files is this.
    listing: Option<&'static str>,
    /// Connections are TLS, signed by the authority in `tests/data/tls`.
    tls: bool,
}

/// How an answer's length is told, if not by HEAD.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Unsized {
    Length,
    Chunked,
    End,
}

struct Server {
    port: u16,
    scheme: &'static str,
    /// The first lines of all requests, `Range` and `Authorization` after them.
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(folder: PathBuf, behaviour: Behaviour) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = requests.clone();
        let scheme = if behaviour.tls { "https" } else { "http" };
        std::thread::spawn(move || {
            let mut state = behaviour;
            let mut open = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                if state.silent {
                    open.push(stream.try_clone().unwrap());
                }
                // A client that hangs up is none of the server's business.
                let _ = match state.tls {
                    false => answer(&mut stream, port, &folder, &mut state, &log),
                    true => {
                        let mut tls = rustls::StreamOwned::new(tls_connection(), stream);
                        let done = answer(&mut tls, port, &folder, &mut state, &log);
                        tls.conn.send_close_notify();
                        let _ = tls.flush();
                        done
                    }
                };
            }
        });
        Server { port, scheme, requests }
    }

    /// The converter, told to use it and to be quiet.
    fn command(&self, home: &Path) -> Command {
        let mut command = self.loud_command(home);
        command.args(["--force", "--quiet"]);
        command
    }

    /// The converter, told to use it.
    fn loud_command(&self, home: &Path) -> Command {
        let mut command = converter();
        for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "https_proxy"] {
            command.env_remove(name);
        }
        for name in [
            "HF_TOKEN",
            "HUGGING_FACE_HUB_TOKEN",
            "HF_TOKEN_PATH",
            "HF_HUB_CACHE",
            "HF_HUB_OFFLINE",
            "TRANSFORMERS_OFFLINE",
            "SSL_CERT_FILE",
            "SSL_CERT_DIR",
            "REQUESTS_CA_BUNDLE",
            "CURL_CA_BUNDLE",
        ] {
            command.env_remove(name);
        }
        command
            .env("HF_ENDPOINT", format!("{}://127.0.0.1:{}", self.scheme, self.port))
            .env("HF_HOME", home)
            .current_dir(home)
            .arg("org/name");
        command
    }

    fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }
}

/// A connection as the server's end of TLS.
fn tls_connection() -> rustls::ServerConnection {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tls");
    let certificate = CertificateDer::from_pem_file(data.join("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(data.join("server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    rustls::ServerConnection::new(Arc::new(config)).unwrap()
}

fn answer(
    mut stream: impl Read + Write,
    port: u16,
    folder: &Path,
    state: &mut Behaviour,
    log: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    // A request has no body: it ends with an empty line.
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte)? == 1 {
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.lines().map(std::io::Result::Ok);
    let first = lines.next().unwrap_or(Ok(""))?.to_owned();
    let (mut range, mut token) = (0, String::new());
    let mut entry = first.clone();
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(": ") else { break };
        match name.to_lowercase().as_str() {
            "range" => {
                range = value.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap();
                entry += &format!(" {value}");
            }
            "authorization" => {
                token = value.to_owned();
                entry += &format!(" {value}");
            }
            _ => {}
        }
    }
    log.lock().unwrap().push(entry);
    let mut words = first.split(' ');
    let (method, path) = (words.next().unwrap(), words.next().unwrap_or_default());
    let mut reply = |status: &str, headers: &str, body: &[u8]| {
        let len = body.len();
        write!(stream, "HTTP/1.1 {status}\r\nConnection: close\r\n{headers}")?;
        if !headers.contains("Content-Length") {
            write!(stream, "Content-Length: {len}\r\n")?;
        }
        stream.write_all(b"\r\n")?;
        if method == "GET" { stream.write_all(body) } else { Ok(()) }
    };
    if !state.refuse.is_empty() {
        let status = state.refuse.remove(0);
        return reply(&format!("{status} No"), "Retry-After: 0\r\n", b"");
    }
    let wanted = state.token.map(|token| format!("Bearer {token}"));
    let foreign = path.starts_with("/cdn/") || path.starts_with("/mirror/");
    if !foreign && wanted.is_some_and(|wanted| wanted != token) {
        return reply("401 No", "", b"");
    }
    let path = path.strip_prefix("/hf").unwrap_or(path);
    if let Some(place) = state.moved.filter(|_| path.starts_with("/org/name/resolve/")) {
        let place = place.replace("PORT", &port.to_string());
        return reply("307 Temporary", &format!("Location: {place}{path}\r\n"), b"");
    }
    let path =
        ["/new", "/mirror"].iter().find_map(|place| path.strip_prefix(place)).unwrap_or(path);
    let listings =
        ["main", "refs%2Fpr%2F1", COMMIT].map(|r| format!("/api/models/org/name/revision/{r}"));
    if let Some(text) = state.listing.filter(|_| listings.iter().any(|listing| listing == path)) {
        return reply("200 OK", "", text.as_bytes());
    }
    if listings.iter().any(|listing| listing == path) {
        let files: Vec<_> = names(folder)
            .into_iter()
            .chain(state.index.as_ref().map(|_| "model.safetensors.index.json".into()))
            .map(|name| serde_json::json!({"rfilename": name}))
            .collect();
        let json = serde_json::json!({"sha": COMMIT, "siblings": files, "other": 1});
        return reply("200 OK", "", json.to_string().as_bytes());
    }
    if let Some(status) = state.refuse_files {
        return reply(&format!("{status} No"), "", b"");
    }
    let name = path.rsplit('/').next().unwrap_or_default();
    let file = match &state.index {
        Some(index) if name == "model.safetensors.index.json" => Some(index.clone().into_bytes()),
        _ => std::fs::read(folder.join(name)).ok(),
    };
    let Some(mut bytes) = file else { return reply("404 Not Found", "", b"") };
    if let Some(how) = state.unsized_as {
        let sha = hex(&Sha256::digest(&bytes));
        let etag = state.etag.unwrap_or(&sha);
        write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\nETag: \"{etag}\"\r\n")?;
        if method == "HEAD" {
            return stream.write_all(b"\r\n");
        }
        let cut = state.cut.take().unwrap_or(bytes.len()).min(bytes.len());
        return match how {
            Unsized::Length => {
                write!(stream, "Content-Length: {}\r\n\r\n", bytes.len())?;
                stream.write_all(&bytes[..cut])
            }
            Unsized::Chunked => {
                write!(stream, "Transfer-Encoding: chunked\r\n\r\n{:x}\r\n", bytes.len())?;
                stream.write_all(&bytes[..cut])?;
                if cut == bytes.len() { stream.write_all(b"\r\n0\r\n\r\n") } else { Ok(()) }
            }
            Unsized::End => {
                stream.write_all(b"\r\n")?;
                stream.write_all(&bytes[..cut])
            }
        };
    }
    let resolve = path == format!("/org/name/resolve/{COMMIT}/{name}");
    if resolve && name.ends_with(".safetensors") {
        let sha = hex(&Sha256::digest(&bytes));
        let sha = state.wrong_hash.map_or(sha, str::to_owned);
        // Another host, which is to see no token.
        let scheme = if state.tls { "https" } else { "http" };
        let headers = format!(
            "X-Linked-Etag: \"{sha}\"\r\nX-Linked-Size: {}\r\nLocation: {scheme}://localhost:{port}/cdn/{name}\r\n",
            bytes.len()
        );
        return reply("302 Found", &headers, b"");
    }
    if resolve {
        let sha =
            hex(&Sha1::digest([format!("blob {}\0", bytes.len()).as_bytes(), &bytes].concat()));
        let etag = state.etag.map_or(format!("W/\"{sha}\""), str::to_owned);
        let headers = format!("ETag: {etag}\r\nContent-Length: {}\r\n", bytes.len());
        return reply("200 OK", &headers, &bytes);
    }
    if state.round {
        return reply("302 Found", &format!("Location: /cdn/{name}\r\n"), b"");
    }
    bytes.resize(bytes.len() + state.longer, 0);
    let range = if state.no_ranges { 0 } else { range };
    let rest = &bytes[range..];
    let len = format!("Content-Length: {}\r\n", rest.len());
    let end = state.cut.take().unwrap_or(rest.len());
    if range > 0 {
        let headers = format!("{len}Content-Range: bytes {range}-{}/{0}\r\n", bytes.len());
        return reply("206 Partial Content", &headers, &rest[..end]);
    }
    reply("200 OK", &len, &rest[..end])
}

fn checkpoint() -> Copy {
    Copy::of("m_small_activations_eps")
}

fn serve(behaviour: Behaviour) -> (Server, Copy, tempfile::TempDir) {
    let copy = checkpoint();
    (Server::start(copy.path().to_owned(), behaviour), copy, temp_dir())
}

#[track_caller]
fn works(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}

fn cache(home: &Path) -> PathBuf {
    home.join("hub/models--org--name")
}

#[test]
fn downloads_into_the_cache_that_other_tools_share() {
    let (server, copy, home) = serve(Behaviour::default());
    works(&mut server.command(home.path()));
    // Called after the repository, in the current folder.
    ModelFile::open(home.path().join("name.mmfree")).unwrap();
    let cache = cache(home.path());
    assert_eq!(std::fs::read_to_string(cache.join("refs/main")).unwrap(), COMMIT);
    let snapshot = cache.join("snapshots").join(COMMIT);
    assert_eq!(names(&snapshot), names(copy.path()));
    for name in names(copy.path()) {
        let link = std::fs::read_link(snapshot.join(&name)).unwrap();
        assert!(link.starts_with("../../blobs"), "{link:?}");
        let [a, b] = [&snapshot, copy.path()].map(|f| std::fs::read(f.join(&name)).unwrap());
        assert!(a == b);
    }
    assert!(names(&cache.join("blobs")).iter().all(|name| !name.contains("incomplete")));
    assert_eq!(server.requests().iter().filter(|r| r.starts_with("GET /cdn/")).count(), 1);

    // An output that is there already ends it before anything is asked for.
    let mut command = converter();
    command.arg("org/name").env("HF_HOME", home.path()).current_dir(home.path());
    assert_fails(&command.output().unwrap(), &["name.mmfree", "exists already"]);

    // A cache that has all of it is not written.
    let written = || std::fs::metadata(cache.join("refs/main")).unwrap().modified().unwrap();
    let before = written();
    // Again: only asked whether there is a new commit. Offline: not even that.
    works(&mut server.command(home.path()));
    assert_eq!(server.requests().len(), 1);
    assert_eq!(written(), before);
    works(server.command(home.path()).env("HF_HUB_OFFLINE", "1"));
    works(server.command(home.path()).env("HF_HUB_OFFLINE", "1").args(["--revision", COMMIT]));
    assert_eq!(server.requests(), [""; 0]);
    // And a Hub that is not reached is no reason to stop.
    works(server.command(home.path()).env("HF_ENDPOINT", "http://127.0.0.1:1"));
    works(server.command(home.path()).args(["--revision", "refs/pr/1"]));
}

#[test]
fn an_existing_path_wins_over_a_hub_id() {
    let (server, _copy, home) = serve(Behaviour::default());
    std::fs::create_dir(home.path().join("org")).unwrap();
    let here = checkpoint();
    std::fs::rename(here.path(), home.path().join("org/name")).unwrap();
    std::fs::create_dir(here.path()).unwrap();
    works(&mut server.command(home.path()));
    assert_eq!(server.requests(), [""; 0]);
    let output = server.command(home.path()).args(["--revision", "main"]).output().unwrap();
    assert_fails(&output, &["--revision is for a Hub id"]);
}

#[test]
fn resumes_after_a_cut() {
    let (server, copy, home) =
        serve(Behaviour { cut: Some(5000), token: Some("hf_x"), ..Behaviour::default() });
    let cdn = |server: &Server| {
        let mut requests = server.requests();
        requests.retain(|request| request.contains("/cdn/"));
        requests
    };
    works(server.command(home.path()).env("HF_TOKEN", "hf_x"));
    // The token went to the Hub, and not on to the other host.
    let path = format!("GET /cdn/{WEIGHTS} HTTP/1.1");
    assert_eq!(cdn(&server), [path.clone(), format!("{path} bytes=5000-")]);

    // What an earlier run has left is continued, or replaced where the server cannot.
    for no_ranges in [false, true] {
        let home = temp_dir();
        let server =
            Server::start(copy.path().to_owned(), Behaviour { no_ranges, ..Behaviour::default() });
        let bytes = std::fs::read(copy.path().join(WEIGHTS)).unwrap();
        let blobs = cache(home.path()).join("blobs");
        std::fs::create_dir_all(&blobs).unwrap();
        let blob = format!("{}.incomplete", hex(&Sha256::digest(&bytes)));
        std::fs::write(blobs.join(blob), &bytes[..777]).unwrap();
        works(&mut server.command(home.path()));
        assert_eq!(cdn(&server), [format!("{path} bytes=777-")]);
    }
}

/// A connection that is cut where no one hears of it: the other machine is gone.
#[test]
fn goes_on_after_a_silence() {
    let (server, _copy, home) =
        serve(Behaviour { cut: Some(5000), silent: true, ..Behaviour::default() });
    works(server.command(home.path()).env("HF_HUB_DOWNLOAD_TIMEOUT", "1"));
    let mut requests = server.requests();
    requests.retain(|request| request.contains("/cdn/"));
    let path = format!("GET /cdn/{WEIGHTS} HTTP/1.1");
    assert_eq!(requests, [path.clone(), format!("{path} bytes=5000-")]);
}

#[test]
fn waits_for_another_tool_that_downloads_the_same_file() {
    let (server, copy, home) = serve(Behaviour::default());
    let bytes = std::fs::read(copy.path().join(WEIGHTS)).unwrap();
    let etag = hex(&Sha256::digest(&bytes));
    // As huggingface_hub names it.
    let locks = home.path().join("hub/.locks/models--org--name");
    std::fs::create_dir_all(&locks).unwrap();
    let lock = std::fs::File::create(locks.join(format!("{etag}.lock"))).unwrap();
    lock.lock().unwrap();
    let mut command = server.loud_command(home.path());
    let mut child = command
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "waiting for another download of it"));
    std::fs::write(cache(home.path()).join("blobs").join(etag), &bytes).unwrap();
    drop(lock);
    lines.for_each(drop);
    assert!(child.wait().unwrap().success());
    assert!(server.requests().iter().all(|request| !request.contains("/cdn/")));
}

#[test]
fn goes_where_the_hub_sends_it_and_the_token_does_not() {
    let token = Some("hf_x");
    let (server, _copy, home) =
        serve(Behaviour { moved: Some("/hf/new"), token, ..Behaviour::default() });
    // A Hub that is a folder of a host.
    let endpoint = format!("http://127.0.0.1:{}/hf/", server.port);
    works(server.command(home.path()).env("HF_ENDPOINT", endpoint).env("HF_TOKEN", "hf_x"));
    let requests = server.requests();
    assert!(requests.iter().any(|r| r.contains("/hf/new/org/name/resolve/")), "{requests:?}");

    let moved = Some("http://localhost:PORT/mirror");
    let (server, _copy, home) = serve(Behaviour { moved, token, ..Behaviour::default() });
    works(server.command(home.path()).env("HF_TOKEN", "hf_x"));
    let requests = server.requests();
    let mut mirrored = requests.iter().filter(|r| r.contains("/mirror/")).peekable();
    assert!(mirrored.peek().is_some() && mirrored.all(|r| !r.contains("hf_x")), "{requests:?}");

    fails(
        Behaviour { moved: Some("/org/name/resolve"), ..Behaviour::default() },
        &["from one place to the next without end"],
    );
    fails(
        Behaviour { round: true, ..Behaviour::default() },
        &[WEIGHTS, "the answer is no file (HTTP 302"],
    );
}

fn fails(behaviour: Behaviour, parts: &[&str]) {
    let (server, _copy, home) = serve(behaviour);
    let run: Output = server.command(home.path()).env("HF_TOKEN", "hf_wrong").output().unwrap();
    assert_fails(&run, &[&["org/name: "], parts].concat());
    assert!(!stderr(&run).contains("hf_wrong"));
    assert!(!home.path().join("name.mmfree").exists());
    let blobs = names_or_none(&cache(home.path()).join("blobs"));
    assert!(blobs.iter().all(|name| !name.contains("ffff")), "{blobs:?}");
}

fn names_or_none(folder: &Path) -> Vec<String> {
    if folder.exists() { names(folder) } else { Vec::new() }
}

#[test]
fn refusals_are_explained() {
    let refuse = |refuse: &[u16]| Behaviour { refuse: refuse.to_vec(), ..Behaviour::default() };
    fails(refuse(&[401]), &["HTTP 401", "HF_TOKEN"]);
    fails(refuse(&[403]), &["HTTP 403", "access is refused"]);
    fails(
        refuse(&[404]),
        &["HTTP 404", "no such folder here", "no such repository, revision or file"],
    );
    fails(refuse(&[429; 9]), &["HTTP 429", "too many requests"]);
    fails(refuse(&[503; 9]), &["HTTP 503", "the Hub has trouble of its own, try again later"]);
    fails(refuse(&[400]), &["HTTP 400", "the Hub does not understand the request"]);
    fails(refuse(&[407]), &["HTTP 407", "a proxy asks for a name and a password"]);
    fails(
        Behaviour { listing: Some("<html><p>Sign in</html>"), ..Behaviour::default() },
        &["the answer is a page of HTML, not the Hub's list of its files"],
    );
    fails(
        Behaviour { token: Some("hf_right"), ..Behaviour::default() },
        &["HTTP 401", "is not good"],
    );
    // Later is soon enough.
    let (server, _copy, home) = serve(refuse(&[429, 503]));
    works(&mut server.command(home.path()));
}

/// What a token, a login or a later time would give is in the cache already.
#[test]
fn what_the_cache_has_is_used_with_a_note_where_the_hub_gives_nothing() {
    let (server, copy, home) = serve(Behaviour::default());
    works(&mut server.command(home.path()));
    let run = |refuse: &[u16]| {
        let behaviour = Behaviour { refuse: refuse.to_vec(), ..Behaviour::default() };
        let server = Server::start(copy.path().to_owned(), behaviour);
        server.loud_command(home.path()).arg("--force").output().unwrap()
    };
    for refuse in [&[401][..], &[403], &[429; 4], &[500; 4], &[503; 4]] {
        let output = run(refuse);
        let stderr = stderr(&output);
        assert!(output.status.success(), "{stderr}");
        let note = stderr.lines().find(|line| line.starts_with("note: the Hub: ")).unwrap();
        let status = format!("(HTTP {} from ", refuse[0]);
        assert!(note.contains(&status) && note.contains("what the cache has is used"), "{note}");
        assert!(note.contains(COMMIT), "{note}");
    }
    // A newer commit, of which files are refused.
    let listing = "{\"sha\": \"89abcdef0123456789abcdef0123456789abcdef\", \"siblings\": \
                   [{\"rfilename\": \"config.json\"}]}";
    let behaviour =
        Behaviour { listing: Some(listing), refuse_files: Some(403), ..Behaviour::default() };
    let newer = Server::start(copy.path().to_owned(), behaviour);
    let output = newer.loud_command(home.path()).arg("--force").output().unwrap();
    let note = "note: the Hub: config.json: access is refused";
    assert!(output.status.success() && stderr(&output).contains(note), "{output:?}");
    let output = newer.loud_command(temp_dir().path()).output().unwrap();
    assert_fails(&output, &["org/name: config.json: access is refused", "HTTP 403"]);
    // One that is gone is gone.
    assert_fails(&run(&[404]), &["HTTP 404"]);
    let nowhere = "http://127.0.0.1:1";
    let mut command = server.loud_command(home.path());
    let output = command.arg("--force").env("HF_ENDPOINT", nowhere).output().unwrap();
    assert!(stderr(&output).contains("note: the Hub: it cannot be reached: "), "{output:?}");

    let weights = cache(home.path()).join("snapshots").join(COMMIT).join(WEIGHTS);
    std::fs::remove_file(&weights).unwrap();
    assert_fails(
        &run(&[403]),
        &["org/name: access is refused", "HTTP 403", "has no weights (model.s"],
    );
}

#[test]
fn offline_it_names_what_the_cache_lacks() {
    let copy = Copy::of("d_sharded_fp32");
    let server = Server::start(copy.path().to_owned(), Behaviour::default());
    let home = temp_dir();
    works(&mut server.command(home.path()));
    let snapshot = cache(home.path()).join("snapshots").join(COMMIT);
    let run = |variable: &str| {
        let mut command = server.loud_command(home.path());
        command.arg("--force").env(variable, "1").output().unwrap()
    };
    // It is known what the repository has not: nothing is noted of it.
    let output = run("TRANSFORMERS_OFFLINE");
    assert!(output.status.success() && !stderr(&output).contains("without the Hub"), "{output:?}");
    for name in ["config.json", "model-00002-of-00004.safetensors"] {
        std::fs::rename(snapshot.join(name), home.path().join("aside")).unwrap();
        let lack = format!("{COMMIT} has no {name}");
        assert_fails(&run("HF_HUB_OFFLINE"), &["org/name: HF_HUB_OFFLINE is set, and ", &lack]);
        assert_fails(&run("TRANSFORMERS_OFFLINE"), &["TRANSFORMERS_OFFLINE is set, and ", &lack]);
        std::fs::rename(home.path().join("aside"), snapshot.join(name)).unwrap();
    }
    // Without an index, the set of shards says what it lacks.
    std::fs::remove_file(snapshot.join("model.safetensors.index.json")).unwrap();
    assert!(run("HF_HUB_OFFLINE").status.success());
    std::fs::remove_file(snapshot.join("model-00003-of-00004.safetensors")).unwrap();
    assert_fails(&run("HF_HUB_OFFLINE"), &["no model-00003-of-00004.safetensors"]);
    for n in [1, 2, 4] {
        std::fs::remove_file(snapshot.join(format!("model-0000{n}-of-00004.safetensors"))).unwrap();
    }
    assert_fails(
        &run("HF_HUB_OFFLINE"),
        &["has no weights (model.safetensors, pytorch_model.bin)"],
    );
    assert_eq!(run("HF_HUB_OFFLINE").status.code(), Some(1));

    // A cache of another tool, which asked for some files alone.
    let home = temp_dir();
    let server = Server::start(checkpoint().path().to_owned(), Behaviour::default());
    let snapshot = cache(home.path()).join("snapshots").join(COMMIT);
    std::fs::create_dir_all(&snapshot).unwrap();
    for name in ["config.json", WEIGHTS] {
        std::fs::copy(case("m_small_activations_eps").join(name), snapshot.join(name)).unwrap();
    }
    let mut command = server.loud_command(home.path());
    let output = command.args(["--revision", COMMIT]).env("HF_HUB_OFFLINE", "1").output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let note = "note: the cache has no generation_config.json, tokenizer_config.json, \
                special_tokens_map.json, added_tokens.json, chat_template.jinja, tokenizer.json, \
                and without the Hub it is not known whether";
    assert!(stderr(&output).contains(note), "{}", stderr(&output));
}

/// As servers and proxies do that compress, or make the answer as they send it.
#[test]
fn a_file_whose_length_is_not_announced_is_downloaded() {
    for how in [Unsized::Length, Unsized::Chunked, Unsized::End] {
        for cut in [None, Some(100)] {
            let behaviour = Behaviour { unsized_as: Some(how), cut, ..Behaviour::default() };
            let (server, copy, home) = serve(behaviour);
            let output = server.command(home.path()).output().unwrap();
            // An end of the connection looks like that of the file, but for its hash.
            if how == Unsized::End && cut.is_some() {
                assert_fails(&output, &["config.json: its hash is ", "not kept"]);
                works(&mut server.command(home.path()));
            } else {
                assert!(output.status.success(), "{how:?} {cut:?} {}", stderr(&output));
            }
            let snapshot = cache(home.path()).join("snapshots").join(COMMIT);
            for name in names(copy.path()) {
                let [a, b] =
                    [&snapshot, copy.path()].map(|f| std::fs::read(f.join(&name)).unwrap());
                assert!(a == b, "{how:?} {name}");
            }
        }
    }
    let (unsized_as, etag) = (Some(Unsized::End), Some("no-hash"));
    fails(
        Behaviour { unsized_as, etag, ..Behaviour::default() },
        &["config.json: the Hub does not say its size, nor marks its end"],
    );
}

#[test]
fn an_authority_of_its_own_is_trusted_if_the_environment_names_it() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tls");
    let (server, _copy, home) = serve(Behaviour { tls: true, ..Behaviour::default() });
    let run = |variable: &str, path: &Path| {
        let mut command = server.command(home.path());
        command.env(variable, path).output().unwrap()
    };
    let output = server.command(home.path()).output().unwrap();
    assert_fails(&output, &["it cannot be reached", "UnknownIssuer", "set SSL_CERT_FILE"]);
    let output = run("SSL_CERT_FILE", &data.join("server.key"));
    assert_fails(&output, &["SSL_CERT_FILE is ", "server.key, which has no certificate"]);
    assert_fails(
        &run("SSL_CERT_FILE", &data.join("absent")),
        &["which cannot be read: No such file"],
    );
    for (variable, path) in [
        ("SSL_CERT_FILE", data.join("authority.pem")),
        ("REQUESTS_CA_BUNDLE", data.join("authority.pem")),
        ("SSL_CERT_DIR", data),
    ] {
        let output = run(variable, &path);
        assert!(output.status.success(), "{variable} {}", stderr(&output));
        std::fs::remove_dir_all(cache(home.path())).unwrap();
    }
}

#[test]
fn without_a_network_and_without_a_cache_it_says_so() {
    let (server, _copy, home) = serve(Behaviour::default());
    let run = server.command(home.path()).env("HF_HUB_OFFLINE", "1").output().unwrap();
    assert_fails(&run, &["org/name: no such folder here", "HF_HUB_OFFLINE is set", "main"]);
    let nowhere = "http://127.0.0.1:1";
    let run = server.command(home.path()).env("HF_ENDPOINT", nowhere).output().unwrap();
    assert_fails(&run, &["org/name: no such folder here", "it cannot be reached"]);
    for wrong in ["hf.co", "ftp://hf.co", "https://", "https://hf.co/ x"] {
        let run = server.command(home.path()).env("HF_ENDPOINT", wrong).output().unwrap();
        assert_fails(&run, &["HF_ENDPOINT is ", wrong, "https://huggingface.co"]);
    }
    assert_eq!(server.requests(), [""; 0]);
}

#[test]
fn wrong_data_are_not_kept() {
    let wrong = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";
    fails(
        Behaviour { wrong_hash: Some(wrong), ..Behaviour::default() },
        &[WEIGHTS, "its hash is ", wrong, "not kept"],
    );
    fails(Behaviour { longer: 3, ..Behaviour::default() }, &[WEIGHTS, "but the Hub announced"]);
    fails(
        Behaviour { wrong_hash: Some("../../x"), ..Behaviour::default() },
        &["its ETag is ../../x, which cannot name a file of the cache"],
    );
    fails(
        Behaviour { etag: Some(""), ..Behaviour::default() },
        &["config.json: http://127.0.0.1:", " answers without an ETag", "proxy or mirror"],
    );
}

#[test]
fn shards_come_from_their_own_folder_alone() {
    let copy = checkpoint();
    std::fs::remove_file(copy.path().join(WEIGHTS)).unwrap();
    for shard in ["../../secret", "/etc/passwd", "absent.safetensors"] {
        let index = serde_json::json!({"weight_map": {"x": shard}}).to_string();
        let behaviour = Behaviour { index: Some(index), ..Behaviour::default() };
        let server = Server::start(copy.path().to_owned(), behaviour);
        let home = temp_dir();
        let output = server.command(home.path()).output().unwrap();
        assert_fails(&output, &["model.safetensors.index.json", "which is not there"]);
    }
}

#[test]
fn a_token_may_stand_in_a_file() {
    let (server, _copy, home) = serve(Behaviour { token: Some("hf_y"), ..Behaviour::default() });
    let elsewhere = temp_dir();
    let mut command = server.command(elsewhere.path());
    works(command.env("HUGGING_FACE_HUB_TOKEN", "hf_y"));
    works(command.env("HF_TOKEN", "hf_y").env("HUGGING_FACE_HUB_TOKEN", "hf_wrong"));
    std::fs::write(home.path().join("mine"), "hf_y\n").unwrap();
    works(server.command(home.path()).env("HF_TOKEN_PATH", home.path().join("mine")));
    works(server.command(home.path()).env("HOME", home.path()).env("HF_TOKEN_PATH", "~/mine"));
    let other = temp_dir();
    std::fs::write(other.path().join("token"), "hf_y").unwrap();
    works(&mut server.command(other.path()));
}
