//! What is written comes to mean what the documentation says.

use std::fs;
use std::time::Duration;

use insta::assert_snapshot;
use proptest::prelude::{prop_assert_eq, proptest};
use secrecy::ExposeSecret;

use super::*;
use crate::config::expressions::{CustomValue, PassedProperties};
use crate::config::names::{basic_string, quoted};
use crate::config::sync::{CallingCode, LimitedDataUseMode, LimitedDataUsePlace, UserMemory};
use crate::expr::value::ValueExpr;
use crate::normalize::field::UserDataField;

#[test]
fn what_is_absent_has_its_default() {
    assert_snapshot!(effective(&loaded("")), @r#"
    [server]
    listen = "0.0.0.0:8080"
    max_body = "2MiB"
    trusted_proxies = []
    cors_origins = []

    [log]
    format = "text"
    level = "info"

    [admin]
    listen = "127.0.0.1:9090"

    [ingest]
    header = "Authorization"
    secret = "[redacted]"
    allow_unauthenticated = false
    address_requests_per_second = 100
    address_events_per_second = 1000
    upstream_when_full = "pass_on"

    [queue]
    path = "data"
    max_bytes = "10GiB"
    duplicate_window = "2d"
    duplicate_ids = 1800000
    dead_letter_retention = "30d"
    dead_letter_max_bytes = "1GiB"

    [meta]
    url = "https://graph.facebook.com/"
    api_version = "v26.0"

    [sync.web]
    enabled = true
    pixel_id = "1"
    access_token = "[redacted]"
    send_events = true
    consent = "not_required"
    where = []
    properties = []
    date_order = "mdy"
    external_id_case = "lower"
    page_url_parameters = ["fbclid", "utm_*", "gclid", "gclsrc", "gbraid", "wbraid", "dclid", "gad_source", "gad_campaignid", "msclkid", "ttclid", "twclid", "li_fat_id", "rdt_cid", "sccid", "epik", "yclid", "ko_click_id", "irclickid"]
    allow_personal_data = []
    action_source = "auto"
    event_id = ["$insert_id", "insert_id", "uuid"]
    event_source_url = ['event_properties["[Amplitude] Page Location"]', 'event_properties["[Amplitude] Page URL"]']

    [sync.web.user_data]
    external_id = "user_id"
    client_ip_address = "ip_address"

    # No [sync.web.events]: all events but bookkeeping and autocaptured ones ([Amplitude] …).

    [sync.web.limited_data_use]
    mode = "off"
    country = 0
    state = 0

    [sync.web.delivery]
    max_batch_events = 1000
    max_batch_bytes = "1MiB"
    max_batch_delay = "1s"
    max_in_flight = 4
    requests_per_second = 10
    events_per_second = "unlimited"
    timeout = "15s"
    "#);
}

#[test]
fn defaults_of_user_data_hold_key_by_key() {
    let sync =
        sync("[sync.web.user_data]\nexternal_id = 'device_id'\nem = 'user_properties.email'\n");
    let fields: Vec<String> = sync
        .mapping
        .user_data
        .iter()
        .map(|(field, value)| format!("{} = {}", field.mapping_name(), value.paths()[0]))
        .collect();
    assert_eq!(
        fields,
        [
            "external_id = device_id",
            "email = user_properties.email",
            "client_ip_address = ip_address"
        ]
    );
}

#[test]
fn an_empty_list_switches_a_default_off_and_is_written_back() {
    let text = format!("{LEAST}\n[sync.web.user_data]\nclient_ip_address = []\n");
    let config = from_toml(&text, &[]).unwrap();
    let sync = &config.syncs[&SyncName::new("web").unwrap()];
    let address = &sync.mapping.user_data[&UserDataField::ClientIpAddress];
    assert_eq!(*address, ValueExpr::default());
    assert!(effective(&config).contains("client_ip_address = []"));
}

#[test]
fn a_pixel_id_may_be_a_number() {
    let text = LEAST.replace("pixel_id = '1'", "pixel_id = 123456789012345");
    let config = from_toml(&text, &[]).unwrap();
    assert_eq!(
        config.syncs[&SyncName::new("web").unwrap()].pixel_id,
        "123456789012345"
    );
}

#[test]
fn secrets_come_trimmed_from_files_and_several_are_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let token = path("token", "  EAAB-token\n");
    let (new, old) = (path("new", "new\n"), path("old", "old\r\n"));
    let config = from_toml(
        &format!(
            "[ingest]\nsecret_file = [{new:?}, {old:?}]\n[sync.web]\npixel_id = '1'\naccess_token_file = {token:?}\n"
        ),
        &[],
    )
    .unwrap();
    let secrets: Vec<&str> = config
        .ingest
        .secrets
        .iter()
        .map(ExposeSecret::expose_secret)
        .collect();
    assert_eq!(secrets, ["new", "old"]);
    let sync = &config.syncs[&SyncName::new("web").unwrap()];
    assert_eq!(sync.access_token.expose_secret(), "EAAB-token");
    assert_eq!(sync.access_token_file.as_ref(), Some(&token));
    assert!(!effective(&config).contains("EAAB"));
    assert!(!format!("{config:?}").contains("EAAB"));
}

