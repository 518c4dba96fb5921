//! Amplitude's own upload APIs, so that any of its SDKs can point its server URL here.
//!
//! `POST /2/httpapi` and `/batch` (JSON), `/identify`, `/groupidentify` and `/httpapi` (a form, or a
//! query), and on `/` the form of the oldest SDKs. They answer exactly as Amplitude does, since an SDK
//! decides by the answer whether it drops an event or sends it again. Events are judged before anything
//! is stored: a JSON request with bad ones is refused as a whole, and the SDK sends the good ones anew.
//! A form is answered with one word, so that its sender could not tell which: a bad event costs itself.
//!
//! With an upstream the good events are stored, the whole request is passed on, and Amplitude's answer
//! is the answer. An event that comes again because of it is a duplicate here. Bad events that Amplitude
//! takes are taken here too: nobody will send them again. What cannot be stored is passed on all the same,
//! and counted as missed, unless the configuration says otherwise.
//!
//! An API key only says which project an event is for; it is public. The limits on each address are what
//! bounds abuse: that on requests is applied before any of the body is read, that on events before any is
//! mapped.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, HttpBody as _};
use axum::extract::{Request, State};
use axum::http::header::{ALLOW, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use serde_json::json;

use crate::clock::UnixMillis;
use crate::config::units::Rate;
use crate::config::{Config, SyncName};
use crate::event::arena::Arena;
use crate::http::auth::Admission;
use crate::http::blocking::Work;
use crate::http::body_budget::BodySender;
use crate::http::reply::{HttpError, json_response};
use crate::ingest::address_limit::AddressLimit;
use crate::ingest::chunk::EventRoute;
use crate::ingest::cors::{Cors, Denied, RequestOrigin};
use crate::ingest::decode::{RawElement, decode, members};
use crate::ingest::reply::IngestSummary;
use crate::ingest::upstream::{Upstream, UpstreamFailure};
use crate::ingest::{Ingest, IngestRules, NotStored};
use crate::telemetry::metrics::Endpoint;

use check::{Check, is_remote};
use problem::{EventFaults, RequestProblem};
use request::{ApiCall, Dialect};

mod browser;
mod check;
mod multipart;
mod problem;
mod request;

/// Most events of one request, as at Amplitude: an SDK that hears 413 sends fewer.
const MOST_EVENTS: usize = 2000;

/// Bytes that the smallest event of an SDK takes: `{"event_type":"a","user_id":"b"}`.
const LEAST_EVENT: usize = 30;

/// What the endpoints need besides the ingest itself.
#[derive(Debug)]
pub(super) struct AmplitudeApi {
    /// Which syncs each project's events are for; `None`: every sync.
    keys: HashMap<String, Option<Vec<SyncName>>>,
    cors: Cors,
    requests: LimitedRate,
    events: LimitedRate,
    upstream: Option<Upstream>,
}

/// A limit on each address, and the rate that throttled senders are told.
#[derive(Debug)]
struct LimitedRate {
    per_second: f64,
    limit: AddressLimit,
}

/// The endpoint that a request came to.
#[derive(Clone, Copy, Debug)]
struct ApiEndpoint {
    path: &'static str,
    endpoint: Endpoint,
    dialect: Dialect,
}

/// The paths that SDKs send to, how each is counted, and what it takes.
const ENDPOINTS: [(&str, Endpoint, Dialect); 6] = [
    ("/2/httpapi", Endpoint::HttpApi, Dialect::Upload),
    ("/batch", Endpoint::Batch, Dialect::Upload),
    ("/identify", Endpoint::Identify, Dialect::Identify),
    (
        "/groupidentify",
        Endpoint::GroupIdentify,
        Dialect::GroupIdentify,
    ),
    ("/httpapi", Endpoint::HttpApiV1, Dialect::HttpV1),
    ("/", Endpoint::Legacy, Dialect::Legacy),
];

impl AmplitudeApi {
    /// Sets the endpoints up; `None` where no project is listed.
    pub(super) fn new(config: &Config, upstream: Option<Upstream>) -> Option<Self> {
        let ingest = &config.ingest;
        if ingest.api_keys.is_empty() {
            return None;
        }
        let keys = ingest.api_keys.iter();
        Some(Self {
            keys: keys
                .map(|key| (key.key.clone(), key.syncs.clone()))
                .collect(),
            cors: Cors::new(&config.server.cors_origins),
            requests: LimitedRate::new(ingest.address_requests_per_second),
            events: LimitedRate::new(ingest.address_events_per_second),
            upstream,
        })
    }
}

impl LimitedRate {
    fn new(rate: Option<Rate>) -> Self {
        Self {
            per_second: rate.map_or(0.0, Rate::per_second),
            limit: AddressLimit::new(rate),
        }
    }

    /// Charges an address, if there is anything to charge.
    fn admits(&self, address: Option<IpAddr>, count: usize) -> bool {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        match (address, NonZeroU32::new(count)) {
            (Some(address), Some(count)) => self.limit.admits(address, count),
            _ => true,
        }
    }
}

/// The routes. They answer every method, since without a project nothing is to be found there.
pub(super) fn routes() -> Router<Arc<Ingest>> {
    let mut router = Router::new();
    for (path, endpoint, dialect) in ENDPOINTS {
        let port = ApiEndpoint {
            path,
            endpoint,
            dialect,
        };
        let answer = move |State(ingest): State<Arc<Ingest>>, request: Request| async move {
            respond(&ingest, port, request).await
        };
        router = router.route(path, any(answer));
    }
    router
}

/// Whether a path is that of an endpoint of SDKs.
pub(super) fn answers(path: &str) -> bool {
    ENDPOINTS.iter().any(|(known, ..)| *known == path)
}

fn preflight(ingest: &Ingest, api: &AmplitudeApi, request: &Request) -> Response {
    let (response, denied) = api.cors.preflight(request.headers());
    match denied {
        None => {}
        Some(Denied::Origin) => count_refusal(ingest, &RequestProblem::Forbidden),
        Some(Denied::Method) => ingest.metrics.refused("method_not_allowed"),
    }
    response
}

async fn respond(ingest: &Ingest, mut port: ApiEndpoint, request: Request) -> Response {
    let rules = ingest.rules();
    let Some(api) = &rules.api else {
        return ingest.refuse_path(HttpError::NotFound, request);
    };
    let allowed = match port.dialect {
        Dialect::Identify | Dialect::GroupIdentify | Dialect::HttpV1 => "POST,GET,HEAD,OPTIONS",
        Dialect::Upload | Dialect::Legacy => "POST,OPTIONS",
    };
    let method = request.method();
    if method == Method::OPTIONS {
        return preflight(ingest, api, &request);
    }
    if !allowed.split(',').any(|allowed| method == allowed) {
        let response = ingest.refuse_path(HttpError::MethodNotAllowed, request);
        return ([(ALLOW, allowed)], response).into_response();
    }
    let (head, mut body) = request.into_parts();
    let origin = api.cors.origin(&head.headers);
    let taken = match origin {
        RequestOrigin::Refused => Err(RequestProblem::Forbidden),
        RequestOrigin::Absent | RequestOrigin::Allowed(_) => {
            take(ingest, &rules, api, &mut port, &head, &mut body).await
        }
    };
    let mut response = taken.unwrap_or_else(|problem| {
        ingest.drain_rest(&head.headers, body, Admission::Refused);
        refuse(ingest, port.dialect, &problem)
    });
    origin.tell(&mut response);
    response
}

/// Takes a request in and answers; `port` gets another dialect where the body shows it.
async fn take(
    ingest: &Ingest,
    rules: &IngestRules,
    api: &AmplitudeApi,
    port: &mut ApiEndpoint,
    head: &Parts,
    body: &mut Body,
) -> Result<Response, RequestProblem> {
    let received = ingest.clock.now();
    let address = rules.address(head);
    if !api.requests.admits(address, 1) {
        return Err(RequestProblem::TooManyRequests {
            per_second: api.requests.per_second,
            events: most_events(head, body),
        });
    }
    let sender = BodySender::Stranger(address);
    let work = &ingest.long_work;
    let held = (rules.bodies).read(&head.headers, body, sender, work);
    let held = held.await?;
    port.dialect = port.dialect.of_body(held.as_bytes());
    let text = match head.method {
        Method::GET => head.uri.query().unwrap_or_default().as_bytes(),
        _ => held.as_bytes(),
    };
    let content_type = head.headers.get(CONTENT_TYPE);
    let call = port
        .dialect
        .read(text, content_type.and_then(|value| value.to_str().ok()))?;
    let (bytes, arena) = (held.as_bytes().len(), Arena::default());
    let decoding = work.perform(Work::On(bytes), || decode(&call.events, &arena));
    let elements = decoding.await?;
    let count = elements.len();
    if count > MOST_EVENTS {
        return Err(RequestProblem::TooLarge);
    }
    let allowed = api
        .keys
        .get(&*call.api_key)
        .ok_or(RequestProblem::InvalidKey)?;
    if !api.events.admits(address, count) {
        return Err(RequestProblem::TooManyEvents {
            per_second: api.events.per_second,
            events: count,
        });
    }
    // Only browsers name an origin.
    let is_page = api.cors.origin(&head.headers).is_allowed();
    let browser = is_page.then(|| browser::request(&head.headers));
    let check = Check::new(port.dialect, &call, address, browser.as_ref(), received);
    let faults = work.perform(Work::On(bytes), || check.faults(elements));
    let faults = faults.await;
    // The sender of a form cannot drop bad events and send the rest: it would repeat all of them for ever.
    let names_events = port.dialect == Dialect::Upload;
    if api.upstream.is_none() && names_events && !faults.is_empty() {
        return Err(RequestProblem::Events(faults));
    }
    let syncs = rules.syncs(|name| {
        allowed
            .as_ref()
            .is_none_or(|allowed| allowed.contains(name))
    });
    let route = EventRoute {
        endpoint: port.endpoint,
        has_secret: false,
        syncs: &syncs,
        bytes,
    };
    ingest.arrived(route, count as u64);
    let mut batch = Batch {
        route,
        call: &call,
        check: &check,
        summary: IngestSummary::default(),
    };
    let answer = match &api.upstream {
        None => {
            let stored = batch.store(ingest, count, |_| true).await;
            let now = ingest.clock.now();
            let answer = || success(port.dialect, count, text.len(), now);
            stored.map(|()| answer()).map_err(RequestProblem::from)
        }
        Some(upstream) => {
            let forward = async {
                let content_type = match head.method {
                    Method::GET => Some(HeaderValue::from_static(
                        "application/x-www-form-urlencoded",
                    )),
                    _ => content_type.cloned(),
                };
                let body = with_address(text, &call, address);
                upstream
                    .forward(port.path, content_type, address, body)
                    .await
            };
            batch.pass_on(ingest, rules, &faults, count, forward).await
        }
    };
    // Of what was looked at, whatever became of the rest.
    ingest.times.note(&batch.summary, ingest.clock.uptime());
    answer
}

/// The number of events that a body which is not read can hold, so that its sender holds all of them back.
fn most_events(head: &Parts, body: &Body) -> usize {
    let is_encoded = head.headers.contains_key(CONTENT_ENCODING);
    let announced = body.size_hint().exact().filter(|_| !is_encoded);
    let bytes = announced.and_then(|bytes| usize::try_from(bytes).ok());
    bytes.map_or(MOST_EVENTS, |bytes| (bytes / LEAST_EVENT).min(MOST_EVENTS))
}

/// What could not be stored, where the request is to be passed on all the same.
fn spared<T>(
    rules: &IngestRules,
    stored: Result<T, NotStored>,
) -> Result<Option<NotStored>, RequestProblem> {
    match stored {
        Ok(_) => Ok(None),
        Err(missed) if rules.passes_on => Ok(Some(missed)),
        Err(missed) => Err(missed.into()),
    }
}

/// The events of one request, and what became of those that were stored.
struct Batch<'r> {
    route: EventRoute<'r>,
    call: &'r ApiCall<'r>,
    check: &'r Check,
    summary: IngestSummary,
}

