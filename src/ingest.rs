//! HTTP in: from a request to events that are durable in the queue.
//!
//! A sender is answered 2xx only after every event of the request, for every sync that takes events,
//! is on disk or was deliberately filtered or set aside. In order: the secret is checked before any of
//! the body is read, then the body is read within its bounds and split into elements, and these are mapped
//! and stored chunk by chunk. Mapping hashes personal data; nothing raw goes further than this module.
//!
//! It knows nothing of delivery: a sender need not know whether a lane stands still.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::header::EXPECT;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use ipnet::IpNet;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::config::ingest::WhenFull;
use crate::config::live::LiveConfig;
use crate::config::sync::SyncConfig;
use crate::config::{Config, SyncName};
use crate::event::arena::Arena;
use crate::http::auth::{Admission, AuthRule, Authenticator};
use crate::http::blocking::{LongWork, Work};
use crate::http::body::{BodyReader, drain};
use crate::http::body_budget::BodySender;
use crate::http::client_address::{Peer, sender};
use crate::http::reply::{HttpError, json_response};
use crate::ingest::amplitude_api::AmplitudeApi;
use crate::ingest::chunk::{Chunk, CountedSync, EventRoute};
use crate::ingest::decode::{RawElement, decode};
use crate::ingest::mistimed::TimeWarnings;
use crate::ingest::reply::{IngestSummary, RequestRefusal};
use crate::queue::quota::CapacityProblem;
use crate::queue::{PushError, Queue};
use crate::sync::Sync;
use crate::telemetry::logs::{KeyedLogThrottle, LogThrottle};
use crate::telemetry::metrics::{Endpoint, Metrics};

mod address_limit;
mod amplitude_api;
mod last_seen;
mod mistimed;
mod cors;
pub mod decode;
mod chunk;
mod reply;
mod silence;
mod logged_path;
mod upstream;

pub use last_seen::{LastSeen, MissedEvents};
pub use silence::{SilenceWatch, is_silent};
pub use upstream::Upstream;

/// Most refused strangers whose bodies are read on at a time, so that they can read why. Beyond that the
/// connection closes at once.
const MOST_DRAINED: usize = 32;

/// Takes requests, each whole by the rules that hold when it comes.
#[derive(Debug)]
pub struct Ingest {
    authenticator: Arc<Authenticator>,
    rules: watch::Sender<Arc<IngestRules>>,
    queue: Queue,
    metrics: Arc<Metrics>,
    long_work: LongWork,
    last_seen: Arc<LastSeen>,
    clock: Arc<dyn Clock>,
    refused: KeyedLogThrottle,
    times: TimeWarnings,
    missing: LogThrottle,
    may_count_twice: LogThrottle,
    /// What is left of refused bodies: read and thrown away, for seconds only.
    draining: TaskTracker,
}

/// What a configuration says of requests.
#[derive(Debug)]
pub struct IngestRules {
    bodies: BodyReader,
    trusted_proxies: Vec<IpNet>,
    /// The endpoints of SDKs, where they are on.
    api: Option<AmplitudeApi>,
    /// Every sync of the configuration.
    syncs: Vec<CountedSync>,
    /// Requests that cannot be stored are still passed on to Amplitude.
    passes_on: bool,
}

/// What of a request could not be stored.
#[derive(Debug)]
struct NotStored {
    /// What kept it out.
    why: RequestRefusal,
    /// How many events of each sync.
    events: BTreeMap<SyncName, u64>,
}

