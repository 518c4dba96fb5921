//! What a lane logs of an answer.

use std::time::Duration;

use tracing::{debug, error, info, warn};

use crate::deliver::verdict::{GraphReply, Judgement, LimitOf, Verdict};
use crate::queue::settle::Refusal;

use super::Lane;
use super::breaker::LaneTrouble;
use super::outcome::Settling;

impl Lane {
    /// Logs what was judged, before anything is done about it.
    pub(super) fn log_verdict(
        &mut self,
        settling: &Settling,
        reply: &GraphReply,
        judgement: &Judgement,
        refusal: &Refusal,
    ) {
        self.log_remarks(judgement);
        let events = settling.parts.next().len();
        let milliseconds = in_milliseconds(settling.latency);
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
                    meta_message = refusal.message,
                    events,
                    milliseconds,
                    $($what)+
                )
            };
        }
        match judgement.verdict {
            Verdict::Delivered => {
                debug!(sync = %self.sync, events, milliseconds, trace_id, "delivered");
            }
            Verdict::ShortCount { received } => {
                warn!(sync = %self.sync, events, received, trace_id, "Meta counted fewer events than were sent");
            }
            Verdict::Uncounted => {
                warn!(sync = %self.sync, events, trace_id, "Meta took events without saying how many");
            }
            // A step of a search: the event that is found is told of.
            Verdict::Invalid { .. } | Verdict::Refused => not_taken!(debug, "Meta refuses a batch"),
            Verdict::Paused(fix) if self.standing.trouble() == Some(LaneTrouble::Fix(fix)) => {
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
            Verdict::Throttled { wait, limit } => not_taken!(
                warn,
                "Meta's rate limit is reached, nothing is sent {} for {} s",
                match limit {
                    LimitOf::Pixel => "to the pixel",
                    LimitOf::Token => "with the access token",
                },
                wait.as_secs()
            ),
            Verdict::Transient { .. } | Verdict::TooLarge => {
                not_taken!(warn, "Meta did not take a batch");
            }
        }
    }

    /// Logs what Meta says beside a success, once.
    fn log_remarks(&mut self, judgement: &Judgement) {
        let Some(remarks) = &judgement.remarks else {
            return;
        };
        let meta_message = self.redactor.text(remarks);
        if self.remarked.as_ref() != Some(&meta_message) {
            info!(sync = %self.sync, meta_message, "Meta takes events and remarks on them");
            self.remarked = Some(meta_message);
        }
    }
}

/// As a number that every reader of JSON knows.
pub(super) fn in_milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
