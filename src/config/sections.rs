//! Every section of the configuration, in the order of the reference.
//!
//! Tests write the reference from them: the tables of `docs/CONFIG.md`, and
//! `config/pixel-relay.toml`.

use std::collections::BTreeMap;

use crate::config::delivery::{DeliveryConfig, MetaConfig};
use crate::config::ingest::IngestConfig;
use crate::config::mapping::{self, EventConfig};
use crate::config::queue::QueueConfig;
use crate::config::rule_tests::RuleTest;
use crate::config::schema::{Section, Table};
use crate::config::server::{AdminConfig, LogConfig, ServerConfig};
use crate::config::sync::{AppConfig, LimitedDataUse, SyncConfig, UserMemory};

/// Every section that has a name, in the order of the reference.
fn sections() -> [Section; 20] {
    [
        ServerConfig::section(),
        LogConfig::section(),
        AdminConfig::section(),
        IngestConfig::section(),
        QueueConfig::section(),
        MetaConfig::section(),
        SyncConfig::section(),
        mapping::user_data_section(),
        mapping::custom_data_section(),
        mapping::original_event_data_section(),
        mapping::events_section(),
        EventConfig::section(),
        mapping::event_user_data_section(),
        mapping::event_custom_data_section(),
        mapping::event_original_event_data_section(),
        LimitedDataUse::section(),
        AppConfig::section(),
        UserMemory::section(),
        DeliveryConfig::section(),
        RuleTest::section(),
    ]
}

/// The section of each key that only one section has, as a hint for a key in the wrong table. The tables
/// of one event do not count: they repeat keys of the sync.
pub(super) fn homes() -> BTreeMap<&'static str, &'static str> {
    let event = EventConfig::section().name;
    let mut homes = BTreeMap::new();
    for section in sections() {
        let is_override = section.name != event && section.name.starts_with(event);
        for key in section.keys.iter().filter(|_| !is_override) {
            let home = homes.entry(key.name);
            home.and_modify(|home| *home = None)
                .or_insert(Some(section.name));
        }
    }
    let only = |(key, home): (_, Option<_>)| Some((key, home?));
    homes.into_iter().filter_map(only).collect()
}

#[cfg(test)]
mod tests;