impl IngestRules {
    /// `syncs` are those that the configuration compiled to; to `upstream` goes what SDKs send.
    pub fn new(
        config: &Config,
        syncs: Vec<Sync>,
        metrics: &Metrics,
        upstream: Option<Upstream>,
    ) -> Self {
        let syncs = syncs.into_iter().map(|sync| {
            let name = sync.name();
            let names = config.syncs.get(name).into_iter().flat_map(counted_names);
            let coverage = metrics.coverage(name, names);
            CountedSync { sync, coverage }
        });
        Self {
            syncs: syncs.collect(),
            passes_on: upstream.is_some() && config.ingest.upstream_when_full == WhenFull::PassOn,
            api: AmplitudeApi::new(config, upstream),
            bodies: BodyReader::new(config.server.max_body.get()),
            trusted_proxies: config.server.trusted_proxies.clone(),
        }
    }

    /// The address of a request's sender, behind trusted proxies.
    fn address(&self, head: &Parts) -> Option<IpAddr> {
        let peer = head.extensions.get::<Peer>()?;
        Some(sender(peer.0.ip(), &head.headers, &self.trusted_proxies))
    }

    /// The syncs that are wanted.
    fn syncs(&self, wanted: impl Fn(&SyncName) -> bool) -> Vec<&CountedSync> {
        self.syncs
            .iter()
            .filter(|counted| wanted(counted.name()))
            .collect()
    }
}

impl Ingest {
    /// Begins with these rules, which are those of `config`.
    pub fn new(
        config: LiveConfig,
        rules: IngestRules,
        queue: Queue,
        metrics: Arc<Metrics>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let minute = Duration::from_secs(60);
        let ingest = Self {
            authenticator: Arc::new(Authenticator::new(config, AuthRule::to_ingest)),
            rules: watch::Sender::new(Arc::new(rules)),
            last_seen: Arc::default(),
            long_work: LongWork::new(),
            queue,
            metrics,
            clock,
            refused: KeyedLogThrottle::new(minute),
            times: TimeWarnings::new(),
            missing: LogThrottle::new(minute),
            may_count_twice: LogThrottle::new(Duration::from_secs(60 * 60)),
            draining: TaskTracker::new(),
        };
        ingest.watch_syncs();
        ingest
    }

    /// Takes requests that come from now on by other rules.
    pub fn replace(&self, rules: IngestRules) {
        self.rules.send_replace(Arc::new(rules));
        self.watch_syncs();
    }

    fn watch_syncs(&self) {
        let rules = self.rules();
        let names = rules.syncs.iter().map(|counted| counted.name().clone());
        self.last_seen.watch(names, self.clock.uptime());
    }

    fn rules(&self) -> Arc<IngestRules> {
        Arc::clone(&self.rules.borrow())
    }

    /// Lets senders in.
    pub fn authenticator(&self) -> &Arc<Authenticator> {
        &self.authenticator
    }

    /// When events last came in.
    pub fn last_seen(&self) -> &Arc<LastSeen> {
        &self.last_seen
    }

    /// Logs, for each sync and event name, what share of the events mapped since the last time
    /// carried each identifier.
    pub fn log_match_key_coverage(&self) {
        for counted in &self.rules().syncs {
            for summary in counted.coverage.since_last_summary() {
                tracing::info!(
                    sync = %counted.name(),
                    event = %summary.event,
                    events = summary.mapped,
                    carried = %summary,
                    "match-key coverage"
                );
            }
        }
    }

    /// Notes that events came in, whatever becomes of them.
    fn arrived(&self, route: EventRoute<'_>, count: u64) {
        self.metrics.received(route.endpoint, count);
        if count > 0 {
            let uptime = self.clock.uptime();
            for counted in route.syncs {
                self.last_seen.note(counted.name(), uptime);
            }
        }
    }

