//! Ends a connection whose other end does not read.
//!
//! The time that writes wait is added up. As soon as it reaches the limit and the other end has not taken
//! [`LEAST`] bytes meanwhile, the stream fails. So an end that reads nothing is cut off after the limit, and
//! one that reads a few bytes now and then soon after. A write that succeeds at once costs nothing: no timer
//! is set before a write must wait.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// The bytes that the other end must take for each whole limit of waiting. With a limit of 30 seconds this is
/// half a kilobyte a second.
const LEAST: usize = 16 << 10;

/// A stream whose writes do not wait for ever.
pub(super) struct LimitedWrites<S, W> {
    stream: S,
    /// Is told whenever all that was given so far is written.
    on_written: W,
    limit: Duration,
    /// Present while a write waits.
    wait: Option<Wait>,
    /// How long writes have waited for the bytes in `written`.
    waited: Duration,
    written: usize,
}

/// The wait of one write.
#[derive(Debug)]
struct Wait {
    began: Instant,
    end: Pin<Box<Sleep>>,
}

/// The other end did not read in time. Stands behind an [`io::Error`].
#[derive(Debug)]
pub(super) struct NotReading;

impl fmt::Display for NotReading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the other end does not read")
    }
}

impl std::error::Error for NotReading {}

impl NotReading {
    /// Whether this is what an error comes from.
    pub(super) fn caused(error: &(dyn std::error::Error + 'static)) -> bool {
        let mut next = Some(error);
        while let Some(error) = next {
            let inner = error
                .downcast_ref::<io::Error>()
                .and_then(io::Error::get_ref);
            if inner.is_some_and(<dyn std::error::Error + Send + Sync>::is::<Self>) {
                return true;
            }
            next = error.source();
        }
        false
    }
}

impl<S, W> LimitedWrites<S, W> {
    /// Lets writes wait for this long.
    pub(super) const fn new(stream: S, limit: Duration, on_written: W) -> Self {
        Self {
            stream,
            on_written,
            limit,
            wait: None,
            waited: Duration::ZERO,
            written: 0,
        }
    }

    /// Takes note of how an attempt to write ended; `bytes` gives what it wrote.
    fn judge<T>(
        &mut self,
        context: &mut Context<'_>,
        attempt: Poll<io::Result<T>>,
        bytes: impl FnOnce(&T) -> usize,
    ) -> Poll<io::Result<T>> {
        match &attempt {
            Poll::Pending => {
                ready!(self.poll_end(context));
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, NotReading)))
            }
            Poll::Ready(Ok(done)) => {
                if self.wait.is_some() || !self.waited.is_zero() {
                    self.note_progress(bytes(done));
                }
                attempt
            }
            Poll::Ready(Err(_)) => attempt,
        }
    }

    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let left = self.limit.saturating_sub(self.waited);
        let wait = self.wait.get_or_insert_with(|| {
            let began = Instant::now();
            Wait {
                began,
                end: Box::pin(sleep_until(began + left)),
            }
        });
        wait.end.as_mut().poll(context)
    }

    fn note_progress(&mut self, bytes: usize) {
        if let Some(wait) = self.wait.take() {
            self.waited += wait.began.elapsed();
        }
        self.written += bytes;
        if self.written >= LEAST {
            self.waited = Duration::ZERO;
            self.written = 0;
        }
    }
}

impl<S: AsyncRead + Unpin, W: Unpin> AsyncRead for LimitedWrites<S, W> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin, W: Fn() + Unpin> AsyncWrite for LimitedWrites<S, W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let attempt = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judge(context, attempt, |written| *written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let attempt = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.judge(context, attempt, |written| *written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let attempt = Pin::new(&mut self.stream).poll_flush(context);
        if matches!(attempt, Poll::Ready(Ok(()))) {
            (self.on_written)();
        }
        self.judge(context, attempt, |()| 0)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let attempt = Pin::new(&mut self.stream).poll_shutdown(context);
        self.judge(context, attempt, |()| 0)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::task::JoinSet;
    use tokio::time::{sleep, timeout};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    /// The two ends of a stream whose buffer holds this many bytes.
    fn pair(buffer: usize) -> (LimitedWrites<DuplexStream, fn()>, DuplexStream) {
        let (stream, other) = duplex(buffer);
        (LimitedWrites::new(stream, LIMIT, || {}), other)
    }

    /// Writes without end until that fails; returns how long it took.
    async fn write_on(mut stream: LimitedWrites<DuplexStream, fn()>) -> (Duration, io::Error) {
        let began = Instant::now();
        loop {
            if let Err(error) = stream.write_all(&[b'x'; 1000]).await {
                return (began.elapsed(), error);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_that_reads_nothing_is_given_up_after_the_limit() {
        let (stream, _other) = pair(64);
        let (took, error) = write_on(stream).await;
        assert_eq!(took.as_secs(), LIMIT.as_secs());
        assert!(NotReading::caused(&error));
        assert!(!NotReading::caused(&io::Error::from(
            io::ErrorKind::TimedOut
        )));
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_that_trickles_is_given_up_and_a_slow_one_is_not() {
        for (bytes, is_given_up) in [(1, true), (100, true), (400, true), (700, false)] {
            let (stream, mut other) = pair(64);
            let mut reading = JoinSet::new();
            reading.spawn(async move {
                let mut buffer = vec![0; bytes];
                while other.read_exact(&mut buffer).await.is_ok() {
                    sleep(Duration::from_secs(1)).await;
                }
            });
            let written = timeout(10 * LIMIT, write_on(stream)).await;
            assert_eq!(written.is_ok(), is_given_up, "{bytes} bytes a second");
            if let Ok((took, _)) = written {
                assert!(took <= 2 * LIMIT, "{took:?}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn time_between_answers_does_not_count() {
        let (mut stream, mut other) = pair(64);
        let mut reading = JoinSet::new();
        reading.spawn(async move {
            let mut buffer = [0; 100];
            loop {
                // Each answer waits a second before it is read.
                sleep(Duration::from_secs(20)).await;
                other.read_exact(&mut buffer).await.unwrap();
            }
        });
        for _ in 0..20 {
            sleep(Duration::from_secs(19)).await;
            stream.write_all(&[b'x'; 100]).await.unwrap();
            assert!(stream.wait.is_none());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_timer_is_set_while_writes_succeed() {
        let (mut stream, _other) = pair(1000);
        stream.write_all(&[b'x'; 1000]).await.unwrap();
        stream.flush().await.unwrap();
        assert!(stream.wait.is_none() && stream.waited.is_zero() && stream.written == 0);
    }
}
