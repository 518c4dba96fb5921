//! The rules for events (Conversions API: Server Event Parameters; Using the API).
//!
//! [`check`] returns the first fault of an event, under its documented or known sub-code, else as a violation
//! of the schema (2804019). The text names the place and never repeats a value. Types are in `shape.rs`;
//! `strict.rs` holds the rules that are stricter than Meta's.

mod app_data;
mod custom_data;
mod messaging;
mod shape;
mod strict;
mod user_data;

use std::fmt::{self, Display};

use serde_json::Value;

use crate::clock::UnixMillis;

use self::shape::FieldShape::{
    self, Any, Boolean, Id, Integer, ListOf, Number, ObjectOf, OneOf, Text,
};
use self::shape::{Fields, Object, object, text};

const DAY_SECONDS: i64 = 86_400;

/// How old an event may be.
const WINDOW_DAYS: i64 = 7;

/// How old an event from a physical store may be.
const STORE_WINDOW_DAYS: i64 = 62;

const ACTION_SOURCES: &[&str] = &[
    "app",
    "business_messaging",
    "chat",
    "email",
    "other",
    "phone_call",
    "physical_store",
    "system_generated",
    "website",
];

const CUSTOMER_SEGMENTATION: FieldShape = OneOf(&[
    "new_customer_to_business",
    "new_customer_to_business_line",
    "new_customer_to_product_area",
    "new_customer_to_medium",
    "existing_customer_to_business",
    "existing_customer_to_business_line",
    "existing_customer_to_product_area",
    "existing_customer_to_medium",
    "customer_in_loyalty_program",
]);

/// The fields of an event; where the shape is `Any`, a separate rule checks the field.
const FIELDS: &Fields = &[
    ("action_source", OneOf(ACTION_SOURCES)),
    ("advanced_measurement_table", Text),
    ("app_data", Any),
    ("attribution_data", ObjectOf(ATTRIBUTION_FIELDS)),
    ("custom_data", Any),
    ("customer_segmentation", CUSTOMER_SEGMENTATION),
    ("data_processing_options", ListOf(&OneOf(&["LDU"]))),
    ("data_processing_options_country", Integer),
    ("data_processing_options_state", Integer),
    ("event_id", Text),
    ("event_name", Any),
    ("event_source_url", Text),
    ("event_time", Integer),
    ("extinfo", Any),
    (
        "messaging_channel",
        OneOf(&["whatsapp", "messenger", "instagram"]),
    ),
    ("opt_out", Boolean),
    (
        "original_event_data",
        ObjectOf(&[
            ("event_id", Text),
            ("event_name", Text),
            ("event_time", Integer),
            ("order_id", Text),
        ]),
    ),
    ("referrer_url", Text),
    ("user_data", Any),
];

const ATTRIBUTION_FIELDS: &Fields = &[
    ("ad_id", Id),
    ("adset_id", Id),
    ("attr_window", Integer),
    (
        "attribution_method",
        OneOf(&["ard", "deeplink", "gpir", "invalid_response", "mir", "srn"]),
    ),
    (
        "attribution_model",
        OneOf(&[
            "customized_multi_touch",
            "first_touch",
            "last_click",
            "last_touch",
            "linear",
            "position_based",
            "time_decay",
            "unknown",
        ]),
    ),
    (
        "attribution_setting",
        ObjectOf(&[
            ("inactivity_window_hours", Integer),
            ("reattribution_window_hours", Integer),
        ]),
    ),
    ("attribution_share", Number),
    ("attribution_source", Text),
    ("attribution_value", Number),
    ("auditing_token", Text),
    ("campaign_id", Id),
    ("decline_reason", Text),
    ("linkage_key", Text),
    ("partner_client_id", Text),
    ("scope", Text),
    ("total_credit", Number),
    ("touchpoint_id", Text),
    ("touchpoint_ts", Integer),
    ("touchpoint_type", Text),
    ("visit_time", Integer),
];

/// Why an event, and with it its batch, is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EventRefusal {
    /// Meta's sub-code; the code is 100.
    pub(super) sub_code: u32,
    /// For people, in a few words.
    pub(super) title: &'static str,
    /// For people, in a sentence.
    pub(super) detail: String,
}

impl EventRefusal {
    fn new(sub_code: u32, title: &'static str, detail: impl Into<String>) -> Self {
        Self {
            sub_code,
            title,
            detail: detail.into(),
        }
    }

