//! A simulated Graph endpoint: a strict stand-in for `POST /{version}/{pixel}/events`.
//!
//! Its only source is Meta's public documentation (Conversions API: Using the API, Server Event Parameters,
//! Customer Information Parameters, Custom Data, App Data; Marketing API: Error Reference, Rate Limiting).
//! It shares no code with mapping, batching or delivery, so that it can check them independently.
//!
//! - `rules.rs`: the rules for events, and the documented refusal of each. One bad event refuses its whole
//!   batch, as at Meta. The sandbox also refuses rubbish that Meta would take in silence (`rules/strict.rs`
//!   lists those rules).
//! - [`faults`]: the faults that it simulates on request: late, broken, throttled, cut off.
//! - [`record`]: the accepted events, in bounded memory.
//! - `edge.rs`: answers one call; `body.rs` reads it, `reply.rs` writes the answer.
//! - `abortable_stream.rs`: connections that can be reset in the middle of an answer.
//! - `pages.rs`: `/sandbox/…`, where people and test scripts read the record and set faults.
//!
//! The pages are open to everyone who reaches the listener, so listen on loopback. Tokens, bodies and
//! personal data are never logged; the record holds accepted events until newer ones replace them.

pub mod faults;
pub mod record;

mod body;
mod edge;
mod abortable_stream;
mod pages;
mod proof;
mod reply;
mod rules;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, SystemClock, UnixMillis};

use self::faults::{Faults, Hint};
use self::record::{Accepted, EarlyCall, Record, SandboxStats};
use crate::sandbox::abortable_stream::{Abort, AbortableListener};

/// A simulated Graph endpoint; clones share everything.
#[derive(Clone)]
pub struct Sandbox(Arc<SandboxState>);

/// The fixed settings of a sandbox; what may change while it runs is in [`Faults`].
#[derive(Clone)]
pub struct SandboxConfig {
    /// The access tokens that are accepted; empty: any token. A call without a token is always refused.
    pub tokens: Vec<String>,
    /// If set, every call needs a valid `appsecret_proof` made with it.
    pub app_secret: Option<String>,
    /// The pixels that exist; `None`: every numeric id.
    pub pixels: Option<Vec<String>>,
    /// Decides the age of events and when a throttle ends.
    pub clock: Arc<dyn Clock>,
    /// Seeds every random choice, so that a run can be repeated.
    pub seed: u64,
    pub mode: Mode,
    /// The largest body that is read; a larger one is answered with 413.
    pub max_body_bytes: usize,
    /// How many accepted events are kept for reading back.
    pub keep_events: usize,
    /// How many bytes of accepted events are kept for reading back.
    pub keep_bytes: usize,
    /// For how many (pixel, event name, event id) repeats are recognised.
    pub keep_ids: usize,
}

/// Whether calls are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Every rule applies, and so do the faults.
    Strict,
    /// Every call to the edge succeeds at once; events are counted, not checked and not kept.
    Sink,
}

struct SandboxState {
    config: SandboxConfig,
    state: Mutex<State>,
    stats: watch::Sender<SandboxStats>,
}

struct State {
    faults: Faults,
    random: fastrand::Rng,
    record: Record,
    throttled: HashMap<String, Throttled>,
    early: Vec<EarlyCall>,
}

/// A throttle or block in force for one pixel.
#[derive(Clone)]
struct Throttled {
    code: u32,
    hint: Hint,
    announced_at: UnixMillis,
    until: UnixMillis,
    /// The trace ids of the first answers that announced it.
    announced_by: Vec<String>,
}

impl Default for SandboxConfig {
    /// Any token, any pixel, the system clock, every rule.
    fn default() -> Self {
        Self {
            tokens: Vec::new(),
            app_secret: None,
            pixels: None,
            clock: Arc::new(SystemClock),
            seed: 1,
            mode: Mode::Strict,
            max_body_bytes: 16 << 20,
            keep_events: 10_000,
            keep_bytes: 64 << 20,
            keep_ids: 4_000_000,
        }
    }
}

