//! Whether anyone uses the server.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use hyper::body::{Frame, SizeHint};

/// Paths that programs look at by themselves, whether or not anyone uses the server.
const WATCHED: [&str; 2] = ["/health", "/metrics"];

/// Requests that are being answered, and when the last one was.
#[derive(Debug)]
pub struct Activity {
    start: Instant,
    active: AtomicUsize,
    /// When the last answer ended, in milliseconds from the start.
    last: AtomicU64,
}

impl Activity {
    /// None yet.
    pub fn new() -> Activity {
        Activity { start: Instant::now(), active: AtomicUsize::new(0), last: AtomicU64::new(0) }
    }

    /// How long nothing has been answered; zero while something is.
    pub fn idle(&self) -> Duration {
        if self.active.load(Ordering::SeqCst) > 0 {
            return Duration::ZERO;
        }
        let last = Duration::from_millis(self.last.load(Ordering::SeqCst));
        self.start.elapsed().saturating_sub(last)
    }
}

/// A request until its answer is out, or given up.
struct Answering(Arc<Activity>);

impl Answering {
    fn new(activity: Arc<Activity>) -> Answering {
        activity.active.fetch_add(1, Ordering::SeqCst);
        Answering(activity)
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let Activity { start, active, last } = &*self.0;
        last.fetch_max(start.elapsed().as_millis() as u64, Ordering::SeqCst);
        active.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Counts a request from its header to the last byte of its answer.
pub async fn watch(
    State(activity): State<Arc<Activity>>,
    request: Request,
    next: Next,
) -> Response {
    if WATCHED.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let answering = Answering::new(activity);
    let response = next.run(request).await;
    response.map(|body| Body::new(Watched { body, _answering: answering }))
}

/// A body that counts as being answered as long as it is there.
struct Watched {
    body: Body,
    _answering: Answering,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
