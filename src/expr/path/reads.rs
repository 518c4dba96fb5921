//! Reads paths in an event once for all elements of a list.
//!
//! A path that finds nothing in an element is read in its event. To do so for each element would cost the
//! square of the list's length, if the path leads through that list.

use crate::event::{Event, OperationReading};
use crate::json::Json;

use super::Path;

/// What paths find in an event.
#[derive(Debug)]
pub struct EventReads<'s>(Vec<EventRead<'s>>);

#[derive(Debug)]
pub(super) struct EventRead<'s> {
    path: &'s Path,
    values: Vec<Json<'s>>,
    /// The first present value.
    pub(super) first: Option<Json<'s>>,
    is_unreadable: bool,
}

impl<'s> EventReads<'s> {
    /// Reads paths that are relative to an element in its event.
    pub fn of(event: &'s Event<'_>, paths: impl IntoIterator<Item = &'s Path>) -> Self {
        let in_event = paths.into_iter().filter_map(Path::in_event);
        Self(in_event.map(|path| EventRead::of(event, path)).collect())
    }

    /// Calls `found` with every value of a path, and says whether something on the way cannot be read; `None`
    /// if the path is not among those that were read.
    pub(super) fn visit(&self, path: &Path, found: &mut dyn FnMut(Json<'s>)) -> Option<bool> {
        let read = self.find(path)?;
        read.values.iter().copied().for_each(found);
        Some(read.is_unreadable)
    }

    pub(super) fn find(&self, path: &Path) -> Option<&EventRead<'s>> {
        self.0.iter().find(|read| std::ptr::eq(read.path, path))
    }
}

impl<'s> EventRead<'s> {
    fn of(event: &'s Event<'_>, path: &'s Path) -> Self {
        let mut values = Vec::new();
        let mut keep = |value| values.push(value);
        let is_unreadable = path.visit_event(event, OperationReading::First, &mut keep);
        let first = values.iter().copied().find(|value| !value.is_absent());
        Self {
            path,
            values,
            first,
            is_unreadable,
        }
    }
}
