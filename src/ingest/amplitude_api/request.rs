//! What an SDK's request holds: a project's key, and events as JSON text.
//!
//! `/2/httpapi` and `/batch` take a JSON body, `/identify`, `/groupidentify` and the first HTTP API
//! (`/httpapi`) a form or a query, and the oldest SDKs post a form to `/`. Where a form is due, a JSON
//! body is taken too: an SDK whose server URL has no path, or the old one, sends `{"events": […]}`, and
//! some programs write the fields of a form as JSON.

use std::borrow::Cow;

use url::form_urlencoded;

use crate::clock::UnixMillis;
use crate::event::decimal::whole_digits;
use crate::ingest::amplitude_api::multipart;
use crate::ingest::amplitude_api::problem::RequestProblem;
use crate::ingest::decode::members;
use crate::json::Json;
use crate::json::split::{BYTE_ORDER_MARK, NotJson};
use crate::map::event_time;

/// Shortest id, where the sender does not say.
const MIN_ID_LENGTH: usize = 5;

/// How the fields of a request are named, its events completed, and its answer written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// HTTP V2 and Batch.
    Upload,
    /// The Identify API.
    Identify,
    /// The Group Identify API.
    GroupIdentify,
    /// The first HTTP API, which has been replaced by V2.
    HttpV1,
    /// The form endpoint of the oldest SDKs.
    Legacy,
}

/// What a request holds.
#[derive(Debug)]
pub(super) struct ApiCall<'a> {
    /// The project's key.
    pub(super) api_key: Cow<'a, str>,
    /// A JSON array of events, or one.
    pub(super) events: Cow<'a, [u8]>,
    /// Shorter ids do not count.
    pub(super) min_id_length: usize,
    /// When it was sent, by the sender's clock, where that can be read.
    pub(super) upload_time: Option<UnixMillis>,
}

impl Dialect {
    /// The dialect of a request that came to an endpoint of this one: that of `/2/httpapi`, where a newer SDK
    /// wrote its body.
    pub(super) fn of_body(self, body: &[u8]) -> Self {
        if !matches!(self, Self::Legacy | Self::HttpV1) || !is_object(body) {
            return self;
        }
        let [_, events] = self.fields();
        let mut has_own = false;
        // A mistake in the body is reported when it is read.
        let whole = members(body, &mut |key, _| has_own |= key == events.as_bytes());
        if whole.is_ok() && has_own {
            self
        } else {
            Self::Upload
        }
    }

    /// The names of the key and of the events.
    const fn fields(self) -> [&'static str; 2] {
        match self {
            Self::Upload => ["api_key", "events"],
            Self::Identify | Self::GroupIdentify => ["api_key", "identification"],
            Self::HttpV1 => ["api_key", "event"],
            Self::Legacy => ["client", "e"],
        }
    }

