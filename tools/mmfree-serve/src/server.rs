//! Listening, connections, and an orderly end.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use mmfree::error::IoReason;
use mmfree::{GenerationConfig, Model, Tokenizer};
use tokio::net::TcpStream;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use crate::args::Args;
use crate::constraint::Checker;
use crate::engine::{Engine, EngineOptions};
use crate::failure::{Failure, bug, say};
use crate::http::{Activity, App, Guard, HEADER, now, router};
use crate::memory::Budget;
use crate::metrics::Metrics;
use crate::stall::Stalling;
use crate::systemd::Notify;
use crate::template::Template;
use crate::token_text::TokenText;
use crate::{memory, open, systemd};

/// Threads for what takes a while: prompts to ids, templates.
const HELPERS: usize = 4;

/// The server, from its arguments to its end.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    log(&args.log);
    let passed = systemd::listener()?;
    let mut network = args.network.clone();
    if let Some(address) = passed.as_ref().and_then(|listener| listener.local_addr().ok()) {
        (network.host, network.port) = (address.ip(), address.port());
    }
    let guard = Arc::new(Guard::new(&network)?);
    // Before the model is opened: a port that is taken is known at once.
    let wanted = SocketAddr::new(network.host, network.port);
    let refused =
        |e: io::Error| Failure::Message(format!("cannot listen on {wanted}: {}", IoReason(&e)));
    let listener = match passed {
        Some(listener) => listener,
        None => TcpListener::bind(wanted).map_err(refused)?,
    };
    let address = listener.local_addr().map_err(refused)?;
    listener.set_nonblocking(true).map_err(refused)?;
    let notify = Notify::from_env();
    notify.say("", "opening the model");
    let app = Arc::new(app(args, open::open(args)?)?);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(HELPERS)
        .build()
        .map_err(|e| Failure::Message(format!("cannot start: {}", IoReason(&e))))?;
    let code = runtime.block_on(serve(args, app, guard, listener, address, &notify));
    // What still runs has had its time.
    runtime.shutdown_background();
    code
}

fn log(level: &str) {
    let level = match level {
        "error" => tracing::Level::ERROR,
        "warn" => tracing::Level::WARN,
        "debug" => tracing::Level::DEBUG,
        _ => tracing::Level::INFO,
    };
    let writer = io::stderr;
    tracing_subscriber::fmt().with_max_level(level).with_writer(writer).with_ansi(false).init();
}

pub fn app(args: &Args, model: Arc<Model>) -> Result<App, Failure> {
    let file = model.file();
    let tokenizer = Tokenizer::from_file(file)?;
    let defaults = GenerationConfig::from_file(file)?;
    for note in &defaults.not_applied {
        tracing::warn!("generation_config.json: {note} has no effect here");
    }
    let vocab_size = model.config().vocab_size;
    let token_text = match (&tokenizer, file.tokenizer_json()) {
        (Some(tokenizer), Some(json)) => Some(TokenText::new(tokenizer, json, vocab_size)),
        _ => None,
    };
    let template = match &args.chat_template {
        Some(path) => Ok(Template::read(path, file)?),
        None => Template::of_model(file),
    };
    let names = match args.model_alias.is_empty() {
        false => args.model_alias.clone(),
        true => vec![name(args)],
    };
    let metrics = Arc::new(Metrics::new());
    let cache = args.limits.cache.unwrap_or_else(memory::cache);
    let options = EngineOptions {
        parallel: args.limits.parallel as usize,
        queue: args.limits.queue as usize,
        cache: usize::try_from(cache).unwrap_or(usize::MAX),
    };
    let failed = || {
        bug().tell();
        std::process::exit(1);
    };
    let engine = Engine::start(&model, options, Arc::clone(&metrics), failed)
        .map_err(|e| Failure::Message(format!("cannot start a thread: {}", IoReason(&e))))?;
    let created = now();
    Ok(App {
        engine,
        metrics,
        tokenizer,
        token_text,
        names,
        defaults,
        template,
        limits: args.limits.clone(),
        budget: Budget::new(args.limits.request_memory.unwrap_or_else(memory::requests)),
        forms: Checker::new(),
        created,
        run: created ^ u64::from(std::process::id()) << 20,
        answers: AtomicU64::new(0),
        model,
    })
}

/// The model's name: its file's.
fn name(args: &Args) -> String {
    let stem = args.model.as_deref().and_then(|path| path.file_stem());
    stem.map_or_else(|| "demo".to_owned(), |stem| stem.to_string_lossy().into_owned())
}