/// Every form that a mapping can have.
const FORMS: &str = r#"
where = { property = "user_properties.consent", op = "is", value = true }
properties = "*"
action_source = { from = "event_properties.source", default = "website" }
event_id = 'event_properties["Order \"Id\""]'
opt_out = { constant = false }
default_calling_code = 44
date_order = "dmy"
external_id_case = "keep"
currency = "eur"
browser_pixel = true
[sync.web.user_data]
fbc = ["user_properties.fbc", "user_properties.fbclid"]
[sync.web.custom_data]
value = "event_properties.total"
currency = { from = ["event_properties.currency"], default = "USD" }
rank = { constant = 1.5 }
tags = { constant = ["a", "b"] }
contents = { each = ["event_properties.products", "event_properties"], id = ["sku", "id"], quantity = { from = "qty", default = 1 } }
[sync.web.original_event_data]
order_id = "event_properties.order_id"
[sync.web.events]
"Sign Up" = "CompleteRegistration"
"Trial Started" = {}
"*" = {}
[sync.web.events."Order Completed"]
send_as = "Purchase"
where = [
    { property = "event_properties.total", op = "greater", value = 0.5 },
    { property = "groups.company", op = "is set" },
    { property = "country", op = "is", values = ["Germany", "Spain"] },
]
properties = ["coupon"]
action_source = "physical_store"
[sync.web.events."Order Completed".user_data]
phone = "event_properties.phone"
[sync.web.limited_data_use]
mode = "when"
when = [{ property = "region", op = "is", value = "California" }]
country = 1
state = "event"
[sync.web.app]
bundle_id = { constant = "com.example" }
[sync.web.delivery]
requests_per_second = "unlimited"
events_per_second = 2.5
max_batch_delay = "1s 500ms"
"#;

