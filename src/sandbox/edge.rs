//! Answers one call to the edge.
//!
//! In this order: read the call, wait out the latency, apply a throttle in force for the pixel, apply a
//! fault, then check the token, the pixel, the proof, the batch and every event. Only a batch without a
//! bad event is taken.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::DATE;
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use tokio_util::sync::CancellationToken;

use crate::clock::UnixMillis;

use super::body::{self, Caller, ReadCall, ReadElement};
use super::faults::{BodyShape, Fault, Sinking};
use super::record::{self, EarlyCall, MAX_ANNOUNCED, MAX_EARLY, MAX_PIXELS};
use super::reply::{PADDING, ResponseContext, SimulatedError};
use super::rules::{self, EventRefusal};
use super::{Mode, Sandbox, SandboxConfig, Throttled, is_digits, proof};
use crate::sandbox::abortable_stream::Abort;

/// A call that arrives this soon after the announcement of a throttle may have been sent before it.
const GRACE_MILLIS: i64 = 1000;

/// No id of the Graph API is longer.
const MAX_ID_DIGITS: usize = 20;

/// The oldest version that the Graph API still serves.
const OLDEST_VERSION: u32 = 21;
/// The newest version of the Graph API.
const NEWEST_VERSION: u32 = 27;

#[derive(Clone)]
struct Edge {
    sandbox: Sandbox,
    shutdown: CancellationToken,
}

/// How a call ends.
enum Ending {
    Answer(Response),
    /// The connection carries this many bytes of the answer, then it is reset.
    Torn(usize, Response),
    Silence,
}

/// Answers every path as the Graph API would.
pub(super) fn service(sandbox: Sandbox, shutdown: CancellationToken) -> Router {
    Router::new()
        .fallback(call)
        .with_state(Edge { sandbox, shutdown })
}

async fn call(State(edge): State<Edge>, request: Request) -> Response {
    let mut response = if request.method() == Method::HEAD {
        head(&edge.sandbox)
    } else {
        carry(&edge, request).await
    };
    let now = edge.sandbox.config().clock.now();
    if let Ok(date) = HeaderValue::try_from(http_date(now)) {
        response.headers_mut().insert(DATE, date);
    }
    response
}

/// The Graph API answers no such call, but its answer has a date.
fn head(sandbox: &Sandbox) -> Response {
    sandbox.count(|stats| stats.head_requests += 1);
    let error = SimulatedError::plain(400, 100, "Unsupported head request.");
    response_context(sandbox, "").error(&error)
}

/// As in a `Date` header.
fn http_date(now: UnixMillis) -> String {
    let since_epoch = u64::try_from(now.seconds()).unwrap_or_default();
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(since_epoch))
}

/// Carries a call to its end.
async fn carry(edge: &Edge, request: Request) -> Response {
    let _in_flight = InFlight::enter(&edge.sandbox);
    let abort = request.extensions().get::<ConnectInfo<Abort>>().cloned();
    let ending = tokio::select! {
        ending = answer(&edge.sandbox, request) => ending,
        () = edge.shutdown.cancelled() => Ending::Silence,
    };
    let (bytes, response) = match ending {
        Ending::Answer(response) => return response,
        Ending::Torn(bytes, response) if abort.is_some() => (bytes, response),
        Ending::Torn(..) | Ending::Silence => {
            edge.shutdown.cancelled().await;
            (0, StatusCode::SERVICE_UNAVAILABLE.into_response())
        }
    };
    if let Some(ConnectInfo(abort)) = abort {
        abort.after(bytes);
    }
    response
}

