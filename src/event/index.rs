//! Finds the fields of an event by their keys, and keys that come twice.
//!
//! A hostile event may hold a hundred thousand keys, all alike to the index. So it is kept for as many
//! as honest events have; beyond that, fields are found by going through all of them, and equal keys by
//! sorting.

use std::borrow::Cow;

use super::{EventField, Json, are_same};

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

type IndexMember<'a> = (Cow<'a, str>, Json<'a>);

/// Keeps the last of the members that have the same key, from a place on.
pub(super) fn keep_last(members: &mut Vec<IndexMember<'_>>, first: usize) {
    let own = members.get(first..).unwrap_or_default();
    if own.len() > 1 && may_repeat(own) {
        drop_repeated(members, first);
    }
}

fn drop_repeated(members: &mut Vec<IndexMember<'_>>, first: usize) {
    let own = members.get(first..).unwrap_or_default();
    let mut order: Vec<usize> = (0..own.len()).collect();
    order.sort_unstable_by_key(|place| (own.get(*place).map(|(key, _)| key), *place));
    let mut is_last = vec![true; own.len()];
    for pair in order.windows(2) {
        let key = |place: usize| own.get(place).map(|(key, _)| key);
        is_last[pair[0]] = key(pair[0]) != key(pair[1]);
    }
    // Those before are not gone through again: an event may hold many objects with equal keys.
    let own = members.split_off(first);
    let kept = own.into_iter().zip(is_last);
    members.extend(kept.filter_map(|(member, is_last)| is_last.then_some(member)));
}

/// Whether members may have the same key. Says yes too often where there are many, and never no wrongly.
fn may_repeat(members: &[IndexMember<'_>]) -> bool {
    const MOST_COMPARED: usize = 64;
    if members.len() > MOST_COMPARED {
        return true;
    }
    let mut seen = [false; 256];
    members.iter().enumerate().any(|(place, (key, _))| {
        let was_seen = std::mem::replace(&mut seen[usize::from(first_entry(key))], true);
        let before = members.get(..place).unwrap_or_default();
        was_seen && before.iter().any(|(other, _)| are_same(other, key))
    })
}

/// A few bits that differ for most pairs of keys, found without reading whole keys.
fn first_entry(key: &str) -> u8 {
    let key = key.as_bytes();
    let length = key.len();
    let (Some(first), Some(middle), Some(last)) = (key.first(), key.get(length / 2), key.last())
    else {
        return 0;
    };
    let mark = u32::from_le_bytes([length.to_le_bytes()[0], *first, *middle, *last]);
    mark.wrapping_mul(0x9E37_79B1).to_be_bytes()[0]
}
