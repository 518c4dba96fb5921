//! The app and the device of an app event (Conversions API: App Data Parameters, App Events).

use serde_json::Value;

use super::EventRefusal;
use super::place::JsonPlace;
use super::shape::{FieldShape, Fields, object};

const FIELDS: &Fields = &[
    (
        "add_to_messaging_customer_base_for_whatsapp",
        FieldShape::Boolean,
    ),
    ("advertiser_tracking_enabled", FieldShape::Flag),
    ("application_tracking_enabled", FieldShape::Flag),
    ("campaign_ids", FieldShape::Text),
    ("consider_views", FieldShape::Boolean),
    ("device_token", FieldShape::Text),
    // Its slots have a rule, and a sub-code, of their own.
    ("extinfo", FieldShape::Any),
    ("include_dwell_data", FieldShape::Boolean),
    ("include_video_data", FieldShape::Boolean),
    ("install_referrer", FieldShape::Text),
    ("installer_package", FieldShape::Text),
    ("receipt_data", FieldShape::Text),
    ("url_schemes", FieldShape::List(&FieldShape::Text)),
    ("vendor_id", FieldShape::Text),
    ("windows_attribution_id", FieldShape::Text),
];

/// How many slots `extinfo` has, and two that must be filled.
const EXTINFO_SLOTS: usize = 16;
const VERSION_SLOT: usize = 0;
const OS_VERSION_SLOT: usize = 4;

/// Checks the fields, and that those are there which every app event needs.
pub(super) fn check(value: &Value, place: &JsonPlace<'_>) -> Result<(), EventRefusal> {
    let app_data = object(value, place)?;
    app_data.check_fields(FIELDS)?;
    app_data.require("advertiser_tracking_enabled")?;
    extinfo(app_data.require("extinfo")?)
}

/// Checks the device's description.
pub(super) fn extinfo(value: &Value) -> Result<(), EventRefusal> {
    let wrong = |problem: &str| {
        Err(EventRefusal {
            sub_code: 2_804_043,
            title: "Invalid Extended Device Info",
            detail: format!("The extinfo parameter {problem}"),
        })
    };
    let slots: Option<Vec<&str>> =
        (value.as_array()).and_then(|slots| slots.iter().map(Value::as_str).collect());
    let Some(slots) = slots.filter(|slots| slots.len() == EXTINFO_SLOTS) else {
        return wrong("must be a list of sixteen strings");
    };
    if !matches!(slots[VERSION_SLOT], "a2" | "i2") {
        return wrong("must begin with a2 or i2");
    }
    if slots[OS_VERSION_SLOT].trim().is_empty() {
        return wrong("needs the version of the operating system");
    }
    Ok(())
}