    /// Reads a request. `text` is its body, or the query where there is none.
    pub(super) fn read<'a>(
        self,
        text: &'a [u8],
        content_type: Option<&str>,
    ) -> Result<ApiCall<'a>, RequestProblem> {
        if self == Self::Upload || is_object(text) {
            return self.read_json(text);
        }
        let [key, events] = self.fields();
        let boundary = content_type.and_then(multipart::boundary);
        let [key, events, upload_time] = match boundary {
            Some(boundary) => {
                [key, events, "upload_time"].map(|name| multipart::part(text, boundary, name))
            }
            None => form(text, [key, events, "upload_time"]),
        };
        let events = events
            .filter(|events| !events.trim().is_empty())
            .ok_or(RequestProblem::MissingField("event"));
        Ok(ApiCall {
            api_key: key.ok_or(RequestProblem::MissingField("api_key"))?,
            events: as_bytes(events?),
            min_id_length: self.min_id_length(),
            upload_time: upload_time.and_then(|time| event_time::of_upload(&time)),
        })
    }

    /// Reads a JSON body; where a form is due, its fields may have the names of the form or those of
    /// `/2/httpapi`.
    fn read_json(self, body: &[u8]) -> Result<ApiCall<'_>, RequestProblem> {
        let [own_key, own_events] = self.fields().map(str::as_bytes);
        let (mut api_key, mut events, mut own, mut options) = (None, None, None, None);
        let (mut upload_time, mut own_upload_time) = (None, None);
        members(body, &mut |key, value| match key {
            b"api_key" => api_key = text_of(value),
            key if key == own_key => api_key = text_of(value),
            key if key == own_events => own = Some(value),
            b"events" => events = Some(value),
            b"options" => options = Some(value),
            b"client_upload_time" => upload_time = Some(value),
            b"upload_time" => own_upload_time = Some(value),
            _ => {}
        })
        .map_err(|problem| match problem {
            NotJson::Empty => RequestProblem::NoBody,
            other => RequestProblem::NotJson(other),
        })?;
        let upload_time = upload_time.or(own_upload_time);
        let events = own
            .or(events)
            .ok_or(RequestProblem::MissingField(match self {
                Self::Upload => "events",
                _ => "event",
            }));
        Ok(ApiCall {
            api_key: api_key.ok_or(RequestProblem::MissingField("api_key"))?,
            events: match events? {
                text @ [b'"', ..] => text_of(text).map_or(Cow::Borrowed(text), as_bytes),
                events => Cow::Borrowed(events),
            },
            min_id_length: options
                .and_then(min_id_length)
                .unwrap_or_else(|| self.min_id_length()),
            upload_time: upload_time
                .and_then(|time| Json::of_valid_text(std::str::from_utf8(time).ok()?).text())
                .and_then(|time| event_time::of_upload(&time)),
        })
    }

    /// The shortest id that counts, where the sender does not say.
    const fn min_id_length(self) -> usize {
        match self {
            // Ids had no minimum length then.
            Self::Legacy | Self::HttpV1 => 1,
            Self::Upload | Self::Identify | Self::GroupIdentify => MIN_ID_LENGTH,
        }
    }
}

/// Whether a body is a JSON object, not a form.
fn is_object(body: &[u8]) -> bool {
    let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    body.trim_ascii_start().starts_with(b"{")
}

fn as_bytes(text: Cow<'_, str>) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

/// The content of a JSON string.
fn text_of(value: &[u8]) -> Option<Cow<'_, str>> {
    serde_json::from_slice::<String>(value).ok().map(Cow::Owned)
}

/// The shortest id by the options: a whole number, in any form. The other options, and mistakes in them, are
/// ignored.
fn min_id_length(options: &[u8]) -> Option<usize> {
    let text = text_of(options);
    let options = text.as_deref().map_or(options, str::as_bytes);
    let mut length = None;
    members(options, &mut |key, value| {
        if key == b"min_id_length" {
            let text = text_of(value).or_else(|| Some(std::str::from_utf8(value).ok()?.into()));
            length = text.and_then(|text| whole_digits(text.trim())?.parse().ok());
        }
    })
    .ok()?;
    length
}

