//! What the oldest SDKs keep in `api_properties`: the amounts of `logRevenue`, ids for advertising, the
//! place. Newer SDKs have top-level fields for these, and paths find them under those names.

use super::{Event, REVENUE_FIELDS};
use crate::json::Json;
use crate::json::keys::member;

/// Other names in `api_properties`, and the fields that they stand for.
const FIELDS: &[(&str, &str)] = &[
    ("product_id", "productId"),
    ("revenue_type", "revenueType"),
    ("ios_idfa", "idfa"),
    ("ios_idfv", "idfv"),
    ("androidADID", "adid"),
    ("android_app_set_id", "android_app_set_id"),
];

/// Names in its `location`, and the fields that they stand for.
const PLACE: &[(&str, &str)] = &[("lat", "location_lat"), ("lng", "location_lng")];

/// Gives an event the fields that it has only there.
pub(super) fn put_fields(event: &mut Event<'_>) {
    let properties = event.members_of("api_properties").to_vec();
    if properties.is_empty() {
        return;
    }
    let place = member(&properties, "location").map(|place| event.arena().opened(place));
    let place = place.map(Json::all_members).unwrap_or_default();
    let revenue = REVENUE_FIELDS.map(|field| (field, field));
    let tables = [
        (&properties, &revenue[..]),
        (&properties, FIELDS),
        (&place, PLACE),
    ];
    for (members, names) in tables {
        for (name, field) in names {
            let has_own = event.field(field).is_some_and(|own| !own.is_absent());
            let value = member(members, name).filter(|value| !value.is_absent());
            if let Some(value) = value.filter(|_| !has_own) {
                event.put(field, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::arena::Arena;

    #[track_caller]
    fn check(event: &str, expected: &[(&str, &str)]) {
        let arena = Arena::default();
        let event = Event::decode(event.as_bytes(), &arena).unwrap();
        for (field, value) in expected {
            let found = match field.strip_prefix("event_properties.") {
                Some(property) => event.member("event_properties", property),
                None => event.field(field),
            };
            assert_eq!(found.map(Json::raw), Some(*value), "{field}");
        }
    }

    #[test]
    fn the_fields_are_those_of_newer_sdks() {
        check(
            r#"{"event_type":"revenue_amount","api_properties":{"special":"revenue_amount",
               "productId":"sku-1","quantity":2,"price":19.9,"receipt":"r","receiptSig":"s",
               "ios_idfa":"A","ios_idfv":"V","androidADID":"D","android_app_set_id":"S",
               "location":{"lat":37.1,"lng":-122.5}},"event_properties":{}}"#,
            &[
                ("productId", "\"sku-1\""),
                ("quantity", "2"),
                ("price", "19.9"),
                ("receipt", "\"r\""),
                ("receiptSig", "\"s\""),
                ("idfa", "\"A\""),
                ("idfv", "\"V\""),
                ("adid", "\"D\""),
                ("android_app_set_id", "\"S\""),
                ("location_lat", "37.1"),
                ("location_lng", "-122.5"),
                ("event_properties.$price", "19.9"),
                ("event_properties.$quantity", "2"),
                ("event_properties.$productId", "\"sku-1\""),
            ],
        );
    }

    #[test]
    fn json_text_is_read_through() {
        check(
            r#"{"api_properties":"{\"price\":19.9,\"quantity\":2,\"x\":NaN}"}"#,
            &[("price", "19.9"), ("event_properties.$quantity", "2")],
        );
        check(
            r#"{"api_properties":{"location":"{\"lat\":37.1,\"lng\":-122.5}"}}"#,
            &[("location_lat", "37.1"), ("location_lng", "-122.5")],
        );
    }

    #[test]
    fn an_events_own_fields_go_first() {
        check(
            r#"{"api_properties":{"price":1,"quantity":null,"ios_idfa":"A"},"price":2,"idfa":"",
               "event_properties":{"$price":3}}"#,
            &[
                ("price", "2"),
                ("idfa", "\"A\""),
                ("event_properties.$price", "3"),
            ],
        );
        let text = r#"{"api_properties":{"quantity":null,"location":"here","product_id":"sku"}}"#;
        let arena = Arena::default();
        let event = Event::decode(text.as_bytes(), &arena).unwrap();
        assert_eq!(event.field("quantity"), None);
        assert_eq!(event.field("location_lat"), None);
        assert_eq!(event.field("productId").map(Json::raw), Some("\"sku\""));
        for odd in ["\"x\"", "[]", "7", "null", "{}"] {
            check(&format!("{{\"api_properties\":{odd}}}"), &[]);
        }
    }
}
