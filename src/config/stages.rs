//! Reads the tables that are always there: `[server]` to `[meta]`.

use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use config::ValueKind;
use ipnet::IpNet;
use url::{Host, Url};

use crate::config::amounts::{bytes, rate};
use crate::config::delivery::MetaConfig;
use crate::config::ingest::{ApiKey, IngestConfig, WhenFull};
use crate::config::keys::{ADMIN, API_KEY, INGEST, LOG, META, QUEUE, SERVER};
use crate::config::queue::QueueConfig;
use crate::config::server::{AdminConfig, LogConfig, LogFormat, ServerConfig};
use crate::config::values::Node;
use crate::config::{SyncName, secrets};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Longest duration that makes sense anywhere: a slip beyond it cannot overflow a later sum.
const LONG: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// The levels of a log line.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Reads `[server]`.
pub(super) fn server(node: &Node<'_>) -> Option<ServerConfig> {
    let table = node.table(&SERVER)?;
    let listen = table.require("listen").and_then(|node| address(&node));
    let max_body = table
        .require("max_body")
        .and_then(|node| bytes(&node, 1 << 30));
    let trusted_proxies = table
        .require("trusted_proxies")
        .and_then(|node| node.list(network));
    let cors_origins = table
        .require("cors_origins")
        .and_then(|node| node.list(origin));
    Some(ServerConfig {
        listen: listen?,
        max_body: max_body?,
        trusted_proxies: trusted_proxies?,
        cors_origins: cors_origins?,
    })
}

/// Reads the address of the public listener alone.
pub(super) fn listen(node: &Node<'_>) -> Option<SocketAddr> {
    node.table(&SERVER)?
        .require("listen")
        .and_then(|node| address(&node))
}

/// Reads `[log]`.
pub(super) fn log(node: &Node<'_>) -> Option<LogConfig> {
    let table = node.table(&LOG)?;
    let format = table
        .require("format")
        .and_then(|node| node.choice(&[("text", LogFormat::Text), ("json", LogFormat::Json)]));
    let level = table
        .require("level")
        .and_then(|node| node.parsed(|text| is_log_level(text).then(|| text.to_owned())));
    Some(LogConfig {
        format: format?,
        level: level?,
    })
}

/// Reads `[admin]`.
pub(super) fn admin(node: &Node<'_>) -> Option<AdminConfig> {
    let table = node.table(&ADMIN)?;
    let listen = table.require("listen").and_then(|node| address(&node));
    let (secret, secret_file) = secrets::one(&table, "secret", "secret_file").unzip();
    Some(AdminConfig {
        listen: listen?,
        secret,
        secret_file: secret_file.flatten(),
    })
}

/// Reads `[ingest]`. `syncs` are the names of all syncs.
pub(super) fn ingest(node: &Node<'_>, syncs: &[SyncName]) -> Option<IngestConfig> {
    let table = node.table(&INGEST)?;
    let header = table.require("header").and_then(|node| header_name(&node));
    let secrets = secrets::several(&table, "secret", "secret_file");
    let allow_unauthenticated = table
        .require("allow_unauthenticated")
        .and_then(|node| node.boolean());
    let silence_after = table
        .get("silence_after")
        .and_then(|node| node.duration(Duration::from_secs(1)..=LONG));
    let api_keys = table
        .get("api_keys")
        .map_or_else(|| Some(Vec::new()), |node| api_keys(&node, syncs));
    let address_requests_per_second = table
        .require("address_requests_per_second")
        .and_then(|node| rate(&node));
    let upstream = table.get("upstream").and_then(|node| https_url(&node));
    let upstream_when_full = table.require("upstream_when_full").and_then(|node| {
        node.choice(&[("pass_on", WhenFull::PassOn), ("refuse", WhenFull::Refuse)])
    });
    let ((secrets, secret_files), allow_unauthenticated, api_keys) =
        (secrets?, allow_unauthenticated?, api_keys?);
    if upstream.is_some() && api_keys.is_empty() {
        table.refuse(
            "upstream",
            "found no api_keys, expected those of the projects to pass on",
        );
    }
    match (secrets.is_empty(), allow_unauthenticated) {
        // Without a secret nobody passes the webhook's door, which may be meant.
        (true, false) if api_keys.is_empty() => table.refuse(
            "secret",
            "missing, expected the secret that Amplitude's webhook sends (or secret_file); \
             allow_unauthenticated = true takes events from anyone",
        ),
        (false, true) => table.refuse(
            "allow_unauthenticated",
            "found true beside a secret, expected one or the other",
        ),
        _ => {}
    }
    Some(IngestConfig {
        header: header?,
        secrets,
        secret_files,
        allow_unauthenticated,
        api_keys,
        address_requests_per_second: address_requests_per_second?,
        upstream,
        upstream_when_full: upstream_when_full?,
        silence_after,
    })
}

