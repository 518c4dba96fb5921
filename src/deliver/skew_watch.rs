//! Watches how far the system's clock is off, and asks the endpoint for the time while that is not known or much.
//!
//! Every answer that a lane gets tells the time, so a daemon whose clock is right asks three times at its start, and
//! never again. Events that seem to be late wait for these answers, so they are asked for in quick succession. So they are
//! when the clock turns wrong or is set: it may be what is known of the time that is wrong, as after the machine was
//! halted and moved. It asks without a token and without a body, and never while Meta has asked to wait. The requests count in no limit and no
//! metric.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::clock::{ClockSkew, CorrectedClock};

use super::client::GraphClient;
use super::limiter::{Circuit, PixelLimiter};

/// Between two looks at the clock.
const LOOK: Duration = Duration::from_secs(1);
/// The same, until the first requests are answered.
const FIRST_LOOK: Duration = Duration::from_millis(250);
/// Between two requests.
const PAUSE: Duration = Duration::from_secs(60);
/// So many requests are the first ones: one comes with each look.
const FIRST: u32 = 3;
/// After the first of them that fails; the wait doubles with each failure.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// Watches the system's clock.
#[derive(Debug)]
pub struct SkewWatch {
    clock: Arc<CorrectedClock>,
    graph: Arc<GraphClient>,
    /// Of all pixels that the endpoint is asked for.
    limiters: Vec<Arc<PixelLimiter>>,
    answered: u32,
    /// The wait after the next of the first requests, if it fails.
    retry: Duration,
    /// No request before this moment.
    next: Instant,
    /// At the last look.
    seen: Option<ClockSkew>,
}

impl SkewWatch {
    pub fn new(
        clock: Arc<CorrectedClock>,
        graph: Arc<GraphClient>,
        limiters: Vec<Arc<PixelLimiter>>,
    ) -> Self {
        Self {
            clock,
            graph,
            limiters,
            answered: 0,
            retry: FIRST_RETRY,
            next: Instant::now(),
            seen: None,
        }
    }

    /// Looks again and again until the shutdown.
    pub async fn run(&mut self, shutdown: &CancellationToken) {
        loop {
            let look = async {
                self.step().await;
                let is_first = self.answered < FIRST;
                sleep(if is_first { FIRST_LOOK } else { LOOK }).await;
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = look => {}
            }
        }
    }

    /// Looks once, and asks for the time if that is due.
    pub async fn step(&mut self) {
        self.notice_change();
        let now = Instant::now();
        if self.clock.skew().is_some_and(|skew| !skew.is_large())
            || now < self.next
            || !self.may_ask()
        {
            return;
        }
        self.next = now + PAUSE;
        match self.graph.ask_for_date().await {
            Ok(true) => {
                self.answered = self.answered.saturating_add(1);
                if self.answered < FIRST {
                    self.next = now;
                }
            }
            Ok(false) => debug!("Meta's answer does not tell the time"),
            Err(error) => {
                if self.answered < FIRST {
                    self.next = Instant::now() + self.retry;
                    self.retry = (self.retry * 2).min(PAUSE);
                }
                let error: &dyn std::error::Error = &error;
                debug!(error, "Meta could not be asked for the time");
            }
        }
        self.notice_change();
    }

    /// Whether Meta has not asked to wait.
    fn may_ask(&self) -> bool {
        let mut limiters = self.limiters.iter();
        limiters.all(|limiter| limiter.circuit() == Circuit::Closed)
    }

    /// Logs when the clock turns wrong or right. Once it is wrong in another way, asks as at the start.
    fn notice_change(&mut self) {
        let Some(skew) = self.clock.skew() else {
            return;
        };
        let seen = self.seen.replace(skew);
        match (seen.is_some_and(ClockSkew::is_large), skew.is_large()) {
            (false, true) => log_wrong(skew),
            (true, false) => info!("the system's clock is right again"),
            _ => {}
        }
        let turns_wrong = |seen: ClockSkew| {
            let step = ClockSkew(skew.0.saturating_sub(seen.0));
            skew.is_large() && (step.is_large() || !seen.is_large())
        };
        if seen.is_some_and(turns_wrong) {
            self.answered = 0;
            self.retry = FIRST_RETRY;
            self.next = Instant::now();
        }
    }
}

fn log_wrong(skew: ClockSkew) {
    warn!(
        skew_seconds = skew.seconds(),
        "the system's clock is {skew} the time that Meta's answers tell; events are dated and judged by that \
         time until the clock is set. See that the machine's time service runs"
    );
}