async fn answer(sandbox: &Sandbox, request: Request) -> Ending {
    let arrived = sandbox.config().clock.now();
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, sandbox.config().max_body_bytes).await else {
        return too_large();
    };
    if sandbox.config().mode == Mode::Sink {
        return Ending::Answer(sink(sandbox, &body));
    }
    let pixel_id = called_pixel(&head.method, &head.uri);
    let read = ReadCall::read(&head, &body);
    let mut number = 0;
    sandbox.count(|stats| {
        stats.requests += 1;
        number = stats.requests;
        stats.largest_body = stats.largest_body.max(body.len());
        stats.largest_batch = stats.largest_batch.max(read.events);
    });
    let latency = {
        let mut state = sandbox.state();
        let state = &mut *state;
        let pixel_id = pixel_id.as_deref().unwrap_or_default();
        state.faults.latency(pixel_id, &mut state.random)
    };
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    let call = |pixel_id: &str| Call {
        sandbox,
        response: response_context(sandbox, pixel_id),
        arrived,
        number,
        bytes: body.len(),
    };
    match pixel_id {
        Ok(pixel_id) => call(&pixel_id).judge(read),
        Err(error) => call("").refuse(&error),
    }
}

/// Counts a call as in flight while it is being answered, however it ends.
struct InFlight<'a>(&'a Sandbox);

impl<'a> InFlight<'a> {
    fn enter(sandbox: &'a Sandbox) -> Self {
        sandbox.count(|stats| {
            stats.in_flight += 1;
            stats.most_in_flight = stats.most_in_flight.max(stats.in_flight);
        });
        Self(sandbox)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.count(|stats| stats.in_flight -= 1);
    }
}

fn sink(sandbox: &Sandbox, body: &[u8]) -> Response {
    let events = body::count(body);
    sandbox.count(|stats| {
        stats.requests += 1;
        stats.batches += 1;
        stats.accepted += events as u64;
        stats.largest_batch = stats.largest_batch.max(events);
        stats.largest_body = stats.largest_body.max(body.len());
    });
    response_context(sandbox, "").success(events, 0)
}

fn response_context(sandbox: &Sandbox, pixel_id: &str) -> ResponseContext {
    let mut state = sandbox.state();
    let trace_id = std::iter::once('A')
        .chain((0..22).map(|_| state.random.alphanumeric()))
        .collect();
    ResponseContext {
        trace_id,
        usage: state.faults.usage(pixel_id),
        pixel_id: pixel_id.to_owned(),
        regain: None,
    }
}

/// Finds the pixel of `/{version}/{pixel}/events`.
fn called_pixel(method: &Method, uri: &Uri) -> Result<String, SimulatedError> {
    let mut segments = uri.path().trim_matches('/').split('/');
    let version = segments.next().unwrap_or_default();
    let Some(major) = major_version(version).filter(|major| *major <= NEWEST_VERSION) else {
        return Err(SimulatedError::plain(400, 2500, "Unknown path components"));
    };
    if major < OLDEST_VERSION {
        let message = "(#2635) You are calling a deprecated version of the API.";
        return Err(SimulatedError::plain(400, 2635, message));
    }
    let pixel_id = segments.next().unwrap_or_default();
    if !is_digits(pixel_id) || pixel_id.len() > MAX_ID_DIGITS {
        let message = "(#803) Some of the aliases you requested do not exist";
        return Err(SimulatedError::plain(404, 803, message));
    }
    if segments.next() != Some("events") || segments.next().is_some() {
        return Err(SimulatedError::plain(400, 2500, "Unknown path components"));
    }
    if method != Method::POST {
        let verb = method.as_str().to_ascii_lowercase();
        return Err(SimulatedError::no_object(&verb, pixel_id));
    }
    Ok(pixel_id.to_owned())
}

fn major_version(version: &str) -> Option<u32> {
    let (major, minor) = version.strip_prefix('v')?.split_once('.')?;
    (is_digits(major) && is_digits(minor)).then(|| major.parse().ok())?
}

/// A call that was read, and the context of its answer.
struct Call<'a> {
    sandbox: &'a Sandbox,
    response: ResponseContext,
    arrived: UnixMillis,
    number: u64,
    bytes: usize,
}

/// Why a batch is not taken.
enum RefusedCall {
    Error(SimulatedError),
    /// A page of this status.
    Page(u16),
}

