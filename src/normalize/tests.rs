//! Tables of values per field. An expectation is the text to hash or to send, `a | b` for two forms,
//! or `! reason` for a field that is left out.

mod ids;
mod places;
mod properties;

use super::*;

const NOW: UnixMillis = UnixMillis::from_seconds(1_795_522_000); // 2026-11-24

const CONTEXT: Context<'static> = Context {
    calling_code: None,
    country: None,
    named_country: None,
    date_order: DateOrder::MonthFirst,
    external_id_case: ExternalIdCase::Lower,
    now: NOW,
    click_seen: UnixMillis(1_795_500_000_123),
};

fn outcome(field: UserDataField, input: &str, context: &Context<'_>) -> String {
    match normalize(field, input, context, &mut Scratch::default()) {
        Ok(Normalized::ToHash {
            first,
            second: None,
        }) => first.to_owned(),
        Ok(Normalized::ToHash {
            first,
            second: Some(second),
        }) => format!("{first} | {second}"),
        Ok(Normalized::HashAndPlain(id)) => format!("{id} | plain {id}"),
        Ok(Normalized::AlreadyHashed(hashed)) => format!("hash {}", hashed.as_str()),
        Ok(Normalized::Plain(text)) => format!("plain {text}"),
        Ok(Normalized::Integer(number)) => format!("integer {number}"),
        Err(why) => format!("! {why}"),
    }
}

#[track_caller]
fn check_in(context: &Context<'_>, field: UserDataField, cases: &[(&str, &str)]) {
    for (input, expected) in cases {
        assert_eq!(
            outcome(field, input, context),
            *expected,
            "{field:?} {input:?}"
        );
    }
}

#[track_caller]
fn check(field: UserDataField, cases: &[(&str, &str)]) {
    check_in(&CONTEXT, field, cases);
}

#[test]
fn marks_without_end_are_sorted_in_short_rows() {
    // U+034F stands behind 30 marks (UAX #15), and is no letter of a name to anyone who reads it.
    let marks = "\u{323}\u{301}".repeat(1000);
    let name = outcome(UserDataField::FirstName, &format!("e{marks}"), &CONTEXT);
    let joined = name.split(" | ").next().unwrap();
    assert!(joined.starts_with("ẹ"), "{joined}");
    let rows = joined.split('\u{34f}').map(|row| row.chars().count());
    assert!(rows.max().unwrap() <= 31);
}

#[test]
fn hashes_to_what_meta_publishes() {
    let context = Context {
        calling_code: Some("1"),
        ..CONTEXT
    };
    for (field, input, expected) in [
        (
            UserDataField::Email,
            "John_Smith@gmail.com",
            "62a14e44f765419d10fea99367361a727c12365e2520f32218d505ed9aa0f62f",
        ),
        (
            UserDataField::Phone,
            "(650)555-1212",
            "e323ec626319ca94ee8bff2e4c87cf613be6ea19919ed1364124e16807ab3176",
        ),
        (
            UserDataField::FirstName,
            "Mary",
            "6915771be1c5aa0c886870b6951b03d7eafc121fea0e80a5ea83beb7c449f4ec",
        ),
        (
            UserDataField::FirstName,
            "정",
            "8fa8cd9c440be61d0151429310034083132b35975c4bea67fdd74158eb51db14",
        ),
        (
            UserDataField::FirstName,
            "Vale\u{301}ry",
            "08e1996b5dd49e62a4b4c010d44e4345592a863bb9f8e3976219bac29417149c",
        ),
        (
            UserDataField::DateOfBirth,
            "2/16/1997",
            "01acdbf6ec7b4f478a225f1a246e5d6767eeab1a7ffa17f025265b5b94f40f0c",
        ),
        (
            UserDataField::Country,
            "United States",
            "79adb2a2fce5c6ba215fe5f27f532d4e7edbac4b6a5e09e1ef3a08084a904621",
        ),
        (
            UserDataField::City,
            "São Paulo",
            "3eda1428ae1aece064071f8d40f08fe2bc59ffa66c171a163caf15122ec4d7f0",
        ),
        (
            UserDataField::ZipCode,
            "M1 1AE",
            "1dc694c2070e697769fb959b50671d76cafd430d8ca191fbdd0affcaea344ac5",
        ),
        (
            UserDataField::State,
            "Arizona",
            "9c0ada37bf74aeefae949fdfc90db0cf6eaf90192eff67d65887771f0585e055",
        ),
    ] {
        let mut scratch = Scratch::default();
        let normalized = normalize(field, input, &context, &mut scratch);
        let Ok(Normalized::ToHash { first, .. }) = normalized else {
            panic!("{field:?} {input}: {normalized:?}");
        };
        assert_eq!(Hashed::of(first).as_str(), expected, "{field:?} {input}");
    }
}

