//! From an Amplitude event to the bytes that travel to Meta.
//!
//! A [`Mapper`] is one sync's mapping, compiled: what the sync says and what a row of its event table
//! overrides are merged when the configuration is loaded, not per event. [`Mapper::map`] is pure; the
//! time arrives as an argument, and what metrics need leaves through a [`Recorder`].
//!
//! It promises that nothing personal leaves it in clear text but what Meta asks for so, that no text is
//! empty and no value null, and that an event which Meta would refuse is refused here, with a reason.
//! A value that cannot be used costs its field, never the event.
//!
//! The `event_id` is what the expression finds, else a hash of the raw event. Ids that Amplitude
//! counts as invalid are passed over: an id that stands for nobody would make all events duplicates.

use std::sync::Arc;

use crate::clock::UnixMillis;
use crate::config::sync::{AppConfig, LimitedDataUse, SyncConfig};
use crate::config::{ConfigError, SyncName};
use crate::event::Event;
use crate::outcome::Reason;
use crate::payload::{Fingerprint, Rejected};
use crate::profile::Profile;
use crate::profile::clicks::Clicks;
use crate::profile::update::ProfileUpdate;

pub mod event_time;
pub mod explain;
pub mod record;
pub mod extract;

mod action_source;
mod app_data;
mod check;
mod copy;
mod custom_data;
mod data_use;
mod hashed_sources;
mod profile_view;
mod page;
mod personal;
mod rule;
mod server_event;
mod user_data;

use crate::map::profile_view::ProfileView;
use extract::{Kept, ProfileExtractor};
use page::KeptParameters;
use record::Recorder;
use rule::Rule;
use server_event::ServerEvent;
use user_data::NormalizeOptions;

/// Amplitude's own revenue events, whose properties say what was paid.
const REVENUE_EVENTS: &[&str] = &["revenue_amount", "verified_revenue", "unverified_revenue"];

/// Room for what stands around the events of a request.
const ENVELOPE_BYTES: usize = 256;

/// One sync's mapping, compiled.
#[derive(Debug)]
pub struct Mapper {
    sync: SyncName,
    /// One per row of the event table, in its order; a single one where there is no table.
    rules: Vec<Rule>,
    options: NormalizeOptions,
    extractor: Option<ProfileExtractor>,
    app: Option<AppConfig>,
    limited_data_use: LimitedDataUse,
    page_parameters: KeptParameters,
    browser_pixel: Option<bool>,
    most_bytes: usize,
}

/// What selection says of an event that is to be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selection {
    /// The place in the event table of the row that applies; 0 where there is no table.
    pub place: usize,
    /// Whether the use of the event is limited.
    pub limited_data_use: bool,
}

/// What an event may take from what is remembered.
#[derive(Debug)]
pub struct KnownData<'m> {
    /// Of its person.
    pub person: Option<&'m Profile>,
    /// Of clicks.
    pub clicks: &'m mut dyn Clicks,
}

impl<'m> KnownData<'m> {
    /// Clicks alone.
    pub fn of_clicks(clicks: &'m mut dyn Clicks) -> Self {
        Self {
            person: None,
            clicks,
        }
    }
}

/// What is known of an event that was mapped, besides its JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappedEvent {
    /// Meta's event name, as it stands in the JSON.
    pub event_name: Arc<str>,
    /// Tells whether the same event was taken before.
    pub fingerprint: Fingerprint,
    /// The end of the window in which Meta takes the event: seconds since the epoch.
    pub deadline: i64,
}

/// Whether a text is an id that stands for nobody, by Amplitude's list.
pub fn is_invalid_id(text: &str) -> bool {
    user_data::is_invalid_id(text)
}

impl Mapper {
    /// Compiles the mapping of a sync, and notes what cannot be right.
    pub fn compile(name: &SyncName, sync: &SyncConfig, mistakes: &mut Vec<ConfigError>) -> Self {
        mistakes.extend(check::errors(name, sync));
        let sources = rule::hashed_sources(sync, &sync.allow_personal_data);
        let rules = match &sync.events {
            Some(events) => events
                .values()
                .map(|row| Rule::compile(sync, Some(row), &sources))
                .collect(),
            None => vec![Rule::compile(sync, None, &sources)],
        };
        Self {
            sync: name.clone(),
            rules,
            options: NormalizeOptions::of(sync),
            extractor: sync
                .user_memory
                .as_ref()
                .map(|memory| ProfileExtractor::compile(name, sync, memory)),
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

    /// What looks wrong in the mapping of a sync and may still be meant.
    pub fn warnings(name: &SyncName, sync: &SyncConfig) -> Vec<ConfigError> {
        check::warnings(name, sync)
    }

    /// Whether anything is remembered of people, by the endpoints of SDKs or by the webhook.
    pub fn uses_profiles(&self, webhook: bool) -> bool {
        self.extractor
            .as_ref()
            .is_some_and(|extractor| extractor.webhook || !webhook)
    }

    /// What an event says of its person, where that is to be remembered.
    pub fn extract(&self, event: &Event<'_>, now: UnixMillis) -> Option<ProfileUpdate> {
        self.extractor.as_ref()?.extract(event, &self.options, now)
    }

    /// Of what an event says of its person, what bears on their consent; `None` where nobody asks.
    pub fn extract_consent(&self, update: &ProfileUpdate) -> Option<ProfileUpdate> {
        self.extractor.as_ref()?.extract_consent(update)
    }

    /// The rest of it. Without consent only what takes something away stays in the update.
    pub fn extract_besides_consent(
        &self,
        update: &mut ProfileUpdate,
        consents: bool,
    ) -> ProfileUpdate {
        match &self.extractor {
            Some(extractor) => extractor.extract_besides_consent(update, consents),
            None => update.clone(),
        }
    }

    /// The properties of a person that were kept as they came.
    pub fn kept<'m>(&'m self, profile: &Profile) -> Vec<Kept<'m>> {
        self.extractor
            .as_ref()
            .map_or_else(Vec::new, |extractor| extractor.kept(profile))
    }

    /// Maps one event, or says why Meta would not take it. What the event lacks it takes from what is
    /// remembered of its person. The JSON is written behind what `out` holds already; of an event that is
    /// refused, nothing stays there.
    pub fn map(
        &self,
        event: &Event<'_>,
        row: Selection,
        memory: KnownData<'_>,
        now: UnixMillis,
        recorder: &mut impl Recorder,
        out: &mut Vec<u8>,
    ) -> Result<MappedEvent, Rejected> {
        let KnownData { person, clicks } = memory;
        let Some(rule) = self.rules.get(row.place) else {
            return Err(Rejected::unmapped(Reason::NotSelected));
        };
        let server_event = ServerEvent {
            mapper: self,
            rule,
            event,
            known: self
                .extractor
                .as_ref()
                .zip(person)
                .map(|(extractor, profile)| ProfileView {
                    properties: &extractor.properties,
                    profile,
                    now,
                }),
            clicks,
            start: out.len(),
            out,
            recorder,
        };
        server_event.write(row.limited_data_use, now)
    }
}
