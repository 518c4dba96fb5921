//! How a listener answers: JSON, and what refuses a request on any of them.
//!
//! A refusal is `{"error":"unauthorized","message":"…"}`: a stable code and a sentence.

use std::fmt;

use axum::http::StatusCode;
use axum::http::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER,
    WWW_AUTHENTICATE,
};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use thiserror::Error;

use crate::http::body::BodyError;

/// Why a listener refuses a request, whatever it serves.
#[derive(Clone, Copy, Debug, Error)]
pub enum HttpError {
    /// The body could not be read.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// No secret or a wrong one.
    #[error("the secret is missing or wrong")]
    Unauthorized,
    /// A path that nothing answers.
    #[error("there is nothing at this path")]
    NotFound,
    /// A path that answers other methods; they are in `Allow`.
    #[error("this path does not answer this method")]
    MethodNotAllowed,
}

/// How a refusal is answered, besides its sentence.
#[derive(Clone, Copy, Debug)]
pub struct ErrorReply {
    pub status: StatusCode,
    /// The stable code, for the reply and for metrics.
    pub code: &'static str,
    pub header: ErrorHeader,
}

/// A header that a refusal carries.
#[derive(Clone, Copy, Debug)]
pub enum ErrorHeader {
    None,
    Close,
    Challenge,
    Encodings,
    /// In seconds.
    RetryAfter(&'static str),
}

impl HttpError {
    /// The stable code, for the reply and for metrics.
    pub const fn code(self) -> &'static str {
        self.reply().code
    }

    pub const fn reply(self) -> ErrorReply {
        match self {
            Self::Body(BodyError::TooLarge { .. }) => {
                ErrorReply::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large").closing()
            }
            Self::Body(BodyError::TooSlow) => {
                ErrorReply::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow").closing()
            }
            Self::Body(BodyError::Incomplete) => {
                ErrorReply::new(StatusCode::BAD_REQUEST, "body_incomplete").closing()
            }
            Self::Body(BodyError::Busy) => ErrorReply::retry_after("1", "busy"),
            Self::Body(BodyError::UnknownEncoding) => ErrorReply {
                status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
                code: "unknown_encoding",
                header: ErrorHeader::Encodings,
            },
            Self::Body(BodyError::BrokenGzip) => {
                ErrorReply::new(StatusCode::BAD_REQUEST, "broken_gzip")
            }
            Self::Unauthorized => ErrorReply {
                status: StatusCode::UNAUTHORIZED,
                code: "unauthorized",
                header: ErrorHeader::Challenge,
            },
            Self::NotFound => ErrorReply::new(StatusCode::NOT_FOUND, "not_found"),
            Self::MethodNotAllowed => {
                ErrorReply::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed")
            }
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
            header: ErrorHeader::None,
        }
    }

    /// The service cannot take the request at present.
    pub const fn retry_after(seconds: &'static str, code: &'static str) -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            code,
            header: ErrorHeader::RetryAfter(seconds),
        }
    }

    /// The connection ends, since the rest of the body may still be on its way.
    const fn closing(self) -> Self {
        Self {
            header: ErrorHeader::Close,
            ..self
        }
    }

    pub fn with_message(self, message: &impl fmt::Display) -> Response {
        let body = json!({ "error": self.code, "message": message.to_string() });
        let mut response = json_response(self.status, format!("{body}\n"));
        if let Some((name, value)) = self.header.to_header() {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

impl ErrorHeader {
    const fn to_header(self) -> Option<(HeaderName, HeaderValue)> {
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

/// Answers with JSON text.
pub fn json_response(status: StatusCode, body: String) -> Response {
    let mut response = (status, body).into_response();
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