    /// Maps and stores `count` events, chunk by chunk, and adds what became of them to the summary of their request.
    /// Where a sync is full the others still get the rest, so that the sender repeats only what is missing.
    async fn store<'a>(
        &self,
        route: EventRoute<'_>,
        count: u64,
        mut elements: impl Iterator<Item = RawElement<'a>>,
        summary: &mut IngestSummary,
    ) -> Result<(), NotStored> {
        summary.received(count);
        let now = self.clock.now();
        let mut left = count;
        let mut missed: Option<NotStored> = None;
        let mut may_count_twice = None;
        loop {
            let work = if route.uses_profiles() {
                Work::WithDisk
            } else {
                Work::On(route.bytes.saturating_mul(route.syncs.len()))
            };
            let mut chunk = Chunk::new(route, self.queue.profiles());
            let map = || chunk.map(&mut elements, now, summary);
            let mapped = self.long_work.perform(work, map).await;
            if mapped.is_ok() && chunk.taken.is_empty() {
                break;
            }
            let elements = chunk.elements;
            may_count_twice = chunk.may_count_twice.take().or(may_count_twice);
            let pushed = match mapped {
                Ok(()) => {
                    let (taken, learnt) = chunk.into_parts();
                    self.queue.push_with(taken, learnt).await
                }
                Err(error) => Err(error.into()),
            };
            match pushed {
                Ok(pushed) => summary.stored(pushed),
                Err(PushError::Full {
                    sync,
                    pushed,
                    left: refused,
                }) => {
                    summary.stored(pushed);
                    let missed = missed
                        .get_or_insert_with(|| NotStored::nothing(RequestRefusal::QueueFull(sync)));
                    missed.add(refused);
                }
                Err(error) => {
                    let mut all = missed.unwrap_or_else(|| NotStored::nothing(error.into()));
                    let names = route.syncs.iter().map(|counted| counted.name());
                    all.add(names.map(|name| (name.clone(), left)));
                    return Err(all);
                }
            }
            left = left.saturating_sub(elements);
        }
        if let Some(sync) = may_count_twice
            && let Some(requests) = self.may_count_twice.due(self.clock.uptime())
        {
            tracing::warn!(
                requests,
                %sync,
                "website events are older than 48 hours: where Meta's Pixel sent them too, Meta counts \
                 them twice; set the sync's browser_pixel to true, and they are kept back, or to false"
            );
        }
        missed.map_or(Ok(()), Err)
    }

    /// Counts and logs events that Amplitude has and Meta misses.
    fn note_missed(&self, missed: &NotStored) {
        let uptime = self.clock.uptime();
        for (sync, events) in &missed.events {
            self.metrics.missed(sync, missed.why.code(), *events);
            self.last_seen.note_missed(sync, *events, uptime);
        }
        if let Some(requests) = self.missing.due(uptime) {
            tracing::warn!(
                requests,
                reason = missed.why.code(),
                "events of SDKs went on to ingest.upstream without being stored here: Meta misses them \
                 (ingest.upstream_when_full)"
            );
        }
    }

    async fn webhook(&self, sync: Option<&str>, request: Request) -> Response {
        let (head, mut body) = request.into_parts();
        let admission = self.authenticator.admission(&head.headers);
        match self.take_webhook(sync, admission, &head, &mut body).await {
            Ok(summary) => summary.into_response(),
            Err(refusal) => {
                self.drain_rest(&head.headers, body, admission);
                self.refuse(refusal)
            }
        }
    }

    /// Reads what a refused sender goes on to send. One that asks before it sends (`Expect`) has sent
    /// nothing yet.
    fn drain_rest(&self, headers: &HeaderMap, body: Body, admission: Admission) {
        let is_due = admission == Admission::WithSecret || self.draining.len() < MOST_DRAINED;
        if is_due && !body.is_end_stream() && !headers.contains_key(EXPECT) {
            self.draining.spawn(drain(body));
        }
    }

    /// Refuses a request for a path, or a method of one, that nothing answers.
    fn refuse_path(&self, refusal: HttpError, request: Request) -> Response {
        let (head, body) = request.into_parts();
        self.drain_rest(&head.headers, body, Admission::Refused);
        self.log_refused_path(refusal, &head.method, &head.uri);
        self.refuse(refusal.into())
    }

    fn log_refused_path(&self, refusal: HttpError, method: &Method, uri: &Uri) {
        let is_off = self.rules().api.is_none() && amplitude_api::answers(uri.path());
        let reason = if is_off { "api_off" } else { refusal.code() };
        let Some(requests) = self.refused.due(reason, self.clock.uptime()) else {
            return;
        };
        let path = logged_path::safe_form(uri.path());
        // An unknown method could hold anything.
        let method = match method.as_str() {
            known @ ("GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS") => known,
            _ => "another method",
        };
        let why = if is_off {
            " of SDKs: their endpoints are off until ingest.api_keys lists a project".to_owned()
        } else {
            format!(": {refusal}")
        };
        tracing::warn!(requests, method, path, "refused requests{why}");
    }

    async fn take_webhook(
        &self,
        sync: Option<&str>,
        admission: Admission,
        head: &Parts,
        body: &mut Body,
    ) -> Result<IngestSummary, RequestRefusal> {
        let rules = self.rules();
        let sender = match admission {
            Admission::Refused => return Err(HttpError::Unauthorized.into()),
            Admission::WithSecret => BodySender::WithSecret,
            Admission::ForAnyone => BodySender::Stranger(rules.address(head)),
        };
        let syncs = rules.syncs(|name| sync.is_none_or(|sync| sync == name.as_str()));
        if sync.is_some() && syncs.is_empty() {
            return Err(RequestRefusal::UnknownSync);
        }
        let work = &self.long_work;
        let body = (rules.bodies).read(&head.headers, body, sender, work);
        let body = body.await?;
        let (bytes, arena) = (body.as_bytes(), Arena::default());
        let decoding = work.perform(Work::On(bytes.len()), || decode(bytes, &arena));
        let elements = decoding.await?;
        let route = EventRoute {
            endpoint: Endpoint::Webhook,
            has_secret: admission == Admission::WithSecret,
            syncs: &syncs,
            bytes: bytes.len(),
        };
        let count = elements.len() as u64;
        self.arrived(route, count);
        let mut summary = IngestSummary::default();
        let stored = self.store(route, count, elements, &mut summary).await;
        // Of what was looked at, whatever became of the rest.
        self.times.note(&summary, self.clock.uptime());
        stored?;
        Ok(summary)
    }

    /// Counts a refusal, and logs what its sender or the operator should look into.
    fn refuse(&self, refusal: RequestRefusal) -> Response {
        self.metrics.refused(refusal.code());
        let (line, last) = match &refusal {
            RequestRefusal::Http(HttpError::Unauthorized) => {
                ("refused requests with a missing or wrong secret", None)
            }
            RequestRefusal::NotJson(_) | RequestRefusal::Http(HttpError::Body(_)) => (
                "refused requests with unusable bodies",
                Some(tracing::field::display(&refusal)),
            ),
            RequestRefusal::UnknownSync => (
                "refused requests to /webhook/… for a sync that the configuration does not name",
                None,
            ),
            // The queue logs what keeps it from storing, `log_refused_path` the paths and methods.
            RequestRefusal::QueueFull(_)
            | RequestRefusal::DiskLow
            | RequestRefusal::StorageFailed
            | RequestRefusal::Stopping
            | RequestRefusal::Http(
                HttpError::NotFound | HttpError::MethodNotAllowed | HttpError::Internal,
            ) => {
                return refusal.into_response();
            }
        };
        if let Some(requests) = self.refused.due(refusal.code(), self.clock.uptime()) {
            tracing::warn!(requests, last, "{line}");
        }
        refusal.into_response()
    }

    /// Why no event can be taken at present; `None` where any sync can take one.
    fn closed(&self) -> Option<RequestRefusal> {
        let health = self.queue.health();
        match health.trouble {
            Some(CapacityProblem::DiskLow) => return Some(RequestRefusal::DiskLow),
            Some(
                CapacityProblem::Failing(_) | CapacityProblem::Mending | CapacityProblem::Busy(_),
            ) => {
                return Some(RequestRefusal::StorageFailed);
            }
            Some(CapacityProblem::Closed) => return Some(RequestRefusal::Stopping),
            None => {}
        }
        let rules = self.rules();
        let enabled: Vec<&SyncName> = (rules.syncs.iter())
            .filter(|counted| counted.sync.is_enabled())
            .map(CountedSync::name)
            .collect();
        let all_full = enabled.iter().all(|name| health.full.contains(*name));
        let first = enabled.first().filter(|_| all_full)?;
        Some(RequestRefusal::QueueFull((*first).clone()))
    }
}

