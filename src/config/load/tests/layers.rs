//! Which layer wins, and how keys survive the way.

use std::fs;

use insta::assert_snapshot;
use secrecy::ExposeSecret;

use super::*;

#[test]
fn the_environment_is_enough_for_one_pixel() {
    let config = from_toml(
        "",
        &variables_of(&[
            ("PIXEL_RELAY__INGEST__SECRET", "Bearer 12E4"),
            ("PIXEL_RELAY__SYNC__WEB__PIXEL_ID", "0012"),
            ("PIXEL_RELAY__SYNC__WEB__ACCESS_TOKEN", "12E4"),
        ]),
    )
    .unwrap();
    let sync = &config.syncs[&SyncName::new("web").unwrap()];
    assert_eq!(sync.pixel_id, "0012");
    assert_eq!(sync.access_token.expose_secret(), "12E4");
    assert_eq!(config.ingest.secrets[0].expose_secret(), "Bearer 12E4");
    assert_eq!(sync.delivery.max_batch_events.get(), 1000);
}

/// Laid over the defaults.
const FILE: &str = "[server]\nmax_body = '1MiB'\nlisten = '127.0.0.1:1'\n[ingest]\nsecret = 's'\n\
     [sync.web]\npixel_id = '1'\naccess_token = 't'\nproperties = ['a', 'b']\n\
     [sync.web.custom_data]\ncurrency = { from = 'event_properties.c', default = 'USD' }\n";