impl Batch<'_> {
    /// Stores the good events of a request of so many, and the bad ones too where Amplitude takes it, whose answer
    /// `forward` brings.
    async fn pass_on(
        &mut self,
        ingest: &Ingest,
        rules: &IngestRules,
        faults: &EventFaults,
        count: usize,
        forward: impl Future<Output = Result<Response, UpstreamFailure>>,
    ) -> Result<Response, RequestProblem> {
        let is_bad = |place: usize| faults.contains_key(&place);
        let good = count - faults.len();
        let stored = self.store(ingest, good, |place| !is_bad(place)).await;
        let missed = spared(rules, stored)?;
        let answer = forward.await?;
        if answer.status().is_success() {
            // Amplitude has them all: nobody sends one of them again.
            let also_missed = spared(rules, self.store(ingest, faults.len(), is_bad).await)?;
            for missed in [missed, also_missed].iter().flatten() {
                ingest.note_missed(missed);
            }
        }
        Ok(answer)
    }

    /// Maps and stores the events whose places are wanted; `count` is their number.
    async fn store(
        &mut self,
        ingest: &Ingest,
        count: usize,
        is_wanted: impl Fn(usize) -> bool,
    ) -> Result<(), NotStored> {
        if count == 0 {
            return Ok(());
        }
        let Self {
            route, call, check, ..
        } = *self;
        // The same decoding has succeeded before.
        let arena = Arena::default();
        let decode = || decode(&call.events, &arena);
        let elements = ingest
            .long_work
            .perform(Work::On(route.bytes), decode)
            .await;
        let elements = elements
            .into_iter()
            .flatten()
            .enumerate()
            .filter(|(place, _)| is_wanted(*place))
            .map(|(_, element)| check.complete(element));
        let summary = &mut self.summary;
        ingest.store(route, count as u64, elements, summary).await
    }
}

