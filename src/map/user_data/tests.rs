//! What is made of each identifier, and which of them suffice.

use super::*;
use crate::config::load::from_toml;
use crate::event::arena::Arena;
use crate::map::record::FieldStats;
use crate::profile::clicks::NoClicks;

#[test]
fn weak_fields_alone_are_not_sufficient() {
    use UserDataField as F;
    for (fields, sufficient) in [
        (&[][..], false),
        (&[F::ClientUserAgent], false),
        (
            &[
                F::City,
                F::State,
                F::ZipCode,
                F::Country,
                F::Gender,
                F::ClientUserAgent,
            ],
            false,
        ),
        (&[F::DateOfBirth, F::ClientUserAgent], false),
        (&[F::FirstName, F::Gender], false),
        (&[F::LastName], false),
        (&[F::FirstName, F::LastName], true),
        (&[F::DateOfBirth, F::City], true),
        (&[F::Email], true),
        (&[F::ExternalId], true),
        (&[F::ClientIpAddress], true),
        (&[F::ClientIpAddress, F::ClientUserAgent], true),
        (&[F::ClickId], true),
        (&[F::BrowserId, F::ClientUserAgent], true),
    ] {
        assert_eq!(
            Carried::of(fields).is_sufficient(),
            sufficient,
            "{fields:?}"
        );
    }
}

fn compiled<const N: usize>(exprs: [(UserDataField, ValueExpr); N]) -> UserData {
    let config = from_toml(
        "[ingest]\nallow_unauthenticated = true\n[sync.web]\npixel_id = \"1\"\naccess_token = \"t\"",
        &[],
    );
    UserData::compile(config.unwrap().syncs.values().next().unwrap(), exprs)
}

#[track_caller]
fn check(field: UserDataField, paths: &[&str], event: &str, expected: &str) -> FieldStats {
    let expr = ValueExpr {
        sources: paths
            .iter()
            .map(|path| crate::expr::value::ValueSource::Path(Path::parse(path).unwrap()))
            .collect(),
        default: None,
    };
    let arena = Arena::default();
    let event = Event::decode(event.as_bytes(), &arena).unwrap();
    let (mut out, mut stats) = (Vec::new(), FieldStats::default());
    let happened = UnixMillis(1_795_197_849_412);
    let mut known = KnownData {
        person: None,
        clicks: &mut NoClicks,
    };
    let user_data = compiled([(field, expr)]);
    let context = user_data.context(&event, happened, happened);
    user_data.write(&mut out, &event, &context, &mut known, &mut stats);
    let expected = expected
        .split(' ')
        .map(|part| match part.strip_prefix('#') {
            Some(text) => format!("\"{}\"", Hashed::of(text).as_str()),
            None => part.to_owned(),
        })
        .collect::<String>();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        format!("\"user_data\":{{{expected}}}")
    );
    stats
}

