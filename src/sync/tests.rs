//! What a sync makes of events.

use super::*;
use crate::config::load::from_toml;
use crate::event::arena::Arena;
use crate::normalize::field::UserDataField;
use crate::payload::{Payload, PayloadArena};
use crate::profile::in_memory::InMemoryProfiles;

const NOW: UnixMillis = UnixMillis(1_795_197_879_000);

fn sync(rules: &str) -> Sync {
    let text = format!(
        "[ingest]\nallow_unauthenticated = true\n[sync.web]\npixel_id = \"1\"\naccess_token = \"t\"\n{rules}"
    );
    compile_all(&from_toml(&text, &[]).unwrap())
        .unwrap()
        .remove(0)
}

fn mapped(sync: &Sync, event: &str) -> Payload {
    let arena = Arena::default();
    let decoded = Event::decode(event.as_bytes(), &arena).unwrap();
    match sync
        .take(
            Ok(&decoded),
            event.as_bytes(),
            NOW,
            &mut PayloadArena::default(),
        )
        .0
    {
        Ok(payload) => payload,
        Err(rejected) => panic!("{}", rejected.reason),
    }
}

#[track_caller]
fn check_refused(rules: &str, event: &str, reason: Reason, has_json: bool) {
    let arena = Arena::default();
    let decoded = Event::decode(event.as_bytes(), &arena).unwrap();
    match sync(rules)
        .take(
            Ok(&decoded),
            event.as_bytes(),
            NOW,
            &mut PayloadArena::default(),
        )
        .0
    {
        Ok(_) => panic!("mapped: {event}"),
        Err(rejected) => {
            assert_eq!(
                (rejected.reason, rejected.json.is_some()),
                (reason, has_json),
                "{event}"
            );
        }
    }
}

