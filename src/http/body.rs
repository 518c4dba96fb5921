//! Reads the body of a request within bounds of size, time and memory.
//!
//! A body that is larger than the limit is refused as soon as its size is known, at the latest when it
//! exceeds the limit. A compressed body counts twice, as it arrives and decompressed, and decompression
//! stops at the limit. All bodies share a memory budget, which is charged as bytes arrive, so that a request
//! that only announces a large body takes nothing from the others. A [`BufferedBody`] holds its charge.
//!
//! A refused sender may go on sending; if its connection closed meanwhile, it would see a broken connection
//! in place of the answer. [`drain`] reads on for a while.

use std::fmt;
use std::future::poll_fn;
use std::io::Read;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_ENCODING;
use flate2::bufread::MultiGzDecoder;
use flate2::{Decompress, FlushDecompress, Status};
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::http::blocking::{Work, block_in_place_if_long};

/// Most bytes of bodies in memory at once, over all requests.
const BUDGET: usize = 64 << 20;
/// The longest wait for the next part of a body.
const IDLE: Duration = Duration::from_secs(10);
/// The longest wait for a whole body.
const TOTAL: Duration = Duration::from_secs(60);
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
    budget: Arc<Semaphore>,
}

/// The bytes of a body, with the charge for their memory.
pub struct BufferedBody {
    bytes: Vec<u8>,
    charge: MemoryPermit,
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
    /// The bodies in memory use up the budget.
    #[error("too many requests are under way")]
    Busy,
    #[error("the content encoding is neither gzip, deflate nor identity")]
    UnknownEncoding,
    /// The encoding is broken or cut off, or more bytes follow.
    #[error("the body is not valid gzip or deflate")]
    BrokenGzip,
}

/// Undoes the encoding of a body.
type Decoder = fn(&BodyReader, BufferedBody) -> Result<BufferedBody, BodyError>;

impl BodyReader {
    /// Reads bodies of at most `max_body` bytes.
    pub fn new(max_body: usize) -> Self {
        // One body must always fit, both as it came and decompressed.
        Self::with_budget(max_body, BUDGET.max(max_body.saturating_mul(4)))
    }

    fn with_budget(max_body: usize, budget: usize) -> Self {
        Self {
            max_body,
            budget: Arc::new(Semaphore::new(budget.min(Semaphore::MAX_PERMITS))),
        }
    }

    /// Reads a body to its end and decompresses it.
    pub async fn read(
        &self,
        headers: &HeaderMap,
        body: &mut Body,
    ) -> Result<BufferedBody, BodyError> {
        let decoder = decoder(headers)?;
        if body.size_hint().lower() > self.max_body as u64 {
            return Err(self.too_large());
        }
        let held = timeout(TOTAL, self.collect(body))
            .await
            .map_err(|_| BodyError::TooSlow)??;
        let Some(decode) = decoder else {
            return Ok(held);
        };
        let decompressed = held.bytes.len().saturating_mul(UNFOLDING);
        block_in_place_if_long(Work::On(decompressed), || decode(self, held))
    }

    async fn collect(&self, body: &mut Body) -> Result<BufferedBody, BodyError> {
        let mut charge = MemoryPermit::nothing(&self.budget);
        let mut bytes = Vec::new();
        while let Some(data) = next_data(body).await? {
            if data.len() > self.max_body - bytes.len() {
                return Err(self.too_large());
            }
            charge.add(data.len())?;
            // An announced length reserves nothing: memory grows with what arrives.
            bytes.extend_from_slice(&data);
        }
        Ok(BufferedBody { bytes, charge })
    }

    fn gunzip(&self, held: BufferedBody) -> Result<BufferedBody, BodyError> {
        let BufferedBody { bytes, mut charge } = held;
        let mut decoder = MultiGzDecoder::new(&*bytes);
        let mut decompressed = Vec::new();
        loop {
            charge.add(STEP)?;
            let read = decoder
                .by_ref()
                .take(STEP as u64)
                .read_to_end(&mut decompressed)
                .map_err(|_| BodyError::BrokenGzip)?;
            if decompressed.len() > self.max_body {
                return Err(self.too_large());
            }
            if read < STEP {
                return Ok(BufferedBody {
                    bytes: decompressed,
                    charge,
                });
            }
        }
    }