    /// An event that was marked to be refused, with a text that blames the event at `index`.
    pub(super) fn poison(index: usize) -> Self {
        let place = JsonPlace::Event(index);
        let detail = format!("Param \"{place}\" is not a valid event");
        Self::new(2_804_007, "Invalid Event", detail)
    }

    fn schema(detail: String) -> Self {
        Self::new(2_804_019, "Invalid Parameter", detail)
    }

    /// The value at this place violates the schema.
    fn value(place: &JsonPlace<'_>, problem: &str) -> Self {
        Self::schema(format!("Param \"{place}\" {problem}"))
    }
}

/// A place in a call, shown as a JSON path, as in the endpoint's texts.
#[derive(Clone, Copy, Debug)]
pub(super) enum JsonPlace<'a> {
    /// An event, by its index in the batch.
    Event(usize),
    /// A field of an object.
    Key(&'a Self, &'a str),
    /// An element of a list.
    Item(&'a Self, usize),
}

impl<'a> JsonPlace<'a> {
    pub(super) const fn key(&'a self, key: &'a str) -> Self {
        Self::Key(self, key)
    }
}

impl Display for JsonPlace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event(index) => write!(f, "$['data'][{index}]"),
            Self::Key(parent, key) => write!(f, "{parent}['{key}']"),
            Self::Item(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// Checks one event of a batch.
pub(super) fn check(event: &Value, index: usize, now: UnixMillis) -> Result<(), EventRefusal> {
    let place = &JsonPlace::Event(index);
    let event = object(event, place)?;
    event.check_fields(FIELDS)?;
    let name = event_name(&event, place)?;
    let source = event.require("action_source")?.as_str().unwrap_or_default();
    event_time(event.require("event_time")?, source, now)?;
    data_processing(&event, place)?;
    let user_data = event.require("user_data")?;
    user_data::check(user_data, &place.key("user_data"))?;
    custom_data::check(name, event.get("custom_data"), &place.key("custom_data"))?;
    if let Some(extinfo) = event.get("extinfo") {
        app_data::extinfo(extinfo)?;
    }
    let app_data = match source {
        "app" => Some(event.require("app_data")?),
        _ => event.get("app_data"),
    };
    if let Some(app_data) = app_data {
        app_data::check(app_data, &place.key("app_data"))?;
    }
    if source == "business_messaging" {
        messaging::check(name, &event, user_data)?;
    }
    Ok(())
}

fn event_name<'a>(event: &Object<'a>, place: &JsonPlace<'_>) -> Result<&'a str, EventRefusal> {
    let value = event.require("event_name")?;
    let place = place.key("event_name");
    if value.as_str().is_some_and(|name| name.trim().is_empty()) {
        return Err(EventRefusal::value(&place, "is blank"));
    }
    text(value, &place)
}

fn event_time(value: &Value, source: &str, now: UnixMillis) -> Result<(), EventRefusal> {
    // An integer beyond a signed 64-bit one lies in the future too.
    let seconds = value.as_i64().unwrap_or(i64::MAX);
    let days = match source {
        "physical_store" => STORE_WINDOW_DAYS,
        _ => WINDOW_DAYS,
    };
    if seconds < now.seconds() - days * DAY_SECONDS {
        let detail = format!("The event lies more than {days} days in the past");
        return Err(EventRefusal::new(
            2_804_003,
            "Event Timestamp Too Old",
            detail,
        ));
    }
    if seconds > now.seconds() {
        let detail = "The event lies in the future";
        return Err(EventRefusal::new(
            2_804_004,
            "Event Timestamp In The Future",
            detail,
        ));
    }
    Ok(())
}

/// Checks the choice for limited data use (Marketing API: Data Processing Options).
fn data_processing(event: &Object<'_>, place: &JsonPlace<'_>) -> Result<(), EventRefusal> {
    let limited = (event
        .get("data_processing_options")
        .and_then(Value::as_array))
    .is_some_and(|options| !options.is_empty());
    if limited {
        event.require("data_processing_options_country")?;
        event.require("data_processing_options_state")?;
    }
    let number = |key: &str| event.get(key).map(|value| value.as_i64().unwrap_or(-1));
    let wrong = |key| {
        let problem = "must be one of the documented values";
        Err(EventRefusal::value(&place.key(key), problem))
    };
    let country = number("data_processing_options_country");
    if country.is_some_and(|country| !matches!(country, 0 | 1)) {
        return wrong("data_processing_options_country");
    }
    match (country, number("data_processing_options_state")) {
        (_, None | Some(0)) | (Some(1), Some(1000..=1013)) => Ok(()),
        _ => wrong("data_processing_options_state"),
    }
}

#[cfg(test)]
mod tests;