/// Writes a body anew, with the sender's address in the place of `$remote`.
fn with_address(body: &[u8], call: &ApiCall<'_>, address: Option<IpAddr>) -> Vec<u8> {
    let (Some(address), Cow::Borrowed(events)) = (address, &call.events) else {
        return body.to_vec();
    };
    let address = format!("\"{address}\"");
    let mut written = Vec::with_capacity(body.len() + 64);
    let mut done = 0;
    let arena = Arena::default();
    let elements = decode(events, &arena).ok().into_iter().flatten();
    for element in elements {
        let Some(place) = remote_place(body, &element) else {
            continue;
        };
        written.extend_from_slice(body.get(done..place.start).unwrap_or_default());
        written.extend_from_slice(address.as_bytes());
        done = place.end;
    }
    written.extend_from_slice(body.get(done..).unwrap_or_default());
    written
}

/// Where in the body an event's `$remote` stands, quotes included.
fn remote_place(body: &[u8], element: &RawElement<'_>) -> Option<std::ops::Range<usize>> {
    let event = element.event.as_ref().ok()?;
    event.field("ip").filter(|value| is_remote(*value))?;
    let mut value: &[u8] = &[];
    members(element.raw, &mut |key, own| {
        if key == b"ip" {
            value = own;
        }
    })
    .ok()?;
    if value.is_empty() {
        return None;
    }
    // The value is borrowed from the body.
    let start = value.as_ptr().addr().checked_sub(body.as_ptr().addr())?;
    Some(start..start + value.len())
}

