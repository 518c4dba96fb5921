//! What a sender is told.
//!
//! Taken, also where every event was filtered, a duplicate or set aside, since Amplitude repeats
//! anything else for hours:
//!
//! ```json
//! {"events":3,"queued":2,"duplicate":0,"filtered":1,"invalid":0,"reasons":{"not_selected":1}}
//! ```
//!
//! `events` counts what came in, the others count what became of it for each sync that takes events:
//! with two syncs they add up to twice as much. `reasons` says why events were filtered or invalid.
//!
//! Not taken: `{"error":"queue_full","message":"…"}`, a stable code and a sentence.

use std::fmt::Write as _;

use axum::http::StatusCode;
use axum::http::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER,
    WWW_AUTHENTICATE,
};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use thiserror::Error;

use crate::config::SyncName;
use crate::http::body::BodyError;
use crate::json::split::NotJson;
use crate::outcome::Reason;
use crate::queue::{PushError, Pushed};

/// What became of the events of one request.
#[derive(Debug, Default)]
pub struct IngestSummary {
    events: u64,
    pushed: Pushed,
    reasons: Vec<(Reason, u64)>,
}

/// Why a request was not taken.
#[derive(Debug, Error)]
pub enum RequestRefusal {
    /// Not JSON, or no object and no array.
    #[error(transparent)]
    NotJson(#[from] NotJson),
    /// The body could not be read.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// No secret or a wrong one.
    #[error("the secret is missing or wrong")]
    Unauthorized,
    /// A sync that the configuration does not name.
    #[error("there is no sync of this name")]
    UnknownSync,
    /// A path that nothing answers.
    #[error("there is nothing at this path")]
    NotFound,
    /// A path that answers other methods; they are in `Allow`.
    #[error("this path does not answer this method")]
    MethodNotAllowed,
    /// A sync has used up its part of the store.
    #[error("the queue of sync {0} is full; send this again later")]
    QueueFull(SyncName),
    /// Too little disk is free.
    #[error("the disk is nearly full; send this again later")]
    DiskLow,
    /// The store cannot write.
    #[error("the store cannot write; send this again later")]
    StorageFailed,
    /// The daemon is stopping.
    #[error("the service is stopping; send this again")]
    Stopping,
}

impl IngestSummary {
    /// Counts an event that came in.
    pub fn received(&mut self, events: u64) {
        self.events += events;
    }

    /// Counts events that ended for a sync before they were queued.
    pub fn ended(&mut self, reason: Reason) {
        match self.reasons.iter_mut().find(|(seen, _)| *seen == reason) {
            Some((_, count)) => *count += 1,
            None => self.reasons.push((reason, 1)),
        }
    }

    /// How many ended for this reason.
    pub fn count(&self, reason: Reason) -> u64 {
        let found = self.reasons.iter().find(|(seen, _)| *seen == reason);
        found.map_or(0, |(_, count)| *count)
    }

    /// Adds what was stored.
    pub fn stored(&mut self, pushed: Pushed) {
        self.pushed.queued += pushed.queued;
        self.pushed.duplicates += pushed.duplicates;
        self.pushed.filtered += pushed.filtered;
        self.pushed.invalid += pushed.invalid;
    }
}

impl IntoResponse for IngestSummary {
    fn into_response(self) -> Response {
        let Self {
            events,
            pushed,
            reasons,
        } = self;
        let mut body = String::with_capacity(128);
        // Writing to a string cannot fail, and all names are plain words.
        write!(
            body,
            r#"{{"events":{events},"queued":{},"duplicate":{},"filtered":{},"invalid":{},"reasons":{{"#,
            pushed.queued, pushed.duplicates, pushed.filtered, pushed.invalid,
        )
        .expect("a string takes any text");
        for (position, (reason, count)) in reasons.iter().enumerate() {
            let comma = if position == 0 { "" } else { "," };
            write!(body, r#"{comma}"{reason}":{count}"#).expect("a string takes any text");
        }
        body.push_str("}}\n");
        json_response(StatusCode::OK, body)
    }
}

impl RequestRefusal {
    /// The stable code, for the reply and for metrics.
    pub const fn code(&self) -> &'static str {
        self.parts().1
    }

