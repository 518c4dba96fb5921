//! The operators' listener: `/health` in detail and `/metrics`. Read-only.
//!
//! `/health` answers 503 only if no event can be stored. A lane in trouble is only a warning, because a
//! restart repairs no token.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::admin::health::{HealthView, Status, SyncView, report};
use crate::admin::stored::HealthMetrics;
use crate::clock::{Clock as _, CorrectedClock};
use crate::config::LiveConfig;
use crate::deliver::{LaneHandle, LaneHandles};
use crate::http::{AuthRule, Authenticator, HttpError, json_response};
use crate::ingest::LastSeen;
use crate::queue::Queue;
use crate::telemetry::Metrics;

pub mod health;
pub mod stored;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything that the pages show.
#[derive(Debug)]
pub struct AdminState {
    authenticator: Arc<Authenticator>,
    config: LiveConfig,
    queue: Queue,
    lanes: LaneHandles,
    metrics: Arc<Metrics>,
    last_seen: Arc<LastSeen>,
    clock: Arc<CorrectedClock>,
}

impl AdminState {
    pub fn new(
        config: LiveConfig,
        queue: Queue,
        lanes: LaneHandles,
        metrics: Arc<Metrics>,
        last_seen: Arc<LastSeen>,
        clock: Arc<CorrectedClock>,
    ) -> Self {
        Self {
            authenticator: Arc::new(Authenticator::new(config.clone(), AuthRule::to_admin)),
            config,
            queue,
            lanes,
            metrics,
            last_seen,
            clock,
        }
    }

    pub const fn authenticator(&self) -> &Arc<Authenticator> {
        &self.authenticator
    }

    fn view(&self) -> HealthView {
        let uptime = self.clock.uptime();
        let config = self.config.now();
        HealthView {
            now: self.clock.now(),
            uptime,
            skew: self.clock.skew(),
            syncs: config
                .syncs
                .iter()
                .map(|(name, sync)| {
                    let silence = self.last_seen.silence(name, uptime);
                    let sync = SyncView {
                        enabled: sync.enabled,
                        lane: self.lanes.0.get(name).map(LaneHandle::status),
                        ready_bytes: self.queue.backlog(name).bytes,
                        last_event: self.last_seen.last(name),
                        silence: silence.filter(|_| sync.enabled),
                        missed: self.last_seen.missed(name),
                    };
                    (name.clone(), sync)
                })
                .collect(),
            silence_after: config.ingest.silence_after,
            health: self.queue.health(),
            totals: self.queue.totals(),
            stats: self.queue.stats(),
        }
    }
}

/// The routes of the operators' listener.
pub fn router(state: Arc<AdminState>) -> Router {
    Router::new()
        .route("/health", get(health_page))
        .route("/metrics", get(metrics_page))
        .fallback(async || HttpError::NotFound)
        .method_not_allowed_fallback(async || HttpError::MethodNotAllowed)
        .layer(from_fn_with_state(Arc::clone(&state), guard))
        .with_state(state)
        .route("/live", get(live))
}

/// Says that the process runs, whatever becomes of events.
pub async fn live() -> Response {
    json_response(StatusCode::OK, "{\"status\":\"ok\"}\n".to_owned())
}

async fn guard(State(state): State<Arc<AdminState>>, request: Request, next: Next) -> Response {
    if state.authenticator.admits(request.headers()) {
        next.run(request).await
    } else {
        HttpError::Unauthorized.into_response()
    }
}

async fn health_page(State(state): State<Arc<AdminState>>) -> Response {
    let report = report(&state.view());
    let code = match report.status {
        Status::Ok | Status::Warning => StatusCode::OK,
        Status::Failing => StatusCode::SERVICE_UNAVAILABLE,
    };
    let body = serde_json::to_string_pretty(&report).expect("the report has plain keys");
    json_response(code, body + "\n")
}

async fn metrics_page(State(state): State<Arc<AdminState>>, request: Request) -> Response {
    let page = state.metrics.render(HealthMetrics(state.view()));
    let wants_open_metrics = request.headers().get_all(ACCEPT).iter().any(|value| {
        value
            .as_bytes()
            .starts_with(b"application/openmetrics-text")
    });
    if wants_open_metrics {
        ([(CONTENT_TYPE, OPEN_METRICS)], page).into_response()
    } else {
        ([(CONTENT_TYPE, PROMETHEUS_TEXT)], prometheus_text(&page)).into_response()
    }
}

/// Turns an `OpenMetrics` page into Prometheus' older text format: there the name of a counter's family ends
/// in `_total`, as the names of its values do. The library's own writer would rename buckets, `le="1"` for
/// `le="1.0"`, and break the series of those who read this format.
fn prometheus_text(page: &str) -> String {
    let mut text = String::with_capacity(page.len() + 1024);
    let mut help = None;
    for line in page.lines() {
        if line.starts_with("# HELP ") {
            help = Some(line);
            continue;
        }
        let family = line.strip_prefix("# TYPE ");
        if let Some((name, rest)) = family.and_then(|family| family.split_once(' ')) {
            let suffix = if rest == "counter" { "_total" } else { "" };
            if let Some(help) = help.take().and_then(|line| line.splitn(4, ' ').nth(3)) {
                text.extend(["# HELP ", name, suffix, " ", help, "\n"]);
            }
            text.extend(["# TYPE ", name, suffix, " ", rest, "\n"]);
        } else if line != "# EOF" {
            text.extend([line, "\n"]);
        }
    }
    text
}

#[cfg(test)]
mod tests;
