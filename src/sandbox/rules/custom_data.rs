//! What an event is about (Conversions API: Custom Data Parameters; Meta Pixel: Reference).
//!
//! Standard fields have types; any other key is a custom property and may hold anything.

use serde_json::Value;

use super::shape::FieldShape::{
    self, Id, Integer, ListOf, Number, ObjectOf, OneOf, Text, TextOrBoolean,
};
use super::shape::{Fields, Object, object, text};
use super::{EventRefusal, JsonPlace, strict};

/// The standard fields except `value`, `currency` and `contents`, which have their own rules.
const FIELDS: &Fields = &[
    (
        "availability",
        OneOf(&[
            "available_soon",
            "for_rent",
            "for_sale",
            "off_market",
            "recently_sold",
            "sale_pending",
        ]),
    ),
    (
        "body_style",
        OneOf(&[
            "CONVERTIBLE",
            "COUPE",
            "HATCHBACK",
            "MINIVAN",
            "TRUCK",
            "SUV",
            "SEDAN",
            "VAN",
            "WAGON",
            "CROSSOVER",
            "OTHER",
        ]),
    ),
    ("content_category", Text),
    ("content_ids", ListOf(&Id)),
    ("content_name", Text),
    ("content_type", OneOf(&["product", "product_group"])),
    ("customer_segmentation", super::CUSTOMER_SEGMENTATION),
    ("delivery_category", DELIVERY_CATEGORY),
    (
        "drivetrain",
        OneOf(&["4X2", "4X4", "AWD", "FWD", "RWD", "OTHER", "NONE"]),
    ),
    ("event_source", Text),
    (
        "fuel_type",
        OneOf(&[
            "DIESEL",
            "ELECTRIC",
            "FLEX",
            "GASOLINE",
            "HYBRID",
            "PETROL",
            "PLUGIN_HYBRID",
            "OTHER",
            "NONE",
        ]),
    ),
    ("item_number", Text),
    ("lead_event_source", Text),
    (
        "listing_type",
        OneOf(&[
            "for_rent_by_agent",
            "for_rent_by_owner",
            "for_sale_by_agent",
            "for_sale_by_owner",
            "foreclosed",
            "new_construction",
            "new_listing",
        ]),
    ),
    ("net_revenue", Number),
    ("num_items", Integer),
    ("order_id", Text),
    ("predicted_ltv", Number),
    (
        "property_type",
        OneOf(&[
            "apartment",
            "condo",
            "house",
            "land",
            "manufactured",
            "other",
            "townhouse",
        ]),
    ),
    ("search_string", Text),
    ("status", TextOrBoolean),
    (
        "store_data",
        ObjectOf(&[
            ("brand_page_id", Id),
            ("store_code", Id),
            ("store_page_id", Id),
        ]),
    ),
    (
        "transmission",
        OneOf(&["AUTOMATIC", "MANUAL", "OTHER", "NONE"]),
    ),
    (
        "travel_class",
        OneOf(&["economy", "premium", "business", "first"]),
    ),
];

const DELIVERY_CATEGORY: FieldShape = OneOf(&["in_store", "curbside", "home_delivery"]);

/// The fields of an item of `contents` that have a type.
const ITEM_FIELDS: &Fields = &[
    ("brand", Text),
    ("category", Text),
    ("delivery_category", DELIVERY_CATEGORY),
    ("description", Text),
    ("id", Id),
    ("item_price", Number),
    ("quantity", Number),
    ("title", Text),
];

/// `value` and `currency`, and their names in app events.
const VALUES: [&str; 2] = ["value", "_valueToSum"];
const CURRENCIES: [&str; 2] = ["currency", "fb_currency"];

/// Checks the standard fields, and what the event's name requires.
pub(super) fn check(
    event_name: &str,
    custom_data: Option<&Value>,
    place: &JsonPlace<'_>,
) -> Result<(), EventRefusal> {
    let nothing = Value::Object(serde_json::Map::new());
    let custom_data = object(custom_data.unwrap_or(&nothing), place)?;
    for (key, value) in custom_data.iter() {
        let place = &place.key(key);
        if VALUES.contains(&key) {
            Number.check(value, place)?;
            strict::value(value, place)?;
        } else if CURRENCIES.contains(&key) {
            currency(value, place)?;
        } else if key == "contents" {
            contents(value, place)?;
        } else if let Some((_, shape)) = FIELDS.iter().find(|(name, _)| *name == key) {
            shape.check(value, place)?;
        }
    }
    requirements(event_name, &custom_data)
}

fn requirements(event_name: &str, custom_data: &Object<'_>) -> Result<(), EventRefusal> {
    let has = |names: [&str; 2]| names.iter().any(|name| custom_data.get(name).is_some());
    let (has_value, has_currency) = (has(VALUES), has(CURRENCIES));
    let missing = |sub_code, title, what: &str| {
        let detail = format!("The event needs a {what}");
        Err(EventRefusal::new(sub_code, title, detail))
    };
    match event_name {
        "Purchase" if !has_value => missing(2_804_009, "Missing Purchase Value", "value"),
        "Purchase" if !has_currency => missing(2_804_010, "Missing Purchase Currency", "currency"),
        _ if has_value && !has_currency => missing(2_804_023, "Missing Currency", "currency"),
        _ => Ok(()),
    }
}

fn currency(value: &Value, place: &JsonPlace<'_>) -> Result<(), EventRefusal> {
    let code = text(value, place)?;
    if code.len() != 3 || !code.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return Err(EventRefusal::value(
            place,
            "must be a currency of three letters",
        ));
    }
    strict::currency(code, place)
}

fn contents(value: &Value, place: &JsonPlace<'_>) -> Result<(), EventRefusal> {
    let wrong = |problem: &str| {
        let detail = format!("The contents parameter {problem}");
        EventRefusal::new(2_804_008, "Invalid Contents", detail)
    };
    let Value::Array(items) = value else {
        return Err(wrong("must be a list of objects"));
    };
    for (index, item) in items.iter().enumerate() {
        let place = JsonPlace::Item(place, index);
        let Ok(item) = object(item, &place) else {
            return Err(wrong("must be a list of objects"));
        };
        if item.get("id").is_none() {
            return Err(wrong("has an item without an id"));
        }
        if item.get("quantity").is_none() {
            return Err(wrong("has an item without a quantity"));
        }
        for (key, value) in item.iter() {
            if let Some((_, shape)) = ITEM_FIELDS.iter().find(|(name, _)| *name == key)
                && shape.check(value, &place.key(key)).is_err()
            {
                return Err(wrong("has an item with a field of a wrong type"));
            }
        }
    }
    Ok(())
}
