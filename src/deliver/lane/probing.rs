//! Rounds of single events, sent to learn whether others are refused too.

use std::collections::VecDeque;

use crate::queue::lease::Leased;

/// Most events of one round.
pub(super) const ROUND: usize = 24;

#[derive(Debug, Default)]
pub(super) struct Probing {
    left: VecDeque<Leased>,
    round: Option<ProbeRound>,
}

/// Which events a round holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProbeRound {
    /// Events that were not tried yet and, where there are too few, some that were refused before.
    Full,
    /// Events that were not tried yet.
    Untried,
}

impl Probing {
    /// Whether the round has no event left.
    pub(super) fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    pub(super) fn next(&mut self) -> Option<Leased> {
        self.left.pop_front()
    }

    pub(super) fn end_round(&mut self) -> Option<ProbeRound> {
        self.round.take()
    }

    /// Ends the round, and gives what is left of it.
    pub(super) fn take(&mut self) -> Vec<Leased> {
        self.round = None;
        std::mem::take(&mut self.left).into()
    }

    /// Begins a round with the newest events of each name, then some from all over those that would be
    /// next. Gives the events that are left.
    pub(super) fn begin(
        &mut self,
        round: ProbeRound,
        newest: Vec<Leased>,
        next: Vec<Leased>,
        is_known: impl Fn(&Leased) -> bool,
    ) -> Vec<Leased> {
        let (mut known, mut probes): (Vec<_>, Vec<_>) = newest.into_iter().partition(&is_known);
        let (known_next, next): (Vec<_>, Vec<_>) = next.into_iter().partition(is_known);
        known.extend(known_next);
        let (spread, mut left) = spread(next, ROUND - probes.len());
        probes.extend(spread);
        if round == ProbeRound::Full {
            let most = known.len().min(ROUND - probes.len());
            probes.extend(known.drain(..most));
        }
        left.append(&mut known);
        self.left = probes.into();
        self.round = Some(round);
        left
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
