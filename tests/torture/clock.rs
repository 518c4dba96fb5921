//! A time of day that is wrong: by minutes, days, or as after a reset to 1970.

use std::path::Path;

use pixel_relay::clock::{Clock as _, SystemClock, UnixMillis};

use crate::preload::Shim;

/// By how many seconds; the last is 1970.
const STEPS: [i64; 9] = [-90, 90, -600, 600, -7200, 7200, -3 * DAY, 3 * DAY, 1970];
const DAY: i64 = 24 * 3600;

/// The clock that the daemon sees.
pub struct FalseClock {
    pub shim: Shim,
    /// Since when it is wrong.
    wrong_since: Option<UnixMillis>,
    /// When it was wrong.
    wrong: Vec<(UnixMillis, UnixMillis)>,
}

impl FalseClock {
    pub fn new(folder: &Path) -> Self {
        Self {
            shim: Shim::new(folder),
            wrong_since: None,
            wrong: Vec::new(),
        }
    }

    /// Moves it somewhere else.
    pub fn step(&mut self, random: &mut fastrand::Rng) {
        let mut seconds = STEPS[random.usize(0..STEPS.len())];
        if seconds == 1970 {
            seconds = -SystemClock.now().seconds() + 60;
        }
        self.wrong_since.get_or_insert_with(|| SystemClock.now());
        self.shim.set_clock(seconds);
    }

    /// Sets it right.
    pub fn set_right(&mut self) {
        self.shim.set_clock(0);
        if let Some(since) = self.wrong_since.take() {
            self.wrong.push((since, SystemClock.now()));
        }
    }

    /// Whether it was wrong at any moment between the two.
    pub fn was_wrong(&self, from: UnixMillis, to: UnixMillis) -> bool {
        let overlaps = |(begin, end): &(UnixMillis, UnixMillis)| *begin <= to && *end >= from;
        self.wrong.iter().any(overlaps)
    }
}