#[test]
fn one_value_is_a_text_and_several_are_a_list() {
    let email = |event: &str, expected: &str| {
        check(
            UserDataField::Email,
            &["user_properties.email"],
            event,
            expected,
        )
    };
    email(
        r#"{"user_properties":{"email":"A@b.de"}}"#,
        "\"em\": #a@b.de",
    );
    email(
        r#"{"user_properties":{"email":["a@b.de","",null,"A@B.DE ","c@d.fr"]}}"#,
        "\"em\":[ #a@b.de , #c@d.fr ]",
    );
    email(
        r#"{"user_properties":{"email":"[\"a@b.de\",\"c@d.fr\"]"}}"#,
        "\"em\":[ #a@b.de , #c@d.fr ]",
    );
    email(r#"{"user_properties":{"email":"EMPTY"}}"#, "");
    let stats = email(
        r#"{"user_properties":{"email":["nobody",true,{"a":1}]}}"#,
        "",
    );
    assert_eq!(
        stats.dropped().collect::<Vec<_>>(),
        [("em", DropReason::NotAnEmail), ("em", DropReason::NotAText)]
    );
}

#[test]
fn a_whole_number_counts_as_its_digits() {
    for (field, number, expected) in [
        (
            UserDataField::Phone,
            "16505551212.0",
            "\"ph\": #16505551212",
        ),
        (
            UserDataField::Phone,
            "1.6505551212e10",
            "\"ph\": #16505551212",
        ),
        (
            UserDataField::Phone,
            "\"16505551212.0\"",
            "\"ph\": #16505551212",
        ),
        (UserDataField::ZipCode, "94025.0", "\"zp\": #94025"),
        (
            UserDataField::DateOfBirth,
            "19950305.0",
            "\"db\": #19950305",
        ),
        (
            UserDataField::ExternalId,
            "12345.0",
            "\"external_id\": #12345",
        ),
        (
            UserDataField::ExternalId,
            "[0.0, -1.0]",
            "\"external_id\": #0",
        ),
    ] {
        let event = format!("{{\"user_properties\":{{\"p\":{number}}}}}");
        check(field, &["user_properties.p"], &event, expected);
    }
    for field in [
        UserDataField::Phone,
        UserDataField::ZipCode,
        UserDataField::DateOfBirth,
        UserDataField::ExternalId,
    ] {
        for number in ["12345678.5", "1.6505551212e17"] {
            let event = format!("{{\"user_properties\":{{\"p\":{number}}}}}");
            let stats = check(field, &["user_properties.p"], &event, "");
            let dropped: Vec<_> = stats.dropped().collect();
            assert_eq!(dropped, [(field.meta_key(), DropReason::NotWhole)]);
        }
    }
}

#[test]
fn an_id_of_the_site_may_be_what_amplitude_refuses() {
    check(
        UserDataField::ExternalId,
        &["user_properties.customer"],
        r#"{"user_properties":{"customer":"0"}}"#,
        "\"external_id\": #0",
    );
}

#[test]
fn an_invalid_id_is_passed_over() {
    check(
        UserDataField::ExternalId,
        &["user_id", "device_id"],
        r#"{"user_id":"Anonymous","device_id":"D1"}"#,
        "\"external_id\": #d1",
    );
    for id in [
        r#""anonymous""#,
        r#"" NIL ""#,
        r#""{}""#,
        r#""-1""#,
        "-1",
        r#"["n/a", "00000000-0000-0000-0000-000000000000"]"#,
    ] {
        let event = format!("{{\"user_properties\":{{\"customer\":{id}}},\"device_id\":\"D1\"}}");
        let paths = ["user_properties.customer", "device_id"];
        check(
            UserDataField::ExternalId,
            &paths,
            &event,
            "\"external_id\": #d1",
        );
        check(
            UserDataField::AnonymousId,
            &paths,
            &event,
            "\"anon_id\":\"D1\"",
        );
    }
}

#[test]
fn ids_that_metas_code_passes_stand_behind_the_hashes() {
    check(
        UserDataField::ExternalId,
        &["user_properties.ids"],
        r#"{"user_properties":{"ids":["550E8400E29B41D4A716446655440000","u1"," 550e8400e29b41d4a716446655440000"]}}"#,
        "\"external_id\":[ #550e8400e29b41d4a716446655440000 , #u1 ,\"550e8400e29b41d4a716446655440000\"]",
    );
    check(
        UserDataField::Email,
        &["user_properties.ids"],
        r#"{"user_properties":{"ids":"550e8400e29b41d4a716446655440000"}}"#,
        "",
    );
    let many: Vec<String> = (0..50).map(|n| format!("\"{n:032x}\"")).collect();
    let event = format!("{{\"user_properties\":{{\"ids\":[{}]}}}}", many.join(","));
    let hashes: Vec<String> = (0..MOST_VALUES / 2).map(|n| format!("#{n:032x}")).collect();
    let plain: Vec<String> = (0..MOST_VALUES / 2)
        .map(|n| format!("\"{n:032x}\""))
        .collect();
    check(
        UserDataField::ExternalId,
        &["user_properties.ids"],
        &event,
        &format!(
            "\"external_id\":[ {} ,{}]",
            hashes.join(" , "),
            plain.join(",")
        ),
    );
}

#[test]
fn a_hostile_list_is_cut() {
    let many: Vec<String> = (0..10_000).map(|n| format!("\"u{n}\"")).collect();
    let event = format!("{{\"user_properties\":{{\"ids\":[{}]}}}}", many.join(","));
    let list: Vec<String> = (0..MOST_VALUES).map(|n| format!("#u{n}")).collect();
    let stats = check(
        UserDataField::ExternalId,
        &["user_properties.ids"],
        &event,
        &format!("\"external_id\":[ {} ]", list.join(" , ")),
    );
    assert_eq!(
        stats.dropped().collect::<Vec<_>>(),
        [("external_id", DropReason::TooMany)]
    );
}

#[test]
fn values_longer_than_a_person_needs_are_not_read() {
    let name = "é".repeat(2000);
    // With its quotes: two of them fit, and a short one behind the third.
    let names = [
        &*name,
        &name.replace('é', "è"),
        &name.replace('é', "ê"),
        "ö",
    ];
    let event = serde_json::json!({"user_properties": {"names": names}}).to_string();
    let stats = check(
        UserDataField::FirstName,
        &["user_properties.names"],
        &event,
        &format!("\"fn\":[ #{} , #{} , #{} ]", names[0], names[1], names[3]),
    );
    let dropped: Vec<_> = stats.dropped().collect();
    assert_eq!(dropped, [("fn", DropReason::TooLong)]);
}

#[test]
fn of_a_list_without_a_use_only_the_first_values_are_tried() {
    let event = |useless: usize| {
        let list = "\"none of these\",".repeat(useless);
        format!(
            "{{\"user_properties\":{{\"list\":[{list}\"a@example.com\"],\"own\":\"b@example.com\"}}}}"
        )
    };
    let list = &["user_properties.list"];
    check(
        UserDataField::Email,
        list,
        &event(MOST_TRIED - 1),
        "\"em\": #a@example.com",
    );
    let stats = check(UserDataField::Email, list, &event(MOST_TRIED), "");
    let mut dropped = stats.dropped();
    assert!(dropped.any(|(_, why)| why == DropReason::TooMany));
    // The values of another path are tried all the same.
    check(
        UserDataField::Email,
        &["user_properties.list", "user_properties.own"],
        &event(10_000),
        "\"em\": #b@example.com",
    );
}

#[test]
fn an_id_of_broken_characters_is_absent() {
    for id in [r"\ud83d", r"\ufffd \ufffd", r"\u0000", r"\u200b"] {
        check(
            UserDataField::ExternalId,
            &["user_id", "event_properties.customer", "device_id"],
            &format!(
                r#"{{"user_id":"{id}","event_properties":{{"customer":"{id}"}},"device_id":"d1"}}"#
            ),
            "\"external_id\": #d1",
        );
    }
}

#[test]
fn what_is_of_no_use_does_not_end_the_search() {
    const T: i64 = 1_795_197_849_412;
    let old = T - 100 * 24 * 60 * 60 * 1000;
    let page = "event_properties[\"[Amplitude] Page Location\"]";
    let property = "user_properties.p";
    let wanted = format!("\"fbc\":\"fb.1.{T}.New\"");
    for useless in [
        format!("fb.1.{old}.Old"),
        format!("fb.1.{T}.null"),
        "https://shop.example/".to_owned(),
        "%7Bfbclid%7D".to_owned(),
        "two words".to_owned(),
    ] {
        let event = format!(
            r#"{{"user_properties":{{"p":"{useless}","fbclid":"New"}},
                "event_properties":{{"[Amplitude] Page Location":"https://shop.example/?fbclid=New"}}}}"#
        );
        for other in ["user_properties.fbclid", page] {
            let stats = check(UserDataField::ClickId, &[property, other], &event, &wanted);
            assert_eq!(stats.dropped().count(), 1, "{useless}");
        }
    }
    for (field, event, expected) in [
        (
            UserDataField::BrowserId,
            r#"{"user_properties":{"p":"x","q":"fb.1.1596403881668.1116446470"}}"#,
            r#""fbp":"fb.1.1596403881668.1116446470""#,
        ),
        (
            UserDataField::ClientIpAddress,
            r#"{"user_properties":{"p":"proxy","q":["10.0.0.1","203.0.113.9"]}}"#,
            r#""client_ip_address":"203.0.113.9""#,
        ),
        (
            UserDataField::Email,
            r#"{"user_properties":{"p":["nobody",{}],"q":"a@b.de"}}"#,
            "\"em\": #a@b.de",
        ),
        (
            UserDataField::Phone,
            r#"{"user_properties":{"p":7.5,"q":"16505551212"}}"#,
            "\"ph\": #16505551212",
        ),
        (
            UserDataField::Country,
            r##"{"user_properties":{"p":"#N/A","q":"France"}}"##,
            "\"country\": #fr",
        ),
        (
            UserDataField::LeadId,
            r#"{"user_properties":{"p":"none","q":123456789012345}}"#,
            "\"lead_id\":123456789012345",
        ),
        // No source behind a usable one is read.
        (
            UserDataField::Email,
            r#"{"user_properties":{"p":["nobody","c@d.fr"],"q":"a@b.de"}}"#,
            "\"em\": #c@d.fr",
        ),
        (
            UserDataField::Email,
            r#"{"user_properties":{"p":["c@d.fr","C@d.fr"],"q":"a@b.de"}}"#,
            "\"em\": #c@d.fr",
        ),
    ] {
        check(
            field,
            &["user_properties.p", "user_properties.q"],
            event,
            expected,
        );
    }
}

