//! What carries requests to the Graph API: the only part of delivery that knows a network.
//!
//! A connection carries one request at a time, so that a stuck one holds up no other and is closed
//! when its time is over. [`Internet`] follows no redirect and no proxy of the environment: the token goes
//! to the configured host only.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder};
use rustls::ClientConfig;
use url::Url;

use crate::clock::Clock;
use crate::config::delivery::DeliveryConfig;
use crate::config::sync::SyncConfig;
use crate::config::{Config, SyncName};
use crate::http::resolver::Resolver;
use crate::http::tls::{self, NoCertificates};

/// Longest answer that is read, in bytes, compressed or not.
pub const LONGEST_ANSWER: usize = 256 * 1024;
/// Longest wait for a connection; less than any wait for an answer, so that the two are told apart.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Unused connections are closed after this time, before the other end closes them.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Gives each sync what carries its requests.
pub trait Network: Debug + Send + Sync {
    /// Prepares all syncs of a configuration; names the first that fails.
    fn transports(&self, config: &Config) -> Result<Transports, (SyncName, TransportError)>;
}

/// By sync.
pub type Transports = BTreeMap<SyncName, Box<dyn Transport>>;

/// Carries requests.
pub trait Transport: Debug + Send + Sync {
    /// Sends a `POST`, and reads the whole answer.
    fn post(&self, request: PostRequest) -> Answering<'_>;

    /// Sends a `HEAD` without anything that tells who asks.
    fn head(&self, url: Url) -> Answering<'_>;
}

/// An answer that is waited for.
pub type Answering<'a> = Pin<Box<dyn Future<Output = Result<GraphAnswer, PostError>> + Send + 'a>>;

/// A request.
#[derive(Debug)]
pub struct PostRequest {
    pub url: Url,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

/// An answer, its body as it came.
#[derive(Debug)]
pub struct GraphAnswer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

/// Why a request was not answered.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// Nothing was written: there was no connection.
    #[error("no connection to the Graph API")]
    NotSent(#[source] Box<dyn Error + Send + Sync>),
    /// Bytes may have been written, and no complete answer came: Meta may have taken the events.
    #[error("the answer was lost")]
    Lost(#[source] Box<dyn Error + Send + Sync>),
    /// The answer was too long to be read.
    #[error("the answer was longer than {LONGEST_ANSWER} bytes")]
    TooLong,
}

/// Why a transport could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// No certificates to check the endpoint's against.
    #[error(transparent)]
    Certificates(#[from] NoCertificates),
    /// The HTTP client could not be made.
    #[error("the HTTP client could not be made")]
    Http(#[source] reqwest::Error),
}

/// The real network.
#[derive(Clone, Debug)]
pub struct Internet {
    /// Checks certificates.
    clock: Arc<dyn Clock>,
    resolver: Arc<Resolver>,
}

/// An HTTP client of its own for each sync.
#[derive(Debug)]
struct HttpTransport(Client);

impl PostError {
    fn from_request(error: reqwest::Error) -> Self {
        let error = error.without_url();
        if error.is_connect() || error.is_builder() {
            Self::NotSent(error.into())
        } else {
            Self::Lost(error.into())
        }
    }

    /// Whether Meta may have taken the events nevertheless.
    pub const fn is_lost(&self) -> bool {
        !matches!(self, Self::NotSent(_))
    }
}

impl Internet {
    pub const fn new(clock: Arc<dyn Clock>, resolver: Arc<Resolver>) -> Self {
        Self { clock, resolver }
    }

    /// Prepares one sync. `tls` must be fit for the URL.
    pub fn transport(
        &self,
        tls: &ClientConfig,
        delivery: &DeliveryConfig,
    ) -> Result<Box<dyn Transport>, TransportError> {
        let timeout = delivery.timeout;
        let http = Client::builder()
            .tls_backend_preconfigured(tls.clone())
            .user_agent(concat!("pixel-relay/", env!("CARGO_PKG_VERSION")))
            .http1_only()
            .no_proxy()
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .dns_resolver(Arc::clone(&self.resolver))
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT.min(timeout.mul_f64(0.5)))
            .timeout(timeout)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(delivery.max_in_flight.get())
            .build()
            .map_err(TransportError::Http)?;
        Ok(Box::new(HttpTransport(http)))
    }
}

impl Network for Internet {
    fn transports(&self, config: &Config) -> Result<Transports, (SyncName, TransportError)> {
        let tls = tls::client_config(&config.meta.url, Arc::clone(&self.clock));
        let transport = |(name, sync): (&SyncName, &SyncConfig)| {
            let tls = tls.as_ref().map_err(|error| error.clone().into());
            let made = tls.and_then(|tls| self.transport(tls, &sync.delivery));
            match made {
                Ok(transport) => Ok((name.clone(), transport)),
                Err(error) => Err((name.clone(), error)),
            }
        };
        config.syncs.iter().map(transport).collect()
    }
}

impl Transport for HttpTransport {
    fn post(&self, request: PostRequest) -> Answering<'_> {
        let PostRequest { url, headers, body } = request;
        Box::pin(answer(self.0.post(url).headers(headers).body(body)))
    }

    fn head(&self, url: Url) -> Answering<'_> {
        Box::pin(answer(self.0.head(url)))
    }
}

/// Sends a request, and reads the whole answer.
async fn answer(request: RequestBuilder) -> Result<GraphAnswer, PostError> {
    let mut response = request.send().await.map_err(PostError::from_request)?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(PostError::from_request)? {
        if body.len() + chunk.len() > LONGEST_ANSWER {
            return Err(PostError::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(GraphAnswer {
        status,
        headers,
        body,
    })
}
