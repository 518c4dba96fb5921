//! The metrics that the store and the ingest have at the moment of a scrape.

use std::fmt;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::admin::health::HealthView;
use crate::config::SyncName;
use crate::ingest::is_silent;
use crate::queue::{DamageKind, SyncTotals};
use crate::telemetry::SyncLabel;

const NO_LABELS: [(&str, &str); 0] = [];

/// Shows the same facts as `/health`.
#[derive(Debug)]
pub struct HealthMetrics(pub HealthView);

impl Collector for HealthMetrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = FamilyWriter(encoder);
        self.encode_events(&mut page)?;
        self.encode_silence(&mut page)?;
        self.encode_dead_letters(&mut page)?;
        self.encode_profiles(&mut page)?;
        self.encode_store(&mut page)
    }
}

impl HealthMetrics {
    fn encode_events(&self, page: &mut FamilyWriter<'_>) -> fmt::Result {
        let Self(view) = self;
        page.write(
            "events_taken",
            "Events taken, counted once for each sync",
            self.counters(|totals| totals.taken),
        )?;
        page.write(
            "outcomes",
            "Events that ended, by outcome and reason",
            view.totals.iter().flat_map(|(sync, totals)| {
                totals.ended.iter().map(|(reason, count)| {
                    let labels = OutcomeLabels {
                        sync: sync.clone(),
                        outcome: reason.outcome().as_str(),
                        reason: reason.as_str(),
                    };
                    (labels, ConstCounter::new(*count))
                })
            }),
        )?;
        page.write(
            "queue_events",
            "Events in the queue",
            self.gauges(|totals| totals.queued),
        )?;
        page.write(
            "queue_oldest_age_seconds",
            "Time since the oldest queued event was taken; 0 if none is queued",
            view.totals.keys().map(|sync| {
                let oldest = view.stats.oldest.get(sync);
                let age = oldest.map_or(Duration::ZERO, |oldest| view.now.since(*oldest));
                (of(sync), ConstGauge::new(age.as_secs_f64()))
            }),
        )
    }

    fn encode_silence(&self, page: &mut FamilyWriter<'_>) -> fmt::Result {
        let Self(view) = self;
        let silences = || {
            let syncs = view.syncs.iter();
            syncs.filter_map(|(name, sync)| Some((of(name), sync.silence?)))
        };
        page.write(
            "silent_seconds",
            "Time since an event last came in for the sync, or since the start",
            silences().map(|(sync, silence)| (sync, ConstGauge::new(silence.as_secs_f64()))),
        )?;
        page.write(
            "silence_warning",
            "1 if no event has come in for longer than ingest.silence_after",
            silences().map(|(sync, silence)| {
                let warning = is_silent(Some(silence), view.silence_after);
                (sync, ConstGauge::new(f64::from(u8::from(warning))))
            }),
        )
    }

    fn encode_dead_letters(&self, page: &mut FamilyWriter<'_>) -> fmt::Result {
        page.write(
            "dead_letters",
            "Dead letters in the store",
            self.gauges(|totals| totals.dead),
        )?;
        page.write(
            "dead_retried",
            "Dead letters that were queued again",
            self.counters(|totals| totals.dead_retried),
        )?;
        page.write(
            "dead_removed",
            "Dead letters that were removed, by cause",
            self.0.totals.iter().flat_map(|(sync, totals)| {
                totals.dead_removed.iter().map(|(why, count)| {
                    let labels = RemovalLabels {
                        sync: sync.clone(),
                        why: why.as_str(),
                    };
                    (labels, ConstCounter::new(*count))
                })
            }),
        )
    }

    fn encode_profiles(&self, page: &mut FamilyWriter<'_>) -> fmt::Result {
        page.write(
            "user_memory_profiles",
            "Users and devices with a profile",
            self.gauges(|totals| totals.profiles),
        )?;
        page.write(
            "user_memory_bytes",
            "Bytes of the store that profiles take, bounded by user_memory.max_bytes",
            self.gauges(|totals| totals.profile_bytes),
        )
    }

    fn encode_store(&self, page: &mut FamilyWriter<'_>) -> fmt::Result {
        let stats = &self.0.stats;
        page.write(
            "clock_skew_seconds",
            "How far the system's clock is ahead of the time that Meta's answers tell; absent until three \
             answers agree",
            (self.0.skew).map(|skew| (NO_LABELS, ConstGauge::new(skew.seconds()))),
        )?;
        let in_seconds = |duration: Duration| (NO_LABELS, ConstGauge::new(duration.as_secs_f64()));
        page.write(
            "queue_bytes",
            "Bytes of the store in use, bounded by queue.max_bytes",
            [(NO_LABELS, gauge(stats.used_bytes))],
        )?;
        page.write(
            "store_damage",
            "Damage that was met in the store since the start, by what is damaged",
            DamageKind::ALL.iter().map(|kind| {
                let met = stats.damage.count(*kind);
                ([("kind", kind.as_str())], ConstCounter::new(met))
            }),
        )?;
        page.write(
            "queue_headroom_seconds",
            "How long the store can take events at the present rate if none is delivered; \
             absent while no event comes in",
            stats.headroom.map(in_seconds),
        )?;
        page.write(
            "duplicate_window_seconds",
            "How far back a repeat is recognised",
            [in_seconds(stats.duplicate_window)],
        )
    }

    fn counters(
        &self,
        count: fn(&SyncTotals) -> u64,
    ) -> impl Iterator<Item = (SyncLabel, ConstCounter<u64>)> {
        let totals = self.0.totals.iter();
        totals.map(move |(sync, totals)| (of(sync), ConstCounter::new(count(totals))))
    }

    fn gauges(
        &self,
        count: fn(&SyncTotals) -> u64,
    ) -> impl Iterator<Item = (SyncLabel, ConstGauge<f64>)> {
        let totals = self.0.totals.iter();
        totals.map(move |(sync, totals)| (of(sync), gauge(count(totals))))
    }
}

/// Writes families of metrics.
struct FamilyWriter<'a>(DescriptorEncoder<'a>);

impl FamilyWriter<'_> {
    /// Writes one family, or nothing if it has no values.
    fn write<L: EncodeLabelSet, M: EncodeMetric>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, M)>,
    ) -> fmt::Result {
        let mut values = values.into_iter().peekable();
        let Some((_, first)) = values.peek() else {
            return Ok(());
        };
        // The registry ends its own help texts with a full stop too.
        let help = format!("{help}.");
        let kind = first.metric_type();
        let mut family = self.0.encode_descriptor(name, &help, None, kind)?;
        for (labels, value) in values {
            value.encode(family.encode_family(&labels)?)?;
        }
        Ok(())
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

#[expect(
    clippy::cast_precision_loss,
    reason = "neither events nor bytes reach 2^53"
)]
fn gauge(count: u64) -> ConstGauge<f64> {
    ConstGauge::new(count as f64)
}
