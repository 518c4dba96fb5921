//! The sandbox's answers, in the wording and form that Meta documents (Graph API: Handle Errors; Marketing
//! API: Error Reference, Rate Limiting).

use std::time::Duration;

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};

use super::faults::{BodyShape, Hint, UsageHeaders, whole_seconds};
use super::rules::EventRefusal;

const JSON: &str = "application/json; charset=UTF-8";
const HTML: &str = "text/html; charset=utf-8";
pub(super) const PAGE: &str = "<!DOCTYPE html><html><head><title>Error</title></head>\
                    <body><h1>Sorry, something went wrong.</h1></body></html>";

/// How many blanks precede the body of an answer that is cut off: the cut falls among them.
pub(super) const PADDING: usize = 16 << 10;

/// An error as Meta words it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SimulatedError {
    pub(super) status: u16,
    pub(super) code: i64,
    pub(super) sub_code: Option<u32>,
    kind: &'static str,
    message: String,
    transient: Option<bool>,
    user: Option<(&'static str, String)>,
}

impl SimulatedError {
    /// An error without sub-code and texts for people.
    pub(super) fn plain(status: u16, code: i64, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            sub_code: None,
            kind: "OAuthException",
            message: message.into(),
            transient: None,
            user: None,
        }
    }

    /// A parameter of the call is wrong.
    pub(super) fn parameter(problem: &str) -> Self {
        Self::plain(400, 100, format!("(#100) {problem}"))
    }

    /// The token was never valid.
    pub(super) fn bad_token() -> Self {
        let message = "Invalid OAuth access token - Cannot parse access token";
        Self::plain(401, 190, message)
    }

    /// The token was valid once.
    pub(super) fn expired_token(status: u16) -> Self {
        let message = "Error validating access token: Session has expired.";
        Self {
            sub_code: Some(463),
            ..Self::plain(status, 190, message)
        }
    }

    /// The pixel does not exist, or not for this token or verb.
    pub(super) fn no_object(verb: &str, id: &str) -> Self {
        let message = format!(
            "Unsupported {verb} request. Object with ID '{id}' does not exist, cannot be loaded due to \
             missing permissions, or does not support this operation."
        );
        Self {
            sub_code: Some(33),
            kind: "GraphMethodException",
            ..Self::plain(400, 100, message)
        }
    }

    /// The proof was made with another secret, or from another token.
    pub(super) fn bad_proof() -> Self {
        Self {
            kind: "GraphMethodException",
            ..Self::plain(
                400,
                100,
                "Invalid appsecret_proof provided in the API argument",
            )
        }
    }

    /// An event broke a rule.
    pub(super) fn refused(refusal: EventRefusal) -> Self {
        Self {
            sub_code: Some(refusal.sub_code),
            transient: Some(false),
            user: Some((refusal.title, refusal.detail)),
            ..Self::plain(400, 100, "Invalid parameter")
        }
    }

    /// Too many calls, or a block.
    pub(super) fn throttled(code: u32) -> Self {
        let (status, sub_code, message) = match code {
            4 => (403, None, "Application request limit reached"),
            17 => (400, Some(2_446_079), "User request limit reached"),
            32 => (400, None, "Page request limit reached"),
            341 => (400, None, "Application limit reached"),
            368 => (
                400,
                None,
                "The action attempted has been deemed abusive or is otherwise disallowed",
            ),
            613 => (
                400,
                Some(1_487_742),
                "Calls to this api have exceeded the rate limit.",
            ),
            _ => (
                400,
                Some(2_446_079),
                "There have been too many calls to this ad-account. Wait a bit and try again.",
            ),
        };
        Self {
            sub_code,
            ..Self::plain(status, i64::from(code), format!("(#{code}) {message}"))
        }
    }

    /// An error of any kind.
    pub(super) fn any(status: u16, code: i64, sub_code: Option<u32>, transient: bool) -> Self {
        Self {
            sub_code,
            transient: transient.then_some(true),
            ..Self::plain(status, code, format!("(#{code}) Simulated error"))
        }
    }

    /// `code` or `code/sub-code`.
    pub(super) fn label(&self) -> String {
        match self.sub_code {
            Some(sub_code) => format!("{}/{sub_code}", self.code),
            None => self.code.to_string(),
        }
    }

    fn body(&self, trace_id: &str) -> Value {
        let (title, detail) = self.user.clone().unzip();
        let mut error = json!({
            "message": self.message,
            "type": self.kind,
            "code": self.code,
            "error_subcode": self.sub_code,
            "is_transient": self.transient,
            "error_user_title": title,
            "error_user_msg": detail,
            "fbtrace_id": trace_id,
        });
        if let Some(fields) = error.as_object_mut() {
            fields.retain(|_, value| !value.is_null());
        }
        json!({ "error": error })
    }
}

