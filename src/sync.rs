//! One stream of events to one pixel: what it selects, and what it makes of what it selects.
//!
//! [`Sync::take`] maps an event or rejects it with a reason. It is pure; the caller counts what the
//! [`FieldStats`] say and hands the result to the queue.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::clock::UnixMillis;
use crate::config::sync::SyncConfig;
use crate::config::{Config, ConfigError, SyncName};
use crate::event::Event;
use crate::event::operations::{KnownProperty, USER_PROPERTIES};
use crate::map::explain::Explanation;
use crate::map::extract::Kept;
use crate::map::record::{FieldStats, Recorder};
use crate::map::{KnownData, Mapper, Selection};
use crate::outcome::Reason;
use crate::payload::{MapResult, Payload, PayloadArena, Rejected};
use crate::profile::clicks::{Clicks, NoClicks};
use crate::profile::update::{self, ProfileStore, ProfileUpdate};
use crate::select::{Selected, Selector};

mod rule_test;

pub use rule_test::run_test;

/// One sync, compiled.
#[derive(Debug)]
pub struct Sync {
    name: SyncName,
    enabled: bool,
    selector: Selector,
    mapper: Mapper,
}

/// Compiles every sync, or gives all mistakes of all of them.
pub fn compile_all(config: &Config) -> Result<Vec<Sync>, Vec<ConfigError>> {
    let mut syncs = Vec::new();
    let mut mistakes = Vec::new();
    for (name, sync) in &config.syncs {
        match Sync::compile(name, sync) {
            Ok(sync) => syncs.push(sync),
            Err(found) => mistakes.extend(found),
        }
    }
    if mistakes.is_empty() {
        Ok(syncs)
    } else {
        Err(mistakes)
    }
}

/// The mistakes in the rules of all syncs, where none of them is to run.
pub fn mistakes(syncs: &BTreeMap<SyncName, SyncConfig>) -> Vec<ConfigError> {
    syncs
        .iter()
        .filter_map(|(name, sync)| Sync::compile(name, sync).err())
        .flatten()
        .collect()
}

/// What looks wrong in the rules of all syncs and may still be meant.
pub fn warnings(syncs: &BTreeMap<SyncName, SyncConfig>) -> Vec<ConfigError> {
    syncs
        .iter()
        .flat_map(|(name, sync)| Mapper::warnings(name, sync))
        .collect()
}

impl Sync {
    /// Compiles one sync, or gives all mistakes in its rules.
    pub fn compile(name: &SyncName, sync: &SyncConfig) -> Result<Self, Vec<ConfigError>> {
        let mut mistakes = Vec::new();
        let mapper = Mapper::compile(name, sync, &mut mistakes);
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        Ok(Self {
            name: name.clone(),
            enabled: sync.enabled,
            selector: Selector::compile(sync),
            mapper,
        })
    }

    /// The sync's name.
    pub const fn name(&self) -> &SyncName {
        &self.name
    }

    /// Whether the sync takes events in.
    pub const fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Decides what becomes of an event, or of bytes that could not be decoded as one. What is mapped is
    /// written into `payloads`.
    pub fn take(
        &self,
        element: Result<&Event<'_>, Reason>,
        raw: &[u8],
        now: UnixMillis,
        payloads: &mut PayloadArena,
    ) -> (MapResult, FieldStats) {
        let mut stats = FieldStats::default();
        let event = match element {
            Ok(event) => event,
            Err(reason) => return (Err(Rejected::undecoded(reason, raw)), stats),
        };
        let mut clicks = NoClicks;
        let known = KnownData::of_clicks(&mut clicks);
        let mapped = self.decide(event, known, now, &mut stats, payloads);
        (mapped, stats)
    }

    /// Decides what becomes of an event, by when its click was first seen.
    pub fn take_with_clicks(
        &self,
        event: &Event<'_>,
        now: UnixMillis,
        payloads: &mut PayloadArena,
        clicks: &mut dyn Clicks,
    ) -> (MapResult, FieldStats) {
        let mut stats = FieldStats::default();
        let known = KnownData::of_clicks(clicks);
        let mapped = self.decide(event, known, now, &mut stats, payloads);
        (mapped, stats)
    }

    /// Whether events of this sync are to be taken with what is remembered of their people: those of the
    /// webhook, or those of the endpoints of SDKs.
    pub fn uses_profiles(&self, webhook: bool) -> bool {
        self.mapper.uses_profiles(webhook)
    }

    /// Decides what becomes of an event after applying what it says of its person. Also gives that,
    /// where it changed what is remembered.
    pub fn take_with_profiles<S: ProfileStore + Clicks>(
        &self,
        event: &Event<'_>,
        now: UnixMillis,
        payloads: &mut PayloadArena,
        store: &mut S,
    ) -> Result<(MapResult, FieldStats, Option<ProfileUpdate>), S::Error> {
        let mut stats = FieldStats::default();
        let (mapped, update) = self.with_person(event, now, store, |event, known| {
            self.decide(event, known, now, &mut stats, payloads)
        })?;
        Ok((mapped, stats, update))
    }

