//! Finds the fields of an event by their keys, and keys that come twice.
//!
//! A hostile event may hold a hundred thousand keys, all alike to the index. So it is kept for as many
//! as honest events have; beyond that, duplicates are found by sorting, and fields by going through
//! all of them.

use super::{Field, are_same};

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
    /// Indexes fields, and says whether all their keys differ.
    pub(super) fn fill(&mut self, fields: &[Field<'_>]) -> bool {
        self.places.fill(0);
        if fields.len() > MOST_FIELDS {
            let mut keys: Vec<&str> = fields.iter().map(|field| field.key.as_ref()).collect();
            keys.sort_unstable();
            return keys.windows(2).all(|pair| pair[0] != pair[1]);
        }
        for (number, field) in (1..).zip(fields) {
            let Err(place) = self.place_of(fields, &field.key) else {
                return false;
            };
            self.places[usize::from(place)] = number;
        }
        true
    }

    /// The field of a key.
    pub(super) fn find<'f, 'a>(&self, fields: &'f [Field<'a>], key: &str) -> Option<&'f Field<'a>> {
        if fields.len() > MOST_FIELDS {
            return fields.iter().find(|field| are_same(&field.key, key));
        }
        self.place_of(fields, key).ok()
    }

    /// The field of a key, or the free place for it.
    fn place_of<'f, 'a>(&self, fields: &'f [Field<'a>], key: &str) -> Result<&'f Field<'a>, u8> {
        let mut place = first_place(key);
        while let Some(number) = self.places[usize::from(place)].checked_sub(1) {
            match fields.get(usize::from(number)) {
                Some(field) if are_same(&field.key, key) => return Ok(field),
                _ => place = place.wrapping_add(1),
            }
        }
        Err(place)
    }
}

/// A few bits that differ for most pairs of keys, found without reading whole keys.
fn first_place(key: &str) -> u8 {
    let key = key.as_bytes();
    let byte = |at: usize| key.get(at).copied().unwrap_or(0);
    let last = key.len().saturating_sub(1);
    let mark = u32::from_le_bytes([
        key.len().to_le_bytes()[0],
        byte(0),
        byte(last / 2),
        byte(last),
    ]);
    mark.wrapping_mul(0x9E37_79B1).to_be_bytes()[0]
}
