//! What the operator wants: one struct per stage.
//!
//! A [`Config`] is what was *meant*: paths compiled, sizes in bytes, secrets read from their files.
//! `config::load` makes it from what was *written* and reports every [`ConfigError`] at once; nothing
//! here is checked again later. Each table is declared in one place, one row per key (`schema`), and
//! `docs/CONFIG.md` lists the keys.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

pub mod load;
pub mod live;
mod layers;
pub mod docs;
mod warnings;
pub mod server;
pub mod ingest;
pub mod queue;
pub mod sync;
pub mod mapping;
pub mod delivery;
pub mod rule_tests;
pub mod expressions;
pub mod fields;
pub mod secrets;
pub mod secret_files;
mod placeholders;
mod graph_versions;
mod codecs;
mod schema;
mod node;
mod print;
pub mod units;
pub(crate) mod names;

use codecs::table;
use delivery::MetaConfig;
use ingest::IngestConfig;
use queue::QueueConfig;
use schema::KeyDefault::{Required, Table as Below};
use schema::{KnownTable, section};
use server::{AdminConfig, LogConfig, ServerConfig};
use sync::{SyncConfig, syncs};
use units::format_size;

section! {
    /// The whole configuration.
    #[derive(Clone, Debug)]
    pub struct Config = Section::new("", "");

    server: ServerConfig = table(), Below, "The public listener.";
    log: LogConfig = table(), Below, "Logs.";
    admin: AdminConfig = table(), Below, "The listener for operators.";
    ingest: IngestConfig = table(), Below, "Who may send events.";
    queue: QueueConfig = table(), Below, "The store.";
    meta: MetaConfig = table(), Below, "Where events go.";
    syncs as "sync": BTreeMap<SyncName, SyncConfig> = syncs(), Required(""),
        "The streams of events, by name." after "meta";

    => then(table) {
        if let (Some(queue), Some(syncs)) = (&queue, &syncs) {
            check_memories(table, queue, syncs);
        }
        let warnings = warnings::of(admin.as_ref(), ingest.as_ref(), queue.as_ref(), syncs.as_ref());
        table.context().warnings.borrow_mut().extend(warnings);
    }
}

/// The name of a sync: `[a-z][a-z0-9]*(_[a-z0-9]+)*`, so that an environment variable can say it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct SyncName(Arc<str>);

impl SyncName {
    /// Takes a name that follows the rule; `None` for any other.
    pub fn new(name: &str) -> Option<Self> {
        let mut parts = name.split('_');
        let starts_with_letter = name.starts_with(|first: char| first.is_ascii_lowercase());
        let valid = parts.all(|part| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        });
        (starts_with_letter && valid).then(|| Self(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for SyncName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = Cow::<str>::deserialize(deserializer)?;
        Self::new(&name).ok_or_else(|| D::Error::custom(format!("`{name}` is no name of a sync")))
    }
}

impl fmt::Display for SyncName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The key that these names lead to, each quoted where TOML wants it.
pub fn key_of(names: &[&str]) -> String {
    names
        .iter()
        .fold(String::new(), |at, name| names::join(&at, name))
}

/// Whether a text can be a code of Meta's Test Events tool.
pub fn is_test_event_code(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Whether a text can be a secret that Meta gave out: printable ASCII, and no white space within, which
/// shows that it was pasted wrongly.
pub fn is_metas_secret(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Something wrong in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The key, as in `sync.web.events."Order Completed".send_as`.
    pub key: String,
    /// What was found and what would be right; never a secret.
    pub message: String,
}

impl ConfigError {
    /// Notes a mistake at a key.
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            message: message.into(),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)
    }
}

/// Notes where what is remembered of people leaves too little of the store to events.
fn check_memories(
    table: &KnownTable<'_>,
    queue: &QueueConfig,
    syncs: &BTreeMap<SyncName, SyncConfig>,
) {
    let most = queue.max_bytes.get() / 4;
    let memories = syncs
        .iter()
        .filter_map(|(name, sync)| Some((name, sync.user_memory.as_ref()?.max_bytes)));
    let sum = memories
        .clone()
        .fold(0_u64, |sum, (_, bytes)| sum.saturating_add(bytes));
    if sum <= most {
        return;
    }
    for (name, bytes) in memories {
        table.context().note(ConfigError::new(
            format!("sync.{name}.user_memory.max_bytes"),
            format!(
                "found {}, {} with those of all syncs, expected at most a quarter of \
                 queue.max_bytes together: {}",
                format_size(bytes),
                format_size(sum),
                format_size(most)
            ),
        ));
    }
}
