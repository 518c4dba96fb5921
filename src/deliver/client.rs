//! Posts batches to Meta's Conversions API.
//!
//! Knows the endpoint, its credentials and what a request looks like; not what an answer means. It joins
//! the bytes of the events as they are. The access token travels in the `Authorization` header only, never
//! in a URL, and appears in no error and no `Debug`. A [`Transport`] carries the requests.

use std::fmt;
use std::io::Read;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use flate2::read::{MultiGzDecoder, ZlibDecoder};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::header::{
    ACCEPT_ENCODING, AGE, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, DATE, HeaderMap,
    HeaderValue,
};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use url::Url;

use crate::clock::{Clock as _, CorrectedClock, UnixMillis};
use crate::config::delivery::MetaConfig;
use crate::config::sync::SyncConfig;

use super::transport::{
    GraphAnswer, LONGEST_ANSWER, PostError, PostRequest, Transport, TransportError,
};
use super::usage::{self, RateUsage};
use super::verdict::GraphReply;

/// How a gzip stream begins.
const GZIP: [u8; 2] = [0x1f, 0x8b];
const BEGIN: &[u8] = br#"{"data":["#;

/// Posts to one pixel, with one access token.
pub struct GraphClient {
    transport: Box<dyn Transport>,
    clock: Arc<CorrectedClock>,
    /// Where the endpoint begins.
    root: Url,
    url: Url,
    test_event_code: Option<String>,
    auth: RwLock<Arc<RequestAuth>>,
}

/// Why a client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing could be made that carries its requests.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// A header cannot carry the token.
    #[error("the access token holds a character that no token has")]
    Token,
}

/// What depends on the access token.
struct RequestAuth {
    authorization: HeaderValue,
    /// What follows the events.
    end: String,
}

impl GraphClient {
    /// Prepares requests for a sync.
    pub fn new(
        transport: Box<dyn Transport>,
        meta: &MetaConfig,
        sync: &SyncConfig,
        clock: Arc<CorrectedClock>,
    ) -> Result<Self, ClientError> {
        let mut url = meta.url.clone();
        url.path_segments_mut()
            .expect("the URL's scheme is http or https")
            .pop_if_empty()
            .extend([&meta.api_version, &sync.pixel_id, "events"]);
        let auth = RequestAuth::new(
            &sync.access_token,
            sync.app_secret.as_ref(),
            sync.test_event_code.as_deref(),
        )?;
        Ok(Self {
            transport,
            clock,
            root: meta.url.clone(),
            url,
            test_event_code: sync.test_event_code.clone(),
            auth: RwLock::new(Arc::new(auth)),
        })
    }

    /// Uses another token and app secret from the next request on.
    pub fn set_credentials(
        &self,
        token: &SecretString,
        app_secret: Option<&SecretString>,
    ) -> Result<(), ClientError> {
        let auth = RequestAuth::new(token, app_secret, self.test_event_code.as_deref())?;
        *self.auth.write().expect("no holder of this lock panics") = Arc::new(auth);
        Ok(())
    }

    /// Bytes of a request besides those of its events, commas included.
    pub fn frame_bytes(&self, events: usize) -> usize {
        BEGIN.len() + self.auth().end.len() + events.saturating_sub(1)
    }

    /// Posts events, each one JSON object, and reads the answer.
    pub async fn post<T: AsRef<[u8]>>(&self, events: &[T]) -> Result<GraphReply, PostError> {
        let auth = self.auth();
        let headers = [
            (AUTHORIZATION, auth.authorization.clone()),
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
            // Answers are short. If a proxy compresses them anyway, `read` understands it.
            (ACCEPT_ENCODING, HeaderValue::from_static("identity")),
        ];
        let request = PostRequest {
            url: self.url.clone(),
            headers: HeaderMap::from_iter(headers),
            body: join_events(events, auth.end.as_bytes()),
        };
        let sent = self.clock.uptime();
        let answer = self.transport.post(request).await?;
        self.learn_date(&answer, sent);
        read(answer, self.clock.now())
    }