async fn serve(
    args: &Args,
    app: Arc<App>,
    guard: Arc<Guard>,
    listener: TcpListener,
    address: SocketAddr,
    notify: &Notify,
) -> Result<ExitCode, Failure> {
    let io_failure = |what: &'static str| {
        move |e: io::Error| Failure::Message(format!("{what}: {}", IoReason(&e)))
    };
    let listener =
        tokio::net::TcpListener::from_std(listener).map_err(io_failure("cannot listen"))?;
    let mut signals = Signals::install().map_err(io_failure("cannot handle signals"))?;
    say(&format!("mmfree-serve: {} on http://{address}", app.names.join(", ")));
    // For programs that started this one. Where no one reads it, no one waits for it.
    let _ = writeln!(io::stdout(), "http://{address}").and_then(|()| io::stdout().flush());

    let (ending, ended) = watch::channel(false);
    let activity = Arc::new(Activity::new());
    let router = router(Arc::clone(&app), guard, Arc::clone(&activity));
    notify.say("READY=1", &format!("{} on http://{address}", app.names.join(", ")));
    let timeout = Duration::from_secs(args.limits.io_timeout.into());
    let most = args.limits.max_connections as usize;
    let mut connections = JoinSet::new();
    let idle = idle(args.exit_when_idle, &activity);
    tokio::pin!(idle);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if connections.len() < most => {
                    connections.spawn(connection(stream, router.clone(), timeout, ended.clone()));
                }
                Ok((stream, _)) => refuse(stream),
                Err(error) => {
                    // Out of descriptors, mostly: some may be free soon.
                    tracing::warn!("cannot accept a connection: {}", IoReason(&error));
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(outcome) = connections.join_next() => report(outcome),
            _ = signals.next() => break,
            limit = &mut idle => {
                say(&format!("mmfree-serve: nothing was asked for {} s", limit.as_secs()));
                break;
            }
        }
    }
    drop(listener);
    notify.say("STOPPING=1", "ending");
    app.engine.end();
    let _ = ending.send(true);
    let drain = Duration::from_secs(args.limits.drain.into());
    say(&format!("mmfree-serve: ending, within {} s; again to end at once", drain.as_secs()));
    let all = async {
        while let Some(outcome) = connections.join_next().await {
            report(outcome);
        }
    };
    tokio::select! {
        () = all => Ok(ExitCode::SUCCESS),
        () = tokio::time::sleep(drain) => {
            let left = connections.len();
            Err(Failure::Message(format!("{left} connections were cut off: {} s were up", drain.as_secs())))
        }
        number = signals.next() => Ok(ExitCode::from(128 + number)),
    }
}

/// Comes to an end, which is the limit, once nothing has been asked for so long; never without one.
async fn idle(limit: Option<Duration>, activity: &Activity) -> Duration {
    let Some(limit) = limit else { return std::future::pending().await };
    while let Some(left) = limit.checked_sub(activity.idle()).filter(|left| !left.is_zero()) {
        // While something is being answered, that is the whole limit.
        tokio::time::sleep(left).await;
    }
    limit
}

/// One connection, until it is closed, or the server ends and the answer that has begun is out.
async fn connection(
    stream: TcpStream,
    router: Router,
    timeout: Duration,
    mut ended: watch::Receiver<bool>,
) {
    // Each token goes out when it is there.
    let _ = stream.set_nodelay(true);
    let stream = TokioIo::new(Stalling::new(stream, timeout));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(timeout)
        .max_buf_size(HEADER)
        .serve_connection(stream, TowerToHyperService::new(router));
    tokio::pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => Some(outcome),
        // The one change there is.
        _ = ended.changed() => None,
    };
    let outcome = match outcome {
        Some(outcome) => outcome,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!("a connection ended: {error}");
    }
}

/// Says that there are too many connections, as far as that goes without waiting.
fn refuse(stream: TcpStream) {
    let body = r#"{"error":{"message":"too many connections, come again later","type":"server_error","param":null,"code":"too_many_connections"}}"#;
    let head = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\nconnection: close";
    let _ = stream
        .try_write(format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).as_bytes());
    tracing::warn!("a connection was refused: there are as many as may be");
}

fn report(outcome: Result<(), JoinError>) {
    if outcome.is_err_and(|error| error.is_panic())
        && let Failure::Message(message) = bug()
    {
        tracing::error!("{message}");
    }
}

/// The signals that end a server.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn install() -> io::Result<Signals> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(Signals { terminate, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The number of the next one.
    async fn next(&mut self) -> u8 {
        let kind = tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.interrupt.recv() => SignalKind::interrupt(),
        };
        kind.as_raw_value() as u8
    }
}
