//! One call to the edge, from its bytes to its answer.
//!
//! The order: read the call, wait out the latency, meet what stands against the pixel (a throttle), meet a
//! fault, then be judged: token, pixel, proof, batch, and every event. Only a batch without fault is taken.

use std::sync::Arc;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use tokio_util::sync::CancellationToken;

use crate::clock::UnixMillis;

use super::body::{self, Caller, ReadCall, ReadElement};
use super::faults::{Fault, Sinking};
use super::record::{self, EarlyCall, MAX_EARLY, MAX_PIXELS, MAX_TOLD};
use super::reply::{PADDING, ResponseContext, SimulatedError};
use super::rules::{self, EventRefusal};
use super::{Mode, Sandbox, Throttled, proof};
use crate::sandbox::abortable_stream::Abort;

/// Calls that arrive so soon after a throttle was told may have been on their way already.
const GRACE_MILLIS: i64 = 1000;

/// No id of the Graph API is longer.
const MAX_ID_DIGITS: usize = 20;

/// The oldest version that the Graph API still serves.
const OLDEST_VERSION: u32 = 21;
/// The newest version that there is.
const NEWEST_VERSION: u32 = 27;

#[derive(Clone)]
struct Edge {
    sandbox: Sandbox,
    shutdown: CancellationToken,
}

/// How a call ends.
enum Ending {
    Answer(Response),
    /// The connection carries this many bytes of the answer and is then reset.
    Torn(usize, Response),
    Silence,
}

/// Where a call goes.
#[derive(Debug, PartialEq, Eq)]
struct CallTarget {
    pixel_id: String,
}

/// Answers every path as the Graph API would.
pub(super) fn service(sandbox: Sandbox, shutdown: CancellationToken) -> Router {
    Router::new()
        .fallback(call)
        .with_state(Edge { sandbox, shutdown })
}

async fn call(State(edge): State<Edge>, request: Request) -> Response {
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
        return Ending::Answer(StatusCode::PAYLOAD_TOO_LARGE.into_response());
    };
    if sandbox.config().mode == Mode::Sink {
        return Ending::Answer(sink(sandbox, &body));
    }
    let target = CallTarget::of(&head.method, &head.uri);
    let call = ReadCall::read(&head, &body);
    let mut number = 0;
    sandbox.count(|stats| {
        stats.requests += 1;
        number = stats.requests;
        stats.largest_body = stats.largest_body.max(body.len());
        stats.largest_batch = stats.largest_batch.max(call.events);
    });
    let pixel_id = target.as_ref().map_or("", |target| &target.pixel_id);
    let latency = {
        let mut state = sandbox.state();
        let state = &mut *state;
        state.faults.latency(pixel_id, &mut state.random)
    };
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    let arrival = Arrival {
        arrived,
        number,
        bytes: body.len(),
    };
    match target {
        Ok(target) => arrival.judge(sandbox, &target, call),
        Err(error) => {
            let response_context = response_context(sandbox, "");
            sandbox.count(|stats| stats.count_refusal(error.label()));
            Ending::Answer(response_context.error(&error))
        }
    }
}

/// Counts a call as long as it is being answered, however it ends.
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

