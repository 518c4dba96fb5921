//! The metrics that the store and the ingest give at the moment of a scrape.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::config::SyncName;
use crate::queue::quota::StoreStats;
use crate::queue::totals::Totals;
use crate::telemetry::metrics::SyncLabel;

/// A look at the store and the ingest.
#[derive(Debug)]
pub struct StoredMetrics {
    /// What the store has counted.
    pub totals: Totals,
    /// Its sizes and ages.
    pub stats: StoreStats,
    /// By sync: seconds since its oldest queued event was taken; 0 where none is queued.
    pub oldest_age_seconds: Vec<(SyncName, f64)>,
    /// By sync that takes events: seconds since one last came in, or since the start.
    pub silent_seconds: Vec<(SyncName, f64)>,
    /// By sync that takes events: whether that is longer than `ingest.silence_after`.
    pub silence_warning: Vec<(SyncName, f64)>,
}

impl Collector for StoredMetrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = FamilyWriter(encoder);
        self.encode_events(&mut page)?;
        self.encode_dead_letters(&mut page)?;
        self.encode_profiles(&mut page)?;
        self.encode_store(&mut page)
    }
}

impl StoredMetrics {
    fn encode_events(&self, page: &mut FamilyWriter<'_>) -> fmt::Result {
        page.counter(
            "events_taken",
            "Events taken, counted once for each sync",
            self.totals
                .iter()
                .map(|(sync, totals)| (of(sync), totals.taken)),
        )?;
        page.counter(
            "outcomes",
            "Events that ended, by outcome and reason",
            self.totals.iter().flat_map(|(sync, totals)| {
                totals.ended.iter().map(|(reason, count)| {
                    let labels = OutcomeLabels {
                        sync: sync.clone(),
                        outcome: reason.outcome().as_str(),
                        reason: reason.as_str(),
                    };
                    (labels, *count)
                })
            }),
        )?;
        page.gauge(
            "queue_events",
            "Events in the queue",
            self.totals
                .iter()
                .map(|(sync, totals)| (of(sync), exact(totals.queued))),
        )?;
        page.gauge(
            "queue_oldest_age_seconds",
            "Time since the oldest queued event was taken; 0 where none is queued",
            by_sync(&self.oldest_age_seconds),
        )?;
        page.gauge(
            "silent_seconds",
            "Time since an event last came in for the sync, or since the start",
            by_sync(&self.silent_seconds),
        )?;
        page.gauge(
            "silence_warning",
            "1 where nothing has come in for longer than ingest.silence_after",
            by_sync(&self.silence_warning),
        )
    }

    fn encode_dead_letters(&self, page: &mut FamilyWriter<'_>) -> fmt::Result {
        page.gauge(
            "dead_letters",
            "Dead letters at hand",
            self.totals
                .iter()
                .map(|(sync, totals)| (of(sync), exact(totals.dead))),
        )?;
        page.counter(
            "dead_retried",
            "Dead letters that were queued anew",
            self.totals
                .iter()
                .map(|(sync, totals)| (of(sync), totals.dead_retried)),
        )?;
        page.counter(
            "dead_removed",
            "Dead letters that left, by cause",
            self.totals.iter().flat_map(|(sync, totals)| {
                totals.dead_removed.iter().map(|(why, count)| {
                    let labels = RemovalLabels {
                        sync: sync.clone(),
                        why: why.as_str(),
                    };
                    (labels, *count)
                })
            }),
        )
    }

    fn encode_profiles(&self, page: &mut FamilyWriter<'_>) -> fmt::Result {
        page.gauge(
            "user_memory_profiles",
            "Users and devices that are remembered",
            self.totals
                .iter()
                .map(|(sync, totals)| (of(sync), exact(totals.profiles))),
        )?;
        page.gauge(
            "user_memory_bytes",
            "Bytes of the store that they take, bounded by user_memory.max_bytes",
            self.totals
                .iter()
                .map(|(sync, totals)| (of(sync), exact(totals.profile_bytes))),
        )
    }

    fn encode_store(&self, page: &mut FamilyWriter<'_>) -> fmt::Result {
        page.single(
            "queue_bytes",
            "Bytes of the store in use, bounded by queue.max_bytes",
            exact(self.stats.used_bytes),
        )?;
        if let Some(headroom) = self.stats.headroom {
            page.single(
                "queue_headroom_seconds",
                "How long the store can take events at the present rate if none is delivered; \
                 absent while nothing comes in",
                headroom.as_secs_f64(),
            )?;
        }
        page.single(
            "duplicate_window_seconds",
            "How far back a repeat is recognised",
            self.stats.duplicate_window.as_secs_f64(),
        )
    }
}

/// Writes families of metrics.
struct FamilyWriter<'a>(DescriptorEncoder<'a>);

impl FamilyWriter<'_> {
    fn counter<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        self.family(
            name,
            help,
            MetricType::Counter,
            values
                .into_iter()
                .map(|(labels, value)| (labels, ConstCounter::new(value))),
        )
    }

    fn gauge<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, f64)>,
    ) -> fmt::Result {
        self.family(
            name,
            help,
            MetricType::Gauge,
            values
                .into_iter()
                .map(|(labels, value)| (labels, ConstGauge::new(value))),
        )
    }

    /// Writes a gauge that has no labels.
    fn single(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let value = ConstGauge::new(value);
        value.encode(self.describe(name, help, MetricType::Gauge)?)
    }

    /// Writes one family, or nothing where it has no values.
    fn family<L: EncodeLabelSet, M: EncodeMetric>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        values: impl Iterator<Item = (L, M)>,
    ) -> fmt::Result {
        let mut values = values.peekable();
        if values.peek().is_none() {
            return Ok(());
        }
        let mut family = self.describe(name, help, kind)?;
        for (labels, value) in values {
            value.encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    /// Writes the lines that come before the values. The registry ends its own help texts with a
    /// full stop too.
    fn describe<'page>(
        &'page mut self,
        name: &'page str,
        help: &str,
        kind: MetricType,
    ) -> Result<MetricEncoder<'page>, fmt::Error> {
        self.0
            .encode_descriptor(name, &format!("{help}."), None, kind)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    sync: SyncName,
    outcome: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RemovalLabels {
    sync: SyncName,
    why: &'static str,
}

fn of(sync: &SyncName) -> SyncLabel {
    SyncLabel { sync: sync.clone() }
}

fn by_sync(values: &[(SyncName, f64)]) -> impl Iterator<Item = (SyncLabel, f64)> {
    values.iter().map(|(sync, value)| (of(sync), *value))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "neither events nor bytes reach 2^53"
)]
fn exact(count: u64) -> f64 {
    count as f64
}
