//! Which events go on to Meta, and why the others do not.
//!
//! A [`Selector`] is one sync's "Select and filter events": the Send Events switch, the event table,
//! and the conditions of the sync and of the event. It decides in this order, and the first objection
//! is the reason: user payload, switch, event name, event table, the sync's conditions, the event's.
//!
//! It knows nothing of mapping: [`Selected`] says which row of the table applies, by its place.

use std::collections::HashMap;

use crate::config::{Condition, SyncConfig};
use crate::event::Event;
use crate::outcome::Reason;

mod condition;
mod glob;

pub use condition::holds;

/// The row of the event table that stands for every event it does not name.
pub const ANY_EVENT: &str = "*";

/// The metric label of events that the event table does not name.
pub const OTHER: &str = "other";

/// Updates of users and groups. They carry no event name, so they map to no Meta event.
const USER_UPDATES: &[&str] = &["$identify", "_identify", "$groupidentify"];

/// Sessions, and the computed twins of a revenue event, which would count a purchase twice.
const BOOKKEEPING: &[&str] = &[
    "session_start",
    "session_end",
    "verified_revenue",
    "unverified_revenue",
];

/// One sync's selection, compiled.
#[derive(Debug)]
pub struct Selector {
    send_events: bool,
    conditions: Vec<Condition>,
    /// By event type. `None`: no table, every event.
    rows: Option<HashMap<Box<str>, Row>>,
    any: Option<Row>,
}

#[derive(Clone, Debug)]
struct Row {
    place: usize,
    conditions: Vec<Condition>,
}

/// An event that goes on, and the row of the event table that applies to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selected<'s> {
    /// The row's place in the event table; the number of rows where there is no table.
    pub place: usize,
    /// The row's name as a metric label: an event type, or `other`.
    pub label: &'s str,
}

impl Selector {
    /// Compiles the selection of a sync.
    pub fn compile(sync: &SyncConfig) -> Self {
        let mut any = None;
        let rows = sync.events.as_ref().map(|events| {
            let mut rows = HashMap::new();
            for (place, (name, event)) in events.iter().enumerate() {
                let row = Row {
                    place,
                    conditions: event.conditions.clone(),
                };
                if name == ANY_EVENT {
                    any = Some(row);
                } else {
                    rows.insert(name.as_str().into(), row);
                }
            }
            rows
        });
        if rows.is_none() {
            any = Some(Row {
                place: 0,
                conditions: Vec::new(),
            });
        }
        Self {
            send_events: sync.send_events,
            conditions: sync.conditions.clone(),
            rows,
            any,
        }
    }

    /// Decides about one event.
    pub fn select(&self, event: &Event<'_>) -> Result<Selected<'_>, Reason> {
        let event_type = event
            .field("event_type")
            .filter(|value| !value.is_null())
            .ok_or(Reason::UserPayload)?;
        let event_type = event_type.as_str().ok_or(Reason::NoEventName)?;
        let named = self
            .rows
            .as_ref()
            .and_then(|rows| rows.get_key_value(&*event_type));
        if named.is_none() && USER_UPDATES.contains(&&*event_type) {
            return Err(Reason::UserPayload);
        }
        if !self.send_events {
            return Err(Reason::SendEventsOff);
        }
        if event_type.trim().is_empty() {
            return Err(Reason::NoEventName);
        }
        let (label, row) = match (named, &self.any) {
            (Some((name, row)), _) => (&**name, row),
            (None, Some(_)) if BOOKKEEPING.contains(&&*event_type) => {
                return Err(Reason::Bookkeeping);
            }
            (None, Some(row)) => (OTHER, row),
            (None, None) => return Err(Reason::NotSelected),
        };
        if !holds(&self.conditions, event) {
            return Err(Reason::SyncCondition);
        }
        if !holds(&row.conditions, event) {
            return Err(Reason::EventCondition);
        }
        Ok(Selected {
            place: row.place,
            label,
        })
    }
}
