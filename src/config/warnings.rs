//! What is allowed and yet deserves a word at start, as an operator may not have meant it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::ingest::IngestConfig;
use crate::config::placeholders::is_placeholder;
use crate::config::queue::QueueConfig;
use crate::config::server::AdminConfig;
use crate::config::sync::{Consent, LimitedDataUseMode, LimitedDataUsePlace, SyncConfig};
use crate::config::{ConfigError, SyncName};
use crate::expr::value::ValueExpr;
use crate::normalize::field::UserDataField;

/// How long Amplitude repeats an event that was not answered with 2xx.
const AMPLITUDE_REPEATS_FOR: Duration = Duration::from_secs(4 * 60 * 60);

/// The tables that were read, of which each may be missing.
pub(super) type ReadTables<'c> = (
    Option<&'c AdminConfig>,
    Option<&'c IngestConfig>,
    Option<&'c QueueConfig>,
    Option<&'c BTreeMap<SyncName, SyncConfig>>,
);

/// Warns of all that could be read.
pub(super) fn of((admin, ingest, queue, syncs): ReadTables<'_>) -> Vec<ConfigError> {
    let mut warnings = Vec::new();
    if let Some(admin) = admin {
        self::admin(admin, &mut warnings);
    }
    if let Some(ingest) = ingest {
        self::ingest(ingest, &mut warnings);
    }
    if let Some(queue) = queue {
        self::queue(queue, &mut warnings);
    }
    if let Some(syncs) = syncs {
        self::syncs(syncs, &mut warnings);
    }
    if let (Some(ingest), Some(syncs)) = (ingest, syncs) {
        consent(ingest, syncs, &mut warnings);
    }
    warnings
}

/// Warns of who may look into the daemon.
fn admin(admin: &AdminConfig, warnings: &mut Vec<ConfigError>) {
    if !admin.listen.ip().is_loopback() && admin.secret.is_none() {
        warnings.push(ConfigError::new(
            "admin.listen",
            format!(
                "{} can be reached from outside and there is no admin.secret: anyone who reaches it \
                 reads the metrics",
                admin.listen
            ),
        ));
    }
}

/// Warns of who may send.
fn ingest(ingest: &IngestConfig, warnings: &mut Vec<ConfigError>) {
    if ingest.allow_unauthenticated {
        warnings.push(ConfigError::new(
            "ingest.allow_unauthenticated",
            "events are taken from anyone who reaches the listener",
        ));
    }
    if ingest.secrets.iter().any(is_placeholder) {
        warnings.push(ConfigError::new(
            "ingest.secret",
            "still holds a placeholder, which anyone can guess",
        ));
    }
}

/// Warns of repeats that would be sent.
fn queue(queue: &QueueConfig, warnings: &mut Vec<ConfigError>) {
    if queue.duplicate_window < AMPLITUDE_REPEATS_FOR {
        warnings.push(ConfigError::new(
            "queue.duplicate_window",
            "shorter than the 4 hours for which Amplitude repeats an event: a late repeat is sent \
             twice",
        ));
    }
}

/// Warns of what the syncs would do.
fn syncs(syncs: &BTreeMap<SyncName, SyncConfig>, warnings: &mut Vec<ConfigError>) {
    for (name, one) in syncs {
        sync(name, one, warnings);
    }
    if syncs.values().all(|sync| !sync.enabled) {
        warnings.push(ConfigError::new(
            "sync",
            "no sync is enabled: no event is taken",
        ));
    }
}

/// Warns of consent that is told once and would be asked of events that do not carry it: those of SDKs
/// hold only the user properties that they change.
fn consent(
    ingest: &IngestConfig,
    syncs: &BTreeMap<SyncName, SyncConfig>,
    warnings: &mut Vec<ConfigError>,
) {
    for (name, sync) in syncs {
        let mut keys = ingest.api_keys.iter();
        let takes_events_of_sdks = keys.any(|key| {
            let mut syncs = key.syncs.iter().flatten();
            key.syncs.is_none() || syncs.any(|sync| sync == name)
        });
        let is_kept = |property: &str| {
            let memory = sync.user_memory.as_ref();
            memory.is_some_and(|memory| memory.keep_as_is.iter().any(|kept| kept == property))
        };
        let conditions = sync.consent.conditions().iter();
        let mut asked = conditions.filter_map(|condition| condition.property.user_property());
        if takes_events_of_sdks && let Some(property) = asked.find(|property| !is_kept(property)) {
            warnings.push(ConfigError::new(
                format!("sync.{name}.consent"),
                format!(
                    "asks for the user property {property:?}, which events of SDKs carry only where they \
                     set it themselves: name it in user_memory.keep_as_is, so that what an identify \
                     call told counts for later events"
                ),
            ));
        }
    }
}

fn sync(name: &SyncName, sync: &SyncConfig, warnings: &mut Vec<ConfigError>) {
    if sync.test_event_code.is_some() {
        warnings.push(ConfigError::new(
            format!("sync.{name}.test_event_code"),
            "every event is sent as a test event: remove it when you go live",
        ));
    }
    if sync.consent == Consent::Unsaid {
        warnings.push(ConfigError::new(
            format!("sync.{name}.consent"),
            "missing: events are sent whatever a person said to ads; write conditions, such as \
             consent = [{ property = \"user_properties.ads_consent\", op = \"is\", value = \"granted\" }], or \
             consent = \"not_required\"",
        ));
    }
    limited_data_use(name, sync, warnings);
    let original_name = sync.mapping.original_event_data.get("event_name");
    if original_name.is_some_and(ValueExpr::always_gives) {
        warnings.push(ConfigError::new(
            format!("sync.{name}.original_event_data.event_name"),
            "a fixed value marks every event as adding to another; expected in the table of the \
             event that does",
        ));
    }
}

fn limited_data_use(name: &SyncName, sync: &SyncConfig, warnings: &mut Vec<ConfigError>) {
    let limit = &sync.limited_data_use;
    let located_by_meta = limit.country == LimitedDataUsePlace::Code(0);
    if limit.mode == LimitedDataUseMode::Off || !located_by_meta {
        return;
    }
    if limit.state != LimitedDataUsePlace::Code(0) {
        warnings.push(ConfigError::new(
            format!("sync.{name}.limited_data_use.country"),
            "found 0 beside a state: Meta takes a state together with country = 1",
        ));
        return;
    }
    let address = sync.mapping.user_data.get(&UserDataField::ClientIpAddress);
    let is_switched_off = address.is_some_and(ValueExpr::is_empty);
    if limit.mode == LimitedDataUseMode::Always && is_switched_off {
        warnings.push(ConfigError::new(
            format!("sync.{name}.limited_data_use.country"),
            "found 0, by which Meta locates the person by IP address, and \
             user_data.client_ip_address is switched off",
        ));
    }
}