    /// Decompresses `deflate`: the standard means the zlib format, and some senders omit its frame.
    fn inflate(&self, held: BufferedBody) -> Result<BufferedBody, BodyError> {
        let BufferedBody { bytes, mut charge } = held;
        let mut decoder = Decompress::new(is_zlib(&bytes));
        let mut decompressed = Vec::new();
        let mut rest = &*bytes;
        loop {
            let room = decompressed.capacity();
            decompressed.reserve(STEP);
            charge.add(decompressed.capacity() - room)?;
            let before = decoder.total_in();
            let status = decoder
                .decompress_vec(rest, &mut decompressed, FlushDecompress::None)
                .map_err(|_| BodyError::BrokenGzip)?;
            if decompressed.len() > self.max_body {
                return Err(self.too_large());
            }
            let read = usize::try_from(decoder.total_in() - before).unwrap_or(usize::MAX);
            rest = rest.get(read..).unwrap_or_default();
            match status {
                Status::StreamEnd if rest.is_empty() => {
                    return Ok(BufferedBody {
                        bytes: decompressed,
                        charge,
                    });
                }
                // A body that is cut off leaves room.
                Status::Ok | Status::BufError if decompressed.len() == decompressed.capacity() => {}
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
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

// The bytes may be personal data.
impl fmt::Debug for BufferedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BufferedBody({} bytes)", self.bytes.len())
    }
}

/// A part of the budget, returned on drop.
#[derive(Debug)]
struct MemoryPermit {
    budget: Arc<Semaphore>,
    granted: Option<OwnedSemaphorePermit>,
}

impl MemoryPermit {
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
    let all = async {
        let mut read = 0;
        while read < DISCARD
            && let Ok(Some(data)) = next_data(&mut body).await
        {
            read += data.len();
        }
    };
    // After that time the connection closes, whatever the sender does.
    timeout(DISCARD_TIME, all).await.unwrap_or_default();
}

/// Waits for the next bytes; `None` at the end. Skips trailers.
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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::io::Write;
    use std::task::{Context, Poll};

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use hyper::body::{Frame, SizeHint};

    use super::*;

    /// Sends what is in its queue, and then ends, breaks or hangs.
    struct Frames {
        queue: VecDeque<Bytes>,
        announced: Option<u64>,
        then: Then,
    }

    #[derive(Clone, Copy)]
    enum Then {
        End,
        Break,
        Hang,
    }

    impl HttpBody for Frames {
        type Data = Bytes;
        type Error = std::io::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            match (self.queue.pop_front(), self.then) {
                (Some(data), _) => Poll::Ready(Some(Ok(Frame::data(data)))),
                (None, Then::End) => Poll::Ready(None),
                (None, Then::Break) => Poll::Ready(Some(Err(std::io::ErrorKind::NotFound.into()))),
                (None, Then::Hang) => Poll::Pending,
            }
        }

        fn size_hint(&self) -> SizeHint {
            self.announced
                .map_or_else(SizeHint::default, SizeHint::with_exact)
        }
    }

    fn frames(frames: &[&[u8]], then: Then) -> Body {
        Body::new(Frames {
            queue: frames
                .iter()
                .map(|data| Bytes::copy_from_slice(data))
                .collect(),
            announced: None,
            then,
        })
    }

