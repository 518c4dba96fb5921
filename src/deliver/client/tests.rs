//! What goes over the wire, and how each failure counts.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::clock::TestClock;
use crate::config::load;
use crate::deliver::transport::Internet;
use crate::http::resolver::Resolver;
use crate::http::tls;

use super::*;

const EVENTS: [&[u8]; 2] = [br#"{"event_name":"Lead"}"#, br#"{"event_name": "\u00e9" }"#];
const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 21\r\nretry-after: 7\r\n\
    x-app-usage: {\"call_count\":28}\r\n\r\n{\"events_received\":2}";

/// An endpoint that takes one request and does what it is told.
struct Endpoint {
    address: SocketAddr,
    request: JoinSet<String>,
}

#[derive(Clone, Copy)]
enum Does {
    Answers(&'static [u8]),
    Hangs,
    Closes,
}

impl Endpoint {
    async fn new(does: Does) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut request = JoinSet::new();
        request.spawn(async move {
            let (mut connection, _) = listener.accept().await.unwrap();
            let request = read_request(&mut connection).await;
            match does {
                Does::Answers(answer) => connection.write_all(answer).await.unwrap(),
                Does::Hangs => std::future::pending().await,
                Does::Closes => {}
            }
            request
        });
        Self { address, request }
    }

    async fn request(mut self) -> String {
        self.request.join_next().await.unwrap().unwrap()
    }
}

async fn read_request(connection: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        connection.read_buf(&mut bytes).await.unwrap();
        let text = String::from_utf8(bytes.clone()).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .unwrap();
        if body.len() == length.parse::<usize>().unwrap() {
            return text;
        }
    }
}

fn client(url: &str, more: &str) -> Result<GraphClient, ClientError> {
    let text = format!(
        r#"
        ingest.allow_unauthenticated = true
        meta.url = "{url}"
        [sync.web]
        pixel_id = "11"
        access_token = "token-1"
        {more}
        "#
    );
    let config = load::from_toml(&text, &[]).unwrap();
    let sync = config.syncs.values().next().unwrap();
    let clock = Arc::new(TestClock::at(UnixMillis::default()));
    let clock = Arc::new(CorrectedClock::new(clock));
    GraphClient::new(
        Internet::new(clock.clone(), Resolver::start().unwrap()).transport(
            &tls::client_config(&config.meta.url, clock.clone()).unwrap(),
            &sync.delivery,
        )?,
        &config.meta,
        sync,
        clock,
    )
}

async fn post(does: Does) -> Result<GraphReply, PostError> {
    let endpoint = Endpoint::new(does).await;
    let client = client(&format!("http://{}", endpoint.address), "").unwrap();
    client.post(&EVENTS).await
}

#[tokio::test]
async fn a_request_joins_the_events_as_they_are() {
    let endpoint = Endpoint::new(Does::Answers(OK)).await;
    let url = format!("http://{}", endpoint.address);
    let client = client(&url, "").unwrap();
    let reply = client.post(&EVENTS).await.unwrap();
    assert_eq!(reply.status, 200);
    assert_eq!(reply.body, br#"{"events_received":2}"#);
    assert_eq!(reply.usage.app, Some(28.0));
    assert_eq!(reply.usage.retry_after, Some(Duration::from_secs(7)));

    let request = endpoint.request().await;
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(
        head.starts_with("POST /v26.0/11/events HTTP/1.1\r\n"),
        "{head}"
    );
    assert!(
        head.contains("\r\nauthorization: Bearer token-1\r\n"),
        "{head}"
    );
    assert!(
        head.contains("\r\ncontent-type: application/json\r\n"),
        "{head}"
    );
    assert!(head.contains("\r\naccept-encoding: identity\r\n"), "{head}");
    assert!(!head.contains("content-encoding"), "{head}");
    let expected = r#"{"data":[{"event_name":"Lead"},{"event_name": "\u00e9" }]}"#;
    assert_eq!(body, expected);
    let events: usize = EVENTS.iter().map(|event| event.len()).sum();
    assert_eq!(client.frame_bytes(2), expected.len() - events);
}

#[tokio::test]
async fn test_code_proof_and_a_path_in_the_url_are_sent_too() {
    let endpoint = Endpoint::new(Does::Answers(OK)).await;
    let url = format!("http://{}/graph/", endpoint.address);
    let more = r#"
        test_event_code = "TEST1"
        app_secret = "another"
    "#;
    let client = client(&url, more).unwrap();
    client
        .set_credentials(
            &SecretString::from("what do ya want for nothing?"),
            Some(&SecretString::from("Jefe")),
        )
        .unwrap();
    client.post(&EVENTS[..1]).await.unwrap();
    let request = endpoint.request().await;
    assert!(
        request.starts_with("POST /graph/v26.0/11/events "),
        "{request}"
    );
    assert!(
        request.contains("Bearer what do ya want for nothing?\r\n"),
        "{request}"
    );
    // RFC 4231, test case 2.
    let end = concat!(
        r#"],"test_event_code":"TEST1","appsecret_proof":""#,
        r#"5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"}"#
    );
    assert!(request.ends_with(end), "{request}");
}

#[tokio::test]
async fn an_answer_is_taken_whatever_its_status() {
    for (answer, status) in [
        (&b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n"[..], 500),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204),
        (
            b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n",
            302,
        ),
    ] {
        let reply = post(Does::Answers(answer)).await.unwrap();
        assert_eq!(reply.status, status);
        assert!(reply.body.is_empty());
    }
}

/// An answer with a packed body.
fn packed(encoding: &str, body: &[u8]) -> &'static [u8] {
    let length = body.len();
    let head = format!("HTTP/1.1 200 OK\r\n{encoding}content-length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat().leak()
}

#[tokio::test]
async fn a_packed_answer_is_understood_although_none_is_asked_for() {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};

    let body = br#"{"events_received":2}"#;
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(body).unwrap();
    let gzip = gzip.finish().unwrap();
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
    zlib.write_all(body).unwrap();
    let zlib = zlib.finish().unwrap();
    let cut = &gzip[..gzip.len() - 4];
    for (encoding, bytes) in [
        ("content-encoding: gzip\r\n", gzip.as_slice()),
        ("", &gzip),
        ("content-encoding: gzip\r\n", cut),
        ("content-encoding: deflate\r\n", &zlib),
        ("content-encoding: gzip\r\n", body),
    ] {
        let reply = post(Does::Answers(packed(encoding, bytes))).await.unwrap();
        assert_eq!(reply.body, body, "{encoding}");
    }
    let mut bomb = GzEncoder::new(Vec::new(), Compression::default());
    bomb.write_all(&vec![b' '; 64 * LONGEST_ANSWER]).unwrap();
    let bomb = bomb.finish().unwrap();
    let error = post(Does::Answers(packed("", &bomb))).await.unwrap_err();
    assert!(matches!(error, PostError::TooLong), "{error:?}");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_lost() {
    for does in [
        Does::Closes,
        Does::Answers(b"HTTP/1.1 200 OK\r\ncontent-le"),
        Does::Answers(b"HTTP/1.1 200 OK\r\ncontent-length: 21\r\n\r\n{\"events_rec"),
        Does::Answers(b"this is no HTTP\r\n\r\n"),
    ] {
        let error = post(does).await.unwrap_err();
        assert!(error.is_lost(), "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_come_in_time_is_lost() {
    let error = post(Does::Hangs).await.unwrap_err();
    assert!(error.is_lost(), "{error:?}");
}

#[tokio::test]
async fn an_endless_answer_is_not_read_to_its_end() {
    static LONG: [u8; LONGEST_ANSWER + 64] = {
        let mut bytes = [b'x'; LONGEST_ANSWER + 64];
        let head = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
        let mut at = 0;
        while at < head.len() {
            bytes[at] = head[at];
            at += 1;
        }
        bytes
    };
    let error = post(Does::Answers(&LONG)).await.unwrap_err();
    assert!(matches!(error, PostError::TooLong), "{error:?}");
    assert!(error.is_lost());
}

#[tokio::test]
async fn without_a_connection_nothing_was_sent() {
    let endpoint = Endpoint::new(Does::Closes).await;
    let url = format!("http://{}", endpoint.address);
    drop(endpoint);
    tokio::task::yield_now().await;
    let error = client(&url, "").unwrap().post(&EVENTS).await.unwrap_err();
    assert!(!error.is_lost(), "{error:?}");
}

#[tokio::test]
async fn the_token_is_in_no_error_and_no_debug_output() {
    let client = client("http://127.0.0.1:9", "").unwrap();
    let error = client.post(&EVENTS).await.unwrap_err();
    let shown = format!("{client:?} {error:?} {error}");
    assert!(!shown.contains("token-1"), "{shown}");
    let broken = SecretString::from("line\nbreak");
    let error = client.set_credentials(&broken, None).unwrap_err();
    assert!(matches!(error, ClientError::Token));
}
