//! Some of a batch's events, by position.

/// Most events of a batch.
pub(super) const MAX_EVENTS: usize = 256;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bits([u64; MAX_EVENTS / 64]);

impl Bits {
    /// The first `count` positions.
    pub(super) fn first(count: usize) -> Self {
        let mut bits = Self::default();
        for (word, bits) in bits.0.iter_mut().enumerate() {
            *bits = match count.saturating_sub(word * 64) {
                0 => 0,
                left @ 1..64 => (1 << left) - 1,
                _ => u64::MAX,
            };
        }
        bits
    }

    pub(super) const fn has(&self, position: usize) -> bool {
        self.0[position / 64] & 1 << (position % 64) != 0
    }

    pub(super) const fn add(&mut self, position: usize) {
        self.0[position / 64] |= 1 << (position % 64);
    }

    pub(super) const fn remove(&mut self, position: usize) {
        self.0[position / 64] &= !(1 << (position % 64));
    }

    pub(super) fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    pub(super) fn words(&self) -> impl Iterator<Item = u64> {
        self.0.into_iter()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0 == [0; MAX_EVENTS / 64]
    }

    #[must_use]
    pub(super) fn or(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|word| self.0[word] | other.0[word]))
    }

    #[must_use]
    pub(super) fn without(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|word| self.0[word] & !other.0[word]))
    }

    pub(super) fn positions(self) -> impl Iterator<Item = usize> {
        (0..MAX_EVENTS).filter(move |position| self.has(*position))
    }

    /// Their runs: the first position and the one after the last.
    pub(super) fn runs(self) -> Vec<(u16, u16)> {
        let mut runs: Vec<(u16, u16)> = Vec::new();
        for position in self.positions() {
            let at = u16::try_from(position).expect("a batch has at most 256 events");
            match runs.last_mut() {
                Some((_, to)) if *to == at => *to += 1,
                _ => runs.push((at, at + 1)),
            }
        }
        runs
    }

    pub(super) fn add_run(&mut self, from: u16, to: u16) {
        for position in usize::from(from)..usize::from(to).min(MAX_EVENTS) {
            self.add(position);
        }
    }

    /// As they are stored, for a batch with this many events.
    pub(super) fn stored(&self, events: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.0.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.truncate(events.div_ceil(8));
        bytes
    }

    pub(super) fn from_stored(stored: &[u8]) -> Self {
        let mut bits = Self::default();
        for (byte, value) in stored.iter().take(MAX_EVENTS / 8).enumerate() {
            bits.0[byte / 8] |= u64::from(*value) << (byte % 8 * 8);
        }
        bits
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bits_are_a_set(some in prop::collection::btree_set(0_usize..MAX_EVENTS, 0..40)) {
            let mut bits = Bits::default();
            for position in &some {
                bits.add(*position);
            }
            prop_assert!(bits.positions().eq(some.iter().copied()));
            prop_assert_eq!(bits.count(), some.len() as u64);
            let mut of_runs = Bits::default();
            for (from, to) in bits.runs() {
                of_runs.add_run(from, to);
            }
            prop_assert_eq!(of_runs, bits);
            prop_assert_eq!(Bits::from_stored(&bits.stored(MAX_EVENTS)), bits);
            let rest = Bits::first(MAX_EVENTS).without(&bits);
            prop_assert_eq!(rest.count(), (MAX_EVENTS - some.len()) as u64);
            prop_assert_eq!(rest.or(&bits), Bits::first(MAX_EVENTS));
            for position in &some {
                bits.remove(*position);
            }
            prop_assert!(bits.is_empty());
        }

        #[test]
        fn the_first_events(count in 0..=MAX_EVENTS) {
            prop_assert!(Bits::first(count).positions().eq(0..count));
        }
    }
}
