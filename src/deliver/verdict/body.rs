//! What the body of an answer says.
//!
//! Pure. Reads leniently, since proxies and Graph itself wrap, cut and garble: it skips a byte order mark, a
//! guard such as `for (;;);` and what follows the first value, and picks the members that decide out of JSON
//! that is broken. It tells apart what Graph cannot have written.

use serde_json::{Map, Value};

/// Longest text before the first brace that may be a guard.
const LONGEST_GUARD: usize = 64;

/// Sub-codes that Graph gives for an event.
const EVENT_SUB_CODES: std::ops::RangeInclusive<i64> = 2_804_000..=2_804_999;
/// Another one: an event of an offline upload.
const OFFLINE_EVENT: i64 = 1_815_356;

/// What an event may be blamed for: the first step of a path into a request.
const EVENT_FIELDS: [&str; 18] = [
    "data",
    "action_source",
    "advanced_measurement_table",
    "app_data",
    "attribution_data",
    "contents",
    "custom_data",
    "customer_segmentation",
    "data_processing_options",
    "data_processing_options_country",
    "data_processing_options_state",
    "event_id",
    "event_name",
    "event_source_url",
    "event_time",
    "opt_out",
    "original_event_data",
    "user_data",
];

/// An answer's body, understood.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ReplyBody {
    /// Graph's error.
    Error(GraphError),
    /// A JSON object that tells of no error.
    Object(Map<String, Value>),
    Empty,
    /// What Graph does not write, such as a page of HTML.
    Foreign,
}

/// An error in Graph's form.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct GraphError {
    pub(super) code: Option<i64>,
    pub(super) sub_code: Option<i64>,
    pub(super) kind: Option<String>,
    pub(super) message: Option<String>,
    /// Everything that it says to people.
    pub(super) text: Option<String>,
    pub(super) is_transient: bool,
    pub(super) trace_id: Option<String>,
    /// It names a part of an event as the cause.
    blames_event: bool,
    /// The index of the event that it points at.
    pub(super) hint: Option<usize>,
}

impl ReplyBody {
    /// Reads a body that came with this status.
    pub(super) fn read(bytes: &[u8], status: u16) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let blank = |character: char| {
            character.is_whitespace() || character == '\u{feff}' || character == '\0'
        };
        let text = text.trim_matches(blank);
        if text.is_empty() {
            return Self::Empty;
        }
        let (guard, json) = text.split_at(text.find('{').unwrap_or(text.len()));
        if json.is_empty() || guard.len() > LONGEST_GUARD || guard.contains(['<', '[', '"']) {
            return Self::Foreign;
        }
        let mut values = serde_json::Deserializer::from_str(json).into_iter::<Value>();
        match values.next() {
            Some(Ok(Value::Object(body))) => Self::of(body, status),
            _ => GraphError::picked(json).map_or(Self::Foreign, Self::Error),
        }
    }

    fn of(body: Map<String, Value>, status: u16) -> Self {
        let error = match body.get("error") {
            None | Some(Value::Null) => return Self::Object(body),
            Some(error) => error.as_object(),
        };
        error
            .map(|error| GraphError::read(error, &body))
            .filter(|error| error.is_graphs(status))
            .map_or(Self::Foreign, Self::Error)
    }
}

impl GraphError {
    fn read(error: &Map<String, Value>, body: &Map<String, Value>) -> Self {
        let text = texts(error);
        let blamed = error.get("error_data").and_then(blamed_path);
        let index = || blamed.as_ref()?.get(1)?.parse().ok();
        Self {
            code: error.get("code").and_then(integer),
            sub_code: error.get("error_subcode").and_then(integer),
            kind: text_at(error, "type"),
            message: text_at(error, "message"),
            is_transient: error.get("is_transient").and_then(Value::as_bool) == Some(true),
            trace_id: text_at(error, "fbtrace_id").or_else(|| text_at(body, "fbtrace_id")),
            blames_event: blamed.is_some(),
            hint: text.as_deref().and_then(index_hint).or_else(index),
            text,
        }
    }

