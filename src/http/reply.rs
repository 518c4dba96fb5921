//! Replies of all listeners: JSON, and the refusals that they share.
//!
//! A refusal is `{"error":"unauthorized","message":"…"}`: a stable code and a sentence.

use std::fmt;

use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use thiserror::Error;

use crate::http::body::BodyError;

/// Why a listener refuses a request, whatever it serves.
#[derive(Clone, Copy, Debug, Error)]
pub enum HttpError {
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error("the secret is missing or wrong")]
    Unauthorized,
    #[error("there is nothing at this path")]
    NotFound,
    /// A fault of this program ended the request.
    #[error("the service failed on this request; its log says where")]
    Internal,
    /// The methods of the path are in `Allow`.
    #[error("this path does not answer this method")]
    MethodNotAllowed,
}

/// The reply to a refused request, without its sentence.
#[derive(Clone, Copy, Debug)]
pub struct ErrorReply {
    pub status: StatusCode,
    /// The stable code, for the reply and for metrics.
    pub code: &'static str,
    /// A header, by name and value.
    pub header: Option<(&'static str, &'static str)>,
}

impl HttpError {
    /// The stable code, for the reply and for metrics.
    pub const fn code(self) -> &'static str {
        self.reply().code
    }

    pub const fn reply(self) -> ErrorReply {
        let (status, code) = match self {
            Self::Body(BodyError::TooLarge { .. }) => {
                (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large")
            }
            Self::Body(BodyError::TooSlow) => (StatusCode::REQUEST_TIMEOUT, "body_too_slow"),
            Self::Body(BodyError::Incomplete) => (StatusCode::BAD_REQUEST, "body_incomplete"),
            Self::Body(BodyError::Busy) => return ErrorReply::retry_after("1", "busy"),
            Self::Body(BodyError::UnknownEncoding) => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unknown_encoding")
            }
            Self::Body(BodyError::BrokenGzip) => (StatusCode::BAD_REQUEST, "broken_gzip"),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "unauthorized"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
        };
        let header = match self {
            // The rest of the body may still be on its way.
            Self::Body(BodyError::TooLarge { .. } | BodyError::TooSlow | BodyError::Incomplete) => {
                Some(("connection", "close"))
            }
            Self::Body(BodyError::UnknownEncoding) => {
                Some(("accept-encoding", "gzip, deflate, identity"))
            }
            Self::Unauthorized => Some(("www-authenticate", "Bearer")),
            _ => None,
        };
        ErrorReply {
            status,
            code,
            header,
        }
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        self.reply().with_message(&self)
    }
}

impl ErrorReply {
    pub const fn new(status: StatusCode, code: &'static str) -> Self {
        Self {
            status,
            code,
            header: None,
        }
    }

    /// The service cannot take the request now.
    pub const fn retry_after(seconds: &'static str, code: &'static str) -> Self {
        Self {
            header: Some(("retry-after", seconds)),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, code)
        }
    }

    pub fn with_message(self, message: &impl fmt::Display) -> Response {
        let body = json!({ "error": self.code, "message": message.to_string() });
        let mut response = json_response(self.status, format!("{body}\n"));
        if let Some((name, value)) = self.header {
            let value = HeaderValue::from_static(value);
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// Answers that the service cannot take anything for some seconds.
pub fn unavailable(code: &'static str, message: &impl fmt::Display) -> Response {
    ErrorReply::retry_after("10", code).with_message(message)
}

/// Answers with JSON text.
pub fn json_response(status: StatusCode, body: String) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], body).into_response()
}