#[test]
fn a_code_comes_from_the_first_country_that_is_one() {
    let path = |path| crate::expr::value::ValueSource::Path(Path::parse(path).unwrap());
    let expr = ValueExpr {
        sources: vec![path("user_properties.p"), path("user_properties.q")],
        default: None,
    };
    let user_data = compiled([
        (UserDataField::Country, expr),
        (
            UserDataField::Phone,
            ValueExpr::path(Path::parse("user_id").unwrap()),
        ),
    ]);
    for (event, expected) in [
        (
            r#"{"user_properties":{"p":"N/A","q":"Germany"}}"#,
            Some("de"),
        ),
        (
            r#"{"user_properties":{"p":["?","NA"]},"country":"France"}"#,
            Some("na"),
        ),
        (
            r#"{"user_properties":{"p":"?"},"country":"France"}"#,
            Some("fr"),
        ),
        (r#"{"user_properties":{"p":"?"}}"#, None),
    ] {
        let arena = Arena::default();
        let event = Event::decode(event.as_bytes(), &arena).unwrap();
        let country = user_data.country(&event).map(|(_, code)| code);
        assert_eq!(country, expected);
    }
}

#[test]
fn a_click_is_dated_by_the_clock_that_dates_its_event() {
    const T: i64 = 1_795_197_849_412;
    const DAY: i64 = 24 * 60 * 60 * 1000;
    for (ahead, clicked, expected) in [
        (3 * DAY, T + 3 * DAY - 5000, Some(T - 5000)),
        (-200 * DAY, T - 200 * DAY - 5000, Some(T - 5000)),
        // As it stands it can have led to the event.
        (-3 * DAY, T - 3 * DAY - 5000, Some(T - 3 * DAY - 5000)),
        (3 * DAY, T - 5000, Some(T - 5000)),
        // Later by the same clock.
        (3 * DAY, T + 3 * DAY + 61_000, None),
        (0, T + 61_000, None),
        (0, T - 91 * DAY, None),
    ] {
        let of_device = T + ahead;
        for (fbc, rest) in [("Ab", "Ab"), ("Ab.AQQC", "Ab.AQQC")] {
            let event = format!(
                r#"{{"client_event_time":{of_device},"user_properties":{{"p":"fb.2.{clicked}.{fbc}"}}}}"#
            );
            let expected = expected.map(|at| format!("\"fbc\":\"fb.2.{at}.{rest}\""));
            let paths = ["user_properties.p"];
            let expected = expected.unwrap_or_default();
            check(UserDataField::ClickId, &paths, &event, &expected);
        }
    }
}
