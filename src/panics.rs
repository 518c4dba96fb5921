//! Panics: what they cost, and what is told of them.
//!
//! A panic is a fault of this program. It ends what was being done, a request or the work of a lane, and what can be
//! begun anew goes on. Where the same part fails again and again, the process ends, so that its supervisor sees it.
//!
//! The text of a panic may hold anything, such as a piece of an event. Only a text that stands in the program as it
//! is, without values, is shown.

use std::any::Any;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::panic::{self, AssertUnwindSafe, Location, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

/// This many panics of one part within [`STRIKES_WITHIN`] end the process.
const STRIKES: usize = 3;
const STRIKES_WITHIN: Duration = Duration::from_secs(600);

thread_local! {
    /// Where the last panic of this thread was, for whoever catches it.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// What is told of a panic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panicked {
    /// File and line; `None` where nobody noted it.
    place: Option<String>,
    /// `None` if it may hold values.
    text: Option<&'static str>,
}

/// The panics of one part of the program.
#[derive(Debug, Default)]
pub struct Strikes(VecDeque<Instant>);

/// Logs each panic of this process, in place of the standard library, which would write its whole text.
pub fn log_panics() {
    panic::set_hook(Box::new(|panicked| {
        let place = panicked.location().map(in_words);
        tracing::error!(
            place = place.as_deref(),
            text = Panicked::text_of(panicked.payload()),
            thread = std::thread::current().name(),
            "a fault of this program: please report it"
        );
        PLACE.set(place);
    }));
}

/// Runs a future. A panic in it ends the future alone.
pub async fn caught<F: Future>(future: F) -> Result<F::Output, Panicked> {
    let mut future = pin!(future);
    poll_fn(|context| {
        // What the future shares with others is behind locks, which a panic poisons.
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context)));
        match polled {
            Ok(polled) => polled.map(Ok),
            Err(payload) => Poll::Ready(Err(Panicked::of(&*payload))),
        }
    })
    .await
}

impl Panicked {
    /// What the payload of a panic tells, on the thread that panicked.
    fn of(payload: &(dyn Any + Send)) -> Self {
        // One that was caught before, on another thread.
        if let Some(panicked) = payload.downcast_ref::<Self>() {
            return panicked.clone();
        }
        Self {
            place: PLACE.take(),
            text: Self::text_of(payload),
        }
    }

    /// A text without values is in the program itself; any other was made when it panicked.
    fn text_of(payload: &(dyn Any + Send)) -> Option<&'static str> {
        payload.downcast_ref::<&'static str>().copied()
    }
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a fault of this program")?;
        if let Some(place) = &self.place {
            write!(f, " at {place}")?;
        }
        match self.text {
            Some(text) => write!(f, ": {text}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Panicked {}

impl Strikes {
    /// Counts a panic. Tells whether there were too many.
    pub fn add(&mut self, now: Instant) -> bool {
        self.0.push_back(now);
        self.0
            .retain(|then| now.duration_since(*then) < STRIKES_WITHIN);
        self.0.len() >= STRIKES
    }
}

fn in_words(place: &Location<'_>) -> String {
    format!("{}:{}", place.file(), place.line())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_ends_the_future_alone_and_tells_no_value() {
        assert_eq!(caught(async { 1 }).await, Ok(1));
        let plain = caught(async { panic!("no value") }).await;
        let plain: Result<(), _> = plain;
        let told = plain.unwrap_err().to_string();
        assert!(told.ends_with(": no value"), "{told}");
        let secret = "someone@example.com";
        let with_value = caught(async { panic!("found {secret}") }).await;
        let with_value: Result<(), _> = with_value;
        let told = format!("{:?}", with_value.unwrap_err());
        assert!(!told.contains("found"), "{told}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_third_panic_in_ten_minutes_is_one_too_many() {
        let mut strikes = Strikes::default();
        let start = Instant::now();
        let seconds = |seconds| start + Duration::from_secs(seconds);
        assert!(!strikes.add(start));
        assert!(!strikes.add(seconds(300)));
        assert!(!strikes.add(seconds(601)));
        assert!(strikes.add(seconds(602)));
    }
}
