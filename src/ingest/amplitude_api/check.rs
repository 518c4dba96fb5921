//! Judges the events of an SDK as Amplitude does, and completes them as Amplitude would.
//!
//! Nothing is written: an event that is completed keeps its own text, and what is put in it lives as
//! long as the request. In its place `$remote` gets the address that the request came from; a browser
//! that says no user agent in the event says it in its header; an event without a time happened now;
//! ids that stand for nobody are taken out.

use std::net::IpAddr;

use crate::clock::UnixMillis;
use crate::event::{Event, Json};
use crate::ingest::amplitude_api::problem::Fault;
use crate::ingest::amplitude_api::request::Dialect;
use crate::map::is_invalid_id;

/// What an SDK writes where the sender's address shall stand.
pub(super) const REMOTE: &str = "$remote";

/// The ids of which an event needs one.
const IDS: [&str; 2] = ["user_id", "device_id"];

/// What must be an object, where it is there.
const OBJECTS: [&str; 4] = [
    "event_properties",
    "user_properties",
    "groups",
    "group_properties",
];

/// Judges and completes the events of one request.
#[derive(Debug)]
pub(super) struct Check {
    dialect: Dialect,
    min_id_length: usize,
    /// The sender's address, as JSON text.
    address: Option<String>,
    /// The browser's user agent, as JSON text.
    user_agent: Option<String>,
    /// The present moment, as JSON text.
    now: String,
}

impl Check {
    /// Prepares for one request. `user_agent` is that of a browser.
    pub(super) fn new(
        dialect: Dialect,
        min_id_length: usize,
        address: Option<IpAddr>,
        user_agent: Option<&str>,
        now: UnixMillis,
    ) -> Self {
        Self {
            dialect,
            min_id_length,
            // No character of an address needs an escape.
            address: address.map(|address| format!("\"{address}\"")),
            user_agent: user_agent.map(|text| serde_json::Value::from(text).to_string()),
            now: now.0.to_string(),
        }
    }

    /// What is wrong with an event, if anything.
    pub(super) fn fault(&self, event: &Event<'_>) -> Option<Fault> {
        if self.dialect != Dialect::Identify {
            match event.field("event_type").filter(|name| !name.is_absent()) {
                None => return Some(Fault::Missing("event_type")),
                Some(name) if !name.is_string() => return Some(Fault::Invalid("event_type")),
                Some(_) => {}
            }
        }
        let time = event.field("time").filter(|time| !time.is_null());
        if time.is_some_and(|time| !time.is_number()) {
            return Some(Fault::Invalid("time"));
        }
        let odd = OBJECTS.into_iter().find(|name| {
            let value = event.field(name);
            value.is_some_and(|value| !value.is_null() && !value.is_object())
        });
        odd.map(Fault::Invalid).or_else(|| self.id_fault(event))
    }

    /// Completes an event that is to be mapped.
    pub(super) fn complete<'a>(&'a self, event: &mut Event<'a>) {
        for field in IDS {
            if self.judge_id(event, field) != Id::Usable {
                event.remove(field);
            }
        }
        let ip = event.field("ip");
        let is_remote = ip.is_some_and(is_remote);
        if is_remote || (ip.is_none() && self.shows_its_address(event)) {
            match &self.address {
                Some(address) => event.put("ip", Json::of_valid_text(address)),
                None => event.remove("ip"),
            }
        }
        let absent = |event: &Event<'_>, field| event.field(field).is_none_or(Json::is_absent);
        if let Some(user_agent) = &self.user_agent
            && absent(event, "user_agent")
        {
            event.put("user_agent", Json::of_valid_text(user_agent));
        }
        if absent(event, "time") && self.dialect != Dialect::Identify {
            let stamp = event.field("timestamp").filter(|stamp| stamp.is_number());
            let time = stamp.filter(|_| self.dialect == Dialect::Legacy);
            event.put("time", time.unwrap_or(Json::of_valid_text(&self.now)));
        }
    }

    /// The oldest SDKs leave the address to the connection, unless they were told not to.
    fn shows_its_address(&self, event: &Event<'_>) -> bool {
        let forbidden = event
            .member("api_properties", "tracking_options")
            .and_then(Json::members)
            .into_iter()
            .flatten()
            .any(|(name, value)| name == "ip_address" && value.as_bool() == Some(false));
        self.dialect == Dialect::Legacy && !forbidden
    }

    fn id_fault(&self, event: &Event<'_>) -> Option<Fault> {
        let judged = IDS.map(|field| (field, self.judge_id(event, field)));
        if judged.iter().any(|(_, id)| *id == Id::Usable) {
            return None;
        }
        let found = |wanted| judged.iter().find(|(_, id)| *id == wanted);
        Some(match (found(Id::Nobody), found(Id::Short)) {
            (Some((field, _)), _) => Fault::Invalid(field),
            (None, Some((field, _))) => Fault::ShortId(field),
            (None, None) => Fault::Missing("user_id"),
        })
    }

    fn judge_id(&self, event: &Event<'_>, field: &str) -> Id {
        let Some(id) = event.field(field).and_then(Json::as_str) else {
            return Id::Absent;
        };
        let id = id.trim();
        let all_zero = || id.bytes().all(|byte| matches!(byte, b'0' | b'-'));
        if id.is_empty() {
            Id::Absent
        } else if is_invalid_id(id) || (field == "device_id" && all_zero()) {
            Id::Nobody
        } else if id.chars().count() < self.min_id_length {
            Id::Short
        } else {
            Id::Usable
        }
    }
}

