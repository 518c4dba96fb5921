//! `[server]`, `[log]` and `[admin]`.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use ipnet::IpNet;
use secrecy::SecretString;
use url::Url;

use crate::config::codecs::{choice, list, memory, parsed, text};
use crate::config::node::Node;
use crate::config::schema::KeyDefault::{Example, Value};
use crate::config::schema::{Codec, section};
use crate::config::secrets::{file_of, is_printable, secret};

/// The levels of a log line.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

section! {
    /// `[server]`.
    #[derive(Clone, Debug)]
    pub struct ServerConfig = Section::new("server", "The public listener.");

    listen: SocketAddr = address(), Value(r#""0.0.0.0:8080""#),
        "Address of `/webhook`, of the SDK endpoints and of the public `/health`.";
    max_body: NonZeroUsize = memory(1 << 30), Value(r#""2MiB""#),
        "Largest body taken, before and after decompression.";
    trusted_proxies: Vec<IpNet> = list(r#"a list of networks such as "10.0.0.0/8""#, network),
        Value("[]"), "Networks whose `X-Forwarded-For` is believed.";
    cors_origins: Vec<String> = list(r#"a list of origins such as "https://shop.example.com" or "https://*.example.com", or "*""#, origin),
        Value("[]"),
        "Origins from which browsers may send to the SDK endpoints. Empty: any, as Amplitude itself \
         allows, since only browsers obey the list. `*.` stands for one label before a domain; an \
         app's own origin is listed as it is, such as `capacitor://localhost`.";
}

section! {
    /// `[log]`.
    #[derive(Clone, Debug)]
    pub struct LogConfig = Section::new("log", "Logs, written to standard error.");

    format: LogFormat = choice(r#""text" or "json""#, &[("text", LogFormat::Text), ("json", LogFormat::Json)]),
        Value(r#""text""#), "`text` for people, `json` for one object per line.";
    level: String = text(r#"a level (off, error, warn, info, debug, trace), or levels by module such as "info,pixel_relay::deliver=debug""#, is_log_level),
        Value(r#""info""#), "How much is written: a level, or levels by module.";
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    /// One JSON object per line.
    Json,
}

section! {
    /// `[admin]`: read-only.
    #[derive(Clone, Debug)]
    pub struct AdminConfig = Section::new("admin", "The listener for operators, read-only.");

    listen: SocketAddr = address(), Value(r#""127.0.0.1:9090""#),
        "Address of `/metrics` and of the detailed `/health`.";
    secret: Option<SecretString> = secret("secret_file", is_printable), Example(r#""REPLACE_ME""#),
        "Asked for as `Authorization: Bearer …`. Set it where others must reach the listener, such as \
         Prometheus in another container.";
    secret_file: Option<PathBuf> = file_of("secret"), Example(r#""/run/secrets/admin_secret""#),
        "A file that holds the secret, in place of `secret`; a new secret in it is picked up.";

    => then(table) {
        if let (Some(listen), Some(None)) = (listen, &secret) && !listen.ip().is_loopback() {
            table.node.warn(&["listen"], format!(
                "{listen} can be reached from outside and there is no admin.secret: anyone who reaches it \
                 reads the metrics"
            ));
        }
    }
}

pub(super) fn address() -> Codec<SocketAddr> {
    parsed("an IP address and port such as \"0.0.0.0:8080\"", |text| {
        text.parse().ok()
    })
}

/// A network, or the one address.
fn network(node: &Node<'_>) -> Option<IpNet> {
    node.parsed(|text| {
        text.parse::<IpNet>()
            .ok()
            .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
    })
}

/// An origin as a browser sends it: scheme, host and port, nothing behind them. A star may stand for the
/// first label of a domain.
fn origin(node: &Node<'_>) -> Option<String> {
    node.parsed(|text| {
        let is_any = text == "*" || is_origin(text) || is_origin_of_any_label(text);
        is_any.then(|| text.to_owned())
    })
}

fn is_origin(text: &str) -> bool {
    if text.contains('*') {
        return false;
    }
    Url::parse(text).is_ok_and(|url| {
        let origin = url.origin().ascii_serialization();
        if origin != "null" {
            return origin == text;
        }
        // An app's own scheme, such as `capacitor://localhost`.
        let host = url.host_str().unwrap_or_default();
        let port = url.port().map(|port| format!(":{port}"));
        let origin = format!("{}://{host}{}", url.scheme(), port.unwrap_or_default());
        !host.is_empty() && text == origin && !text.contains(|c: char| c.is_ascii_uppercase())
    })
}

fn is_origin_of_any_label(text: &str) -> bool {
    text.split_once("://*.").is_some_and(|(scheme, domain)| {
        let is_web = matches!(scheme, "https" | "http");
        let name = domain.split(':').next().unwrap_or_default();
        // An address has no labels, and a top-level domain has no single owner.
        let has_point = name.contains('.') || name == "localhost";
        is_web && has_point && is_origin(&format!("{scheme}://a.{domain}"))
    })
}

fn is_log_level(text: &str) -> bool {
    text.split(',').all(|directive| {
        let (module, level) = directive.split_once('=').unwrap_or(("all", directive));
        let is_module = module
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':'));
        !module.is_empty() && is_module && LEVELS.contains(&level)
    })
}