impl NotStored {
    const fn nothing(why: RequestRefusal) -> Self {
        Self {
            why,
            events: BTreeMap::new(),
        }
    }

    fn add(&mut self, events: impl IntoIterator<Item = (SyncName, u64)>) {
        for (sync, more) in events {
            *self.events.entry(sync).or_insert(0) += more;
        }
    }
}

impl From<NotStored> for RequestRefusal {
    fn from(missed: NotStored) -> Self {
        missed.why
    }
}

/// Gives the routes of the public listener.
pub fn router(ingest: Arc<Ingest>) -> Router {
    Router::new()
        .route("/webhook", post(webhook).put(webhook))
        .route(
            "/webhook/{sync}",
            post(webhook_of_sync).put(webhook_of_sync),
        )
        .route("/health", get(health))
        .route("/live", get(live))
        .merge(amplitude_api::routes())
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(ingest)
}

/// Puts other routes behind the secret that events are sent with.
pub fn guarded(ingest: &Arc<Ingest>, routes: Router) -> Router {
    routes.layer(from_fn_with_state(Arc::clone(ingest), guard))
}

async fn guard(State(ingest): State<Arc<Ingest>>, request: Request, next: Next) -> Response {
    if ingest.authenticator.admits(request.headers()) {
        next.run(request).await
    } else {
        ingest.refuse(HttpError::Unauthorized.into())
    }
}