    /// Decides what becomes of an event, and says why each field is as it is.
    pub fn explain(&self, event: &Event<'_>, now: UnixMillis) -> (MapResult, Explanation) {
        self.explain_to(event, KnownData::of_clicks(&mut NoClicks), now)
    }

    /// The same, by when its click was first seen.
    pub fn explain_with_clicks(
        &self,
        event: &Event<'_>,
        now: UnixMillis,
        clicks: &mut dyn Clicks,
    ) -> (MapResult, Explanation) {
        self.explain_to(event, KnownData::of_clicks(clicks), now)
    }

    /// The same after applying what the event says of its person.
    pub fn explain_with_profiles<S: ProfileStore + Clicks>(
        &self,
        event: &Event<'_>,
        now: UnixMillis,
        store: &mut S,
    ) -> Result<(MapResult, Explanation), S::Error> {
        let (explained, _) = self.with_person(event, now, store, |event, known| {
            self.explain_to(event, known, now)
        })?;
        Ok(explained)
    }

    fn explain_to(
        &self,
        event: &Event<'_>,
        known: KnownData<'_>,
        now: UnixMillis,
    ) -> (MapResult, Explanation) {
        let mut explanation = Explanation::default();
        let mapped = match self.selector.select(event) {
            Ok(selected) => {
                let mapped = self.map(
                    event,
                    selected,
                    known,
                    now,
                    &mut explanation,
                    &mut PayloadArena::default(),
                );
                explanation.complete();
                mapped
            }
            Err(reason) => {
                if let Some((condition, scope)) = self.selector.unmet(event, reason) {
                    let key = match reason {
                        Reason::NoConsent => "consent",
                        _ => "where",
                    };
                    explanation.left_out(key, condition, scope);
                }
                Err(Rejected::unmapped(reason))
            }
        };
        (mapped, explanation)
    }

    /// Applies what an event says of its person, and decides by the profile that results; also gives the
    /// update, where it changed anything.
    fn with_person<S: ProfileStore + Clicks, T>(
        &self,
        event: &Event<'_>,
        now: UnixMillis,
        store: &mut S,
        decide: impl FnOnce(&Event<'_>, KnownData<'_>) -> T,
    ) -> Result<(T, Option<ProfileUpdate>), S::Error> {
        let Some(mut update) = self.mapper.extract(event, now) else {
            return Ok((decide(event, KnownData::of_clicks(store)), None));
        };
        let seen = update.take_touchpoint();
        let mut changed = false;
        // Consent may be a property that the event itself sets, so that is applied first.
        if let Some(first) = self.mapper.extract_consent(&update) {
            changed |= update::apply(store, &first)?;
            let person = update::profile_of(store, update.identity)?.unwrap_or_default();
            let kept = self.mapper.kept(&person);
            let consents = self.selector.consents(&completed(event, &kept));
            let later = self.mapper.extract_besides_consent(&mut update, consents);
            changed |= update::apply(store, &later)?;
        } else {
            changed |= update::apply(store, &update)?;
        }
        let mut person = update::profile_of(store, update.identity)?.unwrap_or_default();
        let kept = self.mapper.kept(&person);
        let event = completed(event, &kept);
        // What a browser sends by itself is not kept of an event that the sync does not want.
        if self.selector.admits(&event) {
            changed |= update::apply(store, &seen)?;
            person = update::profile_of(store, update.identity)?.unwrap_or_default();
            update.touchpoint = seen.touchpoint;
        }
        let known = KnownData {
            person: Some(&person),
            clicks: store,
        };
        Ok((decide(&event, known), changed.then_some(update)))
    }

    fn decide(
        &self,
        event: &Event<'_>,
        known: KnownData<'_>,
        now: UnixMillis,
        stats: &mut FieldStats,
        payloads: &mut PayloadArena,
    ) -> MapResult {
        match self.selector.select(event) {
            Ok(selected) => {
                stats.label = selected.name.cloned();
                self.map(event, selected, known, now, stats, payloads)
            }
            Err(reason) => Err(Rejected::unmapped(reason)),
        }
    }

    fn map(
        &self,
        event: &Event<'_>,
        selected: Selected<'_>,
        known: KnownData<'_>,
        now: UnixMillis,
        recorder: &mut impl Recorder,
        payloads: &mut PayloadArena,
    ) -> MapResult {
        let row = Selection {
            place: selected.place,
            limited_data_use: selected.limited_data_use,
        };
        let mapper = &self.mapper;
        let mapped = mapper.map(event, row, known, now, recorder, payloads.draft())?;
        Ok(Payload {
            json: payloads.finish(),
            event_name: mapped.event_name,
            fingerprint: mapped.fingerprint,
            deadline: mapped.deadline,
        })
    }
}

/// An event with the properties of its person that were kept as they came.
fn completed<'c, 'e: 'c>(event: &'c Event<'e>, kept: &'c [Kept<'_>]) -> Cow<'c, Event<'c>> {
    if kept.is_empty() {
        return Cow::Borrowed(event);
    }
    let known = kept.iter().map(|kept| KnownProperty {
        name: kept.name,
        json: kept.json.as_deref(),
        is_cut: kept.is_cut,
    });
    Cow::Owned(event.completed(USER_PROPERTIES, known))
}

#[cfg(test)]
mod tests;
