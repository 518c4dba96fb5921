//! The events on lease that are not in flight, and which of them the lane sends next.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{error, warn};

use crate::clock::Deadlines;
use crate::config::SyncName;
use crate::deliver::adaptive::BatchSize;
use crate::deliver::bisect::{Bisection, Split};
use crate::deliver::quarantine::{LoneRefusal, Quarantine};
use crate::queue::lease::{Leased, Order, Slot};
use crate::queue::settle::End;
use crate::queue::{Queue, StoreError};

use super::breaker::Breaker;
use super::log;
use super::outcome::OnEvents;
use super::probing::{Probing, ROUND};
use super::settle::Settling;

/// After a lease that gave nothing although something was ready.
const EMPTY_LEASE: Duration = Duration::from_millis(250);
/// A search for bad events is kept through a wait of this length, and given up for a longer one.
const SEARCH_WAIT: Duration = Duration::from_secs(10);
/// After this many refusals in a row, single events are sent ahead of the rest of a batch.
const SCOUT_AFTER: usize = 1;
/// A paused lane chooses its probes among this many events.
const SWEEP: usize = 1000;

#[derive(Debug, Default)]
pub(super) struct LeasedEvents {
    /// Batches of which a part was sent.
    unfinished: VecDeque<Bisection<Leased>>,
    pub(super) quarantine: Quarantine,
    probing: Probing,
    /// What is left of the budget for splitting batches that fail.
    pub(super) split_budget: u32,
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
    /// At that moment.
    pub(super) uptime: Duration,
    pub(super) deadlines: Deadlines,
    /// Takes the events that are known to be bad.
    pub(super) settling: Settling,
}

