//! What a lane sends next, and what it gives back.

use std::time::Duration;

use tokio::time::Instant;

use crate::batch::{self, Due, Waiting};
use crate::deliver::isolate::Parts;
use crate::deliver::limit::Ticket;
use crate::deliver::streak::Cause;
use crate::queue::StoreError;
use crate::queue::lease::{Leased, Order, Slot};
use crate::queue::settle::End;

use super::standing::Trouble;
use super::{Lane, Step, Suspect};

/// After a lease that gave nothing although something was ready.
const EMPTY_LEASE: Duration = Duration::from_millis(250);
/// Most names that a lane under suspicion probes in one round.
const PROBED_NAMES: usize = 25;

impl Lane {
    /// Tells what to wait for, where nothing is due.
    pub(super) fn wait_for_work(&mut self, now: Instant) -> Option<Step> {
        if !self.parts.is_empty() || !self.probes.is_empty() {
            return None;
        }
        if let Some(next) = self.lease_next.filter(|next| *next > now) {
            return Some(Step::Idle(Some(next)));
        }
        let backlog = self.queue.backlog(&self.sync);
        let waiting = Waiting {
            events: backlog.events,
            bytes: backlog.bytes,
            oldest: backlog.oldest,
        };
        if self.standing.trouble().is_some() && waiting.events > 0 {
            return None;
        }
        let size = self.size.at(now);
        let limits = batch::Limits {
            events: size.events,
            bytes: size.bytes,
            delay: self.delay,
        };
        let present = self.clock.now();
        match batch::due(waiting, limits, present) {
            Due::Now => None,
            Due::At(ripe) => Some(Step::Idle(Some(now + ripe.since(present)))),
            Due::Never => Some(Step::Idle(None)),
        }
    }

    /// Chooses what is sent next: as a probe one event, else the rest of a batch that was begun,
    /// else a new batch.
    pub(super) async fn next_parts(
        &mut self,
        ticket: &Ticket,
        now: Instant,
    ) -> Result<Option<Parts<Leased>>, StoreError> {
        let trouble = self.standing.trouble();
        if let Some(Trouble::Refusing(cause)) = trouble {
            return self.next_probe(cause, now).await;
        }
        let probe = ticket.is_probe() || matches!(trouble, Some(Trouble::Fix(_)));
        if !probe && let Some(parts) = self.parts.pop_front() {
            return Ok(self.without_expired(parts));
        }
        let mut size = self.size.at(now);
        if probe {
            size.events = 1;
        }
        let leased = self
            .queue
            .lease(&self.sync, size.events, size.bytes, Order::MostUrgent)
            .await?;
        if leased.is_empty() {
            self.lease_next = Some(now + EMPTY_LEASE);
        }
        if let Some(parts) = Parts::whole(self.without_refused(leased)) {
            return Ok(Some(parts));
        }
        // What is left of a batch serves as a probe too.
        let parts = self.parts.pop_front();
        Ok(parts.and_then(|parts| self.without_expired(parts)))
    }

    /// The next of a round of probes: one event of each name, the newest first.
    async fn next_probe(
        &mut self,
        cause: Cause,
        now: Instant,
    ) -> Result<Option<Parts<Leased>>, StoreError> {
        if self.probes.is_empty() && self.probing_round {
            // All were refused.
            self.probing_round = false;
            self.standing.refuses(cause, now);
            return Ok(None);
        }
        if self.probes.is_empty() {
            let bytes = self.size.at(now).bytes.saturating_mul(PROBED_NAMES);
            let order = Order::NewestOfEachName;
            let leased = self
                .queue
                .lease(&self.sync, PROBED_NAMES, bytes, order)
                .await?;
            self.probes = leased.into();
            self.probing_round = !self.probes.is_empty();
        }
        let probe = self.probes.pop_front();
        if probe.is_none() {
            self.lease_next = Some(now + EMPTY_LEASE);
        }
        Ok(probe.and_then(|event| {
            let parts = Parts::whole(vec![event])?;
            self.without_expired(parts)
        }))
    }

    /// Gives back what has expired since it was leased: the queue counts it.
    fn without_expired(&self, parts: Parts<Leased>) -> Option<Parts<Leased>> {
        let now = self.clock.now().seconds();
        let (left, expired) = parts.retain(|event| event.deadline > now);
        self.release(&expired);
        left
    }

    /// Files the events that were refused before the lane was paused, now that others are accepted.
    fn without_refused(&mut self, leased: Vec<Leased>) -> Vec<Leased> {
        if self.refused.is_empty() || self.standing.trouble().is_some() {
            return leased;
        }
        let mut ends = Vec::new();
        let mut left = Vec::with_capacity(leased.len());
        for event in leased {
            match self.refused.remove(&Suspect::new(&event)) {
                Some(refusal) => ends.push((event.slot, End::Rejected(refusal))),
                None => left.push(event),
            }
        }
        if !ends.is_empty() {
            let mut settlement = self.settlement();
            settlement.ends = ends;
            self.settle(settlement);
        }
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
        let probes: Vec<Leased> = std::mem::take(&mut self.probes).into();
        self.probing_round = false;
        self.release(&probes);
    }
}
