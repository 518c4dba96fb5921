//! Reads the body of a call, and the caller's credentials.
//!
//! JSON, with the events as objects or as strings of JSON, or a form with the same fields. Parameters of the
//! call are checked here; the events are judged by [`super::rules`].

use std::collections::BTreeMap;

use axum::http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderName};
use axum::http::request::Parts;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;
use url::form_urlencoded;

use super::reply::SimulatedError;

/// The most events that one call may hold.
const MAX_EVENTS: usize = 1000;

/// One event, as it arrived and parsed.
pub(super) struct ReadElement {
    pub(super) json: Box<str>,
    pub(super) event: Value,
}

/// The caller's credentials: not for printing.
#[derive(Default)]
pub(super) struct Caller {
    pub(super) token: Option<String>,
    pub(super) proof: Option<String>,
    pub(super) proof_time: Option<String>,
}

/// A call that was read.
pub(super) struct ReadCall {
    pub(super) caller: Caller,
    pub(super) test_event_code: Option<String>,
    /// How many elements `data` has, valid or not.
    pub(super) events: usize,
    pub(super) elements: Result<Vec<ReadElement>, SimulatedError>,
}

impl ReadCall {
    /// Reads a call. An error in its body stands in place of the elements.
    pub(super) fn read(head: &Parts, body: &[u8]) -> Self {
        let mut call = Self {
            caller: Caller::default(),
            test_event_code: None,
            events: 0,
            elements: Ok(Vec::new()),
        };
        call.elements = call.read_body(head, body);
        let query = head.uri.query().unwrap_or_default();
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            call.read_credential(&key, &value);
        }
        let authorization = head.headers.get(AUTHORIZATION);
        let bearer = authorization
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "));
        if let Some(token) = bearer {
            call.caller.token = Some(token.to_owned());
        }
        call
    }

    fn read_body(&mut self, head: &Parts, body: &[u8]) -> Result<Vec<ReadElement>, SimulatedError> {
        if header(head, &CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
            return Err(SimulatedError::parameter(
                "A compressed body is not supported",
            ));
        }
        let content_type = header(head, &CONTENT_TYPE).unwrap_or_default();
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        if essence.eq_ignore_ascii_case("application/json") {
            let parameters = serde_json::from_slice::<BTreeMap<String, &RawValue>>(body);
            let Ok(mut parameters) = parameters else {
                return Err(SimulatedError::parameter("The body is not a JSON object"));
            };
            let data = parameters.remove("data");
            for (key, value) in parameters {
                self.read_parameter(&key, &parse(value.get(), &key)?)?;
            }
            self.read_data(data.map(RawValue::get))
        } else if essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            let mut fields: BTreeMap<_, _> = form_urlencoded::parse(body).into_owned().collect();
            let data = fields.remove("data");
            for (key, text) in fields {
                let value = match key.as_str() {
                    "platforms" | "progress" => parse(&text, &key)?,
                    _ => Value::from(text),
                };
                self.read_parameter(&key, &value)?;
            }
            self.read_data(data.as_deref())
        } else {
            // Without a known content type, the edge sees no parameters.
            self.read_data(None)
        }
    }

    fn read_data(&mut self, data: Option<&str>) -> Result<Vec<ReadElement>, SimulatedError> {
        let Some(data) = data else {
            return Err(SimulatedError::parameter("The parameter data is required"));
        };
        // They are counted first, so that millions of tiny elements take no memory.
        let Ok(counted) = serde_json::from_str::<Vec<IgnoredAny>>(data) else {
            return Err(SimulatedError::parameter("param data must be an array."));
        };
        self.events = counted.len();
        if counted.is_empty() {
            return Err(SimulatedError::parameter("param data must be non-empty."));
        }
        if counted.len() > MAX_EVENTS {
            let problem = "param data must have at most 1000 elements.";
            return Err(SimulatedError::parameter(problem));
        }
        let elements: Vec<&RawValue> = parse(data, "data")?;
        let read = |(index, element): (usize, &&RawValue)| -> Result<ReadElement, SimulatedError> {
            let place = format!("data[{index}]");
            let text = element.get();
            let json: Box<str> = if text.starts_with('"') {
                parse(text, &place)?
            } else {
                text.into()
            };
            let event = parse(&json, &place)?;
            Ok(ReadElement { json, event })
        };
        elements.iter().enumerate().map(read).collect()
    }

    fn read_parameter(&mut self, key: &str, value: &Value) -> Result<(), SimulatedError> {
        let text = value.as_str().map(str::trim).unwrap_or_default();
        let is_fit = match key {
            "platforms" if value.is_array() => true,
            "progress" if value.is_object() => true,
            "partner_agent" => {
                let letters = text.chars().filter(char::is_ascii_alphabetic).count();
                text.chars().count() < 23 && letters >= 2
            }
            "access_token" | "appsecret_proof" | "appsecret_time" | "namespace_id"
            | "platforms" | "progress" | "test_event_code" | "upload_id" | "upload_source"
            | "upload_tag" => !text.is_empty(),
            _ => {
                // Meta may ignore it, but a caller that sends it has a defect.
                let problem = "Unexpected parameter in the body";
                return Err(SimulatedError::parameter(problem));
            }
        };
        if !is_fit {
            let problem = format!("param {key} has a wrong type or form.");
            return Err(SimulatedError::parameter(&problem));
        }
        if key == "test_event_code" {
            self.test_event_code = Some(text.to_owned());
        }
        self.read_credential(key, text);
        Ok(())
    }

    fn read_credential(&mut self, key: &str, value: &str) {
        let place = match key {
            "access_token" => &mut self.caller.token,
            "appsecret_proof" => &mut self.caller.proof,
            "appsecret_time" => &mut self.caller.proof_time,
            _ => return,
        };
        *place = Some(value.to_owned());
    }
}

/// Counts the elements of `data` without parsing them.
pub(super) fn count(body: &[u8]) -> usize {
    #[derive(Deserialize)]
    struct Counted {
        data: Vec<IgnoredAny>,
    }
    serde_json::from_slice(body).map_or(0, |Counted { data }| data.len())
}

fn parse<'a, T: Deserialize<'a>>(json: &'a str, place: &str) -> Result<T, SimulatedError> {
    serde_json::from_str(json)
        .map_err(|_| SimulatedError::parameter(&format!("param {place} is not valid JSON.")))
}

fn header<'a>(head: &'a Parts, name: &HeaderName) -> Option<&'a str> {
    head.headers.get(name).and_then(|value| value.to_str().ok())
}
