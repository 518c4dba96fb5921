//! Finds the fields of an event by their keys, the last of equal ones.
//!
//! A hostile event may hold a hundred thousand keys that all share one place of the index. So only as many
//! are indexed as honest events have; in larger events a search goes through all fields.

use super::EventField;
use crate::json::keys::{are_same, first_entry};

/// Most fields that are indexed. They leave most places free.
const MOST_FIELDS: usize = 96;

/// Fewest fields that are indexed: to go through fewer costs little, and a small event little memory.
const FEWEST_FIELDS: usize = 8;

/// Fields by key: each in the place that its key leads to, or the next free one after it.
#[derive(Clone, Default)]
pub(super) struct Index {
    /// The number of a field, counted from one; zero in a free place. `None` where a search goes through all
    /// fields.
    places: Option<Box<[u8; 256]>>,
}

impl Index {
    pub(super) fn fill(&mut self, fields: &[EventField<'_>]) {
        if !(FEWEST_FIELDS..=MOST_FIELDS).contains(&fields.len()) {
            self.places = None;
            return;
        }
        let places = self.places.get_or_insert_with(|| Box::new([0; 256]));
        places.fill(0);
        for (number, field) in (1..).zip(fields) {
            let (Ok(place) | Err(place)) = entry(places, fields, &field.key);
            places[usize::from(place)] = number;
        }
    }

    /// The place of a key among the fields.
    pub(super) fn place(&self, fields: &[EventField<'_>], key: &str) -> Option<usize> {
        let Some(places) = &self.places else {
            return fields.iter().rposition(|field| are_same(&field.key, key));
        };
        let entry = entry(places, fields, key).ok()?;
        usize::from(places[usize::from(entry)]).checked_sub(1)
    }
}

/// The entry of a key, or the free one for it.
fn entry(places: &[u8; 256], fields: &[EventField<'_>], key: &str) -> Result<u8, u8> {
    let mut entry = first_entry(key);
    while let Some(place) = places[usize::from(entry)].checked_sub(1) {
        match fields.get(usize::from(place)) {
            Some(field) if are_same(&field.key, key) => return Ok(entry),
            _ => entry = entry.wrapping_add(1),
        }
    }
    Err(entry)
}