impl fmt::Debug for SandboxConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SandboxConfig")
            .field("tokens", &self.tokens.len())
            .field("pixels", &self.pixels)
            .field("seed", &self.seed)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Sandbox {
    /// Shows nothing that was accepted.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stats = self.stats();
        f.debug_tuple("Sandbox")
            .field(&self.0.config)
            .field(&stats)
            .finish()
    }
}

impl Sandbox {
    /// Makes a sandbox without faults.
    pub fn new(config: SandboxConfig) -> Self {
        let state = State {
            faults: Faults::default(),
            random: fastrand::Rng::with_seed(config.seed),
            record: Record::new(config.keep_events, config.keep_bytes, config.keep_ids),
            throttled: HashMap::new(),
            early: Vec::new(),
        };
        Self(Arc::new(SandboxState {
            config,
            state: Mutex::new(state),
            stats: watch::Sender::new(SandboxStats::default()),
        }))
    }

    /// The edge and the pages under `/sandbox`.
    ///
    /// A fault that resets the connection needs [`serve`]; behind another server it never answers.
    pub fn router(&self) -> Router {
        self.router_until(CancellationToken::new())
    }

    /// Only `GET /sandbox/events` and `GET /sandbox/stats`, for mounting on another listener.
    pub fn reading_router(&self) -> Router {
        pages::reading(self.clone())
    }

    /// Replaces the faults, and ends every throttle in force.
    pub fn set_faults(&self, faults: Faults) {
        let mut state = self.state();
        state.faults = faults;
        state.throttled.clear();
    }

    /// Replaces the faults; throttles in force go on.
    pub fn vary_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// The first thousand calls that came while a throttle or block was in force, oldest first; see
    /// [`SandboxStats::early_calls`].
    pub fn early_calls(&self) -> Vec<EarlyCall> {
        self.state().early.clone()
    }

    /// The present faults, without the part of the script that is used up.
    pub fn faults(&self) -> Faults {
        self.state().faults.clone()
    }

    /// The accepted events that are still kept, newest first.
    pub fn accepted(&self) -> Vec<Value> {
        let kept = self.records(usize::MAX, None);
        kept.into_iter().map(|accepted| accepted.event).collect()
    }

    /// The accepted events that are still kept, with their calls, newest first.
    pub fn records(&self, limit: usize, pixel_id: Option<&str>) -> Vec<Accepted> {
        self.state().record.newest(limit, pixel_id)
    }

    /// Removes the kept events from the record and returns them, oldest first, so that a long run needs
    /// bounded memory.
    pub fn take_records(&self) -> Vec<Accepted> {
        self.state().record.take_out()
    }

    /// How often an event of this name and id was accepted for the pixel.
    pub fn times_accepted(&self, pixel_id: &str, event_name: &str, event_id: &str) -> u32 {
        self.state()
            .record
            .times_accepted(pixel_id, event_name, event_id)
    }

    /// The counts so far.
    pub fn stats(&self) -> SandboxStats {
        self.0.stats.borrow().clone()
    }

    /// Waits until `events` events were accepted in all, repeats included.
    pub async fn wait_for(&self, events: u64) {
        self.wait_until(|stats| stats.accepted >= events).await;
    }

    /// Waits until `holds` is true of the counts; it must not call the sandbox itself.
    pub async fn wait_until(&self, mut holds: impl FnMut(&SandboxStats) -> bool) {
        let mut stats = self.0.stats.subscribe();
        stats
            .wait_for(|stats| holds(stats))
            .await
            .expect("the sandbox keeps the sending half");
    }

    fn router_until(&self, shutdown: CancellationToken) -> Router {
        pages::all(self.clone()).fallback_service(edge::service(self.clone(), shutdown))
    }

    fn config(&self) -> &SandboxConfig {
        &self.0.config
    }

    fn count(&self, change: impl FnOnce(&mut SandboxStats)) {
        self.0.stats.send_modify(change);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Serves the sandbox until `shutdown`, then cuts off calls that still wait for an answer.
pub async fn serve(
    listener: TcpListener,
    sandbox: Sandbox,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let service = sandbox
        .router_until(shutdown.clone())
        .into_make_service_with_connect_info::<Abort>();
    axum::serve(AbortableListener(listener), service)
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await
}

#[cfg(test)]
mod tests;
