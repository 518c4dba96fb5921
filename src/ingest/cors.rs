//! Cross-origin requests: which pages' browsers may send, and how a browser is told.
//!
//! A browser asks first (`OPTIONS`), unless the request is as plain as a beacon's. A request from an
//! origin that is not listed is refused, not merely left unreadable for the page.

use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

/// The origins that may send.
#[derive(Debug)]
pub(super) enum Cors {
    /// Any.
    Any,
    /// These.
    Listed(Vec<HeaderValue>),
}

/// Where a request comes from, as its browser says.
#[derive(Debug)]
pub(super) enum Origin {
    /// No browser says.
    Unsaid,
    /// A page that may send, and how its browser is told.
    Welcome(HeaderValue),
    /// A page that may not.
    Refused,
}

impl Cors {
    /// Takes the origins of the configuration: none, or `*` among them, is any.
    pub(super) fn new(origins: &[String]) -> Self {
        if origins.is_empty() || origins.iter().any(|origin| origin == "*") {
            return Self::Any;
        }
        // An origin of the configuration is printable.
        Self::Listed(
            origins
                .iter()
                .filter_map(|origin| origin.parse().ok())
                .collect(),
        )
    }

    /// Judges where a request comes from.
    pub(super) fn origin(&self, headers: &HeaderMap) -> Origin {
        let Some(origin) = headers.get(ORIGIN) else {
            return Origin::Unsaid;
        };
        match self {
            Self::Any => Origin::Welcome(HeaderValue::from_static("*")),
            Self::Listed(origins) if origins.contains(origin) => Origin::Welcome(origin.clone()),
            Self::Listed(_) => Origin::Refused,
        }
    }

    /// Answers the browser that asks before it sends.
    pub(super) fn preflight(&self, headers: &HeaderMap) -> Response {
        let origin = self.origin(headers);
        let mut response = StatusCode::NO_CONTENT.into_response();
        origin.tell(&mut response);
        if matches!(origin, Origin::Welcome(_)) {
            for (name, value) in [
                (ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"),
                (
                    ACCESS_CONTROL_ALLOW_HEADERS,
                    "content-type, content-encoding",
                ),
                (ACCESS_CONTROL_MAX_AGE, "86400"),
            ] {
                response
                    .headers_mut()
                    .insert(name, HeaderValue::from_static(value));
            }
        }
        response
    }
}

impl Origin {
    /// Lets the page read the answer, if it may.
    pub(super) fn tell(&self, response: &mut Response) {
        let headers = response.headers_mut();
        headers.insert(VARY, HeaderValue::from_static("Origin"));
        if let Self::Welcome(allowed) = self {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed.clone());
        }
    }
}
