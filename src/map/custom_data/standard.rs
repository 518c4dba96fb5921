//! Meta's standard fields of `custom_data`, and what each one takes.

use crate::config::names;

/// What a field takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A number; where it must not be negative, `true`.
    Number { negative_refused: bool },
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

impl Kind {
    /// Whether one value makes the field, so that no others need be looked for.
    pub(super) const fn is_single(self) -> bool {
        !matches!(self, Self::Ids | Self::Contents)
    }
}

const AMOUNT: Kind = Kind::Number {
    negative_refused: true,
};
const NUMBER: Kind = Kind::Number {
    negative_refused: false,
};

/// Fields that take a text, which is an id.
pub(super) const TEXTS_THAT_ARE_IDS: &[&str] = &["order_id", "item_number", "product_catalog_id"];

/// What a field takes, if it is one of Meta's.
pub(super) fn kind_of(name: &str) -> Option<Kind> {
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
const FIELDS: &[(&str, Kind)] = &[
    ("value", AMOUNT),
    ("currency", Kind::Currency),
    ("content_ids", Kind::Ids),
    (
        "content_type",
        Kind::Word(&[
            "product",
            "product_group",
            "destination",
            "flight",
            "hotel",
            "home_listing",
            "vehicle",
        ]),
    ),
    ("contents", Kind::Contents),
    ("content_name", Kind::Text),
    ("content_category", Kind::Text),
    ("order_id", Kind::Text),
    ("predicted_ltv", NUMBER),
    ("net_revenue", NUMBER),
    ("num_items", Kind::Count),
    ("search_string", Kind::Text),
    ("status", Kind::TextOrBoolean),
    ("delivery_category", Kind::Word(DELIVERY_CATEGORIES)),
    ("item_number", Kind::Text),
    ("lead_event_source", Kind::Text),
    ("event_source", Kind::Text),
    ("description", Kind::Text),
    ("level", Kind::Scalar),
    ("max_rating_value", NUMBER),
    ("success", Kind::Scalar),
    ("payment_info_available", Kind::Scalar),
    ("registration_method", Kind::Text),
    ("ad_type", Kind::Text),
    (
        "store_data",
        Kind::IdsByName(&["store_page_id", "brand_page_id", "store_code"]),
    ),
    (
        "customer_segmentation",
        Kind::Word(&[
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
        Kind::Word(&[
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
        Kind::Word(&[
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
    ("checkin_date", Kind::Date),
    ("checkout_date", Kind::Date),
    (
        "drivetrain",
        Kind::Word(&["4X2", "4X4", "AWD", "FWD", "RWD", "OTHER", "NONE"]),
    ),
    (
        "fuel_type",
        Kind::Word(&[
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
        Kind::Word(&["AUTOMATIC", "MANUAL", "OTHER", "NONE"]),
    ),
    (
        "listing_type",
        Kind::Word(&[
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
        Kind::Word(&[
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
        Kind::Word(&["economy", "premium", "business", "first"]),
    ),
    ("city", Kind::Text),
    ("region", Kind::Text),
    ("country", Kind::Text),
    ("neighborhood", Kind::Text),
    ("postal_code", Kind::Text),
    ("dma_code", Kind::Text),
    ("destination_airport", Kind::Text),
    ("origin_airport", Kind::Text),
    ("destination_ids", Kind::Ids),
    ("departing_departure_date", Kind::Date),
    ("departing_arrival_date", Kind::Date),
    ("returning_departure_date", Kind::Date),
    ("returning_arrival_date", Kind::Date),
    ("travel_start", Kind::Date),
    ("travel_end", Kind::Date),
    ("lease_start_date", Kind::Date),
    ("lease_end_date", Kind::Date),
    ("num_adults", Kind::Count),
    ("num_children", Kind::Count),
    ("num_infants", Kind::Count),
    ("hotel_score", Kind::Scalar),
    ("make", Kind::Text),
    ("model", Kind::Text),
    ("year", Kind::Scalar),
    ("trim", Kind::Text),
    ("vin", Kind::Text),
    ("exterior_color", Kind::Text),
    ("interior_color", Kind::Text),
    ("condition_of_vehicle", Kind::Text),
    ("state_of_vehicle", Kind::Text),
    ("price", Kind::Scalar),
    ("product_catalog_id", Kind::Scalar),
    ("user_bucket", Kind::Scalar),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_field_is_listed_once() {
        let names: BTreeSet<_> = FIELDS.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), FIELDS.len());
        assert_eq!(kind_of("value"), Some(AMOUNT));
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
                if let Some(Kind::Word(words) | Kind::IdsByName(words)) = kind_of(name) {
                    assert_eq!(quoted(takes), words, "{name}");
                }
            }
        }
        let known: BTreeSet<_> = FIELDS.iter().map(|(name, _)| *name).collect();
        assert_eq!(listed, known);
    }
}
