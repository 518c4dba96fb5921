//! Match-key coverage: which customer information mapped events carry, and which fields were lost.
//!
//! The counters of a sync are found once, by name, and then counted by position, so that an event
//! costs one look-up however many fields it carries.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::config::SyncName;
use crate::config::fields::UserDataField;
use crate::telemetry::metrics::registered;

/// The label of events that the event table does not name.
const OTHER: &str = "other";

/// The counters of one sync's mapping.
pub struct Coverage {
    sync: SyncName,
    families: CoverageFamilies,
    named: HashMap<Arc<str>, EventCoverage>,
    other: EventCoverage,
}

struct EventCoverage {
    event: Arc<str>,
    mapped: Counter,
    /// By position in [`UserDataField::ALL`]; there once the field was first carried, so that no
    /// metric stands at zero for a field that is never mapped.
    carried: [OnceLock<Counter>; UserDataField::ALL.len()],
}

impl Coverage {
    /// Counts a mapped event and the fields of `user_data` that it carries. `event` is a name of the
    /// event table; any other counts as `other`.
    pub fn mapped(&self, event: &str, carried: impl IntoIterator<Item = UserDataField>) {
        let coverage = self.named.get(event).unwrap_or(&self.other);
        coverage.mapped.inc();
        for field in carried {
            coverage.carried[field as usize]
                .get_or_init(|| {
                    self.families.fields.get_or_create_owned(&FieldLabels {
                        sync: self.sync.clone(),
                        event: Arc::clone(&coverage.event),
                        field: field.meta_key(),
                    })
                })
                .inc();
        }
    }

    /// Counts a field that was left out of an event. `field` is a name of the configuration or of
    /// Meta's, never one that an event brought.
    pub fn dropped(&self, field: &str, reason: &'static str) {
        self.families
            .dropped
            .get_or_create(&DroppedLabels {
                sync: self.sync.clone(),
                field: field.to_owned(),
                reason,
            })
            .inc();
    }
}

impl fmt::Debug for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coverage")
            .field("sync", &self.sync)
            .finish_non_exhaustive()
    }
}

/// The metrics that all syncs share.
#[derive(Clone, Debug)]
pub(super) struct CoverageFamilies {
    events: Family<EventLabels, Counter>,
    fields: Family<FieldLabels, Counter>,
    dropped: Family<DroppedLabels, Counter>,
}

impl CoverageFamilies {
    pub(super) fn registered(registry: &mut Registry) -> Self {
        Self {
            events: registered(
                registry,
                "user_data_events",
                "Mapped events, by name in the event table",
                Family::default(),
            ),
            fields: registered(
                registry,
                "user_data_fields",
                "Mapped events that carried the field (match-key coverage)",
                Family::default(),
            ),
            dropped: registered(
                registry,
                "fields_dropped",
                "Fields left out of an event, by reason",
                Family::default(),
            ),
        }
    }

    pub(super) fn of_sync<'a>(
        &self,
        sync: &SyncName,
        events: impl IntoIterator<Item = &'a str>,
    ) -> Coverage {
        Coverage {
            sync: sync.clone(),
            families: self.clone(),
            named: events
                .into_iter()
                .map(|event| {
                    let coverage = self.of_event(sync, event);
                    (Arc::clone(&coverage.event), coverage)
                })
                .collect(),
            other: self.of_event(sync, OTHER),
        }
    }

    fn of_event(&self, sync: &SyncName, event: &str) -> EventCoverage {
        let event: Arc<str> = event.into();
        EventCoverage {
            mapped: self.events.get_or_create_owned(&EventLabels {
                sync: sync.clone(),
                event: Arc::clone(&event),
            }),
            carried: [const { OnceLock::new() }; UserDataField::ALL.len()],
            event,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabels {
    sync: SyncName,
    event: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FieldLabels {
    sync: SyncName,
    event: Arc<str>,
    field: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DroppedLabels {
    sync: SyncName,
    field: String,
    reason: &'static str,
}
