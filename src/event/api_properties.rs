//! What the oldest SDKs keep beside an event's own fields, in `api_properties`: the amounts of
//! `logRevenue`, ids for advertising, the place. Newer SDKs have top-level fields for the same, and
//! under those it is found.

use super::{Event, Json};

/// Names there, and the fields that they are.
const FIELDS: &[(&str, &str)] = &[
    ("price", "price"),
    ("quantity", "quantity"),
    ("revenue", "revenue"),
    ("currency", "currency"),
    ("productId", "productId"),
    ("product_id", "productId"),
    ("revenueType", "revenueType"),
    ("revenue_type", "revenueType"),
    ("receipt", "receipt"),
    ("receiptSig", "receiptSig"),
    ("ios_idfa", "idfa"),
    ("ios_idfv", "idfv"),
    ("androidADID", "adid"),
    ("android_app_set_id", "android_app_set_id"),
];

/// Names in its `location`, and the fields that they are.
const PLACE: &[(&str, &str)] = &[("lat", "location_lat"), ("lng", "location_lng")];

/// The fields that an event has only there.
pub(super) fn fields<'a>(event: &Event<'a>) -> Vec<(&'static str, Json<'a>)> {
    let properties = event.section("api_properties");
    if properties.is_empty() {
        return Vec::new();
    }
    let place = event.member("api_properties", "location");
    let place = place.map(Json::all_members).unwrap_or_default();
    let mut found: Vec<(&'static str, Json<'a>)> = Vec::new();
    for (members, names) in [(properties, FIELDS), (&place, PLACE)] {
        for (name, field) in names {
            let value = super::member(members, name).filter(|value| !value.is_absent());
            let has_own = event.field(field).is_some_and(|own| !own.is_absent());
            let is_found = found.iter().any(|(known, _)| known == field);
            if let Some(value) = value.filter(|_| !has_own && !is_found) {
                found.push((field, value));
            }
        }
    }
    found
}
