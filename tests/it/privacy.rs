//! No raw personal data, token or secret is left anywhere: not in the data folder, not in a log, not on
//! a page.
//!
//! A person whose every value is known goes through the whole daemon, through both kinds of endpoint, in mapped fields and
//! in all the wrong places, into batches, dead letters and a crash. Then every byte that is left is
//! searched for each value in each disguise. What Meta takes in clear text alone (IP address and user
//! agent) is not looked for.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use pixel_relay::sandbox::faults::Faults;
use serde_json::{Value, json};

use crate::process::{self, DaemonProcess};
use crate::sqlite;
use crate::support::{Graph, SECRET, TOKEN, client, event};

const EMAIL: &str = "Zaphira.Quillfeather@Example-Mail.org";
const PHONE: &str = "+49 1525 7774443";
const API_KEY: &str = "0123456789abcdef0123456789abcdef";
const APP_SECRET: &str = "app-secret-of-this-test";

/// What must be found nowhere.
const SECRETS: [&str; 14] = [
    EMAIL,
    PHONE,
    "4915257774443",
    "15257774443",
    "Zaphira",
    "Quillfeather",
    "1987-11-23",
    "19871123",
    "Unterwellenborn",
    "Nordthüringen",
    "SW1A9ZQ",
    "Kunde-778-Zebra",
    APP_SECRET,
    TOKEN,
];

const SYNCS: &str = r#"
    [sync.web]
    pixel_id = "1001"
    access_token = "test-token"
    app_secret = "app-secret-of-this-test"
    properties = ["note", "search"]
    event_source_url = "event_properties.url"
    referrer_url = "event_properties.referrer"
    default_calling_code = "49"
    [sync.web.user_data]
    external_id = "user_properties.customer"
    email = "user_properties.email"
    phone = "user_properties.phone"
    first_name = "user_properties.first_name"
    last_name = "user_properties.last_name"
    date_of_birth = "user_properties.born"
    city = "user_properties.city"
    state = "user_properties.state"
    zip_code = "user_properties.zip"
    [sync.web.user_memory]
    webhook = true
    [sync.web.events]
    "*" = {}
    [sync.web.delivery]
    max_batch_delay = "10ms"
    requests_per_second = "unlimited"
"#;

/// An event of the person, who is known by mapped fields.
fn of_her(id: &str) -> Value {
    let mut event = event(id);
    event["user_properties"] = json!({
        "customer": "Kunde-778-Zebra", "email": EMAIL, "phone": PHONE,
        "first_name": "Zaphira", "last_name": "Quillfeather", "born": "1987-11-23",
        "city": "Unterwellenborn", "state": "Nordthüringen", "zip": "SW1A9ZQ",
    });
    event
}

/// Events that hold her data where it does not belong, too.
fn strange() -> Vec<Value> {
    let changed = |id: &str, change: &dyn Fn(&mut Value)| {
        let mut event = of_her(id);
        change(&mut event);
        event
    };
    vec![
        changed("poison", &|event| event["event_type"] = json!("Poison")),
        // Invalid, and so a dead letter with all that was mapped.
        changed("invalid", &|event| event["event_type"] = json!("Purchase")),
        changed("old", &|event| {
            event["event_time"] = json!("2020-01-01 00:00:00.000000");
        }),
        changed("search", &|event| {
            event["event_properties"] = json!({"search": EMAIL, "note": PHONE,
                "url": format!("https://shop.example.com/?q={EMAIL}&phone=%2B4915257774443&x=1#{EMAIL}"),
                "referrer": format!("https://shop.example.com/{EMAIL}"),
                "comment": format!("Zaphira Quillfeather, Unterwellenborn {PHONE}"),
                EMAIL: EMAIL});
        }),
        changed("name", &|event| {
            event["event_type"] = json!(format!("Signed up {EMAIL}"));
        }),
        changed(EMAIL, &|_| {}),
        changed("elsewhere", &|event| {
            for field in ["user_id", "device_id", "city", "region", "location_lat"] {
                event[field] = json!(EMAIL);
            }
            event["groups"] = json!({EMAIL: [EMAIL]});
            event["group_properties"] = json!({"owner": {"name": "Quillfeather"}});
            event["currency"] = json!(EMAIL);
            event["unknown to all"] = json!({"born": "1987-11-23"});
        }),
        changed("types", &|event| {
            event["user_properties"]["email"] = json!({"of": EMAIL});
            event["user_properties"]["phone"] = json!([[PHONE]]);
            event["user_properties"]["born"] = json!("born on 1987-11-23");
            event["user_properties"]["customer"] = json!(["Kunde-778-Zebra", EMAIL]);
        }),
        changed("nobody", &|event| {
            event["user_properties"] = json!({"emails": EMAIL});
            event["ip_address"] = json!(EMAIL);
        }),
    ]
}

