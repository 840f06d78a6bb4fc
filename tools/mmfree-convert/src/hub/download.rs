//! Downloading one file into the cache: resumed after a cut, checked before it gets its name.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sha1::Sha1;
use sha2::{Digest, Sha256};
use ureq::BodyReader;

use super::Trouble;
use super::cache::Cache;
use super::cache::variable;
use super::client::{Announced, Client, Failure, GLANCE, Hash};
use crate::error::Error;
use crate::options::Options;
use crate::progress::Progress;
use crate::text::{clip, hex};

/// How often in a row a download may be cut without a byte more.
const CUTS: u32 = 3;

/// How long a connection may say nothing: then it is taken for cut. `HF_HUB_DOWNLOAD_TIMEOUT`
/// has another number of seconds.
const SILENCE: Duration = Duration::from_secs(60);

/// A file of a repository.
pub struct File<'a> {
    /// The repository.
    pub id: &'a str,
    /// The commit.
    pub commit: &'a str,
    /// The file's name.
    pub name: &'a str,
}

/// Gives the path of a file in the cache, after it is there.
///
/// # Errors
/// What the Hub or the network says; data of another size or hash than announced; a cache that
/// cannot be written.
pub fn file(
    client: &Client<'_>,
    cache: &Cache,
    file: &File<'_>,
    options: &Options,
) -> std::result::Result<PathBuf, Trouble> {
    let path = cache.snapshot_folder(file.commit).join(file.name);
    // A commit never changes.
    if path.is_file() {
        return Ok(path);
    }
    let fail = |reason: String| Error::Hub {
        id: file.id.to_owned(),
        reason: format!("{}: {reason}", file.name),
    };
    let reason = |failure| match failure {
        Failure::Refused(reason) => Trouble::Refused(format!("{}: {reason}", file.name)),
        Failure::Network(reason) | Failure::Answer(reason) => fail(reason).into(),
        Failure::Cancelled => Error::Cancelled.into(),
    };
    let url = client.url(file.id, file.commit, file.name);
    let announced = client.announced(&url).map_err(reason)?;
    let blob = cache.blob(&announced.etag);
    if !announced.is_whole(&blob) {
        let folder = cache.root().join("blobs");
        fs::create_dir_all(&folder).map_err(mmfree::Error::io("cannot write in", &folder))?;
        let size = announced.size.map(|size| format!(" ({})", crate::text::bytes(size)));
        let title = format!("downloading {}{}", file.name, size.unwrap_or_default());
        let progress = Progress::start(options.report, &title, announced.size.unwrap_or_default());
        let download = Download {
            client,
            url: &url,
            announced: &announced,
            title: &title,
            progress: &progress,
            options,
        };
        download.run(&blob, &cache.lock_file(&announced.etag)).map_err(|stop| match stop {
            Stop::Cancelled => Error::Cancelled.into(),
            Stop::Failed(failure) => reason(failure),
            Stop::Io(path, error) => mmfree::Error::io("cannot write", &path)(error).into(),
        })?;
    }
    Ok(cache.link(file.commit, file.name, &announced.etag).map_err(fail)?)
}

/// Why a download ends.
enum Stop {
    Cancelled,
    Failed(Failure),
    Io(PathBuf, io::Error),
}

struct Download<'a> {
    client: &'a Client<'a>,
    url: &'a str,
    announced: &'a Announced,
    title: &'a str,
    progress: &'a Progress,
    options: &'a Options,
}

