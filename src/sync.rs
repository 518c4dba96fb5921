//! One stream of events to one pixel: which events it selects, and what it makes of them.
//!
//! [`Sync::take`] maps an event or rejects it with a reason. It is pure; the caller counts what the
//! [`FieldStats`] hold and hands the result to the queue.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::clock::UnixMillis;
use crate::config::sync::SyncConfig;
use crate::config::{Config, ConfigError, SyncName};
use crate::event::Event;
use crate::event::operations::{KnownProperty, USER_PROPERTIES};
use crate::map::explain::Explanation;
use crate::map::extract::ProfileExtractor;
use crate::map::profile_view::KnownData;
use crate::map::record::{FieldStats, record_bound};
use crate::map::{Mapper, check};
use crate::outcome::Reason;
use crate::payload::{MapResult, PayloadArena, Rejected};
use crate::profile::clicks::{Clicks, NoClicks};
use crate::profile::update::{self, ProfileStore, ProfileUpdate};
use crate::select::Selector;

mod rule_test;

pub use rule_test::run_test;

/// One sync, compiled.
#[derive(Debug)]
pub struct Sync {
    name: SyncName,
    enabled: bool,
    selector: Selector,
    /// `None` where the sync remembers nothing of people.
    extractor: Option<ProfileExtractor>,
    mapper: Mapper,
}

/// Compiles every sync, or gives all errors of all of them.
pub fn compile_all(config: &Config) -> Result<Vec<Sync>, Vec<ConfigError>> {
    let errors = errors(&config.syncs);
    if !errors.is_empty() {
        return Err(errors);
    }
    let syncs = config.syncs.iter();
    Ok(syncs
        .map(|(name, sync)| Sync::compile(name, sync))
        .collect())
}

/// The errors in the rules of all syncs.
pub fn errors(syncs: &BTreeMap<SyncName, SyncConfig>) -> Vec<ConfigError> {
    syncs
        .iter()
        .flat_map(|(name, sync)| check::errors(name, sync))
        .collect()
}

/// What looks wrong in the rules of all syncs but may be meant.
pub fn warnings(syncs: &BTreeMap<SyncName, SyncConfig>) -> Vec<ConfigError> {
    syncs
        .iter()
        .flat_map(|(name, sync)| check::warnings(name, sync))
        .collect()
}

impl Sync {
    fn compile(name: &SyncName, sync: &SyncConfig) -> Self {
        let memory = sync.user_memory.as_ref();
        Self {
            name: name.clone(),
            enabled: sync.enabled,
            selector: Selector::compile(sync),
            extractor: memory.map(|memory| ProfileExtractor::compile(name, sync, memory)),
            mapper: Mapper::compile(name, sync),
        }
    }

    /// The sync's name.
    pub const fn name(&self) -> &SyncName {
        &self.name
    }

    /// Whether the sync takes events in.
    pub const fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Decides what becomes of an event, or of bytes that could not be decoded as one. The mapped event is
    /// stored in `payloads`.
    pub fn take(
        &self,
        element: Result<&Event<'_>, Reason>,
        raw: &[u8],
        now: UnixMillis,
        payloads: &mut PayloadArena,
    ) -> (MapResult, FieldStats) {
        self.take_with_clicks(element, raw, now, payloads, &mut NoClicks)
    }

    /// The same, with the times at which clicks were first seen.
    pub fn take_with_clicks(
        &self,
        element: Result<&Event<'_>, Reason>,
        raw: &[u8],
        now: UnixMillis,
        payloads: &mut PayloadArena,
        clicks: &mut dyn Clicks,
    ) -> (MapResult, FieldStats) {
        let mut stats = FieldStats::default();
        let mapped = match element {
            Ok(event) => self.map(event, of_clicks(clicks), now, &mut stats, payloads),
            Err(reason) => Err(Rejected::undecoded(reason, raw)),
        };
        (mapped, stats)
    }

    /// Whether events of the webhook, or those of the endpoints of SDKs, are taken with the profiles of
    /// their people.
    pub fn uses_profiles(&self, webhook: bool) -> bool {
        self.extractor
            .as_ref()
            .is_some_and(|extractor| extractor.webhook || !webhook)
    }

