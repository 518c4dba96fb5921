//! What a lane sends next, and what it gives back.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::deliver::adaptive::BatchSize;
use crate::deliver::batch::{self, Due, PendingEvents};
use crate::deliver::bisect::Bisection;
use crate::deliver::limiter::Permit;
use crate::queue::StoreError;
use crate::queue::lease::{Leased, Order, Slot};
use crate::queue::settle::End;

use super::breaker::{LaneTrouble, TransientFailure};
use super::{EventKey, Lane, LaneStep};

/// After a lease that gave nothing although something was ready.
const EMPTY_LEASE: Duration = Duration::from_millis(250);
/// Most events that a lane probes in one round.
const PROBES: usize = 24;
/// Among so many a paused lane chooses its probes.
const SWEPT: usize = 1000;
/// From so many failures in a row on, what fails may be the batch.
const SUSPECT_FROM: u32 = 3;

/// Events that are tried one by one, to learn whether others are refused too.
#[derive(Debug, Default)]
pub(super) struct Probing {
    /// Those of the present round that are left.
    left: VecDeque<Leased>,
    /// The present round, if there is one.
    round: Option<Round>,
}

/// Which events a round of probes holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    /// Some that were not tried yet, and where there are too few, some that were refused before.
    Whole,
    /// Some that were not tried yet.
    Untried,
}

impl Probing {
    /// Takes out what is left of the round, and ends it.
    pub(super) fn take(&mut self) -> Vec<Leased> {
        self.round = None;
        std::mem::take(&mut self.left).into()
    }
}

impl Lane {
    /// Tells what to wait for, where nothing is due.
    pub(super) fn wait_for_work(&mut self, now: Instant) -> Option<LaneStep> {
        if !self.parts.is_empty() || !self.probing.left.is_empty() {
            return None;
        }
        if let Some(next) = self.lease_next.filter(|next| *next > now) {
            return Some(LaneStep::Idle(Some(next)));
        }
        let again = self.quarantine.next_due();
        if again.is_some_and(|again| again <= now) {
            return None;
        }
        let backlog = self.queue.backlog(&self.sync);
        let waiting = PendingEvents {
            events: backlog.events,
            bytes: backlog.bytes,
            oldest: backlog.oldest,
        };
        let is_probing = self.standing.trouble().is_some() || self.quarantine.is_isolating();
        if is_probing && waiting.events > 0 {
            return None;
        }
        let size = self.size.at(now);
        let limits = batch::BatchLimits {
            events: size.events,
            bytes: size.bytes,
            delay: self.delay,
        };
        let present = self.clock.now();
        let ripe = match batch::due(waiting, limits, present) {
            Due::Now => return None,
            Due::At(ripe) => Some(now + ripe.since(present)),
            Due::Never => None,
        };
        Some(LaneStep::Idle(ripe.into_iter().chain(again).min()))
    }

    /// Chooses what is sent next: as a probe one event, else one that is due again, else the rest of a
    /// batch that was begun, else a new batch.
    pub(super) async fn next_parts(
        &mut self,
        ticket: &Permit,
        now: Instant,
    ) -> Result<Option<Bisection<Leased>>, StoreError> {
        let trouble = self.standing.trouble();
        let needs_fix = matches!(trouble, Some(LaneTrouble::Fix(_)));
        if !needs_fix && (self.standing.is_refusing() || self.quarantine.is_isolating()) {
            return self.next_probe(now).await;
        }
        let probe = needs_fix || ticket.is_probe();
        let is_suspected = !probe && self.is_batch_suspected();
        if !probe
            && !is_suspected
            && let Some(event) = self.quarantine.take_due(now)
        {
            return Ok(self.one(event));
        }
        if !probe && let Some(parts) = self.parts.pop_front() {
            return Ok(self.without_expired(parts));
        }
        let mut size = self.size.at(now);
        let leased = if is_suspected {
            // One that may have nothing to do with what fails.
            let mut others = self.other_names(now).await?;
            let rest = others.split_off(others.len().min(1));
            self.release(&rest);
            if others.is_empty()
                && let Some(event) = self.quarantine.take_due(now)
            {
                return Ok(self.one(event));
            }
            others
        } else {
            if probe {
                size.events = 1;
            }
            self.lease(size, Order::MostUrgent).await?
        };
        if leased.is_empty() {
            self.lease_next = Some(now + EMPTY_LEASE);
        }
        if let Some(parts) = Bisection::whole(leased) {
            return Ok(Some(parts));
        }
        // What is left of a batch serves as a probe too.
        let parts = self.parts.pop_front();
        Ok(parts.and_then(|parts| self.without_expired(parts)))
    }

    /// The next probe of a lane that has met refusals.
    async fn next_probe(&mut self, now: Instant) -> Result<Option<Bisection<Leased>>, StoreError> {
        let is_paused = self.standing.is_refusing();
        if self.probing.left.is_empty()
            && is_paused
            && let Some(round) = self.probing.round.take()
        {
            // All were refused.
            let whole = round == Round::Whole;
            self.standing
                .on_round_refused(self.quarantine.cause(), whole, now);
            return Ok(None);
        }
        if self.probing.left.is_empty() {
            let round = if !is_paused || self.standing.is_full_round_due(now) {
                Round::Whole
            } else {
                Round::Untried
            };
            self.begin_round(round, now).await?;
        }
        if let Some(event) = self.probing.left.pop_front() {
            return Ok(self.one(event));
        }
        if !is_paused && let Some(event) = self.quarantine.take_due(now) {
            return Ok(self.one(event));
        }
        match self.probing.round {
            Some(Round::Untried) => self.standing.on_all_tried(now),
            _ => self.lease_next = Some(now + EMPTY_LEASE),
        }
        self.probing.round = None;
        Ok(None)
    }