/// How much an id is worth.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Id {
    Absent,
    Nobody,
    Short,
    Usable,
}

/// Whether a value stands for the sender's address.
pub(super) fn is_remote(value: Json<'_>) -> bool {
    value.as_str().is_some_and(|text| text == REMOTE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_795_000_000_000);

    fn check(dialect: Dialect) -> Check {
        let address = Some("198.51.100.9".parse().unwrap());
        Check::new(dialect, 5, address, Some("Mozilla/5.0 \"x\""), NOW)
    }

    #[test]
    fn names_what_is_wrong_with_an_event() {
        for (event, expected) in [
            (r#"{"event_type":"A","user_id":"user-1"}"#, None),
            (
                r#"{"event_type":"A","device_id":"12345","time":1795000000000}"#,
                None,
            ),
            (
                r#"{"event_type":"A","user_id":"abc","device_id":"12345"}"#,
                None,
            ),
            (
                r#"{"event_type":"A","user_id":"none","device_id":"12345"}"#,
                None,
            ),
            (
                r#"{"user_id":"user-1"}"#,
                Some(Fault::Missing("event_type")),
            ),
            (
                r#"{"event_type":" ","user_id":"user-1"}"#,
                Some(Fault::Missing("event_type")),
            ),
            (
                r#"{"event_type":7,"user_id":"user-1"}"#,
                Some(Fault::Invalid("event_type")),
            ),
            (r#"{"event_type":"A"}"#, Some(Fault::Missing("user_id"))),
            (
                r#"{"event_type":"A","user_id":"","device_id":null}"#,
                Some(Fault::Missing("user_id")),
            ),
            (
                r#"{"event_type":"A","user_id":"abc"}"#,
                Some(Fault::ShortId("user_id")),
            ),
            (
                r#"{"event_type":"A","device_id":"Anonymous"}"#,
                Some(Fault::Invalid("device_id")),
            ),
            (
                r#"{"event_type":"A","device_id":"0000-00"}"#,
                Some(Fault::Invalid("device_id")),
            ),
            (r#"{"event_type":"A","user_id":"0000-00"}"#, None),
            (
                r#"{"event_type":"A","user_id":"user-1","time":"2026-11-20"}"#,
                Some(Fault::Invalid("time")),
            ),
            (
                r#"{"event_type":"A","user_id":"user-1","groups":[]}"#,
                Some(Fault::Invalid("groups")),
            ),
        ] {
            let decoded = Event::decode(event.as_bytes()).unwrap();
            assert_eq!(check(Dialect::Upload).fault(&decoded), expected, "{event}");
        }
        let identify = Event::decode(br#"{"device_id":"12345"}"#).unwrap();
        assert_eq!(check(Dialect::Identify).fault(&identify), None);
    }

    #[track_caller]
    fn completed(dialect: Dialect, event: &str, expected: [Option<&str>; 5]) {
        let check = check(dialect);
        let mut decoded = Event::decode(event.as_bytes()).unwrap();
        check.complete(&mut decoded);
        let fields = ["user_id", "device_id", "ip", "user_agent", "time"];
        let found = fields.map(|field| decoded.field(field).map(Json::raw));
        assert_eq!(found, expected, "{event}");
        assert_eq!(decoded.raw(), event);
    }

    #[test]
    fn completes_what_an_sdk_leaves_to_the_server() {
        let agent = Some(r#""Mozilla/5.0 \"x\"""#);
        completed(
            Dialect::Upload,
            r#"{"user_id":"user-1","device_id":"0","ip":"$remote"}"#,
            [
                Some("\"user-1\""),
                None,
                Some("\"198.51.100.9\""),
                agent,
                Some("1795000000000"),
            ],
        );
        completed(
            Dialect::Upload,
            r#"{"device_id":"device-1","ip":"203.0.113.7","user_agent":"own","time":5}"#,
            [
                None,
                Some("\"device-1\""),
                Some("\"203.0.113.7\""),
                Some("\"own\""),
                Some("5"),
            ],
        );
        completed(
            Dialect::Upload,
            r#"{"user_id":"user-1","time":5}"#,
            [Some("\"user-1\""), None, None, agent, Some("5")],
        );
    }

    #[test]
    fn the_oldest_sdks_leave_address_and_time_to_other_fields() {
        let agent = Some(r#""Mozilla/5.0 \"x\"""#);
        completed(
            Dialect::Legacy,
            r#"{"user_id":"user-1","timestamp":7}"#,
            [
                Some("\"user-1\""),
                None,
                Some("\"198.51.100.9\""),
                agent,
                Some("7"),
            ],
        );
        completed(
            Dialect::Legacy,
            r#"{"user_id":"user-1","time":7,"api_properties":{"tracking_options":{"ip_address":false}}}"#,
            [Some("\"user-1\""), None, None, agent, Some("7")],
        );
    }
}