#[test]
fn what_is_hashed_already_passes_once() {
    let hash = Hashed::of("mary");
    let lower = hash.as_str();
    let expected = format!("hash {lower}");
    for input in [
        lower.to_owned(),
        lower.to_uppercase(),
        format!(" {lower}\n"),
        format!("{lower}.AQ"),
        format!("{lower}.AQQCAQMC"),
    ] {
        for field in UserDataField::ALL {
            if field.is_hashed() {
                assert_eq!(outcome(*field, &input, &CONTEXT), expected, "{field:?}");
            }
        }
    }
    let grouped = lower.replacen('9', " 9-", 1);
    check(UserDataField::LastName, &[(&grouped, &expected)]);
    let plain = format!("plain {lower}");
    check(UserDataField::SubscriptionId, &[(lower, &plain)]);
}

#[test]
fn an_md5_is_no_hash_and_as_an_external_id_both() {
    const MD5: &str = "0CC175B9C0F1B6A831C399E269772661";
    for field in UserDataField::ALL {
        if field.is_hashed() && *field != UserDataField::ExternalId {
            assert_eq!(outcome(*field, MD5, &CONTEXT), "! md5", "{field:?}");
        }
    }
    check(
        UserDataField::ExternalId,
        &[(
            MD5,
            "0cc175b9c0f1b6a831c399e269772661 | plain 0cc175b9c0f1b6a831c399e269772661",
        )],
    );
}

#[test]
fn nothing_is_never_hashed() {
    for field in UserDataField::ALL {
        for input in ["", " \t\r\n", "\u{FEFF}", "null", " undefined "] {
            assert_eq!(outcome(*field, input, &CONTEXT), "! empty", "{field:?}");
        }
    }
    for nothing in ["null", "undefined", "redacted"] {
        let hashed = Hashed::of(nothing);
        check(
            UserDataField::Email,
            &[(hashed.as_str(), "! hash_of_nothing")],
        );
    }
    check(UserDataField::FirstName, &[("[NULL]", "! empty")]);
    check(UserDataField::ExternalId, &[("un defined", "! empty")]);
    for field in [
        UserDataField::ExternalId,
        UserDataField::LastName,
        UserDataField::City,
        UserDataField::State,
        UserDataField::ZipCode,
        UserDataField::Country,
    ] {
        for input in [
            "redacted",
            "REDACTED",
            "[redacted]",
            "<Redacted>",
            "#N/A",
            "#NAME?",
            "N/A",
            "(n/a)",
            "NaN",
            "[NA]",
        ] {
            assert_eq!(
                outcome(field, input, &CONTEXT),
                "! empty",
                "{field:?} {input}"
            );
        }
    }
}

