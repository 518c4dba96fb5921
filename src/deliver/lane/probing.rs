//! Rounds of single events, sent to learn whether others are refused too.

use std::collections::VecDeque;

use crate::queue::lease::Leased;

/// Most events of one round.
pub(super) const ROUND: usize = 24;

#[derive(Debug, Default)]
pub(super) struct Probing {
    left: VecDeque<Leased>,
    /// Whether the present round is a full one, which may hold events that were refused before; `None`
    /// between rounds.
    is_full: Option<bool>,
}

impl Probing {
    /// Whether the round has no event left.
    pub(super) fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    pub(super) fn next(&mut self) -> Option<Leased> {
        self.left.pop_front()
    }

    /// Tells whether the round that ends was a full one; `None`: there was none.
    pub(super) fn end_round(&mut self) -> Option<bool> {
        self.is_full.take()
    }

    /// Ends the round, and gives what is left of it.
    pub(super) fn take(&mut self) -> Vec<Leased> {
        self.is_full = None;
        std::mem::take(&mut self.left).into()
    }

    /// Begins a round with the newest events of each name, then some from all over those that would be
    /// next. Only a full round may hold events that were refused before. Gives the events that are left.
    pub(super) fn begin(
        &mut self,
        is_full: bool,
        newest: Vec<Leased>,
        next: Vec<Leased>,
        is_known: impl Fn(&Leased) -> bool,
    ) -> Vec<Leased> {
        let (mut known, mut probes): (Vec<_>, Vec<_>) = newest.into_iter().partition(&is_known);
        let (known_next, next): (Vec<_>, Vec<_>) = next.into_iter().partition(is_known);
        known.extend(known_next);
        let (spread, mut left) = spread(next, ROUND - probes.len());
        probes.extend(spread);
        if is_full {
            let most = known.len().min(ROUND - probes.len());
            probes.extend(known.drain(..most));
        }
        left.append(&mut known);
        self.left = probes.into();
        self.is_full = Some(is_full);
        left
    }
}

/// Chooses events from all over a list, and gives those that are left.
fn spread(events: Vec<Leased>, most: usize) -> (Vec<Leased>, Vec<Leased>) {
    let every = events.len().div_ceil(most.max(1)).max(1);
    let mut places = 0_usize..;
    let is_chosen = |_: &Leased| places.next().is_some_and(|place| place % every == 0);
    events.into_iter().partition(is_chosen)
}
