//! Match-key coverage: the customer information that mapped events carry, the fields that are dropped, and
//! the website events without a field that Meta asks for.
//!
//! Each field of an event name has its counter at a fixed position, so that an event costs one look-up
//! however many fields it carries.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::{array, fmt, mem};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::config::SyncName;
use crate::config::fields::WebsiteField;
use crate::normalize::field::UserDataField;
use crate::telemetry::metrics::registered;

/// The label of events that are not in the event table.
const OTHER: &str = "other";

/// The counters of one sync's mapping.
pub struct Coverage {
    sync: SyncName,
    families: CoverageFamilies,
    named: HashMap<Arc<str>, Arc<EventCoverage>>,
    other: Arc<EventCoverage>,
}

#[derive(Debug)]
struct EventCoverage {
    event: Arc<str>,
    mapped: Counter,
    /// By position in [`UserDataField::ALL`]. A counter exists after its first event, so that the page has
    /// none for a field that is never mapped.
    carried: [OnceLock<Counter>; UserDataField::ALL.len()],
    /// By position in [`WebsiteField::ALL`].
    lacking: [OnceLock<Counter>; WebsiteField::ALL.len()],
    summed_up: Mutex<EventCounts>,
}

/// Mapped events, and those that carried each field or lacked a field that a website event should have.
#[derive(Clone, Copy, Debug, Default)]
struct EventCounts {
    mapped: u64,
    carried: [u64; UserDataField::ALL.len()],
    lacking: [u64; WebsiteField::ALL.len()],
}

/// What the mapped events of one name carried since the last summary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The name in the event table, or `other`.
    pub event: Arc<str>,
    pub mapped: u64,
    /// Events by Meta's key of each field that any of them carried.
    pub carried: Vec<(&'static str, u64)>,
    /// Events by Meta's key of each field that any website event lacked.
    pub lacking: Vec<(&'static str, u64)>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (field, count)) in self.carried.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            // Rounded down, so that only a field that every event carried has 100 %.
            write!(f, "{comma}{field} {} %", count * 100 / self.mapped)?;
        }
        for (at, (field, count)) in self.lacking.iter().enumerate() {
            let start = if at == 0 {
                "; of a website without "
            } else {
                ", "
            };
            write!(f, "{start}{field}: {count}")?;
        }
        Ok(())
    }
}

impl EventCoverage {
    fn since_last_summary(&self) -> Option<Summary> {
        let mut last = self
            .summed_up
            .lock()
            .expect("no holder of this lock panics");
        let now = self.mapped.get();
        let mapped = now - mem::replace(&mut last.mapped, now);
        let carried = UserDataField::ALL.iter().map(|field| field.meta_key());
        let carried = carried.zip(grown(&self.carried, &mut last.carried, mapped));
        let lacking = WebsiteField::ALL.iter().map(|field| field.as_str());
        let lacking = lacking.zip(grown(&self.lacking, &mut last.lacking, mapped));
        (mapped > 0).then(|| Summary {
            event: Arc::clone(&self.event),
            mapped,
            carried: carried.filter(|(_, count)| *count > 0).collect(),
            lacking: lacking.filter(|(_, count)| *count > 0).collect(),
        })
    }
}

/// How much counters have grown, at most by `most`: an event may come in between two readings.
fn grown<const N: usize>(
    counters: &[OnceLock<Counter>; N],
    last: &mut [u64; N],
    most: u64,
) -> [u64; N] {
    array::from_fn(|at| {
        let now = counters[at].get().map_or(0, Counter::get);
        (now - mem::replace(&mut last[at], now)).min(most)
    })
}

