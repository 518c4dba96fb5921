//! What an answer means.
//!
//! Pure. Error code and sub-code decide first, then the shape of the body (`body`), and the HTTP status
//! last, since Meta's statuses are not reliable. Meta translates error texts into the language of the
//! token's owner, so they decide only where the code says "unknown" or "parameter" and Graph's words are
//! English. An event is at fault only if Graph says so. What is not clearly a success does not count as one.

use std::time::Duration;

use memchr::memmem;
use serde_json::{Map, Value};

use crate::words::words;

use super::redact::Redactor;
use super::usage::{RateUsage, number};
use body::{GraphError, ReplyBody, plain, text_at};

mod body;

/// The wait after a rate limit where Meta names none.
const DEFAULT_THROTTLE: Duration = Duration::from_secs(60);

/// A complete answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GraphReply {
    pub status: u16,
    pub usage: RateUsage,
    pub body: Vec<u8>,
}

/// What to do about a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// Every event was counted.
    Delivered,
    /// Fewer events were counted than sent, but some.
    ShortCount { received: u64 },
    /// Graph accepts the events, but does not say how many it counted. It would say no more if they were
    /// repeated.
    Uncounted,
    /// A passing fault: try again, not before the wait that Meta asks for.
    Transient {
        /// `Retry-After`.
        wait: Option<Duration>,
    },
    /// There is no complete answer: try again.
    Unanswered {
        /// Meta may have taken the events.
        is_lost: bool,
    },
    /// A rate limit was reached: no request for a while.
    Throttled {
        /// The longest wait that Meta asks for.
        wait: Duration,
        /// Whose limit it is.
        limit: LimitOf,
    },
    /// Blocked for a while, for policy reasons.
    Blocked {
        /// The longest wait that Meta asks for.
        wait: Option<Duration>,
    },
    /// No request can succeed until someone fixes something.
    Paused(Fix),
    /// The request was too large.
    TooLarge,
    /// Graph does not accept an event.
    Invalid {
        /// The event that Meta's text points at: a hint, not to be trusted.
        hint: Option<usize>,
    },
    /// The request was refused, and nothing shows that an event is the cause.
    #[default]
    Refused,
}

/// Whose rate limit was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitOf {
    /// The pixel's account.
    Pixel,
    /// The app or the user behind the access token, whatever the pixel.
    Token,
}

/// Whose fault it is that an event was refused alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The event's: Graph says so.
    Event,
    /// Unknown: it is the event's if Meta accepts another.
    Unknown,
    /// Nothing shows that it is the event's: what answered is not Graph, or its fault passes.
    Passing,
}

words! {
    /// What someone must fix, with its name in the store.
    pub enum Fix with pub in_words: &'static str {
        Token = "token" => "Meta does not accept the access token",
        AppSecret = "app_secret" =>
            "Meta does not accept the app secret's proof, or asks for one (app_secret)",
        /// The permissions of the token.
        Permission = "permission" => "the access token lacks a permission",
        /// The pixel id, or its assignment to the token's owner.
        Pixel = "pixel" => "Meta knows no such pixel id, or the access token may not use it",
        /// The app secret, or the pixel id: Meta's code is the same for both.
        AppSecretOrPixel = "app_secret_or_pixel" =>
            "Meta does not accept the app secret's proof (app_secret), or knows no such pixel id, \
             or the access token may not use it",
        Version = "version" =>
            "Meta does not know, or no longer serves, this Graph API version (meta.api_version)",
    }
}

/// A verdict, and what supports it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judgement {
    pub verdict: Verdict,
    /// The HTTP status, if there was an answer.
    pub status: Option<u16>,
    pub code: Option<i64>,
    pub sub_code: Option<i64>,
    /// Meta's trace id. Like the texts, it must be `redacted` before it is stored or logged.
    pub trace_id: Option<String>,
    /// What Meta says about an error.
    pub text: Option<String>,
    /// What Meta remarks on a success.
    pub remarks: Option<String>,
    /// Meta may have taken some of the events nevertheless.
    pub may_be_taken: bool,
    /// What answered is not Graph.
    pub is_foreign: bool,
}

