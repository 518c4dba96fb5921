//! What makes an event acceptable (Conversions API: Server Event Parameters; Using the API).
//!
//! [`check`] goes through one event and returns the first thing wrong with it, under the sub-code that is
//! documented or known for it, else as a violation of the schema (2804019), whose text names the place.
//! Texts never repeat a value. Types and places are in `shape.rs`; where the sandbox asks for more than Meta,
//! `strict.rs` says so.

mod app_data;
mod custom_data;
mod messaging;
mod place;
mod shape;
mod strict;
mod user_data;

use serde_json::Value;

use crate::clock::UnixMillis;

use self::place::JsonPlace;
use self::shape::{FieldShape, Fields, Object, object, text};

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

const CUSTOMER_SEGMENTATION: FieldShape = FieldShape::OneOf(&[
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

/// The fields of an event; where the shape is `Any`, a rule of its own looks at it.
const FIELDS: &Fields = &[
    ("action_source", FieldShape::OneOf(ACTION_SOURCES)),
    ("advanced_measurement_table", FieldShape::Text),
    ("app_data", FieldShape::Any),
    ("attribution_data", FieldShape::Object(ATTRIBUTION_FIELDS)),
    ("custom_data", FieldShape::Any),
    ("customer_segmentation", CUSTOMER_SEGMENTATION),
    (
        "data_processing_options",
        FieldShape::List(&FieldShape::OneOf(&["LDU"])),
    ),
    ("data_processing_options_country", FieldShape::Integer),
    ("data_processing_options_state", FieldShape::Integer),
    ("event_id", FieldShape::Text),
    ("event_name", FieldShape::Any),
    ("event_source_url", FieldShape::Text),
    ("event_time", FieldShape::Integer),
    ("extinfo", FieldShape::Any),
    (
        "messaging_channel",
        FieldShape::OneOf(&["whatsapp", "messenger", "instagram"]),
    ),
    ("opt_out", FieldShape::Boolean),
    (
        "original_event_data",
        FieldShape::Object(&[
            ("event_id", FieldShape::Text),
            ("event_name", FieldShape::Text),
            ("event_time", FieldShape::Integer),
            ("order_id", FieldShape::Text),
        ]),
    ),
    ("referrer_url", FieldShape::Text),
    ("user_data", FieldShape::Any),
];

const ATTRIBUTION_FIELDS: &Fields = &[
    ("ad_id", FieldShape::Id),
    ("adset_id", FieldShape::Id),
    ("attr_window", FieldShape::Integer),
    (
        "attribution_method",
        FieldShape::OneOf(&["ard", "deeplink", "gpir", "invalid_response", "mir", "srn"]),
    ),
    (
        "attribution_model",
        FieldShape::OneOf(&[
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
        FieldShape::Object(&[
            ("inactivity_window_hours", FieldShape::Integer),
            ("reattribution_window_hours", FieldShape::Integer),
        ]),
    ),
    ("attribution_share", FieldShape::Number),
    ("attribution_source", FieldShape::Text),
    ("attribution_value", FieldShape::Number),
    ("auditing_token", FieldShape::Text),
    ("campaign_id", FieldShape::Id),
    ("decline_reason", FieldShape::Text),
    ("linkage_key", FieldShape::Text),
    ("partner_client_id", FieldShape::Text),
    ("scope", FieldShape::Text),
    ("total_credit", FieldShape::Number),
    ("touchpoint_id", FieldShape::Text),
    ("touchpoint_ts", FieldShape::Integer),
    ("touchpoint_type", FieldShape::Text),
    ("visit_time", FieldShape::Integer),
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
    /// An event that was marked to be refused, with a text that blames the event at `index`.
    pub(super) fn poison(index: usize) -> Self {
        Self {
            sub_code: 2_804_007,
            title: "Invalid Event",
            detail: format!("Param \"{}\" is not a valid event", JsonPlace::Event(index)),
        }
    }

    fn schema(detail: String) -> Self {
        Self {
            sub_code: 2_804_019,
            title: "Invalid Parameter",
            detail,
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
    if value.as_str().is_some_and(|name| name.trim().is_empty()) {
        let detail = format!("Param \"{}\" is blank", place.key("event_name"));
        return Err(EventRefusal::schema(detail));
    }
    text(value, &place.key("event_name"))
}

fn event_time(value: &Value, source: &str, now: UnixMillis) -> Result<(), EventRefusal> {
    // An integer beyond 64 bits with sign lies in the future too.
    let seconds = value.as_i64().unwrap_or(i64::MAX);
    let days = match source {
        "physical_store" => STORE_WINDOW_DAYS,
        _ => WINDOW_DAYS,
    };
    if seconds < now.seconds() - days * DAY_SECONDS {
        return Err(EventRefusal {
            sub_code: 2_804_003,
            title: "Event Timestamp Too Old",
            detail: format!("The event lies more than {days} days in the past"),
        });
    }
    if seconds > now.seconds() {
        return Err(EventRefusal {
            sub_code: 2_804_004,
            title: "Event Timestamp In The Future",
            detail: "The event lies in the future".to_owned(),
        });
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
    let (country, state) = (
        number("data_processing_options_country"),
        number("data_processing_options_state"),
    );
    let wrong = |key| {
        let place = place.key(key);
        let detail = format!("Param \"{place}\" must be one of the documented values");
        Err(EventRefusal::schema(detail))
    };
    if country.is_some_and(|country| !matches!(country, 0 | 1)) {
        return wrong("data_processing_options_country");
    }
    let known = match (country, state) {
        (_, None | Some(0)) => true,
        (Some(1), Some(state)) => (1000..=1013).contains(&state),
        _ => false,
    };
    if known {
        Ok(())
    } else {
        wrong("data_processing_options_state")
    }
}

#[cfg(test)]
mod tests;