impl Call<'_> {
    fn judge(mut self, read: ReadCall) -> Ending {
        if let Some(standing) = self.throttled() {
            return self.throttle(&standing);
        }
        let events = read.events;
        let fault = {
            let mut state = self.sandbox.state();
            let state = &mut *state;
            let pixel_id = &self.response.pixel_id;
            (state.faults).choose(pixel_id, events, self.bytes, &mut state.random)
        };
        if let Some(fault) = fault {
            (self.sandbox).count(|stats| *stats.faults.entry(fault.name()).or_default() += 1);
            if let Some(ending) = self.before_taking(fault) {
                return ending;
            }
        }
        let response = &self.response;
        match self.take(read) {
            Ok(()) => {}
            Err(RefusedCall::Error(error)) => return self.refuse(&error),
            Err(RefusedCall::Page(status)) => {
                return Ending::Answer(response.meaningless(status, BodyShape::Html));
            }
        }
        match fault {
            Some(Fault::HangAfter) => Ending::Silence,
            Some(Fault::ResetAfter) => Ending::Torn(0, response.success(events, 0)),
            Some(Fault::Partial) => Ending::Torn(PADDING / 2, response.success(events, PADDING)),
            Some(Fault::Uncounted) => Ending::Answer(response.uncounted()),
            Some(Fault::Remark) => Ending::Answer(response.remark(events)),
            Some(Fault::ShortCount) => Ending::Answer(response.success(events - 1, 0)),
            _ => Ending::Answer(response.success(events, 0)),
        }
    }

    fn refuse(&self, error: &SimulatedError) -> Ending {
        (self.sandbox).count(|stats| *stats.refused.entry(error.label()).or_default() += 1);
        Ending::Answer(self.response.error(error))
    }

    /// The throttle in force for the pixel, which the answer to this call announces. Counts the call as
    /// early where its sender knew of the throttle.
    fn throttled(&self) -> Option<Throttled> {
        let now = self.sandbox.config().clock.now();
        let mut state = self.sandbox.state();
        let state = &mut *state;
        state.throttled.retain(|_, throttled| throttled.until > now);
        let standing = state.throttled.get_mut(&self.response.pixel_id)?;
        if self.arrived.0 > standing.announced_at.0 + GRACE_MILLIS {
            self.sandbox.count(|stats| stats.early_calls += 1);
            if state.early.len() < MAX_EARLY {
                state.early.push(EarlyCall {
                    pixel_id: self.response.pixel_id.clone(),
                    arrived: self.arrived,
                    announced_at: standing.announced_at,
                    announced_by: standing.announced_by.clone(),
                });
            }
        }
        if standing.announced_by.len() < MAX_ANNOUNCED {
            standing.announced_by.push(self.response.trace_id.clone());
        }
        Some(standing.clone())
    }

    fn throttle(&mut self, standing: &Throttled) -> Ending {
        let now = self.sandbox.config().clock.now();
        self.response.regain = Some((standing.hint, standing.until.since(now)));
        self.refuse(&SimulatedError::throttled(standing.code))
    }

    /// Checks the call and takes its events: all of a good batch; of a batch with a bad event, none or,
    /// where the faults say so, the good ones.
    fn take(&self, read: ReadCall) -> Result<(), RefusedCall> {
        let now = self.sandbox.config().clock.now();
        let pixel_id = &self.response.pixel_id;
        authorize(self.sandbox.config(), pixel_id, &read.caller, now)
            .map_err(RefusedCall::Error)?;
        let mut elements = read.elements.map_err(RefusedCall::Error)?;
        let mut state = self.sandbox.state();
        let state = &mut *state;
        let faults = &state.faults;
        let count = elements.len();
        let mut refused = None;
        let mut poisoned = false;
        let mut index = 0;
        elements.retain(|ReadElement { event, .. }| {
            let poison = faults.poisons(pixel_id, event);
            let wrong = match rules::check(event, index, now) {
                Err(refusal) => Some(RefusedCall::Error(SimulatedError::refused(refusal))),
                Ok(()) => faults.sinks(pixel_id, event).map(|sinking| match sinking {
                    Sinking::Error(code) => {
                        RefusedCall::Error(SimulatedError::any(400, code, None, false))
                    }
                    Sinking::Page(status) => RefusedCall::Page(status),
                }),
            };
            index += 1;
            poisoned |= poison;
            let good = wrong.is_none() && !poison;
            refused = refused.take().or(wrong);
            good
        });
        if poisoned && refused.is_none() {
            let refusal = EventRefusal::poison(state.random.usize(..count));
            refused = Some(RefusedCall::Error(SimulatedError::refused(refusal)));
        }
        if refused.is_none() || faults.takes_good(pixel_id) {
            let common = Arc::new(record::AcceptedCall {
                pixel_id: pixel_id.clone(),
                request: self.number,
                received_at: now,
                test_event_code: read.test_event_code,
            });
            let (mut events, mut repeats) = (0, 0);
            for ReadElement { json, event } in elements {
                if refused.is_some() && !event["event_id"].is_string() {
                    continue;
                }
                events += 1;
                repeats += u64::from(state.record.take(&common, json, &event));
            }
            (self.sandbox).count(|stats| stats.count_batch(pixel_id, events, repeats));
        }
        refused.map_or(Ok(()), Err)
    }

    /// What a fault does before the batch is checked; `None` where it acts later.
    fn before_taking(&mut self, fault: Fault) -> Option<Ending> {
        let response = &self.response;
        let error = match fault {
            Fault::Status(status, shape) => {
                return Some(Ending::Answer(response.meaningless(status, shape)));
            }
            Fault::Hang => return Some(Ending::Silence),
            Fault::ResetBefore => return Some(Ending::Torn(0, response.success(0, 0))),
            Fault::ZeroCount => return Some(Ending::Answer(response.success(0, 0))),
            Fault::Throttle { code, regain, hint } => {
                let now = self.sandbox.config().clock.now();
                let standing = Throttled {
                    code,
                    hint,
                    announced_at: now,
                    until: now.plus(hint.announced(regain)),
                    announced_by: vec![response.trace_id.clone()],
                };
                let throttled = &mut self.sandbox.state().throttled;
                if throttled.len() < MAX_PIXELS {
                    throttled.insert(response.pixel_id.clone(), standing.clone());
                }
                return Some(self.throttle(&standing));
            }
            Fault::Error {
                status,
                code,
                sub_code,
                transient,
            } => SimulatedError::any(status, code, sub_code, transient),
            Fault::TokenDead(status) => SimulatedError::expired_token(status),
            Fault::NoPermission => SimulatedError::plain(403, 200, "(#200) Permissions error"),
            Fault::PixelGone => SimulatedError::no_object("post", &response.pixel_id),
            Fault::Reduce(_) => {
                let message =
                    "Please reduce the amount of data you're asking for, then retry your request";
                SimulatedError::plain(500, 1, message)
            }
            Fault::TooLarge(_) => return Some(too_large()),
            Fault::Pass
            | Fault::HangAfter
            | Fault::ResetAfter
            | Fault::Partial
            | Fault::ShortCount
            | Fault::Uncounted
            | Fault::Remark => return None,
        };
        Some(self.refuse(&error))
    }
}

fn too_large() -> Ending {
    Ending::Answer(StatusCode::PAYLOAD_TOO_LARGE.into_response())
}

fn authorize(
    config: &SandboxConfig,
    pixel_id: &String,
    caller: &Caller,
    now: UnixMillis,
) -> Result<(), SimulatedError> {
    let token = caller.token.as_ref().filter(|token| {
        !token.is_empty() && (config.tokens.is_empty() || config.tokens.contains(token))
    });
    let Some(token) = token else {
        return Err(SimulatedError::bad_token());
    };
    if (config.pixels.as_ref()).is_some_and(|pixels| !pixels.contains(pixel_id)) {
        return Err(SimulatedError::no_object("post", pixel_id));
    }
    if let Some(secret) = &config.app_secret {
        let proof = caller.proof.as_deref().unwrap_or_default();
        if !proof::holds(secret, token, proof, caller.proof_time.as_deref(), now) {
            return Err(SimulatedError::bad_proof());
        }
    }
    Ok(())
}