    /// Asks the endpoint for nothing but the time, without the token. True if it told it.
    pub async fn ask_for_date(&self) -> Result<bool, PostError> {
        let sent = self.clock.uptime();
        let answer = self.transport.head(self.root.clone()).await?;
        Ok(self.learn_date(&answer, sent))
    }

    /// Lets the clock learn from the date of an answer to a request that was sent at this uptime. True if it can. A
    /// cache gives an answer the date at which it was made.
    fn learn_date(&self, answer: &GraphAnswer, sent: Duration) -> bool {
        if answer.headers.contains_key(AGE) {
            return false;
        }
        let date = answer.headers.get(DATE);
        let date = date.and_then(|date| usage::moment(date.to_str().ok()?));
        date.is_some_and(|date| self.clock.on_date(date, sent, self.clock.uptime()))
    }

    fn auth(&self) -> Arc<RequestAuth> {
        Arc::clone(&self.auth.read().expect("no holder of this lock panics"))
    }
}

impl fmt::Debug for GraphClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GraphClient")
            .field("url", &self.url.as_str())
            .finish_non_exhaustive()
    }
}

impl RequestAuth {
    fn new(
        token: &SecretString,
        app_secret: Option<&SecretString>,
        test_event_code: Option<&str>,
    ) -> Result<Self, ClientError> {
        let token = token.expose_secret();
        let mut authorization =
            HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| ClientError::Token)?;
        authorization.set_sensitive(true);
        let code = test_event_code.map(|code| format!(r#","test_event_code":"{code}""#));
        let proof =
            app_secret.map(|secret| format!(r#","appsecret_proof":"{}""#, proof(secret, token)));
        let end = [
            "]",
            &code.unwrap_or_default(),
            &proof.unwrap_or_default(),
            "}",
        ]
        .concat();
        Ok(Self { authorization, end })
    }
}

/// Meta's `appsecret_proof`: it shows that the sender of the token knows the app's secret.
fn proof(app_secret: &SecretString, token: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(app_secret.expose_secret().as_bytes())
        .expect("a key of any length will do");
    mac.update(token.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

/// Joins events, each one JSON object, to the body of a request; `end` follows them.
pub fn join_events<T: AsRef<[u8]>>(events: &[T], end: &[u8]) -> Vec<u8> {
    let bytes: usize = events.iter().map(|event| event.as_ref().len() + 1).sum();
    let mut body = Vec::with_capacity(BEGIN.len() + bytes + end.len());
    body.extend_from_slice(BEGIN);
    for (index, event) in events.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        body.extend_from_slice(event.as_ref());
    }
    body.extend_from_slice(end);
    body
}

fn read(answer: GraphAnswer, now: UnixMillis) -> Result<GraphReply, PostError> {
    let GraphAnswer {
        status,
        headers,
        mut body,
    } = answer;
    let header = |name: &str| headers.get(name)?.to_str().ok();
    let usage = RateUsage::read(header, now);
    let encoding = headers.get(CONTENT_ENCODING);
    let is_deflated = encoding.is_some_and(|encoding| encoding == "deflate");
    if body.starts_with(&GZIP) {
        body = decompressed(MultiGzDecoder::new(body.as_slice()))?;
    } else if is_deflated {
        body = decompressed(ZlibDecoder::new(body.as_slice()))?;
    }
    Ok(GraphReply {
        status,
        usage,
        body,
    })
}

/// Decompresses as much as possible: the beginning of a damaged body may tell enough.
fn decompressed(packed: impl Read) -> Result<Vec<u8>, PostError> {
    let mut body = Vec::new();
    let mut bounded = packed.take(LONGEST_ANSWER as u64 + 1);
    let _damaged = bounded.read_to_end(&mut body).is_err();
    if body.len() > LONGEST_ANSWER {
        return Err(PostError::TooLong);
    }
    Ok(body)
}

#[cfg(test)]
#[path = "client/tests.rs"]
mod tests;
