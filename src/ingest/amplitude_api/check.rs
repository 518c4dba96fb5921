//! Judges the events of an SDK as Amplitude does, and completes them as Amplitude would.
//!
//! The text of an event is not rewritten: what is put in it lives as long as the request. The sender's
//! address replaces `$remote`; the browser's header gives the user agent that an event lacks; ids that
//! stand for nobody are removed.
//!
//! The time of an event comes from the sender's clock, and so does the moment of upload that a request
//! names. Where the upload differs from the moment of receipt by 60 seconds or more, the clock is wrong:
//! the event's time is moved by the difference, as at Amplitude, and the sender's own is kept as
//! `client_event_time`. An event without a time happened now.
//!
//! A fault is what Amplitude refuses. A bad value that no rule reads is not a fault.

use std::net::IpAddr;

use crate::clock::UnixMillis;
use crate::event::Event;
use crate::event::request::BrowserRequest;
use crate::ingest::amplitude_api::problem::{EventFault, EventFaults};
use crate::ingest::amplitude_api::request::{ApiCall, Dialect};
use crate::ingest::decode::{RawElement, RawElements};
use crate::json::Json;
use crate::map::{event_time, is_invalid_id};
use crate::outcome::Reason;

/// What an SDK writes where the sender's address shall stand.
pub(super) const REMOTE: &str = "$remote";

/// The ids of which an event needs one.
const IDS: [&str; 2] = ["user_id", "device_id"];

/// From this difference on the sender's clock counts as wrong.
const TOLERANCE_MILLIS: i64 = 60_000;

/// What stands in the place of the event type of a group's update.
const GROUP_UPDATE: &str = "\"$groupidentify\"";

/// Judges and completes the events of one request.
#[derive(Debug)]
pub(super) struct Check {
    dialect: Dialect,
    min_id_length: usize,
    /// When the request came in.
    received: UnixMillis,
    /// How far the sender's clock is behind, in milliseconds; zero where it is right or unknown.
    behind: i64,
    /// Its clock was never set: its times are few milliseconds since 1970, not seconds.
    never_set: bool,
    /// The sender's address, as JSON text.
    address: Option<String>,
    /// The browser's user agent, as JSON text.
    user_agent: Option<String>,
    /// What the browser's own request tells, as JSON text.
    request: Option<String>,
    /// The moment of receipt, as JSON text.
    now: String,
}

impl Check {
    /// Prepares for one request. `browser` is what a browser's headers say; `None` for other senders.
    pub(super) fn new(
        dialect: Dialect,
        call: &ApiCall<'_>,
        address: Option<IpAddr>,
        browser: Option<&BrowserRequest>,
        received: UnixMillis,
    ) -> Self {
        let behind = call
            .upload_time
            .map_or(0, |upload_time| received.0.saturating_sub(upload_time.0));
        Self {
            dialect,
            min_id_length: call.min_id_length,
            received,
            never_set: call.upload_time.is_some_and(event_time::is_near_1970),
            behind: if behind.abs() < TOLERANCE_MILLIS {
                0
            } else {
                behind
            },
            // No character of an address needs an escape.
            address: address.map(|address| format!("\"{address}\"")),
            user_agent: browser
                .and_then(|browser| browser.user_agent.as_deref())
                .map(|text| serde_json::Value::from(text).to_string()),
            request: browser.map(BrowserRequest::to_json),
            now: received.0.to_string(),
        }
    }

