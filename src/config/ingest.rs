//! `[ingest]`: who may send events.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use url::Url;

use crate::config::SyncName;
use crate::config::units::Rate;

/// `[ingest]`: who may send events.
#[derive(Clone, Debug)]
pub struct IngestConfig {
    /// The header that carries the secret. Default `Authorization`.
    pub header: String,
    /// The secrets that are accepted; empty only with `allow_unauthenticated`.
    pub secrets: Vec<SecretString>,
    /// The files that they came from; read again while the daemon runs.
    pub secret_files: Vec<PathBuf>,
    /// Takes events from anyone. Default false.
    pub allow_unauthenticated: bool,
    /// The Amplitude projects whose SDKs may send here. Default none: the SDK endpoints are off.
    pub api_keys: Vec<ApiKey>,
    /// Requests per second that one address may send to the SDK endpoints. Default 100; `None`:
    /// unlimited.
    pub address_requests_per_second: Option<Rate>,
    /// Where SDK requests are passed on to; https, unless loopback. Default none.
    pub upstream: Option<Url>,
    /// What becomes of SDK requests that cannot be stored here. Default: they are passed on.
    pub upstream_when_full: WhenFull,
    /// Warns when nothing came for so long. Default never.
    pub silence_after: Option<Duration>,
}

/// What becomes of a request for the upstream while nothing of it can be stored here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// Amplitude gets it all the same; what Meta misses is counted.
    PassOn,
    /// Its sender is told to send it again.
    Refuse,
}

/// An Amplitude project whose SDKs may send here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// The project's API key. Browsers show it to anyone, so it is no secret.
    pub key: String,
    /// The syncs that its events are for; `None`: every sync.
    pub syncs: Option<Vec<SyncName>>,
}
