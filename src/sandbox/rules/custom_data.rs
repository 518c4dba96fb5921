//! What an event is about (Conversions API: Custom Data Parameters; Meta Pixel: Reference).
//!
//! Standard fields have types; any other key is a custom property and may hold anything.

use serde_json::Value;

use super::place::Place;
use super::shape::{Fields, Object, Shape, object, text};
use super::{Refusal, strict};

/// The standard fields but `value`, `currency` and `contents`, which have rules of their own.
const FIELDS: &Fields = &[
    (
        "availability",
        Shape::OneOf(&[
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
        Shape::OneOf(&[
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
    ("content_category", Shape::Text),
    ("content_ids", Shape::List(&Shape::Id)),
    ("content_name", Shape::Text),
    ("content_type", Shape::OneOf(&["product", "product_group"])),
    ("customer_segmentation", super::CUSTOMER_SEGMENTATION),
    ("delivery_category", DELIVERY_CATEGORY),
    (
        "drivetrain",
        Shape::OneOf(&["4X2", "4X4", "AWD", "FWD", "RWD", "OTHER", "NONE"]),
    ),
    ("event_source", Shape::Text),
    (
        "fuel_type",
        Shape::OneOf(&[
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
    ("item_number", Shape::Text),
    ("lead_event_source", Shape::Text),
    (
        "listing_type",
        Shape::OneOf(&[
            "for_rent_by_agent",
            "for_rent_by_owner",
            "for_sale_by_agent",
            "for_sale_by_owner",
            "foreclosed",
            "new_construction",
            "new_listing",
        ]),
    ),
    ("net_revenue", Shape::Number),
    ("num_items", Shape::Integer),
    ("order_id", Shape::Text),
    ("predicted_ltv", Shape::Number),
    (
        "property_type",
        Shape::OneOf(&[
            "apartment",
            "condo",
            "house",
            "land",
            "manufactured",
            "other",
            "townhouse",
        ]),
    ),
    ("search_string", Shape::Text),
    ("status", Shape::TextOrBoolean),
    (
        "store_data",
        Shape::Object(&[
            ("brand_page_id", Shape::Id),
            ("store_code", Shape::Id),
            ("store_page_id", Shape::Id),
        ]),
    ),
    (
        "transmission",
        Shape::OneOf(&["AUTOMATIC", "MANUAL", "OTHER", "NONE"]),
    ),
    (
        "travel_class",
        Shape::OneOf(&["economy", "premium", "business", "first"]),
    ),
];

const DELIVERY_CATEGORY: Shape = Shape::OneOf(&["in_store", "curbside", "home_delivery"]);

/// The fields of an item of `contents` that have a type.
const ITEM_FIELDS: &Fields = &[
    ("brand", Shape::Text),
    ("category", Shape::Text),
    ("delivery_category", DELIVERY_CATEGORY),
    ("description", Shape::Text),
    ("id", Shape::Id),
    ("item_price", Shape::Number),
    ("quantity", Shape::Number),
    ("title", Shape::Text),
];

/// `value` and `currency`, and what app events call them.
const VALUES: [&str; 2] = ["value", "_valueToSum"];
const CURRENCIES: [&str; 2] = ["currency", "fb_currency"];

/// Checks the standard fields, and what the event's name requires.
pub(super) fn check(
    event_name: &str,
    custom_data: Option<&Value>,
    place: &Place<'_>,
) -> Result<(), Refusal> {
    let nothing = Value::Object(serde_json::Map::new());
    let custom_data = object(custom_data.unwrap_or(&nothing), place)?;
    for (key, value) in custom_data.iter() {
        let place = &place.key(key);
        if VALUES.contains(&key) {
            Shape::Number.check(value, place)?;
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

fn requirements(event_name: &str, custom_data: &Object<'_>) -> Result<(), Refusal> {
    let has = |names: [&str; 2]| names.iter().any(|name| custom_data.get(name).is_some());
    let (has_value, has_currency) = (has(VALUES), has(CURRENCIES));
    let missing = |sub_code, title, what: &str| {
        let detail = format!("The event needs a {what}");
        Err(Refusal {
            sub_code,
            title,
            detail,
        })
    };
    match event_name {
        "Purchase" if !has_value => missing(2_804_009, "Missing Purchase Value", "value"),
        "Purchase" if !has_currency => missing(2_804_010, "Missing Purchase Currency", "currency"),
        _ if has_value && !has_currency => missing(2_804_023, "Missing Currency", "currency"),
        _ => Ok(()),
    }
}

fn currency(value: &Value, place: &Place<'_>) -> Result<(), Refusal> {
    let code = text(value, place)?;
    if code.len() != 3 || !code.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return Err(Refusal::schema(format!(
            "Param \"{place}\" must be a currency of three letters"
        )));
    }
    strict::currency(code, place)
}

fn contents(value: &Value, place: &Place<'_>) -> Result<(), Refusal> {
    let wrong = |problem: &str| Refusal {
        sub_code: 2_804_008,
        title: "Invalid Contents",
        detail: format!("The contents parameter {problem}"),
    };
    let Value::Array(items) = value else {
        return Err(wrong("must be a list of objects"));
    };
    for (index, item) in items.iter().enumerate() {
        let place = Place::Item(place, index);
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
