//! When the next request to a pixel may go out.
//!
//! Meta's limits are per account, so every sync with the same pixel id shares one [`PixelLimiter`]: its
//! requests and events per second (the stricter setting counts), its cooldowns when a rate limit is
//! reached or nearly so, and the single request that probes whether a cooldown is over. Governor says how
//! long to wait and tokio sleeps, so that tests can stop the time.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use governor::RateLimiter;
use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use tokio::time::{Instant, timeout, timeout_at};

use crate::config::units::Rate;
use crate::words::words;

use super::shared_value::{SharedValue, ValueWatch};
use super::usage::LONGEST_WAIT;

/// Above this usage of a rate limit, in percent, requests are spread out.
const SLOW_ABOVE: f64 = 75.0;
/// From this usage of a rate limit on, in percent, no request goes out for a while.
const STOP_FROM: f64 = 95.0;

/// The gap between requests at the upper end of the slow range.
const SLOWEST_PACE: Duration = Duration::from_secs(5);
/// The cooldown at high usage, where Meta names none.
const USAGE_WAIT: Duration = Duration::from_secs(60);
/// The first cooldown after Meta blocked the account; each further one is twice as long.
const FIRST_BLOCK: Duration = Duration::from_secs(3600);
/// How often it is doubled at most.
const DOUBLINGS: u32 = 8;
/// The longest cooldown after a block, where Meta names none.
const LONGEST_BLOCK: Duration = Duration::from_secs(6 * 3600);
/// The shortest cooldown after a refusal.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);
/// Most events in one request.
const MOST_EVENTS: NonZeroU32 = NonZeroU32::new(1000).expect("not zero");

words! {
    /// Why no request may go out, with its name in the store.
    pub enum CooldownReason with pub in_words: &'static str {
        /// Nearly all of a rate limit is used up.
        Usage = "usage" => "nearly all of Meta's rate limit is used up",
        /// A rate limit was reached.
        Throttled = "throttled" => "Meta's rate limit is reached",
        /// The account is blocked for a while.
        Blocked = "blocked" => "Meta has blocked the account for a while",
    }
}

/// Whether requests may go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Circuit {
    /// They may.
    Closed,
    /// They may not, until this moment; then one may probe.
    Open(CooldownReason, Instant),
    /// One is in flight that probes whether the cooldown is over.
    HalfOpen(CooldownReason),
}

/// Requests and events per second; absent: unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    pub requests: Option<Rate>,
    pub events: Option<Rate>,
}

impl Rates {
    #[must_use]
    pub fn stricter(self, other: Self) -> Self {
        Self {
            requests: slower([self.requests, other.requests]),
            events: slower([self.events, other.events]),
        }
    }
}

/// One pixel's limits, shared by the lanes that deliver to it.
#[derive(Debug)]
pub struct PixelLimiter {
    pixel_id: String,
    circuit: SharedValue<Circuit>,
    limits: SharedValue<Arc<RateLimits>>,
    pacing: Mutex<Pacing>,
    // Fair: the lane that has waited longest is next.
    turn: tokio::sync::Mutex<()>,
    events_turn: tokio::sync::Mutex<()>,
}

/// The limits that the configuration sets.
#[derive(Debug)]
struct RateLimits {
    rates: Rates,
    requests: Option<DirectLimiter>,
    events: Option<DirectLimiter>,
    most_events: NonZeroU32,
}

/// Permission to send one request.
#[derive(Debug)]
pub struct Permit {
    pub limiter: Arc<PixelLimiter>,
    probe: Option<CooldownReason>,
}

#[derive(Debug, Default)]
struct Pacing {
    gap: Duration,
    last: Option<Instant>,
    blocks: u32,
}

type DirectLimiter = RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<Duration>>;

impl PixelLimiter {
    /// Begins with a closed circuit and unused limits.
    pub fn new(pixel_id: &str, rates: Rates) -> Arc<Self> {
        Arc::new(Self {
            pixel_id: pixel_id.to_owned(),
            circuit: SharedValue::new(Circuit::Closed),
            limits: SharedValue::new(Arc::new(RateLimits::new(rates))),
            pacing: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            events_turn: tokio::sync::Mutex::default(),
        })
    }

    /// Limits requests and events by other rates. A cooldown goes on.
    pub fn set_rates(&self, rates: Rates) {
        self.limits.change(|limits| {
            let differs = limits.rates != rates;
            if differs {
                *limits = Arc::new(RateLimits::new(rates));
            }
            differs
        });
    }

