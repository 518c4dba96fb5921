//! What a lane does about a refusal: it finds the event that is refused alone, and whose fault that is.

use tokio::time::Instant;
use tracing::{error, warn};

use crate::deliver::adaptive::BatchSize;
use crate::deliver::bisect::Split;
use crate::deliver::quarantine::{self, QuarantineOutcome};
use crate::deliver::verdict::{Blame, Judgement};
use crate::outcome::Reason;
use crate::queue::lease::Leased;
use crate::queue::settle::{End, Refusal, Settlement};

use super::outcome::{Settling, rejected, slots};
use super::{EventKey, Lane};

/// From so many refusals in a row on, single events are sent ahead of the rest of a batch.
const SCOUT_FROM: usize = 2;

impl Lane {
    /// Meta refuses the request. `hint` is the index of the event that is said to be bad.
    pub(super) fn refused(
        &mut self,
        settling: Settling,
        hint: Option<usize>,
        refusal: Refusal,
        blame: Blame,
    ) {
        let Settling {
            mut settlement,
            parts,
            ..
        } = settling;
        self.got_through(&mut settlement);
        self.split(settlement, parts.refused(hint), refusal, blame);
    }

    /// The request fails while others do not: something in it may be the cause.
    pub(super) fn split_failed(&mut self, settling: Settling, refusal: Refusal) {
        let Settling {
            settlement, parts, ..
        } = settling;
        self.split(settlement, parts.refused(None), refusal, Blame::Passing);
    }

    pub(super) fn too_large(
        &mut self,
        settling: Settling,
        refusal: Refusal,
        judgement: &Judgement,
    ) {
        let Settling {
            mut settlement,
            parts,
            ..
        } = settling;
        if !judgement.is_foreign {
            self.got_through(&mut settlement);
        }
        let sent = BatchSize {
            events: parts.next().len(),
            bytes: parts
                .next()
                .iter()
                .map(|event| event.body.as_ref().len())
                .sum(),
        };
        if sent.events > 1 {
            self.size.on_too_large(sent, Instant::now());
        }
        let refusal = Refusal {
            reason: Reason::TooLarge,
            ..refusal
        };
        self.split(settlement, parts.too_large(), refusal, judgement.blame());
    }

    /// An acceptance, of a request that was begun at `began`, says what the refused events are.
    pub(super) fn clear(
        &mut self,
        settlement: &mut Settlement,
        accepted: &[Leased],
        began: Instant,
    ) {
        let keys: Vec<EventKey> = if self.quarantine.is_empty() {
            Vec::new()
        } else {
            accepted.iter().map(EventKey::new).collect()
        };
        let cleared = self.quarantine.on_acceptance(keys, began);
        if !cleared.rejected.is_empty() {
            let events = cleared.rejected.len();
            warn!(sync = %self.sync, events, "Meta takes other events: those that it refused are rejected");
        }
        settlement.ends.extend(rejected(cleared.rejected));
        settlement.release.extend(slots(&cleared.released));
    }

    /// Goes on with smaller parts, or deals with an event that was refused alone.
    fn split(
        &mut self,
        mut settlement: Settlement,
        split: Split<Leased>,
        refusal: Refusal,
        blame: Blame,
    ) {
        match split {
            Split::Smaller(parts) => self.go_on(&mut settlement, Some(parts)),
            Split::Alone(event, rest) => {
                let scouts = self.quarantine.streak() + 1 >= SCOUT_FROM;
                let rest = rest.map(|rest| if scouts { rest.first_alone() } else { rest });
                self.refused_alone(&mut settlement, event, refusal, blame);
                self.go_on(&mut settlement, rest);
            }
        }
        self.settle(settlement);
    }

    fn refused_alone(
        &mut self,
        settlement: &mut Settlement,
        event: Leased,
        refusal: Refusal,
        blame: Blame,
    ) {
        warn!(
            sync = %self.sync,
            reason = refusal.reason.as_str(),
            code = refusal.code,
            sub_code = refusal.sub_code,
            trace_id = refusal.trace_id,
            meta_message = refusal.message,
            "{}",
            match blame {
                Blame::Event => "Meta refuses an event",
                Blame::Unknown =>
                    "Meta refuses an event, perhaps for another reason than the event: it is kept, and others are tried",
                Blame::Passing =>
                    "an event fails again and again: it is kept, and others go first",
            }
        );
        let refused = quarantine::LoneRefusal {
            key: EventKey::new(&event),
            cause: (refusal.code, refusal.sub_code),
            event,
            refusal,
            blame,
        };
        let is_paused = self.standing.is_refusing();
        let was_asking = self.quarantine.is_isolating();
        let now = Instant::now();
        match (self.quarantine).on_refusal(refused, is_paused, now, fastrand::f64()) {
            QuarantineOutcome::Rejected(event, refusal) => {
                settlement.ends.push((event.slot, End::Rejected(refusal)));
            }
            QuarantineOutcome::Held => {}
            QuarantineOutcome::Queued(event) => settlement.release.push(event.slot),
            QuarantineOutcome::TooMany(events) => {
                settlement.release.extend(slots(&events));
                self.pause_refusing(now);
            }
        }
        if !was_asking && self.quarantine.is_isolating() {
            // From now on one event at a time.
            self.release_parts();
        }
    }

    fn pause_refusing(&mut self, now: Instant) {
        let cause = self.quarantine.cause();
        error!(
            sync = %self.sync,
            code = cause.0,
            sub_code = cause.1,
            "lane paused, its events are kept: Meta refuses one after the other for the same reason"
        );
        self.release_parts();
        self.concurrency.reset();
        self.standing.trip(cause, now);
    }
}
