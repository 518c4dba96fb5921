//! Bad input over real HTTP: each gets the right answer, nothing panics, and no event beside it is lost.

use std::io::Write as _;
use std::net::SocketAddr;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Daemon, Graph, SECRET, event};

/// A sync that sends whatever the properties hold.
const EVERYTHING: &str = "[sync.web]\npixel_id = \"1001\"\naccess_token = \"test-token\"\n\
    properties = [\"*\"]\n[sync.web.delivery]\nmax_batch_delay = \"10ms\"\n\
    requests_per_second = \"unlimited\"\n";

/// A count in the metrics.
fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap())
}

/// The secret as a line of a request's head.
fn secret() -> String {
    format!("authorization: {SECRET}\r\n")
}

/// What the sender does after the last byte.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Listen,
    /// Closes its half, so that the daemon need not wait for more.
    Close,
}

/// Writes bytes to a new connection; returns the status of the answer and its JSON, or nothing if the
/// connection was closed without an answer.
async fn raw(daemon: &Daemon, request: &[u8], then: Then) -> Option<(u16, Value)> {
    let address: SocketAddr = daemon.url.strip_prefix("http://").unwrap().parse().unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The daemon may answer, and close, before it has read everything.
    stream.write_all(request).await.ok();
    if then == Then::Close {
        stream.shutdown().await.ok();
    }
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, serde_json::from_str(body).unwrap_or_default()))
}

