//! The app and the device of an app event (Conversions API: App Data Parameters, App Events).

use serde_json::Value;

use super::shape::FieldShape::{Any, Boolean, Flag, ListOf, Text};
use super::shape::{Fields, object};
use super::{EventRefusal, JsonPlace};

const FIELDS: &Fields = &[
    ("add_to_messaging_customer_base_for_whatsapp", Boolean),
    ("advertiser_tracking_enabled", Flag),
    ("application_tracking_enabled", Flag),
    ("campaign_ids", Text),
    ("consider_views", Boolean),
    ("device_token", Text),
    // Its slots have their own rule and sub-code.
    ("extinfo", Any),
    ("include_dwell_data", Boolean),
    ("include_video_data", Boolean),
    ("install_referrer", Text),
    ("installer_package", Text),
    ("receipt_data", Text),
    ("url_schemes", ListOf(&Text)),
    ("vendor_id", Text),
    ("windows_attribution_id", Text),
];

/// The number of slots in `extinfo`, and two that must be filled.
const EXTINFO_SLOTS: usize = 16;
const VERSION_SLOT: usize = 0;
const OS_VERSION_SLOT: usize = 4;

/// Checks the fields, and that the required ones are there.
pub(super) fn check(value: &Value, place: &JsonPlace<'_>) -> Result<(), EventRefusal> {
    let app_data = object(value, place)?;
    app_data.check_fields(FIELDS)?;
    app_data.require("advertiser_tracking_enabled")?;
    extinfo(app_data.require("extinfo")?)
}

/// Checks the device's description.
pub(super) fn extinfo(value: &Value) -> Result<(), EventRefusal> {
    let wrong = |problem: &str| {
        let detail = format!("The extinfo parameter {problem}");
        Err(EventRefusal::new(
            2_804_043,
            "Invalid Extended Device Info",
            detail,
        ))
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