#[test]
fn every_form_of_a_mapping_is_read_and_written_back() {
    let config = loaded(FORMS);
    let written = effective(&config);
    let (_, sync) = written.split_once("[sync.web]\n").unwrap();
    assert_snapshot!(sync, @r#"
    enabled = true
    pixel_id = "1"
    access_token = "[redacted]"
    send_events = true
    consent = "not_required"
    where = [{ property = "user_properties.consent", op = "is", value = "true" }]
    properties = ["*"]
    default_calling_code = "44"
    date_order = "dmy"
    external_id_case = "keep"
    page_url_parameters = ["fbclid", "utm_*", "gclid", "gclsrc", "gbraid", "wbraid", "dclid", "gad_source", "gad_campaignid", "msclkid", "ttclid", "twclid", "li_fat_id", "rdt_cid", "sccid", "epik", "yclid", "ko_click_id", "irclickid"]
    currency = "EUR"
    browser_pixel = true
    allow_personal_data = []
    action_source = { from = "event_properties.source", default = "website" }
    event_id = 'event_properties["Order \"Id\""]'
    event_source_url = ['event_properties["[Amplitude] Page Location"]', 'event_properties["[Amplitude] Page URL"]']
    opt_out = { constant = false }

    [sync.web.user_data]
    external_id = "user_id"
    client_ip_address = "ip_address"
    click_id = ["user_properties.fbc", "user_properties.fbclid"]

    [sync.web.custom_data]
    contents = { each = ["event_properties.products", "event_properties"], id = ["sku", "id"], quantity = { from = "qty", default = 1 } }
    currency = { from = "event_properties.currency", default = "USD" }
    rank = { constant = 1.5 }
    tags = { constant = ["a", "b"] }
    value = "event_properties.total"

    [sync.web.original_event_data]
    order_id = "event_properties.order_id"

    [sync.web.events."*"]

    [sync.web.events."Order Completed"]
    send_as = "Purchase"
    where = [{ property = "event_properties.total", op = "greater", value = 0.5 }, { property = "groups.company", op = "is set" }, { property = "country", op = "is", values = ["Germany", "Spain"] }]
    properties = ["coupon"]
    action_source = "physical_store"

    [sync.web.events."Order Completed".user_data]
    phone = "event_properties.phone"

    [sync.web.events."Sign Up"]
    send_as = "CompleteRegistration"

    [sync.web.events."Trial Started"]

    [sync.web.limited_data_use]
    mode = "when"
    when = [{ property = "region", op = "is", value = "California" }]
    country = 1
    state = "event"

    [sync.web.app]
    bundle_id = { constant = "com.example" }

    [sync.web.delivery]
    max_batch_events = 1000
    max_batch_bytes = "1MiB"
    max_batch_delay = "1s 500ms"
    max_in_flight = 4
    requests_per_second = "unlimited"
    events_per_second = 2.5
    timeout = "15s"
    "#);
    let again = from_toml(&effective(&config), &[]).unwrap();
    assert_eq!(effective(&again), effective(&config));

    let sync = &config.syncs[&SyncName::new("web").unwrap()];
    assert_eq!(sync.properties, PassedProperties::All);
    assert_eq!(
        sync.default_calling_code,
        Some(CallingCode::Fixed("44".to_owned()))
    );
    assert!(matches!(
        sync.mapping.custom_data["contents"],
        CustomValue::Each { .. }
    ));
    assert!(matches!(
        sync.limited_data_use.mode,
        LimitedDataUseMode::When(_)
    ));
    assert_eq!(sync.limited_data_use.state, LimitedDataUsePlace::FromEvent);
}

proptest! {
    #[test]
    fn any_name_and_text_survive_the_way_there_and_back(name in r".*\S.*", text in r".*\S.*") {
        let (key, value) = (quoted(&name), basic_string(&text));
        let config = loaded(&format!(
            "where = {{ property = 'user_id', op = 'is', value = {value} }}\n\
             [sync.web.custom_data]\n{key} = {{ constant = {{ {key} = {value} }} }}\n\
             [sync.web.events]\n{key} = {value}\n"
        ));
        let written = effective(&config);
        let again = from_toml(&written, &[]).unwrap();
        prop_assert_eq!(effective(&again), written);
        let web = SyncName::new("web").unwrap();
        let (there, back) = (&config.syncs[&web], &again.syncs[&web]);
        prop_assert_eq!(&there.conditions[0].values[0].text, &text);
        prop_assert_eq!(&there.conditions, &back.conditions);
        prop_assert_eq!(&there.mapping.custom_data, &back.mapping.custom_data);
        let event = &back.events.as_ref().unwrap()[&name];
        let name = event.send_as.as_ref().and_then(|name| name.default.as_ref());
        prop_assert_eq!(name.and_then(|name| name.json().as_str()), Some(text.into()));
    }
}

/// Each pair is what is written, and what is written back.
#[test]
fn a_name_and_a_place_may_be_values() {
    let config = loaded(concat!(
        "[sync.web.events.A]\nsend_as = { from = \"event_properties.kind\", map = { b = \"Lead\" } }\n",
        "[sync.web.events.B]\nsend_as = [\"event_properties.kind\"]\n",
        "[sync.web.limited_data_use]\nmode = \"always\"\n",
        "country = \"event_properties.country\"\nstate = { from = \"event_properties.state\", default = 1000 }\n",
    ));
    let page = effective(&config);
    for line in [
        "send_as = { from = \"event_properties.kind\", map = { b = \"Lead\" } }",
        "send_as = { from = \"event_properties.kind\" }",
        "country = \"event_properties.country\"",
        "state = { from = \"event_properties.state\", default = 1000 }",
    ] {
        assert!(page.lines().any(|own| own == line), "{line} in {page}");
    }
    assert_eq!(effective(&from_toml(&page, &[]).unwrap()), page);
}

#[test]
fn dead_letters_never_take_more_than_the_queue() {
    let config = loaded("[queue]\nmax_bytes = '1MiB'\n");
    assert_eq!(config.queue.dead_letter_max_bytes, 1 << 20);
}

#[test]
fn rule_tests_take_an_event_as_a_table_or_as_text() {
    let sync = sync(
        r#"
        [[sync.web.test]]
        name = "table"
        now = "2026-11-20T18:05:00Z"
        event = { event_type = "A", event_properties = { n = 1, list = [true] } }
        fields.custom_data.value = 59.9
        [[sync.web.test]]
        name = "text"
        now = 2026-11-20 18:05:00
        event = '{"event_type": null}'
        reason = "no_event_name"
        "#,
    );
    let [table, text] = &*sync.tests else {
        panic!("two tests")
    };
    assert_eq!(
        table.event,
        r#"{"event_properties":{"list":[true],"n":1},"event_type":"A"}"#
    );
    assert_eq!(
        table.fields,
        serde_json::json!({ "custom_data": { "value": 59.9 } })
    );
    assert_eq!(table.now, text.now);
    assert_eq!(
        (text.outcome.as_str(), text.reason.as_deref()),
        ("invalid", Some("no_event_name"))
    );
}

#[test]
fn api_keys_stand_in_for_a_secret_and_may_be_bound_to_syncs() {
    let text = "[ingest]\napi_keys = ['one', { key = 'two', syncs = 'web' }]\n\
        upstream = 'https://api.eu.amplitude.com'\naddress_requests_per_second = 'unlimited'\n\
        [sync.web]\npixel_id = '1'\naccess_token = 't'\n";
    let config = from_toml(text, &[]).unwrap();
    let [one, two] = &*config.ingest.api_keys else {
        panic!("two keys")
    };
    assert_eq!((one.key.as_str(), &one.syncs), ("one", &None));
    let web = crate::config::SyncName::new("web").unwrap();
    assert_eq!((two.key.as_str(), &two.syncs), ("two", &Some(vec![web])));
    assert_eq!(config.ingest.address_requests_per_second, None);
    let written = effective(&config);
    assert_eq!(effective(&from_toml(&written, &[]).unwrap()), written);
    let environment = [(
        "PIXEL_RELAY__INGEST__API_KEYS".to_owned(),
        "three".to_owned(),
    )];
    let config = from_toml(text, &environment).unwrap();
    assert_eq!(config.ingest.api_keys.len(), 1);
}

#[test]
fn warnings_name_what_may_not_be_meant() {
    let warnings = warnings_in(
        "[admin]\nlisten = '0.0.0.0:9090'\n[ingest]\nallow_unauthenticated = true\n\
         [queue]\nduplicate_window = '1h'\n\
         [sync.web]\nenabled = false\npixel_id = '1'\naccess_token = 'REPLACE_ME'\ntest_event_code = 'TEST1'\n",
        &[],
    );
    assert_snapshot!(warnings, @r#"
    admin.listen: 0.0.0.0:9090 can be reached from outside and there is no admin.secret: anyone who reaches it reads the metrics
    ingest.allow_unauthenticated: events are taken from anyone who reaches the listener
    queue.duplicate_window: shorter than the 4 hours for which Amplitude repeats an event: a late repeat is sent twice
    sync.web.test_event_code: every event is sent as a test event: remove it when you go live
    sync.web.consent: missing: events are sent whatever a person said to ads; write conditions, such as consent = [{ property = "user_properties.ads_consent", op = "is", value = "granted" }], or consent = "not_required"
    sync: no sync is enabled: no event is taken
    "#);
    assert_eq!(warnings_in(LEAST, &[]), "");
}

#[test]
fn an_error_hides_no_warning_and_no_sync() {
    let written = RawConfig {
        text: "[sync.web]\ntest_event_code = 'TEST1'\n[sync.web.events]\nA = 'B'\n".to_owned(),
        file: PathBuf::from(DEFAULT_FILE),
        environment: Vec::new(),
    };
    let unusable = written.load().unwrap_err();
    assert_eq!(unusable.errors.len(), 3, "{:?}", unusable.errors);
    assert_eq!(
        unusable.warnings[0].key, "sync.web.test_event_code",
        "{:?}",
        unusable.warnings
    );
    let syncs = unusable.syncs;
    let rows = syncs.values().next().unwrap().events.as_ref().unwrap();
    assert!(rows.contains_key("A"));
}

#[test]
fn limited_data_use_needs_a_way_to_the_person() {
    let warned = |more: &str| warnings_in(&format!("{LEAST}{more}"), &[]);
    assert_snapshot!(
        warned("[sync.web.limited_data_use]\nmode = 'always'\nstate = 1000\n"),
        @"sync.web.limited_data_use.country: found 0 beside a state: Meta takes a state together with country = 1"
    );
    assert_snapshot!(
        warned(
            "[sync.web.user_data]\nclient_ip_address = []\n\
             [sync.web.limited_data_use]\nmode = 'always'\n"
        ),
        @"sync.web.limited_data_use.country: found 0, by which Meta locates the person by IP address, and user_data.client_ip_address is switched off"
    );
    for well in [
        "mode = 'always'\n",
        "mode = 'always'\ncountry = 1\nstate = 1000\n",
        "state = 1000\n",
    ] {
        assert_eq!(warned(&format!("[sync.web.limited_data_use]\n{well}")), "");
    }
}

#[test]
fn not_every_event_adds_to_another() {
    let table = "original_event_data]\nevent_name = { constant = 'Purchase' }\n";
    assert_snapshot!(
        warnings_in(&format!("{LEAST}[sync.web.{table}"), &[]),
        @"sync.web.original_event_data.event_name: a fixed value marks every event as adding to another; expected in the table of the event that does"
    );
    let of_one_event = format!("{LEAST}[sync.web.events.Refund]\n[sync.web.events.Refund.{table}");
    assert_eq!(warnings_in(&of_one_event, &[]), "");
}

#[test]
fn people_are_remembered_where_the_table_stands() {
    assert_eq!(sync("").user_memory, None);
    let default = UserMemory {
        webhook: false,
        keep_as_is: Vec::new(),
        max_age: Duration::from_secs(90 * 24 * 60 * 60),
        max_bytes: 256 << 20,
    };
    assert_eq!(sync("[sync.web.user_memory]").user_memory, Some(default));
    let said = sync(
        "[sync.web.user_memory]\nwebhook = true\nkeep_as_is = ['plan', 'a.b']\nmax_age = '7d'\nmax_bytes = '1MiB'",
    );
    let expected = UserMemory {
        webhook: true,
        keep_as_is: vec!["plan".to_owned(), "a.b".to_owned()],
        max_age: Duration::from_secs(7 * 24 * 60 * 60),
        max_bytes: 1 << 20,
    };
    assert_eq!(said.user_memory, Some(expected));
}

#[test]
fn an_origin_is_what_a_browser_can_send() {
    let text = |origin: &str| format!("[server]\ncors_origins = ['{origin}']\n");
    for origin in [
        "*",
        "https://shop.example.com",
        "http://localhost:3000",
        "https://*.example.com",
        "https://*.example.com:8443",
        "http://*.localhost:3000",
        "capacitor://localhost",
        "ionic://localhost",
        "tauri://localhost",
        "app://com.example.shop",
        "chrome-extension://abcdefghijklmnop",
    ] {
        assert_eq!(loaded(&text(origin)).server.cors_origins, [origin]);
    }
    for origin in [
        "https://shop.example.com/",
        "https://Shop.example.com",
        "https://shop.example.com:443",
        "https://*",
        "https://*.com",
        "https://*.*.example.com",
        "https://a.*.example.com",
        "https://*shop.example.com",
        "https://*.1.2.3.4",
        "https://*.example.com/",
        "https://*.example.com:443",
        "*.example.com",
        "capacitor://*.localhost",
        "capacitor://localhost/",
        "capacitor://LocalHost",
        "Capacitor://localhost",
        "capacitor://u@localhost",
        "capacitor://",
        "capacitor:localhost",
        "shop.example.com",
        "null",
    ] {
        let errors = from_toml(&text(origin), &[]).unwrap_err();
        let is_told = errors
            .iter()
            .any(|error| error.key == "server.cors_origins[0]");
        assert!(is_told, "{origin}: {errors:?}");
    }
}
