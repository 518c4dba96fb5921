//! The events that a lane has on lease and that are not in flight, and which of them it sends next.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use crate::config::SyncName;
use crate::deliver::batch::{self, BatchSize};
use crate::deliver::bisect::Bisection;
use crate::deliver::quarantine::{Keyed, LoneRefusal, Quarantine};
use crate::queue::lease::{Leased, Order, Slot};
use crate::queue::settle::Refusal;
use crate::queue::{Queue, StoreError};

use super::breaker::Breaker;
use super::probing::{ProbeRound, Probing, ROUND};
use super::settle::Settling;

/// After a lease that gave nothing although something was ready.
const EMPTY_LEASE: Duration = Duration::from_millis(250);
/// A paused lane chooses its probes among this many events.
const SWEEP: usize = 1000;

/// Events that were refused alone, while it is not known whether that is their fault.
pub(super) type RefusedEvents = Quarantine<Leased, Refusal>;

#[derive(Debug, Default)]
pub(super) struct LeasedEvents {
    /// Batches of which a part was sent.
    unfinished: VecDeque<Bisection<Leased>>,
    quarantine: RefusedEvents,
    probing: Probing,
    /// No lease before this moment.
    next_lease: Option<Instant>,
}

/// What leases need.
#[derive(Debug)]
pub(super) struct Leasing {
    pub(super) sync: SyncName,
    pub(super) queue: Queue,
    pub(super) size: BatchSize,
    pub(super) now: Instant,
    /// Takes the events that are known to be bad.
    pub(super) settling: Settling,
}

impl Keyed for Leased {
    /// Recognises an event, even if another took its place in the store.
    type Key = (Slot, u32, i64);

    fn key(&self) -> Self::Key {
        let checksum = crc32fast::hash(self.body.as_ref());
        (self.slot, checksum, self.taken_at.0)
    }
}

impl LeasedEvents {
    pub(super) fn quarantine(&self) -> &RefusedEvents {
        &self.quarantine
    }

    /// When there is something to send; `None`: once something changes.
    pub(super) fn due(
        &self,
        leasing: &Leasing,
        breaker: &Breaker,
        max_delay: Duration,
    ) -> Option<Instant> {
        let now = leasing.now;
        if !self.unfinished.is_empty() || !self.probing.is_empty() {
            return Some(now);
        }
        if let Some(next) = self.next_lease.filter(|next| *next > now) {
            return Some(next);
        }
        let backlog = leasing.queue.backlog(&leasing.sync);
        let is_probing = breaker.trouble().is_some() || self.quarantine.is_isolating();
        let time = leasing.settling.now;
        let due = batch::due(&backlog, leasing.size, max_delay, time);
        let due = due.map(|due| {
            if is_probing {
                now
            } else {
                now + due.since(time)
            }
        });
        due.into_iter().chain(self.quarantine.next_due()).min()
    }

    /// Chooses what is sent next: as a probe one event, else one that is due again, else the rest of a
    /// batch that was begun, else a new batch.
    pub(super) async fn next_batch(
        &mut self,
        leasing: &mut Leasing,
        breaker: &mut Breaker,
        is_probe: bool,
    ) -> Result<Option<Bisection<Leased>>, StoreError> {
        let needs_fix = breaker.fix().is_some();
        if !needs_fix && (breaker.is_refusing() || self.quarantine.is_isolating()) {
            return self.next_probe(leasing, breaker).await;
        }
        let is_probe = needs_fix || is_probe;
        let is_suspected = !is_probe && breaker.suspects_batch();
        if !is_probe {
            if !is_suspected && let Some(event) = self.quarantine.take_due(leasing.now) {
                return Ok(self.single(event, leasing));
            }
            if let Some(batch) = self.unfinished.pop_front() {
                return Ok(leasing.without_expired(batch));
            }
        }
        let leased = if is_suspected {
            // One event that may have nothing to do with what fails.
            let mut others = self.lease_other_names(leasing).await?;
            let rest = others.split_off(others.len().min(1));
            release(&leasing.queue, &leasing.sync, &rest);
            if others.is_empty()
                && let Some(event) = self.quarantine.take_due(leasing.now)
            {
                return Ok(self.single(event, leasing));
            }
            others
        } else {
            let BatchSize { events, bytes } = leasing.size;
            let events = if is_probe { 1 } else { events };
            self.lease(leasing, events, bytes, Order::MostUrgent)
                .await?
        };
        if let Some(batch) = Bisection::whole(leased) {
            return Ok(Some(batch));
        }
        self.next_lease = Some(leasing.now + EMPTY_LEASE);
        // What is left of a batch serves as a probe too.
        let unfinished = self.unfinished.pop_front();
        Ok(unfinished.and_then(|batch| leasing.without_expired(batch)))
    }

