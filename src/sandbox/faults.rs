//! The faults that the sandbox simulates on request.
//!
//! [`Faults`] hold one [`FaultPlan`] for all pixels and plans for single ones. A plan has a script, which
//! gives each of the next calls one fault, and faults that afterwards strike each call with a probability.
//! `faults/text.rs` reads and writes faults as text. Random choices come from one seeded generator, so that
//! a run of calls can be repeated.

mod text;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde_json::Value;

use crate::words::words;

pub use self::text::InvalidFault;

/// Every fault, and how often it strikes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Faults {
    /// For every pixel.
    pub everywhere: FaultPlan,
    /// For single pixels, in addition; their script and faults come first.
    pub pixels: BTreeMap<String, FaultPlan>,
}

/// What happens to the calls of one pixel, or of all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FaultPlan {
    /// How long every answer takes at least.
    pub latency: Option<Latency>,
    /// The percentages in the usage headers.
    pub usage: UsageHeaders,
    /// Events that are refused although they follow every rule. The text of the refusal blames a random
    /// event of the batch, to expose a caller that trusts it.
    pub poison: Vec<Mark>,
    /// Events that make their batch fail with an answer that names no event.
    pub sinkers: Vec<Sinker>,
    /// Whether a refused batch has its good events with an id taken. Reports on Meta differ.
    pub takes_good: bool,
    /// The script: one fault for each of the next calls, in this order.
    pub next: VecDeque<Fault>,
    /// Faults that may strike any call; the first one that does decides.
    pub chances: Vec<Chance>,
}

/// Matches events by their name or id; a `*` at the end matches any rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark(pub String);

/// Events, and the answer to a batch with one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sinker {
    /// Which events.
    pub mark: Mark,
    /// The answer.
    pub answer: Sinking,
}

/// An answer that names no event, although an event is its cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sinking {
    /// An error of this code, without a sub-code.
    Error(i64),
    /// A page of HTML with this status.
    Page(u16),
}

/// A delay between two bounds, drawn for each call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    /// The shortest.
    pub from: Duration,
    /// The longest.
    pub to: Duration,
}

/// Percentages for the usage headers; a header whose value is absent is not sent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct UsageHeaders {
    /// `X-App-UsageHeaders`.
    pub app: Option<f64>,
    /// `X-Business-Use-Case-UsageHeaders`.
    pub business: Option<f64>,
    /// `X-Ad-Account-UsageHeaders`.
    pub account: Option<f64>,
}

/// A fault and how likely it is to strike a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chance {
    /// What happens.
    pub fault: Fault,
    /// Between 0 and 1.
    pub probability: f64,
}

/// One thing that goes wrong with one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No fault: the call is checked as usual. A pause in a script.
    Pass,
    /// An answer with this status that says nothing of the batch; the batch is not taken.
    Status(u16, BodyShape),
    /// An error in Meta's form; the batch is not taken.
    Error {
        /// HTTP status.
        status: u16,
        /// Meta's code.
        code: i64,
        /// Meta's sub-code.
        sub_code: Option<u32>,
        /// `is_transient`.
        transient: bool,
    },
    /// No answer; the batch is not taken.
    Hang,
    /// No answer, although the batch is taken.
    HangAfter,
    /// The connection is reset once the call is read; the batch is not taken.
    ResetBefore,
    /// The connection is reset once the batch is taken.
    ResetAfter,
    /// The batch is taken, and the connection is reset in the middle of the answer's body.
    Partial,
    /// From this call on, calls for the pixel are refused for a while. Code 368 is a block.
    Throttle {
        /// Meta's code.
        code: u32,
        /// How long; the hint tells the caller, rounded up to its unit.
        regain: Duration,
        /// How the caller is told.
        hint: Hint,
    },
    /// The access token has expired: code 190 with this status.
    TokenDead(u16),
    /// The token lacks a permission: code 200.
    NoPermission,
    /// The pixel does not exist, or not for this token: code 100, sub-code 33.
    PixelGone,
    /// More events than this are refused with code 1, "reduce the amount of data".
    Reduce(usize),
    /// More bytes than this are refused with 413.
    TooLarge(usize),
    /// The batch is taken, but the answer counts one event too few. A batch of one is counted right.
    ShortCount,
    /// The answer is a 200 that counts no event; the batch is not taken.
    ZeroCount,
    /// The batch is taken, but the answer does not count.
    Uncounted,
    /// The batch is taken, and the answer carries a message.
    Remark,
}

