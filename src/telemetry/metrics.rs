//! Metrics in the text format of `OpenMetrics`, which Prometheus reads.
//!
//! The store keeps the counters of events and outcomes, and changes them in the transaction that moves the
//! event; [`Metrics::render`] receives them. All other values end with the process. `docs/METRICS.md` lists
//! every metric.

use std::fmt::{self, Write as _};
use std::sync::atomic::AtomicU64;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};
use serde::Serialize;

use crate::config::SyncName;
use crate::http::ConnectionMetrics;
use crate::words::words;
use coverage::{Coverage, CoverageFamilies};

pub mod coverage;

/// What every name begins with.
const PREFIX: &str = "pixel_relay";

/// Every metric that is measured in this process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    events_received: Family<EndpointLabel, Counter>,
    events_missed: Family<MissedLabels, Counter>,
    requests_refused: Family<ErrorLabel, Counter>,
    connections: Family<ListenerLabel, Gauge>,
    connections_ended: Family<ConnectionLabels, Counter>,
    deliveries: Family<VerdictLabels, Counter>,
    delivery_seconds: Histograms,
    end_to_end_seconds: Histograms,
    batch_events: Histograms,
    meta_usage_percent: Family<UsageLabels, Gauge<f64, AtomicU64>>,
    lane_state: Family<StateLabels, Gauge>,
    panics: Family<PartLabel, Counter>,
    coverage: CoverageFamilies,
}

words! {
    /// The ways in for events, as labels of `events_received_total`.
    pub enum Endpoint {
        /// `/webhook`.
        Webhook = "webhook",
        /// `/2/httpapi`.
        HttpApi = "httpapi",
        /// `/batch`.
        Batch = "batch",
        /// `/identify`.
        Identify = "identify",
        /// `/groupidentify`.
        GroupIdentify = "groupidentify",
        /// `/httpapi`, the endpoint of the first HTTP API.
        HttpApiV1 = "httpapi_v1",
        /// The legacy form endpoint.
        Legacy = "legacy",
        /// `pixel-relay backfill`.
        Backfill = "backfill",
    }
}

words! {
    /// The state of a lane, as labels of `lane_state`.
    #[derive(Serialize)]
    #[serde(rename_all = "snake_case")]
    pub enum LaneState {
        /// Delivering, or nothing to deliver.
        Running = "running",
        /// Waiting after a temporary fault.
        BackingOff = "backing_off",
        /// Waiting because Meta's rate limit is used up.
        Throttled = "throttled",
        /// Waiting because Meta blocks the account for a while.
        Blocked = "blocked",
        /// Waiting until a token, a permission or a pixel id is corrected.
        Paused = "paused",
        /// The sync is disabled, and its queued events are delivered.
        Draining = "draining",
    }
}

words! {
    /// The parts of the program that outlive a panic, as labels of `panics_total`.
    pub enum PanickedPart {
        /// A lane, which begins anew.
        Lane = "lane",
        /// A request on the public listener, which is answered 500.
        Request = "request",
        /// A request on the operators' listener.
        Admin = "admin",
        /// A command of the control socket.
        Command = "command",
        /// A watch, such as that of files of secrets, which begins anew.
        Watch = "watch",
    }
}

