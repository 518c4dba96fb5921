//! What a sync makes of a chunk of events, before they are stored.

use crate::clock::UnixMillis;
use crate::config::SyncName;
use crate::ingest::decode::RawElement;
use crate::ingest::reply::IngestSummary;
use crate::map::record::FieldStats;
use crate::outcome::Reason;
use crate::payload::{MapResult, PayloadArena, Rejected, Submission};
use crate::profile::update::ProfileUpdate;
use crate::queue::profile_reader::ProfileReader;
use crate::queue::{Observed, StoreError};
use crate::sync::Sync;
use crate::telemetry::metrics::Endpoint;
use crate::telemetry::metrics::coverage::Coverage;

/// Most elements that are mapped before they are stored: bounds the memory of one request.
pub(super) const CHUNK: usize = 1000;

/// Dead letters that one request files for one reason, so that no sender can fill their room at once.
const DEAD_LETTERS: u64 = 100;

/// A sync and its counters.
#[derive(Debug)]
pub(super) struct CountedSync {
    /// The sync. A disabled one filters all that comes.
    pub(super) sync: Sync,
    /// What its mapped events carried.
    pub(super) coverage: Coverage,
}

/// Where the events of a request come from, and who takes them.
#[derive(Clone, Copy, Debug)]
pub(super) struct EventRoute<'r> {
    pub(super) endpoint: Endpoint,
    /// The sender has shown the secret.
    pub(super) has_secret: bool,
    pub(super) syncs: &'r [&'r CountedSync],
    /// The size of the body.
    pub(super) bytes: usize,
}

/// Events that are mapped and stored together.
#[derive(Debug)]
pub(super) struct Chunk<'r> {
    route: EventRoute<'r>,
    profiles: ProfileReader,
    payloads: PayloadArena,
    /// How many elements it was made of.
    pub(super) elements: u64,
    /// What became of each, for every sync.
    pub(super) taken: Vec<Submission>,
    updates: Vec<(SyncName, ProfileUpdate)>,
    /// A sync with an event that Meta may count twice.
    pub(super) may_count_twice: Option<SyncName>,
}

impl CountedSync {
    pub(super) const fn name(&self) -> &SyncName {
        self.sync.name()
    }

    /// An element that no event can be read from, or whatever comes to a disabled sync.
    const fn rejected(&self, reason: Reason) -> Rejected {
        Rejected::unmapped(if self.sync.is_enabled() {
            reason
        } else {
            Reason::SyncDisabled
        })
    }

    /// Whether its events take values from profiles.
    pub(super) fn uses_profiles(&self, is_webhook: bool) -> bool {
        self.sync.is_enabled() && self.sync.uses_profiles(is_webhook)
    }
}

impl EventRoute<'_> {
    pub(super) fn is_webhook(&self) -> bool {
        self.endpoint == Endpoint::Webhook
    }

    /// Whether events take values from profiles.
    pub(super) fn uses_profiles(&self) -> bool {
        let mut syncs = self.syncs.iter();
        syncs.any(|counted| counted.uses_profiles(self.is_webhook()))
    }
}

impl<'r> Chunk<'r> {
    pub(super) fn new(route: EventRoute<'r>, profiles: ProfileReader) -> Self {
        Self {
            route,
            profiles,
            payloads: PayloadArena::default(),
            elements: 0,
            taken: Vec::new(),
            updates: Vec::new(),
            may_count_twice: None,
        }
    }

    /// Maps the next elements for every sync.
    pub(super) fn map<'a>(
        &mut self,
        elements: &mut impl Iterator<Item = RawElement<'a>>,
        now: UnixMillis,
        summary: &mut IngestSummary,
    ) -> Result<(), StoreError> {
        let syncs = self.route.syncs;
        if syncs.is_empty() {
            return Ok(());
        }
        let left = elements.size_hint().1.unwrap_or(CHUNK);
        let expected = left.min(CHUNK) * syncs.len();
        self.taken.reserve(expected);
        self.payloads = PayloadArena::for_events(expected);
        for element in elements.by_ref().take(CHUNK) {
            self.elements += 1;
            for counted in syncs {
                let (mut mapped, notes) = match &element.event {
                    // Without a dead letter it needs no id, a hash of its bytes: a body may hold a million such.
                    Err(reason) if summary.count(*reason) >= DEAD_LETTERS => {
                        let rejected = counted.rejected(*reason);
                        (Err(rejected), FieldStats::default())
                    }
                    _ => self.take(&element, counted, now)?,
                };
                for (field, why) in notes.dropped() {
                    counted.coverage.dropped(field, why.as_str());
                }
                if notes.may_count_twice() {
                    self.may_count_twice = Some(counted.name().clone());
                }
                match &mut mapped {
                    Ok(_) => {
                        let (carried, lacking) = (notes.carried(), notes.lacking());
                        counted.coverage.mapped(notes.label(), carried, lacking);
                    }
                    Err(rejected) => {
                        let ended = summary.ended(rejected.reason);
                        // Our clock may be wrong, and this sender is known.
                        let is_spared = self.route.has_secret && rejected.mistimed.is_some();
                        if ended > DEAD_LETTERS && !is_spared {
                            *rejected = Rejected::counted_alone(rejected.reason);
                        }
                    }
                }
                self.taken.push(Submission {
                    sync: counted.name().clone(),
                    mapped,
                });
            }
        }
        Ok(())
    }

    /// What is to be stored. The rest is dropped here: many requests may wait for one commit, and the
    /// profiles that they read need not stay in memory so long.
    pub(super) fn into_parts(self) -> (Vec<Submission>, Observed) {
        let observed = Observed {
            updates: self.updates,
            clicks: self.profiles.into_clicks(),
        };
        (self.taken, observed)
    }

    fn take(
        &mut self,
        element: &RawElement<'_>,
        counted: &CountedSync,
        now: UnixMillis,
    ) -> Result<(MapResult, FieldStats), StoreError> {
        let sync = &counted.sync;
        if !sync.is_enabled() {
            let rejected = counted.rejected(Reason::SyncDisabled);
            return Ok((Err(rejected), FieldStats::default()));
        }
        let profiles = &mut self.profiles;
        let (mut mapped, notes) = match &element.event {
            Ok(event) if sync.uses_profiles(self.route.is_webhook()) => {
                let (mapped, notes, update) =
                    sync.take_with_profiles(event, now, &mut self.payloads, profiles)?;
                self.updates
                    .extend(update.map(|update| (sync.name().clone(), update)));
                (mapped, notes)
            }
            event => {
                let event = event.as_ref().map_err(|reason| *reason);
                sync.take_with_clicks(event, element.raw, now, &mut self.payloads, profiles)
            }
        };
        if let Err(rejected) = &mut mapped
            && rejected.reason == Reason::TimeZoneTrap
            && !self.route.is_webhook()
        {
            // Only the webhook has templates, and only a template falls into that trap.
            rejected.reason = Reason::InFuture;
        }
        Ok((mapped, notes))
    }
}