    /// Judges all events of a request.
    pub(super) fn faults(&self, elements: RawElements<'_>) -> EventFaults {
        let fault = |element: RawElement<'_>| match &element.event {
            Ok(event) => self.fault(event),
            Err(_) => Some(EventFault::Invalid("event")),
        };
        let judged = elements.map(fault).enumerate();
        judged
            .filter_map(|(place, fault)| Some((place, fault?)))
            .collect()
    }

    /// Completes an event before it is mapped. An event without a name cannot be mapped, nor can a user's
    /// update without a user.
    pub(super) fn complete<'a>(&'a self, mut element: RawElement<'a>) -> RawElement<'a> {
        if let Ok(event) = &mut element.event {
            if self.name_fault(event).is_some() {
                element.event = Err(Reason::NoEventName);
            } else if !self.names_events() && self.id_fault(event).is_some() {
                element.event = Err(Reason::NoIdentifier);
            } else {
                self.complete_event(event);
            }
        }
        element
    }

    /// What Amplitude would refuse an event for, if for anything.
    fn fault(&self, event: &Event<'_>) -> Option<EventFault> {
        let time = || {
            let is_bad = |time: Json<'_>| !time.is_null() && !time.is_number();
            let is_bad = self.dialect == Dialect::Upload && event.field("time").is_some_and(is_bad);
            is_bad.then_some(EventFault::Invalid("time"))
        };
        let name = self.name_fault(event);
        name.or_else(time).or_else(|| self.id_fault(event))
    }

    fn name_fault(&self, event: &Event<'_>) -> Option<EventFault> {
        if !self.names_events() {
            return None;
        }
        let name = event.field("event_type").filter(|name| !name.is_null());
        match name.map(Json::as_str) {
            Some(Some(name)) if !name.trim().is_empty() => None,
            Some(None) => Some(EventFault::Invalid("event_type")),
            _ => Some(EventFault::Missing("event_type")),
        }
    }

    /// Whether these are events, not updates of users or groups.
    const fn names_events(&self) -> bool {
        !matches!(self.dialect, Dialect::Identify | Dialect::GroupIdentify)
    }

    fn complete_event<'a>(&'a self, event: &mut Event<'a>) {
        match self.dialect {
            Dialect::Identify => event.remove("event_type"),
            Dialect::GroupIdentify => event.put("event_type", Json::of_valid_text(GROUP_UPDATE)),
            Dialect::Upload | Dialect::HttpV1 | Dialect::Legacy => {}
        }
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
        if let Some(request) = &self.request {
            event.put_request(Json::of_valid_text(request));
        }
        if let Some(user_agent) = &self.user_agent
            && event.field("user_agent").is_none_or(Json::is_absent)
        {
            event.put("user_agent", Json::of_valid_text(user_agent));
        }
        if self.names_events() {
            self.complete_time(event);
        }
    }

    fn complete_time<'a>(&'a self, event: &mut Event<'a>) {
        let told = self.time_of(event);
        if let Some((told, time)) = told.and_then(|time| self.corrected(time)) {
            for (field, moment) in [("client_event_time", told), ("time", time)] {
                let moment = event.arena().keep(moment.to_string());
                event.put(field, Json::of_valid_text(moment));
            }
        } else if event.field("time").is_none_or(Json::is_absent) {
            event.put("time", told.unwrap_or(Json::of_valid_text(&self.now)));
        }
    }

    /// What an event says of its moment.
    fn time_of<'e>(&self, event: &Event<'e>) -> Option<Json<'e>> {
        let present = |field| event.field(field).filter(|time| !time.is_absent());
        let stamp = || present("timestamp").filter(|_| self.dialect == Dialect::Legacy);
        present("time").or_else(stamp)
    }

    /// The milliseconds of a time as the sender gave it, and as the right clock gives it; `None` where the
    /// sender's clock is right.
    fn corrected(&self, time: Json<'_>) -> Option<(i64, i64)> {
        if self.behind == 0 {
            return None;
        }
        let told = match event_time::millis(time).filter(|_| self.never_set) {
            Some(millis) => millis,
            None => event_time::parse(time)?,
        };
        let corrected = told.0.saturating_add(self.behind);
        // Where the result is in the future or before 1970, the moment of upload does not tell the clock.
        let latest = self.received.0.saturating_add(TOLERANCE_MILLIS);
        let is_absurd = corrected <= 0 || (corrected > latest && told.0 <= latest);
        (!is_absurd).then_some((told.0, corrected))
    }

    /// The oldest SDKs leave the address to the connection, unless they were told not to.
    fn shows_its_address(&self, event: &Event<'_>) -> bool {
        let is_allowed = || {
            let options = event.member("api_properties", "tracking_options")?;
            let options = event.arena().opened(options);
            options.member("ip_address")?.as_bool()
        };
        self.dialect == Dialect::Legacy && is_allowed() != Some(false)
    }

    fn id_fault(&self, event: &Event<'_>) -> Option<EventFault> {
        if self.dialect == Dialect::GroupIdentify {
            return None;
        }
        let judged = IDS.map(|field| (self.judge_id(event, field), field));
        // Of equals the first counts, so the last is asked first.
        match judged.into_iter().rev().max_by_key(|(id, _)| *id)? {
            (Id::Usable, _) => None,
            (Id::Nobody, field) => Some(EventFault::Invalid(field)),
            (Id::Short, field) => Some(EventFault::ShortId(field)),
            (Id::Absent, _) => Some(EventFault::Missing("user_id")),
        }
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

/// What an id is; the later ones decide about an event that has two.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Id {
    Absent,
    Short,
    /// It stands for nobody.
    Nobody,
    Usable,
}