impl Coverage {
    /// Counts a mapped event, the fields of `user_data` that it carries, and the fields that it lacks as a
    /// website event. An `event` that is not in the event table counts as `other`.
    pub fn mapped(
        &self,
        event: &str,
        carried: impl IntoIterator<Item = UserDataField>,
        lacking: impl IntoIterator<Item = WebsiteField>,
    ) {
        let coverage = self.named.get(event).unwrap_or(&self.other);
        coverage.mapped.inc();
        let count = |counter: &OnceLock<Counter>, family: &Family<FieldLabels, Counter>, field| {
            let labels = || FieldLabels {
                sync: self.sync.clone(),
                event: Arc::clone(&coverage.event),
                field,
            };
            counter
                .get_or_init(|| family.get_or_create_owned(&labels()))
                .inc();
        };
        for field in carried {
            let counter = &coverage.carried[field as usize];
            count(counter, &self.families.fields, field.meta_key());
        }
        for field in lacking {
            let counter = &coverage.lacking[field as usize];
            count(counter, &self.families.lacking, field.as_str());
        }
    }

    /// The summaries since the last call: one for each event name that came in.
    pub fn since_last_summary(&self) -> Vec<Summary> {
        let mut events: Vec<&Arc<EventCoverage>> = self.named.values().collect();
        events.sort_by(|left, right| left.event.cmp(&right.event));
        events.push(&self.other);
        events
            .into_iter()
            .filter_map(|event| event.since_last_summary())
            .collect()
    }

    /// Counts a field that was left out of an event. `field` is a name of the configuration or of Meta,
    /// never one that an event contains.
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
    lacking: Family<FieldLabels, Counter>,
    dropped: Family<DroppedLabels, Counter>,
    /// The counters of every event name so far: they outlast a configuration.
    known: Arc<Mutex<HashMap<EventLabels, Arc<EventCoverage>>>>,
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
                "Mapped events that carried the field (match-key coverage); backfilled ones are in the report of the backfill",
                Family::default(),
            ),
            lacking: registered(
                registry,
                "website_events_incomplete",
                "Mapped events of a website that lack a field that Meta asks for: client_user_agent or event_source_url",
                Family::default(),
            ),
            dropped: registered(
                registry,
                "fields_dropped",
                "Fields left out of an event, by reason",
                Family::default(),
            ),
            known: Arc::default(),
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

    fn of_event(&self, sync: &SyncName, event: &str) -> Arc<EventCoverage> {
        let labels = EventLabels {
            sync: sync.clone(),
            event: event.into(),
        };
        let mut known = self.known.lock().expect("no holder of this lock panics");
        let coverage = known.entry(labels).or_insert_with_key(|labels| {
            Arc::new(EventCoverage {
                event: Arc::clone(&labels.event),
                mapped: self.events.get_or_create_owned(labels),
                carried: [const { OnceLock::new() }; UserDataField::ALL.len()],
                lacking: [const { OnceLock::new() }; WebsiteField::ALL.len()],
                summed_up: Mutex::default(),
            })
        });
        Arc::clone(coverage)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_counts_what_came_since_the_last_one() {
        let name = SyncName::new("web").unwrap();
        let families = CoverageFamilies::registered(&mut Registry::default());
        let coverage = families.of_sync(&name, ["Sign Up"]);
        let both = [UserDataField::Email, UserDataField::ExternalId];
        coverage.mapped("Sign Up", [UserDataField::Email], []);
        coverage.mapped("Sign Up", [], [WebsiteField::EventSourceUrl]);
        coverage.mapped("Sign Up", both, WebsiteField::ALL.iter().copied());
        coverage.mapped("Song Played", [UserDataField::ExternalId], []);
        let said = |summaries: Vec<Summary>| -> Vec<String> {
            let line = |one: &Summary| format!("{} {}: {one}", one.event, one.mapped);
            summaries.iter().map(line).collect()
        };
        assert_eq!(
            said(coverage.since_last_summary()),
            [
                "Sign Up 3: external_id 33 %, em 66 %; of a website without client_user_agent: 1, event_source_url: 2",
                "other 1: external_id 100 %"
            ]
        );
        coverage.mapped("Sign Up", [], []);
        assert_eq!(said(coverage.since_last_summary()), ["Sign Up 1: "]);
        assert_eq!(coverage.since_last_summary(), []);
    }
}
