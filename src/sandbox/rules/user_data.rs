//! Customer information (Conversions API: Customer Information Parameters, `ClickID` and the fbp and fbc parameters).

use serde_json::Value;

use super::place::JsonPlace;
use super::shape::{FieldShape, Object, is_integer, object, text};
use super::{EventRefusal, strict};

/// What a field of `user_data` may hold.
#[derive(Clone, Copy, Debug)]
enum UserDataRule {
    /// A SHA-256 in lower-case hex, or a list of them.
    Hashed,
    /// The same; Meta takes it raw too.
    ExternalId,
    /// An IP address.
    Address,
    /// A click id.
    Click,
    /// A browser id.
    Browser,
    /// A lead id of 15 to 17 digits.
    Lead,
    /// An integer, or a string of digits.
    Digits,
    /// A mobile advertiser id.
    Advertiser,
    /// A value of this shape.
    Plain(FieldShape),
}

const FIELDS: [(&str, UserDataRule); 34] = [
    ("anon_id", UserDataRule::Plain(FieldShape::Text)),
    ("app_user_id", UserDataRule::Hashed),
    ("client_ip_address", UserDataRule::Address),
    ("client_user_agent", UserDataRule::Plain(FieldShape::Text)),
    ("country", UserDataRule::Hashed),
    ("ct", UserDataRule::Hashed),
    ("ctwa_clid", UserDataRule::Plain(FieldShape::Text)),
    ("db", UserDataRule::Hashed),
    ("dobd", UserDataRule::Hashed),
    ("dobm", UserDataRule::Hashed),
    ("doby", UserDataRule::Hashed),
    ("em", UserDataRule::Hashed),
    ("external_id", UserDataRule::ExternalId),
    ("f5first", UserDataRule::Hashed),
    ("f5last", UserDataRule::Hashed),
    ("fb_login_id", UserDataRule::Digits),
    ("fbc", UserDataRule::Click),
    ("fbp", UserDataRule::Browser),
    ("fi", UserDataRule::Hashed),
    ("fn", UserDataRule::Hashed),
    ("ge", UserDataRule::Hashed),
    ("ig_account_id", UserDataRule::Plain(FieldShape::Id)),
    ("ig_sid", UserDataRule::Plain(FieldShape::Id)),
    (
        "instagram_business_account_id",
        UserDataRule::Plain(FieldShape::Id),
    ),
    ("lead_id", UserDataRule::Lead),
    ("ln", UserDataRule::Hashed),
    ("madid", UserDataRule::Advertiser),
    ("page_id", UserDataRule::Plain(FieldShape::Id)),
    ("page_scoped_user_id", UserDataRule::Plain(FieldShape::Id)),
    ("ph", UserDataRule::Hashed),
    ("st", UserDataRule::Hashed),
    ("subscription_id", UserDataRule::Plain(FieldShape::Text)),
    (
        "whatsapp_business_account_id",
        UserDataRule::Plain(FieldShape::Id),
    ),
    ("zp", UserDataRule::Hashed),
];

/// Keys that do not suffice, even together.
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
        let Some((_, field)) = FIELDS.iter().find(|(name, _)| *name == key) else {
            return Err(user_data.unexpected(key));
        };
        field.check(value, &place.key(key))?;
    }
    suffices(&user_data)
}

impl UserDataRule {
    fn check(&self, value: &Value, place: &JsonPlace<'_>) -> Result<(), EventRefusal> {
        match self {
            Self::Hashed => hashes(value, place, &[64], &not_hashed),
            Self::ExternalId => {
                // Meta's own code takes 32 digits for a hash as well.
                hashes(value, place, &[64, 32], &|| strict::unhashed(place))
            }
            Self::Address => strict::address(text(value, place)?, place),
            Self::Click if is_click_id(text(value, place)?) => Ok(()),
            Self::Click => Err(EventRefusal {
                sub_code: 2_804_001,
                title: "Invalid Click ID",
                detail: "The fbc parameter is not fb.<index>.<milliseconds>.<fbclid>".to_owned(),
            }),
            Self::Browser if is_browser_id(text(value, place)?) => Ok(()),
            Self::Browser => Err(strict::browser_id(place)),
            Self::Lead if digits(value).is_some_and(|digits| matches!(digits.len(), 15..=17)) => {
                Ok(())
            }
            Self::Lead => Err(EventRefusal {
                sub_code: 2_804_036,
                title: "Invalid Lead ID",
                detail: "A lead ID has 15 to 17 digits".to_owned(),
            }),
            Self::Digits if digits(value).is_some() => Ok(()),
            Self::Digits => Err(EventRefusal::schema(format!(
                "Param \"{place}\" must be an integer"
            ))),
            Self::Advertiser => strict::advertiser_id(text(value, place)?, place),
            Self::Plain(shape) => shape.check(value, place),
        }
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

fn not_hashed() -> EventRefusal {
    EventRefusal {
        sub_code: 2_804_016,
        title: "Unhashed User Parameter",
        detail: "Customer information must be hashed with SHA-256".to_owned(),
    }
}

fn suffices(user_data: &Object<'_>) -> Result<(), EventRefusal> {
    let weak = |keys: &&[&str]| user_data.iter().all(|(key, _)| keys.contains(&key));
    if WEAK.iter().any(weak) {
        return Err(EventRefusal {
            sub_code: 2_804_050,
            title: "Not Enough Customer Information",
            detail: "The customer information is insufficient to match the event to a person"
                .to_owned(),
        });
    }
    Ok(())
}

/// `fb.<index>.<milliseconds>.<fbclid>`; the builder of Meta may add a segment.
fn is_click_id(text: &str) -> bool {
    browser_cookie(text).is_some()
}

/// `fb.<index>.<milliseconds>.<digits>`, with the builder's segment too.
fn is_browser_id(text: &str) -> bool {
    let random = browser_cookie(text).and_then(|rest| rest.split('.').next());
    random.is_some_and(|random| !random.is_empty() && is_digits(random))
}

/// What follows the first three segments of `fbc` and `fbp`.
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

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
