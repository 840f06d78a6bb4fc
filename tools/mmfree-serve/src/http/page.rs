//! The page at `/`: files that are compiled in, and nothing from elsewhere.

use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::errors::ApiError;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// Names below `/page/`, with types and contents.
pub const FILES: [(&str, &str, &str); 9] = [
    ("page.css", CSS, include_str!("../page/page.css")),
    ("icon.svg", SVG, include_str!("../page/icon.svg")),
    ("api.js", SCRIPT, include_str!("../page/api.js")),
    ("link.js", SCRIPT, include_str!("../page/link.js")),
    ("page.js", SCRIPT, include_str!("../page/page.js")),
    ("plot.js", SCRIPT, include_str!("../page/plot.js")),
    ("run.js", SCRIPT, include_str!("../page/run.js")),
    ("settings.js", SCRIPT, include_str!("../page/settings.js")),
    ("text.js", SCRIPT, include_str!("../page/text.js")),
];

const INDEX: &str = include_str!("../page/index.html");

/// Scripts, styles and requests of this server alone; no markup made from text (trusted types), no frames, no forms sent.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

const HEADERS: [(HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::REFERRER_POLICY, "no-referrer"),
    // Another version of the program has other files under the same names.
    (header::CACHE_CONTROL, "no-cache"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Whether a path is the page's: all may have it, with a key or without.
pub fn is_page(path: &str) -> bool {
    path == "/" || path.starts_with("/page/")
}

pub async fn index() -> Response {
    answer(HTML, INDEX)
}

pub async fn file(Path(name): Path<String>) -> Response {
    match FILES.iter().find(|(known, ..)| *known == name) {
        Some((_, kind, text)) => answer(kind, text),
        None => ApiError::new(StatusCode::NOT_FOUND, "the page has no such file")
            .code("unknown_url")
            .into_response(),
    }
}

fn answer(kind: &'static str, text: &'static str) -> Response {
    let mut response = Response::new(Body::from(text));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_files_together_are_below_100_kb() {
        let files: usize = FILES.iter().map(|(_, _, text)| text.len()).sum();
        assert!(INDEX.len() + files < 100_000);
    }

    #[test]
    fn nothing_comes_from_elsewhere_and_no_markup_is_made_of_text() {
        for text in FILES.iter().map(|(_, _, text)| *text).chain([INDEX]) {
            // The one address is the name of SVG's elements.
            let text = text.replace("http://www.w3.org/2000/svg", "");
            for bad in [
                "http:",
                "https:",
                "//cdn",
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "eval(",
                "style=",
                "@import",
            ] {
                assert!(!text.contains(bad), "{bad}");
            }
        }
        // Scripts and styles inside of markup are what the policy forbids.
        assert!(
            !INDEX.contains("<style") && !INDEX.contains(" onclick") && !INDEX.contains("<script>")
        );
    }
}
