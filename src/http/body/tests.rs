//! Bodies that are honest, broken, slow or too large.

use std::collections::VecDeque;
use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use hyper::body::SizeHint;

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
    let reader = BodyReader::new(100);
    let held = reader
        .read(headers, &mut body, STRANGER, &LongWork::new())
        .await?;
    Ok(held.as_bytes().to_vec())
}

const STRANGER: BodySender = BodySender::Stranger(None);
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
    let reader = BodyReader::with_budget(max_body, budget(4 * max_body, 0));
    let mut bomb = Body::from(gzip(&vec![0; 50 << 20]));
    let refused = reader
        .read(&encoded("gzip"), &mut bomb, STRANGER, &LongWork::new())
        .await;
    assert_eq!(refused.unwrap_err(), BodyError::TooLarge { max_body });
}

#[tokio::test]
async fn the_largest_body_fits_however_it_comes() {
    let max_body = 8 << 20;
    let reader = BodyReader::new(max_body);
    let full: Vec<u8> = (0..max_body).map(|_| fastrand::u8(b'0'..b'8')).collect();
    for (header, body) in [
        ("identity", full.clone()),
        ("gzip", gzip(&full)),
        ("deflate", zlib(&full)),
    ] {
        let parts: Vec<_> = body.chunks(16 << 10).collect();
        let mut body = frames(&parts, Then::End);
        let read = reader
            .read(&encoded(header), &mut body, STRANGER, &LongWork::new())
            .await;
        assert!(read.unwrap().as_bytes() == full, "{header}");
    }
}

#[tokio::test]
async fn all_memory_of_a_body_is_charged() {
    let max_body = 4 << 20;
    for length in [0, 1, 100, STEP - 1, STEP, STEP + 1, 10 * STEP + 7, max_body] {
        let text: Vec<u8> = (0..length).map(|_| fastrand::u8(b'0'..b'8')).collect();
        for (header, body) in [
            ("identity", text.clone()),
            ("gzip", gzip(&text)),
            ("deflate", zlib(&text)),
            ("deflate", deflate(&text)),
        ] {
            let reader = BodyReader::new(max_body);
            let parts: Vec<_> = body.chunks(10_000).collect();
            let mut body = frames(&parts, Then::End);
            let held = reader
                .read(&encoded(header), &mut body, STRANGER, &LongWork::new())
                .await;
            let held = held.unwrap();
            assert!(held.bytes == text);
            let charged = held.charge.bytes;
            assert!(held.bytes.capacity() <= charged, "{header}, {length}");
        }
    }
}

#[test]
fn memory_that_cannot_be_had_refuses_the_body() {
    let all = usize::MAX / 4;
    let budget = BodyBudget::new(budget(all, 0));
    let charge = BodyCharge::nothing(&budget, BodySender::WithSecret);
    let mut held = BufferedBody::empty(charge);
    assert_eq!(held.reserve(all, all), Err(BodyError::Busy));
}

fn budget(strangers: usize, reserve: usize) -> BudgetLimits {
    BudgetLimits { strangers, reserve }
}

#[tokio::test]
async fn all_bodies_share_one_budget_and_give_it_back() {
    let reader = BodyReader::with_budget(100, budget(300, 150));
    let none = HeaderMap::new();
    let body = || frames(&[&[b'x'; 60], &[b'x'; 40]], Then::End);
    let read = async |sender| {
        reader
            .read(&none, &mut body(), sender, &LongWork::new())
            .await
    };
    let held = read(STRANGER).await.unwrap();
    assert_eq!(read(STRANGER).await.unwrap_err(), BodyError::Busy);
    let other = BodySender::Stranger(Some([198, 51, 100, 9].into()));
    let of_other = read(other).await.unwrap();
    let known = read(BodySender::WithSecret).await.unwrap();
    drop((held, of_other, known));
    assert!(read(STRANGER).await.is_ok());
}

#[tokio::test]
async fn an_announced_length_reserves_nothing() {
    let announced = || {
        Body::new(Frames {
            queue: [Bytes::from_static(b"{")].into(),
            announced: Some(100),
            then: Then::Hang,
        })
    };
    let work = LongWork::new();
    let reader = BodyReader::with_budget(100, budget(300, 0));
    let none = HeaderMap::new();
    let mut bodies: Vec<_> = (0..15).map(|_| announced()).collect();
    let mut reading = Vec::new();
    for body in &mut bodies {
        let mut read = Box::pin(reader.read(&none, body, STRANGER, &work));
        assert!(poll_once(read.as_mut()).await.is_none());
        reading.push(read);
    }
    let whole = frames(&[b"some bytes"], Then::End);
    let held = reader
        .read(&none, &mut { whole }, STRANGER, &LongWork::new())
        .await;
    assert_eq!(held.unwrap().as_bytes(), b"some bytes");
}

/// Polls once.
async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Sends some bytes every nine seconds.
struct Trickle {
    bytes: usize,
    pause: Pin<Box<Sleep>>,
}

impl HttpBody for Trickle {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.pause.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        let next = Instant::now() + Duration::from_secs(9);
        self.pause.as_mut().reset(next);
        Poll::Ready(Some(Ok(Frame::data(vec![b' '; self.bytes].into()))))
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_trickles_is_given_up_soon_and_a_slow_one_late() {
    let reader = BodyReader::new(10 << 20);
    for (bytes, seconds) in [(1, 10), (1000, 10), (5000, 14), (10_000, 60)] {
        let began = Instant::now();
        let pause = Box::pin(sleep(Duration::from_secs(9)));
        let mut body = Body::new(Trickle { bytes, pause });
        let read = reader
            .read(&HeaderMap::new(), &mut body, STRANGER, &LongWork::new())
            .await;
        assert_eq!(read.map(drop), Err(BodyError::TooSlow));
        assert_eq!(began.elapsed().as_secs(), seconds, "{bytes} bytes");
    }
}