    /// Leases the events of a round: of each name the newest, other names than those that are kept
    /// first, then some from all over what would be next. Round by round every event is tried, so that
    /// a good one is found however many bad ones of its name a stranger sends.
    async fn begin_round(&mut self, round: Round, now: Instant) -> Result<(), StoreError> {
        let named = self.other_names(now).await?;
        let size = BatchSize {
            events: if self.standing.is_refusing() {
                SWEPT
            } else {
                PROBES
            },
            bytes: self.bytes_of_probes(now),
        };
        let next = self.lease(size, Order::MostUrgent).await?;
        let is_known = |event: &Leased| self.quarantine.contains(EventKey::new(event));
        let (mut known, mut probes): (Vec<Leased>, Vec<Leased>) =
            named.into_iter().partition(&is_known);
        let (known_next, next): (Vec<Leased>, Vec<Leased>) = next.into_iter().partition(is_known);
        known.extend(known_next);
        let (spread, mut left) = spread(next, PROBES - probes.len());
        probes.extend(spread);
        if round == Round::Whole {
            let most = known.len().min(PROBES - probes.len());
            probes.extend(known.drain(..most));
        }
        left.append(&mut known);
        self.release(&left);
        self.probing.left = probes.into();
        self.probing.round = Some(round);
        Ok(())
    }

    /// Leases of each name the newest event, other names than those that are kept first.
    async fn other_names(&mut self, now: Instant) -> Result<Vec<Leased>, StoreError> {
        let size = BatchSize {
            events: PROBES / 2,
            bytes: self.bytes_of_probes(now),
        };
        let newest = self.lease(size, Order::NewestOfEachName).await?;
        let kept: Vec<_> = self
            .quarantine
            .held()
            .map(|kept| &kept.event_name)
            .collect();
        let (same, mut others): (Vec<Leased>, Vec<Leased>) = newest
            .into_iter()
            .partition(|event| kept.contains(&&event.event_name));
        others.extend(same);
        Ok(others)
    }

    fn bytes_of_probes(&mut self, now: Instant) -> usize {
        self.size.at(now).bytes.saturating_mul(PROBES)
    }

    /// Leases events; files those among them that are known to be bad.
    async fn lease(&mut self, size: BatchSize, order: Order) -> Result<Vec<Leased>, StoreError> {
        let leased = self
            .queue
            .lease(&self.sync, size.events, size.bytes, order)
            .await?;
        if self.quarantine.is_empty() {
            return Ok(leased);
        }
        let mut ends = Vec::new();
        let mut left = Vec::with_capacity(leased.len());
        for event in leased {
            match self.quarantine.take_rejected(EventKey::new(&event)) {
                Some(refusal) => ends.push((event.slot, End::Rejected(refusal))),
                None => left.push(event),
            }
        }
        if !ends.is_empty() {
            let mut settlement = self.settlement();
            settlement.ends = ends;
            self.settle(settlement);
        }
        Ok(left)
    }

    /// Whether answers that tell of passing faults may be the fault of the batch that they answer.
    pub(super) fn is_batch_suspected(&self) -> bool {
        self.standing.failures() >= SUSPECT_FROM
            && self
                .standing
                .failure()
                .is_some_and(TransientFailure::is_answer)
    }

    /// One event, unless it has expired.
    fn one(&mut self, event: Leased) -> Option<Bisection<Leased>> {
        let suspect = EventKey::new(&event);
        let parts = self.without_expired(Bisection::whole(vec![event])?);
        if parts.is_none() {
            self.quarantine.mark_queued(suspect);
        }
        parts
    }

    /// Gives back what has expired since it was leased: the queue counts it.
    fn without_expired(&self, parts: Bisection<Leased>) -> Option<Bisection<Leased>> {
        let now = self.clock.now().seconds();
        let (left, expired) = parts.retain(|event| event.deadline > now);
        self.release(&expired);
        left
    }

    pub(super) fn release(&self, events: &[Leased]) {
        if !events.is_empty() {
            let slots: Vec<Slot> = events.iter().map(|event| event.slot).collect();
            self.queue.release(&self.sync, &slots);
        }
    }

    /// Gives back everything that is not under way.
    pub(super) fn release_parts(&mut self) {
        for parts in std::mem::take(&mut self.parts) {
            self.release(&parts.into_all());
        }
        let probes = self.probing.take();
        self.release(&probes);
    }
}

/// Chooses events from all over a list, and gives those that are left.
fn spread(events: Vec<Leased>, most: usize) -> (Vec<Leased>, Vec<Leased>) {
    let every = events.len().div_ceil(most.max(1)).max(1);
    let (chosen, left): (Vec<_>, Vec<_>) =
        (events.into_iter().enumerate()).partition(|(place, _)| place % every == 0);
    let events = |list: Vec<(usize, Leased)>| list.into_iter().map(|(_, event)| event).collect();
    (events(chosen), events(left))
}
