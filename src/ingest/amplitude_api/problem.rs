//! Why a request of an SDK is not taken, in the words and shapes that SDKs act on.
//!
//! By Amplitude's pages (HTTP V2 API, Batch Event Upload API) and by what its SDKs read: a 400 names
//! the events that are no good by their place in the request, and an SDK drops those and sends the rest
//! again; a 413 makes it halve its batches; with a 429 it rests the events that are named; a 503 makes it
//! send all again. `code` stands in every answer: without it an SDK takes none.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde_json::{Value, json};
use thiserror::Error;

use crate::http::body::BodyError;
use crate::http::reply::HttpError;
use crate::ingest::NotStored;
use crate::ingest::reply::RequestRefusal;
use crate::json::split::NotJson;

/// Why a request is not taken.
#[derive(Debug, Error)]
pub(super) enum RequestProblem {
    /// Nothing came.
    #[error("Missing request body")]
    NoBody,
    /// Not JSON.
    #[error("Invalid JSON request body")]
    NotJson(NotJson),
    /// The request lacks a field.
    #[error("Request missing required field")]
    MissingField(&'static str),
    /// A project that the configuration does not list.
    #[error("Invalid API key: this project is not listed here")]
    InvalidKey,
    /// Some events are no good.
    #[error("{}", .0.summary())]
    Events(EventFaults),
    /// A page that may not send.
    #[error("Forbidden")]
    Forbidden,
    /// Too many bytes or events.
    #[error("Payload too large")]
    TooLarge,
    /// The address calls too often; holds how many events came with the request.
    #[error("Too many requests for some devices and users")]
    Throttled {
        /// The limit, in requests per second.
        per_second: f64,
        /// How many events.
        events: usize,
    },
    /// The body could not be read.
    #[error("{0}")]
    Body(BodyError),
    /// It cannot be stored at present.
    #[error("{0}")]
    NotStored(RequestRefusal),
    /// It is stored, and could not be passed on.
    #[error("the events could not be passed on; send this again")]
    NotPassedOn,
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
#[derive(Debug, Default)]
pub(super) struct EventFaults(Vec<(usize, EventFault)>);

impl EventFaults {
    /// Notes a fault; places must come in order.
    pub(super) fn push(&mut self, place: usize, fault: EventFault) {
        self.0.push((place, fault));
    }

    /// Whether every event is good.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many events are no good.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the event at a place is no good.
    pub(super) fn holds(&self, place: usize) -> bool {
        self.0
            .binary_search_by_key(&place, |(place, _)| *place)
            .is_ok()
    }

    fn summary(&self) -> &'static str {
        let all_missing = self
            .0
            .iter()
            .all(|(_, fault)| matches!(fault, EventFault::Missing(_)));
        if all_missing {
            "Request missing required field"
        } else {
            "Invalid field values on some events"
        }
    }

    fn by_field(&self, field_of: impl Fn(&EventFault) -> Option<&'static str>) -> Value {
        let mut fields: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (place, fault) in &self.0 {
            if let Some(field) = field_of(fault) {
                fields.entry(field).or_default().push(*place);
            }
        }
        json!(fields)
    }
}

impl From<BodyError> for RequestProblem {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge { .. } => Self::TooLarge,
            other => Self::Body(other),
        }
    }
}

impl From<NotJson> for RequestProblem {
    fn from(problem: NotJson) -> Self {
        Self::NotJson(problem)
    }
}

impl From<NotStored> for RequestProblem {
    fn from(missed: NotStored) -> Self {
        Self::NotStored(missed.why)
    }
}

impl RequestProblem {
    /// The status of the answer.
    pub(super) const fn status(&self) -> StatusCode {
        match self {
            Self::NoBody
            | Self::NotJson(_)
            | Self::MissingField(_)
            | Self::InvalidKey
            | Self::Events(_)
            | Self::Body(
                BodyError::BrokenGzip | BodyError::UnknownEncoding | BodyError::Incomplete,
            ) => StatusCode::BAD_REQUEST,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::Body(BodyError::TooSlow) => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge | Self::Body(BodyError::TooLarge { .. }) => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            Self::Throttled { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Body(BodyError::Busy) | Self::NotStored(_) | Self::NotPassedOn => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    /// The stable code, for metrics.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::NoBody | Self::NotJson(_) => "not_json",
            Self::MissingField(_) => "missing_field",
            Self::InvalidKey => "invalid_api_key",
            Self::Events(_) => "invalid_events",
            Self::Forbidden => "forbidden_origin",
            Self::TooLarge => "body_too_large",
            Self::Throttled { .. } => "throttled",
            Self::Body(error) => HttpError::Body(*error).code(),
            Self::NotStored(refusal) => refusal.code(),
            Self::NotPassedOn => "not_passed_on",
        }
    }

    /// The answer as Amplitude's HTTP V2 API writes it.
    pub(super) fn to_json(&self) -> Value {
        let mut body = json!({ "code": self.status().as_u16(), "error": self.to_string() });
        match self {
            Self::MissingField(field) => body["missing_field"] = json!(field),
            Self::Events(faults) => {
                body["events_with_missing_fields"] = faults.by_field(|fault| match fault {
                    EventFault::Missing(field) => Some(field),
                    EventFault::Invalid(_) | EventFault::ShortId(_) => None,
                });
                body["events_with_invalid_fields"] = faults.by_field(|fault| match fault {
                    EventFault::Invalid(field) => Some(field),
                    EventFault::Missing(_) | EventFault::ShortId(_) => None,
                });
                body["events_with_invalid_id_lengths"] = faults.by_field(|fault| match fault {
                    EventFault::ShortId(field) => Some(field),
                    EventFault::Missing(_) | EventFault::Invalid(_) => None,
                });
            }
            Self::Throttled { per_second, events } => {
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
    pub(super) fn word(&self) -> String {
        match self {
            Self::MissingField("event") | Self::Events(_) | Self::NotJson(_) | Self::NoBody => {
                "missing_event".to_owned()
            }
            other => other.code().to_owned(),
        }
    }
}
