//! The server as fuzz targets see it: requests without connections, templates without a process of their own.

use std::panic;
use std::sync::{Arc, Once};

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use clap::Parser;
use http_body_util::BodyExt;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use tokio::runtime::Runtime;

use crate::args::Args;
use crate::http::{Activity, Guard, router};
use crate::{http, open, server, template};

/// Small limits, so that many requests are answered in a second.
const ARGS: [&str; 17] = [
    "mmfree-serve",
    "--threads=1",
    "--isa=scalar",
    "--chat-template=plain",
    "--max-prompt=64",
    "--max-tokens=4",
    "--max-tokens-default=4",
    "--max-texts=2",
    "--parallel=4",
    "--cache=1M",
    "--max-body=64K",
    "--max-open-body=64K",
    "--allowed-host=host",
    "--log=error",
    "--io-timeout=30",
    "--heartbeat=15",
    "--max-time=60",
];

/// A server of the demo model.
#[derive(Debug)]
pub struct Server {
    runtime: Runtime,
    service: TowerToHyperService<axum::Router>,
}

impl Server {
    /// # Panics
    /// Where it cannot be made.
    #[allow(clippy::new_without_default, clippy::unwrap_used)]
    pub fn new() -> Server {
        let args = Args::parse_from(ARGS);
        let guard = Arc::new(Guard::new(&args.network).unwrap());
        let app = Arc::new(server::app(&args, open::open(&args).unwrap()).unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let router = router(app, guard, Arc::new(Activity::new()));
        Server { runtime, service: TowerToHyperService::new(router) }
    }

    /// Answers a body sent to a path. One that asks for a form of the text is read, and not answered: compiling the form takes a
    /// process of its own.
    ///
    /// # Panics
    /// Where the answer is an error of the server's, or none of the form that it must have.
    #[allow(clippy::unwrap_used)]
    pub fn post(&self, path: &str, body: &[u8]) {
        if http::asks_for_form(body) {
            return;
        }
        let request = Request::post(path)
            .header(header::HOST, "host")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_vec()))
            .unwrap();
        let (status, body) = self.runtime.block_on(async {
            let response = self.service.call(request).await.unwrap();
            let status = response.status();
            (status, response.into_body().collect().await.unwrap().to_bytes())
        });
        assert_ne!(status, StatusCode::INTERNAL_SERVER_ERROR, "{}", String::from_utf8_lossy(&body));
        if status != StatusCode::OK {
            let error: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert!(error["error"]["message"].is_string(), "{error}");
        }
    }
}

/// Renders a template with a context, a JSON object. Panics of minijinja are errors of the template, as in the program: of those
/// the fuzzer hears nothing.
///
/// # Errors
/// As the template's.
pub fn render(source: &str, context: &str) -> Result<String, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if info.location().is_none_or(|place| !place.file().contains("/minijinja-")) {
                others(info);
            }
        }));
    });
    template::render(source, context)
}
