//! A connection whose reader has stopped reading does not hold its place for ever.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// A stream on which a write fails that has made no headway for some time.
pub struct Stalling<T> {
    inner: T,
    limit: Duration,
    /// Runs while a write waits.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<T> Stalling<T> {
    pub fn new(inner: T, limit: Duration) -> Stalling<T> {
        Stalling { inner, limit, waiting: None }
    }

    /// The outcome of a write; an error where it has waited for too long.
    fn watch<O>(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Poll<io::Result<O>>,
    ) -> Poll<io::Result<O>> {
        if outcome.is_ready() {
            self.waiting = None;
            return outcome;
        }
        let limit = self.limit;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(waiting.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Stalling<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Stalling<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.watch(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write_vectored(cx, bytes);
        self.watch(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_write_that_no_one_reads_fails_after_the_limit_and_one_that_is_read_does_not() {
        let (ours, mut theirs) = duplex(4);
        let mut stream = Stalling::new(ours, Duration::from_secs(5));
        stream.write_all(b"abcd").await.unwrap();
        let error = stream.write_all(b"e").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);

        let (ours, mut slow) = duplex(4);
        let mut stream = Stalling::new(ours, Duration::from_secs(5));
        let reader = tokio::spawn(async move {
            let mut bytes = Vec::new();
            while bytes.len() < 12 {
                tokio::time::sleep(Duration::from_secs(4)).await;
                let mut some = [0; 4];
                let n = slow.read(&mut some).await.unwrap();
                bytes.extend_from_slice(&some[..n]);
            }
            bytes
        });
        stream.write_all(b"abcdefghijkl").await.unwrap();
        assert_eq!(reader.await.unwrap(), b"abcdefghijkl");
        let _ = theirs.read(&mut [0; 4]).await;
    }
}
