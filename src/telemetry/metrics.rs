//! Metrics in Prometheus' text format.
//!
//! Counters of events and outcomes live in the store, where they change in the transaction that
//! moves the event; [`Metrics::render`] is handed them. What is measured here is lost with the process.

use std::sync::Mutex;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::config::SyncName;

/// The HTTP doors, as labels of `events_received_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(
    non_camel_case_types,
    reason = "label values are written as they are named"
)]
pub enum Endpoint {
    /// `/webhook`.
    webhook,
    /// `/2/httpapi`.
    httpapi,
    /// `/batch`.
    batch,
    /// `/identify`.
    identify,
    /// The legacy form endpoint.
    legacy,
    /// `pixel-relay backfill`.
    backfill,
}

/// How a lane stands, as labels of `lane_state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(
    non_camel_case_types,
    reason = "label values are written as they are named"
)]
pub enum LaneState {
    /// Delivering, or nothing to deliver.
    running,
    /// Waiting after a passing fault.
    backing_off,
    /// Waiting because Meta's rate limit was reached.
    throttled,
    /// Waiting because Meta blocked the account for a while.
    blocked,
    /// Waiting for a token, a permission or a pixel id to be put right.
    paused,
    /// The sync is disabled; what it holds still drains.
    draining,
}

impl LaneState {
    /// Every state.
    pub const ALL: [Self; 6] = [
        Self::running,
        Self::backing_off,
        Self::throttled,
        Self::blocked,
        Self::paused,
        Self::draining,
    ];
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndpointLabel {
    endpoint: Endpoint,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SyncLabel {
    sync: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerdictLabels {
    sync: String,
    verdict: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UsageLabels {
    sync: String,
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    sync: String,
    state: LaneState,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabels {
    sync: String,
    event: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FieldLabels {
    sync: String,
    event: String,
    field: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DroppedLabels {
    sync: String,
    field: String,
    reason: &'static str,
}

type Histograms = Family<SyncLabel, Histogram, fn() -> Histogram>;

/// Every metric that is measured in this process.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
    events_received: Family<EndpointLabel, Counter>,
    deliveries: Family<VerdictLabels, Counter>,
    delivery_seconds: Histograms,
    end_to_end_seconds: Histograms,
    batch_events: Histograms,
    meta_usage_percent: Family<UsageLabels, Gauge<f64, std::sync::atomic::AtomicU64>>,
    lane_state: Family<StateLabels, Gauge>,
    user_data_fields: Family<FieldLabels, Counter>,
    user_data_events: Family<EventLabels, Counter>,
    fields_dropped: Family<DroppedLabels, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Registers every metric, with its help text.
    pub fn new() -> Self {
        let seconds: fn() -> Histogram = || {
            Histogram::new([
                0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
            ])
        };
        let long: fn() -> Histogram = || {
            Histogram::new([
                0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.5, 5.0, 10.0, 60.0, 600.0, 3600.0, 86_400.0,
            ])
        };
        let sizes: fn() -> Histogram =
            || Histogram::new([1.0, 5.0, 10.0, 50.0, 100.0, 250.0, 500.0, 750.0, 1000.0]);
        let metrics = Self {
            registry: Mutex::new(Registry::with_prefix("pixel_relay")),
            events_received: Family::default(),
            deliveries: Family::default(),
            delivery_seconds: Family::new_with_constructor(seconds),
            end_to_end_seconds: Family::new_with_constructor(long),
            batch_events: Family::new_with_constructor(sizes),
            meta_usage_percent: Family::default(),
            lane_state: Family::default(),
            user_data_fields: Family::default(),
            user_data_events: Family::default(),
            fields_dropped: Family::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&self) {
        let mut registry = self.registry.lock().expect("no holder of this lock panics");
        registry.register(
            "events_received",
            "Events that arrived, by door",
            self.events_received.clone(),
        );
        registry.register(
            "deliveries",
            "Requests to Meta, by verdict",
            self.deliveries.clone(),
        );
        registry.register(
            "delivery_seconds",
            "Time from sending a request to Meta's answer",
            self.delivery_seconds.clone(),
        );
        registry.register(
            "end_to_end_seconds",
            "Time from taking an event to Meta's acceptance",
            self.end_to_end_seconds.clone(),
        );
        registry.register(
            "batch_events",
            "Events per request",
            self.batch_events.clone(),
        );
        registry.register(
            "meta_usage_percent",
            "Share of a rate limit that is used up, as Meta's headers say",
            self.meta_usage_percent.clone(),
        );
        registry.register(
            "lane_state",
            "1 for the state that the lane is in",
            self.lane_state.clone(),
        );
        registry.register(
            "user_data_fields",
            "Mapped events that carried the field (match-key coverage)",
            self.user_data_fields.clone(),
        );
        registry.register(
            "user_data_events",
            "Mapped events",
            self.user_data_events.clone(),
        );
        registry.register(
            "fields_dropped",
            "Fields left out of an event, by reason",
            self.fields_dropped.clone(),
        );
    }

    /// Counts events that arrived.
    pub fn received(&self, endpoint: Endpoint, events: u64) {
        self.events_received
            .get_or_create(&EndpointLabel { endpoint })
            .inc_by(events);
    }

    /// Counts a request to Meta, by verdict, with its duration and the number of its events.
    pub fn delivery(&self, sync: &SyncName, verdict: &'static str, seconds: f64, events: usize) {
        let label = SyncLabel {
            sync: sync.to_string(),
        };
        self.delivery_seconds.get_or_create(&label).observe(seconds);
        #[expect(clippy::cast_precision_loss, reason = "at most 1000")]
        self.batch_events
            .get_or_create(&label)
            .observe(events as f64);
        self.deliveries
            .get_or_create(&VerdictLabels {
                sync: label.sync,
                verdict,
            })
            .inc();
    }

    /// Notes how long an event took from the door to Meta's acceptance.
    pub fn end_to_end(&self, sync: &SyncName, seconds: f64) {
        self.end_to_end_seconds
            .get_or_create(&SyncLabel {
                sync: sync.to_string(),
            })
            .observe(seconds);
    }

    /// Notes what a usage header said.
    pub fn meta_usage(&self, sync: &SyncName, kind: &'static str, percent: f64) {
        self.meta_usage_percent
            .get_or_create(&UsageLabels {
                sync: sync.to_string(),
                kind,
            })
            .set(percent);
    }

    /// Notes the state that a lane is in.
    pub fn lane_state(&self, sync: &SyncName, current: LaneState) {
        for state in LaneState::ALL {
            self.lane_state
                .get_or_create(&StateLabels {
                    sync: sync.to_string(),
                    state,
                })
                .set(i64::from(state == current));
        }
    }

    /// Counts a mapped event. `event` is a name of the event table, or `other`.
    pub fn mapped(&self, sync: &SyncName, event: &str) {
        self.user_data_events
            .get_or_create(&EventLabels {
                sync: sync.to_string(),
                event: event.to_owned(),
            })
            .inc();
    }

    /// Counts a field of `user_data` that a mapped event carried.
    pub fn carried(&self, sync: &SyncName, event: &str, field: &'static str) {
        self.user_data_fields
            .get_or_create(&FieldLabels {
                sync: sync.to_string(),
                event: event.to_owned(),
                field,
            })
            .inc();
    }

    /// Counts a field that was left out of an event.
    pub fn dropped(&self, sync: &SyncName, field: &str, reason: &'static str) {
        self.fields_dropped
            .get_or_create(&DroppedLabels {
                sync: sync.to_string(),
                field: field.to_owned(),
                reason,
            })
            .inc();
    }

    /// Writes the page: `stored` (text that the store's totals gave), then what is measured here.
    pub fn render(&self, stored: &str) -> String {
        let mut page = String::with_capacity(16 * 1024);
        page.push_str(stored);
        let registry = self.registry.lock().expect("no holder of this lock panics");
        if encode(&mut page, &registry).is_err() {
            page.clear();
            page.push_str("# the metrics could not be written\n");
        }
        page
    }
}
