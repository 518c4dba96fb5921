//! HTTP in: from a request to events that are durable in the queue.
//!
//! A sender is answered 2xx only after every event of the request, for every sync that takes events,
//! is on disk or was deliberately filtered or set aside. The order is: who it is (before anything of
//! the body is read), the body within its bounds, its elements, and then chunk by chunk mapping and
//! storing. Mapping hashes personal data; nothing raw goes further than this module.
//!
//! It knows nothing of delivery: whether a lane stands still is no sender's concern.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::header::EXPECT;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio_util::task::TaskTracker;

use crate::clock::{Clock, UnixMillis};
use crate::config::{Config, Mistake, SyncConfig, SyncName};
use crate::ingest::amplitude_api::Api;
use crate::ingest::arrivals::Arrivals;
use crate::ingest::auth::Gate;
use crate::ingest::blocking::{Work, without_blocking_others};
use crate::ingest::body::{BodyReader, Held, discard};
use crate::ingest::decode::{Element, decode};
use crate::ingest::reply::{Refusal, Tally, json_response};
use crate::ingest::upstream::Upstream;
use crate::map::payload::Bodies;
use crate::map::record::Notes;
use crate::memory::Lesson;
use crate::outcome::Reason;
use crate::queue::disk::Trouble;
use crate::queue::recall::Recall;
use crate::queue::{PushError, Queue, StoreError};
use crate::sync::{Fate, Sync, Taken};
use crate::telemetry::logs::Seldom;
use crate::telemetry::metrics::coverage::Coverage;
use crate::telemetry::metrics::{Endpoint, Metrics};

mod address_limit;
mod amplitude_api;
pub mod arrivals;
pub mod auth;
pub mod blocking;
pub mod body;
pub mod client_address;
mod cors;
pub mod decode;
pub mod reply;
pub mod serve;
pub mod silence;
pub mod upstream;

/// Most elements that are mapped before they are stored: bounds the memory of one request.
const CHUNK: usize = 1000;

/// Everything that a request needs.
#[derive(Debug)]
pub struct Door {
    gate: Gate,
    bodies: BodyReader,
    /// The endpoints of SDKs, where they are on.
    api: Option<Api>,
    /// Every sync of the configuration; one that is disabled has no intake.
    syncs: Vec<(SyncName, Option<Intake>)>,
    queue: Queue,
    metrics: Arc<Metrics>,
    arrivals: Arc<Arrivals>,
    clock: Arc<dyn Clock>,
    unauthorized: Seldom,
    unreadable: Seldom,
    time_zone: Seldom,
    /// Rests of refused bodies that are read to be thrown away: each for seconds only.
    discarding: TaskTracker,
}

/// A sync that takes events, and its counters.
#[derive(Debug)]
struct Intake {
    sync: Sync,
    coverage: Coverage,
}

impl Door {
    /// Builds the door. `syncs` are those that the configuration compiled to; to `upstream` goes what
    /// SDKs send.
    pub fn new(
        config: &Config,
        syncs: Vec<Sync>,
        queue: Queue,
        metrics: Arc<Metrics>,
        clock: Arc<dyn Clock>,
        upstream: Option<Upstream>,
    ) -> Result<Self, Mistake> {
        let gate = Gate::for_ingest(&config.ingest).map_err(|_| {
            Mistake::new("ingest.header", "found what cannot be the name of a header")
        })?;
        let mut intakes: Vec<(SyncName, Option<Intake>)> = Vec::new();
        for sync in syncs {
            let name = sync.name().clone();
            let intake = sync.is_enabled().then(|| {
                let names = config.syncs.get(&name).into_iter().flat_map(counted_names);
                let coverage = metrics.coverage(&name, names);
                Intake { sync, coverage }
            });
            intakes.push((name, intake));
        }
        let taking = intakes
            .iter()
            .filter(|(_, intake)| intake.is_some())
            .map(|(name, _)| name.clone());
        Ok(Self {
            gate,
            api: Api::new(config, upstream),
            bodies: BodyReader::new(config.server.max_body.get()),
            arrivals: Arc::new(Arrivals::new(taking, clock.now())),
            syncs: intakes,
            queue,
            metrics,
            clock,
            unauthorized: Seldom::new(Duration::from_secs(60)),
            unreadable: Seldom::new(Duration::from_secs(60)),
            time_zone: Seldom::new(Duration::from_secs(60)),
            discarding: TaskTracker::new(),
        })
    }