impl EncodeLabelValue for SyncName {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(self.as_str())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SyncLabel {
    pub sync: SyncName,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndpointLabel {
    endpoint: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MissedLabels {
    sync: SyncName,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorLabel {
    error: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListenerLabel {
    listener: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConnectionLabels {
    listener: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerdictLabels {
    sync: SyncName,
    verdict: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UsageLabels {
    sync: SyncName,
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    sync: SyncName,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PartLabel {
    part: &'static str,
}

type Histograms = Family<SyncLabel, Histogram, fn() -> Histogram>;

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Builds and registers every metric.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        Self {
            events_received: registered(
                &mut registry,
                "events_received",
                "Events that arrived, by endpoint",
                Family::default(),
            ),
            events_missed: registered(
                &mut registry,
                "events_missed",
                "Events of SDKs that were passed on to ingest.upstream and could not be stored here, \
                 by cause; they are not taken, and Meta misses them",
                Family::default(),
            ),
            requests_refused: registered(
                &mut registry,
                "requests_refused",
                "Refused requests of senders, by the error in the reply",
                Family::default(),
            ),
            connections: registered(
                &mut registry,
                "connections",
                "Open connections, by listener: public or admin",
                Family::default(),
            ),
            connections_ended: registered(
                &mut registry,
                "connections_ended",
                "Connections that a listener refused or ended: address_share (one address holds half of \
                 all), limit (all are taken), made_room (idle, or the longest request of the address with \
                 the most, for a new one), not_reading (the other end \
                 did not read for 30 s)",
                Family::default(),
            ),
            deliveries: registered(
                &mut registry,
                "deliveries",
                "Requests to Meta, by verdict",
                Family::default(),
            ),
            delivery_seconds: registered(
                &mut registry,
                "delivery_seconds",
                "Time from sending a request to Meta's answer",
                Family::new_with_constructor(request_seconds),
            ),
            end_to_end_seconds: registered(
                &mut registry,
                "end_to_end_seconds",
                "Time from taking an event to Meta's acceptance",
                Family::new_with_constructor(waiting_seconds),
            ),
            batch_events: registered(
                &mut registry,
                "batch_events",
                "Events per request to Meta",
                Family::new_with_constructor(batch_sizes),
            ),
            meta_usage_percent: registered(
                &mut registry,
                "meta_usage_percent",
                "Used share of a rate limit, from Meta's headers",
                Family::default(),
            ),
            lane_state: registered(
                &mut registry,
                "lane_state",
                "1 for the state that the lane is in",
                Family::default(),
            ),
            panics: registered(
                &mut registry,
                "panics",
                "Faults of this program that cost a part of it what it was doing; the log tells where",
                Family::default(),
            ),
            coverage: CoverageFamilies::registered(&mut registry),
            registry,
        }
    }

    pub fn received(&self, endpoint: Endpoint, events: u64) {
        let endpoint = endpoint.as_str();
        self.events_received
            .get_or_create(&EndpointLabel { endpoint })
            .inc_by(events);
    }

    /// Counts events of a sync that were passed on and could not be stored here, by the code of the cause.
    pub fn missed(&self, sync: &SyncName, reason: &'static str, events: u64) {
        self.events_missed
            .get_or_create(&MissedLabels {
                sync: sync.clone(),
                reason,
            })
            .inc_by(events);
    }

    /// Counts a refused request, by the code of its reply.
    pub fn refused(&self, error: &'static str) {
        self.requests_refused
            .get_or_create(&ErrorLabel { error })
            .inc();
    }

    /// The counters of one listener's connections. All begin at zero.
    pub fn connections(&self, listener: &'static str) -> ConnectionMetrics {
        let open = self.connections.get_or_create(&ListenerLabel { listener });
        ConnectionMetrics::new(listener, open.clone(), |end| {
            let reason = end.as_str();
            let labels = ConnectionLabels { listener, reason };
            self.connections_ended.get_or_create(&labels).clone()
        })
    }

    /// Counts a request to Meta, by verdict, with its duration and the number of its events.
    pub fn delivery(&self, sync: &SyncName, verdict: &'static str, seconds: f64, events: usize) {
        let label = SyncLabel { sync: sync.clone() };
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

    /// Records the time from an event's arrival to Meta's acceptance.
    pub fn end_to_end(&self, sync: &SyncName, seconds: f64) {
        self.end_to_end_seconds
            .get_or_create(&SyncLabel { sync: sync.clone() })
            .observe(seconds);
    }

    /// Records the value of a usage header.
    pub fn meta_usage(&self, sync: &SyncName, kind: &'static str, percent: f64) {
        self.meta_usage_percent
            .get_or_create(&UsageLabels {
                sync: sync.clone(),
                kind,
            })
            .set(percent);
    }

    /// Records the state of a lane.
    pub fn lane_state(&self, sync: &SyncName, current: LaneState) {
        for state in LaneState::ALL {
            self.lane_state
                .get_or_create(&StateLabels {
                    sync: sync.clone(),
                    state: state.as_str(),
                })
                .set(i64::from(*state == current));
        }
    }

    /// Counts a panic.
    pub fn panicked(&self, part: PanickedPart) {
        self.panics_of(part).inc();
    }

    /// The counter of a part's panics; clones share it.
    pub fn panics_of(&self, part: PanickedPart) -> Counter {
        let part = part.as_str();
        (self.panics.get_or_create(&PartLabel { part })).clone()
    }

    /// The counters of one sync's mapping. `events` are the names of its event table.
    pub fn coverage<'a>(
        &self,
        sync: &SyncName,
        events: impl IntoIterator<Item = &'a str>,
    ) -> Coverage {
        self.coverage.of_sync(sync, events)
    }

    /// Writes the page: the metrics of the store, then those of this process.
    pub fn render(&self, stored: impl Collector) -> String {
        let mut first = Registry::with_prefix(PREFIX);
        first.register_collector(Box::new(stored));
        let mut page = String::with_capacity(16 << 10);
        encode_registry(&mut page, &first)
            .and_then(|()| encode_registry(&mut page, &self.registry))
            .and_then(|()| encode_eof(&mut page))
            .expect("a string takes any text");
        page
    }
}

/// Registers a metric and returns it; clones share their values.
fn registered<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

fn request_seconds() -> Histogram {
    Histogram::new([
        0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    ])
}

fn waiting_seconds() -> Histogram {
    Histogram::new([
        0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.5, 5.0, 10.0, 60.0, 600.0, 3600.0, 86_400.0,
    ])
}

fn batch_sizes() -> Histogram {
    Histogram::new([1.0, 5.0, 10.0, 50.0, 100.0, 250.0, 500.0, 750.0, 1000.0])
}
