//! What a lane does with an answer, or the lack of one.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use crate::deliver::client::PostError;
use crate::deliver::isolate::{Parts, Split};
use crate::deliver::limit::Standstill;
use crate::deliver::size::Size;
use crate::deliver::streak::Refusals;
use crate::deliver::usage::Usage;
use crate::deliver::verdict::{Fix, Judgement, Reply, Verdict, judge};
use crate::outcome::Reason;
use crate::queue::lease::{Leased, Slot};
use crate::queue::settle::{Answer, End, Refusal, Settlement};

use super::request::{Answered, Outcome};
use super::standing::Trouble;
use super::{Lane, Suspect};

/// A search for bad events is kept through a wait of this length, and given up for a longer one.
const KEPT_THROUGH: Duration = Duration::from_secs(10);
/// A search for bad events is kept through so many failures in a row.
const KEPT_FAILURES: u32 = 4;
/// Refused events are filed when nothing was accepted or refused for so long.
const QUIET: Duration = Duration::from_secs(5);
/// From so many refusals in a row on, single events are sent ahead of the rest of a batch.
const SCOUT_FROM: usize = 2;
/// Most events that are remembered as refused while a lane is paused.
const MOST_REFUSED: usize = 1000;

/// An answered request whose settlement is being put together.
struct Settling {
    settlement: Settlement,
    parts: Parts<Leased>,
    began: Instant,
    latency: Duration,
}

