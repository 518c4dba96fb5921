//! From an Amplitude event to the bytes that travel to Meta.
//!
//! A [`Mapper`] is one sync's mapping, compiled: the mapping of the sync and what a row of its event table
//! overrides are merged when the configuration is loaded, not per event. [`Mapper::map`] is pure; the
//! time arrives as an argument, and what metrics need leaves through a [`Recorder`].
//!
//! It promises that personal data leaves it hashed, except where Meta asks for clear text; that it writes no
//! empty text and no null; and that it refuses, with a reason, an event that Meta would refuse. A value that
//! cannot be used costs its field, never the event.
//!
//! The `event_id` is the id that the expression finds, else a hash of the raw event. Ids that Amplitude
//! counts as invalid are skipped: an id that stands for nobody would make all events duplicates.

use crate::clock::UnixMillis;
use crate::config::SyncName;
use crate::config::mapping::EventConfig;
use crate::config::sync::{AppConfig, LimitedDataUse, SyncConfig};
use crate::event::Event;
use crate::outcome::Reason;
use crate::payload::{MapResult, PayloadArena, Rejected};
use crate::select::Selected;

pub mod check;
pub mod event_time;
pub mod explain;
pub mod extract;
pub mod profile_view;
pub mod record;

mod action_source;
mod app_data;
mod copy;
mod custom_data;
mod data_use;
mod hashed_sources;
mod page;
mod personal;
mod rule;
mod server_event;
mod user_data;

use page::KeptParameters;
use profile_view::KnownData;
use record::Recorder;
use rule::Rule;
use server_event::ServerEvent;

pub use user_data::is_invalid_id;

/// Amplitude's own revenue events, whose properties say what was paid.
const REVENUE_EVENTS: &[&str] = &["revenue_amount", "verified_revenue", "unverified_revenue"];

/// Room for the JSON around the events of a request.
const ENVELOPE_BYTES: usize = 256;

/// One sync's mapping, compiled.
#[derive(Debug)]
pub struct Mapper {
    sync: SyncName,
    /// One per row of the event table, in its order; a single one where there is no table.
    rules: Vec<Rule>,
    app: Option<AppConfig>,
    limited_data_use: LimitedDataUse,
    page_parameters: KeptParameters,
    browser_pixel: Option<bool>,
    most_bytes: usize,
}

impl Mapper {
    /// Compiles the mapping of a sync.
    pub fn compile(name: &SyncName, sync: &SyncConfig) -> Self {
        let sources = rule::hashed_sources(sync, &sync.allow_personal_data);
        let compile = |row| Rule::compile(sync, row, &sources);
        let rules = match &sync.events {
            Some(events) => events.values().map(compile).collect(),
            None => vec![compile(&EventConfig::default())],
        };
        Self {
            sync: name.clone(),
            rules,
            app: sync.app.clone(),
            limited_data_use: sync.limited_data_use.clone(),
            page_parameters: KeptParameters::new(&sync.page_url_parameters),
            browser_pixel: sync.browser_pixel,
            most_bytes: sync
                .delivery
                .max_batch_bytes
                .get()
                .saturating_sub(ENVELOPE_BYTES),
        }
    }

    /// Maps one event, or says why Meta would not take it. What the event lacks it takes from what is
    /// known of its person.
    pub fn map(
        &self,
        event: &Event<'_>,
        selected: &Selected<'_>,
        known: KnownData<'_>,
        now: UnixMillis,
        recorder: &mut impl Recorder,
        payloads: &mut PayloadArena,
    ) -> MapResult {
        let Some(rule) = self.rules.get(selected.place) else {
            return Err(Rejected::unmapped(Reason::NotSelected));
        };
        let server_event = ServerEvent {
            mapper: self,
            rule,
            event,
            known,
            out: Vec::new(),
            recorder,
        };
        server_event.write(selected.limited_data_use, now, payloads)
    }
}
