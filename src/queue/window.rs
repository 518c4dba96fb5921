//! The duplicate window: the fingerprints of recent events, in memory.
//!
//! How long ago they came is measured by the uptime, so that no setting of the clock empties the window or keeps an
//! id for ever. Of those that are loaded only dates tell that. At a start nobody has told the time yet, and any date may be
//! of a wrong clock. So the age of an id is then the sum of the steps, forth and back, between those that came after it,
//! and no step counts for much: after a quiet time an id may be remembered for longer than the window, and none is
//! forgotten because of wrong dates, however many there are: a clock that is wrong for a while goes forth and back.
//!
//! Fingerprints lie in a ring in the order in which they came; a hash table of places in the ring
//! finds them again. That is 16 + 4 bytes per id and one byte of the table's own, twice that at worst
//! for the table. The store holds the same fingerprints, by batch, and for longer.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::clock::{Clock, UnixMillis, millis};
use crate::config::queue::QueueConfig;
use crate::payload::Fingerprint;

use super::batch::{BatchId, fingerprints};
use super::engine::{self, BatchFingerprints, EngineResult, Reader};

/// Batches whose fingerprints are read in one go.
const PAGE: usize = 512;
/// The time between two batches counts as at most this part of the window.
const STEPS: u32 = 48;

/// The ids that are recognised as repeats.
#[derive(Debug)]
pub(super) struct DuplicateWindow {
    places: HashTable<u32>,
    ring: Vec<Fingerprint>,
    /// The place of the oldest id.
    oldest: usize,
    /// How many ids came in each second of the uptime, so that they can leave in time. Seconds below zero came
    /// before the machine booted.
    seconds: VecDeque<(i64, u32)>,
    capacity: usize,
    window: Duration,
}

impl DuplicateWindow {
    /// Makes room for `capacity` ids; memory is touched only as they come.
    fn new(capacity: usize, window: Duration) -> Self {
        let capacity = capacity.min(u32::MAX as usize);
        Self {
            places: HashTable::with_capacity(capacity),
            ring: Vec::with_capacity(capacity),
            oldest: 0,
            seconds: VecDeque::new(),
            capacity,
            window,
        }
    }

    /// Remembers an id from this moment on. A known id takes a second place.
    pub(super) fn insert(&mut self, id: Fingerprint, uptime: Duration) {
        self.insert_at(id, seconds(uptime));
    }

    fn insert_at(&mut self, id: Fingerprint, second: i64) {
        if self.places.len() == self.capacity {
            self.forget_oldest();
        }
        // The ring grows until it is full; from then on, the newest id takes the oldest's place.
        let place = (self.oldest + self.places.len()) % self.capacity;
        if place == self.ring.len() {
            self.ring.push(id);
        } else {
            self.ring[place] = id;
        }
        let place = u32::try_from(place).expect("the capacity fits");
        let ring = &self.ring;
        self.places
            .insert_unique(id.whole, place, |place| ring[*place as usize].whole);
        match self.seconds.back_mut() {
            Some((latest, count)) if *latest >= second => *count += 1,
            _ => self.seconds.push_back((second, 1)),
        }
    }

    /// Whether an id is remembered.
    pub(super) fn contains(&self, id: Fingerprint) -> bool {
        self.places
            .find(id.whole, |place| self.ring[*place as usize] == id)
            .is_some()
    }

    /// Forgets what has left the window.
    pub(super) fn expire(&mut self, uptime: Duration) {
        while let Some(&(second, count)) = self.seconds.front() {
            if since(second + 1, uptime) < self.window {
                break;
            }
            for _ in 0..count {
                self.forget_oldest();
            }
        }
    }

    /// How far back a repeat is recognised.
    pub(super) fn reach(&self, uptime: Duration) -> Duration {
        match self.seconds.front() {
            Some((second, _)) if self.places.len() == self.capacity => {
                since(*second, uptime).min(self.window)
            }
            _ => self.window,
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, count)) = self.seconds.front_mut() {
            *count -= 1;
            if *count == 0 {
                self.seconds.pop_front();
            }
        }
        let (ring, oldest) = (&self.ring, self.oldest);
        let found = self.places.entry(
            ring[oldest].whole,
            |place| *place as usize == oldest,
            |place| ring[*place as usize].whole,
        );
        if let Entry::Occupied(found) = found {
            found.remove();
        }
        self.oldest = (oldest + 1) % self.capacity;
    }
}

/// Whole seconds, rounded down.
fn seconds(uptime: Duration) -> i64 {
    i64::try_from(uptime.as_secs()).unwrap_or(i64::MAX)
}