#[test]
fn the_environment_is_laid_over_the_file_and_the_file_over_the_defaults() {
    let config = from_toml(
        FILE,
        &variables_of(&[
            ("PIXEL_RELAY__SERVER__LISTEN", "127.0.0.1:2"),
            (
                "PIXEL_RELAY__SERVER__TRUSTED_PROXIES",
                r#"["10.0.0.0/8", "::1"]"#,
            ),
            (
                "PIXEL_RELAY__SERVER__CORS_ORIGINS",
                "https://shop.example.com",
            ),
            ("PIXEL_RELAY__LOG__LEVEL", ""),
            ("PIXEL_RELAY__QUEUE__DUPLICATE_IDS", "5_000"),
            ("PIXEL_RELAY__SYNC__WEB__ENABLED", "False"),
            ("PIXEL_RELAY__SYNC__WEB__PROPERTIES", "[\"c, d\"]"),
            (
                "PIXEL_RELAY__SYNC__WEB__EVENT_ID",
                "[\"uuid\", \"$insert_id\"]",
            ),
            (
                "PIXEL_RELAY__SYNC__WEB__USER_DATA__EMAIL",
                "[\"my own key\"].name",
            ),
            (
                "PIXEL_RELAY__SYNC__WEB__CUSTOM_DATA__CURRENCY__DEFAULT",
                "EUR",
            ),
            (
                "PIXEL_RELAY__SYNC__WEB__DELIVERY__REQUESTS_PER_SECOND",
                "0.5",
            ),
            ("PIXEL_RELAY__SYNC__WEB__LIMITED_DATA_USE__COUNTRY", "1"),
            ("PIXEL_RELAY_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
        ]),
    )
    .unwrap();
    assert_snapshot!(effective(&config), @r#"
    [server]
    listen = "127.0.0.1:2"
    max_body = "1MiB"
    trusted_proxies = ["10.0.0.0/8", "::1/128"]
    cors_origins = ["https://shop.example.com"]

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
    duplicate_ids = 5000
    dead_letter_retention = "30d"
    dead_letter_max_bytes = "1GiB"

    [meta]
    url = "https://graph.facebook.com/"
    api_version = "v26.0"

    [sync.web]
    enabled = false
    pixel_id = "1"
    access_token = "[redacted]"
    send_events = true
    where = []
    properties = ["c, d"]
    date_order = "mdy"
    external_id_case = "lower"
    page_url_parameters = ["fbclid", "utm_*", "gclid", "gclsrc", "gbraid", "wbraid", "dclid", "gad_source", "gad_campaignid", "msclkid", "ttclid", "twclid", "li_fat_id", "rdt_cid", "sccid", "epik", "yclid", "ko_click_id", "irclickid"]
    allow_personal_data = []
    action_source = "auto"
    event_id = ["uuid", "$insert_id"]
    event_source_url = ['event_properties["[Amplitude] Page Location"]', 'event_properties["[Amplitude] Page URL"]']

    [sync.web.user_data]
    external_id = "user_id"
    email = '["my own key"].name'
    client_ip_address = "ip_address"

    [sync.web.custom_data]
    currency = { from = "event_properties.c", default = "EUR" }

    # No [sync.web.events]: all events but bookkeeping and autocaptured ones ([Amplitude] …).

    [sync.web.limited_data_use]
    mode = "off"
    country = 1
    state = 0

    [sync.web.delivery]
    max_batch_events = 1000
    max_batch_bytes = "1MiB"
    max_batch_delay = "1s"
    max_in_flight = 4
    requests_per_second = 0.5
    events_per_second = "unlimited"
    timeout = "15s"
    "#);
}

#[test]
fn a_secret_in_the_environment_takes_the_place_of_a_file_and_the_reverse() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    fs::write(&file, "from-the-file").unwrap();
    let path = file.to_str().unwrap();
    let token = |text: &str, variable: (&str, &str)| {
        let config = from_toml(text, &variables_of(&[variable])).unwrap();
        let sync = &config.syncs[&SyncName::new("web").unwrap()];
        sync.access_token.expose_secret().to_owned()
    };
    assert_eq!(
        token(LEAST, ("PIXEL_RELAY__SYNC__WEB__ACCESS_TOKEN_FILE", path)),
        "from-the-file"
    );
    let text = LEAST.replace(
        "access_token = 't'",
        &format!("access_token_file = {path:?}"),
    );
    assert_eq!(
        token(&text, ("PIXEL_RELAY__SYNC__WEB__ACCESS_TOKEN", "direct")),
        "direct"
    );
}

#[test]
fn a_byte_order_mark_and_line_ends_of_windows_do_no_harm() {
    let text = format!("\u{feff}{}", LEAST.replace('\n', "\r\n"));
    assert!(from_toml(&text, &[]).is_ok());
}

#[test]
fn keys_are_taken_as_they_were_written() {
    let sync = sync(
        "[sync.web.events]\n'Sign Up' = 'CompleteRegistration'\n'a.b[0].C' = {}\n\
         'Größe ✓' = {}\n\"q\\\"q\" = {}\nsign = {}\nSIGN = {}\n\
         [sync.web.custom_data]\n'My.Field' = 'user_id'\nmyfield = 'user_id'\n",
    );
    let names: Vec<&String> = sync.events.as_ref().unwrap().keys().collect();
    assert_eq!(
        names,
        ["Größe ✓", "SIGN", "Sign Up", "a.b[0].C", "q\"q", "sign"]
    );
    let names: Vec<&String> = sync.mapping.custom_data.keys().collect();
    assert_eq!(names, ["My.Field", "myfield"]);
}

#[test]
fn a_quoted_key_is_not_a_path() {
    assert_snapshot!(errors_in(
        &format!("'server.listen' = '127.0.0.1:1'\n{LEAST}"),
        &[]
    ), @r#""server.listen": unknown key, expected one of server, log, admin, ingest, queue, meta, sync"#);
}

#[test]
fn the_file_is_the_named_one_else_the_variables_else_the_default() {
    let sources = |file: Option<&str>, variable: &str| Sources {
        file: file.map(PathBuf::from),
        environment: variables_of(&[(FILE_VARIABLE, variable)]),
    };
    let chosen = |sources: &Sources, there| choose_file(sources, there);
    assert_eq!(chosen(&sources(Some("a"), "b"), true), Some("a".into()));
    assert_eq!(chosen(&sources(None, "b"), true), Some("b".into()));
    assert_eq!(chosen(&sources(None, ""), true), Some(DEFAULT_FILE.into()));
    assert_eq!(chosen(&sources(None, ""), false), None);
}

#[test]
fn a_file_that_is_not_there_is_an_error() {
    let sources = Sources {
        file: Some(PathBuf::from("/no/such/file.toml")),
        environment: Vec::new(),
    };
    let errors = load(sources).unwrap_err().errors;
    assert_eq!(errors[0].key, "/no/such/file.toml");
    assert!(errors[0].message.starts_with("the file cannot be read"));
}

#[test]
fn the_listener_is_found_whatever_else_is_wrong() {
    let sources = |listen: &str| Sources {
        file: Some(PathBuf::from("Cargo.toml")),
        environment: variables_of(&[("PIXEL_RELAY__SERVER__LISTEN", listen)]),
    };
    let address = listen_address(&sources("127.0.0.1:81"));
    assert_eq!(address, Ok("127.0.0.1:81".parse().unwrap()));
    assert!(listen_address(&sources("nowhere")).is_err());
}

#[test]
fn files_of_events_are_found_beside_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("relay.toml");
    fs::write(folder.path().join("event.json"), "{\"event_type\":\"A\"}").unwrap();
    let test =
        "[[sync.web.test]]\nname = 'n'\nevent_file = 'event.json'\nnow = 2026-11-20T18:05:00Z\n";
    fs::write(&file, format!("{LEAST}{test}")).unwrap();
    let loaded = load(Sources {
        file: Some(file),
        environment: Vec::new(),
    })
    .unwrap();
    let test = &loaded.config.syncs[&SyncName::new("web").unwrap()].tests[0];
    assert_eq!(test.event, "{\"event_type\":\"A\"}");
    assert_eq!(test.now.seconds(), 1_795_197_900);
    assert_eq!(test.outcome, "mapped");
}