    fn encoded(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_ENCODING, value.parse().unwrap());
        headers
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn deflate(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    async fn read(headers: &HeaderMap, mut body: Body) -> Result<Vec<u8>, BodyError> {
        let held = BodyReader::new(100).read(headers, &mut body).await?;
        Ok(held.as_bytes().to_vec())
    }

    const TOO_LARGE: BodyError = BodyError::TooLarge { max_body: 100 };

    #[tokio::test(start_paused = true)]
    async fn a_plain_body_is_read_within_its_bounds() {
        let none = HeaderMap::new();
        let long = [b'x'; 100];
        for (body, expected) in [
            (frames(&[], Then::End), Ok(&b""[..])),
            (frames(&[b"ab"], Then::End), Ok(b"ab")),
            (frames(&[b"ab", b"", b"cd", b"e"], Then::End), Ok(b"abcde")),
            (frames(&[&long], Then::End), Ok(&long)),
            (frames(&[&long, b"x"], Then::Hang), Err(TOO_LARGE)),
            (frames(&[b"ab"], Then::Break), Err(BodyError::Incomplete)),
            (frames(&[b"ab"], Then::Hang), Err(BodyError::TooSlow)),
            (frames(&[], Then::Hang), Err(BodyError::TooSlow)),
        ] {
            assert_eq!(read(&none, body).await, expected.map(<[u8]>::to_vec));
        }
    }

    #[tokio::test]
    async fn a_body_that_is_announced_too_large_is_not_waited_for() {
        let body = Body::new(Frames {
            queue: VecDeque::new(),
            announced: Some(101),
            then: Then::Hang,
        });
        assert_eq!(read(&HeaderMap::new(), body).await, Err(TOO_LARGE));
    }

    #[tokio::test]
    async fn gzip_is_decompressed_up_to_the_limit() {
        let text = b"some text that is folded";
        let two_members = [gzip(b"one "), gzip(b"two")].concat();
        let folded = gzip(text);
        let garbled = folded.iter().map(|byte| byte ^ 0x55).collect::<Vec<_>>();
        for (header, body, expected) in [
            ("gzip", folded.clone(), Ok(&text[..])),
            ("GZIP", folded.clone(), Ok(text)),
            ("x-gzip", folded.clone(), Ok(text)),
            ("identity", text.to_vec(), Ok(text)),
            ("gzip", two_members, Ok(b"one two")),
            ("gzip", gzip(&[0; 100]), Ok(&[0; 100])),
            ("gzip", gzip(&[0; 101]), Err(TOO_LARGE)),
            ("gzip", text.to_vec(), Err(BodyError::BrokenGzip)),
            ("gzip", garbled, Err(BodyError::BrokenGzip)),
            ("gzip", folded[..20].to_vec(), Err(BodyError::BrokenGzip)),
            (
                "gzip",
                [&folded[..], b"more"].concat(),
                Err(BodyError::BrokenGzip),
            ),
            ("gzip", Vec::new(), Err(BodyError::BrokenGzip)),
            ("deflate", zlib(text), Ok(text)),
            ("Deflate", deflate(text), Ok(text)),
            ("deflate", zlib(&[0; 101]), Err(TOO_LARGE)),
            ("deflate", deflate(&[0; 101]), Err(TOO_LARGE)),
            (
                "deflate",
                zlib(text)[..20].to_vec(),
                Err(BodyError::BrokenGzip),
            ),
            (
                "deflate",
                deflate(text)[..20].to_vec(),
                Err(BodyError::BrokenGzip),
            ),
            (
                "deflate",
                [&zlib(text)[..], b"more"].concat(),
                Err(BodyError::BrokenGzip),
            ),
            ("deflate", vec![0xff; 20], Err(BodyError::BrokenGzip)),
            ("deflate", Vec::new(), Err(BodyError::BrokenGzip)),
            ("br", folded.clone(), Err(BodyError::UnknownEncoding)),
            ("gzip, gzip", folded, Err(BodyError::UnknownEncoding)),
        ] {
            let found = read(&encoded(header), Body::from(body)).await;
            assert_eq!(found, expected.map(<[u8]>::to_vec), "{header}");
        }
    }

    #[tokio::test]
    async fn a_bomb_is_not_decompressed_past_the_limit() {
        let max_body = 1 << 20;
        // Little more than the limit: to decompress further would be `Busy`.
        let reader = BodyReader::with_budget(max_body, 2 * max_body);
        let bomb = gzip(&vec![0; 50 << 20]);
        let refused = reader.read(&encoded("gzip"), &mut Body::from(bomb)).await;
        assert_eq!(refused.unwrap_err(), BodyError::TooLarge { max_body });
    }

    #[tokio::test]
    async fn all_bodies_share_one_budget_and_give_it_back() {
        let reader = BodyReader::with_budget(100, 150);
        let none = HeaderMap::new();
        let body = || frames(&[&[b'x'; 60], &[b'x'; 40]], Then::End);
        let held = reader.read(&none, &mut body()).await.unwrap();
        assert_eq!(
            reader.read(&none, &mut body()).await.unwrap_err(),
            BodyError::Busy
        );
        let small = reader.read(&none, &mut Body::from("x")).await.unwrap();
        drop((held, small));
        assert_eq!(reader.budget.available_permits(), 150);
        assert!(reader.read(&none, &mut body()).await.is_ok());
    }
}