    fn limits(&self) -> Arc<RateLimits> {
        self.limits.get()
    }

    /// Most events that one request may carry: those of a second, at least one.
    pub fn most_events(&self) -> usize {
        self.limits().most_events.get() as usize
    }

    pub fn pixel_id(&self) -> &str {
        &self.pixel_id
    }

    pub fn circuit(&self) -> Circuit {
        self.circuit.get()
    }

    /// Shows changes of the circuit.
    pub fn watch(&self) -> ValueWatch<Circuit> {
        self.circuit.watch()
    }

    /// Waits until a request may go out.
    pub async fn permit(self: &Arc<Self>) -> Permit {
        let _turn = self.turn.lock().await;
        loop {
            let permit = Permit {
                probe: self.pass_circuit().await,
                limiter: Arc::clone(self),
            };
            let Some(wait) = self.wait_for_request() else {
                return permit;
            };
            // A request that has to wait does not probe yet: it checks the circuit again.
            drop(permit);
            self.sleep(wait).await;
        }
    }

    /// Waits until this many events may go out.
    pub async fn wait_for_events(&self, number: usize) {
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        let _turn = self.events_turn.lock().await;
        loop {
            let limits = self.limits();
            let number = NonZeroU32::new(number.min(limits.most_events.get()));
            let (Some(limiter), Some(number)) = (&limits.events, number) else {
                return;
            };
            // The number fits in a burst, so the outer result is never an error.
            let Ok(Err(not_until)) = limiter.check_n(number) else {
                return;
            };
            let wait = not_until.wait_time_from(limiter.clock().now());
            self.sleep(wait).await;
        }
    }

    /// Begins a cooldown of this length, within bounds, and gives the length. A longer one stays.
    pub fn open(&self, why: CooldownReason, wait: Option<Duration>) -> Duration {
        let wait = match why {
            CooldownReason::Usage | CooldownReason::Throttled => wait.unwrap_or(USAGE_WAIT),
            CooldownReason::Blocked => {
                let mut pacing = self.pacing();
                let block = block_wait(pacing.blocks);
                pacing.blocks = pacing.blocks.saturating_add(1);
                block.max(wait.unwrap_or_default())
            }
        };
        let wait = wait.clamp(SHORTEST_WAIT, LONGEST_WAIT);
        self.open_for(why, wait);
        wait
    }

    /// How long a cooldown of this length would last, beside a longer one that stands.
    pub fn at_least(&self, wait: Duration) -> Duration {
        match self.circuit() {
            Circuit::Open(_, until) => wait.max(until.saturating_duration_since(Instant::now())),
            Circuit::Closed | Circuit::HalfOpen(_) => wait,
        }
    }

    /// Continues a cooldown of an earlier process: Meta asked for `asked`, and `left` is left. Once it is
    /// over, one request probes, as usual.
    pub fn restore(&self, why: CooldownReason, asked: Duration, left: Duration) {
        if why == CooldownReason::Blocked {
            // Its length tells how many came before it.
            let before = (0..DOUBLINGS).find(|before| block_wait(*before) >= asked);
            self.pacing().blocks = before.unwrap_or(DOUBLINGS) + 1;
        }
        if why != CooldownReason::Usage || !left.is_zero() {
            self.open_for(why, left.min(asked).min(LONGEST_WAIT));
        }
    }

    /// Slows down by the usage that an answer's headers tell, and gives the cooldown that begins at a very
    /// high one. `wait` is what they ask for.
    pub fn on_usage(&self, percent: f64, wait: Option<Duration>) -> Option<Duration> {
        let share = ((percent - SLOW_ABOVE) / (STOP_FROM - SLOW_ABOVE)).clamp(0.0, 1.0);
        self.pacing().gap = SLOWEST_PACE.mul_f64(share);
        (percent >= STOP_FROM).then(|| self.open(CooldownReason::Usage, wait))
    }

    fn open_for(&self, why: CooldownReason, wait: Duration) {
        let mut until = Instant::now() + wait;
        self.circuit.change(|circuit| {
            let mut worst = why;
            if let Circuit::Open(present, end) = *circuit {
                worst = worst.max(present);
                until = until.max(end);
            }
            *circuit = Circuit::Open(worst, until);
            true
        });
    }