/// Bodies that are refused, or of which an element is.
fn broken() -> Vec<String> {
    let whole = of_her("broken").to_string();
    vec![
        whole.replace('}', ""),
        format!("event={EMAIL}&phone={PHONE}"),
        format!("[{whole}, {{\"event_type\": \"{EMAIL}\", \"event_time\": 1e400}}]"),
        whole.replacen(
            "\"event_type\"",
            &format!("\"{EMAIL}\":\"\\ud800\",\"event_type\""),
            1,
        ),
        whole.replacen(
            "\"event_type\"",
            "\"event_type\":\"twice\",\"event_type\"",
            1,
        ),
    ]
}

/// Sends everything to every endpoint, in good and bad ways. The answers do not matter here.
async fn send_everything(daemon: &DaemonProcess) {
    let base = &daemon.public;
    let post = async |url: String, secret: &str, body: String| {
        let request = client().post(url).header("authorization", secret);
        request.body(body).send().await.unwrap().status().as_u16()
    };
    let mut events = strange();
    events.extend((0..10).map(|number| of_her(&format!("good {number}"))));
    let body = Value::from(events).to_string();
    assert_eq!(
        post(format!("{base}/webhook"), SECRET, body.clone()).await,
        200
    );
    for body in broken() {
        post(format!("{base}/webhook"), SECRET, body).await;
    }
    for (path, secret) in [
        (format!("/webhook/{EMAIL}"), SECRET),
        (format!("/{EMAIL}?phone={PHONE}"), SECRET),
        (format!("/webhook?email={EMAIL}"), SECRET),
        ("/webhook".to_owned(), EMAIL),
    ] {
        post(format!("{base}{path}"), secret, body.clone()).await;
    }
    for (key, path) in [
        (API_KEY, "/2/httpapi"),
        (API_KEY, "/batch"),
        (EMAIL, "/2/httpapi"),
    ] {
        let events: Vec<Value> = strange()
            .into_iter()
            .map(|mut event| {
                event["insert_id"] = json!(format!("{path} {}", event["$insert_id"]));
                event
            })
            .collect();
        let body = json!({"api_key": key, "events": events}).to_string();
        post(format!("{base}{path}"), SECRET, body).await;
    }
    let identify = json!([{"user_id": EMAIL, "user_properties": {"$set": {"email": EMAIL}}}]);
    let url = reqwest::Url::parse_with_params(
        &format!("{base}/identify"),
        [
            ("api_key", API_KEY),
            ("identification", &identify.to_string()),
        ],
    );
    client().post(url.unwrap()).send().await.unwrap();
}

/// The ways in which a value may be written.
fn disguises(value: &str) -> Vec<Vec<u8>> {
    let mut percent = String::new();
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' => percent.push(char::from(byte)),
            _ => write!(percent, "%{byte:02x}").unwrap(),
        }
    }
    let mut escaped = String::new();
    for unit in value.encode_utf16() {
        match u8::try_from(unit) {
            Ok(byte) if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b' ') => {
                escaped.push(char::from(byte));
            }
            _ => write!(escaped, "\\u{unit:04x}").unwrap(),
        }
    }
    let utf16 = value.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut all = vec![
        value.as_bytes().to_vec(),
        percent.clone().into_bytes(),
        percent.replace("%20", "+").into_bytes(),
        escaped.into_bytes(),
        utf16,
        hex::encode(value).into_bytes(),
    ];
    for spelling in [value.to_owned(), value.to_lowercase()] {
        all.extend((0..3).map(|offset| base64_within(spelling.as_bytes(), offset)));
    }
    for disguise in &mut all {
        disguise.make_ascii_lowercase();
    }
    all.sort();
    all.dedup();
    all
}

/// A text in base64, at this offset in another text, without the digits that depend on its neighbours.
fn base64_within(text: &[u8], offset: usize) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes: Vec<u8> = std::iter::repeat_n(0, offset)
        .chain(text.iter().copied())
        .collect();
    let digits = bytes.chunks_exact(3).flat_map(|chunk| {
        let bits = chunk
            .iter()
            .fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        [18, 12, 6, 0].map(|shift| DIGITS[bits >> shift & 63])
    });
    digits.skip(if offset == 0 { 0 } else { 4 }).collect()
}

