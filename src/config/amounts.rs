//! Reads how much of something there may be: a size in memory, a count, a rate.

use std::num::NonZeroUsize;

use config::ValueKind;

use crate::config::units::Rate;
use crate::config::values::Node;

/// A size that memory has to hold.
pub(super) fn bytes(node: &Node<'_>, most: u64) -> Option<NonZeroUsize> {
    usize::try_from(node.size(1024..=most)?)
        .ok()
        .and_then(NonZeroUsize::new)
}

/// How many there may be.
pub(super) fn count(node: &Node<'_>, most: u64) -> Option<NonZeroUsize> {
    usize::try_from(node.integer(1..=most)?)
        .ok()
        .and_then(NonZeroUsize::new)
}

/// A rate; `Some(None)` where it is said aloud that there is none.
#[expect(
    clippy::option_option,
    reason = "the outer is whether it could be read, the inner is the rate itself"
)]
pub(super) fn rate(node: &Node<'_>) -> Option<Option<Rate>> {
    if let ValueKind::String(text) = node.kind()
        && text == "unlimited"
    {
        return Some(None);
    }
    match Rate::new(node.number()?) {
        Some(rate) if rate.per_second() <= 1_000_000.0 => Some(Some(rate)),
        _ => node.unexpected(),
    }
}
