//! What holds for every text.

use proptest::prelude::*;

use super::*;

fn context() -> impl Strategy<Value = Context<'static>> {
    let country = prop::sample::select(vec![None, Some("us"), Some("ca"), Some("gb"), Some("jp")]);
    let order = prop::sample::select(vec![DateOrder::MonthFirst, DateOrder::DayFirst]);
    let case = prop::sample::select(vec![ExternalIdCase::Lower, ExternalIdCase::Keep]);
    (country, order, case).prop_map(|(country, date_order, external_id_case)| Context {
        country,
        date_order,
        external_id_case,
        ..CONTEXT
    })
}

/// Texts of every script, and texts that resemble what the fields hold.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        r"\PC{0,24}",
        r"[ \p{L}\p{M}\p{P}\p{S}\p{Z}-]{0,16}",
        r"[ +()0-9.xX#-]{0,24}",
        r"[0-9]{1,4}[-/. ][0-9]{1,4}[-/. ][0-9]{1,4}",
        r"[a-zA-Z. @+-]{1,12}@[a-zA-Z.-]{1,12}",
        r"(US|CA|GB|us-|State of )?[A-Za-z -]{0,12}",
        r"fb\.[0-9]{1,2}\.[0-9]{9,14}\.[A-Za-z0-9_.-]{0,12}",
        r"[0-9a-fA-F]{31,33}",
        r"[0-9a-fA-F]{63,65}",
    ]
}

fn field() -> impl Strategy<Value = UserDataField> {
    prop::sample::select(UserDataField::ALL)
}

/// The text that is hashed or sent; none for what is no text, or is left out.
fn sent_text(field: UserDataField, text: &str, context: &Context<'_>) -> Option<String> {
    match normalize(field, text, context, &mut Scratch::default()) {
        Ok(
            Normalized::ToHash { first: text, .. }
            | Normalized::HashAndPlain(text)
            | Normalized::Plain(text),
        ) => Some(text.to_owned()),
        Ok(Normalized::AlreadyHashed(_) | Normalized::Integer(_)) | Err(_) => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4096) })]

    #[test]
    fn no_text_panics_or_becomes_nothing(field in field(), text in text(), context in context()) {
        match normalize(field, &text, &context, &mut Scratch::default()) {
            Ok(Normalized::ToHash { first, second }) => {
                prop_assert!(!is_nothing(first));
                prop_assert!(second.is_none_or(|second| !is_nothing(second) && second != first));
            }
            Ok(Normalized::HashAndPlain(plain) | Normalized::Plain(plain)) => {
                prop_assert!(!is_nothing(plain));
            }
            Ok(Normalized::AlreadyHashed(_)) => {
                prop_assert!(!HASHES_OF_NOTHING.contains(&text.as_str()));
            }
            Ok(Normalized::Integer(number)) => prop_assert!(number > 0),
            Err(_) => {}
        }
    }

    #[test]
    fn normalising_twice_equals_once(field in field(), text in text(), context in context()) {
        let Some(once) = sent_text(field, &text, &context) else {
            return Ok(());
        };
        let twice = sent_text(field, &once, &context);
        prop_assert_eq!(twice.as_ref(), Some(&once), "{:?} {:?}", field, text);
    }

    #[test]
    fn a_hashed_field_is_never_sent_plain(field in field(), text in text(), context in context()) {
        if field.is_hashed() {
            let mut scratch = Scratch::default();
            let normalized = normalize(field, &text, &context, &mut scratch);
            prop_assert!(!matches!(normalized, Ok(Normalized::Plain(_) | Normalized::Integer(_))));
        }
    }

    #[test]
    fn a_default_calling_code_stands_in_front(
        text in r"[ ()0-9-]{0,20}",
        code in prop::sample::select(vec!["1", "7", "36", "39", "44", "49", "225", "420"]),
    ) {
        let context = Context { calling_code: Some(code), ..CONTEXT };
        let international = text.chars().filter(char::is_ascii_digit).collect::<String>().starts_with("00");
        if let Ok(Normalized::ToHash { first, .. }) = normalize(UserDataField::Phone, &text, &context, &mut Scratch::default()) {
            prop_assert!(international || first.starts_with(code), "{} {}", text, first);
        }
    }

    #[test]
    fn a_date_is_of_its_form(text in text(), context in context()) {
        if let Ok(Normalized::ToHash { first, .. }) =
            normalize(UserDataField::DateOfBirth, &text, &context, &mut Scratch::default())
        {
            prop_assert_eq!(first.len(), 8);
            prop_assert!(("19000101"..="20261124").contains(&first));
        }
    }

    #[test]
    fn an_fbclid_is_never_altered(click in "[A-Za-z0-9_~-]{12,80}") {
        let hex = hex::encode(&click);
        let encoded = hex.as_bytes().chunks(2).fold(String::new(), |text, byte| {
            text + "%" + std::str::from_utf8(byte).unwrap()
        });
        for text in [
            click.clone(),
            format!("https://shop.example/?a=b&fbclid={click}"),
            format!("https://shop.example/?fbclid={click}&a=b#c"),
            format!("https://shop.example/?fbclid={encoded}"),
        ] {
            let mut scratch = Scratch::default();
            let normalized = normalize(UserDataField::ClickId, &text, &CONTEXT, &mut scratch);
            let Ok(Normalized::Plain(fbc)) = normalized else {
                return Err(TestCaseError::fail(text));
            };
            prop_assert_eq!(fbc.strip_prefix("fb.1.1795500000123."), Some(click.as_str()));
        }
    }
}