    /// Picks what decides out of JSON that is broken; `None` where there is no error with a code in it.
    fn picked(json: &str) -> Option<Self> {
        let (_, after) = ["\"error\"", "'error'"]
            .into_iter()
            .find_map(|name| json.split_once(name))?;
        let number = |name| picked(after, name)?.parse().ok();
        let word = |name| picked(after, name).map(str::to_owned);
        let error = Self {
            code: number("code"),
            sub_code: number("error_subcode"),
            kind: word("type"),
            trace_id: word("fbtrace_id"),
            hint: index_hint(after),
            ..Self::default()
        };
        error.code.is_some().then_some(error)
    }

    /// Whether it tells of an event, not of the request.
    pub(super) fn is_of_event(&self) -> bool {
        let is_events = |code| EVENT_SUB_CODES.contains(&code) || code == OFFLINE_EVENT;
        self.sub_code.is_some_and(is_events) || self.blames_event || self.hint.is_some()
    }

    /// Whether Graph can have written it. Others put the HTTP status where Graph has its code.
    fn is_graphs(&self, status: u16) -> bool {
        self.trace_id.is_some()
            || (self.kind.as_deref()).is_some_and(|kind| kind.ends_with("Exception"))
            || self.code.is_some_and(|code| code != i64::from(status))
    }
}

/// The steps to the part of an event that `blame_field_specs` blames. `error_data` is an object, or JSON as
/// text; a path in it is a list of names, or one text.
fn blamed_path(error_data: &Value) -> Option<Vec<String>> {
    let data = match error_data {
        Value::String(text) => &serde_json::from_str(text).ok()?,
        data => data,
    };
    let specs = data.get("blame_field_specs")?.as_array()?;
    let mut paths = specs.iter().map(|spec| {
        let path = match spec {
            Value::Array(steps) => steps.iter().map(plain).collect::<Vec<_>>().join("."),
            path => plain(path),
        };
        path.split(['.', '[', ']', '\'', '"'])
            .filter(|name| !name.is_empty() && *name != "$")
            .map(str::to_owned)
            .collect::<Vec<_>>()
    });
    let is_events = |path: &Vec<String>| {
        (path.first()).is_some_and(|field| EVENT_FIELDS.contains(&field.as_str()))
    };
    paths.find(is_events)
}

/// A text as it is, anything else as JSON.
pub(super) fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// Joins what Meta says, for a person.
fn texts(error: &Map<String, Value>) -> Option<String> {
    let mut texts: Vec<&str> = Vec::new();
    for name in ["message", "error_user_title", "error_user_msg"] {
        if let Some(text) = error.get(name).and_then(Value::as_str)
            && !text.is_empty()
            && !texts.contains(&text)
        {
            texts.push(text);
        }
    }
    (!texts.is_empty()).then(|| texts.join(": "))
}

/// Finds the index in a path such as `$['data'][3]['custom_data']`, the one thing in a text that no translation
/// changes.
fn index_hint(text: &str) -> Option<usize> {
    ["['data'][", "[\"data\"][", "[\\\"data\\\"][", "data["]
        .into_iter()
        .flat_map(|path| text.match_indices(path))
        .filter(|(at, path)| {
            let is_word = |character: char| character.is_alphanumeric() || character == '_';
            path.starts_with('[')
                || text
                    .get(..*at)
                    .is_some_and(|before| !before.ends_with(is_word))
        })
        .find_map(|(at, path)| {
            let (digits, _) = text.get(at + path.len()..)?.split_once(']')?;
            digits.parse().ok()
        })
}

/// The plain value that follows a member's name in broken JSON, up to the next mark.
fn picked<'a>(json: &'a str, name: &str) -> Option<&'a str> {
    ['"', '\''].into_iter().find_map(|quote| {
        let (_, after) = json.split_once(&format!("{quote}{name}{quote}"))?;
        let value = after.trim_start().strip_prefix(':')?.trim_start();
        let value = value.trim_start_matches(['"', '\'']);
        let is_mark = |mark: char| mark.is_whitespace() || ",}]\"'".contains(mark);
        value
            .split(is_mark)
            .next()
            .filter(|value| !value.is_empty())
    })
}

/// An integer, or one in a text.
fn integer(value: &Value) -> Option<i64> {
    value
        .as_i64()
        .or_else(|| value.as_str()?.trim().parse().ok())
}

/// A text of an object.
pub(super) fn text_at(object: &Map<String, Value>, name: &str) -> Option<String> {
    object.get(name)?.as_str().map(str::to_owned)
}