impl Download<'_> {
    fn run(&self, blob: &Path, lock: &Path) -> std::result::Result<(), Stop> {
        // Another download of the same file has it; once that is done, the blob is there.
        let _lock = self.lock(lock)?;
        if self.announced.is_whole(blob) {
            return Ok(());
        }
        let mut name = blob.as_os_str().to_owned();
        name.push(".incomplete");
        let path = PathBuf::from(name);
        let io = |error| Stop::Io(path.clone(), error);
        let open =
            || OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut out = open().map_err(io)?;
        let mut size = self.announced.size;
        let mut done = out.seek(SeekFrom::End(0)).map_err(io)?;
        if size.is_none_or(|size| done > size) {
            done = 0;
        }
        self.show(done);
        let mut cuts = 0;
        while size.is_none_or(|size| done < size) {
            let before = done;
            match self.part(&mut out, &mut done, &mut size, &path) {
                Err(Stop::Failed(Failure::Network(reason))) => {
                    cuts = if done > before { 0 } else { cuts + 1 };
                    if cuts >= CUTS {
                        return Err(Stop::Failed(Failure::Network(reason)));
                    }
                }
                other => other?,
            }
        }
        out.set_len(done).map_err(io)?;
        self.check(&mut out, done, &path)?;
        out.sync_all().map_err(io)?;
        fs::rename(&path, blob).map_err(io)
    }

    /// Shows how far it is, if it is known how far it goes.
    fn show(&self, done: u64) {
        if self.announced.size.is_some() {
            self.progress.set(done);
        }
    }

    /// Takes the lock that other tools take too: `flock`, as the `filelock` of Python has it on Unix.
    fn lock(&self, path: &Path) -> std::result::Result<fs::File, Stop> {
        let io = |error| Stop::Io(path.to_owned(), error);
        let folder = path.parent().unwrap_or(path);
        fs::create_dir_all(folder).map_err(io)?;
        let mut waits = false;
        loop {
            let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
            let file = file.map_err(io)?;
            match file.try_lock() {
                Ok(()) => {
                    // Whoever had it may have removed it.
                    let (ours, there) = (file.metadata().map_err(io)?, fs::metadata(path));
                    if there
                        .is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino()))
                    {
                        if waits {
                            self.progress.message(self.title);
                        }
                        return Ok(file);
                    }
                }
                Err(fs::TryLockError::WouldBlock) => {
                    if !waits {
                        self.progress.message("waiting for another download of it");
                        waits = true;
                    }
                    self.options.check_cancelled().map_err(|_| Stop::Cancelled)?;
                    std::thread::sleep(GLANCE);
                }
                Err(fs::TryLockError::Error(error)) => return Err(io(error)),
            }
        }
    }

    /// Reads one answer to its end. A `size` that was not announced is that of the answer.
    fn part(
        &self,
        out: &mut fs::File,
        done: &mut u64,
        size: &mut Option<u64>,
        path: &Path,
    ) -> std::result::Result<(), Stop> {
        let io = |error| Stop::Io(path.to_owned(), error);
        let response = self.client.bytes(self.url, *done).map_err(Stop::Failed)?;
        let header = |name: &str| response.headers().get(name)?.to_str().ok();
        let answer = |reason: String| Stop::Failed(Failure::Answer(reason));
        let network = |reason: String| Stop::Failed(Failure::Network(reason));
        match response.status().as_u16() {
            206 => {
                let range = header("content-range").unwrap_or_default();
                let fits = range.strip_prefix(&format!("bytes {done}-"));
                let total = fits.and_then(|range| range.split_once('/')).map(|(_, total)| total);
                let len = total.and_then(|total| total.parse().ok());
                if !total.is_some_and(|total| {
                    total == "*" || len.is_some() && size.is_none_or(|size| len == Some(size))
                }) {
                    let of = size.map_or_else(String::new, |size| format!(" of {size}"));
                    return Err(answer(format!(
                        "byte {done}{of} was asked for, but the answer is {}",
                        clip(range)
                    )));
                }
                *size = size.or(len);
            }
            416 => {
                *done = 0;
                out.set_len(0).map_err(io)?;
                return Err(network("the Hub has less of it than it announced".to_owned()));
            }
            // All of it, from the start: what is there is of no use.
            _ => {
                *done = 0;
                let len: Option<u64> = header("content-length").and_then(|len| len.parse().ok());
                if let (Some(len), Some(size)) = (len, *size)
                    && len != size
                {
                    return Err(answer(format!("has {len} bytes, but the Hub announced {size}")));
                }
                *size = size.or(len);
            }
        }
        // An end that is neither told beforehand nor marked may be that of the connection alone.
        let marked = header("transfer-encoding").is_some_and(|coding| coding.contains("chunked"));
        if size.is_none() && !marked && self.announced.hash().is_none() {
            return Err(answer("the Hub does not say its size, nor marks its end".to_owned()));
        }
        out.seek(SeekFrom::Start(*done)).map_err(io)?;
        let incoming = Incoming::start(response.into_body().into_reader());
        while size.is_none_or(|size| *done < size) {
            let chunk = incoming.next(self.options)?;
            if chunk.is_empty() {
                let Some(size) = *size else {
                    *size = Some(*done);
                    return Ok(());
                };
                return Err(network(format!("ends after {done} of {size} bytes")));
            }
            let left = size.map_or(u64::MAX, |size| size - *done);
            let count = (chunk.len() as u64).min(left) as usize;
            out.write_all(&chunk[..count]).map_err(io)?;
            *done += count as u64;
            self.show(*done);
        }
        Ok(())
    }

    /// Holds what was downloaded against its etag: the SHA-256 of a large file, the git hash of a
    /// small one. Other servers may give etags that say nothing of the content.
    fn check(&self, out: &mut fs::File, size: u64, path: &Path) -> std::result::Result<(), Stop> {
        let io = |error| Stop::Io(path.to_owned(), error);
        let etag = &self.announced.etag;
        let hash = match self.announced.hash() {
            Some(Hash::Sha256) => digest::<Sha256>(out, b"").map_err(io)?,
            Some(Hash::Git) => {
                let head = format!("blob {size}\0");
                digest::<Sha1>(out, head.as_bytes()).map_err(io)?
            }
            None => return Ok(()),
        };
        if hash != etag.to_lowercase() {
            // To be downloaded anew the next time.
            fs::remove_file(path).map_err(io)?;
            let reason = format!("its hash is {hash}, but the Hub announced {etag}: not kept");
            return Err(Stop::Failed(Failure::Answer(reason)));
        }
        Ok(())
    }
}

