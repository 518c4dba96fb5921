//! Reads the body of a request within bounds of size, time and memory.
//!
//! A body that is larger than the limit is refused as soon as its size is known, at the latest when it
//! exceeds the limit. A compressed body counts twice, as it arrives and decompressed, and decompression
//! stops at the limit. All bodies share a memory budget, which is charged before memory for arriving bytes is
//! taken, so that a request that only announces a large body takes nothing from the others. A
//! [`BufferedBody`] holds its charge. A body that stalls or trickles is given up.
//!
//! A refused sender may go on sending; if its connection closed meanwhile, it would see a broken connection
//! in place of the answer. [`drain`] reads on for a while.

use std::fmt;
use std::future::poll_fn;
use std::io::Read;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_ENCODING;
use flate2::bufread::MultiGzDecoder;
use flate2::{Decompress, FlushDecompress, Status};
use hyper::body::Frame;
use thiserror::Error;
use tokio::time::{Instant, Sleep, sleep, timeout};

use crate::http::blocking::{LongWork, Work};
use crate::http::body_budget::{BodyBudget, BodyCharge, BodySender, BudgetExceeded, BudgetLimits};

/// Most bytes of bodies in memory at once, over all requests of strangers, and what those with the secret
/// have on top of that.
const STRANGERS: usize = 48 << 20;
const RESERVE: usize = 16 << 20;
/// The longest wait for the next part of a body.
const IDLE: Duration = Duration::from_secs(10);
/// The longest wait for a whole body.
const TOTAL: Duration = Duration::from_secs(60);
/// Bytes that must arrive in each second after the first [`IDLE`].
const LEAST_PER_SECOND: u32 = 1 << 10;
/// Most bytes that are read only to be thrown away, and the longest time for it.
const DISCARD: usize = 16 << 20;
const DISCARD_TIME: Duration = Duration::from_secs(5);
/// The usual ratio by which JSON grows when it is decompressed.
const UNFOLDING: usize = 8;
/// Bytes that are decompressed, and charged, at a time.
const STEP: usize = 64 << 10;

/// Reads bodies.
#[derive(Debug)]
pub struct BodyReader {
    max_body: usize,
    budget: Arc<BodyBudget>,
}

/// The bytes of a body, with the charge for their memory.
pub struct BufferedBody {
    bytes: Vec<u8>,
    charge: BodyCharge,
}

/// Why a body was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BodyError {
    /// As it arrives or decompressed.
    #[error("the body is larger than {max_body} bytes")]
    TooLarge { max_body: usize },
    #[error("the body did not arrive in time")]
    TooSlow,
    /// The connection broke, or its framing is wrong.
    #[error("the body ended early")]
    Incomplete,
    /// The bodies in memory use up the budget, or the machine has no more memory.
    #[error("too many requests are under way")]
    Busy,
    #[error("the content encoding is neither gzip, deflate nor identity")]
    UnknownEncoding,
    /// The encoding is broken or cut off, or more bytes follow.
    #[error("the body is not valid gzip or deflate")]
    BrokenGzip,
}

/// What a body yields; `None` at its end.
type NextFrame = Option<Result<Frame<Bytes>, axum::Error>>;

/// Undoes the encoding of a body.
type Decoder = fn(&BodyReader, BufferedBody) -> Result<BufferedBody, BodyError>;

impl BodyReader {
    /// Reads bodies of at most `max_body` bytes.
    pub fn new(max_body: usize) -> Self {
        // One body must always fit in half of it, both as it came and decompressed, in buffers that may be
        // half empty.
        let one = max_body.saturating_add(STEP).saturating_mul(4);
        let limits = BudgetLimits {
            strangers: STRANGERS.max(one.saturating_mul(2)),
            reserve: RESERVE.max(one),
        };
        Self::with_budget(max_body, limits)
    }

    fn with_budget(max_body: usize, limits: BudgetLimits) -> Self {
        let budget = BodyBudget::new(limits);
        Self { max_body, budget }
    }

