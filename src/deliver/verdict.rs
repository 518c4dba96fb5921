//! What an answer means.
//!
//! Pure. Decided by error code and sub-code first, by the shape of the body next and by the HTTP
//! status last, since Meta's statuses are not reliable. Error texts are translated into the token
//! owner's language and decide nothing, but for one: "reduce the amount of data", whose code says
//! only "unknown". What is not clearly a success does not count as one.

use std::time::Duration;

use serde_json::{Map, Value};

use super::usage::Usage;

/// The wait after a rate limit where Meta names none.
pub const DEFAULT_THROTTLE: Duration = Duration::from_secs(60);

/// An answer, complete.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// What the headers say of rate limits.
    pub usage: Usage,
    /// The body.
    pub body: Vec<u8>,
}

/// What to do about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every event was counted.
    Delivered,
    /// Fewer events were counted than sent, but some.
    ShortCount {
        /// How many.
        received: u64,
    },
    /// A passing fault: try again, at the earliest after the wait that was asked for.
    Transient {
        /// `Retry-After`.
        wait: Option<Duration>,
    },
    /// A rate limit was reached: no call for so long.
    Throttled {
        /// The longest wait that was asked for.
        wait: Duration,
    },
    /// Blocked for a while, for policy reasons.
    Blocked {
        /// The longest wait that was asked for.
        wait: Option<Duration>,
    },
    /// No request can succeed until someone puts something right.
    Paused(Fix),
    /// The request was too large.
    TooLarge,
    /// At least one event is not acceptable, and so none was taken.
    Invalid {
        /// The event that Meta's text points at: a hint, not to be trusted.
        hint: Option<usize>,
    },
}

/// What must be put right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fix {
    /// The access token.
    Token,
    /// The app secret.
    AppSecret,
    /// The permissions of the token.
    Permission,
    /// The pixel id, or its assignment to the token's owner.
    Pixel,
    /// The Graph API version.
    Version,
}

/// A verdict, and what supports it.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// What to do.
    pub verdict: Verdict,
    /// Meta's error code.
    pub code: Option<i64>,
    /// Meta's error sub-code.
    pub sub_code: Option<i64>,
    /// Meta's trace id, as it was given.
    pub trace_id: Option<String>,
    /// Meta's words, as they were given: not fit to be stored or logged.
    pub text: Option<String>,
    /// A success came with messages.
    pub remarks: bool,
}

impl Verdict {
    /// The stable name used in metrics, logs and the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::ShortCount { .. } => "short_count",
            Self::Transient { .. } => "transient",
            Self::Throttled { .. } => "throttled",
            Self::Blocked { .. } => "blocked",
            Self::Paused(_) => "paused",
            Self::TooLarge => "too_large",
            Self::Invalid { .. } => "invalid",
        }
    }
}

impl Fix {
    const ALL: [Self; 5] = [
        Self::Token,
        Self::AppSecret,
        Self::Permission,
        Self::Pixel,
        Self::Version,
    ];

    /// Its name in the store.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::AppSecret => "app_secret",
            Self::Permission => "permission",
            Self::Pixel => "pixel",
            Self::Version => "version",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fix| fix.name() == name)
    }

    /// What is wrong, in words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "Meta does not accept the access token",
            Self::AppSecret => "Meta does not accept the app secret's proof",
            Self::Permission => "the access token lacks a permission",
            Self::Pixel => "Meta knows no such pixel id, or the access token may not use it",
            Self::Version => "Meta no longer serves this Graph API version",
        }
    }
}

/// Judges the answer to a request of `sent` events.
pub fn judge(reply: &Reply, sent: usize) -> Judgement {
    let body = serde_json::from_slice(&reply.body).unwrap_or(Value::Null);
    let error = body.get("error").filter(|error| !error.is_null());
    let judgement = Judgement {
        verdict: Verdict::Transient { wait: None },
        code: None,
        sub_code: None,
        trace_id: text_at(&body, "fbtrace_id"),
        text: None,
        remarks: false,
    };
    match error {
        Some(Value::Object(error)) => judge_error(reply, error, judgement),
        Some(error) => Judgement {
            verdict: by_status(reply, None),
            text: error.as_str().map(str::to_owned),
            ..judgement
        },
        None => Judgement {
            verdict: counted(reply, &body, sent).unwrap_or_else(|| by_status(reply, None)),
            remarks: body
                .get("messages")
                .and_then(Value::as_array)
                .is_some_and(|messages| !messages.is_empty()),
            ..judgement
        },
    }
}