words! {
    /// The body of an answer that says nothing of the batch.
    pub enum BodyShape {
        /// An error object of code 2, as Meta sends when it has a fault.
        Graph = "graph",
        /// `{"error":{"code":2}}`.
        Bare = "bare",
        /// A page of HTML, as a proxy sends.
        Html = "html",
        /// Nothing.
        Empty = "empty",
    }
}

words! {
    /// How a throttled caller is told when to come back.
    pub enum Hint {
        /// `estimated_time_to_regain_access` of `X-Business-Use-Case-UsageHeaders`, in minutes.
        Minutes = "minutes",
        /// `reset_time_duration` of `X-Ad-Account-UsageHeaders`, in seconds.
        Reset = "reset",
        /// `Retry-After`, in seconds.
        RetryAfter = "retry_after",
        /// Not at all.
        None = "none",
    }
}

impl Faults {
    /// Decides on the fault of a call, and uses up the script.
    pub(super) fn choose(
        &mut self,
        pixel_id: &str,
        events: usize,
        bytes: usize,
        random: &mut fastrand::Rng,
    ) -> Option<Fault> {
        let mut plans: Vec<&mut FaultPlan> = self.pixels.get_mut(pixel_id).into_iter().collect();
        plans.push(&mut self.everywhere);
        let scripted = plans.iter_mut().find_map(|plan| plan.next.pop_front());
        let chosen = scripted.or_else(|| {
            plans.iter().find_map(|plan| {
                let strikes = |chance: &&Chance| {
                    chance.fault.concerns(events, bytes) && random.f64() < chance.probability
                };
                Some(plan.chances.iter().find(strikes)?.fault)
            })
        });
        chosen.filter(|fault| *fault != Fault::Pass && fault.concerns(events, bytes))
    }

    /// Draws how long the answer to a call takes.
    pub(super) fn latency(&self, pixel_id: &str, random: &mut fastrand::Rng) -> Duration {
        let own = self.pixels.get(pixel_id).and_then(|plan| plan.latency);
        let Some(latency) = own.or(self.everywhere.latency) else {
            return Duration::ZERO;
        };
        latency.from
            + latency
                .to
                .saturating_sub(latency.from)
                .mul_f64(random.f64())
    }

    /// The percentages for the usage headers of a call.
    pub(super) fn usage(&self, pixel_id: &str) -> UsageHeaders {
        let general = self.everywhere.usage;
        let own = (self.pixels.get(pixel_id)).map_or_else(UsageHeaders::default, |plan| plan.usage);
        UsageHeaders {
            app: own.app.or(general.app),
            business: own.business.or(general.business),
            account: own.account.or(general.account),
        }
    }

    /// Whether an event is refused although it follows every rule.
    pub(super) fn poisons(&self, pixel_id: &str, event: &Value) -> bool {
        self.plans(pixel_id)
            .any(|plan| plan.poison.iter().any(|mark| mark.is_on(event)))
    }

    /// The answer to a batch with this event, if it makes the batch fail.
    pub(super) fn sinks(&self, pixel_id: &str, event: &Value) -> Option<Sinking> {
        let mut sinkers = self.plans(pixel_id).flat_map(|plan| &plan.sinkers);
        let sinker = sinkers.find(|sinker| sinker.mark.is_on(event))?;
        Some(sinker.answer)
    }

    /// Whether the good events of a refused batch are taken.
    pub(super) fn takes_good(&self, pixel_id: &str) -> bool {
        self.plans(pixel_id).any(|plan| plan.takes_good)
    }

    fn plans(&self, pixel_id: &str) -> impl Iterator<Item = &FaultPlan> {
        self.pixels
            .get(pixel_id)
            .into_iter()
            .chain([&self.everywhere])
    }
}

impl Mark {
    fn is_on(&self, event: &Value) -> bool {
        let texts = ["event_name", "event_id"].map(|key| event[key].as_str());
        let mut texts = texts.into_iter().flatten();
        match self.0.strip_suffix('*') {
            Some(beginning) => texts.any(|text| text.starts_with(beginning)),
            None => texts.any(|text| text == self.0),
        }
    }
}

