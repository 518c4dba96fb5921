//! The duplicate window: the fingerprints of recent events, in memory.
//!
//! How long ago they came is measured by the uptime, so that no setting of the clock empties the window or keeps an
//! id for ever. Only the age of those that are loaded is told by dates.
//!
//! Fingerprints lie in a ring in the order in which they came; a hash table of places in the ring
//! finds them again. That is 16 + 4 bytes per id and one byte of the table's own, twice that at worst
//! for the table. The store holds the same fingerprints, by batch, and for longer.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::clock::{Clock, UnixMillis};
use crate::config::queue::QueueConfig;
use crate::payload::Fingerprint;

use super::batch::{BatchId, fingerprints};
use super::engine::{self, EngineResult, Reader};

/// Batches whose fingerprints are read in one go.
const PAGE: usize = 512;

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
    let (mut now, uptime) = (clock.now(), clock.uptime());
    if !clock.is_confirmed()
        && let Some(newest) = reader.newest_fingerprint_counts(None, 1)?.first()
    {
        // The clock may be far ahead: what it calls old may be recent.
        now = now.min(newest.taken_at);
    }
    // An id leaves with the last of its second, and must not leave sooner after a restart.
    let from = now.before(config.duplicate_window + Duration::from_secs(1));
    let mut known = 0;
    let mut before = None;
    // The last batch that is too old or does not fit, if there is one.
    let mut after = None;
    while after.is_none() {
        let page = reader.newest_fingerprint_counts(before, PAGE)?;
        for batch in &page {
            if known >= window.capacity {
                after = Some(batch.batch);
                break;
            }
            if batch.taken_at <= from {
                after.get_or_insert(batch.batch);
            } else {
                // If younger ones look too old, the clock was wrong when they came.
                after = None;
            }
            known += usize::try_from(batch.bytes / 16).unwrap_or(0);
            before = Some(batch.batch);
        }
        if page.len() < PAGE {
            break;
        }
    }
    for_each(reader, after, |taken_at, id| {
        // Rounded so that no id leaves too soon.
        let age = seconds(now.since(taken_at));
        window.insert_at(id, seconds(uptime) - age);
    })?;
    Ok(window)
}

/// Finds which of the wanted events were taken, by all fingerprints in the store: these reach further back than
/// the window in memory. The cost hardly depends on how many are wanted.
pub(super) fn known_fingerprints(
    reader: &mut dyn Reader,
    wanted: &[Fingerprint],
) -> EngineResult<HashSet<Fingerprint>> {
    let wanted: HashSet<Fingerprint> = wanted.iter().copied().collect();
    let mut found = HashSet::new();
    for_each(reader, None, |_, id| {
        if wanted.contains(&id) {
            found.insert(id);
        }
    })?;
    Ok(found)
}

fn for_each(
    reader: &mut dyn Reader,
    after: Option<BatchId>,
    mut visit: impl FnMut(UnixMillis, Fingerprint),
) -> EngineResult<()> {
    engine::visit_pages(
        after,
        |after, limit| reader.fingerprints(after, limit),
        |batch| batch.batch,
        |batch| fingerprints(&batch.stored).for_each(|id| visit(batch.taken_at, id)),
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