impl Verdict {
    /// The stable name used in metrics, logs and the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::ShortCount { .. } => "short_count",
            Self::Uncounted => "uncounted",
            Self::Transient { .. } => "transient",
            Self::Unanswered { is_lost: true } => "lost",
            Self::Unanswered { is_lost: false } => "unreachable",
            Self::Throttled { .. } => "throttled",
            Self::Blocked { .. } => "blocked",
            Self::Paused(_) => "paused",
            Self::TooLarge => "too_large",
            Self::Invalid { .. } => "invalid",
            Self::Refused => "refused",
        }
    }
}

impl Judgement {
    /// Judges a request without a complete answer. `is_lost`: Meta may have taken the events.
    pub fn unanswered(is_lost: bool) -> Self {
        Self {
            verdict: Verdict::Unanswered { is_lost },
            may_be_taken: is_lost,
            ..Self::default()
        }
    }

    /// Makes Meta's words fit to be stored and logged.
    #[must_use]
    pub fn redacted(self, redactor: &Redactor) -> Self {
        Self {
            trace_id: self.trace_id.and_then(|id| redactor.identifier(&id)),
            text: self.text.map(|text| redactor.text(&text)),
            remarks: self.remarks.map(|remarks| redactor.text(&remarks)),
            ..self
        }
    }

    /// Whose fault it is if the request held one event.
    pub const fn blame(&self) -> Blame {
        match self.verdict {
            Verdict::Invalid { .. } => Blame::Event,
            // Graph says that the event is too large; a proxy may have another limit.
            Verdict::TooLarge if !self.is_foreign => Blame::Event,
            Verdict::TooLarge | Verdict::Refused => Blame::Unknown,
            _ => Blame::Passing,
        }
    }
}

/// Judges the answer to a request of `sent` events. `proves`: the request carried an app secret's proof.
pub fn judge(reply: &GraphReply, sent: usize, proves: bool) -> Judgement {
    let transient = transient(reply);
    let judgement = Judgement {
        verdict: transient,
        status: Some(reply.status),
        ..Judgement::default()
    };
    let is_success = (200..300).contains(&reply.status);
    match ReplyBody::read(&reply.body, reply.status) {
        ReplyBody::Error(error) => {
            let verdict = by_code(reply, &error, proves)
                .or_else(|| by_status(reply))
                .unwrap_or(match reply.status {
                    400..=499 if reply.status != 408 => Verdict::Refused,
                    _ => transient,
                });
            Judgement {
                verdict,
                code: error.code,
                sub_code: error.sub_code,
                trace_id: error.trace_id,
                text: error.text,
                // Reports differ on what happens to the good events of a refused request.
                may_be_taken: sent > 1
                    && matches!(verdict, Verdict::Invalid { .. } | Verdict::Refused),
                ..judgement
            }
        }
        ReplyBody::Object(body) if is_success => {
            let counted = counted(reply, &body, sent);
            Judgement {
                verdict: counted.unwrap_or(transient),
                // It looks like a success, but not like Graph's.
                may_be_taken: counted.is_none(),
                is_foreign: counted.is_none(),
                trace_id: text_at(&body, "fbtrace_id"),
                remarks: remarks(&body),
                ..judgement
            }
        }
        // A proxy's status counts only if it is about size or rate.
        body => Judgement {
            verdict: by_status(reply)
                .filter(|_| body == ReplyBody::Empty || matches!(reply.status, 413 | 429))
                .unwrap_or(transient),
            may_be_taken: is_success && memmem::find(&reply.body, b"\"events_received\"").is_some(),
            is_foreign: true,
            ..judgement
        },
    }
}

/// Judges a body without an error; `None` where it is not Graph's.
fn counted(reply: &GraphReply, body: &Map<String, Value>, sent: usize) -> Option<Verdict> {
    let Some(received) = body.get("events_received").and_then(count) else {
        let is_graphs = body.contains_key("events_received")
            || body.get("messages").is_some_and(Value::is_array)
            || body.get("fbtrace_id").is_some_and(Value::is_string);
        return is_graphs.then_some(Verdict::Uncounted);
    };
    Some(match received {
        0 => transient(reply),
        received if received < sent as u64 => Verdict::ShortCount { received },
        _ => Verdict::Delivered,
    })
}