impl CallTarget {
    /// Finds the pixel of `/{version}/{pixel}/events`.
    fn of(method: &Method, uri: &Uri) -> Result<Self, SimulatedError> {
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
        let digits = pixel_id.bytes().all(|byte| byte.is_ascii_digit());
        if !digits || !(1..=MAX_ID_DIGITS).contains(&pixel_id.len()) {
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
        Ok(Self {
            pixel_id: pixel_id.to_owned(),
        })
    }
}

fn major_version(version: &str) -> Option<u32> {
    let (major, minor) = version.strip_prefix('v')?.split_once('.')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (digits(major) && digits(minor)).then(|| major.parse().ok())?
}

/// A call that was read.
struct Arrival {
    arrived: UnixMillis,
    number: u64,
    bytes: usize,
}

impl Arrival {
    fn judge(&self, sandbox: &Sandbox, target: &CallTarget, call: ReadCall) -> Ending {
        let mut response_context = response_context(sandbox, &target.pixel_id);
        if let Some(standing) =
            self.throttled(sandbox, &target.pixel_id, &response_context.trace_id)
        {
            return throttle(sandbox, &mut response_context, &standing);
        }
        let fault = {
            let mut state = sandbox.state();
            let state = &mut *state;
            (state.faults).choose(&target.pixel_id, call.events, self.bytes, &mut state.random)
        };
        if let Some(fault) = fault {
            sandbox.count(|stats| *stats.faults.entry(fault.name()).or_default() += 1);
            if let Some(ending) = before_taking(sandbox, &mut response_context, target, fault) {
                return ending;
            }
        }
        let events = call.events;
        match self.take(sandbox, target, call) {
            Ok(()) => {}
            Err(RefusedCall::Error(error)) => {
                sandbox.count(|stats| stats.count_refusal(error.label()));
                return Ending::Answer(response_context.error(&error));
            }
            Err(RefusedCall::Page(status)) => return Ending::Answer(response_context.page(status)),
        }
        match fault {
            Some(Fault::HangAfter) => Ending::Silence,
            Some(Fault::ResetAfter) => Ending::Torn(0, response_context.success(events, 0)),
            Some(Fault::Partial) => {
                Ending::Torn(PADDING / 2, response_context.success(events, PADDING))
            }
            Some(Fault::Uncounted) => Ending::Answer(response_context.uncounted()),
            Some(Fault::Remark) => Ending::Answer(response_context.remark(events)),
            Some(Fault::ShortCount) => Ending::Answer(response_context.success(events - 1, 0)),
            _ => Ending::Answer(response_context.success(events, 0)),
        }
    }

    /// The throttle that stands against the pixel, of which an answer with this trace id is about to
    /// tell; counts the call where its sender knew of it.
    fn throttled(&self, sandbox: &Sandbox, pixel_id: &str, trace_id: &str) -> Option<Throttled> {
        let now = sandbox.config().clock.now();
        let mut state = sandbox.state();
        let state = &mut *state;
        state.throttled.retain(|_, throttled| throttled.until > now);
        let standing = state.throttled.get_mut(pixel_id)?;
        if self.arrived.0 > standing.told_at.0 + GRACE_MILLIS {
            sandbox.count(|stats| stats.early_calls += 1);
            if state.early.len() < MAX_EARLY {
                state.early.push(EarlyCall {
                    pixel_id: pixel_id.to_owned(),
                    arrived: self.arrived,
                    told_at: standing.told_at,
                    told: standing.told.clone(),
                });
            }
        }
        if standing.told.len() < MAX_TOLD {
            standing.told.push(trace_id.to_owned());
        }
        Some(standing.clone())
    }

