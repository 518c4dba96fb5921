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
use axum::response::{IntoResponse, Response};
use thiserror::Error;

use crate::config::SyncName;
use crate::http::body::BodyError;
use crate::http::reply::{ErrorReply, HttpError, json_response};
use crate::json::split::NotJson;
use crate::outcome::Reason;
use crate::queue::{PushError, Pushed, StoreError};

/// What became of the events of one request.
#[derive(Debug, Default)]
pub(super) struct IngestSummary {
    events: u64,
    pushed: Pushed,
    reasons: Vec<(Reason, u64)>,
}

/// Why a request was not taken.
#[derive(Debug, Error)]
pub(super) enum RequestRefusal {
    /// Not JSON, or no object and no array.
    #[error(transparent)]
    NotJson(#[from] NotJson),
    /// What any listener refuses.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// A sync that the configuration does not name.
    #[error("there is no sync of this name")]
    UnknownSync,
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
    pub(super) fn received(&mut self, events: u64) {
        self.events += events;
    }

    /// Counts an event that ended for a sync before it was queued; gives how many have ended for this reason.
    pub(super) fn ended(&mut self, reason: Reason) -> u64 {
        if let Some((_, count)) = self.reasons.iter_mut().find(|(seen, _)| *seen == reason) {
            *count += 1;
            return *count;
        }
        self.reasons.push((reason, 1));
        1
    }

    /// How many were queued, or had been before.
    pub(super) const fn taken(&self) -> u64 {
        self.pushed.queued + self.pushed.duplicates
    }

    /// How many ended for this reason.
    pub(super) fn count(&self, reason: Reason) -> u64 {
        let found = self.reasons.iter().find(|(seen, _)| *seen == reason);
        found.map_or(0, |(_, count)| *count)
    }

    /// Adds what was stored.
    pub(super) fn stored(&mut self, pushed: Pushed) {
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
    pub(super) const fn code(&self) -> &'static str {
        self.reply().code
    }

    const fn reply(&self) -> ErrorReply {
        match self {
            Self::NotJson(_) => ErrorReply::new(StatusCode::BAD_REQUEST, "not_json"),
            Self::Http(error) => error.reply(),
            Self::UnknownSync => ErrorReply::new(StatusCode::NOT_FOUND, "unknown_sync"),
            Self::QueueFull(_) => ErrorReply::retry_after("60", "queue_full"),
            Self::DiskLow => ErrorReply::retry_after("60", "disk_low"),
            Self::StorageFailed => ErrorReply::retry_after("10", "storage_failed"),
            Self::Stopping => ErrorReply::retry_after("5", "stopping"),
        }
    }
}

impl From<BodyError> for RequestRefusal {
    fn from(error: BodyError) -> Self {
        Self::Http(error.into())
    }
}

impl From<PushError> for RequestRefusal {
    fn from(error: PushError) -> Self {
        match error {
            PushError::Full { sync, .. } => Self::QueueFull(sync),
            PushError::DiskLow => Self::DiskLow,
            PushError::Store(StoreError::Storage(_)) => Self::StorageFailed,
            PushError::Store(StoreError::Closed) => Self::Stopping,
        }
    }
}

impl IntoResponse for RequestRefusal {
    fn into_response(self) -> Response {
        self.reply().with_message(&self)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::body::to_bytes;
    use axum::http::header::CONTENT_TYPE;

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
        let mut summary = IngestSummary::default();
        insta::assert_snapshot!(
            shown(IngestSummary::default().into_response()).await,
            @r#"200 {"events":0,"queued":0,"duplicate":0,"filtered":0,"invalid":0,"reasons":{}}"#
        );
        summary.received(5);
        for reason in [Reason::NotSelected, Reason::TooOld, Reason::NotSelected] {
            summary.ended(reason);
        }
        for _ in 0..2 {
            summary.stored(Pushed {
                queued: 1,
                duplicates: 1,
                filtered: 1,
                invalid: 0,
            });
        }
        insta::assert_snapshot!(
            shown(summary.into_response()).await,
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
            HttpError::Unauthorized.into(),
            RequestRefusal::UnknownSync,
            HttpError::NotFound.into(),
            HttpError::MethodNotAllowed.into(),
            PushError::Full {
                sync: SyncName::new("web").unwrap(),
                pushed: Pushed::default(),
                left: [].into(),
            }
            .into(),
            PushError::DiskLow.into(),
            PushError::Store(StoreError::Storage(EngineError::Unavailable(Arc::new(
                std::io::Error::other("full"),
            ))))
            .into(),
            PushError::Store(StoreError::Closed).into(),
        ] {
            let refusal: RequestRefusal = refusal;
            table.push_str(&shown(refusal.into_response()).await);
            table.push('\n');
        }
        insta::assert_snapshot!(table);
    }
}