/// Remarks on a success.
fn remarks(body: &Map<String, Value>) -> Option<String> {
    let messages = body.get("messages")?.as_array()?.iter();
    let texts = messages.map(|message| plain(message.get("message").unwrap_or(message)));
    let texts: Vec<String> = texts.collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}

/// Judges a known code, and an error about an event; `None` for anything else.
fn by_code(reply: &GraphReply, error: &GraphError, proves: bool) -> Option<Verdict> {
    let says = |words: &str| {
        let message = error.message.as_deref().unwrap_or_default();
        message.to_ascii_lowercase().contains(words)
    };
    Some(match (error.code?, error.sub_code) {
        // Before `is_transient`, which Meta does not set consistently with these.
        (4 | 17 | 341, _) => throttled(reply, LimitOf::Token),
        (32 | 613 | 80_000..=80_014, _) => throttled(reply, LimitOf::Pixel),
        (368, _) => Verdict::Blocked {
            wait: reply.usage.wait(),
        },
        (101 | 102 | 190, _) => Verdict::Paused(Fix::Token),
        (104, _) => Verdict::Paused(Fix::AppSecret),
        (3 | 5 | 10 | 200..=299, _) => Verdict::Paused(Fix::Permission),
        (803, _) | (100, Some(33 | 34)) => Verdict::Paused(Fix::Pixel),
        (12 | 2500 | 2635, _) => Verdict::Paused(Fix::Version),
        (1, _) if reply.status == 413 || says("reduce the amount of data") => Verdict::TooLarge,
        (1 | 2 | 5000 | ..=-1, _) => transient(reply),
        _ if error.is_transient => transient(reply),
        _ if error.is_of_event() => Verdict::Invalid { hint: error.hint },
        // Meta's type for an object that does not exist or may not be used, and for a proof that is
        // wrong or missing. Its text repeats nothing of an event.
        (100, None) if error.kind.as_deref() == Some("GraphMethodException") => {
            Verdict::Paused(match (says("appsecret_proof"), proves) {
                (true, _) => Fix::AppSecret,
                (false, true) => Fix::AppSecretOrPixel,
                (false, false) => Fix::Pixel,
            })
        }
        (100, None) if is_missing_permission(error.message.as_deref()) => {
            Verdict::Paused(Fix::Permission)
        }
        (100 | 105, _) => by_status(reply).unwrap_or(Verdict::Refused),
        _ => return None,
    })
}

/// Judges by the status alone.
fn by_status(reply: &GraphReply) -> Option<Verdict> {
    Some(match reply.status {
        401 => Verdict::Paused(Fix::Token),
        403 => Verdict::Paused(Fix::Permission),
        404 => Verdict::Paused(Fix::Pixel),
        413 => Verdict::TooLarge,
        429 => throttled(reply, LimitOf::Pixel),
        _ => return None,
    })
}

fn transient(reply: &GraphReply) -> Verdict {
    let wait = reply.usage.retry_after;
    Verdict::Transient { wait }
}

fn throttled(reply: &GraphReply, limit: LimitOf) -> Verdict {
    let wait = reply.usage.wait().unwrap_or(DEFAULT_THROTTLE);
    Verdict::Throttled { wait, limit }
}

/// Compares the whole message: one that repeats an event's name must not pause a lane.
fn is_missing_permission(message: Option<&str>) -> bool {
    let message = message.unwrap_or_default().trim();
    let message = message.strip_prefix("(#100)").unwrap_or(message).trim();
    let words = message.trim_end_matches('.').to_ascii_lowercase();
    matches!(words.as_str(), "missing permission" | "missing permissions")
}

/// A count of events: a whole number, or one in a text.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the number is whole, positive and small enough to be exact"
)]
fn count(value: &Value) -> Option<u64> {
    let is_count = |number: &f64| number.fract() == 0.0 && *number < 1e15;
    number(value).filter(is_count).map(|number| number as u64)
}

#[cfg(test)]
#[path = "verdict/tests.rs"]
mod tests;
