//! Customer information (Conversions API: Customer Information Parameters, `ClickID` and the fbp and fbc parameters).

use serde_json::Value;

use super::shape::FieldShape::{Id, Text};
use super::shape::{Object, is_integer, object, text};
use super::{EventRefusal, JsonPlace, strict};
use crate::sandbox::is_digits;

/// Keys that do not suffice to find a person, even together.
const WEAK: [&[&str]; 4] = [
    &["ct", "country", "st", "zp", "ge", "client_user_agent"],
    &["db", "client_user_agent"],
    &["fn", "ge"],
    &["ln", "ge"],
];

/// Checks every field, and that they suffice to find a person.
pub(super) fn check(value: &Value, place: &JsonPlace<'_>) -> Result<(), EventRefusal> {
    let user_data = object(value, place)?;
    for (key, value) in user_data.iter() {
        check_field(key, value, &place.key(key), &user_data)?;
    }
    suffices(&user_data)
}

fn check_field(
    key: &str,
    value: &Value,
    place: &JsonPlace<'_>,
    user_data: &Object<'_>,
) -> Result<(), EventRefusal> {
    let refusal = |sub_code, title, detail| Err(EventRefusal::new(sub_code, title, detail));
    match key {
        "app_user_id" | "country" | "ct" | "db" | "dobd" | "dobm" | "doby" | "em" | "f5first"
        | "f5last" | "fi" | "fn" | "ge" | "ln" | "ph" | "st" | "zp" => {
            let detail = "Customer information must be hashed with SHA-256";
            hashes(value, place, &[64], &|| {
                EventRefusal::new(2_804_016, "Unhashed User Parameter", detail)
            })
        }
        // Meta's own code accepts an MD5 as a hash too.
        "external_id" => hashes(value, place, &[64, 32], &|| {
            strict::refusal(place, "is not hashed")
        }),
        "client_ip_address" => strict::address(text(value, place)?, place),
        "fbc" if browser_cookie(text(value, place)?).is_some() => Ok(()),
        "fbc" => {
            let detail = "The fbc parameter is not fb.<index>.<milliseconds>.<fbclid>";
            refusal(2_804_001, "Invalid Click ID", detail)
        }
        "fbp" if is_browser_id(text(value, place)?) => Ok(()),
        "fbp" => {
            let problem = "is not fb.<index>.<milliseconds>.<random>";
            Err(strict::refusal(place, problem))
        }
        "lead_id" if digits(value).is_some_and(|digits| matches!(digits.len(), 15..=17)) => Ok(()),
        "lead_id" => refusal(
            2_804_036,
            "Invalid Lead ID",
            "A lead ID has 15 to 17 digits",
        ),
        "fb_login_id" if digits(value).is_some() => Ok(()),
        "fb_login_id" => Err(EventRefusal::value(place, "must be an integer")),
        "madid" => strict::advertiser_id(text(value, place)?, place),
        "anon_id" | "client_user_agent" | "ctwa_clid" | "subscription_id" => {
            Text.check(value, place)
        }
        "ig_account_id"
        | "ig_sid"
        | "instagram_business_account_id"
        | "page_id"
        | "page_scoped_user_id"
        | "whatsapp_business_account_id" => Id.check(value, place),
        _ => Err(user_data.unexpected(key)),
    }
}

fn hashes(
    value: &Value,
    place: &JsonPlace<'_>,
    lengths: &[usize],
    refusal: &dyn Fn() -> EventRefusal,
) -> Result<(), EventRefusal> {
    let Value::Array(items) = value else {
        return hash(value, place, lengths, refusal);
    };
    strict::list(items, place)?;
    for (index, item) in items.iter().enumerate() {
        hash(item, &JsonPlace::Item(place, index), lengths, refusal)?;
    }
    Ok(())
}

fn hash(
    value: &Value,
    place: &JsonPlace<'_>,
    lengths: &[usize],
    refusal: &dyn Fn() -> EventRefusal,
) -> Result<(), EventRefusal> {
    let text = text(value, place)?;
    let is_hash = lengths.contains(&text.len())
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !is_hash {
        return Err(refusal());
    }
    strict::hash(text, place)
}

fn suffices(user_data: &Object<'_>) -> Result<(), EventRefusal> {
    let weak = |keys: &&[&str]| user_data.iter().all(|(key, _)| keys.contains(&key));
    if WEAK.iter().any(weak) {
        let title = "Not Enough Customer Information";
        let detail = "The customer information is insufficient to match the event to a person";
        return Err(EventRefusal::new(2_804_050, title, detail));
    }
    Ok(())
}

/// `fb.<index>.<milliseconds>.<digits>`, with the builder's segment too.
fn is_browser_id(text: &str) -> bool {
    let random = browser_cookie(text).and_then(|rest| rest.split('.').next());
    random.is_some_and(|random| !random.is_empty() && is_digits(random))
}

/// What follows the first three segments of `fbc` and `fbp`; the builder of Meta may add a segment.
fn browser_cookie(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("fb.")?;
    let (index, rest) = rest.split_once('.')?;
    let (created, rest) = rest.split_once('.')?;
    let well_formed = is_digits(index)
        && is_digits(created)
        && (10..=13).contains(&created.len())
        && !rest.is_empty()
        && !rest.contains(char::is_whitespace);
    well_formed.then_some(rest)
}

/// The digits of an integer, or of a string of digits.
fn digits(value: &Value) -> Option<String> {
    let digits = match value {
        Value::String(text) => text.clone(),
        value if is_integer(value) => value.to_string(),
        _ => return None,
    };
    is_digits(&digits).then_some(digits)
}