    /// When events last came in.
    pub fn arrivals(&self) -> &Arc<Arrivals> {
        &self.arrivals
    }

    /// Logs, for each sync and event name, what share of the events mapped since the last time
    /// carried each identifier.
    pub fn log_match_key_coverage(&self) {
        for (name, intake) in &self.syncs {
            for summary in intake
                .iter()
                .flat_map(|intake| intake.coverage.since_last_summary())
            {
                tracing::info!(
                    sync = %name,
                    event = %summary.event,
                    events = summary.mapped,
                    carried = %summary,
                    "match-key coverage"
                );
            }
        }
    }

    /// Takes the events of a body: for every sync, or for the one that is named.
    async fn take(
        &self,
        endpoint: Endpoint,
        only: Option<&SyncName>,
        body: Held,
    ) -> Result<Tally, Refusal> {
        let bytes = body.as_bytes();
        let elements = without_blocking_others(Work::On(bytes.len()), || decode(bytes))?;
        let intakes = self.intakes(|name| only.is_none_or(|only| only == name));
        let count = elements.len() as u64;
        self.store(endpoint, count, elements, &intakes, bytes.len())
            .await
    }

    /// The syncs that take events, of those that are wanted.
    fn intakes(&self, wanted: impl Fn(&SyncName) -> bool) -> Vec<&Intake> {
        self.syncs
            .iter()
            .filter(|(name, _)| wanted(name))
            .filter_map(|(_, intake)| intake.as_ref())
            .collect()
    }