    /// Reads a body to its end and decompresses it.
    pub async fn read(
        &self,
        headers: &HeaderMap,
        body: &mut Body,
        sender: BodySender,
        long_work: &LongWork,
    ) -> Result<BufferedBody, BodyError> {
        let decoder = decoder(headers)?;
        if body.size_hint().lower() > self.max_body as u64 {
            return Err(self.too_large());
        }
        let held = self.collect(body, sender).await?;
        let Some(decode) = decoder else {
            return Ok(held);
        };
        let decompressed = held.bytes.len().saturating_mul(UNFOLDING);
        let decode = || decode(self, held);
        long_work.perform(Work::On(decompressed), decode).await
    }

    async fn collect(
        &self,
        body: &mut Body,
        sender: BodySender,
    ) -> Result<BufferedBody, BodyError> {
        let mut held = BufferedBody::empty(BodyCharge::nothing(&self.budget, sender));
        let timer = pin!(sleep(IDLE));
        let mut parts = BodyParts::new(body, timer);
        while let Some(data) = parts.next().await? {
            if data.len() > self.max_body - held.bytes.len() {
                return Err(self.too_large());
            }
            // An announced length reserves nothing: memory grows with what arrives.
            held.reserve(data.len(), self.max_body)?;
            held.bytes.extend_from_slice(&data);
        }
        Ok(held)
    }

    fn gunzip(&self, held: BufferedBody) -> Result<BufferedBody, BodyError> {
        let BufferedBody { bytes, charge } = held;
        let mut decoder = MultiGzDecoder::new(&*bytes);
        let mut decompressed = BufferedBody::empty(charge);
        loop {
            // A reader that fills all room would take more by itself.
            decompressed.reserve(STEP + 1, self.max_body)?;
            let read = decoder
                .by_ref()
                .take(STEP as u64)
                .read_to_end(&mut decompressed.bytes)
                .map_err(|_| BodyError::BrokenGzip)?;
            if decompressed.bytes.len() > self.max_body {
                return Err(self.too_large());
            }
            if read < STEP {
                return Ok(decompressed);
            }
        }
    }

    /// Decompresses `deflate`: the standard means the zlib format, and some senders omit its frame.
    fn inflate(&self, held: BufferedBody) -> Result<BufferedBody, BodyError> {
        let BufferedBody { bytes, charge } = held;
        let mut decoder = Decompress::new(is_zlib(&bytes));
        let mut decompressed = BufferedBody::empty(charge);
        let mut rest = &*bytes;
        loop {
            decompressed.reserve(STEP, self.max_body)?;
            let before = decoder.total_in();
            let status = decoder
                .decompress_vec(rest, &mut decompressed.bytes, FlushDecompress::None)
                .map_err(|_| BodyError::BrokenGzip)?;
            if decompressed.bytes.len() > self.max_body {
                return Err(self.too_large());
            }
            let read = usize::try_from(decoder.total_in() - before).unwrap_or(usize::MAX);
            rest = rest.get(read..).unwrap_or_default();
            match status {
                Status::StreamEnd if rest.is_empty() => return Ok(decompressed),
                // A body that is cut off leaves room.
                Status::Ok | Status::BufError if decompressed.is_full() => {}
                _ => return Err(BodyError::BrokenGzip),
            }
        }
    }

    fn too_large(&self) -> BodyError {
        BodyError::TooLarge {
            max_body: self.max_body,
        }
    }
}

impl BufferedBody {
    /// Begins with what is charged already.
    const fn empty(charge: BodyCharge) -> Self {
        let bytes = Vec::new();
        Self { bytes, charge }
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn is_full(&self) -> bool {
        self.bytes.len() == self.bytes.capacity()
    }

    /// Makes room for more bytes, and doubles it as long as a body of at most so many bytes may need that. It is
    /// charged before it is taken, and a machine that has no more memory refuses the body.
    fn reserve(&mut self, more: usize, most: usize) -> Result<(), BodyError> {
        let (length, room) = (self.bytes.len(), self.bytes.capacity());
        let needed = length.saturating_add(more);
        if needed <= room {
            return Ok(());
        }
        let wanted = needed.max(room.saturating_mul(2).min(most));
        self.charge.add(wanted - room)?;
        let reserved = self.bytes.try_reserve_exact(wanted - length);
        reserved.map_err(|_| BodyError::Busy)
    }
}

// The bytes may be personal data.
impl fmt::Debug for BufferedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BufferedBody({} bytes)", self.bytes.len())
    }
}

