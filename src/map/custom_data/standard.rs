//! Meta's standard fields of `custom_data`, and what each one takes.

use crate::config::names;

/// What a field takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldKind {
    /// A number from zero on.
    Amount,
    Number,
    /// A whole number from zero on.
    Count,
    /// A currency of ISO 4217.
    Currency,
    /// A text.
    Text,
    /// One of a few words, in Meta's spelling.
    Word(&'static [&'static str]),
    /// A text, number or boolean, as it is.
    Scalar,
    /// A boolean, or else a text.
    TextOrBoolean,
    /// A day, with or without a time.
    Date,
    /// A list of texts or whole numbers.
    Ids,
    /// A list of objects with `id` and `quantity`.
    Contents,
    /// An object of ids, by their names.
    IdsByName(&'static [&'static str]),
}

impl FieldKind {
    /// Whether one value makes the field, so that no others need be looked for.
    pub(super) const fn is_single(self) -> bool {
        !matches!(self, Self::Ids | Self::Contents)
    }
}

/// Fields that take a text, which is an id.
pub(super) const TEXTS_THAT_ARE_IDS: &[&str] = &["order_id", "item_number", "product_catalog_id"];

/// What a field takes, if it is one of Meta's.
pub(super) fn kind_of(name: &str) -> Option<FieldKind> {
    FIELDS
        .iter()
        .find_map(|(field, kind)| (*field == name).then_some(*kind))
}

/// The field of Meta's that a name is a slip of the pen away from.
pub(in crate::map) fn near(name: &str) -> Option<&'static str> {
    names::slip_of(name, FIELDS.iter().map(|(field, _)| *field))
}

/// Meta's ways to hand over goods.
pub(super) const DELIVERY_CATEGORIES: &[&str] = &["in_store", "curbside", "home_delivery"];

