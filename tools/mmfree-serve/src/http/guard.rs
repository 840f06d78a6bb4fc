//! Who is let in, and a line for the log.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use super::errors::ApiError;
use super::{App, page};
use crate::args::NetworkArgs;
use crate::failure::Failure;
use crate::keys::Keys;

/// Bytes of a request's header at most. hyper's own limit is of its buffer, and lets through some that are larger.
pub const HEADER: usize = 64 * 1024;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Paths for which no key is needed, unless all are protected.
const OPEN: [&str; 3] = ["/tokenizer_info", "/tokenize", "/detokenize"];

/// Who sent a request.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// Whose part of the cache it uses.
    pub space: u64,
    /// Whether it may use all: it has a key, or none is needed.
    pub known: bool,
}

/// Decides who is let in.
#[derive(Debug)]
pub struct Guard {
    keys: Option<Keys>,
    protect_all: bool,
    /// Names under which the server may be reached without a key; `None` for all.
    hosts: Option<Vec<String>>,
    origins: Vec<HeaderValue>,
    any_origin: bool,
}

impl Guard {
    /// # Errors
    /// Where the key file cannot be used, an origin is none, or an address that others reach would be open to all.
    pub fn new(args: &NetworkArgs) -> Result<Guard, Failure> {
        let keys = args.api_key_file.as_deref().map(Keys::read).transpose()?;
        if keys.is_none() && !args.no_auth && !args.host.is_loopback() {
            return Err(Failure::Usage(format!(
                "{}: others may reach this address, so give --api-key-file FILE, or --no-auth to serve whoever \
                 comes",
                args.host
            )));
        }
        let mut origins = Vec::new();
        for origin in args.cors_origin.iter().filter(|origin| *origin != "*") {
            let parsed = origin.parse::<axum::http::Uri>().ok().filter(|uri| {
                let plain = uri.path_and_query().is_none_or(|path| path == "/");
                uri.scheme().is_some() && plain && !origin.ends_with('/')
            });
            let value = parsed.and_then(|_| HeaderValue::from_str(origin).ok());
            let value = value.ok_or_else(|| {
                Failure::Usage(format!(
                    "--cors-origin {origin}: must be an origin, as https://example.org, or *"
                ))
            })?;
            origins.push(value);
        }
        let hosts = args.allowed_host.iter().map(|name| name.to_ascii_lowercase()).collect();
        Ok(Guard {
            hosts: keys.is_none().then_some(hosts),
            keys,
            protect_all: args.protect_all,
            any_origin: args.cors_origin.iter().any(|origin| origin == "*"),
            origins,
        })
    }

    /// What browsers are told, if pages of others may use the server.
    pub fn cors(&self) -> Option<CorsLayer> {
        let origin = match (self.any_origin, self.origins.is_empty()) {
            (true, _) => AllowOrigin::any(),
            (false, false) => AllowOrigin::list(self.origins.iter().cloned()),
            (false, true) => return None,
        };
        Some(
            CorsLayer::new()
                .allow_origin(origin)
                .allow_methods([Method::GET, Method::POST])
                .allow_headers(AllowHeaders::mirror_request())
                .expose_headers([REQUEST_ID, header::RETRY_AFTER]),
        )
    }

    fn client(&self, request: &Request) -> Result<Client, ApiError> {
        check_size(request)?;
        self.check_host(request)?;
        let Some(keys) = &self.keys else { return Ok(Client { space: 0, known: true }) };
        let given = request.headers().get(header::AUTHORIZATION);
        let given = given.and_then(|value| value.to_str().ok()).and_then(bearer);
        let path = request.uri().path();
        let open =
            path == "/health" || page::is_page(path) || !self.protect_all && OPEN.contains(&path);
        match given.and_then(|key| keys.find(key)) {
            Some(n) => Ok(Client { space: 1 + n as u64, known: true }),
            None if open => Ok(Client { space: 0, known: false }),
            None => {
                let message = match given {
                    Some(_) => "the API key is not one of this server's",
                    None => "an API key is needed, as `Authorization: Bearer KEY`",
                };
                Err(ApiError::new(StatusCode::UNAUTHORIZED, message).code("invalid_api_key"))
            }
        }
    }

    /// Without a key, a page of another site could reach a server at home by a name of its own that leads there.
    fn check_host(&self, request: &Request) -> Result<(), ApiError> {
        let Some(hosts) = &self.hosts else { return Ok(()) };
        let host = match request.uri().authority() {
            Some(authority) => Some(authority.as_str()),
            None => match request.headers().get(header::HOST) {
                Some(host) => Some(host.to_str().unwrap_or("?")),
                None => None,
            },
        };
        // No browser leaves it out.
        let Some(host) = host else { return Ok(()) };
        let name = without_port(host).to_ascii_lowercase();
        let name = name.strip_suffix('.').unwrap_or(&name);
        let address =
            name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        let local = name == "localhost" || name.ends_with(".localhost");
        if local || address.parse::<IpAddr>().is_ok() || hosts.iter().any(|known| known == name) {
            return Ok(());
        }
        let shown: String = name.chars().take(100).collect();
        Err(ApiError::new(
            StatusCode::FORBIDDEN,
            format!(
                "the host \"{shown}\" is not allowed: without API keys the server answers to addresses, localhost, and \
                 names given as --allowed-host"
            ),
        )
        .code("host_not_allowed"))
    }
}