    /// Waits while the circuit is open. Gives the cooldown that the request probes, if it is a probe.
    async fn pass_circuit(&self) -> Option<CooldownReason> {
        let mut circuit = self.watch();
        loop {
            let seen = circuit.see();
            match seen {
                Circuit::Closed => return None,
                Circuit::Open(why, until) if until <= Instant::now() => {
                    let probe = Some(why).filter(|why| *why != CooldownReason::Usage);
                    let next = probe.map_or(Circuit::Closed, Circuit::HalfOpen);
                    if self.circuit.replace_if(|circuit| *circuit == seen, next) {
                        return probe;
                    }
                }
                Circuit::Open(_, until) => {
                    // The loop looks again, whatever comes first.
                    let _ended = timeout_at(until, circuit.changed()).await;
                }
                Circuit::HalfOpen(_) => {
                    circuit.changed().await;
                }
            }
        }
    }

    /// Sleeps, or wakes early where the limits change.
    async fn sleep(&self, wait: Duration) {
        let mut limits = self.limits.watch();
        let _timed_out = timeout(wait, limits.changed()).await;
    }

    /// Counts a request, or tells how long to wait for one.
    fn wait_for_request(&self) -> Option<Duration> {
        let mut pacing = self.pacing();
        let now = Instant::now();
        let next = pacing.last.map(|last| last + pacing.gap);
        if let Some(next) = next.filter(|next| *next > now) {
            return Some(next - now);
        }
        if let Some(limiter) = &self.limits().requests
            && let Err(not_until) = limiter.check()
        {
            return Some(not_until.wait_time_from(limiter.clock().now()));
        }
        pacing.last = Some(now);
        None
    }

    fn pacing(&self) -> MutexGuard<'_, Pacing> {
        self.pacing.lock().expect("no holder of this lock panics")
    }
}

impl RateLimits {
    fn new(rates: Rates) -> Self {
        let most_events = rates
            .events
            .map_or(MOST_EVENTS, |rate| rate.within(1.0).min(MOST_EVENTS));
        Self {
            rates,
            // Requests are spread evenly: no burst.
            requests: limiter(rates.requests, NonZeroU32::MIN),
            events: limiter(rates.events, most_events),
            most_events,
        }
    }
}

impl Permit {
    /// Whether the request probes a cooldown, and so should be small.
    pub fn is_probe(&self) -> bool {
        self.probe.is_some()
    }

    /// Whether it is for this pixel, and a request may still go out with it.
    pub fn is_valid_for(&self, limiter: &Arc<PixelLimiter>) -> bool {
        Arc::ptr_eq(&self.limiter, limiter) && self.is_valid()
    }

    /// Whether the request may still go out: no cooldown began since it was given.
    pub fn is_valid(&self) -> bool {
        self.limiter.circuit() == self.probe.map_or(Circuit::Closed, Circuit::HalfOpen)
    }

    /// The answer is not about rates: if the request probed a cooldown, that is over. Tells whether it did.
    pub fn confirm(mut self) -> bool {
        if self.probe.take().is_none() {
            return false;
        }
        self.limiter.pacing().blocks = 0;
        self.end_probe(Circuit::Closed)
    }

    fn end_probe(&self, next: Circuit) -> bool {
        let is_probed = |circuit: &_| matches!(circuit, Circuit::HalfOpen(_));
        self.limiter.circuit.replace_if(is_probed, next)
    }
}

impl Drop for Permit {
    /// After a probe that learnt nothing, the next request probes.
    fn drop(&mut self) {
        if let Some(why) = self.probe {
            self.end_probe(Circuit::Open(why, Instant::now()));
        }
    }
}

/// Tells governor the time as tokio sees it.
#[derive(Clone, Debug)]
struct TokioClock(Instant);

impl Clock for TokioClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// How long a block lasts after this many others.
fn block_wait(before: u32) -> Duration {
    FIRST_BLOCK
        .saturating_mul(1 << before.min(DOUBLINGS))
        .min(LONGEST_BLOCK)
}

fn limiter(rate: Option<Rate>, burst: NonZeroU32) -> Option<DirectLimiter> {
    let quota = rate?.quota(burst)?;
    let clock = TokioClock(Instant::now());
    Some(RateLimiter::direct_with_clock(quota, clock))
}

fn slower(rates: [Option<Rate>; 2]) -> Option<Rate> {
    let rates = rates.into_iter().flatten();
    rates.reduce(|one, other| if other < one { other } else { one })
}

#[cfg(test)]
#[path = "limiter/tests.rs"]
mod tests;
