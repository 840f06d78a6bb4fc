//! Downloading one file into the cache: resumed after a cut, checked before it gets its name.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::cache::Cache;
use super::client::{Announced, Client, Failure};
use crate::error::{Error, Result};
use crate::options::Options;
use crate::progress::Progress;
use crate::text::hex;

/// How often in a row a download may be cut without a byte more.
const CUTS: u32 = 3;

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
pub fn file(client: &Client, cache: &Cache, file: &File<'_>, options: &Options) -> Result<PathBuf> {
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
        Failure::Network(reason) | Failure::Answer(reason) => fail(reason),
    };
    let url = client.url(file.id, file.commit, file.name);
    let announced = client.announced(&url).map_err(reason)?;
    let blob = cache.blob(&announced.etag);
    if !fs::metadata(&blob).is_ok_and(|meta| meta.len() == announced.size) {
        let folder = cache.root().join("blobs");
        fs::create_dir_all(&folder).map_err(mmfree::Error::io("cannot write in", &folder))?;
        let title = format!("downloading {} ({})", file.name, crate::text::bytes(announced.size));
        let progress = Progress::start(options.report, &title, announced.size);
        let download =
            Download { client, url: &url, announced: &announced, progress: &progress, options };
        download.run(&blob).map_err(|stop| match stop {
            Stop::Cancelled => Error::Cancelled,
            Stop::Failed(failure) => reason(failure),
            Stop::Io(path, error) => mmfree::Error::io("cannot write", &path)(error).into(),
        })?;
    }
    cache.link(file.commit, file.name, &announced.etag).map_err(fail)
}

/// Why a download ends.
enum Stop {
    Cancelled,
    Failed(Failure),
    Io(PathBuf, io::Error),
}

struct Download<'a> {
    client: &'a Client,
    url: &'a str,
    announced: &'a Announced,
    progress: &'a Progress,
    options: &'a Options,
}

impl Download<'_> {
    fn run(&self, blob: &Path) -> std::result::Result<(), Stop> {
        let mut name = blob.as_os_str().to_owned();
        name.push(".incomplete");
        let path = PathBuf::from(name);
        let io = |error| Stop::Io(path.clone(), error);
        let open =
            || OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut out = open().map_err(io)?;
        // Another download of the same file has it; once that is done, the blob is there.
        out.lock().map_err(io)?;
        if fs::metadata(blob).is_ok_and(|meta| meta.len() == self.announced.size) {
            return Ok(());
        }
        let size = self.announced.size;
        let mut done = out.seek(SeekFrom::End(0)).map_err(io)?;
        if done > size {
            done = 0;
        }
        self.progress.add(done);
        let mut cuts = 0;
        while done < size {
            let before = done;
            match self.part(&mut out, &mut done, &path) {
                Err(Stop::Failed(Failure::Network(reason))) => {
                    cuts = if done > before { 0 } else { cuts + 1 };
                    if cuts >= CUTS {
                        return Err(Stop::Failed(Failure::Network(reason)));
                    }
                }
                other => other?,
            }
        }
        out.set_len(size).map_err(io)?;
        self.check(&mut out, &path)?;
        out.sync_all().map_err(io)?;
        fs::rename(&path, blob).map_err(io)
    }

    /// Reads one answer to its end.
    fn part(
        &self,
        out: &mut fs::File,
        done: &mut u64,
        path: &Path,
    ) -> std::result::Result<(), Stop> {
        let io = |error| Stop::Io(path.to_owned(), error);
        let response = self.client.bytes(self.url, *done).map_err(Stop::Failed)?;
        let range = response.headers().get("content-range").and_then(|v| v.to_str().ok());
        let continues = response.status() == 206
            && range.is_some_and(|range| range.starts_with(&format!("bytes {done}-")));
        if !continues {
            // All of it, from the start: what is there is of no use.
            *done = 0;
        }
        if response.status() == 416 {
            out.set_len(0).map_err(io)?;
            let reason = "the Hub has less of it than it announced".to_owned();
            return Err(Stop::Failed(Failure::Network(reason)));
        }
        out.seek(SeekFrom::Start(*done)).map_err(io)?;
        let mut body = response.into_body().into_reader();
        let mut buffer = vec![0; 1 << 18];
        while *done < self.announced.size {
            if self.options.check_cancelled().is_err() {
                return Err(Stop::Cancelled);
            }
            let network = |reason: String| Stop::Failed(Failure::Network(reason));
            let count = body.read(&mut buffer).map_err(|e| network(format!("was cut: {e}")))?;
            if count == 0 {
                return Err(network(format!("ends after {done} of {} bytes", self.announced.size)));
            }
            let count = (count as u64).min(self.announced.size - *done) as usize;
            out.write_all(&buffer[..count]).map_err(io)?;
            *done += count as u64;
            self.progress.add(count as u64);
        }
        Ok(())
    }

    /// Holds what was downloaded against its etag: the SHA-256 of a large file, the git hash of a
    /// small one. Other servers may give etags that say nothing of the content.
    fn check(&self, out: &mut fs::File, path: &Path) -> std::result::Result<(), Stop> {
        let io = |error| Stop::Io(path.to_owned(), error);
        let etag = &self.announced.etag;
        let is_hex = etag.bytes().all(|b| b.is_ascii_hexdigit());
        let hash = match etag.len() {
            64 if is_hex => digest::<Sha256>(out, b"").map_err(io)?,
            40 if is_hex => {
                let head = format!("blob {}\0", self.announced.size);
                digest::<Sha1>(out, head.as_bytes()).map_err(io)?
            }
            _ => return Ok(()),
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