/// What the answers to one call have in common.
#[derive(Clone, Debug)]
pub(super) struct ResponseContext {
    pub(super) trace_id: String,
    pub(super) usage: UsageHeaders,
    pub(super) pixel_id: String,
    /// The hint of a throttle, and its remaining time.
    pub(super) regain: Option<(Hint, Duration)>,
}

impl ResponseContext {
    /// The answer to a batch that was taken.
    pub(super) fn success(&self, events_received: usize, padding: usize) -> Response {
        let body = self.success_body(events_received);
        self.answer(200, JSON, format!("{:padding$}{body}", ""))
    }

    /// The same, without a count.
    pub(super) fn uncounted(&self) -> Response {
        let mut body = self.success_body(0);
        body["events_received"] = Value::Null;
        self.answer(200, JSON, body.to_string())
    }

    /// The same, with a message.
    pub(super) fn remark(&self, events_received: usize) -> Response {
        let mut body = self.success_body(events_received);
        body["messages"] = json!(["Simulated remark"]);
        self.answer(200, JSON, body.to_string())
    }

    fn success_body(&self, events_received: usize) -> Value {
        json!({
            "events_received": events_received,
            "messages": [],
            "fbtrace_id": self.trace_id,
        })
    }

    /// The answer to a call that failed.
    pub(super) fn error(&self, error: &SimulatedError) -> Response {
        self.answer(error.status, JSON, error.body(&self.trace_id).to_string())
    }

    /// An answer that says nothing of the batch.
    pub(super) fn meaningless(&self, status: u16, shape: BodyShape) -> Response {
        match shape {
            BodyShape::Graph => {
                let message = "An unexpected error has occurred. Please retry your request later.";
                let mut error = SimulatedError::plain(status, 2, message);
                error.transient = Some(true);
                self.error(&error)
            }
            BodyShape::Bare => self.answer(status, JSON, r#"{"error":{"code":2}}"#.to_owned()),
            BodyShape::Html => self.answer(status, HTML, PAGE.to_owned()),
            BodyShape::Empty => self.answer(status, HTML, String::new()),
        }
    }

    fn answer(&self, status: u16, content_type: &'static str, body: String) -> Response {
        let mut response = Response::new(Body::from(body));
        *response.status_mut() =
            StatusCode::from_u16(status).expect("statuses are checked where they come in");
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        for (name, value) in self.limits() {
            let value = HeaderValue::from_str(&value).expect("JSON of digits and names is ASCII");
            headers.insert(name, value);
        }
        response
    }

    /// The rate-limit headers that apply.
    fn limits(&self) -> Vec<(&'static str, String)> {
        let UsageHeaders {
            mut app,
            mut business,
            mut account,
        } = self.usage;
        let (mut minutes, mut seconds) = (0, 0);
        let mut headers = Vec::new();
        match self.regain {
            Some((Hint::Minutes, time)) => {
                business = Some(100.0);
                minutes = whole_seconds(time).div_ceil(60);
            }
            Some((Hint::Reset, time)) => {
                account = Some(100.0);
                seconds = whole_seconds(time);
            }
            Some((Hint::RetryAfter, time)) => {
                headers.push(("retry-after", whole_seconds(time).to_string()));
            }
            Some((Hint::None, _)) => app = Some(100.0),
            None => {}
        }
        if let Some(percent) = app {
            let value = json!({"call_count": percent, "total_cputime": 1, "total_time": 1});
            headers.push(("x-app-usage", value.to_string()));
        }
        if let Some(percent) = business {
            let value = json!({ self.pixel_id.as_str(): [{
                "type": "ads_management",
                "call_count": percent,
                "total_cputime": 1,
                "total_time": 1,
                "estimated_time_to_regain_access": minutes,
                "ads_api_access_tier": "standard_access",
            }]});
            headers.push(("x-business-use-case-usage", value.to_string()));
        }
        if let Some(percent) = account {
            let value = json!({
                "acc_id_util_pct": percent,
                "reset_time_duration": seconds,
                "ads_api_access_tier": "standard_access",
            });
            headers.push(("x-ad-account-usage", value.to_string()));
        }
        headers
    }
}