/// The first value of each of some fields of a form, without what an editor or a shell puts around the form.
fn form<'a, const FIELDS: usize>(
    text: &'a [u8],
    names: [&str; FIELDS],
) -> [Option<Cow<'a, str>>; FIELDS] {
    let text = text
        .strip_prefix(BYTE_ORDER_MARK)
        .unwrap_or(text)
        .trim_ascii();
    let mut found = [const { None }; FIELDS];
    for (name, value) in form_urlencoded::parse(text) {
        for (wanted, slot) in names.iter().zip(&mut found) {
            if *wanted == name && slot.is_none() {
                *slot = Some(value.clone());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(dialect: Dialect, text: &str, expected: Result<(&str, &str, usize), &str>) {
        let call = dialect.read(text.as_bytes(), None);
        let found = match &call {
            Ok(call) => Ok((
                &*call.api_key,
                std::str::from_utf8(&call.events).unwrap(),
                call.min_id_length,
            )),
            Err(problem) => Err(problem.to_string()),
        };
        assert_eq!(found, expected.map_err(str::to_owned), "{text}");
    }

    #[test]
    fn a_json_body_holds_key_events_and_options() {
        let check = |text, expected| check(Dialect::Upload, text, expected);
        check(
            r#"{"api_key":"k","events":[{"a":"]"}],"options":{},"client_upload_time":"x"}"#,
            Ok(("k", r#"[{"a":"]"}]"#, 5)),
        );
        check(
            r#" {"events": {"a":1} ,"options":{"min_id_length":1},"api_key":"\u006b"} "#,
            Ok(("k", r#"{"a":1}"#, 1)),
        );
        check(
            r#"{"api_key":"k","events":[],"options":{"min_id_length":"x"}}"#,
            Ok(("k", "[]", 5)),
        );
        for options in [
            r#"{"min_id_length":1.0}"#,
            r#"{"min_id_length":"1"}"#,
            r#"{"min_id_length":" 1.0 "}"#,
            r#"{"other":{},"min_id_length":1,"more":NaN}"#,
            r#""{\"min_id_length\":1}""#,
        ] {
            let text = format!(r#"{{"api_key":"k","options":{options},"events":[]}}"#);
            self::check(Dialect::Upload, &text, Ok(("k", "[]", 1)));
        }
        for options in [
            r#"{"min_id_length":1.5}"#,
            r#"{"min_id_length":-1}"#,
            r#"{"min_id_length":null}"#,
            r#"{"min_id_length":[1]}"#,
            r#"{"min_id_length":1e99}"#,
            "[]",
            "7",
        ] {
            let text = format!(r#"{{"api_key":"k","options":{options},"events":[]}}"#);
            self::check(Dialect::Upload, &text, Ok(("k", "[]", 5)));
        }
        check(
            r#"{"api_key":"k","events":"[{\"a\":1}]"}"#,
            Ok(("k", r#"[{"a":1}]"#, 5)),
        );
        check(r#"{"events":[]}"#, Err("Request missing required field"));
        check(
            r#"{"api_key":7,"events":[]}"#,
            Err("Request missing required field"),
        );
        check(r#"{"api_key":"k"}"#, Err("Request missing required field"));
        check("", Err("Missing request body"));
        check("[]", Err("Invalid JSON request body"));
        check(
            r#"{"api_key":"k","events":["#,
            Err("Invalid JSON request body"),
        );
    }

    #[test]
    fn the_fields_of_a_form_may_be_json() {
        for (dialect, text, events, shortest) in [
            (
                Dialect::Identify,
                r#"{"api_key":"k","identification":[{"user_id":"u"}]}"#,
                r#"[{"user_id":"u"}]"#,
                5,
            ),
            (
                Dialect::GroupIdentify,
                "\u{feff} {\"api_key\":\"k\",\"identification\":\"[]\"}",
                "[]",
                5,
            ),
            (
                Dialect::Identify,
                r#"{"api_key":"k","events":[],"options":{"min_id_length":2}}"#,
                "[]",
                2,
            ),
            (Dialect::HttpV1, r#"{"api_key":"k","event":{}}"#, "{}", 1),
            (Dialect::Legacy, r#"{"client":"k","e":[]}"#, "[]", 1),
            (Dialect::Legacy, r#"{"api_key":"k","e":"[]"}"#, "[]", 1),
        ] {
            assert_eq!(dialect.of_body(text.as_bytes()), dialect, "{text}");
            check(dialect, text, Ok(("k", events, shortest)));
        }
        for text in [r#"{"api_key":"k","events":[]}"#, "{", " {}", "\u{feff}{}"] {
            for dialect in [Dialect::Legacy, Dialect::HttpV1] {
                assert_eq!(dialect.of_body(text.as_bytes()), Dialect::Upload, "{text}");
            }
            assert_eq!(dialect_of_identify(text), Dialect::Identify);
        }
        check(
            Dialect::Identify,
            r#"{"api_key":"k"}"#,
            Err("Request missing required field"),
        );
    }

    fn dialect_of_identify(text: &str) -> Dialect {
        Dialect::Identify.of_body(text.as_bytes())
    }

    #[test]
    fn what_stands_around_a_form_is_no_part_of_it() {
        for text in [
            "\u{feff}client=k&e=%5B%5D",
            "client=k&e=%5B%5D\r\n",
            "e=%5B%5D&client=k\n",
            "\u{feff}\ne=%5B%5D&client=k\n",
        ] {
            check(Dialect::Legacy, text, Ok(("k", "[]", 1)));
        }
    }

    #[test]
    fn forms_are_unescaped() {
        check(
            Dialect::Identify,
            "api_key=k&identification=%5B%7B%22user_id%22%3A%22a+b%22%7D%5D",
            Ok(("k", r#"[{"user_id":"a b"}]"#, 5)),
        );
        check(
            Dialect::Legacy,
            "checksum=c&client=k&e=%5B%5D&upload_time=1&v=2",
            Ok(("k", "[]", 1)),
        );
        check(
            Dialect::Legacy,
            "client=k",
            Err("Request missing required field"),
        );
        check(
            Dialect::Legacy,
            "client=k&e=+",
            Err("Request missing required field"),
        );
        check(Dialect::Identify, "", Err("Request missing required field"));
        check(
            Dialect::GroupIdentify,
            "api_key=k&identification=%7B%22group_type%22%3A%22org%22%7D",
            Ok(("k", r#"{"group_type":"org"}"#, 5)),
        );
        check(
            Dialect::HttpV1,
            "api_key=k&event=%7B%7D",
            Ok(("k", "{}", 1)),
        );
        check(
            Dialect::HttpV1,
            "client=k&e=%7B%7D",
            Err("Request missing required field"),
        );
    }

    #[test]
    fn the_senders_clock_is_read_in_every_form_of_a_time() {
        let told = |dialect: Dialect, text: &str| {
            let call = dialect.read(text.as_bytes(), None).unwrap();
            call.upload_time.map(|time| time.0)
        };
        for (time, expected) in [
            (r#""2026-11-20T18:04:09.412Z""#, Some(1_795_197_849_412)),
            (r#""2026-11-20 18:04:09.412000""#, Some(1_795_197_849_412)),
            (
                r#""2026-11-20T20:04:09.412+02:00""#,
                Some(1_795_197_849_412),
            ),
            ("1795197849412", Some(1_795_197_849_412)),
            (r#""1795197849412""#, Some(1_795_197_849_412)),
            (r#""yesterday""#, None),
            (r#""""#, None),
            ("null", None),
            // A clock that was never set.
            (r#""1970-01-01T00:00:08.000Z""#, Some(8000)),
            ("86405000", Some(86_405_000)),
            ("0", None),
            ("-1", None),
            ("1e300", None),
            ("{}", None),
            ("\"\\ud800\"", None),
        ] {
            let body = format!(r#"{{"client_upload_time":{time},"api_key":"k","events":[]}}"#);
            assert_eq!(told(Dialect::Upload, &body), expected, "{time}");
        }
        for (time, expected) in [
            ("1795197849412", Some(1_795_197_849_412)),
            ("2026-11-20T18%3A04%3A09.412Z", Some(1_795_197_849_412)),
            ("now", None),
            ("", None),
        ] {
            let form = format!("client=k&e=%5B%5D&upload_time={time}");
            assert_eq!(told(Dialect::Legacy, &form), expected, "{time}");
            let form = format!("api_key=k&event=%5B%5D&upload_time={time}");
            assert_eq!(told(Dialect::HttpV1, &form), expected, "{time}");
        }
    }
}
