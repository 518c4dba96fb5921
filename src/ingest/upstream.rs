//! Passes what SDKs send on to Amplitude.
//!
//! The body travels as it came, but for the sender's address in the place of `$remote`, since
//! Amplitude would locate this server. Of the headers only the content type goes along, and the
//! sender's address. Nothing is kept: where Amplitude does not answer in time, or not as a service
//! that works, the SDK is told to send again.

use std::net::IpAddr;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use reqwest::Client;
use reqwest::header::CONTENT_TYPE;
use reqwest::redirect::Policy;
use rustls::ClientConfig;
use thiserror::Error;
use url::Url;

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Longest wait for the answer: SDKs give up after ten seconds, some of them with the events.
const TIMEOUT: Duration = Duration::from_secs(8);
/// Connections that are not used for so long are closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest answer that is passed back, in bytes.
const LONGEST_ANSWER: usize = 256 << 10;

/// Amplitude's own endpoint.
#[derive(Debug)]
pub struct Upstream {
    http: Client,
    base: Url,
}

/// A request that is passed on.
#[derive(Debug)]
pub(super) struct Forwarded {
    /// The path that it came to, which is Amplitude's too.
    pub(super) path: &'static str,
    /// What its body is.
    pub(super) content_type: Option<HeaderValue>,
    /// Whom it came from.
    pub(super) address: Option<IpAddr>,
    /// Its body.
    pub(super) body: Vec<u8>,
}

/// Amplitude's answer, to be passed back.
#[derive(Debug)]
pub(super) struct UpstreamAnswer {
    /// Its status.
    pub(super) status: StatusCode,
    content_type: Option<HeaderValue>,
    body: Bytes,
}

/// Why there is no answer to be passed back.
#[derive(Debug, Error)]
pub(super) enum UpstreamFailure {
    /// There was none, or it was broken.
    #[error("no answer: {0}")]
    Unanswered(&'static str),
    /// Its status says that Amplitude did not judge the request.
    #[error("answered {0}")]
    Status(StatusCode),
    /// It is too long.
    #[error("answered with more than {LONGEST_ANSWER} bytes")]
    TooLong,
}

impl Upstream {
    /// Prepares to pass requests on. `tls` must be fit for the URL.
    pub fn new(tls: ClientConfig, base: Url) -> Result<Self, reqwest::Error> {
        let http = Client::builder()
            .tls_backend_preconfigured(tls)
            .user_agent(concat!("pixel-relay/", env!("CARGO_PKG_VERSION")))
            .http1_only()
            .no_proxy()
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build()?;
        Ok(Self { http, base })
    }

    /// Passes a request on and waits for the answer.
    pub(super) async fn forward(
        &self,
        request: Forwarded,
    ) -> Result<UpstreamAnswer, UpstreamFailure> {
        let mut url = self.base.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}{}", request.path));
        let mut call = self.http.post(url).body(request.body);
        if let Some(content_type) = request.content_type {
            call = call.header(CONTENT_TYPE, content_type);
        }
        if let Some(address) = request.address {
            call = call.header("x-forwarded-for", address.to_string());
        }
        let mut response = call.send().await.map_err(|error| logged_path(&error))?;
        let status = response.status();
        if status.is_server_error() || status.is_redirection() || status.is_informational() {
            return Err(UpstreamFailure::Status(status));
        }
        let content_type = response.headers().get(CONTENT_TYPE).cloned();
        let mut body = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| logged_path(&error))?
        {
            if body.len() + chunk.len() > LONGEST_ANSWER {
                return Err(UpstreamFailure::TooLong);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(UpstreamAnswer {
            status,
            content_type,
            body: body.into(),
        })
    }
}

impl IntoResponse for UpstreamAnswer {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.body).into_response();
        match self.content_type {
            Some(content_type) => response.headers_mut().insert(CONTENT_TYPE, content_type),
            None => response.headers_mut().remove(CONTENT_TYPE),
        };
        response
    }
}

/// Names the kind of failure; the error's own text may hold the URL.
fn logged_path(error: &reqwest::Error) -> UpstreamFailure {
    UpstreamFailure::Unanswered(if error.is_timeout() {
        "timed out"
    } else if error.is_connect() {
        "no connection"
    } else {
        "the connection broke"
    })
}