    /// Maps and stores events, chunk by chunk; `bytes` is the size of the body that they came in.
    async fn store<'a>(
        &self,
        endpoint: Endpoint,
        count: u64,
        mut elements: impl Iterator<Item = Element<'a>>,
        intakes: &[&Intake],
        bytes: usize,
    ) -> Result<Tally, Refusal> {
        let mut tally = Tally::default();
        tally.received(count);
        self.metrics.received(endpoint, count);
        let now = self.clock.now();
        if count > 0 {
            for intake in intakes {
                self.arrivals.note(intake.sync.name(), now);
            }
        }
        let mut full = None;
        loop {
            let is_webhook = endpoint == Endpoint::webhook;
            let recall = intakes
                .iter()
                .any(|intake| intake.sync.remembers(is_webhook))
                .then(|| self.queue.recall());
            let mut chunk = Chunk {
                is_webhook,
                recall,
                bodies: Bodies::default(),
                taken: Vec::new(),
                lessons: Vec::new(),
            };
            let work = match chunk.recall {
                Some(_) => Work::WithDisk,
                None => Work::On(bytes.saturating_mul(intakes.len())),
            };
            without_blocking_others(work, || chunk.map(&mut elements, intakes, now, &mut tally))
                .map_err(PushError::from)?;
            if chunk.taken.is_empty() {
                break;
            }
            // Many requests may wait for one commit; what they read of people need not wait with them.
            drop(chunk.recall);
            match self.queue.push_and_learn(chunk.taken, chunk.lessons).await {
                Ok(pushed) => tally.stored(pushed),
                // The other syncs still get what is left, so that only this one's is repeated.
                Err(error @ PushError::Full { .. }) => full = Some(error),
                Err(error) => return Err(error.into()),
            }
        }
        self.warn_of_templates(&tally, now);
        match full {
            None => Ok(tally),
            Some(error) => Err(error.into()),
        }
    }

    /// Names the one mistake of a template that spoils every event and shows nowhere else.
    fn warn_of_templates(&self, tally: &Tally, now: UnixMillis) {
        if tally.count(Reason::TimeZoneTrap) > 0
            && let Some(requests) = self.time_zone.due(now)
        {
            tracing::warn!(
                requests,
                "events are 7 or 8 hours in the future: a FreeMarker template read UTC as US Pacific \
                 time; write ${{input.event_time}} as it is, or set time_zone=\"UTC\" in the template"
            );
        }
    }

    async fn webhook(&self, sync: Option<&str>, request: Request) -> Response {
        let (head, mut body) = request.into_parts();
        match self.take_webhook(sync, &head.headers, &mut body).await {
            Ok(tally) => tally.into_response(),
            Err(refusal) => {
                // A sender that asked before it sends has sent nothing yet.
                if !body.is_end_stream() && !head.headers.contains_key(EXPECT) {
                    self.discarding.spawn(discard(body));
                }
                self.refuse(refusal)
            }
        }
    }

    async fn take_webhook(
        &self,
        sync: Option<&str>,
        headers: &HeaderMap,
        body: &mut Body,
    ) -> Result<Tally, Refusal> {
        if !self.gate.admits(headers) {
            return Err(Refusal::Unauthorized);
        }
        let only = match sync {
            None => None,
            Some(wanted) => Some(
                self.syncs
                    .iter()
                    .map(|(name, _)| name)
                    .find(|name| name.as_str() == wanted)
                    .ok_or(Refusal::UnknownSync)?,
            ),
        };
        let body = self.bodies.read(headers, body).await?;
        self.take(Endpoint::webhook, only, body).await
    }

    /// Counts a refusal, and logs what its sender or the operator should look into.
    fn refuse(&self, refusal: Refusal) -> Response {
        self.metrics.refused(refusal.code());
        let now = self.clock.now();
        match &refusal {
            Refusal::Unauthorized => {
                if let Some(requests) = self.unauthorized.due(now) {
                    tracing::warn!(requests, "refused requests with a missing or wrong secret");
                }
            }
            Refusal::NotJson(_) | Refusal::Body(_) => {
                if let Some(requests) = self.unreadable.due(now) {
                    tracing::warn!(requests, last = %refusal, "refused requests with unusable bodies");
                }
            }
            // The queue says what keeps it from storing.
            Refusal::QueueFull(_)
            | Refusal::DiskLow
            | Refusal::StorageFailed
            | Refusal::Stopping
            | Refusal::UnknownSync
            | Refusal::NotFound
            | Refusal::MethodNotAllowed => {}
        }
        refusal.into_response()
    }

    /// Why no event can be taken at present; `None` where any sync can take one.
    fn closed(&self) -> Option<Refusal> {
        let health = self.queue.health();
        match health.trouble {
            Some(Trouble::DiskLow) => return Some(Refusal::DiskLow),
            Some(Trouble::Failing(_)) => return Some(Refusal::StorageFailed),
            Some(Trouble::Closed) => return Some(Refusal::Stopping),
            None => {}
        }
        let mut taking = self
            .syncs
            .iter()
            .filter(|(_, intake)| intake.is_some())
            .map(|(name, _)| name)
            .peekable();
        let first = (*taking.peek()?).clone();
        taking
            .all(|name| health.full.contains(name))
            .then_some(Refusal::QueueFull(first))
    }
}

/// Gives the routes of the public listener.
pub fn router(door: Arc<Door>) -> Router {
    Router::new()
        .route("/webhook", post(webhook).put(webhook))
        .route(
            "/webhook/{sync}",
            post(webhook_of_sync).put(webhook_of_sync),
        )
        .route("/health", get(health))
        .merge(amplitude_api::routes(&door))
        .fallback(async || Refusal::NotFound)
        .method_not_allowed_fallback(async || Refusal::MethodNotAllowed)
        .with_state(door)
}

