//! Compares the keys of members, and finds those that come twice.

use std::borrow::Cow;

use crate::json::Json;

/// A member: its key and its value.
pub(crate) type Member<'a> = (Cow<'a, str>, Json<'a>);

/// Keeps the last of the members that have the same key, from a place on.
pub(crate) fn keep_last(members: &mut Vec<Member<'_>>, first: usize) {
    let own = members.get(first..).unwrap_or_default();
    if own.len() > 1 && may_repeat(own) {
        drop_repeated(members, first);
    }
}

fn drop_repeated(members: &mut Vec<Member<'_>>, first: usize) {
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
fn may_repeat(members: &[Member<'_>]) -> bool {
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
pub(crate) fn first_entry(key: &str) -> u8 {
    let key = key.as_bytes();
    let length = key.len();
    let (Some(first), Some(middle), Some(last)) = (key.first(), key.get(length / 2), key.last())
    else {
        return 0;
    };
    let mark = u32::from_le_bytes([length.to_le_bytes()[0], *first, *middle, *last]);
    mark.wrapping_mul(0x9E37_79B1).to_be_bytes()[0]
}

/// The member of a key.
pub(crate) fn member<'a>(members: &[(Cow<'_, str>, Json<'a>)], key: &str) -> Option<Json<'a>> {
    members
        .iter()
        .find(|(name, _)| are_same(name, key))
        .map(|(_, value)| *value)
}

/// Whether two keys are the same. Most keys differ in what is compared first.
pub(crate) fn are_same(left: &str, right: &str) -> bool {
    left.len() == right.len()
        && left.as_bytes().first() == right.as_bytes().first()
        && left == right
}
