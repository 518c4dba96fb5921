//! Cities, states, postal codes and countries.

use super::*;

#[test]
fn cities() {
    check(
        UserDataField::City,
        &[
            ("Salt Lake City", "saltlakecity"),
            ("Lyon ❤\u{fe0f}", "lyon"),
            ("Winston-Salem", "winstonsalem"),
            ("Zürich", "zürich | zrich"),
            ("Zu\u{308}rich", "zürich | zurich"),
            ("(not set)", "! empty"),
            ("Київ", "київ"),
            ("東京", "東京"),
            ("Paris 75001", "paris | paris75001"),
            ("75001 Paris", "paris"),
            ("Köln (50667)", "köln | kln50667"),
            ("Porto 🌞", "porto"),
            ("3rdAvenue", "! not_a_city"),
            ("10115", "! empty"),
            ("–", "! empty"),
            ("nullé", "nullé"),
            // A letter that NFC takes apart, and accents that it joins.
            ("\u{95e}", "\u{92b}\u{93c} | \u{95e}"),
            ("И\u{306}ошкар", "йошкар | и\u{306}ошкар"),
        ],
    );
}

#[test]
fn states_where_the_country_is_not_known() {
    check(
        UserDataField::State,
        &[
            ("Oregon", "or"),
            ("Oregon, USA", "or"),
            ("OR, United States", "or"),
            ("Manitoba , Canada", "mb"),
            ("Oregon, Union", "oregonunion"),
            (", USA", "! empty"),
            ("OR❤\u{fe0f}", "or"),
            ("NEW  JERSEY", "nj"),
            ("n.j.", "nj"),
            ("Colo.", "co"),
            ("Washington, D.C.", "dc"),
            ("Puerto Rico", "pr"),
            ("State of Maine", "me"),
            ("Washington State", "wa"),
            ("US-OR", "or"),
            ("us_or", "or"),
            ("Nova Scotia", "ns"),
            ("Québec", "qc"),
            ("CA-QC", "qc"),
            ("Victoria", "victoria"),
            ("Baja California", "bajacalifornia"),
            ("Île-de-France", "îledefrance"),
            ("75", "! empty"),
            ("Ile\u{302}", "ilê | ile\u{302}"),
        ],
    );
}

#[test]
fn states_of_a_known_country() {
    for (country, input, expected) in [
        ("us", "Ontario", "ontario"),
        ("ca", "Ontario", "on"),
        ("ca", "Oregon", "oregon"),
        ("ge", "Georgia", "georgia"),
        ("au", "New South Wales", "newsouthwales"),
        ("au", "AU-NSW", "nsw"),
        ("au", "AU–NSW", "nsw"),
        ("fr", "Maine-et-Loire", "maineetloire"),
        ("jp", "東京都", "東京都"),
    ] {
        let context = Context {
            country: Some(country),
            ..CONTEXT
        };
        check_in(&context, UserDataField::State, &[(input, expected)]);
    }
}

#[test]
fn zip_codes_where_the_country_is_not_known() {
    check(
        UserDataField::ZipCode,
        &[
            (" 20500 ", "20500"),
            ("20500-0003", "20500"),
            ("20500 - 0003", "20500"),
            ("205000003", "205000003"),
            ("SW1A 2AA", "sw1a2aa | sw1a 2aa"),
            ("150-0002", "1500002 | 150"),
            ("00-950", "00950 | 00"),
            ("D-10115", "d10115"),
            ("９４０２５", "94025 | ９４０２５"),
            ("１００－０００１", "1000001 | １００－０００１"),
            ("〒100-0001", "1000001 | 〒100"),
            ("〒 100-0001", "1000001 | 〒 100"),
            ("100−0001", "1000001 | 100"),
            ("100‐0001", "1000001 | 100"),
            ("100–0001", "1000001 | 100"),
            ("100ー0001", "1000001 | 100"),
            ("100－0001", "1000001 | 100"),
            ("〒100−0001", "1000001 | 〒100"),
            ("20500–0003", "20500"),
            ("１００−０００１", "1000001 | １００−０００１"),
            ("〒", "! too_short"),
            ("９４０２５-１２３４", "94025 | ９４０２５"),
            ("٩٤٠٢٥", "94025 | ٩٤٠٢٥"),
            ("D-１０１１５", "d10115"),
            ("94025.0", "94025"),
            ("94025.00", "94025"),
            ("94.025", "94.025"),
            ("7.0", "! too_short"),
            ("-123", "! too_short"),
            ("7", "! too_short"),
            ("–", "! too_short"),
        ],
    );
}

#[test]
fn zip_codes_of_a_known_country() {
    for (country, input, expected) in [
        ("us", "205000003", "20500"),
        ("us", "20500-0003", "20500"),
        ("us", "20500 - 0003", "20500"),
        ("gb", "sw1a 2aa", "sw1a2aa | sw1a 2aa"),
        ("jp", "150-0002", "1500002 | 150"),
        ("jp", "〒150-0002", "1500002 | 〒150"),
        ("br", "70150-900", "70150900 | 70150"),
        ("pl", "00-950", "00950 | 00"),
        ("pt", "2628-123", "2628123 | 2628"),
        ("de", "D-10115", "d10115"),
        ("us", "〒20500-0003", "20500 | 〒20500"),
        ("ie", "D02 AF30", "d02af30 | d02 af30"),
    ] {
        let context = Context {
            country: Some(country),
            ..CONTEXT
        };
        check_in(&context, UserDataField::ZipCode, &[(input, expected)]);
    }
}

#[test]
fn countries() {
    check(
        UserDataField::Country,
        &[
            ("FR", "fr"),
            ("fra", "fr"),
            (" France ", "fr"),
            ("U.S.A.", "us"),
            ("United States (US)", "us"),
            ("The United States of America", "us"),
            ("UK", "gb"),
            ("England", "gb"),
            ("Côte d’Ivoire", "ci"),
            ("Türkiye", "tr"),
            ("Korea, Republic of", "kr"),
            ("Republic of Korea", "kr"),
            ("Hashemite Kingdom of Jordan", "jo"),
            ("Deutschland", "de"),
            ("NA", "na"),
            (" na ", "na"),
            ("Namibia", "na"),
            ("N.A.", "! empty"),
            ("#N/A", "! empty"),
            ("(na)", "! empty"),
            ("N-A", "! unknown_country"),
            ("n a (none)", "! unknown_country"),
            ("zz", "! unknown_country"),
            ("Germanic", "! unknown_country"),
            ("us, ca", "! unknown_country"),
            ("4", "! unknown_country"),
        ],
    );
}

#[test]
fn countries_have_calling_codes() {
    for (country, expected) in [("us", Some("1")), ("gb", Some("44")), ("zz", None)] {
        assert_eq!(country::calling_code(country), expected, "{country}");
    }
}
