//! The events that a lane has on lease and that are not in flight, and which of them it sends next.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use crate::config::SyncName;
use crate::deliver::adaptive::BatchSize;
use crate::deliver::bisect::Bisection;
use crate::deliver::quarantine::{LoneRefusal, Quarantine};
use crate::queue::lease::{Leased, Order, Slot};
use crate::queue::settle::End;
use crate::queue::{Queue, StoreError};

use super::breaker::Breaker;
use super::probing::{ProbeRound, Probing, ROUND};
use super::settle::Settling;

/// After a lease that gave nothing although something was ready.
const EMPTY_LEASE: Duration = Duration::from_millis(250);
/// A search for bad events is kept through a wait of this length, and given up for a longer one.
const SEARCH_WAIT: Duration = Duration::from_secs(10);
/// A paused lane chooses its probes among this many events.
const SWEEP: usize = 1000;

#[derive(Debug, Default)]
pub(super) struct LeasedEvents {
    /// Batches of which a part was sent.
    unfinished: VecDeque<Bisection<Leased>>,
    pub(super) quarantine: Quarantine,
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

impl LeasedEvents {
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
        let is_probing = !breaker.is_closed() || self.quarantine.is_isolating();
        let time = leasing.settling.now;
        let due = leasing.size.due(&backlog, max_delay, time);
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
                return Ok(self.without_expired(batch, leasing));
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
        Ok(unfinished.and_then(|batch| self.without_expired(batch, leasing)))
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
                breaker.on_round_refused(is_full, now);
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
        let mut newest = self
            .lease(leasing, events, bytes, Order::NewestOfEachName)
            .await?;
        let held = self.quarantine.held();
        let held: Vec<_> = held.map(|event| &event.event_name).collect();
        newest.sort_by_key(|event| held.contains(&&event.event_name));
        Ok(newest)
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
        self.without_expired(Bisection::whole(vec![event])?, leasing)
    }

    /// Gives back what has expired since it was leased: the queue counts it.
    fn without_expired(
        &mut self,
        batch: Bisection<Leased>,
        leasing: &Leasing,
    ) -> Option<Bisection<Leased>> {
        let time = leasing.settling.now.seconds();
        let (left, expired) = batch.retain(|event| event.deadline > time);
        for event in &expired {
            self.quarantine.mark_queued(event);
        }
        release(&leasing.queue, &leasing.sync, &expired);
        left
    }

    /// Meta accepted the part of the batch that was sent, in a request that was begun at `began`. That
    /// shows what the refused events are. Gives what is left of the batch.
    pub(super) fn on_acceptance(
        &mut self,
        batch: Bisection<Leased>,
        began: Instant,
        short: bool,
        settling: &mut Settling,
    ) -> Option<Bisection<Leased>> {
        let (accepted, rest) = batch.accepted();
        let ends = accepted
            .iter()
            .map(|event| (event.slot, End::Delivered { short }));
        settling.settlement.ends.extend(ends);
        let update = self.quarantine.on_acceptance(&accepted, began);
        if !update.rejected.is_empty() {
            let (sync, events) = (&settling.settlement.sync, update.rejected.len());
            warn!(sync = %sync, events, "Meta accepts other events: those that it refused are rejected");
        }
        settling.reject(update.rejected);
        settling.release(&update.released);
        if !self.quarantine.is_isolating() {
            settling.release(&self.probing.take());
        }
        rest
    }

    /// The next request can go out after this wait. Gives back a search, to be kept through a short wait;
    /// everything else goes back to the queue.
    pub(super) fn on_failure(
        &mut self,
        batch: Bisection<Leased>,
        wait: Duration,
        settling: &mut Settling,
    ) -> Option<Bisection<Leased>> {
        if wait > SEARCH_WAIT {
            settling.release(&self.take_waiting());
        } else if batch.is_search() {
            return Some(batch);
        }
        self.give_back(&batch.into_all(), settling);
        None
    }

    /// An event was refused alone, by a lane that is paused for such refusals or not. Tells whether
    /// there are too many for the same reason, so that the lane pauses.
    pub(super) fn on_lone_refusal(
        &mut self,
        event: Leased,
        refused: LoneRefusal,
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
}

/// Gives events back to the queue at once.
pub(super) fn release(queue: &Queue, sync: &SyncName, events: &[Leased]) {
    if !events.is_empty() {
        let slots: Vec<Slot> = events.iter().map(|event| event.slot).collect();
        queue.release(sync, &slots);
    }
}
