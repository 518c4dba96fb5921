//! Counts what became, or would become, of the events that were read, by sync and event name.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;

use crate::cli::table::{TextTable, plain};
use crate::cli::{CommandFailure, Terminal};
use crate::config::SyncName;
use crate::event::Event;
use crate::json::Json;
use crate::map::record::FieldStats;
use crate::outcome::{Outcome, Reason};
use crate::payload::MapResult;

/// How many names are counted apart; the rest is counted together, so that memory stays bounded.
const NAMES: usize = 2000;
/// Stands for the names beyond that.
const OTHERS: &str = "(other names)";
/// Stands for events without a name.
const NAMELESS: &str = "(no name)";

/// Explains website events that are too old to be paired.
pub(super) const COUNTED_TWICE: &str = "where Meta's Pixel sent them too, Meta counts them twice; set \
     the sync's browser_pixel to true, and they are kept back, or to false";

/// Counts of one name in one sync.
#[derive(Clone, Debug, Default, Serialize)]
struct NameCounts {
    mapped: u64,
    filtered: u64,
    too_old: u64,
    invalid: u64,
    /// Mapped events that Meta may count a second time.
    may_count_twice: u64,
    /// Filtered and invalid events, by reason.
    reasons: BTreeMap<&'static str, u64>,
    /// Mapped events that carry each field of `user_data`, by Meta's key.
    carried: BTreeMap<&'static str, u64>,
}

/// The counts of a backfill.
#[derive(Debug)]
pub(super) struct BackfillReport {
    syncs: Vec<SyncName>,
    /// By name, for each sync.
    names: BTreeMap<Box<str>, Vec<NameCounts>>,
    /// The sum over all names and syncs.
    sum: NameCounts,
}

#[derive(Serialize)]
struct ReportLine<'a> {
    sync: &'a SyncName,
    event: &'a str,
    #[serde(flatten)]
    counts: &'a NameCounts,
}

impl BackfillReport {
    pub(super) fn new(syncs: Vec<SyncName>) -> Self {
        Self {
            syncs,
            names: BTreeMap::new(),
            sum: NameCounts::default(),
        }
    }

    /// Counts what the sync at this place made of an event.
    pub(super) fn count(
        &mut self,
        place: usize,
        event: Option<&Event<'_>>,
        mapped: &MapResult,
        stats: &FieldStats,
    ) {
        let name = event
            .and_then(|event| event.field("event_type"))
            .and_then(Json::as_str);
        let name = name.as_deref().unwrap_or(NAMELESS);
        let name = if self.names.len() < NAMES || self.names.contains_key(name) {
            name
        } else {
            OTHERS
        };
        let counts = self.names.entry(name.into());
        let counts = counts.or_insert_with(|| vec![NameCounts::default(); self.syncs.len()]);
        counts[place].count(mapped, stats);
        self.sum.count(mapped, stats);
    }

    /// The sums in words.
    pub(super) fn in_words(&self) -> String {
        let sum = &self.sum;
        let carried = match sum.coverage() {
            coverage if coverage.is_empty() => String::new(),
            coverage => format!(" (of those mapped: {coverage})"),
        };
        format!(
            "{} mapped, {} filtered, {} too old, {} invalid{carried}",
            sum.mapped, sum.filtered, sum.too_old, sum.invalid
        )
    }

    /// A message about website events that Meta no longer pairs with those of its Pixel.
    pub(super) fn on_old_website_events(&self) -> Option<String> {
        let sum = &self.sum;
        let kept = sum.reasons.get(Reason::TooOldForPixel.as_str());
        let kept = kept.map(|kept| {
            format!(
                "{kept} website events older than 48 hours are kept back (browser_pixel = true), since \
                 Meta no longer pairs them with those of its Pixel"
            )
        });
        let twice = (sum.may_count_twice > 0).then(|| {
            format!(
                "{} of the mapped are website events older than 48 hours: {COUNTED_TWICE}",
                sum.may_count_twice
            )
        });
        let parts: Vec<String> = kept.into_iter().chain(twice).collect();
        (!parts.is_empty()).then(|| parts.join("\n"))
    }

    /// Writes a table for people, else a JSON line for each sync and name.
    pub(super) fn write(&self, json: bool, terminal: &mut Terminal) -> Result<(), CommandFailure> {
        if terminal.is_interactive && !json {
            return Ok(self.write_table(&mut terminal.output)?);
        }
        for line in self.lines() {
            terminal.write_json(&line)?;
        }
        Ok(())
    }

    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let heads = [
            "SYNC", "EVENT", "MAPPED", "FILTERED", "TOO OLD", "INVALID", "REASONS", "CARRIED",
        ];
        let mut rows = vec![heads.map(str::to_owned).to_vec()];
        for ReportLine {
            sync,
            event,
            counts,
        } in self.lines()
        {
            let reasons = counts.reasons.iter();
            let reasons: Vec<_> = reasons
                .map(|(reason, count)| format!("{reason} {count}"))
                .collect();
            rows.push(vec![
                sync.to_string(),
                plain(event),
                counts.mapped.to_string(),
                counts.filtered.to_string(),
                counts.too_old.to_string(),
                counts.invalid.to_string(),
                reasons.join(", "),
                counts.coverage(),
            ]);
        }
        TextTable::default().write(out, &rows)
    }

    /// The counts of each name, sync by sync.
    fn lines(&self) -> impl Iterator<Item = ReportLine<'_>> {
        self.syncs.iter().enumerate().flat_map(|(place, sync)| {
            self.names.iter().map(move |(event, counts)| ReportLine {
                sync,
                event,
                counts: &counts[place],
            })
        })
    }
}

impl NameCounts {
    /// The share of the mapped events that carry each field, as in the daemon's hourly line.
    fn coverage(&self) -> String {
        let shares = self.carried.iter();
        let shares: Vec<_> = shares
            .map(|(field, count)| format!("{field} {} %", count * 100 / self.mapped.max(1)))
            .collect();
        shares.join(", ")
    }

    fn count(&mut self, mapped: &MapResult, stats: &FieldStats) {
        let Err(rejected) = mapped else {
            self.mapped += 1;
            self.may_count_twice += u64::from(stats.may_count_twice());
            for field in stats.carried() {
                *self.carried.entry(field.meta_key()).or_default() += 1;
            }
            return;
        };
        *self.reasons.entry(rejected.reason.as_str()).or_default() += 1;
        match rejected.reason {
            Reason::TooOld | Reason::TooOldForPixel => self.too_old += 1,
            reason if reason.outcome() == Outcome::Filtered => self.filtered += 1,
            _ => self.invalid += 1,
        }
    }
}