/// Puts other routes behind the secret that events are sent with.
pub fn guarded(door: &Arc<Door>, routes: Router) -> Router {
    routes.layer(from_fn_with_state(Arc::clone(door), guard))
}

async fn guard(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    if door.gate.admits(request.headers()) {
        next.run(request).await
    } else {
        door.refuse(Refusal::Unauthorized)
    }
}

async fn webhook(State(door): State<Arc<Door>>, request: Request) -> Response {
    door.webhook(None, request).await
}

async fn webhook_of_sync(
    State(door): State<Arc<Door>>,
    sync: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    // What cannot be read as a name is the name of no sync.
    let sync = sync.map_or_else(|_| String::new(), |Path(sync)| sync);
    door.webhook(Some(&sync), request).await
}

async fn health(State(door): State<Arc<Door>>) -> Response {
    match door.closed() {
        None => json_response(StatusCode::OK, "{\"status\":\"ok\"}\n".to_owned()),
        Some(reason) => reason.into_response(),
    }
}

/// The event types of the table that have counters of their own: all but `*`, whose events are
/// counted as `other`.
fn counted_names(sync: &SyncConfig) -> impl Iterator<Item = &str> {
    let names = sync.events.iter().flat_map(|events| events.keys());
    names.map(String::as_str).filter(|name| *name != "*")
}

/// Events that are mapped and stored together.
#[derive(Debug)]
struct Chunk {
    is_webhook: bool,
    /// What is remembered of people, where any sync takes from it.
    recall: Option<Recall>,
    bodies: Bodies,
    taken: Vec<Taken>,
    /// What changes in what is remembered.
    lessons: Vec<(SyncName, Lesson)>,
}

impl Chunk {
    /// Maps the next elements for every sync.
    fn map<'a>(
        &mut self,
        elements: &mut impl Iterator<Item = Element<'a>>,
        intakes: &[&Intake],
        now: UnixMillis,
        tally: &mut Tally,
    ) -> Result<(), StoreError> {
        if intakes.is_empty() {
            return Ok(());
        }
        let left = elements.size_hint().1.unwrap_or(CHUNK);
        let expected = left.min(CHUNK) * intakes.len();
        self.taken.reserve(expected);
        self.bodies = Bodies::for_events(expected);
        for element in elements.by_ref().take(CHUNK) {
            for intake in intakes {
                let (fate, notes) = self.take(&element, intake, now)?;
                for (field, why) in notes.dropped() {
                    intake.coverage.dropped(field, why.as_str());
                }
                match &fate {
                    Fate::Mapped(_) => {
                        let (carried, lacking) = (notes.carried(), notes.lacking());
                        intake.coverage.mapped(notes.label(), carried, lacking);
                    }
                    Fate::Ended(ended) => tally.ended(ended.reason),
                }
                self.taken.push(Taken {
                    sync: intake.sync.name().clone(),
                    fate,
                });
            }
        }
        Ok(())
    }

    fn take(
        &mut self,
        element: &Element<'_>,
        intake: &Intake,
        now: UnixMillis,
    ) -> Result<(Fate, Notes), StoreError> {
        let sync = &intake.sync;
        match (&element.event, &mut self.recall) {
            (Ok(event), Some(recall)) if sync.remembers(self.is_webhook) => {
                let (fate, notes, lesson) =
                    sync.take_remembering(event, now, &mut self.bodies, recall)?;
                self.lessons
                    .extend(lesson.map(|lesson| (sync.name().clone(), lesson)));
                Ok((fate, notes))
            }
            (event, _) => {
                let event = event.as_ref().map_err(|reason| *reason);
                Ok(sync.take(event, element.raw, now, &mut self.bodies))
            }
        }
    }
}

#[cfg(test)]
mod tests;