    /// The next probe of a lane that has met refusals.
    async fn next_probe(
        &mut self,
        leasing: &mut Leasing,
        breaker: &mut Breaker,
    ) -> Result<Option<Bisection<Leased>>, StoreError> {
        let now = leasing.now;
        let is_paused = breaker.is_refusing();
        if self.probing.is_empty() {
            if is_paused && let Some(round) = self.probing.end_round() {
                let is_full = round == ProbeRound::Full;
                breaker.on_round_refused(self.quarantine.cause(), is_full, now);
                return Ok(None);
            }
            let round = if !is_paused || breaker.is_full_round_due(now) {
                ProbeRound::Full
            } else {
                ProbeRound::Untried
            };
            let most = if is_paused { SWEEP } else { ROUND };
            self.begin_round(leasing, round, most).await?;
        }
        if let Some(event) = self.probing.next() {
            return Ok(self.single(event, leasing));
        }
        if !is_paused && let Some(event) = self.quarantine.take_due(now) {
            return Ok(self.single(event, leasing));
        }
        match self.probing.end_round() {
            Some(ProbeRound::Untried) => breaker.on_all_tried(now),
            _ => self.next_lease = Some(now + EMPTY_LEASE),
        }
        Ok(None)
    }

    /// Leases the events of a round. Round by round every event is tried, so that a good one is found
    /// however many bad ones of its name a stranger sends.
    async fn begin_round(
        &mut self,
        leasing: &mut Leasing,
        round: ProbeRound,
        events: usize,
    ) -> Result<(), StoreError> {
        let newest = self.lease_other_names(leasing).await?;
        let bytes = leasing.bytes_of_probes();
        let next = self
            .lease(leasing, events, bytes, Order::MostUrgent)
            .await?;
        let is_known = |event: &Leased| self.quarantine.contains(event);
        let left = self.probing.begin(round, newest, next, is_known);
        release(&leasing.queue, &leasing.sync, &left);
        Ok(())
    }

    /// Leases of each name the newest event, other names than those in quarantine first.
    async fn lease_other_names(
        &mut self,
        leasing: &mut Leasing,
    ) -> Result<Vec<Leased>, StoreError> {
        let (events, bytes) = (ROUND / 2, leasing.bytes_of_probes());
        let newest = self
            .lease(leasing, events, bytes, Order::NewestOfEachName)
            .await?;
        let held = self.quarantine.held();
        let held: Vec<_> = held.map(|event| &event.event_name).collect();
        let (same, mut others): (Vec<Leased>, Vec<Leased>) =
            (newest.into_iter()).partition(|event| held.contains(&&event.event_name));
        others.extend(same);
        Ok(others)
    }

    /// Leases events, and rejects those that are known to be bad.
    async fn lease(
        &mut self,
        leasing: &mut Leasing,
        events: usize,
        bytes: usize,
        order: Order,
    ) -> Result<Vec<Leased>, StoreError> {
        let leased = leasing
            .queue
            .lease(&leasing.sync, events, bytes, order)
            .await?;
        if self.quarantine.is_empty() {
            return Ok(leased);
        }
        let mut left = Vec::with_capacity(leased.len());
        for event in leased {
            match self.quarantine.take_rejected(&event) {
                Some(refusal) => leasing.settling.reject([(event, refusal)]),
                None => left.push(event),
            }
        }
        Ok(left)
    }

