//! Reads the body of a request within bounds of size, time and memory.
//!
//! A body larger than the limit is refused as soon as that is known, at the latest when the limit is
//! passed; a compressed one is counted twice, as it came and as it unfolds, and unfolding stops at
//! the limit. All bodies together share a budget of memory, charged as bytes arrive, so that a
//! request that only announces a large body takes nothing from the others. A charge lasts as long
//! as the [`Held`] bytes.

use std::future::poll_fn;
use std::io::Read;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_ENCODING;
use flate2::bufread::MultiGzDecoder;
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::ingest::blocking::without_blocking_others;

/// Most bytes of bodies in memory at once, over all requests.
const BUDGET: usize = 64 << 20;
/// A body that stops coming for so long is given up.
const IDLE: Duration = Duration::from_secs(10);
/// A body that takes so long in all is given up.
const TOTAL: Duration = Duration::from_secs(60);
/// What is unfolded, and charged, at a time.
const STEP: usize = 64 << 10;

/// Reads bodies.
#[derive(Debug)]
pub struct BodyReader {
    max_body: usize,
    budget: Arc<Semaphore>,
}

/// The bytes of a body, and the memory they were granted.
#[derive(Debug)]
pub struct Held {
    bytes: Bytes,
    charge: Charge,
}

/// Why a body was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BodyError {
    /// Larger than the limit, as it came or unfolded.
    #[error("the body is larger than {max_body} bytes")]
    TooLarge {
        /// The limit.
        max_body: usize,
    },
    /// It did not come in time.
    #[error("the body did not arrive in time")]
    TooSlow,
    /// The connection broke, or its framing is wrong.
    #[error("the body ended early")]
    Incomplete,
    /// Too many bodies are in memory.
    #[error("too many requests are under way")]
    Busy,
    /// An encoding that is not known here.
    #[error("the content encoding is neither gzip nor identity")]
    UnknownEncoding,
    /// Not gzip, cut off, or something follows it.
    #[error("the body is not valid gzip")]
    BrokenGzip,
}

enum Encoding {
    Identity,
    Gzip,
}

impl BodyReader {
    /// Reads bodies of at most `max_body` bytes.
    pub fn new(max_body: usize) -> Self {
        // One body must always fit, both as it came and unfolded.
        Self::with_budget(max_body, BUDGET.max(max_body.saturating_mul(4)))
    }

    fn with_budget(max_body: usize, budget: usize) -> Self {
        Self {
            max_body,
            budget: Arc::new(Semaphore::new(budget.min(Semaphore::MAX_PERMITS))),
        }
    }

    /// Reads a body to its end and unfolds it.
    pub async fn read(&self, headers: &HeaderMap, mut body: Body) -> Result<Held, BodyError> {
        let encoding = encoding(headers)?;
        if body.size_hint().lower() > self.max_body as u64 {
            return Err(self.too_large());
        }
        let held = timeout(TOTAL, self.collect(&mut body))
            .await
            .map_err(|_| BodyError::TooSlow)??;
        match encoding {
            Encoding::Identity => Ok(held),
            Encoding::Gzip => without_blocking_others(held.bytes.len(), || self.unfold(held)),
        }
    }

    async fn collect(&self, body: &mut Body) -> Result<Held, BodyError> {
        let mut charge = Charge::nothing(&self.budget);
        let mut first = Bytes::new();
        let mut joined = Vec::new();
        while let Some(data) = next_data(body).await? {
            let so_far = first.len().max(joined.len());
            if data.len() > self.max_body - so_far {
                return Err(self.too_large());
            }
            charge.add(data.len())?;
            if so_far == 0 {
                first = data;
            } else {
                if joined.is_empty() {
                    let expected = usize::try_from(body.size_hint().lower()).unwrap_or(0);
                    joined.reserve(so_far + data.len() + expected.min(self.max_body));
                    joined.extend_from_slice(&first);
                    first = Bytes::new();
                }
                joined.extend_from_slice(&data);
            }
        }
        let bytes = if joined.is_empty() {
            first
        } else {
            joined.into()
        };
        Ok(Held { bytes, charge })
    }

    fn unfold(&self, held: Held) -> Result<Held, BodyError> {
        let Held { bytes, mut charge } = held;
        let mut decoder = MultiGzDecoder::new(bytes.as_ref());
        let mut unfolded = Vec::new();
        loop {
            charge.add(STEP)?;
            let read = decoder
                .by_ref()
                .take(STEP as u64)
                .read_to_end(&mut unfolded)
                .map_err(|_| BodyError::BrokenGzip)?;
            if unfolded.len() > self.max_body {
                return Err(self.too_large());
            }
            if read < STEP {
                break;
            }
        }
        Ok(Held {
            bytes: unfolded.into(),
            charge,
        })
    }

    fn too_large(&self) -> BodyError {
        BodyError::TooLarge {
            max_body: self.max_body,
        }
    }
}

impl Held {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How much of the shared memory they hold.
    #[cfg(test)]
    fn charged(&self) -> usize {
        self.charge.granted.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }
}

/// A part of the budget, given back when dropped.
#[derive(Debug)]
struct Charge {
    budget: Arc<Semaphore>,
    granted: Option<OwnedSemaphorePermit>,
}

impl Charge {
    fn nothing(budget: &Arc<Semaphore>) -> Self {
        Self {
            budget: Arc::clone(budget),
            granted: None,
        }
    }

    fn add(&mut self, bytes: usize) -> Result<(), BodyError> {
        let bytes = u32::try_from(bytes).map_err(|_| BodyError::Busy)?;
        let more = Arc::clone(&self.budget)
            .try_acquire_many_owned(bytes)
            .map_err(|_| BodyError::Busy)?;
        match &mut self.granted {
            Some(granted) => granted.merge(more),
            None => self.granted = Some(more),
        }
        Ok(())
    }
}

fn encoding(headers: &HeaderMap) -> Result<Encoding, BodyError> {
    let mut found = Encoding::Identity;
    for (position, value) in headers.get_all(CONTENT_ENCODING).iter().enumerate() {
        let value = value.as_bytes().trim_ascii();
        found = if position > 0 {
            return Err(BodyError::UnknownEncoding);
        } else if value.eq_ignore_ascii_case(b"gzip") || value.eq_ignore_ascii_case(b"x-gzip") {
            Encoding::Gzip
        } else if value.is_empty() || value.eq_ignore_ascii_case(b"identity") {
            Encoding::Identity
        } else {
            return Err(BodyError::UnknownEncoding);
        };
    }
    Ok(found)
}

/// Waits for the next bytes; `None` at the end. Trailers are passed over.
async fn next_data(body: &mut Body) -> Result<Option<Bytes>, BodyError> {
    loop {
        let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context));
        match timeout(IDLE, frame).await {
            Err(_) => return Err(BodyError::TooSlow),
            Ok(None) => return Ok(None),
            Ok(Some(Err(_))) => return Err(BodyError::Incomplete),
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}