fn request(head: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("{head}host: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

fn post(headers: &str, body: &[u8]) -> Vec<u8> {
    let secret = secret();
    request(
        &format!("POST /webhook HTTP/1.1\r\n{secret}{headers}"),
        body,
    )
}

fn zipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn utf16(text: &str) -> Vec<u8> {
    let units = text.encode_utf16().flat_map(u16::to_le_bytes);
    [0xff, 0xfe].into_iter().chain(units).collect()
}

/// Requests that are refused: their name, and the status and error code of the answer.
#[expect(clippy::too_many_lines, reason = "a table")]
fn unusable() -> Vec<(&'static str, Vec<u8>, u16, &'static str)> {
    let good = event("never").to_string();
    let good = good.as_bytes();
    let secret = secret();
    let twice = [zipped(good), b"and more".to_vec()].concat();
    let bomb = zipped(&vec![b' '; 64 << 20]);
    let cut_off = &zipped(good)[..40];
    vec![
        ("no JSON", post("", b"event_type=Sign Up"), 400, "not_json"),
        ("nothing", post("", b""), 400, "not_json"),
        ("a number", post("", b"42"), 400, "not_json"),
        ("a string", post("", b"\"event\""), 400, "not_json"),
        ("NUL bytes", post("", &[0; 64]), 400, "not_json"),
        ("a raw NUL", post("", b"{\0\"a\":1}"), 400, "not_json"),
        ("broken bytes", post("", b"\xff\xfe\xfd"), 400, "not_json"),
        ("UTF-16", post("", &utf16("{\"a\":1}")), 400, "not_json"),
        (
            "cut off",
            post("", good.split_last().unwrap().1),
            400,
            "not_json",
        ),
        (
            "two objects",
            post("", b"{\"a\":1}{\"a\":2}"),
            400,
            "not_json",
        ),
        (
            "brackets without end",
            post("", &vec![b'['; 1 << 20]),
            400,
            "not_json",
        ),
        (
            "braces without end",
            post("", &b"{\"a\":".repeat(200_000)),
            400,
            "not_json",
        ),
        (
            "2 MiB and more",
            post("", &vec![b' '; (2 << 20) + 1]),
            413,
            "body_too_large",
        ),
        (
            "a bomb",
            post("content-encoding: gzip\r\n", &bomb),
            413,
            "body_too_large",
        ),
        (
            "no gzip",
            post("content-encoding: gzip\r\n", good),
            400,
            "broken_gzip",
        ),
        (
            "gzip and more",
            post("content-encoding: gzip\r\n", &twice),
            400,
            "broken_gzip",
        ),
        (
            "half a gzip",
            post("content-encoding: gzip\r\n", cut_off),
            400,
            "broken_gzip",
        ),
        (
            "brotli",
            post("content-encoding: br\r\n", good),
            415,
            "unknown_encoding",
        ),
        (
            "no secret",
            request("POST /webhook HTTP/1.1\r\n", good),
            401,
            "unauthorized",
        ),
        (
            "a secret that begins well",
            request(
                "POST /webhook HTTP/1.1\r\nauthorization: Bearer test-secret2\r\n",
                good,
            ),
            401,
            "unauthorized",
        ),
        (
            "a secret of strange bytes",
            request(
                "POST /webhook HTTP/1.1\r\nauthorization: Bearer \u{fc}\r\n",
                good,
            ),
            401,
            "unauthorized",
        ),
        (
            "another method",
            request(&format!("PATCH /webhook HTTP/1.1\r\n{secret}"), good),
            405,
            "method_not_allowed",
        ),
        (
            "another path",
            request(
                &format!("POST /webhook/../admin HTTP/1.1\r\n{secret}"),
                good,
            ),
            404,
            "not_found",
        ),
        (
            "an unknown sync",
            request(&format!("POST /webhook/%00 HTTP/1.1\r\n{secret}"), good),
            404,
            "unknown_sync",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_cannot_be_taken_is_refused_in_words_and_the_next_is_taken() {
    let graph = Graph::start().await;
    let daemon = Daemon::start(&graph, EVERYTHING).await;
    let refused = unusable();
    for (number, (what, request, status, error)) in refused.iter().enumerate() {
        let answer = raw(&daemon, request, Then::Listen).await;
        let (told, answer) = answer.unwrap_or_else(|| panic!("{what}: no answer"));
        assert_eq!(
            (told, &answer["error"]),
            (*status, &json!(error)),
            "{what}: {answer}"
        );
        assert!(answer["message"].is_string(), "{what}: {answer}");
        let (status, _) = daemon.post(event(&format!("e{number}")).to_string()).await;
        assert_eq!(status, 200, "after {what}");
    }
    let expected = refused.len();
    graph.sandbox.wait_for(expected as u64).await;
    assert_eq!(graph.accepted().len(), expected);
    daemon
        .until(
            "pixel_relay_outcomes_total",
            &["delivered"],
            count(expected),
        )
        .await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_even_http_is_turned_away_and_the_next_is_taken() {
    let graph = Graph::start().await;
    let daemon = Daemon::start(&graph, EVERYTHING).await;
    let head = format!("POST /webhook HTTP/1.1\r\nhost: x\r\n{}", secret());
    let headers = "x-y: z\r\n".repeat(500);
    let huge = format!("x: {}\r\n", "y".repeat(1 << 20));
    let body = event("never").to_string();
    let length = body.len();
    let attacks: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", Vec::new()),
        ("noise", (0..=255).cycle().take(100_000).collect()),
        (
            "a TLS greeting",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        ),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        ("many headers", format!("{head}{headers}\r\n").into()),
        ("a huge header", format!("{head}{huge}\r\n").into()),
        ("half a head", head.as_bytes().split_at(30).0.into()),
        (
            "a path without end",
            format!("POST /{} HTTP/1.1\r\n\r\n", "a".repeat(1 << 20)).into(),
        ),
        (
            "half a body",
            format!(
                "{head}content-length: {length}\r\n\r\n{}",
                body.split_at(50).0
            )
            .into(),
        ),
        (
            "a negative length",
            format!("{head}content-length: -1\r\n\r\n{body}").into(),
        ),
        (
            "two lengths",
            format!("{head}content-length: 1\r\ncontent-length: 2\r\n\r\n{body}").into(),
        ),
        (
            "a length beyond all",
            format!("{head}content-length: {}\r\n\r\n{body}", u128::MAX).into(),
        ),
        (
            "no chunk",
            format!("{head}transfer-encoding: chunked\r\n\r\nxyz\r\n{body}").into(),
        ),
        (
            "a chunk beyond all",
            format!("{head}transfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n{body}").into(),
        ),
        (
            "half a chunk",
            format!("{head}transfer-encoding: chunked\r\n\r\n{length:x}\r\n{{").into(),
        ),
    ];
    for (number, (what, bytes)) in attacks.iter().enumerate() {
        if let Some((status, answer)) = raw(&daemon, bytes, Then::Close).await {
            assert!((400..500).contains(&status), "{what}: {status} {answer}");
        }
        let (status, _) = daemon.post(event(&format!("e{number}")).to_string()).await;
        assert_eq!(status, 200, "after {what}");
    }
    // A length beside chunks is an attempt to smuggle a request: if it is answered at all, the chunks count.
    let smuggled = format!(
        "{head}connection: close\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n\
         {length:x}\r\n{body}\r\n0\r\n\r\n"
    );
    let smuggled = raw(&daemon, smuggled.as_bytes(), Then::Listen).await;
    let taken = usize::from(smuggled.is_some_and(|(status, _)| status == 200));
    let expected = attacks.len() + taken;
    graph.sandbox.wait_for(expected as u64).await;
    daemon
        .until(
            "pixel_relay_outcomes_total",
            &["delivered"],
            count(expected),
        )
        .await;
    assert_eq!(graph.accepted().len(), expected);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_a_hundred_megabytes_is_not_waited_for() {
    let graph = Graph::start().await;
    let daemon = Daemon::start(&graph, EVERYTHING).await;
    let head = format!("POST /webhook HTTP/1.1\r\nhost: x\r\n{}", secret());
    for framing in ["content-length: 100000000", "transfer-encoding: chunked"] {
        let address: SocketAddr = daemon.url.strip_prefix("http://").unwrap().parse().unwrap();
        let (mut reading, mut writing) = TcpStream::connect(address).await.unwrap().into_split();
        let head = format!("{head}{framing}\r\n\r\n");
        let is_chunked = framing.ends_with("chunked");
        let sender = tokio::task::spawn(async move {
            writing.write_all(head.as_bytes()).await?;
            let megabyte = vec![b' '; 1_000_000];
            for _ in 0..100 {
                if is_chunked {
                    writing.write_all(b"f4240\r\n").await?;
                }
                writing.write_all(&megabyte).await?;
                if is_chunked {
                    writing.write_all(b"\r\n").await?;
                }
            }
            Ok::<_, std::io::Error>(())
        });
        let mut begin = [0; 12];
        reading.read_exact(&mut begin).await.unwrap();
        assert_eq!(&begin, b"HTTP/1.1 413", "{framing}");
        drop(reading);
        // The request was cut off or discarded; either way the connection ends.
        sender.await.unwrap().ok();
        assert_eq!(daemon.post(event(framing).to_string()).await.0, 200);
    }
    graph.sandbox.wait_for(2).await;
    daemon
        .until("pixel_relay_outcomes_total", &["delivered"], 2.0)
        .await;
    daemon.stop().await;
}

/// Strange events, and the reason if they are not delivered.
fn strange_events() -> Vec<(&'static str, String, Option<&'static str>)> {
    let with = |key: &str, raw: &str| {
        let event = event(&format!("strange {key}"));
        let event = event.to_string();
        event.replacen(
            "\"event_properties\":{}",
            &format!("\"event_properties\":{{\"{key}\":{raw}}}"),
            1,
        )
    };
    let deep = |levels| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
    let objects = format!("{}1{}", r#"{"a":"#.repeat(40), "}".repeat(40));
    let mut nul_id = event("nul");
    nul_id["$insert_id"] = json!("a\0b");
    let mut nul_name = event("nul in the name");
    nul_name["event_type"] = json!("Sign\0Up");
    let mut long_name = event("long name");
    long_name["event_type"] = json!("n".repeat(100_000));
    let mut long_id = event("long id");
    long_id["$insert_id"] = json!("i".repeat(100_000));
    let twice = event("twice")
        .to_string()
        .replacen('{', r#"{"user_id":"a","#, 1);
    let mut array = event("an array as properties");
    array["event_properties"] = json!([1, 2, 3]);
    let mut string = event("a string as properties");
    string["user_properties"] = json!("{\"email\":\"a@example.com\"}");
    vec![
        ("forty arrays", with("deep", &deep(40)), None),
        ("forty objects", with("deep objects", &objects), None),
        ("500 arrays", with("too deep", &deep(500)), None),
        ("100000 arrays", with("far too deep", &deep(100_000)), None),
        (
            "beyond 64 bits",
            with("large", "123456789012345678901234567890"),
            None,
        ),
        ("-2^64", with("small", "-18446744073709551616"), None),
        ("1e400", with("infinite", "1e400"), None),
        (
            "the same nested key",
            with("twice", r#"{"a":1,"a":2}"#),
            None,
        ),
        ("the same key", twice, None),
        ("an escaped NUL", with("nul", r#""a\u0000b""#), None),
        ("a raw NUL", with("raw nul", "\"a\0b\""), None),
        ("a surrogate pair", with("pair", r#""\ud83d\ude00""#), None),
        ("half a pair", with("half", r#""\ud83d""#), None),
        ("the other half", with("other half", r#""\ude00""#), None),
        ("NUL in the id", nul_id.to_string(), None),
        ("NUL in the name", nul_name.to_string(), None),
        ("a long name", long_name.to_string(), None),
        ("a long id", long_id.to_string(), None),
        ("an array", array.to_string(), None),
        ("a string", string.to_string(), None),
        ("no object", "42".to_owned(), Some("malformed_json")),
        ("null", "null".to_owned(), Some("malformed_json")),
        ("NaN", with("nan", "NaN"), None),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strange_event_is_delivered_or_set_aside_and_its_neighbours_are_delivered() {
    let graph = Graph::start().await;
    let daemon = Daemon::start(&graph, EVERYTHING).await;
    let strange = strange_events();
    let mut expected = 0;
    for (number, (what, strange, reason)) in strange.iter().enumerate() {
        let before = event(&format!("before {number}"));
        let after = event(&format!("after {number}"));
        let body = format!("[{before},{strange},{after}]");
        let (status, answer) = daemon.post(body).await;
        assert_eq!(status, 200, "{what}: {answer}");
        let reasons = match reason {
            Some(reason) => json!({ *reason: 1 }),
            None => json!({}),
        };
        assert_eq!(answer["reasons"], reasons, "{what}: {answer}");
        expected += 2 + usize::from(reason.is_none());
    }
    daemon
        .until(
            "pixel_relay_outcomes_total",
            &["delivered"],
            count(expected),
        )
        .await;
    assert_eq!(
        daemon
            .metric("pixel_relay_outcomes_total", &["rejected"])
            .await,
        0.0
    );
    assert_eq!(graph.sandbox.stats().accepted, expected as u64);
    assert!(
        graph.sandbox.stats().refused.is_empty(),
        "{:?}",
        graph.sandbox.stats()
    );
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_byte_costs_its_own_value() {
    let graph = Graph::start().await;
    let daemon = Daemon::start(&graph, EVERYTHING).await;
    let (before, after) = (event("before").to_string(), event("after").to_string());
    let mut broken = event("broken").to_string().into_bytes();
    // In the middle of a string.
    let place = broken.iter().rposition(|byte| *byte == b'o').unwrap();
    broken[place] = 0xff;
    let body = [
        b"[",
        before.as_bytes(),
        b",",
        &broken,
        b",",
        after.as_bytes(),
        b"]",
    ]
    .concat();
    let (status, answer) = daemon.post(body).await;
    assert_eq!((status, &answer["reasons"]), (200, &json!({})), "{answer}");
    daemon
        .until("pixel_relay_outcomes_total", &["delivered"], 3.0)
        .await;
    daemon.stop().await;
}
