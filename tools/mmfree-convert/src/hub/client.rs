//! Requests to the Hub.

use std::io::Read;
use std::time::Duration;

use ureq::config::RedirectAuthHeaders;
use ureq::http::Response;
use ureq::{Agent, Body};

use super::MAX_LIST;
use super::cache::{home, variable};
use crate::text::clip;

/// How often a request is sent that is answered by "later".
const TRIES: u32 = 4;

/// The longest pause that an answer may ask for.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// Why there is no answer.
pub enum Failure {
    /// The Hub was not reached.
    Network(String),
    /// The Hub refused.
    Answer(String),
}

/// What the Hub says of a file before it is downloaded.
pub struct Announced {
    /// Names its content.
    pub etag: String,
    /// Its bytes.
    pub size: u64,
}

/// A client with the user's token.
pub struct Client {
    agent: Agent,
    endpoint: String,
    token: Option<String>,
}

/// Whether the environment forbids the network.
pub fn offline() -> bool {
    let on = |value: String| ["1", "on", "yes", "true"].contains(&value.to_lowercase().as_str());
    variable("HF_HUB_OFFLINE").is_some_and(on)
}

impl Client {
    /// As the environment says: `HF_ENDPOINT`, `HF_TOKEN` or the file at `HF_TOKEN_PATH`.
    ///
    /// # Errors
    /// A token that cannot be one.
    pub fn from_env() -> Result<Client, String> {
        let endpoint = variable("HF_ENDPOINT").unwrap_or("https://huggingface.co".into());
        let token = match variable("HF_TOKEN") {
            Some(token) => Some(token),
            None => {
                let path = variable("HF_TOKEN_PATH").map(Into::into);
                let path = path.or_else(|| Some(home().ok()?.join("token")));
                path.and_then(|path: std::path::PathBuf| std::fs::read_to_string(path).ok())
            }
        };
        let token = token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty());
        if token.as_ref().is_some_and(|token| !token.bytes().all(|b| b.is_ascii_graphic())) {
            return Err(
                "the token of HF_TOKEN or HF_TOKEN_PATH is none: it has strange characters".into(),
            );
        }
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            // A token goes to the Hub, and not to where the Hub sends us for the data.
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .max_redirects_will_error(false)
            .timeout_connect(Some(Duration::from_secs(20)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .user_agent(concat!("mmfree-convert/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Ok(Client { agent, endpoint: endpoint.trim_end_matches('/').to_owned(), token })
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
                self.authorise(request.header("Accept-Encoding", "identity")).call()
            })?;
            let header = |name: &str| response.headers().get(name)?.to_str().ok();
            // A repository that was renamed.
            if let Some(path) = header("location").filter(|location| location.starts_with('/')) {
                url = format!("{}{path}", self.endpoint);
                continue;
            }
            let etag = header("x-linked-etag").or_else(|| header("etag")).unwrap_or_default();
            let etag = etag.trim_start_matches("W/").trim_matches('"').to_owned();
            let name = |b: u8| b.is_ascii_alphanumeric() || b"_-".contains(&b);
            if etag.is_empty() || etag.len() > 128 || !etag.bytes().all(name) {
                return Err(Failure::Answer(format!("its etag is {}, which is none", clip(&etag))));
            }
            let size = header("x-linked-size").or_else(|| header("content-length"));
            let size = size.and_then(|size| size.parse().ok());
            let size =
                size.ok_or_else(|| Failure::Answer("the Hub does not say its size".into()))?;
            return Ok(Announced { etag, size });
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
        self.send(|| self.get(url, if from > 0 { &headers } else { &[] }))
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
                    std::thread::sleep(pause.min(MAX_PAUSE));
                    continue;
                }
                401 if self.token.is_none() => {
                    "there is no such repository, or it asks for a token: set HF_TOKEN"
                }
                401 => "there is no such repository, or the token of HF_TOKEN is not good for it",
                403 => "access is refused: the repository's page says how to get it",
                404 => "there is no such repository, revision or file",
                429 => "too many requests, try again later",
                _ => "no answer that helps",
            };
            return Err(Failure::Answer(format!(
                "{reason} (HTTP {status} from {})",
                self.endpoint
            )));
        }
    }
}

fn network(reason: &str) -> String {
    format!("the Hub cannot be reached: {}", clip(reason))
}