fn check_size(request: &Request) -> Result<(), ApiError> {
    // With ": " and a line's end, as they came.
    let fields = request.headers().iter();
    let fields = fields.map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>();
    let uri = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
    match uri + fields > HEADER {
        true => Err(ApiError::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            format!("the header has {} bytes, must be {HEADER} at most", uri + fields),
        )),
        false => Ok(()),
    }
}

/// The key of a header: the scheme's case makes no difference.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        // An address of version 6 without brackets has colons of its own.
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.contains(':') => {
            name
        }
        Some((name, _)) if name.ends_with(']') => name,
        _ => host,
    }
}

/// Lets a request through, or not, and logs it. What it says is not logged.
pub async fn check(
    State((app, guard)): State<(Arc<App>, Arc<Guard>)>,
    mut request: Request,
    next: Next,
) -> Response {
    let start = Instant::now();
    let method = request.method().clone();
    let path: String = request.uri().path().chars().take(200).collect();
    let id = request.headers().get(REQUEST_ID).filter(|id| id.len() <= 200).cloned();
    let mut response = match guard.client(&request) {
        Ok(client) => {
            request.extensions_mut().insert(client);
            next.run(request).await
        }
        Err(error) => {
            app.metrics.refused.inc();
            error.into_response()
        }
    };
    let status = response.status().as_u16();
    if status == StatusCode::TOO_MANY_REQUESTS.as_u16() {
        app.metrics.refused.inc();
    }
    let ms = start.elapsed().as_millis() as u64;
    if path == "/health" || path == "/metrics" {
        tracing::debug!(%method, %path, status, ms, "request");
    } else {
        tracing::info!(%method, %path, status, ms, "request");
    }
    let headers = response.headers_mut();
    if let Some(id) = id {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use axum::body::Body;
    use clap::Parser;

    use super::*;
    use crate::args::Args;

    fn guard(args: &[&str]) -> Guard {
        let args = Args::parse_from(["mmfree-serve"].iter().chain(args));
        Guard::new(&args.network).unwrap()
    }

    fn request(path: &str, host: &str, auth: Option<&str>) -> Request {
        let mut request = Request::builder().uri(path).header("host", host);
        if let Some(auth) = auth {
            request = request.header("authorization", auth);
        }
        request.body(Body::empty()).unwrap()
    }

    #[test]
    fn without_a_key_only_addresses_localhost_and_allowed_names_are_hosts() {
        let guard = guard(&["--allowed-host", "Pi.lan"]);
        for host in [
            "127.0.0.1",
            "127.0.0.1:8080",
            "192.168.0.7:1",
            "[::1]:8080",
            "[::1]",
            "localhost",
            "LOCALHOST:80",
            "app.localhost",
            "pi.lan",
            "pi.lan.:8080",
        ] {
            assert!(guard.client(&request("/v1/models", host, None)).is_ok(), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "",
        ] {
            let error = guard.client(&request("/health", host, None)).unwrap_err();
            assert_eq!(error.status, StatusCode::FORBIDDEN, "{host}");
        }
    }

    fn keyed(protect: &[&str]) -> Guard {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "one\ntwo\n").unwrap();
        let path: &Path = file.path();
        guard(&[&["--host", "0.0.0.0", "--api-key-file", path.to_str().unwrap()], protect].concat())
    }

    #[test]
    fn with_keys_each_has_a_cache_of_its_own_and_any_host_will_do() {
        let guard = keyed(&[]);
        let space =
            |auth| guard.client(&request("/v1/models", "any.example", Some(auth))).unwrap().space;
        assert_eq!((space("Bearer one"), space("bearer  two")), (1, 2));
        for auth in [None, Some("Bearer three"), Some("one"), Some("Basic one"), Some("Bearer ")] {
            let error = guard.client(&request("/v1/models", "any.example", auth)).unwrap_err();
            assert_eq!(error.status, StatusCode::UNAUTHORIZED, "{auth:?}");
        }
    }

    #[test]
    fn the_page_health_and_tokens_need_no_key_unless_all_is_protected() {
        for path in
            ["/", "/page/page.css", "/health", "/tokenize", "/detokenize", "/tokenizer_info"]
        {
            assert!(!keyed(&[]).client(&request(path, "a", None)).unwrap().known, "{path}");
        }
        assert!(keyed(&["--protect-all"]).client(&request("/tokenize", "a", None)).is_err());
        for path in ["/health", "/", "/page/page.js"] {
            assert!(keyed(&["--protect-all"]).client(&request(path, "a", None)).is_ok(), "{path}");
        }
    }

    #[test]
    fn an_address_that_others_reach_is_not_opened_by_mistake() {
        for host in ["0.0.0.0", "192.168.1.1", "::"] {
            let args = Args::parse_from(["mmfree-serve", "--host", host]);
            assert!(matches!(Guard::new(&args.network), Err(Failure::Usage(_))));
            guard(&["--host", host, "--no-auth"]);
        }
        guard(&["--host", "::1"]);
    }

    #[test]
    fn an_origin_is_a_scheme_and_a_host() {
        for bad in ["example.org", "https://example.org/", "https://example.org/path", ""] {
            let args = Args::parse_from(["mmfree-serve", "--cors-origin", bad]);
            assert!(matches!(Guard::new(&args.network), Err(Failure::Usage(_))), "{bad}");
        }
        assert!(guard(&["--cors-origin", "https://example.org"]).cors().is_some());
        assert!(guard(&[]).cors().is_none());
    }
}