/// Reads `[queue]`.
pub(super) fn queue(node: &Node<'_>) -> Option<QueueConfig> {
    let table = node.table(&QUEUE)?;
    let path = table.require("path").and_then(|node| node.text());
    let max_bytes = table
        .require("max_bytes")
        .and_then(|node| NonZeroU64::new(node.size(1..=u64::MAX >> 1)?));
    let min_free_disk = table
        .get("min_free_disk")
        .and_then(|node| node.size(0..=u64::MAX >> 1));
    // Fingerprints are kept for 8 days, so no longer window can be honoured.
    let duplicate_window = table
        .require("duplicate_window")
        .and_then(|node| node.duration(Duration::ZERO..=8 * DAY));
    let duplicate_ids = table
        .require("duplicate_ids")
        .and_then(|node| usize::try_from(node.integer(1..=1_000_000_000)?).ok())
        .and_then(NonZeroUsize::new);
    let dead_letter_retention = table
        .require("dead_letter_retention")
        .and_then(|node| node.duration(Duration::from_secs(1)..=LONG));
    let dead_letter_max_bytes = table
        .require("dead_letter_max_bytes")
        .and_then(|node| node.size(0..=u64::MAX >> 1));
    let max_bytes = max_bytes?;
    Some(QueueConfig {
        path: PathBuf::from(path?),
        max_bytes,
        min_free_disk,
        duplicate_window: duplicate_window?,
        duplicate_ids: duplicate_ids?,
        dead_letter_retention: dead_letter_retention?,
        dead_letter_max_bytes: dead_letter_max_bytes?.min(max_bytes.get()),
    })
}

/// Reads `[meta]`.
pub(super) fn meta(node: &Node<'_>) -> Option<MetaConfig> {
    let table = node.table(&META)?;
    let url = table.require("url").and_then(|node| https_url(&node));
    let api_version = table
        .require("api_version")
        .and_then(|node| node.parsed(|text| is_api_version(text).then(|| text.to_owned())));
    Some(MetaConfig {
        url: url?,
        api_version: api_version?,
    })
}

fn address(node: &Node<'_>) -> Option<SocketAddr> {
    node.parsed(|text| text.parse().ok())
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
    Url::parse(text).is_ok_and(|url| {
        let is_opaque = url.origin().ascii_serialization() == "null";
        if text.contains('*') {
            return false;
        }
        if !is_opaque {
            return url.origin().ascii_serialization() == text;
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
        // An address has no labels, and nobody owns what stands behind the last point.
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

/// The name of a header: what HTTP calls a token. It is not repeated: a secret may stand there by
/// mistake.
fn header_name(node: &Node<'_>) -> Option<String> {
    let name = node.text()?;
    let is_token = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
    if is_token {
        Some(name.to_owned())
    } else {
        node.unexpected_unshown()
    }
}

/// The URL of a service that is sent personal data or secrets.
fn https_url(node: &Node<'_>) -> Option<Url> {
    let text = node.text()?;
    let Ok(url) = Url::parse(text) else {
        return node.unexpected();
    };
    if !url.username().is_empty() || url.password().is_some() {
        return node.refuse("found a URL with a user name or password, expected none");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return node.refuse("found a URL with a query or fragment, expected none");
    }
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    if url.scheme() == "https" || (url.scheme() == "http" && loopback) {
        Some(url)
    } else {
        node.unexpected()
    }
}

/// Reads `api_keys`; each key once.
fn api_keys(node: &Node<'_>, syncs: &[SyncName]) -> Option<Vec<ApiKey>> {
    let keys = node.list(|node| api_key(node, syncs))?;
    for (position, key) in keys.iter().enumerate() {
        if keys.iter().take(position).any(|other| other.key == key.key) {
            return node.refuse("found a key twice, expected each once, with all its syncs");
        }
    }
    Some(keys)
}

fn api_key(node: &Node<'_>, syncs: &[SyncName]) -> Option<ApiKey> {
    if !matches!(node.kind(), ValueKind::Table(_)) {
        let key = api_key_text(node)?;
        return Some(ApiKey { key, syncs: None });
    }
    let table = node.table(&API_KEY)?;
    let key = table.require("key").and_then(|node| api_key_text(&node));
    let bound = match table.get("syncs") {
        None => None,
        Some(node) if node.items().is_empty() => {
            return node
                .refuse("found an empty list, expected a list of names of configured syncs");
        }
        Some(node) => Some(node.each(|node| {
            node.parsed(|text| syncs.iter().find(|sync| sync.as_str() == text).cloned())
        })?),
    };
    Some(ApiKey {
        key: key?,
        syncs: bound,
    })
}

/// The text of an API key; what is none may be a secret that slipped in, and is not repeated.
fn api_key_text(node: &Node<'_>) -> Option<String> {
    let key = node.text()?.trim();
    if key.bytes().all(|byte| byte.is_ascii_graphic()) {
        Some(key.to_owned())
    } else {
        node.unexpected_unshown()
    }
}

fn is_api_version(text: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.strip_prefix('v')
        .and_then(|version| version.split_once('.'))
        .is_some_and(|(major, minor)| number(major) && number(minor))
}
