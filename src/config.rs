//! What the operator wants: one struct per stage.
//!
//! A [`Config`] is what was *meant*: paths compiled, sizes in bytes, secrets read from their files.
//! `config::load` makes it from what was *written* and reports every [`ConfigError`] at once; nothing
//! checks it again later. Each table is declared in one place, one row per key (`schema`), and
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
mod sections;
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
pub mod placeholders;
pub mod graph_versions;
mod codecs;
mod schema;
mod node;
mod print;
pub mod units;

pub use live::LiveConfig;
pub use sync::UserMemory;
pub(crate) mod names;

use codecs::table;
use delivery::MetaConfig;
use ingest::IngestConfig;
use node::Node;
use queue::QueueConfig;
use schema::KeyDefault::Table as Below;
use schema::section;
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
    syncs as "sync": BTreeMap<SyncName, SyncConfig> = syncs(), Below,
        "The streams of events, by name.";

    => then(table) {
        if let (Some(queue), Some(syncs)) = (&queue, &syncs) {
            check_memories(&table.node, queue, syncs);
        }
        if syncs.as_ref().is_some_and(|syncs| syncs.values().all(|sync| !sync.enabled)) {
            table.node.warn(&["sync"], "no sync is enabled: no event is taken");
        }
        if let (Some(ingest), Some(syncs)) = (&ingest, &syncs) {
            check_consent(&table.node, ingest, syncs);
        }
    }
}

impl Config {
    /// The number of keys whose secrets stand in files, which are read again while the daemon runs.
    pub fn keys_in_files(&self) -> usize {
        let ingest = usize::from(!self.ingest.secret_files.is_empty());
        let admin = usize::from(self.admin.secret_file.is_some());
        let syncs = self.syncs.values().map(|sync| {
            let files = [&sync.access_token_file, &sync.app_secret_file];
            files.into_iter().flatten().count()
        });
        ingest + admin + syncs.sum::<usize>()
    }
}

/// The name of a sync: `[a-z][a-z0-9]*(_[a-z0-9]+)*`, which an environment variable can hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct SyncName(Arc<str>);

impl SyncName {
    /// Takes a name that follows the rule; `None` for any other.
    pub fn new(name: &str) -> Option<Self> {
        let starts_with_letter = name.starts_with(|first: char| first.is_ascii_lowercase());
        let may_stand = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let mut parts = name.split('_');
        let are_parts = parts.all(|part| !part.is_empty() && part.bytes().all(may_stand));
        (starts_with_letter && are_parts).then(|| Self(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for SyncName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = Cow::<str>::deserialize(deserializer)?;
        Self::new(&name)
            .ok_or_else(|| D::Error::custom(format!("`{name}` is not the name of a sync")))
    }
}

impl fmt::Display for SyncName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The key that these names lead to, each quoted where TOML wants it.
pub fn key_of(names: &[&str]) -> String {
    names::join_all("", names)
}

/// Whether a text can be a code of Meta's Test Events tool.
pub fn is_test_event_code(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Whether a text can be a secret of Meta's: printable ASCII without white space, which only a faulty
/// paste brings in.
pub fn is_metas_secret(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Something wrong in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct ConfigError {
    /// The key, as in `sync.web.events."Order Completed".send_as`.
    pub key: String,
    /// What was found and what would be right; never a secret.
    pub message: String,
}

impl ConfigError {
    /// Notes an error at a key.
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            message: message.into(),
        }
    }
}

/// Refuses memories of people that together leave too little of the store to events.
fn check_memories(root: &Node<'_>, queue: &QueueConfig, syncs: &BTreeMap<SyncName, SyncConfig>) {
    let most = queue.max_bytes.get() / 4;
    let memories = syncs
        .iter()
        .filter_map(|(name, sync)| Some((name, sync.user_memory.as_ref()?.max_bytes)));
    let bytes = memories.clone().map(|(_, bytes)| bytes);
    let sum = bytes.fold(0, u64::saturating_add);
    if sum <= most {
        return;
    }
    for (name, bytes) in memories {
        let key = format!("sync.{name}.user_memory.max_bytes");
        let message = format!(
            "found {}, {} with those of all syncs, expected at most a quarter of queue.max_bytes together: {}",
            format_size(bytes),
            format_size(sum),
            format_size(most)
        );
        root.context.note(ConfigError::new(key, message));
    }
}

/// Warns of a condition for consent that events of SDKs cannot meet: they hold only the user properties
/// that they change.
fn check_consent(root: &Node<'_>, ingest: &IngestConfig, syncs: &BTreeMap<SyncName, SyncConfig>) {
    for (name, sync) in syncs {
        let takes_events_of_sdks = ingest.api_keys.iter().any(|key| {
            let syncs = key.syncs.as_ref();
            syncs.is_none_or(|syncs| syncs.contains(name))
        });
        let is_kept = |property: &str| {
            let memory = sync.user_memory.as_ref();
            memory.is_some_and(|memory| memory.keep_as_is.iter().any(|kept| kept == property))
        };
        let conditions = sync.consent.conditions().iter();
        let mut asked = conditions.filter_map(|condition| condition.property.user_property());
        if takes_events_of_sdks && let Some(property) = asked.find(|property| !is_kept(property)) {
            root.warn(
                &["sync", name.as_str(), "consent"],
                format!(
                    "asks for the user property {property:?}, which events of SDKs carry only where they \
                     set it themselves: name it in user_memory.keep_as_is, so that what an identify \
                     call told counts for later events"
                ),
            );
        }
    }
}