/// Whether a value stands for the sender's address.
pub(super) fn is_remote(value: Json<'_>) -> bool {
    value.as_str().is_some_and(|text| text == REMOTE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::arena::Arena;
    use crate::ingest::decode::decode;

    const NOW: UnixMillis = UnixMillis(1_795_000_000_000);

    fn check_at(dialect: Dialect, upload_time: Option<i64>) -> Check {
        let address = Some("198.51.100.9".parse().unwrap());
        let browser = BrowserRequest {
            user_agent: Some("Mozilla/5.0 \"x\"".to_owned()),
            ..BrowserRequest::default()
        };
        let call = ApiCall {
            api_key: "k".into(),
            events: b"[]".into(),
            min_id_length: 5,
            upload_time: upload_time.map(UnixMillis),
        };
        Check::new(dialect, &call, address, Some(&browser), NOW)
    }

    fn check(dialect: Dialect) -> Check {
        check_at(dialect, None)
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
                Some(EventFault::Missing("event_type")),
            ),
            (
                r#"{"event_type":" ","user_id":"user-1"}"#,
                Some(EventFault::Missing("event_type")),
            ),
            (
                r#"{"event_type":7,"user_id":"user-1"}"#,
                Some(EventFault::Invalid("event_type")),
            ),
            (
                r#"{"event_type":"A"}"#,
                Some(EventFault::Missing("user_id")),
            ),
            (
                r#"{"event_type":"A","user_id":"","device_id":null}"#,
                Some(EventFault::Missing("user_id")),
            ),
            (
                r#"{"event_type":"A","user_id":"abc"}"#,
                Some(EventFault::ShortId("user_id")),
            ),
            (
                r#"{"event_type":"A","device_id":"Anonymous"}"#,
                Some(EventFault::Invalid("device_id")),
            ),
            (
                r#"{"event_type":"A","device_id":"0000-00"}"#,
                Some(EventFault::Invalid("device_id")),
            ),
            (r#"{"event_type":"A","user_id":"0000-00"}"#, None),
            (
                r#"{"event_type":"A","user_id":"user-1","time":"2026-11-20"}"#,
                Some(EventFault::Invalid("time")),
            ),
            // What no rule of Amplitude's forbids.
            (
                r#"{"event_type":"A","user_id":"user-1","groups":[],"event_properties":"x"}"#,
                None,
            ),
            (r#"{"event_type":"A","user_id":1795197}"#, None),
            (r#"{"event_type":"A","device_id":1.795197e6}"#, None),
            (
                r#"{"event_type":"A","user_id":7}"#,
                Some(EventFault::ShortId("user_id")),
            ),
            (
                r#"{"event_type":"A","user_id":0}"#,
                Some(EventFault::Invalid("user_id")),
            ),
            (
                r#"{"event_type":"A","user_id":["user-1"]}"#,
                Some(EventFault::Missing("user_id")),
            ),
        ] {
            let arena = Arena::default();
            let decoded = Event::decode(event.as_bytes(), &arena).unwrap();
            assert_eq!(check(Dialect::Upload).fault(&decoded), expected, "{event}");
        }
        let arena = Arena::default();
        let identify = Event::decode(br#"{"device_id":"12345"}"#, &arena).unwrap();
        assert_eq!(check(Dialect::Identify).fault(&identify), None);
    }

    #[track_caller]
    fn completed(dialect: Dialect, event: &str, expected: [Option<&str>; 5]) {
        let check = check(dialect);
        let arena = Arena::default();
        let mut decoded = Event::decode(event.as_bytes(), &arena).unwrap();
        check.complete_event(&mut decoded);
        let fields = ["user_id", "device_id", "ip", "user_agent", "time"];
        let found = fields.map(|field| decoded.field(field).map(Json::raw));
        assert_eq!(found, expected, "{event}");
        assert_eq!(decoded.raw(), event.as_bytes());
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

    #[test]
    fn what_names_no_event_is_none_and_an_update_never_is_one() {
        let kind = |dialect, event: &str| {
            let check = check(dialect);
            let arena = Arena::default();
            let element = decode(event.as_bytes(), &arena).unwrap().next().unwrap();
            let element = check.complete(element);
            let kind = |event: Event<'_>| Some(event.field("event_type")?.raw().to_owned());
            element.event.map(kind)
        };
        for event in ["{}", r#"{"event_type":""}"#, r#"{"event_type":7}"#] {
            for dialect in [Dialect::Upload, Dialect::HttpV1, Dialect::Legacy] {
                assert_eq!(kind(dialect, event), Err(Reason::NoEventName), "{event}");
            }
        }
        let event = r#"{"event_type":"Purchase","user_id":"user-1"}"#;
        assert_eq!(
            kind(Dialect::Legacy, event),
            Ok(Some("\"Purchase\"".to_owned()))
        );
        assert_eq!(kind(Dialect::Identify, event), Ok(None));
        for event in ["{}", r#"{"user_id":"abc"}"#, r#"{"device_id":"0000-00"}"#] {
            assert_eq!(kind(Dialect::Identify, event), Err(Reason::NoIdentifier));
        }
        assert_eq!(
            kind(Dialect::GroupIdentify, event),
            Ok(Some(GROUP_UPDATE.to_owned()))
        );
    }

    /// Judges and completes one event that was sent this many milliseconds after the right moment, by
    /// its sender's clock; gives its time, relative to the moment of receipt.
    fn time_of(dialect: Dialect, upload_time: Option<i64>, fields: &str) -> Option<i64> {
        let check = check_at(dialect, upload_time);
        let text = format!(r#"{{"event_type":"A","user_id":"user-1"{fields}}}"#);
        let arena = Arena::default();
        let element = decode(text.as_bytes(), &arena).unwrap().next().unwrap();
        let event = check.complete(element).event.unwrap();
        assert_eq!(event.raw(), text.as_bytes());
        event_time::of(&event).map(|time| time.0 - NOW.0)
    }

    #[test]
    fn the_time_of_a_wrong_clock_is_moved_by_how_wrong_it_is() {
        const HOUR: i64 = 3_600_000;
        let upload = |ahead: i64, time: i64| {
            let time = format!(r#","time":{}"#, NOW.0 + time);
            time_of(Dialect::Upload, Some(NOW.0 + ahead), &time)
        };
        for (ahead, time, expected) in [
            // Ahead, behind, by exactly the tolerance, and by less.
            (48 * HOUR, 48 * HOUR - 3000, -3000),
            (-9 * HOUR, -9 * HOUR - 3000, -3000),
            (60_000, 57_000, -3000),
            (59_999, 57_000, 57_000),
            (-60_000, -63_000, -3000),
            (-59_999, -63_000, -63_000),
            (0, -HOUR, -HOUR),
            // Kept for a day while offline.
            (HOUR, HOUR - 24 * HOUR, -24 * HOUR),
            // A clock that was never set, and one far in the future.
            (60_000 - NOW.0, 30_000 - NOW.0, -30_000),
            (86_405_000 - NOW.0, 86_400_000 - NOW.0, -5000),
            (800_000 * HOUR, 800_000 * HOUR - 5, -5),
            // A right time beside an upload that cannot be: it would lie in the future, or before 1970.
            (1000 - NOW.0, -3000, -3000),
            (2_000_000 * HOUR, -3000, -3000),
            // As wrong as the upload says, and then some: nothing better is known.
            (HOUR, 3 * HOUR, 2 * HOUR),
        ] {
            assert_eq!(upload(ahead, time), Some(expected), "{ahead} {time}");
        }
    }

    #[test]
    fn the_clock_is_that_of_the_request_and_of_events_with_a_time() {
        let ahead = Some(NOW.0 + 7_200_000);
        let stamp = format!(r#","timestamp":{}"#, NOW.0 + 7_199_000);
        let text = r#","time":"2026-11-18T13:06:39Z""#;
        for (dialect, upload_time, fields, expected) in [
            (Dialect::Legacy, ahead, &*stamp, Some(-1000)),
            (Dialect::Legacy, None, &*stamp, Some(7_199_000)),
            // The first of the two names counts, and only the oldest form has the second.
            (
                Dialect::Legacy,
                ahead,
                &*format!(r#"{stamp},"time":{}"#, NOW.0),
                Some(-7_200_000),
            ),
            (Dialect::Upload, ahead, &*stamp, Some(0)),
            (Dialect::Upload, ahead, "", Some(0)),
            (Dialect::Upload, ahead, r#","time":null"#, Some(0)),
            (Dialect::HttpV1, ahead, text, Some(-1000)),
            (Dialect::Legacy, ahead, r#","time":"noon""#, None),
            (Dialect::Upload, ahead, r#","time":-5"#, None),
            // A row of an export says when another request came in.
            (
                Dialect::Upload,
                None,
                r#","time":1794999999000,"client_upload_time":"2026-11-01 00:00:00""#,
                Some(-1000),
            ),
        ] {
            assert_eq!(time_of(dialect, upload_time, fields), expected, "{fields}");
        }
    }
}
