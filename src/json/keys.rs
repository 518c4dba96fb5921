//! Compares the keys of members, and removes repeated ones.

use std::borrow::Cow;

use crate::json::Json;

pub(crate) type Member<'a> = (Cow<'a, str>, Json<'a>);

/// Keeps the last of equal keys among the members from a place on.
pub(crate) fn keep_last(members: &mut Vec<Member<'_>>, first: usize) {
    let own = members.get(first..).unwrap_or_default();
    if own.len() > 1 && may_repeat(own) {
        drop_repeated(members, first);
    }
}

fn drop_repeated(members: &mut Vec<Member<'_>>, first: usize) {
    // Members before that place are not looked at: an event may hold many objects with equal keys.
    let own = members.split_off(first);
    let mut order: Vec<usize> = (0..own.len()).collect();
    order.sort_unstable_by_key(|place| (&own[*place].0, *place));
    let mut is_last = vec![true; own.len()];
    for pair in order.windows(2) {
        is_last[pair[0]] = own[pair[0]].0 != own[pair[1]].0;
    }
    let kept = own.into_iter().zip(is_last);
    members.extend(kept.filter_map(|(member, is_last)| is_last.then_some(member)));
}

/// Whether members may have equal keys. With many members the answer is always yes.
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

/// A few bits that differ for most pairs of keys, and do not depend on all bytes of a key.
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
pub(crate) fn member<'a>(members: &[Member<'a>], key: &str) -> Option<Json<'a>> {
    let mut members = members.iter();
    members.find_map(|(name, value)| are_same(name, key).then_some(*value))
}

/// Whether two keys are the same. Most differ in length or in the first byte.
pub(crate) fn are_same(left: &str, right: &str) -> bool {
    left.len() == right.len()
        && left.as_bytes().first() == right.as_bytes().first()
        && left == right
}
