//! Which events a request carries, as memory and the store hold it.

use std::collections::BTreeMap;

use super::lease::Slot;
use super::row::Bits;

/// The events that a request carries, by row.
///
/// As stored: 12 bytes for each run of events, little-endian: the row (`i64`), the first position
/// and the one after the last (`u16`).
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct AttemptedEvents(pub(super) BTreeMap<i64, Bits>);

impl AttemptedEvents {
    /// Those in these places.
    pub(super) fn of(slots: &[Slot]) -> Self {
        let mut slices = Self::default();
        for slot in slots {
            slices.0.entry(slot.row).or_default().add(slot.position());
        }
        slices
    }

    /// As they are stored.
    pub(super) fn stored(&self) -> Vec<u8> {
        let mut stored = Vec::new();
        for (row, bits) in &self.0 {
            for (from, to) in bits.runs() {
                stored.extend_from_slice(&row.to_le_bytes());
                stored.extend_from_slice(&from.to_le_bytes());
                stored.extend_from_slice(&to.to_le_bytes());
            }
        }
        stored
    }

    /// Whether the event in this place is among them.
    pub(super) fn hold(&self, slot: Slot) -> bool {
        self.0
            .get(&slot.row)
            .is_some_and(|bits| bits.has(slot.position()))
    }

    /// Reads what was stored.
    pub(super) fn from_stored(stored: &[u8]) -> Self {
        let mut slices = Self::default();
        let (runs, _) = stored.as_chunks::<12>();
        for [row @ .., a, b, c, d] in runs {
            let bits = slices.0.entry(i64::from_le_bytes(*row)).or_default();
            bits.add_run(u16::from_le_bytes([*a, *b]), u16::from_le_bytes([*c, *d]));
        }
        slices
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_stored_as_runs() {
        let slots: Vec<Slot> = [(7, 0), (7, 1), (7, 2), (7, 200), (9, 255)]
            .map(|(row, position)| Slot { row, position })
            .to_vec();
        let slices = AttemptedEvents::of(&slots);
        assert_eq!(slices.stored().len(), 3 * 12);
        assert_eq!(AttemptedEvents::from_stored(&slices.stored()), slices);
    }
}