    const fn parts(&self) -> (StatusCode, &'static str, Extra) {
        match self {
            Self::NotJson(_) => (StatusCode::BAD_REQUEST, "not_json", Extra::None),
            Self::Body(BodyError::TooLarge { .. }) => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "body_too_large",
                Extra::Close,
            ),
            Self::Body(BodyError::TooSlow) => {
                (StatusCode::REQUEST_TIMEOUT, "body_too_slow", Extra::Close)
            }
            Self::Body(BodyError::Incomplete) => {
                (StatusCode::BAD_REQUEST, "body_incomplete", Extra::Close)
            }
            Self::Body(BodyError::Busy) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                Extra::RetryAfter("1"),
            ),
            Self::Body(BodyError::UnknownEncoding) => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unknown_encoding",
                Extra::Encodings,
            ),
            Self::Body(BodyError::BrokenGzip) => {
                (StatusCode::BAD_REQUEST, "broken_gzip", Extra::None)
            }
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "unauthorized", Extra::Challenge),
            Self::UnknownSync => (StatusCode::NOT_FOUND, "unknown_sync", Extra::None),
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found", Extra::None),
            Self::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                Extra::None,
            ),
            Self::QueueFull(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "queue_full",
                Extra::RetryAfter("60"),
            ),
            Self::DiskLow => (
                StatusCode::SERVICE_UNAVAILABLE,
                "disk_low",
                Extra::RetryAfter("60"),
            ),
            Self::StorageFailed => (
                StatusCode::SERVICE_UNAVAILABLE,
                "storage_failed",
                Extra::RetryAfter("10"),
            ),
            Self::Stopping => (
                StatusCode::SERVICE_UNAVAILABLE,
                "stopping",
                Extra::RetryAfter("5"),
            ),
        }
    }
}

/// A header that a refusal carries.
#[derive(Clone, Copy)]
enum Extra {
    None,
    Close,
    Challenge,
    Encodings,
    RetryAfter(&'static str),
}

impl Extra {
    const fn header(self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::None => None,
            Self::Close => Some((CONNECTION, HeaderValue::from_static("close"))),
            Self::Challenge => Some((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
            Self::Encodings => Some((
                ACCEPT_ENCODING,
                HeaderValue::from_static("gzip, deflate, identity"),
            )),
            Self::RetryAfter(seconds) => Some((RETRY_AFTER, HeaderValue::from_static(seconds))),
        }
    }
}

impl From<PushError> for RequestRefusal {
    fn from(error: PushError) -> Self {
        match error {
            PushError::Full { sync, .. } => Self::QueueFull(sync),
            PushError::DiskLow => Self::DiskLow,
            PushError::Storage(_) => Self::StorageFailed,
            PushError::Closed => Self::Stopping,
        }
    }
}

impl IntoResponse for RequestRefusal {
    fn into_response(self) -> Response {
        let (status, code, extra) = self.parts();
        let body = json!({ "error": code, "message": self.to_string() });
        let mut response = json_response(status, format!("{body}\n"));
        if let Some((name, value)) = extra.header() {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// Answers with JSON text.
pub fn json_response(status: StatusCode, body: String) -> Response {
    let mut response = (status, body).into_response();
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::body::to_bytes;

    use super::*;
    use crate::queue::engine::EngineError;

    async fn shown(response: Response) -> String {
        let status = response.status().as_u16();
        let extra: Vec<String> = response
            .headers()
            .iter()
            .filter(|(name, _)| **name != CONTENT_TYPE)
            .map(|(name, value)| format!(" {name}={}", value.to_str().unwrap()))
            .collect();
        assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
        let body = to_bytes(response.into_body(), 10_000).await.unwrap();
        let body = std::str::from_utf8(&body).unwrap();
        assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
        format!("{status}{} {}", extra.concat(), body.trim_end())
    }

    #[tokio::test]
    async fn tells_what_became_of_each_event() {
        let mut tally = IngestSummary::default();
        insta::assert_snapshot!(
            shown(IngestSummary::default().into_response()).await,
            @r#"200 {"events":0,"queued":0,"duplicate":0,"filtered":0,"invalid":0,"reasons":{}}"#
        );
        tally.received(5);
        for reason in [Reason::NotSelected, Reason::TooOld, Reason::NotSelected] {
            tally.ended(reason);
        }
        for _ in 0..2 {
            tally.stored(Pushed {
                queued: 1,
                duplicates: 1,
                filtered: 1,
                invalid: 0,
            });
        }
        insta::assert_snapshot!(
            shown(tally.into_response()).await,
            @r#"200 {"events":5,"queued":2,"duplicate":2,"filtered":2,"invalid":0,"reasons":{"not_selected":2,"too_old":1}}"#
        );
    }

    #[tokio::test]
    async fn tells_why_a_request_was_not_taken() {
        let mut table = String::new();
        for refusal in [
            NotJson::GroupedNumber.into(),
            NotJson::UnexpectedByte(7).into(),
            BodyError::TooLarge { max_body: 2 }.into(),
            BodyError::TooSlow.into(),
            BodyError::Incomplete.into(),
            BodyError::Busy.into(),
            BodyError::UnknownEncoding.into(),
            BodyError::BrokenGzip.into(),
            RequestRefusal::Unauthorized,
            RequestRefusal::UnknownSync,
            RequestRefusal::NotFound,
            RequestRefusal::MethodNotAllowed,
            PushError::Full {
                sync: SyncName::new("web").unwrap(),
                pushed: Pushed::default(),
                left: [].into(),
            }
            .into(),
            PushError::DiskLow.into(),
            PushError::Storage(EngineError::Unavailable(Arc::new(std::io::Error::other(
                "full",
            ))))
            .into(),
            PushError::Closed.into(),
        ] {
            let refusal: RequestRefusal = refusal;
            table.push_str(&shown(refusal.into_response()).await);
            table.push('\n');
        }
        insta::assert_snapshot!(table);
    }
}
