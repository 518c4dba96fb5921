//! The sandbox's own pages: what it accepted, what it counted, and its faults.
//!
//! - `GET /sandbox/events?limit=&pixel=`: what was accepted, newest first, by default 100
//! - `GET /sandbox/stats`: counts since the start
//! - `GET /sandbox/faults`, `PUT /sandbox/faults`: the faults, as text (see [`super::faults`])

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use url::form_urlencoded;

use super::Sandbox;

const DEFAULT_LIMIT: usize = 100;

/// The pages that change nothing.
pub(super) fn reading(sandbox: Sandbox) -> Router {
    Router::new()
        .route("/sandbox/events", get(events))
        .route("/sandbox/stats", get(stats))
        .with_state(sandbox)
}

pub(super) fn all(sandbox: Sandbox) -> Router {
    Router::new()
        .route("/sandbox/faults", get(faults).put(set_faults))
        .with_state(sandbox.clone())
        .merge(reading(sandbox))
}

async fn events(State(sandbox): State<Sandbox>, RawQuery(query): RawQuery) -> Response {
    let mut limit = DEFAULT_LIMIT;
    let mut pixel_id = None;
    for (key, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match (key.as_ref(), value.parse()) {
            ("limit", Ok(number)) => limit = number,
            ("pixel", _) => pixel_id = Some(value.into_owned()),
            _ => {
                let problem = "known are limit (a number) and pixel\n";
                return (StatusCode::BAD_REQUEST, problem).into_response();
            }
        }
    }
    json(&sandbox.records(limit, pixel_id.as_deref()))
}

async fn stats(State(sandbox): State<Sandbox>) -> Response {
    json(&sandbox.stats())
}

async fn faults(State(sandbox): State<Sandbox>) -> String {
    sandbox.faults().to_string()
}

async fn set_faults(State(sandbox): State<Sandbox>, text: String) -> Response {
    match text.parse() {
        Ok(faults) => {
            sandbox.set_faults(faults);
            StatusCode::NO_CONTENT.into_response()
        }
        Err(mistake) => (StatusCode::BAD_REQUEST, format!("{mistake}\n")).into_response(),
    }
}

fn json(value: &impl Serialize) -> Response {
    let body = serde_json::to_string(value).expect("keys are strings");
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}
