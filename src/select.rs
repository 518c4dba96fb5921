//! Which events are sent to Meta, and why the others are not.
//!
//! A [`Selector`] is one sync's "Select and filter events": the Send Events switch, the event table,
//! and the conditions of the sync and of the event. The first of these that excludes an event is the
//! reason: user payload, switch, event name, event table, consent, the sync's conditions, the event's.
//!
//! It knows nothing of mapping: [`Selected`] has the place of the row that applies.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::mapping::EventConfig;
use crate::config::sync::{LimitedDataUseMode, SyncConfig};
use crate::event::Event;
use crate::expr::condition::{Condition, Texts, holds, may_hold, unmet};
use crate::expr::path::Scope;
use crate::outcome::Reason;

/// The row of the event table for every event that it does not name.
const ANY_EVENT: &str = "*";

/// Updates of users and groups. They carry no event name, so they map to no Meta event.
const USER_UPDATES: &[&str] = &["$identify", "_identify", "$groupidentify"];

/// Sessions, and the computed twins of a revenue event, which would count a purchase twice.
const BOOKKEEPING: &[&str] = &[
    "session_start",
    "session_end",
    "verified_revenue",
    "unverified_revenue",
];

/// The prefixes of events that Amplitude's products capture by themselves.
const CAPTURED: &[&str] = &["[Amplitude] ", "[Experiment] ", "[Guides-Surveys] "];

/// Whether an event is automatic: Amplitude's products capture it, or it is a heartbeat.
fn is_captured(event_type: &str) -> bool {
    let last_word = event_type.rsplit(|c: char| !c.is_ascii_alphabetic()).next();
    CAPTURED.iter().any(|begin| event_type.starts_with(begin))
        || event_type == "$exposure"
        || last_word.is_some_and(|word| word.eq_ignore_ascii_case("heartbeat"))
}

/// One sync's selection, compiled.
#[derive(Debug)]
pub struct Selector {
    send_events: bool,
    consent: Vec<Condition>,
    conditions: Vec<Condition>,
    limited_data_use: LimitedDataUseMode,
    rows: HashMap<Arc<str>, SelectedRow>,
    /// The row for events that no row names; `None` excludes them.
    any: Option<SelectedRow>,
    /// A sync with a table selects on purpose what Amplitude captures by itself.
    has_table: bool,
}

#[derive(Debug, Default)]
struct SelectedRow {
    place: usize,
    conditions: Vec<Condition>,
}

/// The row of the event table that selects an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selected<'s> {
    /// The row's place in the event table; 0 where there is no table.
    pub place: usize,
    /// The event type that the row names; `None` for the row for every other event.
    pub name: Option<&'s Arc<str>>,
    /// Whether Meta's Limited Data Use applies to the event.
    pub limited_data_use: bool,
}

impl Selector {
    /// Compiles the selection of a sync.
    pub fn compile(sync: &SyncConfig) -> Self {
        let events = sync.events.iter().flatten().enumerate();
        let row = |(place, (name, event)): (usize, (&String, &EventConfig))| {
            let conditions = event.conditions.clone();
            (name.as_str().into(), SelectedRow { place, conditions })
        };
        let mut rows: HashMap<Arc<str>, SelectedRow> = events.map(row).collect();
        let any = match sync.events {
            None => Some(SelectedRow::default()),
            Some(_) => rows.remove(ANY_EVENT),
        };
        Self {
            send_events: sync.send_events,
            consent: sync.consent.conditions().to_vec(),
            conditions: sync.conditions.clone(),
            limited_data_use: sync.limited_data_use.mode.clone(),
            rows,
            any,
            has_table: sync.events.is_some(),
        }
    }

    /// Whether an event's person consents.
    pub fn consents(&self, event: &Event<'_>) -> bool {
        unmet(&self.consent, event, Texts::MayHideMore).is_none()
    }

    /// Whether an event meets the sync's conditions, whatever its name.
    pub fn admits(&self, event: &Event<'_>) -> bool {
        self.consents(event) && holds(&self.conditions, event)
    }