/// Judges a body that claims to be a success.
fn counted(reply: &Reply, body: &Value, sent: usize) -> Option<Verdict> {
    if !(200..300).contains(&reply.status) {
        return None;
    }
    let received = body.get("events_received")?.as_u64()?;
    Some(match received {
        0 => Verdict::Transient {
            wait: reply.usage.retry_after,
        },
        received if received < sent as u64 => Verdict::ShortCount { received },
        _ => Verdict::Delivered,
    })
}

fn judge_error(reply: &Reply, error: &Map<String, Value>, judgement: Judgement) -> Judgement {
    let text = texts(error);
    let code = error.get("code").and_then(integer);
    let sub_code = error.get("error_subcode").and_then(integer);
    let hint = text.as_deref().and_then(index_hint);
    let known = code.and_then(|code| by_code(reply, error, code, sub_code, text.as_deref()));
    Judgement {
        verdict: match known.unwrap_or_else(|| by_status(reply, hint)) {
            Verdict::Invalid { .. } => Verdict::Invalid { hint },
            verdict => verdict,
        },
        code,
        sub_code,
        trace_id: error
            .get("fbtrace_id")
            .and_then(Value::as_str)
            .map_or(judgement.trace_id, |id| Some(id.to_owned())),
        text,
        remarks: false,
    }
}

/// Judges a known code; `None` for any other.
fn by_code(
    reply: &Reply,
    error: &Map<String, Value>,
    code: i64,
    sub_code: Option<i64>,
    text: Option<&str>,
) -> Option<Verdict> {
    let wait = reply.usage.wait();
    let is_transient = error.get("is_transient").and_then(Value::as_bool) == Some(true);
    let transient = Verdict::Transient {
        wait: reply.usage.retry_after,
    };
    Some(match (code, sub_code) {
        // Before `is_transient`, which is given inconsistently with these.
        (4 | 17 | 32 | 341 | 613 | 80_000..=80_014, _) => Verdict::Throttled {
            wait: wait.unwrap_or(DEFAULT_THROTTLE),
        },
        (368, _) => Verdict::Blocked { wait },
        (102 | 190, _) => Verdict::Paused(Fix::Token),
        (104, _) => Verdict::Paused(Fix::AppSecret),
        (3 | 10 | 200..=299, _) => Verdict::Paused(Fix::Permission),
        (803, _) | (100, Some(33 | 34)) => Verdict::Paused(Fix::Pixel),
        (2635, _) => Verdict::Paused(Fix::Version),
        (1, _) if reply.status == 413 || text.is_some_and(asks_for_less) => Verdict::TooLarge,
        (1 | 2 | 5000 | ..=-1, _) => transient,
        _ if is_transient => transient,
        // Meta's type for an object that does not exist or may not be used.
        (100, None)
            if error
                .get("type")
                .is_some_and(|kind| kind == "GraphMethodException") =>
        {
            Verdict::Paused(Fix::Pixel)
        }
        (100 | 105, _) => Verdict::Invalid { hint: None },
        _ => return None,
    })
}

/// Judges what has no known code.
fn by_status(reply: &Reply, hint: Option<usize>) -> Verdict {
    match reply.status {
        401 => Verdict::Paused(Fix::Token),
        403 => Verdict::Paused(Fix::Permission),
        404 => Verdict::Paused(Fix::Pixel),
        413 => Verdict::TooLarge,
        429 => Verdict::Throttled {
            wait: reply.usage.wait().unwrap_or(DEFAULT_THROTTLE),
        },
        400..=499 if reply.status != 408 => Verdict::Invalid { hint },
        _ => Verdict::Transient {
            wait: reply.usage.retry_after,
        },
    }
}

fn asks_for_less(text: &str) -> bool {
    text.to_ascii_lowercase()
        .contains("reduce the amount of data")
}

/// Joins what Meta says, for a person.
fn texts(error: &Map<String, Value>) -> Option<String> {
    let mut texts: Vec<&str> = Vec::new();
    for name in ["message", "error_user_title", "error_user_msg"] {
        if let Some(text) = error.get(name).and_then(Value::as_str)
            && !text.is_empty()
            && !texts.contains(&text)
        {
            texts.push(text);
        }
    }
    (!texts.is_empty()).then(|| texts.join(": "))
}

/// Finds the index in a path such as `$['data'][3]['custom_data']`.
fn index_hint(text: &str) -> Option<usize> {
    let (_, after) = ["['data'][", "[\"data\"]["]
        .into_iter()
        .find_map(|path| text.split_once(path))?;
    let (digits, _) = after.split_once(']')?;
    digits.parse().ok()
}

fn integer(value: &Value) -> Option<i64> {
    value
        .as_i64()
        .or_else(|| value.as_str()?.trim().parse().ok())
}

fn text_at(body: &Value, name: &str) -> Option<String> {
    body.get(name)?.as_str().map(str::to_owned)
}

#[cfg(test)]
#[path = "verdict/tests.rs"]
mod tests;
