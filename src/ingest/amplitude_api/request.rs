//! What an SDK's request holds: a project's key, and events as JSON text.
//!
//! `/2/httpapi` and `/batch` take a JSON body, `/identify`, `/groupidentify` and the first HTTP API
//! (`/httpapi`) a form or a query, and the oldest SDKs post a form to `/`. Where a form is due, a JSON
//! body is taken too: an SDK whose server URL has no path, or the old one, sends it.

use std::borrow::Cow;

use serde::Deserialize;
use url::form_urlencoded;

use crate::clock::UnixMillis;
use crate::event::Json;
use crate::ingest::amplitude_api::multipart;
use crate::ingest::amplitude_api::problem::Problem;
use crate::ingest::decode::{NotJson, members};
use crate::map::event_time;

/// Shortest id, where the sender does not say.
const MIN_ID_LENGTH: usize = 5;

/// How events are called and completed, and how the answer is written.
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
pub(super) struct Call<'a> {
    /// The project's key.
    pub(super) api_key: Cow<'a, str>,
    /// A JSON array of events, or one.
    pub(super) events: Cow<'a, [u8]>,
    /// Shorter ids do not count.
    pub(super) min_id_length: usize,
    /// When it was sent, by the sender's clock, where that can be read.
    pub(super) upload_time: Option<UnixMillis>,
}

#[derive(Default, Deserialize)]
struct Options {
    min_id_length: Option<usize>,
}

impl Dialect {
    /// Reads a request. `text` is its body, or the query where there is none.
    pub(super) fn read<'a>(
        self,
        text: &'a [u8],
        content_type: Option<&str>,
    ) -> Result<Call<'a>, Problem> {
        let [key, events] = match self {
            Self::Upload => return read_json(text),
            Self::Identify | Self::GroupIdentify => ["api_key", "identification"],
            Self::HttpV1 => ["api_key", "event"],
            Self::Legacy => ["client", "e"],
        };
        let boundary = content_type.and_then(multipart::boundary);
        let [key, events, upload_time] = match boundary {
            Some(boundary) => {
                [key, events, "upload_time"].map(|name| multipart::part(text, boundary, name))
            }
            None => form(text, [key, events, "upload_time"]),
        };
        let events = events
            .filter(|events| !events.trim().is_empty())
            .ok_or(Problem::MissingField("event"));
        Ok(Call {
            api_key: key.ok_or(Problem::MissingField("api_key"))?,
            events: match events? {
                Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                Cow::Owned(text) => Cow::Owned(text.into_bytes()),
            },
            min_id_length: match self {
                // Ids had no shortest length then.
                Self::Legacy | Self::HttpV1 => 1,
                _ => MIN_ID_LENGTH,
            },
            upload_time: match self {
                Self::Legacy => upload_time.and_then(|time| event_time::of_upload(&time)),
                _ => None,
            },
        })
    }
}

fn read_json(body: &[u8]) -> Result<Call<'_>, Problem> {
    let (mut api_key, mut events, mut options, mut upload_time) = (None, None, None, None);
    members(body, &mut |key, value| match key {
        b"api_key" => api_key = serde_json::from_slice::<String>(value).ok(),
        b"events" => events = Some(value),
        b"options" => options = serde_json::from_slice::<Options>(value).ok(),
        b"client_upload_time" => upload_time = std::str::from_utf8(value).ok(),
        _ => {}
    })
    .map_err(|problem| match problem {
        NotJson::Empty => Problem::NoBody,
        other => Problem::NotJson(other),
    })?;
    let options: Options = options.unwrap_or_default();
    Ok(Call {
        api_key: api_key.ok_or(Problem::MissingField("api_key"))?.into(),
        events: events.ok_or(Problem::MissingField("events"))?.into(),
        min_id_length: options.min_id_length.unwrap_or(MIN_ID_LENGTH),
        upload_time: upload_time
            .and_then(|time| Json::of_valid_text(time).text())
            .and_then(|time| event_time::of_upload(&time)),
    })
}

/// The first value of each of some fields of a form.
fn form<'a, const FIELDS: usize>(
    text: &'a [u8],
    names: [&str; FIELDS],
) -> [Option<Cow<'a, str>>; FIELDS] {
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
        }
    }
}