/// Meta: Custom Data Parameters; Meta Pixel: Reference, Object properties. The fields of the travel,
/// real estate and automotive verticals come after the common ones.
const FIELDS: &[(&str, FieldKind)] = &[
    ("value", FieldKind::Amount),
    ("currency", FieldKind::Currency),
    ("content_ids", FieldKind::Ids),
    (
        "content_type",
        FieldKind::Word(&[
            "product",
            "product_group",
            "destination",
            "flight",
            "hotel",
            "home_listing",
            "vehicle",
        ]),
    ),
    ("contents", FieldKind::Contents),
    ("content_name", FieldKind::Text),
    ("content_category", FieldKind::Text),
    ("order_id", FieldKind::Text),
    ("predicted_ltv", FieldKind::Number),
    ("net_revenue", FieldKind::Number),
    ("num_items", FieldKind::Count),
    ("search_string", FieldKind::Text),
    ("status", FieldKind::TextOrBoolean),
    ("delivery_category", FieldKind::Word(DELIVERY_CATEGORIES)),
    ("item_number", FieldKind::Text),
    ("lead_event_source", FieldKind::Text),
    ("event_source", FieldKind::Text),
    ("description", FieldKind::Text),
    ("level", FieldKind::Scalar),
    ("max_rating_value", FieldKind::Number),
    ("success", FieldKind::Scalar),
    ("payment_info_available", FieldKind::Scalar),
    ("registration_method", FieldKind::Text),
    ("ad_type", FieldKind::Text),
    (
        "store_data",
        FieldKind::IdsByName(&["store_page_id", "brand_page_id", "store_code"]),
    ),
    (
        "customer_segmentation",
        FieldKind::Word(&[
            "new_customer_to_business",
            "new_customer_to_business_line",
            "new_customer_to_product_area",
            "new_customer_to_medium",
            "existing_customer_to_business",
            "existing_customer_to_business_line",
            "existing_customer_to_product_area",
            "existing_customer_to_medium",
            "customer_in_loyalty_program",
        ]),
    ),
    (
        "availability",
        FieldKind::Word(&[
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
        FieldKind::Word(&[
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
    ("checkin_date", FieldKind::Date),
    ("checkout_date", FieldKind::Date),
    (
        "drivetrain",
        FieldKind::Word(&["4X2", "4X4", "AWD", "FWD", "RWD", "OTHER", "NONE"]),
    ),
    (
        "fuel_type",
        FieldKind::Word(&[
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
    (
        "transmission",
        FieldKind::Word(&["AUTOMATIC", "MANUAL", "OTHER", "NONE"]),
    ),
    (
        "listing_type",
        FieldKind::Word(&[
            "for_rent_by_agent",
            "for_rent_by_owner",
            "for_sale_by_agent",
            "for_sale_by_owner",
            "foreclosed",
            "new_construction",
            "new_listing",
        ]),
    ),
    (
        "property_type",
        FieldKind::Word(&[
            "apartment",
            "condo",
            "house",
            "land",
            "manufactured",
            "other",
            "townhouse",
        ]),
    ),
    (
        "travel_class",
        FieldKind::Word(&["economy", "premium", "business", "first"]),
    ),
    ("city", FieldKind::Text),
    ("region", FieldKind::Text),
    ("country", FieldKind::Text),
    ("neighborhood", FieldKind::Text),
    ("postal_code", FieldKind::Text),
    ("dma_code", FieldKind::Text),
    ("destination_airport", FieldKind::Text),
    ("origin_airport", FieldKind::Text),
    ("destination_ids", FieldKind::Ids),
    ("departing_departure_date", FieldKind::Date),
    ("departing_arrival_date", FieldKind::Date),
    ("returning_departure_date", FieldKind::Date),
    ("returning_arrival_date", FieldKind::Date),
    ("travel_start", FieldKind::Date),
    ("travel_end", FieldKind::Date),
    ("lease_start_date", FieldKind::Date),
    ("lease_end_date", FieldKind::Date),
    ("num_adults", FieldKind::Count),
    ("num_children", FieldKind::Count),
    ("num_infants", FieldKind::Count),
    ("hotel_score", FieldKind::Scalar),
    ("make", FieldKind::Text),
    ("model", FieldKind::Text),
    ("year", FieldKind::Scalar),
    ("trim", FieldKind::Text),
    ("vin", FieldKind::Text),
    ("exterior_color", FieldKind::Text),
    ("interior_color", FieldKind::Text),
    ("condition_of_vehicle", FieldKind::Text),
    ("state_of_vehicle", FieldKind::Text),
    ("price", FieldKind::Scalar),
    ("product_catalog_id", FieldKind::Scalar),
    ("user_bucket", FieldKind::Scalar),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_field_is_listed_once() {
        let names: BTreeSet<_> = FIELDS.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), FIELDS.len());
        assert_eq!(kind_of("value"), Some(FieldKind::Amount));
        assert_eq!(kind_of("coupon"), None);
    }

    /// What a row of the table in `docs/CONFIG.md` holds between back quotes.
    fn quoted(cell: &str) -> Vec<&str> {
        cell.split('`').skip(1).step_by(2).collect()
    }

    #[test]
    fn the_documentation_lists_every_field_and_word() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/CONFIG.md");
        let page = std::fs::read_to_string(path).unwrap();
        let (_, section) = page.split_once("## Standard fields\n").unwrap();
        let (section, _) = section.split_once("\n## ").unwrap();
        let mut listed = BTreeSet::new();
        for row in section.lines().filter(|line| line.starts_with("| `")) {
            let (names, takes) = row.trim_start_matches("| ").split_once('|').unwrap();
            for name in quoted(names) {
                assert!(listed.insert(name), "{name} is listed twice");
                if let Some(FieldKind::Word(words) | FieldKind::IdsByName(words)) = kind_of(name) {
                    assert_eq!(quoted(takes), words, "{name}");
                }
            }
        }
        let known: BTreeSet<_> = FIELDS.iter().map(|(name, _)| *name).collect();
        assert_eq!(listed, known);
    }
}