/// The time from the beginning of a second of the uptime; zero if that is yet to come.
fn since(second: i64, uptime: Duration) -> Duration {
    let before = Duration::from_secs(second.saturating_neg().try_into().unwrap_or(0));
    let after = Duration::from_secs(second.try_into().unwrap_or(0));
    (uptime + before).saturating_sub(after)
}

/// Loads the newest fingerprints, as many as the window holds.
pub(super) fn load(
    config: &QueueConfig,
    clock: &dyn Clock,
    reader: &mut dyn Reader,
) -> EngineResult<DuplicateWindow> {
    let mut window = DuplicateWindow::new(config.duplicate_ids.get(), config.duplicate_window);
    let uptime = seconds(clock.uptime());
    let mut ages = IdAges::new(clock, config.duplicate_window / STEPS);
    // An id leaves with the last of its second, and must not leave sooner after a restart.
    let oldest = config.duplicate_window + Duration::from_secs(1);
    let mut known = 0;
    let mut before = None;
    // The last batch that is too old or does not fit, if there is one, and the ages from there on.
    let mut after = None;
    while after.is_none() {
        let page = reader.newest_fingerprint_counts(before, PAGE)?;
        for batch in &page {
            if known >= window.capacity {
                after = Some((batch.batch, ages));
                break;
            }
            if ages.step_to(batch.taken_at) < oldest {
                // If younger ones look too old, the clock was wrong when they came.
                after = None;
            } else {
                after.get_or_insert((batch.batch, ages));
                if ages.exceeds_by_far(oldest) {
                    break;
                }
            }
            known += usize::try_from(batch.bytes / 16).unwrap_or(0);
            before = Some(batch.batch);
        }
        if page.len() < PAGE {
            break;
        }
    }
    let (after, mut ages) = after.map_or((None, ages), |(after, ages)| (Some(after), ages));
    visit_batches(reader, after, |batch| {
        // Rounded so that no id leaves too soon.
        let second = uptime - seconds(ages.step_to(batch.taken_at));
        fingerprints(&batch.stored).for_each(|id| window.insert_at(id, second));
    })?;
    Ok(window)
}

/// How old ids are, by the dates of their batches: first from the newest to the oldest, then from the oldest on.
#[derive(Clone, Copy, Debug)]
struct IdAges {
    now: UnixMillis,
    /// As long as nobody has told the time: the most that the time between two batches counts, in milliseconds.
    longest_step: Option<i64>,
    /// The age of the last batch, in milliseconds; below zero where its date is ahead of now.
    age: i64,
    last: UnixMillis,
}

impl IdAges {
    fn new(clock: &dyn Clock, longest_step: Duration) -> Self {
        let now = clock.now();
        Self {
            now,
            longest_step: clock.unconfirmed_for().map(|_| millis(longest_step)),
            age: 0,
            last: now,
        }
    }

    /// Whether no wrong date can be all that makes the last batch seem to be older than this. Where the time was told, any
    /// date may be wrong by any time.
    fn exceeds_by_far(&self, age: Duration) -> bool {
        self.longest_step.is_some() && self.age >= 2 * millis(age)
    }

    /// The age of a batch beside the last one.
    fn step_to(&mut self, taken_at: UnixMillis) -> Duration {
        let Some(longest) = self.longest_step else {
            return self.now.since(taken_at);
        };
        let step = self.last.0.saturating_sub(taken_at.0);
        self.age += step.clamp(-longest, longest);
        self.last = taken_at;
        Duration::from_millis(u64::try_from(self.age).unwrap_or(0))
    }
}

/// Finds which of the wanted events were taken, by all fingerprints in the store: these reach further back than
/// the window in memory. The cost hardly depends on how many are wanted.
pub(super) fn known_fingerprints(
    reader: &mut dyn Reader,
    wanted: &[Fingerprint],
) -> EngineResult<HashSet<Fingerprint>> {
    let wanted: HashSet<Fingerprint> = wanted.iter().copied().collect();
    let mut found = HashSet::new();
    visit_batches(reader, None, |batch| {
        found.extend(fingerprints(&batch.stored).filter(|id| wanted.contains(id)));
    })?;
    Ok(found)
}