#[test]
fn what_meta_would_refuse_ends_here_with_a_reason() {
    let at = |time: &str, rest: &str| {
        format!(
            "{{\"event_type\":\"Order\",\"event_time\":\"{time}\",\"user_id\":\"u-1\",{rest}\"x\":0}}"
        )
    };
    let now = "2026-11-20 18:04:39";
    check_refused(
        "",
        r#"{"event_type":"A","user_id":"u-1"}"#,
        Reason::NoEventTime,
        false,
    );
    check_refused("", &at("2026-11-13 18:04:38", ""), Reason::TooOld, true);
    check_refused("", &at("2026-11-20 18:05:40", ""), Reason::InFuture, true);
    check_refused(
        "",
        &at("2026-11-21 02:04:30", ""),
        Reason::TimeZoneTrap,
        true,
    );
    check_refused(
        "",
        &format!("{{\"event_type\":\"A\",\"event_time\":\"{now}\",\"user_id\":\"anonymous\"}}"),
        Reason::NoIdentifier,
        true,
    );
    let purchase = "[sync.web.events.Order]\nsend_as = \"Purchase\"\ncustom_data = { value = \"event_properties.v\", currency = \"event_properties.c\" }";
    check_refused(purchase, &at(now, ""), Reason::PurchaseWithoutValue, true);
    let grouped = at(now, r#""event_properties":{"v":"1,234","c":"USD"},"#);
    check_refused(purchase, &grouped, Reason::GroupedNumber, true);
    let free = at(now, r#""event_properties":{"v":0},"#);
    check_refused(purchase, &free, Reason::PurchaseWithoutCurrency, true);
    let small = "properties = [\"*\"]\n[sync.web.delivery]\nmax_batch_bytes = 1024";
    let large = at(
        now,
        &format!("\"event_properties\":{{\"t\":\"{}\"}},", "x".repeat(1024)),
    );
    check_refused(small, &large, Reason::EventTooLarge, false);
}

#[test]
fn beside_a_browser_pixel_old_website_events_stay_back() {
    let web = |time: &str| {
        let event = r#"{"event_type":"A","user_id":"u-1","platform":"Web","event_time":"#;
        format!("{event}\"{time}\"}}")
    };
    let (old, paired) = (web("2026-11-18 18:04:38"), web("2026-11-18 18:04:39"));
    let pixel = "browser_pixel = true";
    check_refused(pixel, &old, Reason::TooOldForPixel, true);
    check_refused(pixel, &web("2026-11-13 18:04:38"), Reason::TooOld, true);
    // It is not sent once it got too old in the queue either.
    let now = NOW.seconds();
    assert_eq!(mapped(&sync(pixel), &paired).deadline, now);
    let elsewhere = old.replace("Web", "iOS");
    assert_eq!(
        mapped(&sync(pixel), &elsewhere).deadline,
        now - 1 + 5 * 86_400
    );
    for (rules, event, expected) in [
        ("", &old, true),
        ("", &paired, false),
        ("", &elsewhere, false),
        ("browser_pixel = false", &old, false),
    ] {
        let arena = Arena::default();
        let decoded = Event::decode(event.as_bytes(), &arena).unwrap();
        let (mapped, stats) = sync(rules).take(
            Ok(&decoded),
            event.as_bytes(),
            NOW,
            &mut PayloadArena::default(),
        );
        let Ok(payload) = mapped else {
            panic!("{rules}: not mapped")
        };
        assert!(payload.deadline >= now - 1 + 5 * 86_400);
        assert_eq!(stats.may_count_twice(), expected, "{rules} {event}");
    }
    let arena = Arena::default();
    let decoded = Event::decode(old.as_bytes(), &arena).unwrap();
    let Ok((_, explanation)) = sync("").explain(&decoded, NOW, &mut InMemoryProfiles::default());
    assert!(
        explanation
            .rows()
            .concat()
            .contains(&"older than 48 h: counted twice where Meta's Pixel sent it too".to_owned())
    );
}

#[test]
fn what_cannot_be_decoded_has_its_bytes_for_an_id() {
    let raw = b"{\"a\":";
    let (mapped, stats) = sync("").take(
        Err(Reason::MalformedJson),
        raw,
        NOW,
        &mut PayloadArena::default(),
    );
    let Err(rejected) = mapped else {
        panic!("mapped");
    };
    assert_eq!(rejected.reason, Reason::MalformedJson);
    assert_eq!(rejected.event_id.unwrap().len(), 32);
    assert_eq!((rejected.json, stats.label()), (None, "other"));
}

#[test]
fn an_insert_id_counts_per_device() {
    let sync = sync("");
    let event = |ids: &str| {
        let time = "\"event_time\":\"2026-11-20 18:04:09\"";
        mapped(
            &sync,
            &format!("{{\"event_type\":\"A\",{time},\"user_id\":\"u-1\",{ids}}}"),
        )
        .fingerprint
    };
    let first = event(r#""$insert_id":"i","device_id":"d-1""#);
    assert_eq!(first, event(r#""insert_id":"i","device_id":"d-1","x":1"#));
    let other = event(r#""$insert_id":"i","device_id":"d-2""#);
    assert_eq!(first.id, other.id);
    assert_ne!(first.whole, other.whole);
    let uuid = event(r#""uuid":"i","device_id":"d-1""#);
    assert_eq!(uuid, event(r#""uuid":"i","device_id":"d-2""#));
    // An insert id that stands for nothing would make all events the same.
    let nothing = event(r#""$insert_id":"undefined","uuid":"i","device_id":"d-1""#);
    assert_eq!(nothing, uuid);
    let hashed = event(r#""device_id":"d-1""#);
    assert_eq!(hashed, event(r#""device_id":"d-1""#));
    assert_ne!(hashed, event(r#""device_id":"d-1","x":1"#));
}

#[test]
fn the_deadline_is_the_end_of_metas_window() {
    let event = r#"{"event_type":"A","event_time":1795197849,"user_id":"u-1"}"#;
    let day = 24 * 60 * 60;
    assert_eq!(mapped(&sync(""), event).deadline, 1_795_197_849 + 7 * day);
    let store = sync("action_source = \"physical_store\"");
    assert_eq!(mapped(&store, event).deadline, 1_795_197_849 + 62 * day);
    let ahead = event.replace("1795197849", "1795197939");
    assert_eq!(mapped(&sync(""), &ahead).deadline, NOW.seconds() + 7 * day);
}

#[test]
fn an_events_own_table_is_laid_over_its_syncs() {
    let sync = sync(concat!(
        "properties = [\"a\"]\n[sync.web.user_data]\nemail = \"user_properties.email\"\n",
        "[sync.web.events.X]\nsend_as = \"Lead\"\nproperties = [\"b\"]\n",
        "user_data = { email = \"user_properties.mail\", browser_id = \"user_properties.fbp\" }\n",
        "event_id = \"event_properties.a\"\n",
    ));
    let event = concat!(
        r#"{"event_type":"X","event_time":1795197849,"user_id":"u-1","#,
        r#""user_properties":{"email":"a@b.de","fbp":"fb.1.1790000000000.1"},"event_properties":{"a":"1001","b":2,"c":3}}"#
    );
    let text = String::from_utf8(mapped(&sync, event).json.into()).unwrap();
    let id = crate::hash::Hashed::of("u-1");
    assert_eq!(
        text,
        format!(
            concat!(
                r#"{{"event_name":"Lead","event_time":1795197849,"event_id":"1001","action_source":"other","#,
                r#""user_data":{{"external_id":"{}","fbp":"fb.1.1790000000000.1"}},"custom_data":{{"a":"1001","b":2}}}}"#
            ),
            id.as_str()
        )
    );
}

#[test]
fn an_event_may_choose_its_name() {
    let sync = sync(
        "[sync.web.events.X]\nsend_as = [{ from = \"event_properties.kind\", map = { quote = \"Lead\" } }, \"event_properties.name\"]",
    );
    let name = |properties: &str| {
        let event = format!(
            "{{\"event_type\":\"X\",\"event_time\":1795197849,\"user_id\":\"u-1\",\"event_properties\":{properties}}}"
        );
        mapped(&sync, &event).event_name
    };
    assert_eq!(&*name(r#"{"kind":"quote"}"#), "Lead");
    assert_eq!(&*name(r#"{"kind":"other","name":" Search "}"#), "Search");
    assert_eq!(&*name(r#"{"kind":"other"}"#), "X");
    assert_eq!(&*name(r#"{"name":"pat@example.com"}"#), "X");
    let event = r#"{"event_type":"X","event_time":1795197849,"user_id":"u-1","event_properties":{"name":"Purchase"}}"#;
    let rules = "[sync.web.events.X]\nsend_as = [\"event_properties.name\"]";
    check_refused(rules, event, Reason::PurchaseWithoutValue, true);
}

#[test]
fn an_opt_out_that_is_not_sure_counts() {
    let sync = sync("opt_out = \"user_properties.out\"");
    for (properties, opted_out) in [
        (r#"{"out":true}"#, "true"),
        (r#"{"$set":{"out":false}}"#, "false"),
        (r#"{"$setOnce":{"out":true}}"#, "true"),
        (r#"{"$set":{"out":false},"out":true}"#, "true"),
        (r#"{"$set":{"out":true},"out":false}"#, "true"),
    ] {
        let event = format!(
            r#"{{"event_type":"X","event_time":1795197849,"user_id":"u-1","user_properties":{properties}}}"#
        );
        let text = String::from_utf8(mapped(&sync, &event).json.into()).unwrap();
        assert!(
            text.contains(&format!(r#""opt_out":{opted_out}"#)),
            "{text}"
        );
    }
}

#[test]
fn notes_say_what_was_carried_and_what_was_lost() {
    let sync = sync("[sync.web.events.X]\nuser_data = { email = \"user_properties.email\" }");
    let raw = br#"{"event_type":"X","event_time":1795197849,"user_id":"u-1","user_properties":{"email":"nobody"}}"#;
    let arena = Arena::default();
    let event = Event::decode(raw, &arena).unwrap();
    let (_, stats) = sync.take(Ok(&event), raw, NOW, &mut PayloadArena::default());
    assert_eq!(stats.label(), "X");
    let carried: Vec<_> = stats.carried().map(UserDataField::meta_key).collect();
    assert_eq!(carried, ["external_id"]);
    let lost: Vec<_> = stats
        .dropped()
        .map(|(field, why)| (field, why.as_str()))
        .collect();
    assert_eq!(lost, [("em", "not_an_email")]);
}

#[test]
fn an_id_that_is_none_costs_the_fields_that_read_it_and_is_counted() {
    let sync = sync("[sync.web.user_data]\nemail = \"user_properties.email\"");
    let lost = |event: &str| -> Vec<(String, &str)> {
        let arena = Arena::default();
        let event = Event::decode(event.as_bytes(), &arena).unwrap();
        let (mapped, stats) = sync.take(Ok(&event), event.raw(), NOW, &mut PayloadArena::default());
        assert!(mapped.is_ok(), "{mapped:?}");
        let lost = stats
            .dropped()
            .map(|(field, why)| (field.to_owned(), why.as_str()));
        lost.collect()
    };
    let event = |ids: &str| {
        format!(
            r#"{{"event_type":"X","event_time":1795197849,"user_properties":{{"email":"a@b.de"}},{ids}}}"#
        )
    };
    let whole = r#""user_id":"u-1","insert_id":"i-1","#;
    assert_eq!(lost(&event(&format!("{whole}\"n\":1"))), []);
    for odd in ["true", "[\"u-1\"]", r#"{"id":"u-1"}"#] {
        let ids = format!(r#""user_id":{odd},"$insert_id":{odd}"#);
        let expected = ["event_id", "external_id"].map(|field| (field.to_owned(), "not_a_text"));
        let mut found = lost(&event(&ids));
        found.sort();
        assert_eq!(found, expected, "{odd}");
    }
    assert_eq!(lost(&event(r#""user_id":null,"insert_id":"""#)), []);
}

#[test]
fn an_explanation_says_where_each_field_came_from() {
    let sync = sync(concat!(
        "[sync.web.user_data]\nemail = [\"user_properties.email\"]\nphone = \"user_properties.phone\"\n",
        "browser_id = \"user_properties.fbp\"\n",
        "[sync.web.custom_data]\nvalue = \"event_properties.total\"\ncurrency = { constant = \"EUR\" }\n",
        "content_type = { from = \"event_properties.kind\", map = { sku = \"product\" } }\n",
        "order_id = [{ from = \"event_properties.total\", when = [{ property = \"event_properties.kind\", op = \"is\", value = \"sku\" }] }]\n",
        "status = [{ constant = 1, when = [{ property = \"event_properties.x\", op = \"is set\" }] }, \"event_properties.y\"]\n",
    ));
    let raw = br#"{"event_type":"X","event_time":1795197849,"user_id":"U 1","uuid":"id-1",
        "user_properties":{"email":" A@b.de","fbp":"broken"},"event_properties":{"total":"19.90","kind":"sku"}}"#;
    let arena = Arena::default();
    let event = Event::decode(raw, &arena).unwrap();
    let Ok((mapped, explanation)) = sync.explain(&event, NOW, &mut InMemoryProfiles::default());
    assert!(mapped.is_ok());
    let lines: Vec<String> = explanation
        .rows()
        .iter()
        .map(|row| row.join(" | "))
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    FIELD | FROM | TYPE | NORMALISED | SENT | RULE
    event_source_url | - | - | - | - | missing: nothing at event_properties["[Amplitude] Page Location"], event_properties["[Amplitude] Page URL"]
    event_name | event_type | string | - | "X" | name as it came
    event_time | event_time | number | - | 1795197849 | seconds since 1970
    event_id | uuid | string | - | "id-1" | id
    action_source | - | - | - | "other" | automatic: neither platform Web, nor the URL of a page, nor an app's device
    user_data.external_id | user_id | string | u1 | "bb82030dbc2bcaba32a90bf2e207a84a856fc5f033… | trimmed, lower case without spaces unless case is kept; hashed
    user_data.em | user_properties.email | string | a@b.de | "363a175f65786e7799e43a17e3f9f7baa20553a640… | trimmed, lower case; hashed
    user_data.ph | - | - | - | - | missing: nothing at user_properties.phone
    user_data.client_ip_address | - | - | - | - | missing: nothing at ip_address
    user_data.fbp | user_properties.fbp | string | - | - | missing: malformed_browser_id. Not an `fbp`.
    custom_data.currency | configuration | string | - | "EUR" | currency of ISO 4217
    custom_data.value | event_properties.total | string | - | 19.90 | number
    custom_data.content_type | event_properties.kind | string | - | "product" | one of Meta's words, translated
    custom_data.order_id | event_properties.total | string | - | "19.90" | text, as event_properties.kind is "sku"
    custom_data.status | - | - | - | - | missing: nothing at event_properties.y; not met: event_properties.x is set
    user_data.fn | - | - | - | - | missing: not mapped
    user_data.ln | - | - | - | - | missing: not mapped
    user_data.db | - | - | - | - | missing: not mapped
    user_data.ge | - | - | - | - | missing: not mapped
    user_data.ct | - | - | - | - | missing: not mapped
    user_data.st | - | - | - | - | missing: not mapped
    user_data.zp | - | - | - | - | missing: not mapped
    user_data.country | - | - | - | - | missing: not mapped
    user_data.client_user_agent | - | - | - | - | missing: not mapped
    user_data.fbc | - | - | - | - | missing: not mapped
    user_data.subscription_id | - | - | - | - | missing: not mapped
    user_data.fb_login_id | - | - | - | - | missing: not mapped
    user_data.lead_id | - | - | - | - | missing: not mapped
    user_data.madid | - | - | - | - | missing: not mapped
    user_data.anon_id | - | - | - | - | missing: not mapped
    "#);
    let email = explanation
        .fields()
        .iter()
        .find(|field| field.field == "user_data.em");
    insta::assert_snapshot!(serde_json::to_string(email.unwrap()).unwrap(), @r#"{"field":"user_data.em","from":"user_properties.email","type":"string","normalised":"a@b.de","sent":"363a175f65786e7799e43a17e3f9f7baa20553a6408901bc04db39da72261fe3","rule":"trimmed, lower case; hashed"}"#);
}

#[test]
fn a_broken_time_costs_itself_where_another_says_the_same() {
    let sync = sync("");
    for fields in [
        r#""event_time":null,"client_event_time":"2026-11-20 18:04:09""#,
        r#""event_time":"soon","client_event_time":"2026-11-20 18:04:09""#,
        r#""event_time":"1,795","time":1795197849,"client_event_time":"2026-11-19 18:04:09""#,
        r#""event_time":"2026-11-20 18:04:09","client_event_time":"2026-11-19 18:04:09""#,
    ] {
        let event = format!(r#"{{"event_type":"A","user_id":"u-1",{fields}}}"#);
        let payload = mapped(&sync, &event);
        let json: serde_json::Value = serde_json::from_slice(&payload.json).unwrap();
        assert_eq!(json["event_time"], 1_795_197_849, "{event}");
    }
    let received =
        r#"{"event_type":"A","user_id":"u-1","server_received_time":"2026-11-20 18:04:09"}"#;
    check_refused("", received, Reason::NoEventTime, false);
}