impl LeasedEvents {
    /// When there is something to send; `None`: not before something changes.
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
        let due = leasing.size.due_in(&backlog, max_delay, leasing.uptime);
        let due = due.map(|wait| if is_probing { now } else { now + wait });
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
            let mut size = leasing.size;
            if is_probe {
                size.events = 1;
            }
            self.lease(leasing, size, Order::MostUrgent).await?
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
            if is_paused && let Some(is_full) = self.probing.end_round() {
                breaker.on_round_refused(is_full, now);
                return Ok(None);
            }
            let is_full = !is_paused || breaker.is_full_round_due(now);
            let most = if is_paused { SWEEP } else { ROUND };
            self.begin_round(leasing, is_full, most).await?;
        }
        if let Some(event) = self.probing.next() {
            return Ok(self.single(event, leasing));
        }
        if !is_paused && let Some(event) = self.quarantine.take_due(now) {
            return Ok(self.single(event, leasing));
        }
        match self.probing.end_round() {
            Some(false) => breaker.on_all_tried(now),
            _ => self.next_lease = Some(now + EMPTY_LEASE),
        }
        Ok(None)
    }

    /// Leases the events of a round. Round by round every event is tried, so that the lane finds a good one
    /// even if a stranger sends many bad ones of its name.
    async fn begin_round(
        &mut self,
        leasing: &mut Leasing,
        is_full: bool,
        events: usize,
    ) -> Result<(), StoreError> {
        let newest = self.lease_other_names(leasing).await?;
        let size = leasing.size_of_probes(events);
        let next = self.lease(leasing, size, Order::MostUrgent).await?;
        let is_known = |event: &Leased| self.quarantine.contains(event);
        let left = self.probing.begin(is_full, newest, next, is_known);
        release(&leasing.queue, &leasing.sync, &left);
        Ok(())
    }

    /// Leases the newest event of each name; names that are not in quarantine come first.
    async fn lease_other_names(
        &mut self,
        leasing: &mut Leasing,
    ) -> Result<Vec<Leased>, StoreError> {
        let size = leasing.size_of_probes(ROUND / 2);
        let mut newest = self.lease(leasing, size, Order::NewestOfEachName).await?;
        let held = self.quarantine.held();
        let held: Vec<_> = held.map(|event| &event.event_name).collect();
        // `false` sorts first, and events of equal keys keep their order.
        newest.sort_by_key(|event| held.contains(&&event.event_name));
        Ok(newest)
    }

    /// Leases events, and rejects those that are known to be bad.
    async fn lease(
        &mut self,
        leasing: &mut Leasing,
        size: BatchSize,
        order: Order,
    ) -> Result<Vec<Leased>, StoreError> {
        let leased = leasing
            .queue
            .lease(&leasing.sync, size.events, size.bytes, order)
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
        let over = |event: &Leased| leasing.deadlines.holds_back(event.deadline, event.taken_at);
        let (left, expired) = batch.retain(|event| !over(event));
        for event in &expired {
            self.quarantine.mark_queued(event);
        }
        release(&leasing.queue, &leasing.sync, &expired);
        left
    }

    /// Does with the events of a request, begun at `began`, what follows its outcome.
    pub(super) fn apply(
        &mut self,
        action: OnEvents,
        batch: Bisection<Leased>,
        began: Instant,
        refused: LoneRefusal,
        breaker: &mut Breaker,
        settling: &mut Settling,
    ) {
        let rest = match action {
            OnEvents::Accept { short } => {
                let (accepted, rest) = batch.accepted();
                self.accept(&accepted, began, short, settling);
                rest
            }
            OnEvents::Split(hint) => self.split(batch.refused(hint), refused, breaker, settling),
            OnEvents::Halve => self.split(batch.too_large(), refused, breaker, settling),
            OnEvents::Retry(wait) => {
                let now = Instant::now();
                let own = breaker.wait_until(now).unwrap_or(now) - now;
                let is_long = wait.unwrap_or(own) > SEARCH_WAIT;
                if is_long {
                    settling.release(&self.take_waiting());
                }
                if is_long || !batch.is_search() {
                    return self.give_back(&batch.into_all(), settling);
                }
                Some(batch)
            }
        };
        let Some(rest) = rest else { return };
        if breaker.is_refusing() || self.quarantine.is_isolating() {
            // Single events are sent.
            self.give_back(&rest.into_all(), settling);
        } else {
            self.unfinished.push_front(rest);
        }
    }

    /// Events that are accepted show what the refused ones are.
    fn accept(
        &mut self,
        accepted: &[Leased],
        began: Instant,
        short: bool,
        settling: &mut Settling,
    ) {
        let end = |event: &Leased| (event.slot, End::Delivered { short });
        settling.settlement.ends.extend(accepted.iter().map(end));
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

    /// Gives the smaller parts that are sent next. An event that was refused alone ends or is set aside.
    fn split(
        &mut self,
        split: Split<Leased>,
        refused: LoneRefusal,
        breaker: &mut Breaker,
        settling: &mut Settling,
    ) -> Option<Bisection<Leased>> {
        let (event, rest) = match split {
            Split::Smaller(batch) => return Some(batch),
            Split::Alone(event, rest) => (event, rest),
        };
        let sync = settling.settlement.sync.clone();
        log::log_lone_refusal(&sync, &refused);
        let scouts = self.quarantine.streak() >= SCOUT_AFTER;
        let was_isolating = self.quarantine.is_isolating();
        let (code, sub_code) = (refused.refusal.code, refused.refusal.sub_code);
        let (is_paused, now) = (breaker.is_refusing(), Instant::now());
        let update = (self.quarantine).on_refusal(event, refused, is_paused, now, fastrand::f64());
        settling.reject(update.rejected);
        settling.release(&update.released);
        if update.pauses || !was_isolating && self.quarantine.is_isolating() {
            // From now on one event at a time.
            settling.release(&self.take_waiting());
        }
        if update.pauses {
            let what = "Meta refuses one after the other for the same reason";
            error!(sync = %sync, code, sub_code, "lane paused, its events are kept: {what}");
            breaker.trip(now);
        }
        rest.map(|rest| if scouts { rest.first_alone() } else { rest })
    }

    /// Gives events that were in flight back to the queue.
    pub(super) fn give_back(&mut self, events: &[Leased], settling: &mut Settling) {
        for event in events {
            self.quarantine.mark_queued(event);
        }
        settling.release(events);
    }

    /// Takes out all events that are not in quarantine.
    fn take_waiting(&mut self) -> Vec<Leased> {
        let unfinished = self.unfinished.drain(..).flat_map(Bisection::into_all);
        unfinished.chain(self.probing.take()).collect()
    }

    pub(super) fn take_all(&mut self) -> Vec<Leased> {
        let waiting = self.take_waiting().into_iter();
        waiting.chain(self.quarantine.release()).collect()
    }
}

impl Leasing {
    /// What a lease of events takes that go out one by one.
    fn size_of_probes(&self, events: usize) -> BatchSize {
        let bytes = self.size.bytes.saturating_mul(ROUND);
        BatchSize { events, bytes }
    }
}

/// Gives events back to the queue at once.
pub(super) fn release(queue: &Queue, sync: &SyncName, events: &[Leased]) {
    if !events.is_empty() {
        let slots: Vec<Slot> = events.iter().map(|event| event.slot).collect();
        queue.release(sync, &slots);
    }
}
