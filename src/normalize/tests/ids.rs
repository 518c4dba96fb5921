//! Click and browser ids, and those that others gave.

use super::*;

#[test]
fn click_ids() {
    check(
        UserDataField::ClickId,
        &[
            (
                "fb.1.1795400000000.AbCdEf_123-x",
                "plain fb.1.1795400000000.AbCdEf_123-x",
            ),
            (
                "fb.2.1795400000000.AbCdEf.AQQCAQMC",
                "plain fb.2.1795400000000.AbCdEf.AQQCAQMC",
            ),
            // Seconds.
            ("fb.1.1795400000.AbC.Q", "plain fb.1.1795400000000.AbC.Q"),
            ("IwAR0Ab_9-Z", "plain fb.1.1795500000123.IwAR0Ab_9-Z"),
            (
                "https://shop.example/p?a=1&fbclid=IwAR0Ab_9-Z&b=2#top",
                "plain fb.1.1795500000123.IwAR0Ab_9-Z",
            ),
            // Decoded where it stands in a URL, and once.
            ("?fbclid=Iw%41R%2D9%5f", "plain fb.1.1795500000123.IwAR-9_"),
            ("fbclid=IwAR%252D9", "plain fb.1.1795500000123.IwAR%2D9"),
            ("IwAR%2D9", "plain fb.1.1795500000123.IwAR%2D9"),
            ("?fbclid=Iw+AR", "! malformed_click_id"),
            ("?fbclid=Iw%20AR", "! malformed_click_id"),
            ("?fbclid=Iw%ffAR", "! malformed_click_id"),
            ("?fbclid=undefined", "! malformed_click_id"),
            ("Null", "! malformed_click_id"),
            ("fb.1.1795400000000.null", "! malformed_click_id"),
            ("fb.1.1795400000000.undefined.AQ", "! malformed_click_id"),
            ("fb.1.1795400000000.NaN", "! malformed_click_id"),
            ("fb.1.1795400000000.0", "! malformed_click_id"),
            ("fb.1.1795400000000.-", "! malformed_click_id"),
            ("fb.1.1795400000000.EMPTY", "! malformed_click_id"),
            ("fb.1.1795400000000.%7Bfbclid%7D", "! malformed_click_id"),
            ("None", "! malformed_click_id"),
            ("true", "! malformed_click_id"),
            ("False", "! malformed_click_id"),
            ("-", "! malformed_click_id"),
            ("00", "! malformed_click_id"),
            ("fbclid", "! malformed_click_id"),
            ("%7B%7Bfbclid%7D%7D", "! malformed_click_id"),
            ("Nonesuch0", "plain fb.1.1795500000123.Nonesuch0"),
            // The whole cookie as a URL holds it.
            (
                "fb%2E1%2E1795400000000%2eAbC",
                "plain fb.1.1795400000000.AbC",
            ),
            ("fb%2E1%2E1795400000%2eAbC", "plain fb.1.1795400000000.AbC"),
            ("fb%2E1%2E1795400000000%2Enull", "! malformed_click_id"),
            ("fb%2E1%2Ex", "! malformed_click_id"),
            ("fb%252E1%252E1795400000000%252EAbC", "! malformed_click_id"),
            // 90 days before the event, and a minute after it.
            ("fb.1.1787724000123.AbC", "plain fb.1.1787724000123.AbC"),
            ("fb.1.1787724000122.AbC", "! click_too_old"),
            ("fb.1.1554763741205.AbC", "! click_too_old"),
            ("fb.1.1554763741.AbC", "! click_too_old"),
            ("fb.1.1795500060123.AbC", "plain fb.1.1795500060123.AbC"),
            ("fb.1.1795500060124.AbC", "! click_after_event"),
            ("fb.1.9999999999999.AbC", "! click_after_event"),
            ("https://shop.example/p?gclid=1", "! no_click_id"),
            ("https://shop.example/p?fbclid=", "! no_click_id"),
            ("https://shop.example/p?xfbclid=A", "! no_click_id"),
            ("fb.1.155476374.AbCdEf", "! malformed_click_id"),
            ("fb.1.1554763741205.", "! malformed_click_id"),
            ("fb.1.1554763741205.a.b.c", "! malformed_click_id"),
            ("two words", "! malformed_click_id"),
            ("ada@example.com", "! malformed_click_id"),
        ],
    );
}

#[test]
fn browser_ids() {
    check(
        UserDataField::BrowserId,
        &[
            (
                "fb.1.1596403881668.1116446470",
                "plain fb.1.1596403881668.1116446470",
            ),
            (
                "fb.1.1596403881668.1116446470.BQ",
                "plain fb.1.1596403881668.1116446470.BQ",
            ),
            (
                "fb%2E1%2E1596403881668%2E1116446470",
                "plain fb.1.1596403881668.1116446470",
            ),
            ("fb.1.1596403881668.undefined", "! malformed_browser_id"),
            ("fb.1.1596403881668.0", "! malformed_browser_id"),
            ("fb%2E1%2E1596403881668%2ENaN", "! malformed_browser_id"),
            ("1116446470", "! malformed_browser_id"),
            ("fb.1.1596403881668", "! malformed_browser_id"),
            ("fb.x.1596403881668.1116446470", "! malformed_browser_id"),
        ],
    );
}

#[test]
fn other_ids() {
    check(
        UserDataField::LeadId,
        &[
            ("1234567890123456", "integer 1234567890123456"),
            ("l:123456789012345", "integer 123456789012345"),
            ("12345678901234", "! not_an_id"),
            ("12345678901234567", "integer 12345678901234567"),
            ("123456789012345678", "! not_an_id"),
            ("+12345678901234", "! not_an_id"),
            ("123456789.12345", "! not_an_id"),
            ("1.2345678901234567E16", "integer 12345678901234567"),
            ("1.23457E+16", "! not_an_id"),
        ],
    );
    check(
        UserDataField::FacebookLoginId,
        &[
            ("10150000000000001", "integer 10150000000000001"),
            ("0", "! not_an_id"),
            ("99999999999999999999999", "! not_an_id"),
            ("ada", "! not_an_id"),
        ],
    );
    check(
        UserDataField::MobileAdvertiserId,
        &[
            (
                "38400000-8CF0-11BD-B23E-10B96E40000D",
                "plain 38400000-8CF0-11BD-B23E-10B96E40000D",
            ),
            ("mad_123", "plain mad_123"),
            ("2313", "plain 2313"),
            ("00000000-0000-0000-0000-000000000000", "! all_zero"),
            ("ada@example.com", "! not_an_id"),
            ("38400000 8cf0", "! not_an_id"),
            ("iOS", "! not_an_id"),
        ],
    );
    check(
        UserDataField::SubscriptionId,
        &[(" sub-42 ", "plain sub-42")],
    );
    check(UserDataField::AnonymousId, &[("Aa-42", "plain Aa-42")]);
    check(
        UserDataField::ClientUserAgent,
        &[(
            " Mozilla/5.0 (X11; Linux) \n",
            "plain Mozilla/5.0 (X11; Linux)",
        )],
    );
}