/// Asserts that none of it is found.
fn assert_clean(place: &str, bytes: &[u8]) {
    let bytes = bytes.to_ascii_lowercase();
    let secret = SECRET.trim_start_matches("Bearer ");
    for value in SECRETS.into_iter().chain([secret]) {
        for disguise in disguises(value) {
            let found = memchr::memmem::find(&bytes, &disguise);
            let around = found.map(|at| {
                let from = at.saturating_sub(80);
                let to = (at + 80).min(bytes.len());
                String::from_utf8_lossy(&bytes[from..to]).into_owned()
            });
            assert_eq!(around, None, "{place} holds {value}");
        }
    }
}

/// Returns the number of rows.
fn assert_folder_is_clean(folder: &Path) -> usize {
    let mut bytes = 0;
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        // The socket cannot be read.
        if let Ok(content) = fs::read(&path) {
            bytes += content.len();
            assert_clean(&path.display().to_string(), &content);
        }
    }
    assert!(bytes > 50_000, "the test sees nothing");
    let rows = sqlite::bodies(folder);
    for body in &rows {
        assert_clean("a row", body);
    }
    rows.len()
}

async fn assert_pages_are_clean(daemon: &DaemonProcess) {
    for url in [
        format!("{}/metrics", daemon.admin),
        format!("{}/health", daemon.admin),
        format!("{}/health", daemon.public),
    ] {
        let page = client().get(&url).send().await.unwrap();
        assert_clean(&url, &page.bytes().await.unwrap());
    }
}

async fn stopped(daemon: DaemonProcess) {
    daemon.signal("TERM");
    let (code, log) = tokio::task::spawn_blocking(|| daemon.wait()).await.unwrap();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("stopped"), "the test sees no log");
    assert_clean("the log", log.as_bytes());
}

#[test]
fn a_disguise_is_seen_through() {
    for text in [
        r#"{"em":"ZAPHIRA"}"#.to_owned(),
        "q=Nordth%C3%BCringen".to_owned(),
        r"Nordth\u00FCringen".to_owned(),
        // "her name is Zaphira Quillfeather" and "x Zaphira.", in base64.
        "aGVyIG5hbWUgaXMgWmFwaGlyYSBRdWlsbGZlYXRoZXI=".to_owned(),
        "eCBaYXBoaXJhLg==".to_owned(),
        hex::encode("Unterwellenborn"),
    ] {
        let seen = std::panic::catch_unwind(|| assert_clean("the text", text.as_bytes()));
        assert!(seen.is_err(), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_raw_is_left_on_the_disk_in_the_log_or_on_a_page() {
    let graph = Graph::start().await;
    graph
        .sandbox
        .set_faults("status=503".parse::<Faults>().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("pixel-relay.toml");
    let store = folder.path().join("store");
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
         [log]\nlevel = \"trace\"\n[ingest]\nsecret = \"{SECRET}\"\napi_keys = [\"{API_KEY}\"]\n\
         [queue]\npath = \"{}\"\nmin_free_disk = \"1MiB\"\n[meta]\nurl = \"http://{}\"\n{SYNCS}",
        store.display(),
        graph.address
    );
    fs::write(&config, text).unwrap();

    // Nothing is delivered, so everything is in the store, and in its log after a crash.
    let daemon = DaemonProcess::start(&config);
    send_everything(&daemon).await;
    assert_pages_are_clean(&daemon).await;
    assert!(assert_folder_is_clean(&store) > 0, "the test sees no row");
    daemon.kill();
    assert!(assert_folder_is_clean(&store) > 0, "the test sees no row");

    // Delivered, refused, retried, traced, exported.
    let faults = "poison=Poison,next:error=400:100,next:status=502:html,next:reset_after";
    graph.sandbox.set_faults(faults.parse::<Faults>().unwrap());
    let daemon = DaemonProcess::start(&config);
    send_everything(&daemon).await;
    graph.sandbox.wait_for(14).await;
    for arguments in [
        &["dead", "list"][..],
        &["dead", "export"],
        &["dead", "retry", "--all"],
        &["dead", "list"],
        &["trace", "good 1", "--json"],
        &["trace", "search"],
        &["check"],
    ] {
        let config = config.clone();
        let ran = tokio::task::spawn_blocking(move || process::command(&config, arguments, b""));
        let ran = ran.await.unwrap();
        let said = format!("{}{}", ran.data, ran.words);
        assert_eq!(ran.code, 0, "{said}");
        if arguments != ["check"] {
            assert!(!said.is_empty());
        }
        assert_clean(&arguments.join(" "), said.as_bytes());
    }
    assert_pages_are_clean(&daemon).await;
    assert_folder_is_clean(&store);
    stopped(daemon).await;
    assert_folder_is_clean(&store);
    // Everything that arrived is hers.
    let arrived = graph.accepted();
    assert!(arrived.len() >= 14, "{}", arrived.len());
    assert_clean("what arrived", Value::from(arrived).to_string().as_bytes());
}