async fn webhook(State(ingest): State<Arc<Ingest>>, request: Request) -> Response {
    ingest.webhook(None, request).await
}

async fn webhook_of_sync(
    State(ingest): State<Arc<Ingest>>,
    sync: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    // A path that cannot be decoded names no sync.
    let sync = sync.map_or_else(|_| String::new(), |Path(sync)| sync);
    ingest.webhook(Some(&sync), request).await
}

async fn not_found(State(ingest): State<Arc<Ingest>>, request: Request) -> Response {
    ingest.refuse_path(HttpError::NotFound, request)
}

async fn method_not_allowed(State(ingest): State<Arc<Ingest>>, request: Request) -> Response {
    ingest.refuse_path(HttpError::MethodNotAllowed, request)
}

async fn health(State(ingest): State<Arc<Ingest>>) -> Response {
    match ingest.closed() {
        None => json_response(StatusCode::OK, "{\"status\":\"ok\"}\n".to_owned()),
        // A load balancer that took this instance out would cut the SDKs off from Amplitude.
        Some(reason) if ingest.rules().passes_on => {
            let body = format!(
                "{{\"status\":\"passing_on\",\"reason\":\"{}\"}}\n",
                reason.code()
            );
            json_response(StatusCode::OK, body)
        }
        Some(reason) => reason.into_response(),
    }
}

/// Says that the process runs, whatever becomes of events.
async fn live() -> Response {
    json_response(StatusCode::OK, "{\"status\":\"ok\"}\n".to_owned())
}

/// The event types of the table that have counters of their own: all but `*`, whose events are
/// counted as `other`.
fn counted_names(sync: &SyncConfig) -> impl Iterator<Item = &str> {
    let names = sync.events.iter().flat_map(|events| events.keys());
    names.map(String::as_str).filter(|name| *name != "*")
}

#[cfg(test)]
mod tests;
