//! A value that cannot be used is as one that is not there: the next source stands in.

use super::*;

const MONEY: &str = "[sync.web.custom_data]\n\
    value = [\"event_properties.total\", \"event_properties.amount\"]\n\
    currency = [\"event_properties.cur\", \"event_properties.currency\"]\n";

fn with_currency(code: &str) -> String {
    format!("currency = \"{code}\"\n{MONEY}")
}

#[test]
fn a_currency_that_is_unknown_gives_way_to_the_next_and_to_the_syncs() {
    for unusable in [
        "\"€\"",
        "\"N/A\"",
        "\"euro\"",
        "[\"EUR\"]",
        "978",
        "\"XXX\"",
        "\"XAU\"",
    ] {
        check(
            &with_currency("USD"),
            &format!(r#"{{"cur":{unusable},"total":5}}"#),
            r#""custom_data":{"currency":"USD","value":5}"#,
            &["custom_data.currency: unknown_currency"],
        );
        check(
            MONEY,
            &format!(r#"{{"cur":{unusable},"currency":"eur","total":5}}"#),
            r#""custom_data":{"currency":"EUR","value":5}"#,
            &["custom_data.currency: unknown_currency"],
        );
        // Amplitude's own goes before the sync's.
        check_purchase(
            &with_currency("USD"),
            &format!(r#"{{"cur":{unusable},"$currency":"EUR","total":5}}"#),
            r#""custom_data":{"currency":"EUR","value":5}"#,
            &["custom_data.currency: unknown_currency"],
        );
    }
    check(
        MONEY,
        r#"{"cur":"€","total":5}"#,
        "",
        &[
            "custom_data.currency: unknown_currency",
            "custom_data.value: value_without_currency",
        ],
    );
}

#[test]
fn an_amount_in_hundredths_of_a_currency_is_none_in_another() {
    for pence in ["GBp", "GBX", "ZAc"] {
        check(
            &with_currency("GBP"),
            &format!(r#"{{"cur":"{pence}","currency":"EUR","total":500}}"#),
            "",
            &[
                "custom_data.currency: unknown_currency",
                "custom_data.value: value_without_currency",
            ],
        );
    }
    check(
        MONEY,
        r#"{"cur":"Gbp","total":5}"#,
        r#""custom_data":{"currency":"GBP","value":5}"#,
        &[],
    );
}

#[test]
fn a_value_that_is_no_amount_gives_way_to_the_next() {
    for unusable in ["\"N/A\"", "\"free\"", "[5]", "true", "\"1,234\""] {
        let reason = if unusable.contains("1,") {
            "custom_data.value: ambiguous_number"
        } else {
            "custom_data.value: not_a_number"
        };
        check(
            &with_currency("USD"),
            &format!(r#"{{"total":{unusable},"amount":7}}"#),
            r#""custom_data":{"currency":"USD","value":7}"#,
            &[reason],
        );
        check_purchase(
            &with_currency("USD"),
            &format!(r#"{{"total":{unusable},"$revenue":7}}"#),
            r#""custom_data":{"currency":"USD","value":7}"#,
            &[reason],
        );
    }
    // A refund is no purchase of another amount.
    check(
        &with_currency("USD"),
        r#"{"total":-5,"amount":7}"#,
        r#""custom_data":{"currency":"USD"}"#,
        &["custom_data.value: negative"],
    );
}

#[test]
fn thousands_are_grouped_where_the_currency_has_no_fraction() {
    for (code, total, expected) in [
        ("JPY", "5,900", "5900"),
        ("JPY", "¥5,900", "5900"),
        ("KRW", "59,000", "59000"),
        ("CLP", "$59.990", "59990"),
    ] {
        check(
            MONEY,
            &format!(r#"{{"cur":"{code}","total":"{total}"}}"#),
            &format!(r#""custom_data":{{"currency":"{code}","value":{expected}}}"#),
            &[],
        );
    }
    for code in ["USD", "KWD"] {
        check(
            MONEY,
            &format!(r#"{{"cur":"{code}","total":"5,900"}}"#),
            &format!(r#""custom_data":{{"currency":"{code}"}}"#),
            &["custom_data.value: ambiguous_number"],
        );
    }
}

#[test]
fn the_counts_of_a_list_are_added() {
    let rules = "[sync.web.custom_data]\nnum_items = \"event_properties.products[*].qty\"\n";
    for (products, expected, lost) in [
        (r#"[{"qty":2},{"qty":"3"},{"qty":0.5}]"#, "6", &[][..]),
        (
            r#"[{"qty":"many"},{"qty":3},{}]"#,
            "3",
            &["custom_data.num_items: not_a_number"],
        ),
        (
            r#"[{"qty":4},{"qty":-1},{"qty":9223372036854775807}]"#,
            "4",
            &["custom_data.num_items: negative"],
        ),
        (r#"[{"qty":4}]"#, "4", &[]),
    ] {
        check(
            rules,
            &format!(r#"{{"products":{products}}}"#),
            &format!(r#""custom_data":{{"num_items":{expected}}}"#),
            lost,
        );
    }
    check(
        rules,
        r#"{"products":[{"qty":"many"}]}"#,
        "",
        &["custom_data.num_items: not_a_number"],
    );
}