impl Lane {
    /// Deals with a request that is over. Gives the verdict's name.
    pub(super) fn answered(&mut self, answered: Answered) -> &'static str {
        let Answered {
            ticket,
            parts,
            delivery,
            began,
            latency,
            outcome,
        } = answered;
        let mut settling = Settling {
            settlement: Settlement {
                delivery,
                ..self.settlement()
            },
            parts,
            began,
            latency,
        };
        match outcome {
            Outcome::Replied(reply) => {
                let judgement = judge(&reply, settling.parts.next().len());
                let settlement = &mut settling.settlement;
                self.note_usage(settlement, &reply.usage);
                match judgement.verdict {
                    Verdict::Throttled { wait } => {
                        self.hold(settlement, Standstill::Throttled, Some(wait));
                    }
                    Verdict::Blocked { wait } => {
                        self.hold(settlement, Standstill::Blocked, wait);
                    }
                    // A probe that learnt nothing of the rates is dropped, and repeated.
                    Verdict::Transient { .. } => drop(ticket),
                    _ => {
                        if ticket.passed() {
                            self.note_passed(settlement);
                        }
                    }
                }
                self.judged(settling, &reply, &judgement);
                judgement.verdict.as_str()
            }
            Outcome::Failed(error) => self.failed(settling, &error),
            Outcome::Abandoned => {
                self.close(settling, answer("abandoned", true));
                "abandoned"
            }
            Outcome::Withheld => {
                self.withheld(settling);
                "withheld"
            }
            Outcome::NotNoted(error) => {
                self.store_failed(&error);
                self.release(&settling.parts.into_all());
                "not_noted"
            }
        }
    }

    /// Files the events that were refused alone, unless something is under way that may yet speak
    /// for the lane.
    pub(super) fn file_streak(&mut self) {
        if self.requests > 0 || !self.parts.is_empty() {
            self.streak_ends = Some(Instant::now() + QUIET);
            return;
        }
        self.streak_ends = None;
        let mut settlement = self.settlement();
        settlement.ends = rejected(self.streak.give_up());
        self.settle(settlement);
    }

    fn judged(&mut self, mut settling: Settling, reply: &Reply, judgement: &Judgement) {
        let verdict = judgement.verdict;
        let events = settling.parts.next().len();
        let seconds = settling.latency.as_secs_f64();
        self.metrics
            .delivery(&self.sync, verdict.as_str(), seconds, events);
        let refusal = self.refusal(judgement);
        settling.settlement.answer = Some(Answer {
            verdict: verdict.as_str(),
            status: Some(reply.status),
            code: judgement.code,
            sub_code: judgement.sub_code,
            trace_id: refusal.trace_id.clone(),
            lost: false,
        });
        self.log_verdict(&settling, reply, judgement, &refusal);
        match verdict {
            Verdict::Delivered => self.accepted(settling, false),
            Verdict::ShortCount { .. } => self.accepted(settling, true),
            Verdict::Transient { wait } => self.try_again(settling, wait),
            Verdict::Throttled { wait } => self.stand_still(settling, wait),
            Verdict::Blocked { .. } => self.stand_still(settling, Duration::MAX),
            Verdict::Paused(fix) => self.pause(settling, fix),
            Verdict::TooLarge => self.too_large(settling, refusal),
            Verdict::Invalid { hint } => {
                let Settling {
                    mut settlement,
                    parts,
                    ..
                } = settling;
                self.got_through(&mut settlement);
                self.split(settlement, parts.refused(hint), refusal);
            }
        }
    }

    /// There is no answer, or no whole one.
    fn failed(&mut self, mut settling: Settling, error: &PostError) -> &'static str {
        let verdict = if error.is_lost() {
            "lost"
        } else {
            "unreachable"
        };
        let events = settling.parts.next().len();
        let seconds = settling.latency.as_secs_f64();
        self.metrics.delivery(&self.sync, verdict, seconds, events);
        let error: &dyn std::error::Error = error;
        warn!(sync = %self.sync, verdict, events, error, "no answer from Meta");
        settling.settlement.answer = Some(answer(verdict, verdict == "lost"));
        self.try_again(settling, None);
        verdict
    }

    /// The events were accepted.
    fn accepted(&mut self, settling: Settling, short: bool) {
        let Settling {
            mut settlement,
            parts,
            latency,
            ..
        } = settling;
        self.concurrency.answered(latency);
        self.streak_ends = None;
        settlement.ends = rejected(self.streak.accepted());
        let (accepted, rest) = parts.accepted();
        self.note_mended(&mut settlement);
        let now = self.clock.now();
        for event in &accepted {
            let waited = now.since(event.taken_at).as_secs_f64();
            self.metrics.end_to_end(&self.sync, waited);
            settlement.ends.push((event.slot, End::Delivered { short }));
        }
        if self.standing.accepted() {
            info!(sync = %self.sync, "Meta accepts events again");
            let probes: Vec<Leased> = std::mem::take(&mut self.probes).into();
            self.probing_round = false;
            settlement.release.extend(slots(&probes));
        }
        if accepted.iter().any(|event| {
            !self.refused.is_empty() && self.refused.contains_key(&Suspect::new(event))
        }) {
            // Meta has changed its mind on one of them: all deserve another try.
            self.refused.clear();
        }
        self.go_on(&mut settlement, rest);
        self.settle(settlement);
    }

    /// A fault that passes: the events are sent again after a wait.
    fn try_again(&mut self, settling: Settling, hint: Option<Duration>) {
        let now = Instant::now();
        let random = fastrand::f64();
        let wait = self.standing.failed(settling.began, now, random, hint);
        self.concurrency.failed();
        let long = wait > KEPT_THROUGH || self.standing.failures() > KEPT_FAILURES;
        self.wait_with(settling, long);
    }

    /// Nothing goes out to the pixel for so long.
    fn stand_still(&mut self, settling: Settling, wait: Duration) {
        self.concurrency.restart();
        self.wait_with(settling, wait > KEPT_THROUGH);
    }

    /// Keeps a search through a short wait; gives everything else back to the queue.
    fn wait_with(&mut self, settling: Settling, long: bool) {
        let Settling {
            mut settlement,
            parts,
            ..
        } = settling;
        if long {
            self.release_parts();
        }
        if parts.is_search() && !long && !self.stop.is_cancelled() {
            self.parts.push_front(parts);
        } else {
            settlement.release.extend(slots(&parts.into_all()));
        }
        self.settle(settlement);
    }

    /// Nothing can be delivered until someone puts something right.
    fn pause(&mut self, mut settling: Settling, fix: Fix) {
        self.note_pause(&mut settling.settlement, fix);
        self.standing.needs(fix, settling.began, Instant::now());
        self.concurrency.restart();
        self.wait_with(settling, true);
    }

    fn too_large(&mut self, settling: Settling, refusal: Refusal) {
        let Settling {
            mut settlement,
            parts,
            ..
        } = settling;
        self.got_through(&mut settlement);
        let sent = Size {
            events: parts.next().len(),
            bytes: parts
                .next()
                .iter()
                .map(|event| event.body.as_ref().len())
                .sum(),
        };
        if sent.events > 1 {
            self.size.too_large(sent, Instant::now());
        }
        let refusal = Refusal {
            reason: Reason::TooLarge,
            ..refusal
        };
        self.split(settlement, parts.too_large(), refusal);
    }

    /// Goes on with smaller parts, or deals with an event that was refused alone.
    fn split(&mut self, mut settlement: Settlement, split: Split<Leased>, refusal: Refusal) {
        match split {
            Split::Smaller(parts) => self.go_on(&mut settlement, Some(parts)),
            Split::Alone(event, rest) => {
                let rest = rest.map(|rest| {
                    if self.streak.length() + 1 >= SCOUT_FROM {
                        rest.scouting()
                    } else {
                        rest
                    }
                });
                self.go_on(&mut settlement, rest);
                self.refused_alone(&mut settlement, &event, refusal);
            }
        }
        self.settle(settlement);
    }

    fn refused_alone(&mut self, settlement: &mut Settlement, event: &Leased, refusal: Refusal) {
        warn!(
            sync = %self.sync,
            reason = refusal.reason.as_str(),
            code = refusal.code,
            sub_code = refusal.sub_code,
            trace_id = refusal.trace_id,
            meta_message = refusal.message,
            "Meta refuses an event"
        );
        let suspect = Suspect::new(event);
        if let Some(Trouble::Refusing(_)) = self.standing.trouble() {
            self.remember([(suspect, refusal)]);
            settlement.release.push(suspect.slot);
            return;
        }
        let cause = (refusal.code, refusal.sub_code);
        match self.streak.refused((suspect, refusal), cause) {
            Refusals::Held(others) => {
                settlement.ends.extend(rejected(others));
                self.streak_ends = Some(Instant::now() + QUIET);
            }
            Refusals::TooMany(held) => {
                error!(
                    sync = %self.sync,
                    code = cause.0,
                    sub_code = cause.1,
                    "lane paused, its events are kept: Meta refuses one after the other for the same reason"
                );
                settlement
                    .release
                    .extend(held.iter().map(|(suspect, _)| suspect.slot));
                self.refused.clear();
                self.remember(held);
                self.streak_ends = None;
                self.release_parts();
                self.concurrency.restart();
                self.standing.refuses(cause, Instant::now());
            }
        }
    }

    fn remember(&mut self, refused: impl IntoIterator<Item = (Suspect, Refusal)>) {
        for (suspect, refusal) in refused {
            if self.refused.len() < MOST_REFUSED {
                self.refused.insert(suspect, refusal);
            }
        }
    }

    /// Closes the record of a request of which nothing more is known, and gives its events back.
    fn close(&mut self, settling: Settling, answer: Answer) {
        let mut settlement = settling.settlement;
        settlement.answer = Some(answer);
        settlement.release = slots(&settling.parts.into_all());
        self.settle(settlement);
    }

    fn withheld(&mut self, settling: Settling) {
        if settling.settlement.delivery.is_some() {
            self.close(settling, answer("withheld", false));
        } else {
            self.release(&settling.parts.into_all());
        }
    }

    /// Puts what is left of a batch in front of everything else.
    fn go_on(&mut self, settlement: &mut Settlement, rest: Option<Parts<Leased>>) {
        let Some(rest) = rest else { return };
        let is_refusing = matches!(self.standing.trouble(), Some(Trouble::Refusing(_)));
        if self.stop.is_cancelled() || is_refusing {
            settlement.release.extend(slots(&rest.into_all()));
        } else {
            self.parts.push_front(rest);
        }
    }

    /// Meta's answer shows that requests get through.
    fn got_through(&mut self, settlement: &mut Settlement) {
        self.note_mended(settlement);
        if self.standing.gets_through() {
            info!(sync = %self.sync, "Meta answers again");
        }
    }

    /// Holds the pixel's gate.
    fn hold(&self, settlement: &mut Settlement, why: Standstill, wait: Option<Duration>) {
        let wait = self.pixel.hold(why, wait);
        self.note_standstill(settlement, why, wait);
    }

    fn note_usage(&self, settlement: &mut Settlement, usage: &Usage) {
        let kinds = [
            ("app", usage.app),
            ("business", usage.business),
            ("ad_account", usage.ad_account),
        ];
        for (kind, percent) in kinds {
            if let Some(percent) = percent {
                self.metrics.meta_usage(&self.sync, kind, percent);
            }
        }
        if let Some(wait) = self.pixel.used(usage.highest(), usage.regain) {
            self.note_standstill(settlement, Standstill::Usage, wait);
        }
    }

    /// Makes Meta's words fit to be kept.
    fn refusal(&self, judgement: &Judgement) -> Refusal {
        Refusal {
            reason: Reason::Refused,
            code: judgement.code,
            sub_code: judgement.sub_code,
            trace_id: judgement
                .trace_id
                .as_deref()
                .and_then(|id| self.redactor.identifier(id)),
            message: judgement
                .text
                .as_deref()
                .map(|text| self.redactor.text(text)),
        }
    }

    fn log_verdict(
        &self,
        settling: &Settling,
        reply: &Reply,
        judgement: &Judgement,
        refusal: &Refusal,
    ) {
        let events = settling.parts.next().len();
        let milliseconds = settling.latency.as_millis();
        let trace_id = refusal.trace_id.as_deref();
        macro_rules! not_taken {
            ($level:ident, $($what:tt)+) => {
                $level!(
                    sync = %self.sync,
                    verdict = judgement.verdict.as_str(),
                    status = reply.status,
                    code = judgement.code,
                    sub_code = judgement.sub_code,
                    trace_id,
                    message = refusal.message,
                    events,
                    milliseconds,
                    $($what)+
                )
            };
        }
        match judgement.verdict {
            Verdict::Delivered if judgement.remarks => {
                info!(sync = %self.sync, events, trace_id, "delivered; Meta's answer carries messages");
            }
            Verdict::Delivered => {
                debug!(sync = %self.sync, events, milliseconds, trace_id, "delivered");
            }
            Verdict::ShortCount { received } => {
                warn!(sync = %self.sync, events, received, trace_id, "Meta counted fewer events than were sent");
            }
            // A step of a search: the event that is found is told of.
            Verdict::Invalid { .. } => not_taken!(debug, "Meta refuses a batch"),
            Verdict::Paused(fix) if self.standing.trouble() == Some(Trouble::Fix(fix)) => {
                not_taken!(debug, "the lane stays paused: {}", fix.as_str());
            }
            Verdict::Paused(fix) => {
                not_taken!(error, "lane paused, its events are kept: {}", fix.as_str());
            }
            Verdict::Blocked { .. } => {
                not_taken!(
                    error,
                    "Meta has blocked the account for a while, its events are kept"
                );
            }
            Verdict::Throttled { wait } => not_taken!(
                warn,
                "Meta's rate limit is reached, nothing is sent for {} s",
                wait.as_secs()
            ),
            Verdict::Transient { .. } | Verdict::TooLarge => {
                not_taken!(warn, "Meta did not take a batch");
            }
        }
    }
}

fn answer(verdict: &'static str, lost: bool) -> Answer {
    Answer {
        verdict,
        status: None,
        code: None,
        sub_code: None,
        trace_id: None,
        lost,
    }
}

fn rejected(refused: Vec<(Suspect, Refusal)>) -> Vec<(Slot, End)> {
    refused
        .into_iter()
        .map(|(suspect, refusal)| (suspect.slot, End::Rejected(refusal)))
        .collect()
}

fn slots(events: &[Leased]) -> Vec<Slot> {
    events.iter().map(|event| event.slot).collect()
}