impl Fault {
    /// A name to count by.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "ok",
            Self::Status(..) => "status",
            Self::Error { .. } => "error",
            Self::Hang => "hang",
            Self::HangAfter => "hang_after",
            Self::ResetBefore => "reset_before",
            Self::ResetAfter => "reset_after",
            Self::Partial => "partial",
            Self::Throttle { .. } => "throttle",
            Self::TokenDead(_) => "token_dead",
            Self::NoPermission => "no_permission",
            Self::PixelGone => "pixel_gone",
            Self::Reduce(_) => "reduce",
            Self::TooLarge(_) => "too_large",
            Self::ShortCount => "short_count",
            Self::ZeroCount => "zero_count",
            Self::Uncounted => "uncounted",
            Self::Remark => "remark",
        }
    }

    /// Whether it can strike a call of this size.
    const fn concerns(self, events: usize, bytes: usize) -> bool {
        match self {
            Self::Reduce(most) => events > most,
            Self::TooLarge(most) => bytes > most,
            Self::ShortCount => events > 1,
            _ => true,
        }
    }
}

impl Hint {
    /// How Meta tells the caller with this code.
    pub(super) const fn usual_for(code: u32) -> Self {
        match code {
            80_000..=80_014 => Self::Minutes,
            17 => Self::Reset,
            _ => Self::None,
        }
    }

    /// The time that the caller learns: `regain` rounded up to the hint's unit.
    pub(super) fn announced(self, regain: Duration) -> Duration {
        let unit = match self {
            Self::Minutes => 60,
            Self::Reset | Self::RetryAfter => 1,
            Self::None => return regain,
        };
        Duration::from_secs(whole_seconds(regain).next_multiple_of(unit))
    }
}

/// Seconds, rounded up.
pub(super) fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(faults: &mut Faults, pixel_id: &str, events: usize) -> Option<Fault> {
        let mut random = fastrand::Rng::with_seed(1);
        faults.choose(pixel_id, events, 1000, &mut random)
    }

    #[test]
    fn a_script_is_used_up_before_chance_decides() {
        let text = "next:hang, next:ok, no_permission";
        let mut faults = text.parse::<Faults>().unwrap();
        assert_eq!(choose(&mut faults, "1", 1), Some(Fault::Hang));
        assert_eq!(choose(&mut faults, "1", 1), None);
        assert_eq!(choose(&mut faults, "1", 1), Some(Fault::NoPermission));
    }

    #[test]
    fn a_pixel_has_faults_of_its_own() {
        let mut faults = "7/token_dead, hang".parse::<Faults>().unwrap();
        assert_eq!(choose(&mut faults, "7", 1), Some(Fault::TokenDead(401)));
        assert_eq!(choose(&mut faults, "8", 1), Some(Fault::Hang));
    }

    #[test]
    fn size_faults_strike_only_what_is_too_big() {
        let mut faults = "reduce=10,too_large=1000".parse::<Faults>().unwrap();
        assert_eq!(choose(&mut faults, "1", 11), Some(Fault::Reduce(10)));
        assert_eq!(choose(&mut faults, "1", 10), None);
    }

    #[test]
    fn the_same_seed_chooses_the_same_faults() {
        let draw = || {
            let mut faults = "status=503:0.3,hang=0.3".parse::<Faults>().unwrap();
            let mut random = fastrand::Rng::with_seed(7);
            let calls = (0..100).map(|_| faults.choose("1", 1, 1, &mut random));
            calls.collect::<Vec<_>>()
        };
        let (first, second) = (draw(), draw());
        assert_eq!(first, second);
        assert!(first.contains(&None) && first.contains(&Some(Fault::Hang)));
    }

    #[test]
    fn regain_times_are_rounded_up_to_what_can_be_announced() {
        let announced =
            |hint: Hint, millis| hint.announced(Duration::from_millis(millis)).as_millis();
        assert_eq!(announced(Hint::Minutes, 61_000), 120_000);
        assert_eq!(announced(Hint::Minutes, 60_000), 60_000);
        assert_eq!(announced(Hint::RetryAfter, 1_001), 2_000);
        assert_eq!(announced(Hint::None, 1_001), 1_001);
    }
}
