//! Requests to the Hub.

use std::fs::Metadata;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use ureq::config::RedirectAuthHeaders;
use ureq::http::Response;
use ureq::tls::TlsConfig;
use ureq::{Agent, Body};

use super::cache::{home, path, variable};
use super::{MAX_LIST, roots};
use crate::options::Options;
use crate::text::clip;

/// How often a request is sent that is answered by "later".
const TRIES: u32 = 4;

/// The longest pause that an answer may ask for.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// How long nothing is looked at while there is nothing to do but wait.
pub const GLANCE: Duration = Duration::from_millis(100);

/// Why there is no answer.
pub enum Failure {
    /// The Hub was not reached.
    Network(String),
    /// The Hub gives nothing out now, or to this user: what is in the cache may do.
    Refused(String),
    /// The Hub's answer is of no use.
    Answer(String),
    /// The user has had enough.
    Cancelled,
}

/// What the Hub says of a file before it is downloaded.
pub struct Announced {
    /// Names its content.
    pub etag: String,
    /// Its bytes, if the Hub says.
    pub size: Option<u64>,
}

/// What an etag can be of a file's content.
pub enum Hash {
    /// SHA-256, of a large file.
    Sha256,
    /// The SHA-1 that git has of a small one.
    Git,
}

impl Announced {
    /// The kind of hash that the etag is; `None` where it says nothing of the content.
    pub fn hash(&self) -> Option<Hash> {
        let is_hex = self.etag.bytes().all(|b| b.is_ascii_hexdigit());
        match self.etag.len() {
            64 if is_hex => Some(Hash::Sha256),
            40 if is_hex => Some(Hash::Git),
            _ => None,
        }
    }

    /// Whether the file at `path`, which has the etag's name only once it is complete, is this one.
    pub fn is_whole(&self, path: &Path) -> bool {
        let fits = |meta: Metadata| self.size.is_none_or(|size| meta.len() == size);
        std::fs::metadata(path).is_ok_and(fits)
    }
}

/// A client with the user's token.
pub struct Client<'a> {
    options: &'a Options,
    agent: Agent,
    endpoint: String,
    token: Option<String>,
}

/// The variable of the environment that forbids the network; the first one that is set counts.
pub fn offline() -> Option<&'static str> {
    let set = |name| Some((name, variable(name)?));
    let (name, value) = ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"].into_iter().find_map(set)?;
    ["1", "on", "yes", "true"].contains(&value.to_lowercase().as_str()).then_some(name)
}