#[test]
fn emails() {
    check(
        UserDataField::Email,
        &[
            (
                " Ada.Lovelace+News@Example.COM\n",
                "ada.lovelace+news@example.com",
            ),
            ("\u{200B}ada@example.com\u{FEFF}", "ada@example.com"),
            ("o'neil@shop.example", "o'neil@shop.example"),
            ("JÜRGEN@Bücher.example", "jürgen@bücher.example"),
            ("ju\u{308}rgen@example.com", "jürgen@example.com"),
            ("ada", "! not_an_email"),
            ("ada@example", "! not_an_email"),
            ("@example.com", "! not_an_email"),
            ("ada@example.com@example.com", "! not_an_email"),
            ("ada lovelace@example.com", "! not_an_email"),
            ("ada..l@example.com", "! not_an_email"),
            ("ada@example..com", "! not_an_email"),
            ("ada@-example.com", "! not_an_email"),
            ("ada@example.com.", "! not_an_email"),
            ("ada;bob@example.com", "! not_an_email"),
            ("ada@example.com,", "ada@example.com"),
            (" Ada@example.com , ", "ada@example.com"),
            ("ada@example.com,,", "! not_an_email"),
            (",ada@example.com", "! not_an_email"),
            ("(not set)", "! not_an_email"),
            ("Ada <ada@example.com>", "! not_an_email"),
        ],
    );
}

#[test]
fn phones_as_they_are_written() {
    check(
        UserDataField::Phone,
        &[
            ("1.65055E+10", "! not_a_phone"),
            ("1.65055e10", "! not_a_phone"),
            ("1.650555121E10", "16505551210"),
            ("+1 (212) 555-0187", "12125550187"),
            ("001 212 555 0187", "12125550187"),
            ("212.555.0187", "2125550187"),
            ("tel:+44-20-7946-0018", "442079460018"),
            ("+49 (0) 30 1234567", "49301234567"),
            ("0049(0)30 1234567", "49301234567"),
            ("+39 (0) 6 1234567", "39061234567"),
            ("(0)30 1234567", "301234567"),
            ("+1 212 555 0187 ext. 12", "12125550187"),
            ("2125550187x12", "2125550187"),
            ("2125550187 #12", "2125550187"),
            ("+1-212-555-0187;ext=12", "12125550187"),
            ("03-1234-5678（内線45）", "312345678"),
            ("+1 212 555 0187 daytime", "12125550187"),
            ("٠٠٤٩٣٠١٢٣٤٥٦٧", "49301234567"),
            ("＋４９ ３０ １２３４５６７", "49301234567"),
            ("555-12", "! not_a_phone"),
            ("000000000", "! not_a_phone"),
            ("call me", "! not_a_phone"),
            ("1-800-FLOWERS", "! not_a_phone"),
            ("f47ac10b-58cc-4372-8567-0e02b2c3d479", "! not_a_phone"),
        ],
    );
}

#[test]
fn phones_with_a_default_calling_code() {
    for (code, input, expected) in [
        ("1", "(212) 555-0187", "12125550187"),
        ("1", "1 212 555 0187", "12125550187"),
        ("1", "+44 20 7946 0018", "442079460018"),
        ("1", "0044 20 7946 0018", "442079460018"),
        ("49", "030 1234567", "49301234567"),
        ("49", "30 1234567", "49301234567"),
        ("44", "020 7946 0018", "442079460018"),
        ("44", "442079460018", "442079460018"),
        ("45", "32 12 34 56", "4532123456"),
        ("45", "4532123456", "4532123456"),
        ("7", "8 (912) 345-67-89", "79123456789"),
        ("7", "800 123 45 67", "78001234567"),
        ("36", "06 20 123 4567", "36201234567"),
        ("39", "06 1234567", "39061234567"),
        ("225", "07 12 34 56 78", "2250712345678"),
        ("55", "(55) 91234-5678", "5555912345678"),
        ("55", "5555912345678", "5555912345678"),
        ("49", "0", "! not_a_phone"),
    ] {
        let context = Context {
            calling_code: Some(code),
            ..CONTEXT
        };
        check_in(&context, UserDataField::Phone, &[(input, expected)]);
    }
}

