//! `[ingest]`: who may send events.

use std::path::PathBuf;
use std::time::Duration;

use axum::http::HeaderName;
use config::ValueKind;
use secrecy::SecretString;
use url::Url;

use crate::config::SyncName;
use crate::config::codecs::{LONG, boolean, choice, duration, https_url, rate, text};
use crate::config::node::Node;
use crate::config::placeholders::is_placeholder;
use crate::config::print::{self, Page};
use crate::config::schema::KeyDefault::{Example, Required, Value};
use crate::config::schema::{Codec, KnownTable, Table, section};
use crate::config::secrets::{files_of, secrets};
use crate::config::units::Rate;

section! {
    /// `[ingest]`.
    #[derive(Clone, Debug)]
    pub struct IngestConfig = Section::new("ingest", "Who may send events.");

    header: String = text("the name of an HTTP header", is_header_name).hidden(), Value(r#""Authorization""#),
        "The header that carries the secret: one of those set in Amplitude's webhook.";
    secrets as "secret": Vec<SecretString> = secrets("secret_file"), Required(r#""Bearer REPLACE_ME""#),
        "The header's whole value. A list accepts each of its entries, so that secrets can be \
         rotated. Required, unless there is `secret_file`, `allow_unauthenticated` or `api_keys`.";
    secret_files as "secret_file": Vec<PathBuf> = files_of("secret"), Example(r#""/run/secrets/ingest_secret""#),
        "A file that holds the secret, in place of `secret`; a new secret in it is picked up.";
    allow_unauthenticated: bool = boolean(), Value("false"),
        "Takes events from anyone, in place of a secret.";
    api_keys: Vec<ApiKey> = api_keys(), Example(r#"["0123456789abcdef0123456789abcdef"]"#),
        "Turns on the endpoints of Amplitude's SDKs, for these projects. An API key is shown to \
         anyone who looks into a page or an app, so it is no secret. `{ key = \"…\", syncs = \
         [\"web\"] }` binds one to some syncs.";
    address_requests_per_second: Option<Rate> = rate(), Value("100"),
        "Most requests that one address may send to the SDK endpoints, with ten seconds' worth \
         at once; more are answered with 429. Behind a proxy, name it in `trusted_proxies`, or \
         all senders count as one.";
    address_events_per_second: Option<Rate> = rate(), Value("1000"),
        "Most events that one address may send to the SDK endpoints, with ten seconds' worth at \
         once; a request with more is answered with 429, and so is every request until the \
         allowance has filled up. One with more events than ten seconds' worth is taken when the \
         whole allowance is there, and uses it up.";
    upstream: Option<Url> = https_url(r#"an https URL such as "https://api2.amplitude.com" (http only for a loopback address)"#).optional(),
        Example(r#""https://api2.amplitude.com""#),
        "Passes what SDKs send on to Amplitude, once it is stored here, and answers with \
         Amplitude's answer.";
    upstream_when_full: WhenFull = choice(r#""pass_on" or "refuse""#, &[("pass_on", WhenFull::PassOn), ("refuse", WhenFull::Refuse)]),
        Value(r#""pass_on""#),
        "What becomes of a request for `upstream` that cannot be stored here: the queue is full, \
         the disk low, the store cannot write. `pass_on`: Amplitude gets it all the same, and what \
         Meta misses is counted, logged and warned about. `refuse`: its sender is told 503 and \
         sends it again.";
    silence_after: Option<Duration> = duration(Duration::from_secs(1)..=LONG).optional(),
        Example(r#""30m""#), "Warns when nothing comes for this long.";

    => then(table) {
        if let (Some(secrets), Some(anyone), Some(keys)) = (&secrets, allow_unauthenticated, &api_keys) {
            if keys.is_empty() && matches!(upstream, Some(Some(_))) {
                table.refuse("upstream", "found no api_keys, expected those of the projects to pass on");
            }
            check_senders(table, secrets, anyone, keys);
        }
    }
}

impl IngestConfig {
    /// The header that carries the secret, as HTTP compares it.
    pub fn header_name(&self) -> HeaderName {
        HeaderName::from_bytes(self.header.as_bytes()).expect("checked when it was read")
    }
}

/// What becomes of a request for the upstream that cannot be stored here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// Amplitude gets it anyway; what Meta misses is counted.
    PassOn,
    /// Its sender is told to send it again.
    Refuse,
}

section! {
    /// An Amplitude project whose SDKs may send here.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct ApiKey = Section::new("", "");

    key: String = Codec::new("an Amplitude API key", api_key_text, print::text).hidden(), Required(""),
        "The project's API key. Browsers show it to anyone, so it is no secret.";
    syncs: Option<Vec<SyncName>> = bound_syncs(),
        Example(""),
        "The syncs that its events are for. Absent: every sync.";
}

/// A key whose syncs cannot be read is bound to none: it must not count as bound to all.
fn bound_syncs() -> Codec<Option<Vec<SyncName>>> {
    let print = |syncs: &Option<Vec<SyncName>>| print::texts(syncs.as_deref().unwrap_or_default());
    let read = |node: &Node<'_>| read_syncs(node).map(Some);
    Codec::new("a list of names of configured syncs", read, print).or_default()
}

fn check_senders(
    table: &KnownTable<'_>,
    secrets: &[SecretString],
    takes_anyone: bool,
    api_keys: &[ApiKey],
) {
    match (secrets, takes_anyone) {
        // Without a secret nobody may use the webhook, which may be meant.
        ([], false) if api_keys.is_empty() => table.refuse(
            "secret",
            "missing, expected the secret that Amplitude's webhook sends (or secret_file); \
             allow_unauthenticated = true takes events from anyone",
        ),
        ([_, ..], true) => table.refuse(
            "allow_unauthenticated",
            "found true beside a secret, expected one or the other",
        ),
        _ => {}
    }
    if takes_anyone {
        table.node.warn(
            &["allow_unauthenticated"],
            "events are taken from anyone who reaches the listener",
        );
    }
    if secrets.iter().any(is_placeholder) {
        let message = "still holds a placeholder, which anyone can guess";
        table.node.warn(&["secret"], message);
    }
}

fn is_header_name(text: &str) -> bool {
    HeaderName::from_bytes(text.as_bytes()).is_ok()
}

fn api_keys() -> Codec<Vec<ApiKey>> {
    let read = |node: &Node<'_>| {
        let keys = node.list(api_key)?;
        for (position, key) in keys.iter().enumerate() {
            if keys.iter().take(position).any(|other| other.key == key.key) {
                return node.refuse("found a key twice, expected each once, with all its syncs");
            }
        }
        Some(keys)
    };
    let print = |keys: &Vec<ApiKey>| print::list(keys.iter().map(print_api_key));
    Codec::new("a list of Amplitude API keys, each a text or a table such as { key = \"…\", syncs = [\"web\"] }", read, print).hidden().or_default()
}

fn api_key(node: &Node<'_>) -> Option<ApiKey> {
    if matches!(node.kind(), ValueKind::Table(_)) {
        return ApiKey::read_node(node);
    }
    let key = api_key_text(node)?;
    Some(ApiKey { key, syncs: None })
}

fn print_api_key(key: &ApiKey) -> String {
    let mut page = Page::default();
    key.print(&mut page);
    match key.syncs {
        None => print::text(&key.key),
        Some(_) => page.into_inline(),
    }
}

fn api_key_text(node: &Node<'_>) -> Option<String> {
    node.parsed(|text| {
        let key = text.trim();
        let is_key = key.bytes().all(|byte| byte.is_ascii_graphic());
        is_key.then(|| key.to_owned())
    })
}

fn read_syncs(node: &Node<'_>) -> Option<Vec<SyncName>> {
    if node.items().is_empty() {
        return node.refuse("found an empty list, expected a list of names of configured syncs");
    }
    let find = |text: &str| {
        let mut configured = node.context.syncs.iter();
        configured.find(|sync| sync.as_str() == text).cloned()
    };
    node.each(|node| node.parsed(find))
}
