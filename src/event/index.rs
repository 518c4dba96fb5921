//! Finds the fields of an event by their keys, and keys that come twice.
//!
//! A hostile event may hold a hundred thousand keys, all alike to the index. So it is kept for as many
//! as honest events have; beyond that, fields are found by going through all of them, and equal keys by
//! sorting.

use super::EventField;
use crate::json::keys::{are_same, first_entry};

/// Most fields that are indexed: few enough to leave most places free.
const MOST_FIELDS: usize = 96;

/// Where fields are: each in the place that its key leads to, or the next free one after it.
#[derive(Clone)]
pub(super) struct Index {
    /// The number of a field, counted from one; zero where the place is free.
    places: Box<[u8; 256]>,
}

impl Default for Index {
    fn default() -> Self {
        Self {
            places: Box::new([0; 256]),
        }
    }
}

impl Index {
    /// Indexes fields. The last of equal keys counts.
    pub(super) fn fill(&mut self, fields: &[EventField<'_>]) {
        self.places.fill(0);
        if fields.len() > MOST_FIELDS {
            return;
        }
        for (number, field) in (1..).zip(fields) {
            let (Ok(place) | Err(place)) = self.entry(fields, &field.key);
            self.places[usize::from(place)] = number;
        }
    }

    /// The place of a key among the fields.
    pub(super) fn place(&self, fields: &[EventField<'_>], key: &str) -> Option<usize> {
        if fields.len() > MOST_FIELDS {
            return fields.iter().rposition(|field| are_same(&field.key, key));
        }
        let entry = self.entry(fields, key).ok()?;
        usize::from(self.places[usize::from(entry)]).checked_sub(1)
    }

    /// The entry of a key, or the free one for it.
    fn entry(&self, fields: &[EventField<'_>], key: &str) -> Result<u8, u8> {
        let mut entry = first_entry(key);
        while let Some(place) = self.places[usize::from(entry)].checked_sub(1) {
            match fields.get(usize::from(place)) {
                Some(field) if are_same(&field.key, key) => return Ok(entry),
                _ => entry = entry.wrapping_add(1),
            }
        }
        Err(entry)
    }
}