    /// Applies what an event says of its person, then decides what becomes of the event. Also gives the
    /// update, where it changed what is remembered.
    pub fn take_with_profiles<S: ProfileStore + Clicks>(
        &self,
        event: &Event<'_>,
        now: UnixMillis,
        payloads: &mut PayloadArena,
        store: &mut S,
    ) -> Result<(MapResult, FieldStats, Option<ProfileUpdate>), S::Error> {
        let mut stats = FieldStats::default();
        let (mapped, update) = self.with_person(event, now, store, |event, known| {
            self.map(event, known, now, &mut stats, payloads)
        })?;
        Ok((mapped, stats, update))
    }

    /// Does as [`Sync::take_with_profiles`], and says why each field is as it is.
    pub fn explain<S: ProfileStore + Clicks>(
        &self,
        event: &Event<'_>,
        now: UnixMillis,
        store: &mut S,
    ) -> Result<(MapResult, Explanation), S::Error> {
        let mut explanation = Explanation::default();
        let (mapped, _) = self.with_person(event, now, store, |event, known| {
            self.map_explained(event, known, now, &mut explanation)
        })?;
        Ok((mapped, explanation))
    }

    fn map_explained(
        &self,
        event: &Event<'_>,
        known: KnownData<'_>,
        now: UnixMillis,
        explanation: &mut Explanation,
    ) -> MapResult {
        record_bound(explanation, event);
        let selected = self.selector.select(event).map_err(|reason| {
            if let Some((condition, scope)) = self.selector.unmet(event, reason) {
                let key = match reason {
                    Reason::NoConsent => "consent",
                    _ => "where",
                };
                explanation.left_out(key, condition, scope);
            }
            Rejected::unmapped(reason)
        })?;
        let payloads = &mut PayloadArena::default();
        let mapped = self
            .mapper
            .map(event, &selected, known, now, explanation, payloads);
        explanation.complete();
        mapped
    }

    /// Applies what an event says of its person, and calls `map` with what is known afterwards. Also gives
    /// the update, where it changed anything.
    fn with_person<S: ProfileStore + Clicks>(
        &self,
        event: &Event<'_>,
        now: UnixMillis,
        store: &mut S,
        map: impl FnOnce(&Event<'_>, KnownData<'_>) -> MapResult,
    ) -> Result<(MapResult, Option<ProfileUpdate>), S::Error> {
        let extractor = self.extractor.as_ref();
        let extracted =
            extractor.and_then(|extractor| Some((extractor, extractor.extract(event, now)?)));
        let Some((extractor, mut update)) = extracted else {
            return Ok((map(event, of_clicks(store)), None));
        };
        let seen = update.take_touchpoint();
        let mut changed = false;
        // The event may itself set the property that decides about consent, so that is applied first.
        if let Some(first) = extractor.extract_consent(&update) {
            changed |= update::apply(store, &first)?;
            let person = update::profile_of(store, update.identity)?.unwrap_or_default();
            let event = completed(event, extractor.kept(&person));
            let consents = self.selector.consents(&event);
            let later = extractor.extract_besides_consent(&mut update, consents);
            changed |= update::apply(store, &later)?;
        } else {
            changed |= update::apply(store, &update)?;
        }
        let mut person = update::profile_of(store, update.identity)?.unwrap_or_default();
        let event = completed(event, extractor.kept(&person));
        // Click, browser id, address and user agent are not remembered of an event that the sync does not want.
        if self.selector.admits(&event) {
            changed |= update::apply(store, &seen)?;
            person = update::profile_of(store, update.identity)?.unwrap_or_default();
            update.touchpoint = seen.touchpoint;
        }
        let known = KnownData {
            person: Some(extractor.view(&person, now)),
            clicks: store,
        };
        Ok((map(&event, known), changed.then_some(update)))
    }

    fn map(
        &self,
        event: &Event<'_>,
        known: KnownData<'_>,
        now: UnixMillis,
        stats: &mut FieldStats,
        payloads: &mut PayloadArena,
    ) -> MapResult {
        record_bound(stats, event);
        let selected = self.selector.select(event).map_err(Rejected::unmapped)?;
        stats.label = selected.name.cloned();
        self.mapper
            .map(event, &selected, known, now, stats, payloads)
    }
}

const fn of_clicks(clicks: &mut dyn Clicks) -> KnownData<'_> {
    KnownData {
        person: None,
        clicks,
    }
}

/// An event with the properties of its person that were kept as they came.
fn completed<'c, 'e: 'c>(event: &'c Event<'e>, kept: Vec<KnownProperty<'c>>) -> Cow<'c, Event<'c>> {
    if kept.is_empty() {
        return Cow::Borrowed(event);
    }
    Cow::Owned(event.completed(USER_PROPERTIES, kept))
}

#[cfg(test)]
mod tests;
