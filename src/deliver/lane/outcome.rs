//! What a lane does with an answer, or the lack of one.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use crate::deliver::bisect::Bisection;
use crate::deliver::client::PostError;
use crate::deliver::limiter::{Circuit, CooldownReason};
use crate::deliver::usage::RateUsage;
use crate::deliver::verdict::{Fix, GraphReply, Judgement, LimitOf, Verdict, judge};
use crate::outcome::Reason;
use crate::queue::lease::{Leased, Slot};
use crate::queue::settle::{AttemptAnswer, DOUBT_SECONDS, End, Refusal, Settlement};

use super::attempt::{Answered, AttemptOutcome};
use super::breaker::TransientFailure;
use super::{EventKey, Lane};

/// A search for bad events is kept through a wait of this length, and given up for a longer one.
const KEPT_THROUGH: Duration = Duration::from_secs(10);
/// A search for bad events is kept through so many failures in a row.
const KEPT_FAILURES: u32 = 4;
/// A batch that fails while the lane is well is split so often before the lane is doubted anew: enough
/// to find one event among a thousand.
const SPLITS: u32 = 15;

/// An answered request whose settlement is being put together.
pub(super) struct Settling {
    pub(super) settlement: Settlement,
    pub(super) parts: Bisection<Leased>,
    pub(super) began: Instant,
    pub(super) latency: Duration,
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
            AttemptOutcome::Replied(reply) => {
                let judgement = judge(
                    &reply,
                    settling.parts.next().len(),
                    !self.app_secret_file.secrets().is_empty(),
                );
                let settlement = &mut settling.settlement;
                self.note_usage(settlement, &reply.usage);
                match judgement.verdict {
                    Verdict::Throttled { wait, limit } => {
                        self.throttle(settlement, limit, wait);
                    }
                    Verdict::Blocked { wait } => {
                        self.hold(settlement, CooldownReason::Blocked, wait);
                    }
                    // A probe that learnt nothing of the rates is dropped, and repeated.
                    Verdict::Transient { .. } => drop(ticket),
                    _ => {
                        if ticket.confirm() {
                            self.note_passed(settlement);
                        }
                    }
                }
                self.judged(settling, &reply, &judgement);
                judgement.verdict.as_str()
            }
            AttemptOutcome::Failed(error) => self.failed(settling, &error),
            AttemptOutcome::Abandoned => {
                self.close(settling, answer("abandoned", true));
                "abandoned"
            }
            AttemptOutcome::Withheld => {
                self.withheld(settling);
                "withheld"
            }
            AttemptOutcome::NotNoted(error) => {
                self.store_failed(&error);
                self.release(&settling.parts.into_all());
                "not_noted"
            }
        }
    }

    fn judged(&mut self, mut settling: Settling, reply: &GraphReply, judgement: &Judgement) {
        let verdict = judgement.verdict;
        let events = settling.parts.next().len();
        let seconds = settling.latency.as_secs_f64();
        self.metrics
            .delivery(&self.sync, verdict.as_str(), seconds, events);
        let refusal = self.refusal(judgement);
        settling.settlement.answer = Some(AttemptAnswer {
            verdict: verdict.as_str(),
            status: Some(reply.status),
            code: judgement.code,
            sub_code: judgement.sub_code,
            trace_id: refusal.trace_id.clone(),
            lost: judgement.may_be_taken,
        });
        if judgement.may_be_taken {
            self.doubt(&mut settling);
        }
        self.log_verdict(&settling, reply, judgement, &refusal);
        match verdict {
            Verdict::Delivered => self.accepted(settling, false),
            Verdict::ShortCount { .. } | Verdict::Uncounted => self.accepted(settling, true),
            Verdict::Transient { wait } => {
                let failure = if judgement.is_foreign {
                    TransientFailure::Foreign(reply.status)
                } else {
                    TransientFailure::Fault(reply.status)
                };
                self.try_again(settling, failure, wait, refusal);
            }
            Verdict::Throttled { wait, .. } => self.stand_still(settling, wait),
            Verdict::Blocked { .. } => self.stand_still(settling, Duration::MAX),
            Verdict::Paused(fix) => self.pause(settling, fix),
            Verdict::TooLarge => self.too_large(settling, refusal, judgement),
            Verdict::Invalid { hint } => self.refused(settling, hint, refusal, judgement.blame()),
            Verdict::Refused => self.refused(settling, None, refusal, judgement.blame()),
        }
    }

    /// Meta may have taken the events: they are not sent any more once it would not recognise them.
    fn doubt(&self, settling: &mut Settling) {
        let sent = self.clock.now().seconds() - settling.latency.as_secs().cast_signed();
        for event in settling.parts.next_mut() {
            event.deadline = event.deadline.min(sent + DOUBT_SECONDS);
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
        let failure = if error.is_lost() {
            self.doubt(&mut settling);
            TransientFailure::Lost
        } else {
            TransientFailure::Unreachable
        };
        let error: &dyn std::error::Error = error;
        warn!(sync = %self.sync, verdict, events, error, "no answer from Meta");
        settling.settlement.answer = Some(answer(verdict, verdict == "lost"));
        let now = Instant::now();
        self.fails(failure, settling.began, now, None);
        self.wait_after_failure(settling);
        verdict
    }

    /// The events were accepted.
    fn accepted(&mut self, settling: Settling, short: bool) {
        let Settling {
            mut settlement,
            parts,
            began,
            latency,
        } = settling;
        self.concurrency.on_success(latency);
        let whole = !parts.is_search();
        let (accepted, rest) = parts.accepted();
        self.note_mended(&mut settlement);
        let now = self.clock.now();
        for event in &accepted {
            let waited = now.since(event.taken_at).as_secs_f64();
            self.metrics.end_to_end(&self.sync, waited);
            settlement.ends.push((event.slot, End::Delivered { short }));
        }
        self.trust(accepted.len(), whole);
        self.clear(&mut settlement, &accepted, began);
        if self.standing.on_acceptance() {
            info!(sync = %self.sync, "Meta accepts events again");
        }
        if !self.quarantine.is_isolating() {
            settlement.release.extend(slots(&self.probing.take()));
        }
        self.go_on(&mut settlement, rest);
        self.settle(settlement);
    }

    /// What an acceptance says of a batch that failed before: while the lane is well it is the batch.
    fn trust(&mut self, accepted: usize, whole: bool) {
        if self.is_batch_suspected() && accepted == 1 {
            self.splits_left = SPLITS;
        } else if self.splits_left > 0 {
            self.splits_left = if whole && accepted > 1 { 0 } else { SPLITS };
        }
    }

    /// A fault that passes, as far as is known: the events are sent again after a wait.
    fn try_again(
        &mut self,
        settling: Settling,
        failure: TransientFailure,
        hint: Option<Duration>,
        refusal: Refusal,
    ) {
        let alone = match settling.parts.next() {
            [event] => Some(EventKey::new(event)),
            _ => None,
        };
        let is_well = self.standing.trouble().is_none();
        let is_tried = alone.is_some_and(|suspect| self.quarantine.is_retrying(suspect));
        let is_probe = alone.is_some() && self.is_batch_suspected();
        if is_well && is_tried {
            self.split_failed(settling, refusal);
            return;
        }
        if self.splits_left > 0 && (is_well || is_probe) {
            self.splits_left -= 1;
            self.split_failed(settling, refusal);
            return;
        }
        self.fails(failure, settling.began, Instant::now(), hint);
        if alone.is_some() && self.is_batch_suspected() && !self.quarantine.is_isolating() {
            if matches!(failure, TransientFailure::Foreign(_)) {
                // A filter may stop what strangers send: after the wait several are tried in a row.
                self.splits_left = SPLITS;
            }
            // Another one is tried next.
            self.split_failed(settling, refusal);
        } else {
            self.wait_after_failure(settling);
        }
    }

    /// Notes a failure that passes.
    fn fails(
        &mut self,
        failure: TransientFailure,
        began: Instant,
        now: Instant,
        hint: Option<Duration>,
    ) {
        let random = fastrand::f64();
        let wait = self.standing.on_failure(failure, began, now, random, hint);
        self.concurrency.on_failure();
        info!(sync = %self.sync, seconds = wait.as_secs_f64(), "{}; the lane tries again", failure.in_words());
    }

    fn wait_after_failure(&mut self, settling: Settling) {
        let wait = (self.standing.wait_until(Instant::now()))
            .map_or(Duration::ZERO, |next| next.duration_since(Instant::now()));
        let long = wait > KEPT_THROUGH || self.standing.failures() > KEPT_FAILURES;
        self.wait_with(settling, long);
    }

    /// Nothing goes out to the pixel for so long.
    fn stand_still(&mut self, settling: Settling, wait: Duration) {
        self.concurrency.reset();
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
        if parts.is_search() && !long && self.keeps_parts() {
            self.parts.push_front(parts);
        } else {
            self.give_back(&mut settlement, &parts.into_all());
        }
        self.settle(settlement);
    }

    /// Nothing can be delivered until someone puts something right.
    fn pause(&mut self, mut settling: Settling, fix: Fix) {
        self.note_pause(&mut settling.settlement, fix);
        self.standing.pause(fix, settling.began, Instant::now());
        self.concurrency.reset();
        self.wait_with(settling, true);
    }

    /// Closes the record of a request of which nothing more is known, and gives its events back.
    fn close(&mut self, settling: Settling, answer: AttemptAnswer) {
        let mut settlement = settling.settlement;
        settlement.answer = Some(answer);
        self.give_back(&mut settlement, &settling.parts.into_all());
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
    pub(super) fn go_on(&mut self, settlement: &mut Settlement, rest: Option<Bisection<Leased>>) {
        let Some(rest) = rest else { return };
        if self.keeps_parts() {
            self.parts.push_front(rest);
        } else {
            self.give_back(settlement, &rest.into_all());
        }
    }

    /// Whether the rest of a batch goes on, rather than single events.
    fn keeps_parts(&self) -> bool {
        !self.stop.is_cancelled() && !self.standing.is_refusing() && !self.quarantine.is_isolating()
    }

    /// Gives events back to the queue.
    fn give_back(&mut self, settlement: &mut Settlement, events: &[Leased]) {
        if !self.quarantine.is_empty() {
            for event in events {
                self.quarantine.mark_queued(EventKey::new(event));
            }
        }
        settlement.release.extend(slots(events));
    }

    /// Meta's answer shows that requests get through.
    pub(super) fn got_through(&mut self, settlement: &mut Settlement) {
        self.note_mended(settlement);
        if self.standing.on_answer() {
            info!(sync = %self.sync, "Meta answers again");
        }
    }

    /// Holds the pixel's gate.
    fn hold(&self, settlement: &mut Settlement, why: CooldownReason, wait: Option<Duration>) {
        let wait = self.pixel.open(why, wait);
        self.note_standstill(settlement, &self.pixel_id, why, wait);
    }

    /// Holds the gates of all pixels that a rate limit concerns.
    fn throttle(&self, settlement: &mut Settlement, limit: LimitOf, wait: Duration) {
        match limit {
            LimitOf::Pixel => self.hold(settlement, CooldownReason::Throttled, Some(wait)),
            LimitOf::Token => {
                for target in self.shared_token.targets() {
                    let wait = target.pixel.open(CooldownReason::Throttled, Some(wait));
                    let pixel_id = &target.pixel_id;
                    self.note_standstill(settlement, pixel_id, CooldownReason::Throttled, wait);
                }
            }
        }
    }

    fn note_usage(&self, settlement: &mut Settlement, usage: &RateUsage) {
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
        let was_open = *self.gate.borrow() == Circuit::Closed;
        let percent = usage.highest();
        if let Some(wait) = self.pixel.on_usage(percent, usage.regain) {
            self.note_standstill(settlement, &self.pixel_id, CooldownReason::Usage, wait);
            if was_open {
                warn!(
                    sync = %self.sync,
                    pixel_id = self.pixel_id,
                    percent,
                    "nearly all of Meta's rate limit is used up, nothing is sent for {} s",
                    wait.as_secs()
                );
            }
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
}

fn answer(verdict: &'static str, lost: bool) -> AttemptAnswer {
    AttemptAnswer {
        verdict,
        status: None,
        code: None,
        sub_code: None,
        trace_id: None,
        lost,
    }
}

pub(super) fn rejected(refused: Vec<(Leased, Refusal)>) -> Vec<(Slot, End)> {
    refused
        .into_iter()
        .map(|(event, refusal)| (event.slot, End::Rejected(refusal)))
        .collect()
}

pub(super) fn slots(events: &[Leased]) -> Vec<Slot> {
    events.iter().map(|event| event.slot).collect()
}