impl From<BudgetExceeded> for BodyError {
    fn from(BudgetExceeded: BudgetExceeded) -> Self {
        Self::Busy
    }
}

/// Whether bytes begin with the header of zlib: deflate in a window of at most 32 KiB, and a checksum.
fn is_zlib(bytes: &[u8]) -> bool {
    bytes.first_chunk().is_some_and(|header| {
        header[0] & 0x8f == 8 && u16::from_be_bytes(*header).is_multiple_of(31)
    })
}

/// The decoder of a body with these headers; `None` if it is not encoded.
fn decoder(headers: &HeaderMap) -> Result<Option<Decoder>, BodyError> {
    let mut encodings = headers.get_all(CONTENT_ENCODING).iter();
    let encoding = encodings.next().map(|value| value.as_bytes().trim_ascii());
    if encodings.next().is_some() {
        return Err(BodyError::UnknownEncoding);
    }
    match &*encoding.unwrap_or_default().to_ascii_lowercase() {
        b"" | b"identity" => Ok(None),
        b"gzip" | b"x-gzip" => Ok(Some(BodyReader::gunzip)),
        b"deflate" => Ok(Some(BodyReader::inflate)),
        _ => Err(BodyError::UnknownEncoding),
    }
}

/// Reads the rest of a body and throws it away, within bounds.
pub async fn drain(mut body: Body) {
    let timer = pin!(sleep(IDLE));
    let mut parts = BodyParts::new(&mut body, timer);
    let all = async {
        let mut read = 0;
        while read < DISCARD
            && let Ok(Some(data)) = parts.next().await
        {
            read += data.len();
        }
    };
    // After that time the connection closes, whatever the sender does.
    timeout(DISCARD_TIME, all).await.unwrap_or_default();
}

/// The parts of a body as they arrive. However small and many they are, one timer serves all.
struct BodyParts<'b> {
    body: &'b mut Body,
    began: Instant,
    /// When the last part came.
    last: Instant,
    received: usize,
    /// Fires when the next part could be due, at the earliest.
    timer: Pin<&'b mut Sleep>,
}

impl<'b> BodyParts<'b> {
    /// `timer` fires after [`IDLE`].
    fn new(body: &'b mut Body, timer: Pin<&'b mut Sleep>) -> Self {
        let began = Instant::now();
        Self {
            body,
            began,
            last: began,
            received: 0,
            timer,
        }
    }

    /// Waits for the next bytes; `None` at the end. Skips trailers.
    async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        loop {
            let frame = poll_fn(|context| self.poll_frame(context)).await?;
            let Some(frame) = frame else {
                return Ok(None);
            };
            self.last = Instant::now();
            let frame = frame.map_err(|_| BodyError::Incomplete)?;
            if let Ok(data) = frame.into_data() {
                self.received += data.len();
                return Ok(Some(data));
            }
        }
    }

    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Result<NextFrame, BodyError>> {
        if let Poll::Ready(frame) = Pin::new(&mut *self.body).poll_frame(context) {
            return Poll::Ready(Ok(frame));
        }
        loop {
            ready!(self.timer.as_mut().poll(context));
            let due = self.due();
            if due <= Instant::now() {
                return Poll::Ready(Err(BodyError::TooSlow));
            }
            self.timer.as_mut().reset(due);
        }
    }

    /// When the next part must be there.
    fn due(&self) -> Instant {
        let received = u32::try_from(self.received).unwrap_or(u32::MAX);
        let earned = IDLE + Duration::from_secs(received.into()) / LEAST_PER_SECOND;
        (self.last + IDLE).min(self.began + earned.min(TOTAL))
    }
}

#[cfg(test)]
mod tests;