/// The bytes of an answer as they come, read by a thread of their own: a connection that says nothing
/// any more, as one whose other end is gone, would hold up whoever reads from it for ever. Where the
/// system gives no thread, they are read all the same.
struct Incoming {
    body: Arc<Mutex<BodyReader<'static>>>,
    chunks: Option<Receiver<io::Result<Vec<u8>>>>,
    silence: Duration,
}

impl Incoming {
    fn start(body: BodyReader<'static>) -> Incoming {
        let seconds = variable("HF_HUB_DOWNLOAD_TIMEOUT").and_then(|text| text.parse().ok());
        let silence = seconds.filter(|&n| n > 0).map_or(SILENCE, Duration::from_secs);
        let body = Arc::new(Mutex::new(body));
        let (sender, chunks) = sync_channel(16);
        let read = body.clone();
        let thread = std::thread::Builder::new().spawn(move || {
            loop {
                let chunk = read_chunk(&read);
                let last = !chunk.as_ref().is_ok_and(|chunk| !chunk.is_empty());
                if sender.send(chunk).is_err() || last {
                    return;
                }
            }
        });
        Incoming { body, chunks: thread.is_ok().then_some(chunks), silence }
    }

    /// The next bytes; none at the end.
    fn next(&self, options: &Options) -> std::result::Result<Vec<u8>, Stop> {
        let cut = |reason: String| Stop::Failed(Failure::Network(format!("was cut: {reason}")));
        options.check_cancelled().map_err(|_| Stop::Cancelled)?;
        let Some(chunks) = &self.chunks else {
            return read_chunk(&self.body).map_err(|e| cut(clip(&e.to_string())));
        };
        let end = Instant::now() + self.silence;
        loop {
            options.check_cancelled().map_err(|_| Stop::Cancelled)?;
            match chunks.recv_timeout(GLANCE) {
                Ok(chunk) => return chunk.map_err(|e| cut(clip(&e.to_string()))),
                Err(RecvTimeoutError::Timeout) if Instant::now() < end => {}
                Err(RecvTimeoutError::Timeout) => {
                    return Err(cut(format!("silent for {} s", self.silence.as_secs())));
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(Vec::new()),
            }
        }
    }
}

/// The next bytes of a body; none at the end.
fn read_chunk(body: &Mutex<BodyReader<'static>>) -> io::Result<Vec<u8>> {
    let mut chunk = vec![0; 1 << 16];
    let mut body = body.lock().unwrap_or_else(PoisonError::into_inner);
    let count = body.read(&mut chunk)?;
    chunk.truncate(count);
    Ok(chunk)
}

/// The hash of some bytes and a whole file.
fn digest<D: Digest>(file: &mut fs::File, head: &[u8]) -> io::Result<String> {
    let mut digest = D::new();
    digest.update(head);
    file.seek(SeekFrom::Start(0))?;
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&digest.finalize())),
            count => digest.update(&buffer[..count]),
        }
    }
}