#[test]
fn names() {
    for field in [UserDataField::FirstName, UserDataField::LastName] {
        check(
            field,
            &[
                (" Anne-Marie ", "annemarie"),
                ("D'Angelo", "dangelo"),
                ("D’Angelo", "dangelo | d’angelo"),
                ("van den Berg, Jr.", "vandenbergjr"),
                ("ZOË", "zoë"),
                ("Zoe\u{308}", "zoë | zoe\u{308}"),
                // Nukta letters in one sign, which NFC takes apart.
                ("\u{95b}ोया", "\u{91c}\u{93c}ोया | \u{95b}ोया"),
                ("Dr. Pat", "drpat | pat"),
                ("MRS. Anne-Marie", "mrsannemarie | annemarie"),
                ("Prof.", "prof"),
                ("Prof. Dr. Pat", "profdrpat | pat"),
                ("Hr. Dipl.-Ing. Dr. Pat", "hrdiplingdrpat | pat"),
                ("Prof. Dr.", "profdr"),
                ("Mme. Curie", "mmecurie | curie"),
                ("MLLE. Pat", "mllepat | pat"),
                ("Sra. Dra. Pat", "sradrapat | pat"),
                ("Sig.ra Rossi", "sigrarossi | rossi"),
                ("Dott.ssa Rossi", "dottssarossi | rossi"),
                ("Anne−Marie", "annemarie | anne−marie"),
                ("#N/A", "! empty"),
                ("#REF!", "! empty"),
                ("redacted", "! empty"),
                ("[Redacted]", "! empty"),
                ("(na)", "! empty"),
                ("NaN", "! empty"),
                ("Nan", "nan"),
                ("Redacter", "redacter"),
                ("St. John", "stjohn"),
                ("Dr Pat", "drpat"),
                ("İpek", "i\u{307}pek"),
                ("王 小明", "王小明"),
                ("ΓΕΩΡΓΙΟΣ", "γεωργιος"),
                ("Ada 🎈", "ada🎈"),
                ("Ada2", "ada2"),
                ("...", "! empty"),
                ("N/A", "! empty"),
                ("(not set)", "! empty"),
                ("Unknown", "! empty"),
                ("None", "! empty"),
                ("Na", "na"),
                ("Nanny", "nanny"),
            ],
        );
    }
}

#[test]
fn dates_of_birth() {
    check(
        UserDataField::DateOfBirth,
        &[
            ("19840709", "19840709"),
            ("19840709.0", "19840709"),
            ("1984-07-09", "19840709"),
            ("1984-7-9T23:59:00.000Z", "19840709"),
            ("1984/07/09", "19840709"),
            ("7/9/1984", "19840709"),
            ("23.7.1984", "19840723"),
            ("7/23/1984", "19840723"),
            ("07231984", "19840723"),
            ("23071984", "19840723"),
            ("July 9, 1984", "19840709"),
            ("9 Jul 1984", "19840709"),
            ("Mon Jul 09 1984 00:00:00 GMT+0200", "19840709"),
            ("1984-Sept-09", "19840909"),
            ("1984年7月9日", "19840709"),
            ("١٩٨٤-٠٧-٠٩", "19840709"),
            ("2000-02-29", "20000229"),
            ("2001-02-29", "! not_a_date"),
            ("1984-13-32", "! not_a_date"),
            ("9/7/84", "! not_a_date"),
            ("July 1984", "! not_a_date"),
            ("1984", "! not_a_date"),
            ("452649600", "! not_a_date"),
            ("1899-12-31", "! date_out_of_range"),
            ("2026-11-24", "20261124"),
            ("2026-11-25", "! date_out_of_range"),
        ],
    );
    let day_first = Context {
        date_order: DateOrder::DayFirst,
        ..CONTEXT
    };
    check_in(
        &day_first,
        UserDataField::DateOfBirth,
        &[
            ("7/9/1984", "19840907"),
            ("07091984", "19840907"),
            ("7/23/1984", "19840723"),
            ("1984-07-09", "19840709"),
        ],
    );
}

