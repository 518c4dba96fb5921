//! `[server]`, `[log]` and `[admin]`.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use ipnet::IpNet;
use secrecy::SecretString;

/// `[server]`: the public listener.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Address of `/webhook`, the SDK endpoints and the public `/health`. Default `0.0.0.0:8080`.
    pub listen: SocketAddr,
    /// Largest body taken, in bytes, before and after decompression. Default 2 MiB.
    pub max_body: NonZeroUsize,
    /// Networks whose `X-Forwarded-For` is believed. Default none.
    pub trusted_proxies: Vec<IpNet>,
    /// Origins that browsers may send from. Default none: any.
    pub cors_origins: Vec<String>,
}

/// `[log]`.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// Default `text`.
    pub format: LogFormat,
    /// A level, or levels by module: `info`, `info,pixel_relay::deliver=debug`. Default `info`.
    pub level: String,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// `[admin]`: the listener for operators, read-only.
#[derive(Clone, Debug)]
pub struct AdminConfig {
    /// Address of `/metrics` and the detailed `/health`. Default `127.0.0.1:9090`.
    pub listen: SocketAddr,
    /// Asked for as `Authorization: Bearer …`, where set.
    pub secret: Option<SecretString>,
    /// The file that it came from; read again while the daemon runs.
    pub secret_file: Option<PathBuf>,
}