    /// One event, unless it has expired.
    fn single(&mut self, event: Leased, leasing: &Leasing) -> Option<Bisection<Leased>> {
        if event.deadline <= leasing.settling.now.seconds() {
            self.quarantine.mark_queued(&event);
        }
        leasing.without_expired(Bisection::whole(vec![event])?)
    }

    /// An acceptance, of a request that was begun at `began`, tells what the refused events are.
    pub(super) fn on_acceptance(
        &mut self,
        accepted: &[Leased],
        began: Instant,
        settling: &mut Settling,
    ) {
        let update = self.quarantine.on_acceptance(accepted, began);
        if !update.rejected.is_empty() {
            let (sync, events) = (&settling.settlement.sync, update.rejected.len());
            warn!(sync = %sync, events, "Meta accepts other events: those that it refused are rejected");
        }
        settling.reject(update.rejected);
        settling.release(&update.released);
        if !self.quarantine.is_isolating() {
            settling.release(&self.probing.take());
        }
    }

    /// An event was refused alone, by a lane that is paused for such refusals or not. Tells whether
    /// there are too many for the same reason, so that the lane pauses.
    pub(super) fn on_lone_refusal(
        &mut self,
        event: Leased,
        refused: LoneRefusal<Refusal>,
        is_paused: bool,
        now: Instant,
        settling: &mut Settling,
    ) -> bool {
        let was_isolating = self.quarantine.is_isolating();
        let random = fastrand::f64();
        let update = self
            .quarantine
            .on_refusal(event, refused, is_paused, now, random);
        settling.reject(update.rejected);
        settling.release(&update.released);
        if update.pauses || !was_isolating && self.quarantine.is_isolating() {
            // From now on one event at a time.
            settling.release(&self.take_waiting());
        }
        update.pauses
    }

    /// Puts what is left of a batch in front of everything else, unless single events are sent.
    pub(super) fn go_on(
        &mut self,
        rest: Bisection<Leased>,
        is_paused: bool,
        settling: &mut Settling,
    ) {
        if is_paused || self.quarantine.is_isolating() {
            self.give_back(&rest.into_all(), settling);
        } else {
            self.unfinished.push_front(rest);
        }
    }

    /// Gives events back to the queue that were in flight.
    pub(super) fn give_back(&mut self, events: &[Leased], settling: &mut Settling) {
        for event in events {
            self.quarantine.mark_queued(event);
        }
        settling.release(events);
    }

    /// Takes out everything but the quarantine.
    pub(super) fn take_waiting(&mut self) -> Vec<Leased> {
        let unfinished = self.unfinished.drain(..).flat_map(Bisection::into_all);
        unfinished.chain(self.probing.take()).collect()
    }

    pub(super) fn take_all(&mut self) -> Vec<Leased> {
        let waiting = self.take_waiting().into_iter();
        waiting.chain(self.quarantine.release()).collect()
    }
}

impl Leasing {
    fn bytes_of_probes(&self) -> usize {
        self.size.bytes.saturating_mul(ROUND)
    }

    /// Gives back what has expired since it was leased: the queue counts it.
    fn without_expired(&self, batch: Bisection<Leased>) -> Option<Bisection<Leased>> {
        let time = self.settling.now.seconds();
        let (left, expired) = batch.retain(|event| event.deadline > time);
        release(&self.queue, &self.sync, &expired);
        left
    }
}

/// Gives events back to the queue at once.
pub(super) fn release(queue: &Queue, sync: &SyncName, events: &[Leased]) {
    if !events.is_empty() {
        let slots: Vec<Slot> = events.iter().map(|event| event.slot).collect();
        queue.release(sync, &slots);
    }
}