#[test]
fn genders() {
    check(
        UserDataField::Gender,
        &[
            (" Female ", "f"),
            ("M", "m"),
            ("Mrs", "f"),
            ("Mr.", "m"),
            ("MS.", "f"),
            ("Mr..", "! unknown_gender"),
            ("Uncle", "m"),
            ("non-binary", "! unknown_gender"),
            ("males", "! unknown_gender"),
            ("1", "! unknown_gender"),
        ],
    );
}

#[test]
fn external_ids() {
    check(
        UserDataField::ExternalId,
        &[
            (" Customer 0042\t", "customer0042"),
            ("a-B_c.D", "a-b_c.d"),
            ("42", "42"),
            ("Zoë", "zoë"),
            (
                "550E8400E29B41D4A716446655440000",
                "550e8400e29b41d4a716446655440000 | plain 550e8400e29b41d4a716446655440000",
            ),
            (
                "550E8400-E29B-41D4-A716-446655440000",
                "550e8400-e29b-41d4-a716-446655440000",
            ),
            (
                "550E8400E29B41D4A71644665544000G",
                "550e8400e29b41d4a71644665544000g",
            ),
        ],
    );
    let keep = Context {
        external_id_case: ExternalIdCase::Keep,
        ..CONTEXT
    };
    check_in(
        &keep,
        UserDataField::ExternalId,
        &[
            (" Customer 0042\t", "Customer 0042"),
            (
                "550E8400E29B41D4A716446655440000",
                "550e8400e29b41d4a716446655440000 | plain 550e8400e29b41d4a716446655440000",
            ),
        ],
    );
}

#[test]
fn addresses() {
    check(
        UserDataField::ClientIpAddress,
        &[
            ("203.0.113.7", "plain 203.0.113.7"),
            (" 203.0.113.7:443 ", "plain 203.0.113.7"),
            ("10.0.0.1, 203.0.113.7, 198.51.100.9", "plain 203.0.113.7"),
            ("unknown, 203.0.113.7", "plain 203.0.113.7"),
            ("2001:DB8:0:0::7", "plain 2001:DB8:0:0::7"),
            ("[2001:db8::7]", "plain 2001:db8::7"),
            ("\"[2001:db8::7]:443\"", "plain 2001:db8::7"),
            ("::ffff:203.0.113.7", "plain 203.0.113.7"),
            ("::ffff:10.0.0.1", "! private_address"),
            ("127.0.0.1", "! private_address"),
            ("100.64.0.1", "! private_address"),
            ("169.254.1.1", "! private_address"),
            ("224.0.0.1", "! private_address"),
            ("255.255.255.255", "! private_address"),
            ("::1", "! private_address"),
            ("fe80::1", "! private_address"),
            ("fd00::1", "! private_address"),
            ("203.0.113", "! not_an_address"),
            ("203.0.113.7:x", "! not_an_address"),
            ("shop.example.com", "! not_an_address"),
        ],
    );
}

#[test]
fn a_code_loses_its_decimals_behind_a_dash_as_well() {
    for (input, expected) in [("0-0.0", "00"), ("97201.0", "97201"), ("0-0.5", "00.5")] {
        let found = outcome(UserDataField::ZipCode, input, &CONTEXT);
        assert_eq!(found, expected, "{input}");
    }
}

#[test]
fn what_shows_nothing_is_nothing() {
    let broken = [
        "\u{fffd}",
        " \u{fffd} \u{fffd}\u{200b}",
        "\0",
        "\u{200d}\u{ad}",
    ];
    for field in UserDataField::ALL {
        for text in broken {
            let found = outcome(*field, text, &CONTEXT);
            assert_eq!(found, "! empty", "{field:?} {text:?}");
        }
    }
    check(
        UserDataField::FirstName,
        &[
            ("\u{fffd}. \u{fffd}-", "! empty"),
            ("J\u{fffd}rg", "j\u{fffd}rg"),
        ],
    );
    check(UserDataField::City, &[("\u{fffd} 75001", "! empty")]);
    check(
        UserDataField::Email,
        &[("\u{fffd}@example.com", "! not_an_email")],
    );
}
