//! What a lane logs about an answer.

use std::error::Error;
use std::time::Duration;

use tracing::{debug, error, info, warn};

use crate::config::SyncName;
use crate::deliver::quarantine::LoneRefusal;
use crate::deliver::transport::PostError;
use crate::deliver::verdict::{Blame, Fix, Judgement, LimitOf, Verdict};

use super::attempt::Attempt;

/// Logs an answer, before the lane acts on it.
pub(super) fn log_answer(
    sync: &SyncName,
    judgement: &Judgement,
    attempt: &Attempt,
    error: Option<&PostError>,
    present_fix: Option<Fix>,
) {
    let events = attempt.batch.next().len();
    // As a number that every reader of JSON knows.
    let milliseconds = u64::try_from(attempt.latency.as_millis()).unwrap_or(u64::MAX);
    let trace_id = judgement.trace_id.as_deref();
    macro_rules! not_accepted {
        ($level:ident, $($what:tt)+) => {
            $level!(
                sync = %sync,
                verdict = judgement.verdict.as_str(),
                status = judgement.status,
                code = judgement.code,
                sub_code = judgement.sub_code,
                trace_id,
                meta_message = judgement.text,
                events,
                milliseconds,
                $($what)+
            )
        };
    }
    match judgement.verdict {
        Verdict::Delivered => {
            debug!(sync = %sync, events, milliseconds, trace_id, "delivered");
        }
        Verdict::ShortCount { received } => {
            warn!(sync = %sync, events, received, trace_id, "Meta counted fewer events than were sent");
        }
        Verdict::Uncounted => {
            warn!(sync = %sync, events, trace_id, "Meta accepts events without saying how many");
        }
        Verdict::Unanswered { .. } => {
            let verdict = judgement.verdict.as_str();
            let error = error.map(|error| -> &(dyn Error + 'static) { error });
            warn!(sync = %sync, verdict, events, error, "no answer from Meta");
        }
        // A step of a search: the event that it finds is logged.
        Verdict::Invalid { .. } | Verdict::Refused => {
            not_accepted!(debug, "Meta refuses a batch");
        }
        Verdict::Paused(fix) if present_fix == Some(fix) => {
            let what = fix.in_words();
            not_accepted!(debug, "the lane stays paused: {what}");
        }
        Verdict::Paused(fix) => {
            let what = fix.in_words();
            not_accepted!(error, "lane paused, its events are kept: {what}");
        }
        Verdict::Blocked { .. } => {
            not_accepted!(
                error,
                "Meta has blocked the account for a while, its events are kept"
            );
        }
        Verdict::Throttled { wait, limit } => {
            let seconds = |wait: Duration| wait.as_secs_f64().round();
            let pixel = seconds(attempt.permit.limiter.at_least(wait));
            let others = match limit {
                LimitOf::Pixel => String::new(),
                LimitOf::Token => {
                    format!(
                        ", nor to others with its access token for {} s",
                        seconds(wait)
                    )
                }
            };
            not_accepted!(
                warn,
                "Meta's rate limit is reached, nothing is sent to the pixel for {pixel} s{others}"
            );
        }
        Verdict::Transient { .. } | Verdict::TooLarge => {
            not_accepted!(warn, "Meta did not accept a batch");
        }
    }
}

/// Logs Meta's remarks on a success, unless they are the same as last time.
pub(super) fn log_remarks(sync: &SyncName, remarks: Option<String>, last: &mut Option<String>) {
    if remarks.is_some() && *last != remarks {
        info!(sync = %sync, meta_message = remarks, "Meta accepts events and remarks on them");
        *last = remarks;
    }
}

/// Logs an event that was refused alone, or failed alone again and again.
pub(super) fn log_lone_refusal(sync: &SyncName, refused: &LoneRefusal) {
    let refusal = &refused.refusal;
    warn!(
        sync = %sync,
        reason = refusal.reason.as_str(),
        code = refusal.code,
        sub_code = refusal.sub_code,
        trace_id = refusal.trace_id,
        meta_message = refusal.message,
        "{}",
        match refused.blame {
            Blame::Event => "Meta refuses an event",
            Blame::Unknown =>
                "Meta refuses an event, perhaps for another reason than the event: it is kept, and others are tried",
            Blame::Passing => "an event fails again and again: it is kept, and others go first",
        }
    );
}
