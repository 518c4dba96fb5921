//! Passes what SDKs send on to Amplitude.
//!
//! The body is passed on as it came, except that the sender's address replaces `$remote`: Amplitude
//! would put this server's address there. Of the headers only the content type goes along, and the
//! sender's address. Nothing is kept: where Amplitude does not answer in time, or answers with a status
//! that judges nothing, the SDK is told to send again.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use reqwest::Client;
use reqwest::header::CONTENT_TYPE;
use reqwest::redirect::Policy;
use rustls::ClientConfig;
use thiserror::Error;
use url::Url;

use crate::http::resolver::Resolver;

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

/// Why there is no answer to pass back.
#[derive(Debug, Error)]
pub(super) enum UpstreamFailure {
    /// None came, or it broke off.
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
    pub fn new(
        tls: ClientConfig,
        base: Url,
        resolver: Arc<Resolver>,
    ) -> Result<Self, reqwest::Error> {
        let http = Client::builder()
            .tls_backend_preconfigured(tls)
            .user_agent(concat!("pixel-relay/", env!("CARGO_PKG_VERSION")))
            .http1_only()
            .no_proxy()
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .dns_resolver(resolver)
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build()?;
        Ok(Self { http, base })
    }

    /// Passes the request of this sender on to the path that it came to, and waits for the answer.
    pub(super) async fn forward(
        &self,
        path: &str,
        content_type: Option<HeaderValue>,
        sender: Option<IpAddr>,
        body: Vec<u8>,
    ) -> Result<Response, UpstreamFailure> {
        let mut url = self.base.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}{path}"));
        let mut call = self.http.post(url).body(body);
        if let Some(content_type) = content_type {
            call = call.header(CONTENT_TYPE, content_type);
        }
        if let Some(sender) = sender {
            call = call.header("x-forwarded-for", sender.to_string());
        }
        let mut response = call.send().await?;
        let status = response.status();
        if status.is_server_error() || status.is_redirection() || status.is_informational() {
            return Err(UpstreamFailure::Status(status));
        }
        let content_type = response.headers().get(CONTENT_TYPE).cloned();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if body.len() + chunk.len() > LONGEST_ANSWER {
                return Err(UpstreamFailure::TooLong);
            }
            body.extend_from_slice(&chunk);
        }
        let mut answer = (status, body).into_response();
        match content_type {
            Some(content_type) => answer.headers_mut().insert(CONTENT_TYPE, content_type),
            None => answer.headers_mut().remove(CONTENT_TYPE),
        };
        Ok(answer)
    }
}

impl From<reqwest::Error> for UpstreamFailure {
    /// Names the kind of failure alone, since the error's text may hold the URL.
    fn from(error: reqwest::Error) -> Self {
        Self::Unanswered(if error.is_timeout() {
            "timed out"
        } else if error.is_connect() {
            "no connection"
        } else {
            "the connection broke"
        })
    }
}
