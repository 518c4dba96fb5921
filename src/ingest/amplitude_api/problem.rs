//! Why a request of an SDK is not taken, in the words and shapes that SDKs act on.
//!
//! By Amplitude's pages (HTTP V2 API, Batch Event Upload API) and by what its SDKs read: a 400 names
//! the bad events by their place in the request, and an SDK drops those and sends the rest again; a 413
//! makes it halve its batches; on a 429 it holds the named events back for a while; a 503 makes it send all
//! again. Every answer has a `code`: an SDK ignores one without it.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde_json::{Value, json};
use thiserror::Error;

use crate::http::body::BodyError;
use crate::http::reply::{ErrorReply, HttpError};
use crate::ingest::NotStored;
use crate::ingest::reply::RequestRefusal;
use crate::ingest::upstream::UpstreamFailure;
use crate::json::split::NotJson;

/// Why a request is not taken.
#[derive(Debug, Error)]
pub(super) enum RequestProblem {
    /// Nothing came.
    #[error("Missing request body")]
    NoBody,
    /// Not JSON.
    #[error("Invalid JSON request body")]
    NotJson(#[from] NotJson),
    /// The request lacks a field.
    #[error("Request missing required field")]
    MissingField(&'static str),
    /// A project that the configuration does not list.
    #[error("Invalid API key: this project is not listed here")]
    InvalidKey,
    /// Some events are bad.
    #[error("{}", summary(.0))]
    Events(EventFaults),
    /// A page that may not send.
    #[error("Forbidden")]
    Forbidden,
    /// Too many bytes or events.
    #[error("Payload too large")]
    TooLarge,
    /// The address calls too often.
    #[error("Too many requests for some devices and users")]
    TooManyRequests {
        /// The limit, in requests per second.
        per_second: f64,
        /// At least as many events as came with the request, of which nothing was read.
        events: usize,
    },
    /// The address sends too many events.
    #[error("Too many requests for some devices and users")]
    TooManyEvents {
        /// The limit, in events per second.
        per_second: f64,
        /// How many came with the request.
        events: usize,
    },
    /// The body could not be read.
    #[error("{0}")]
    Body(BodyError),
    /// The store does not take it at present.
    #[error("{0}")]
    NotStored(RequestRefusal),
    /// It is stored, and could not be passed on.
    #[error("the events could not be passed on; send this again")]
    NotPassedOn(#[from] UpstreamFailure),
}

/// What is wrong with one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EventFault {
    /// A field is missing.
    Missing(&'static str),
    /// A field holds what it may not.
    Invalid(&'static str),
    /// The only ids are too short.
    ShortId(&'static str),
}

/// What is wrong with the events of a request, by their places.
pub(super) type EventFaults = BTreeMap<usize, EventFault>;

fn summary(faults: &EventFaults) -> &'static str {
    let is_missing = |fault: &EventFault| matches!(fault, EventFault::Missing(_));
    if faults.values().all(is_missing) {
        "Request missing required field"
    } else {
        "Invalid field values on some events"
    }
}

/// The places of the faults of one kind, by field.
fn by_field(faults: &EventFaults, kind: fn(&'static str) -> EventFault) -> Value {
    let mut fields: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (place, fault) in faults {
        let (EventFault::Missing(field) | EventFault::Invalid(field) | EventFault::ShortId(field)) =
            *fault;
        if *fault == kind(field) {
            fields.entry(field).or_default().push(*place);
        }
    }
    json!(fields)
}

impl From<BodyError> for RequestProblem {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge { .. } => Self::TooLarge,
            other => Self::Body(other),
        }
    }
}

impl From<NotStored> for RequestProblem {
    fn from(missed: NotStored) -> Self {
        Self::NotStored(missed.why)
    }
}

impl RequestProblem {
    /// The status of the answer, and the stable code for metrics.
    pub(super) fn status_and_code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NoBody | Self::NotJson(_) => (StatusCode::BAD_REQUEST, "not_json"),
            Self::MissingField(_) => (StatusCode::BAD_REQUEST, "missing_field"),
            Self::InvalidKey => (StatusCode::BAD_REQUEST, "invalid_api_key"),
            Self::Events(_) => (StatusCode::BAD_REQUEST, "invalid_events"),
            Self::Forbidden => (StatusCode::FORBIDDEN, "forbidden_origin"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
            Self::TooManyRequests { .. } => (StatusCode::TOO_MANY_REQUESTS, "throttled"),
            Self::TooManyEvents { .. } => (StatusCode::TOO_MANY_REQUESTS, "throttled_events"),
            Self::Body(error) => {
                let ErrorReply { status, code, .. } = HttpError::Body(*error).reply();
                // Amplitude's API has no 415.
                let is_unknown = *error == BodyError::UnknownEncoding;
                (
                    if is_unknown {
                        StatusCode::BAD_REQUEST
                    } else {
                        status
                    },
                    code,
                )
            }
            Self::NotStored(refusal) => (StatusCode::SERVICE_UNAVAILABLE, refusal.code()),
            Self::NotPassedOn(_) => (StatusCode::SERVICE_UNAVAILABLE, "not_passed_on"),
        }
    }

    /// The answer as Amplitude's HTTP V2 API writes it.
    pub(super) fn to_json(&self) -> Value {
        let (status, _) = self.status_and_code();
        let mut body = json!({ "code": status.as_u16(), "error": self.to_string() });
        match self {
            Self::MissingField(field) => body["missing_field"] = json!(field),
            Self::Events(faults) => {
                body["events_with_missing_fields"] = by_field(faults, EventFault::Missing);
                body["events_with_invalid_fields"] = by_field(faults, EventFault::Invalid);
                body["events_with_invalid_id_lengths"] = by_field(faults, EventFault::ShortId);
            }
            Self::TooManyRequests { per_second, events }
            | Self::TooManyEvents { per_second, events } => {
                body["eps_threshold"] = json!(per_second);
                body["throttled_devices"] = json!({});
                body["throttled_users"] = json!({});
                body["exceeded_daily_quota_devices"] = json!({});
                body["exceeded_daily_quota_users"] = json!({});
                body["throttled_events"] = (0..*events).collect();
            }
            _ => {}
        }
        body
    }

    /// The answer as the form endpoints write it: a word.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::MissingField("event") | Self::Events(_) | Self::NotJson(_) | Self::NoBody => {
                "missing_event"
            }
            other => other.status_and_code().1,
        }
    }
}