fn visit_batches(
    reader: &mut dyn Reader,
    after: Option<BatchId>,
    visit: impl FnMut(BatchFingerprints),
) -> EngineResult<()> {
    engine::visit_pages(
        after,
        |after, limit| reader.fingerprints(after, limit),
        |batch| batch.batch,
        visit,
    )
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    const WINDOW: Duration = Duration::from_secs(10);

    fn id(number: u64) -> Fingerprint {
        Fingerprint {
            id: number,
            whole: number.wrapping_mul(0x9E37_79B9_7F4A_7C15),
        }
    }

    #[test]
    fn a_repeat_is_recognised_until_the_window_has_passed() {
        let mut seen = DuplicateWindow::new(10, WINDOW);
        seen.insert(id(1), Duration::from_millis(500));
        seen.expire(Duration::from_millis(10_500));
        assert!(seen.contains(id(1)));
        seen.expire(Duration::from_secs(11));
        assert!(!seen.contains(id(1)));
    }

    #[test]
    fn an_id_that_is_taken_again_is_remembered_from_then_on() {
        let mut seen = DuplicateWindow::new(10, WINDOW);
        seen.insert(id(1), Duration::ZERO);
        seen.insert(id(1), Duration::from_secs(5));
        seen.expire(Duration::from_secs(12));
        assert!(seen.contains(id(1)));
        seen.expire(Duration::from_secs(16));
        assert!(!seen.contains(id(1)));
    }

    #[test]
    fn the_oldest_leaves_when_there_is_no_room_and_the_reach_shrinks() {
        let mut seen = DuplicateWindow::new(2, WINDOW);
        seen.insert(id(1), Duration::from_secs(1));
        assert_eq!(seen.reach(Duration::from_secs(5)), WINDOW);
        seen.insert(id(2), Duration::from_secs(2));
        seen.insert(id(3), Duration::from_secs(3));
        assert!(!seen.contains(id(1)) && seen.contains(id(2)) && seen.contains(id(3)));
        assert_eq!(seen.reach(Duration::from_secs(5)), Duration::from_secs(3));
    }

    #[test]
    fn an_id_from_before_the_machine_booted_leaves_in_time() {
        let mut seen = DuplicateWindow::new(2, WINDOW);
        seen.insert_at(id(1), -7);
        seen.insert_at(id(2), 1);
        assert_eq!(
            seen.reach(Duration::from_millis(500)),
            Duration::from_millis(7500)
        );
        seen.expire(Duration::from_millis(3999));
        assert!(seen.contains(id(1)));
        seen.expire(Duration::from_secs(4));
        assert!(!seen.contains(id(1)) && seen.contains(id(2)));
    }

    #[test]
    fn both_halves_of_a_fingerprint_count() {
        let mut seen = DuplicateWindow::new(4, WINDOW);
        let one = Fingerprint { id: 1, whole: 7 };
        let other = Fingerprint { id: 2, whole: 7 };
        seen.insert(one, Duration::ZERO);
        assert!(seen.contains(one) && !seen.contains(other));
    }

    #[test]
    fn wrong_dates_make_no_id_older_however_often_the_clock_was_wrong() {
        const NOW: i64 = 1_790_000_000;
        const HOUR: i64 = 3600;
        // Dates beside now, in seconds, of batches a second after each other; the newest is the last.
        for (wrong, now) in [
            (3 * 24 * HOUR, 0),
            (-3 * 24 * HOUR, 0),
            (-NOW, 0),
            (2 * HOUR, 2 * HOUR),
            (-NOW, -NOW),
        ] {
            let mut ages = IdAges {
                now: UnixMillis::from_seconds(NOW + now),
                longest_step: Some(HOUR * 1000),
                age: 0,
                last: UnixMillis::from_seconds(NOW + now),
            };
            let mut age = Duration::ZERO;
            for number in 1..1000 {
                let off = if number % 2 == 0 { wrong } else { 0 };
                age = ages.step_to(UnixMillis::from_seconds(NOW - number + off));
                assert!(!ages.exceeds_by_far(Duration::from_secs(48 * 3600)));
            }
            let (least, most) = (999 - 2 * HOUR, 999 + 2 * HOUR);
            assert!(
                (least..=most).contains(&seconds(age)),
                "{wrong} {now}: {age:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn behaves_as_a_plain_list(
            capacity in 1_usize..6,
            steps in prop::collection::vec((0_u64..12, 0_u64..4), 1..80),
        ) {
            let mut seen = DuplicateWindow::new(capacity, WINDOW);
            let mut plain: VecDeque<(u64, u64)> = VecDeque::new();
            let mut second = 0;
            for (number, passes) in steps {
                second += passes;
                let now = Duration::from_secs(second);
                seen.expire(now);
                plain.retain(|(_, at)| second - at < 11);
                seen.insert(id(number), now);
                plain.push_back((number, second));
                if plain.len() > capacity {
                    plain.pop_front();
                }
                for other in 0..12 {
                    let known = plain.iter().any(|(known, _)| *known == other);
                    prop_assert_eq!(seen.contains(id(other)), known);
                }
            }
        }
    }
}