impl<'a> Client<'a> {
    /// As the environment says: `HF_ENDPOINT`; `HF_TOKEN`, `HUGGING_FACE_HUB_TOKEN` or the file at
    /// `HF_TOKEN_PATH`; `SSL_CERT_FILE` and its kin.
    ///
    /// # Errors
    /// An endpoint, a token or certificates that cannot be such.
    pub fn from_env(options: &'a Options) -> Result<Client<'a>, String> {
        let endpoint = variable("HF_ENDPOINT").unwrap_or("https://huggingface.co".into());
        let host = ["https://", "http://"].iter().find_map(|scheme| endpoint.strip_prefix(scheme));
        if !host.is_some_and(|host| !host.is_empty() && host.bytes().all(|b| b.is_ascii_graphic()))
        {
            let endpoint = clip(&endpoint);
            return Err(format!("HF_ENDPOINT is {endpoint}, must be as https://huggingface.co"));
        }
        let token = match variable("HF_TOKEN").or_else(|| variable("HUGGING_FACE_HUB_TOKEN")) {
            Some(token) => Some(token),
            None => {
                let path = path("HF_TOKEN_PATH").or_else(|| Some(home().ok()?.join("token")));
                path.and_then(|path| std::fs::read_to_string(path).ok())
            }
        };
        let token = token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty());
        if token.as_ref().is_some_and(|token| !token.bytes().all(|b| b.is_ascii_graphic())) {
            return Err(
                "the token of HF_TOKEN, HUGGING_FACE_HUB_TOKEN or HF_TOKEN_PATH cannot be one: \
                        it has other characters than ASCII's letters, digits and signs"
                    .into(),
            );
        }
        let tls = TlsConfig::builder().root_certs(roots::trusted(path)?).build();
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .tls_config(tls)
            // A token goes to the Hub, and not to where the Hub sends us for the data.
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .max_redirects_will_error(false)
            .timeout_connect(Some(Duration::from_secs(20)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .user_agent(concat!("mmfree-convert/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Ok(Client { options, agent, endpoint: endpoint.trim_end_matches('/').to_owned(), token })
    }

    /// The list of a repository's files at a revision, and its commit, in JSON.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn listing(&self, id: &str, revision: &str) -> Result<Vec<u8>, Failure> {
        let revision = revision.replace('/', "%2F").replace(' ', "%20");
        let url = format!("{}/api/models/{id}/revision/{revision}", self.endpoint);
        let response = self.send(|| self.get(&url, &[]))?;
        let mut body = Vec::new();
        let mut reader = response.into_body().into_reader().take(MAX_LIST + 1);
        reader.read_to_end(&mut body).map_err(|e| Failure::Network(network(&e.to_string())))?;
        if body.len() as u64 > MAX_LIST {
            return Err(Failure::Answer("the Hub's list of its files is too long".into()));
        }
        Ok(body)
    }

    /// Where a file of a commit is.
    pub fn url(&self, id: &str, commit: &str, name: &str) -> String {
        format!(
            "{}/{id}/resolve/{commit}/{}",
            self.endpoint,
            name.replace(' ', "%20").replace('+', "%2B")
        )
    }

    /// Asks what is at a URL.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn announced(&self, url: &str) -> Result<Announced, Failure> {
        let mut url = url.to_owned();
        for _ in 0..5 {
            let response = self.send(|| {
                // Large files are elsewhere, but this answer has their size and hash.
                let request = self.agent.head(&url).config().max_redirects(0).build();
                let request = request.header("Accept-Encoding", "identity");
                let own = origin(&url).eq_ignore_ascii_case(origin(&self.endpoint));
                if own { self.authorise(request) } else { request }.call()
            })?;
            let header = |name: &str| response.headers().get(name)?.to_str().ok();
            // A repository that was renamed, or a place that the Hub keeps small files in.
            let location = header("location").filter(|_| response.status().is_redirection());
            let elsewhere = |location: &&str| {
                let relative = location.starts_with('/') && !location.starts_with("//");
                relative || header("x-linked-etag").is_none()
            };
            if let Some(location) = location.filter(elsewhere) {
                url = resolve(&url, location);
                continue;
            }
            let etag = header("x-linked-etag").or_else(|| header("etag")).unwrap_or_default();
            let etag = etag.trim_start_matches("W/").trim_matches('"').to_owned();
            let name = |b: u8| b.is_ascii_alphanumeric() || b"_-".contains(&b);
            if etag.is_empty() {
                return Err(Failure::Answer(format!(
                    "{} answers without an ETag, by which the cache knows a file; a proxy or mirror \
                     may leave it out",
                    self.endpoint
                )));
            }
            if etag.len() > 128 || !etag.bytes().all(name) {
                return Err(Failure::Answer(format!(
                    "its ETag is {}, which cannot name a file of the cache",
                    clip(&etag)
                )));
            }
            let size = header("x-linked-size").or_else(|| header("content-length"));
            return Ok(Announced { etag, size: size.and_then(|size| size.parse().ok()) });
        }
        Err(Failure::Answer("the Hub sends from one place to the next without end".into()))
    }

    /// The bytes at a URL from number `from` on; the answer may begin with the first all the same.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn bytes(&self, url: &str, from: u64) -> Result<Response<Body>, Failure> {
        let range = format!("bytes={from}-");
        let headers = [("Range", range.as_str())];
        let response = self.send(|| self.get(url, if from > 0 { &headers } else { &[] }))?;
        match response.status().as_u16() {
            200 | 206 | 416 => Ok(response),
            status => Err(Failure::Answer(format!(
                "the answer is no file (HTTP {status} from {})",
                self.endpoint
            ))),
        }
    }

    fn get(&self, url: &str, headers: &[(&str, &str)]) -> Result<Response<Body>, ureq::Error> {
        let request = headers.iter().fold(self.agent.get(url), |r, &(k, v)| r.header(k, v));
        self.authorise(request).call()
    }

    fn authorise<T>(&self, request: ureq::RequestBuilder<T>) -> ureq::RequestBuilder<T> {
        match &self.token {
            Some(token) => request.header("Authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    fn pause(&self, pause: Duration) -> Result<(), Failure> {
        let end = Instant::now() + pause;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            self.options.check_cancelled().map_err(|_| Failure::Cancelled)?;
            std::thread::sleep(left.min(GLANCE));
        }
        Ok(())
    }

    /// Sends a request, again after a pause where the answer is "later".
    fn send(
        &self,
        request: impl Fn() -> Result<Response<Body>, ureq::Error>,
    ) -> Result<Response<Body>, Failure> {
        let mut tries = 0;
        loop {
            tries += 1;
            let response = request().map_err(|e| Failure::Network(network(&e.to_string())))?;
            let status = response.status().as_u16();
            let reason = match status {
                200..=399 | 416 => return Ok(response),
                429 | 500..=599 if tries < TRIES => {
                    let asked = response.headers().get("retry-after");
                    let asked = asked.and_then(|value| value.to_str().ok()?.parse().ok());
                    let pause = asked.map_or(Duration::from_secs(1 << tries), Duration::from_secs);
                    self.pause(pause.min(MAX_PAUSE))?;
                    continue;
                }
                401 if self.token.is_none() => {
                    "there is no such repository, or it asks for a token: set HF_TOKEN"
                }
                401 => "there is no such repository, or the token of HF_TOKEN is not good for it",
                403 => "access is refused: the repository's page says how to get it",
                404 => "there is no such repository, revision or file",
                407 => "a proxy asks for a name and a password: set them in https_proxy",
                429 => "too many requests, try again later",
                500..=599 => "the Hub has trouble of its own, try again later",
                _ => "the Hub does not understand the request",
            };
            let reason = format!("{reason} (HTTP {status} from {})", self.endpoint);
            return Err(match status {
                401 | 403 | 429 | 500..=599 => Failure::Refused(reason),
                _ => Failure::Answer(reason),
            });
        }
    }
}

/// The scheme and the host of a URL.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    url[host..].find('/').map_or(url, |len| &url[..host + len])
}

/// Where a `Location` leads from a URL (RFC 3986, section 5.2, without `..`).
fn resolve(base: &str, location: &str) -> String {
    if location.contains("://") && !location.starts_with('/') {
        return location.to_owned();
    }
    if location.starts_with("//") {
        let scheme = base.find("//").unwrap_or(0);
        return format!("{}{location}", &base[..scheme]);
    }
    if location.starts_with('/') {
        return format!("{}{location}", origin(base));
    }
    let path = base.split('?').next().unwrap_or(base);
    let folder = path.rfind('/').unwrap_or(0).max(origin(base).len());
    format!("{}/{location}", &base[..folder])
}

fn network(reason: &str) -> String {
    let reason = clip(reason);
    // Whoever looks into the connection signs with an authority of its own.
    let own = match reason.contains("UnknownIssuer") {
        true => {
            "; if the network has an authority of its own, set SSL_CERT_FILE to its certificates"
        }
        false => "",
    };
    format!("it cannot be reached: {reason}{own}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_leads_where_it_says() {
        let base = "https://a.b:1/hf/x?y=/z";
        for (location, expected) in [
            ("https://c/d", "https://c/d"),
            ("//c/d", "https://c/d"),
            ("/d?e=https://f", "https://a.b:1/d?e=https://f"),
            ("d", "https://a.b:1/hf/d"),
        ] {
            assert_eq!(resolve(base, location), expected);
        }
        assert_eq!(resolve("http://a", "d"), "http://a/d");
        assert_eq!(origin(base), "https://a.b:1");
        assert_eq!(origin("http://a"), "http://a");
    }
}