    /// Judges the call and takes its events: all or, of a batch that is refused for one of them, none or the
    /// good ones.
    fn take(
        &self,
        sandbox: &Sandbox,
        target: &CallTarget,
        call: ReadCall,
    ) -> Result<(), RefusedCall> {
        let now = sandbox.config().clock.now();
        authorize(sandbox, target, &call.caller, now)?;
        let mut elements = call.elements?;
        let mut state = sandbox.state();
        let state = &mut *state;
        let faults = &state.faults;
        let count = elements.len();
        let mut refused = None;
        let mut poisoned = false;
        let mut index = 0;
        elements.retain(|ReadElement { event, .. }| {
            let poison = faults.poisons(&target.pixel_id, event);
            let wrong = rules::check(event, index, now)
                .map_err(|refusal| RefusedCall::Error(SimulatedError::refused(refusal)))
                .err()
                .or_else(|| Some(faults.sinks(&target.pixel_id, event)?.into()));
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
        if refused.is_none() || faults.takes_good(&target.pixel_id) {
            let common = Arc::new(record::AcceptedCall {
                pixel_id: target.pixel_id.clone(),
                request: self.number,
                received_at: now,
                test_event_code: call.test_event_code,
            });
            let (mut events, mut repeats) = (0, 0);
            for ReadElement { json, event } in elements {
                if refused.is_some() && !event["event_id"].is_string() {
                    continue;
                }
                events += 1;
                repeats += u64::from(state.record.take(&common, json, &event));
            }
            sandbox.count(|stats| stats.count_batch(&target.pixel_id, events, repeats));
        }
        refused.map_or(Ok(()), Err)
    }
}

/// Why a batch is not taken.
enum RefusedCall {
    Error(SimulatedError),
    /// A page of this status.
    Page(u16),
}

impl From<SimulatedError> for RefusedCall {
    fn from(error: SimulatedError) -> Self {
        Self::Error(error)
    }
}

impl From<Sinking> for RefusedCall {
    fn from(sinking: Sinking) -> Self {
        match sinking {
            Sinking::Error(code) => Self::Error(SimulatedError::any(400, code, None, false)),
            Sinking::Page(status) => Self::Page(status),
        }
    }
}

fn authorize(
    sandbox: &Sandbox,
    target: &CallTarget,
    caller: &Caller,
    now: UnixMillis,
) -> Result<(), SimulatedError> {
    let config = sandbox.config();
    let Some(token) = caller.token.as_ref().filter(|token| !token.is_empty()) else {
        return Err(SimulatedError::bad_token());
    };
    if !config.tokens.is_empty() && !config.tokens.contains(token) {
        return Err(SimulatedError::bad_token());
    }
    if (config.pixels.as_ref()).is_some_and(|pixels| !pixels.contains(&target.pixel_id)) {
        return Err(SimulatedError::no_object("post", &target.pixel_id));
    }
    if let Some(secret) = &config.app_secret {
        let proof = caller.proof.as_deref().unwrap_or_default();
        if !proof::holds(secret, token, proof, caller.proof_time.as_deref(), now) {
            return Err(SimulatedError::bad_proof());
        }
    }
    Ok(())
}

/// What a fault does to a call before its batch is judged; `None` where it strikes later.
fn before_taking(
    sandbox: &Sandbox,
    response_context: &mut ResponseContext,
    target: &CallTarget,
    fault: Fault,
) -> Option<Ending> {
    let error = match fault {
        Fault::Status(status, shape) => {
            return Some(Ending::Answer(response_context.meaningless(status, shape)));
        }
        Fault::Hang => return Some(Ending::Silence),
        Fault::ResetBefore => return Some(Ending::Torn(0, response_context.success(0, 0))),
        Fault::ZeroCount => return Some(Ending::Answer(response_context.success(0, 0))),
        Fault::Throttle { code, regain, hint } => {
            let now = sandbox.config().clock.now();
            let standing = Throttled {
                code,
                hint,
                told_at: now,
                until: now.plus(hint.told(regain)),
                told: vec![response_context.trace_id.clone()],
            };
            let pixel_id = target.pixel_id.clone();
            let throttled = &mut sandbox.state().throttled;
            if throttled.len() < MAX_PIXELS {
                throttled.insert(pixel_id, standing.clone());
            }
            return Some(throttle(sandbox, response_context, &standing));
        }
        Fault::Error {
            status,
            code,
            sub_code,
            transient,
        } => SimulatedError::any(status, code, sub_code, transient),
        Fault::TokenDead(status) => SimulatedError::expired_token(status),
        Fault::NoPermission => SimulatedError::plain(403, 200, "(#200) Permissions error"),
        Fault::PixelGone => SimulatedError::no_object("post", &target.pixel_id),
        Fault::Reduce(_) => {
            let message =
                "Please reduce the amount of data you're asking for, then retry your request";
            SimulatedError::plain(500, 1, message)
        }
        Fault::TooLarge(_) => {
            return Some(Ending::Answer(
                StatusCode::PAYLOAD_TOO_LARGE.into_response(),
            ));
        }
        Fault::Pass
        | Fault::HangAfter
        | Fault::ResetAfter
        | Fault::Partial
        | Fault::ShortCount
        | Fault::Uncounted
        | Fault::Remark => return None,
    };
    sandbox.count(|stats| stats.count_refusal(error.label()));
    Some(Ending::Answer(response_context.error(&error)))
}

fn throttle(
    sandbox: &Sandbox,
    response_context: &mut ResponseContext,
    standing: &Throttled,
) -> Ending {
    let now = sandbox.config().clock.now();
    let error = SimulatedError::throttled(standing.code);
    response_context.regain = Some((standing.hint, standing.until.since(now)));
    sandbox.count(|stats| stats.count_refusal(error.label()));
    Ending::Answer(response_context.error(&error))
}