    /// Decides about one event.
    pub fn select(&self, event: &Event<'_>) -> Result<Selected<'_>, Reason> {
        let event_type = event
            .field("event_type")
            .filter(|value| !value.is_null())
            .ok_or(Reason::UserPayload)?;
        let event_type = event_type.as_str().ok_or(Reason::NoEventName)?;
        let named = self.rows.get_key_value(&*event_type);
        if named.is_none() && USER_UPDATES.contains(&&*event_type) {
            return Err(Reason::UserPayload);
        }
        if !self.send_events {
            return Err(Reason::SendEventsOff);
        }
        if event_type.trim().is_empty() {
            return Err(Reason::NoEventName);
        }
        let (name, row) = match (named, &self.any) {
            (Some((name, row)), _) => (Some(name), row),
            (None, Some(_))
                if BOOKKEEPING.contains(&&*event_type)
                    || (!self.has_table && is_captured(&event_type)) =>
            {
                return Err(Reason::Bookkeeping);
            }
            (None, Some(row)) => (None, row),
            (None, None) => return Err(Reason::NotSelected),
        };
        if !self.consents(event) {
            return Err(Reason::NoConsent);
        }
        if !holds(&self.conditions, event) {
            return Err(Reason::SyncCondition);
        }
        if !holds(&row.conditions, event) {
            return Err(Reason::EventCondition);
        }
        Ok(Selected {
            place: row.place,
            name,
            limited_data_use: match &self.limited_data_use {
                LimitedDataUseMode::Off => false,
                LimitedDataUseMode::Always => true,
                // In doubt the use is limited.
                LimitedDataUseMode::When(conditions) => may_hold(conditions, event),
            },
        })
    }

    /// The condition that excluded an event, and the reading of the event by which it does not hold; `None`
    /// where no condition did.
    pub fn unmet<'s, 'e: 's>(
        &self,
        event: &'s Event<'e>,
        reason: Reason,
    ) -> Option<(&Condition, Scope<'s, 'e>)> {
        match reason {
            Reason::NoConsent => unmet(&self.consent, event, Texts::MayHideMore),
            Reason::SyncCondition => unmet(&self.conditions, event, Texts::Plain),
            Reason::EventCondition => {
                let event_type = event.field("event_type")?.as_str()?;
                let row = self.rows.get(&*event_type).or(self.any.as_ref())?;
                unmet(&row.conditions, event, Texts::Plain)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::from_toml;
    use crate::event::arena::Arena;

    fn selector(rules: &str) -> Selector {
        let text = format!(
            "[ingest]\nallow_unauthenticated = true\n[sync.web]\npixel_id = \"1\"\naccess_token = \"t\"\n{rules}"
        );
        let config = from_toml(&text, &[]).unwrap();
        Selector::compile(config.syncs.values().next().unwrap())
    }

    #[track_caller]
    fn check(selector: &Selector, event: &str, expected: Result<&str, Reason>) {
        let arena = Arena::default();
        let event = Event::decode(event.as_bytes(), &arena).unwrap();
        let selected = selector.select(&event);
        let name = selected.map(|selected| selected.name.map_or("other", |name| &**name));
        assert_eq!(name, expected);
    }

    #[test]
    fn without_a_table_all_but_bookkeeping_goes_on() {
        let all = selector("");
        check(&all, r#"{"event_type":"Sign Up"}"#, Ok("other"));
        check(&all, r#"{"event_type":"revenue_amount"}"#, Ok("other"));
        for name in [
            "session_start",
            "session_end",
            "verified_revenue",
            "unverified_revenue",
        ] {
            let event = format!("{{\"event_type\":\"{name}\"}}");
            check(&all, &event, Err(Reason::Bookkeeping));
        }
        for name in ["$identify", "_identify", "$groupidentify"] {
            let event = format!("{{\"event_type\":\"{name}\"}}");
            check(&all, &event, Err(Reason::UserPayload));
        }
        for name in [
            "[Amplitude] Page Viewed",
            "[Amplitude] Element Clicked",
            "[Experiment] Exposure",
            "$exposure",
            "[Guides-Surveys] Guide Viewed",
            "heartbeat",
            "Session Heartbeat",
            "video_heartbeat",
            "$heartbeat",
        ] {
            let event = format!("{{\"event_type\":\"{name}\"}}");
            check(&all, &event, Err(Reason::Bookkeeping));
            check(
                &selector("[sync.web.events]\n\"*\" = {}"),
                &event,
                Ok("other"),
            );
            let named = selector(&format!("[sync.web.events]\n{name:?} = {{}}"));
            check(&named, &event, Ok(name));
        }
        for name in [
            "[Amplitude]",
            "Heartbeat Monitor Bought",
            "Amplitude",
            "[amplitude] x",
        ] {
            check(&all, &format!("{{\"event_type\":\"{name}\"}}"), Ok("other"));
        }
        check(
            &all,
            r#"{"user_id":"u","user_properties":{}}"#,
            Err(Reason::UserPayload),
        );
        check(&all, r#"{"event_type":null}"#, Err(Reason::UserPayload));
        check(&all, r#"{"event_type":" "}"#, Err(Reason::NoEventName));
        check(&all, r#"{"event_type":7}"#, Err(Reason::NoEventName));
    }

    #[test]
    fn a_table_names_what_goes_on() {
        let table = selector(
            "[sync.web.events]\n\"Sign Up\" = \"CompleteRegistration\"\nsession_start = {}\n\"$identify\" = {}",
        );
        check(&table, r#"{"event_type":"Sign Up"}"#, Ok("Sign Up"));
        check(
            &table,
            r#"{"event_type":"session_start"}"#,
            Ok("session_start"),
        );
        check(&table, r#"{"event_type":"$identify"}"#, Ok("$identify"));
        check(
            &table,
            r#"{"event_type":"sign up"}"#,
            Err(Reason::NotSelected),
        );
        check(
            &table,
            r#"{"event_type":"session_end"}"#,
            Err(Reason::NotSelected),
        );
    }

    #[test]
    fn a_star_stands_for_everything_else() {
        let table = selector("[sync.web.events]\n\"*\" = {}\n\"Sign Up\" = \"Lead\"");
        check(&table, r#"{"event_type":"Anything"}"#, Ok("other"));
        check(
            &table,
            r#"{"event_type":"session_end"}"#,
            Err(Reason::Bookkeeping),
        );
        let arena = Arena::default();
        let event = Event::decode(br#"{"event_type":"Sign Up"}"#, &arena).unwrap();
        assert_eq!(table.select(&event).unwrap().place, 1);
    }

    #[test]
    fn the_first_objection_is_the_reason() {
        let table = selector(concat!(
            "consent = [{ property = \"user_properties.ads\", op = \"is not\", value = \"denied\" }]\n",
            "where = [{ property = \"user_properties.consent\", op = \"is\", value = \"yes\" }]\n",
            "[sync.web.events.Order]\n",
            "where = [{ property = \"event_properties.total\", op = \"greater\", value = 0 }]\n",
        ));
        let order = |consent: &str, total: &str| {
            format!(
                "{{\"event_type\":\"Order\",\"user_properties\":{{\"consent\":{consent}}},\"event_properties\":{{\"total\":{total}}}}}"
            )
        };
        check(&table, &order("\"yes\"", "1"), Ok("Order"));
        check(&table, &order("null", "0"), Err(Reason::SyncCondition));
        let denied = order("null", "0").replace("\"consent\"", "\"ads\":\"denied\",\"consent\"");
        check(&table, &denied, Err(Reason::NoConsent));
        check(&table, &order("\"yes\"", "0"), Err(Reason::EventCondition));
        check(
            &table,
            r#"{"event_type":"Other"}"#,
            Err(Reason::NotSelected),
        );
        let off = selector("send_events = false");
        check(
            &off,
            r#"{"event_type":"Order"}"#,
            Err(Reason::SendEventsOff),
        );
        check(&off, r#"{"user_id":"u"}"#, Err(Reason::UserPayload));
    }

    #[test]
    fn limited_data_use_can_depend_on_the_event() {
        let limited = |rules: &str, region: &str| {
            let event = format!("{{\"event_type\":\"A\",\"region\":\"{region}\"}}");
            let arena = Arena::default();
            let event = Event::decode(event.as_bytes(), &arena).unwrap();
            selector(rules).select(&event).unwrap().limited_data_use
        };
        let when = "[sync.web.limited_data_use]\nmode = \"when\"\nwhen = [{ property = \"region\", op = \"is\", value = \"California\" }]";
        assert!(limited(when, "California"));
        assert!(!limited(when, "Ohio"));
        assert!(limited(
            "[sync.web.limited_data_use]\nmode = \"always\"",
            "Ohio"
        ));
        assert!(!limited("", "California"));
    }
}
