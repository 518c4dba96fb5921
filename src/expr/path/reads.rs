//! What the items of a list find in their event, looked up once for all of them.
//!
//! A path that finds nothing in an item is read in the event, and what is found there may be replaced, split or
//! judged. To do so for each item would multiply the size of the list by that of the event.

use std::collections::BTreeMap;
use std::ptr;

use crate::json::Json;

use super::Path;

/// What the paths and conditions of a list's items find in the event, by where they are in the configuration.
#[derive(Debug, Default)]
pub struct EventReads<'s> {
    paths: BTreeMap<usize, EventRead<'s>>,
    conditions: BTreeMap<usize, bool>,
}

/// What one path finds in an event.
#[derive(Clone, Copy, Debug, Default)]
pub struct EventRead<'s> {
    /// The first present value.
    pub first: Option<Json<'s>>,
    /// What the first one becomes that the expression around the path accepts.
    pub accepted: Option<AcceptedValue<'s>>,
    /// Whether a table around the path does not know one.
    pub is_unknown: bool,
}

/// A value that an expression makes of one that a path finds.
#[derive(Clone, Copy, Debug)]
pub struct AcceptedValue<'s> {
    pub value: Json<'s>,
    /// The value that a table replaced.
    pub translated: Option<Json<'s>>,
    /// Whether it is a part of a text that was split.
    pub is_split: bool,
}

impl<'s> EventReads<'s> {
    pub(in crate::expr) fn note(&mut self, path: &Path, read: EventRead<'s>) {
        self.paths.insert(place(path), read);
    }

    /// Notes whether a condition holds where an item has nothing of its property.
    pub(in crate::expr) fn note_condition<C>(&mut self, condition: &C, holds: bool) {
        self.conditions.insert(place(condition), holds);
    }

    pub(super) fn find(&self, path: &Path) -> Option<&EventRead<'s>> {
        self.paths.get(&place(path))
    }

    pub(super) fn condition<C>(&self, condition: &C) -> Option<bool> {
        self.conditions.get(&place(condition)).copied()
    }
}

/// The configuration stays where it is while an event is mapped.
fn place<T>(of: &T) -> usize {
    ptr::from_ref(of).addr()
}