fn success(dialect: Dialect, events: usize, bytes: usize, now: UnixMillis) -> Response {
    match dialect {
        Dialect::Upload => {
            let body = json!({
                "code": 200,
                "events_ingested": events,
                "payload_size_bytes": bytes,
                "server_upload_time": now.0,
            });
            json_response(StatusCode::OK, body.to_string())
        }
        _ => "success".into_response(),
    }
}

/// Counts a refusal, and logs what the operator should know.
fn count_refusal(ingest: &Ingest, problem: &RequestProblem) {
    let (_, code) = problem.status_and_code();
    ingest.metrics.refused(code);
    let (line, last) = match problem {
        RequestProblem::InvalidKey => (
            "refused requests with a key that ingest.api_keys does not list",
            None,
        ),
        RequestProblem::TooManyRequests { .. } => (
            "refused requests of addresses that send more than ingest.address_requests_per_second; \
             a proxy in front must be named in server.trusted_proxies",
            None,
        ),
        RequestProblem::TooManyEvents { .. } => (
            "refused requests of addresses that send more than ingest.address_events_per_second; \
             a proxy in front must be named in server.trusted_proxies",
            None,
        ),
        RequestProblem::Forbidden => (
            "refused requests of pages whose origin server.cors_origins does not list",
            None,
        ),
        RequestProblem::NotPassedOn(failure) => (
            "could not pass requests of SDKs on to ingest.upstream",
            Some(tracing::field::display(failure)),
        ),
        _ => return,
    };
    if let Some(requests) = ingest.refused.due(code, ingest.clock.uptime()) {
        tracing::warn!(requests, last, "{line}");
    }
}

/// Counts and logs a refusal, and answers.
fn refuse(ingest: &Ingest, dialect: Dialect, problem: &RequestProblem) -> Response {
    count_refusal(ingest, problem);
    let (status, _) = problem.status_and_code();
    let mut response = match dialect {
        Dialect::Upload => json_response(status, problem.to_json().to_string()),
        _ => (status, problem.word()).into_response(),
    };
    let extra = match status {
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
            Some((RETRY_AFTER, "30"))
        }
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT => Some((CONNECTION, "close")),
        _ => None,
    };
    if let Some((name, value)) = extra {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}
