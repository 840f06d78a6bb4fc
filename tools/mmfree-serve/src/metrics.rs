//! What the server counts and measures of itself, in Prometheus' words.

use std::sync::atomic::AtomicU64;
use std::time::Instant;

use mmfree::CacheCounts;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

type Count = Counter<u64, AtomicU64>;

/// All of them. Names and meanings are in `docs/SERVER.md`.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Requests for text that were taken.
    pub requests: Count,
    /// Requests refused because the queue or the memory was full, or of a client without a key.
    pub refused: Count,
    /// Sequences given up because their client hung up, or left too much unread.
    pub cancelled: Count,
    /// Ids of prompts that were read, those that the cache had not counted.
    pub prompt_tokens: Count,
    /// Tokens generated.
    pub generated_tokens: Count,
    /// Sequences that run.
    pub active: Gauge,
    /// Requests that wait.
    pub waiting: Gauge,
    /// Bytes that requests hold.
    pub request_memory: Gauge,
    /// Seconds from a request to its first token.
    pub first_token: Histogram,
    /// Seconds from a token to the next of the same text.
    pub between_tokens: Histogram,
    /// Seconds from a request to the end of its answer.
    pub latency: Histogram,
    /// Sequences of a pass.
    pub batch_size: Histogram,
    cache_bytes: Gauge,
    cache_entries: Gauge,
    cache_hits: Count,
    cache_misses: Count,
    cache_tokens: Count,
    cache_evicted: Count,
}

impl Metrics {
    pub fn new() -> Metrics {
        let seconds = || Histogram::new(exponential_buckets(0.001, 2.0, 18));
        let mut metrics = Metrics {
            registry: Registry::with_prefix("mmfree"),
            requests: Counter::default(),
            refused: Counter::default(),
            cancelled: Counter::default(),
            prompt_tokens: Counter::default(),
            generated_tokens: Counter::default(),
            active: Gauge::default(),
            waiting: Gauge::default(),
            request_memory: Gauge::default(),
            first_token: seconds(),
            between_tokens: Histogram::new(exponential_buckets(0.0005, 2.0, 16)),
            latency: seconds(),
            batch_size: Histogram::new(exponential_buckets(1.0, 2.0, 9)),
            cache_bytes: Gauge::default(),
            cache_entries: Gauge::default(),
            cache_hits: Counter::default(),
            cache_misses: Counter::default(),
            cache_tokens: Counter::default(),
            cache_evicted: Counter::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let all = &mut self.registry;
        let mut count = |name, help, metric: &Count| all.register(name, help, metric.clone());
        count("requests", "Requests for text that were taken", &self.requests);
        count(
            "refusals",
            "Requests refused: the queue or the memory was full, or no key",
            &self.refused,
        );
        count("cancellations", "Sequences given up: the client hung up", &self.cancelled);
        count("prompt_tokens", "Tokens of prompts that were read", &self.prompt_tokens);
        count("generated_tokens", "Tokens generated", &self.generated_tokens);
        count("cache_hits", "Prompts of which the cache had a beginning", &self.cache_hits);
        count("cache_misses", "Prompts of which the cache had nothing", &self.cache_misses);
        count("cache_saved_tokens", "Tokens that were not read again", &self.cache_tokens);
        count("cache_evictions", "Entries that had to make room", &self.cache_evicted);
        let mut gauge = |name, help, metric: &Gauge| all.register(name, help, metric.clone());
        gauge("active_sequences", "Sequences that run", &self.active);
        gauge("waiting_requests", "Requests that wait for their turn", &self.waiting);
        gauge("cache_entries", "States in the prefix cache", &self.cache_entries);
        all.register_with_unit(
            "request_memory",
            "What requests hold of memory, by the server's estimate",
            Unit::Bytes,
            self.request_memory.clone(),
        );
        all.register_with_unit(
            "cache",
            "Size of the prefix cache",
            Unit::Bytes,
            self.cache_bytes.clone(),
        );
        let mut time = |name, help, metric: &Histogram| {
            all.register_with_unit(name, help, Unit::Seconds, metric.clone());
        };
        time("time_to_first_token", "From a request to its first token", &self.first_token);
        time("time_between_tokens", "From a token to the next", &self.between_tokens);
        time("request", "From a request to the end of its answer", &self.latency);
        all.register("batch_size", "Sequences of a pass", self.batch_size.clone());
    }

    /// Takes over the counts of the cache.
    pub fn set_cache(&self, counts: CacheCounts) {
        self.cache_bytes.set(counts.bytes as i64);
        self.cache_entries.set(counts.entries as i64);
        for (counter, now) in [
            (&self.cache_hits, counts.hits),
            (&self.cache_misses, counts.misses),
            (&self.cache_tokens, counts.tokens_saved),
            (&self.cache_evicted, counts.evicted),
        ] {
            // Only the engine's thread counts these.
            counter.inc_by(now.saturating_sub(counter.get()));
        }
    }

    /// All in Prometheus' text format.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// Times one request.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    start: Instant,
    first: bool,
}

impl Stopwatch {
    pub fn start() -> Stopwatch {
        Stopwatch { start: Instant::now(), first: false }
    }

    /// A token came.
    pub fn token(&mut self, metrics: &Metrics) {
        if !std::mem::replace(&mut self.first, true) {
            metrics.first_token.observe(self.start.elapsed().as_secs_f64());
        }
    }

    /// The answer ended.
    pub fn end(&self, metrics: &Metrics) {
        metrics.latency.observe(self.start.elapsed().as_secs_f64());
    }
}
