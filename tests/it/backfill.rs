//! Backfill takes history from export archives, and nothing twice.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder};
use pixel_relay::clock::{Clock as _, SystemClock, UnixMillis};
use pixel_relay::sandbox::faults::Faults;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::{Ran, command};
use crate::support::{Daemon, Graph, PLAIN_SYNC, config_text, event};

const HOUR_MILLIS: i64 = 3_600_000;

/// An event of this many hours ago, in the form of an export.
fn past(id: &str, hours: i64) -> Value {
    let mut event = event(id);
    event["event_time"] = json!(moment(hours).replace('T', " ").trim_end_matches('Z'));
    event
}

fn moment(hours_ago: i64) -> String {
    UnixMillis(SystemClock.now().0 - hours_ago * HOUR_MILLIS).to_string()
}

fn lines(events: &[Value]) -> Vec<u8> {
    events
        .iter()
        .flat_map(|event| format!("{event}\n").into_bytes())
        .collect()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(content).unwrap();
    packed.finish().unwrap()
}

/// An archive as a stream writes it: every entry deflated, its sizes behind it.
fn zip(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, content) in entries {
        let length = u16::try_from(name.len()).unwrap();
        let mut packed = DeflateEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(content).unwrap();
        let packed = packed.finish().unwrap();
        archive.extend(b"PK\x03\x04\x14\0\x08\0\x08\0");
        archive.extend([0; 16]);
        archive.extend(length.to_le_bytes());
        archive.extend([0; 2]);
        archive.extend(name.as_bytes());
        archive.extend(&packed);
        archive.extend(b"PK\x07\x08");
        for number in [
            crc32fast::hash(content) as usize,
            packed.len(),
            content.len(),
        ] {
            archive.extend(u32::try_from(number).unwrap().to_le_bytes());
        }
    }
    // The directory is not read.
    archive.extend(b"PK\x01\x02");
    archive
}

/// A daemon, and a folder for exports.
struct Scene {
    graph: Graph,
    daemon: Daemon,
    config: PathBuf,
    folder: TempDir,
}

impl Scene {
    async fn new(syncs: &str) -> Self {
        let graph = Graph::start().await;
        let daemon = Daemon::start(&graph, syncs).await;
        let config = daemon.config_file();
        Self {
            graph,
            daemon,
            config,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn file(&self, name: &str, content: &[u8]) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn backfill(&self, arguments: &[&str]) -> Ran {
        backfill(&self.config, arguments, b"")
    }

    async fn delivered(&self, count: f64) {
        let delivered = self
            .daemon
            .until("pixel_relay_outcomes_total", &["delivered"], count);
        delivered.await;
    }
}

fn backfill(config: &Path, arguments: &[&str], input: &[u8]) -> Ran {
    command(config, &[&["backfill"], arguments].concat(), input)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_an_export_is_taken_and_what_holds_no_events_is_passed_over() {
    let scene = Scene::new(PLAIN_SYNC).await;
    let events = |name: &str| {
        lines(&[
            past(&format!("{name}-1"), 1),
            past(&format!("{name}-2"), 30),
        ])
    };
    let archive = scene.file(
        "export.zip",
        &zip(&[
            ("123456/", Vec::new()),
            (
                "123456/123456_2026-11-20_7#0.json.gz",
                gzip(&events("first")),
            ),
            (
                "123456/123456_2026-11-20_7#1.json.gz",
                gzip(&events("second")),
            ),
            ("123456/complete", b"done".to_vec()),
            (
                "123456/-10000_2026-11-20_7.json.gz",
                gzip(b"{\"amplitude_id\":1}\n"),
            ),
        ]),
    );
    let packed = scene.file(
        "one.json.gz",
        &[gzip(&events("third")), gzip(&events("fourth"))].concat(),
    );
    let plain = scene.file("lines.ndjson", &events("fifth"));
    let ran = scene.backfill(&[&archive, &packed, &plain]);
    assert_eq!(ran.row(), json!({"queued": 10, "duplicates": 0}), "{ran:?}");
    assert!(ran.words.contains("passed over 2 files"), "{ran:?}");
    for (name, input) in [
        (
            "piped",
            zip(&[("p/p_2026-11-20_7#0.json.gz", gzip(&events("piped")))]),
        ),
        ("piped packed", gzip(&events("piped packed"))),
        ("piped plain", events("piped plain")),
    ] {
        let ran = backfill(&scene.config, &["-"], &input);
        assert_eq!(
            ran.row(),
            json!({"queued": 2, "duplicates": 0}),
            "{name}: {ran:?}"
        );
    }
    scene.delivered(16.0).await;
    assert_eq!(scene.graph.accepted().len(), 16);
    scene.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_in_the_last_days_is_not_sent_twice_though_the_window_is_short() {
    let graph = Graph::start().await;
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let config = config_text(graph.address, folder.path(), PLAIN_SYNC)
        .replace("[queue]\n", "[queue]\nduplicate_window = \"0s\"\n");
    let daemon = Daemon::start_on(Arc::clone(&folder), config.clone()).await;
    let streamed = past("streamed", 2);
    assert_eq!(daemon.post(streamed.to_string()).await.0, 200);
    let (file, input) = (daemon.config_file(), lines(&[streamed, past("history", 3)]));
    let ran = backfill(&file, &["-"], &input);
    assert_eq!(ran.row(), json!({"queued": 1, "duplicates": 1}), "{ran:?}");
    daemon
        .until("pixel_relay_outcomes_total", &["delivered"], 2.0)
        .await;
    daemon.stop().await;

    // Once more where no daemon runs.
    let ran = backfill(&file, &["-"], &input);
    assert_eq!(ran.row(), json!({"queued": 0, "duplicates": 2}), "{ran:?}");
    let daemon = Daemon::start_on(folder, config).await;
    assert_eq!(
        daemon
            .metric("pixel_relay_outcomes_total", &["duplicate"])
            .await,
        3.0
    );
    daemon.stop().await;
    assert_eq!(graph.accepted().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_meta_refused_gets_another_chance() {
    let scene = Scene::new(PLAIN_SYNC).await;
    let refusing = "poison=Sign Up".parse::<Faults>().unwrap();
    scene.graph.sandbox.set_faults(refusing);
    let file = scene.file("export.json", &lines(&[past("refused", 2)]));
    assert_eq!(scene.backfill(&[&file]).row()["queued"], 1);
    let daemon = &scene.daemon;
    daemon
        .until("pixel_relay_outcomes_total", &["rejected"], 1.0)
        .await;

    scene.graph.sandbox.set_faults(Faults::default());
    assert_eq!(
        scene.backfill(&[&file]).row(),
        json!({"queued": 1, "duplicates": 0})
    );
    scene.delivered(1.0).await;
    assert_eq!(
        daemon
            .metric("pixel_relay_dead_removed_total", &["replaced"])
            .await,
        1.0
    );
    // It is delivered, so it is not queued a third time.
    assert_eq!(
        scene.backfill(&[&file]).row(),
        json!({"queued": 0, "duplicates": 1})
    );
    scene.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_counts_by_name_and_stores_nothing() {
    let syncs = format!(
        "{PLAIN_SYNC}[sync.web.events]\n\"Sign Up\" = \"Lead\"\nEarly = {{}}\n\
        [sync.off]\nenabled = false\npixel_id = \"1\"\naccess_token = \"x\"\n"
    );
    let scene = Scene::new(&syncs).await;
    let named = |id: &str, name: &str, hours: i64| {
        let mut event = past(id, hours);
        event["event_type"] = json!(name);
        event
    };
    let mut content = lines(&[
        named("1", "Sign Up", 1),
        named("2", "Sign Up", 24 * 9),
        named("3", "Early", -2),
        named("4", "Song Played", 1),
        named("5", "Sign Up", 100),
    ]);
    content.extend(b"\n  \n{\"broken\n");
    let file = scene.file("export.json", &content);
    let ran = scene.backfill(&[&file, "--dry-run", "--since", &moment(24 * 20)]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let short: Vec<String> = ran
        .rows()
        .iter()
        .map(|row| {
            let counts =
                ["mapped", "filtered", "too_old", "invalid"].map(|name| row[name].to_string());
            format!(
                "{} {} {}",
                row["sync"].as_str().unwrap(),
                row["event"].as_str().unwrap(),
                counts.join(" ")
            )
        })
        .collect();
    assert_eq!(
        short,
        [
            "web (no name) 0 0 0 1",
            "web Early 0 0 0 1",
            "web Sign Up 2 0 1 0",
            "web Song Played 0 1 0 0",
        ]
    );
    assert_eq!(ran.rows()[1]["reasons"], json!({"in_future": 1}));
    let carried = json!({"client_ip_address": 2, "external_id": 2});
    assert_eq!(ran.rows()[2]["carried"], carried);
    let shares = "(of those mapped: client_ip_address 100 %, external_id 100 %)";
    assert!(ran.words.contains(shares), "{ran:?}");

    let since = scene.backfill(&[&file, "--dry-run", "--since", &moment(50)]);
    assert!(since.words.contains("2 from before --since"), "{since:?}");
    assert_eq!(
        scene
            .daemon
            .metric("pixel_relay_events_taken_total", &[])
            .await,
        0.0
    );
    scene.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_or_damaged_file_is_told_and_the_others_are_taken() {
    let scene = Scene::new(PLAIN_SYNC).await;
    let good = scene.file("good.json", &lines(&[past("good", 1)]));
    let table = scene.file("table.csv", b"user_id,event_type\n1,Sign Up\n");
    let many: Vec<Value> = (0..500)
        .map(|number| past(&format!("m{number}"), 1))
        .collect();
    let whole = zip(&[("m/m_2026-11-20_7#0.json.gz", gzip(&lines(&many)))]);
    let cut = scene.file("cut.zip", &whole[..whole.len() * 9 / 10]);
    let ran = scene.backfill(&[&table, &cut, &good]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.words.contains("table.csv: it is not an export"),
        "{ran:?}"
    );
    let part = "cut.zip: m/m_2026-11-20_7#0.json.gz: it is cut off";
    assert!(ran.words.contains(part), "{ran:?}");
    assert!(
        ran.words
            .contains("2 of 3 files are damaged, or no exports"),
        "{ran:?}"
    );
    let before = ran.rows()[0]["queued"].as_u64().unwrap();
    assert!(before > 1, "what was read counts: {ran:?}");

    // The whole file continues where the other was cut off.
    let whole = scene.file("whole.zip", &whole);
    let row = scene.backfill(&[&whole]).row();
    assert_eq!(row["queued"].as_u64().unwrap() + before, 501);
    assert_eq!(row["duplicates"].as_u64().unwrap(), before - 1);
    scene.delivered(501.0).await;

    let missing = scene.backfill(&["no/such.zip"]);
    assert_eq!(missing.code, 1);
    assert!(missing.words.contains("no/such.zip"), "{missing:?}");
    scene.daemon.stop().await;
}

/// Counts of a dry run: exit code, mapped, and neither filtered nor invalid.
fn dry_run(config: &Path, input: &[u8]) -> (i32, u64, u64, String) {
    let ran = backfill(config, &["-", "--dry-run", "--json"], input);
    let sum = |names: &[&str]| -> u64 {
        let counts = ran.rows();
        let counts = counts
            .iter()
            .flat_map(|row| names.iter().map(|name| row[*name].as_u64()));
        counts.flatten().sum()
    };
    let others = sum(&["filtered", "too_old", "invalid"]);
    (ran.code, sum(&["mapped"]), others, ran.words)
}

fn config_in(folder: &TempDir) -> PathBuf {
    let config = folder.path().join("pixel-relay.toml");
    let graph = "127.0.0.1:9".parse().unwrap();
    let store = folder.path().join("store");
    fs::write(&config, config_text(graph, &store, PLAIN_SYNC)).unwrap();
    config
}

#[test]
fn events_are_found_whatever_they_are_wrapped_in() {
    let folder = tempfile::tempdir().unwrap();
    let config = config_in(&folder);
    let two = [past("a", 1), past("b", 2)];
    let plain = lines(&two);
    let marked = [b"\xef\xbb\xbf", &plain[..]].concat();
    let array = serde_json::to_vec(&two).unwrap();
    let indented = serde_json::to_vec_pretty(&two).unwrap();
    let body = json!({"api_key": "k", "events": two})
        .to_string()
        .into_bytes();
    let export = |content: &[u8]| zip(&[("1/1_2026-11-20_7#0.json.gz", gzip(content))]);
    let mark = b"\xef\xbb\xbf";
    let split: Vec<&[u8]> = plain.split(|byte| *byte == b'\n').collect();
    let text = String::from_utf8(plain.clone()).unwrap();
    let utf_16 = format!("{}{text}", '\u{feff}');
    let utf_16: Vec<u8> = utf_16.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (input, expected) in [
        (marked.clone(), 2),
        ([&marked[..], &marked].concat(), 4),
        (gzip(&marked), 2),
        ([gzip(&marked), gzip(&marked)].concat(), 4),
        (export(&marked), 2),
        ([export(&plain), export(&plain)].concat(), 4),
        ([&plain[..], &gzip(&plain), &export(&plain)].concat(), 6),
        (array.clone(), 2),
        (indented.clone(), 2),
        (body, 2),
        (
            zip(&[("export", gzip(&plain)), ("more.zip", export(&plain))]),
            4,
        ),
        (gzip(&export(&plain)), 2),
        // Files whose last line has no end, and events that share a line.
        ([plain.trim_ascii_end(), &plain].concat(), 4),
        ([gzip(plain.trim_ascii_end()), gzip(&plain)].concat(), 4),
        ([plain.trim_ascii_end(), &gzip(&plain)].concat(), 4),
        (split.concat(), 2),
        ([array.clone(), array.clone()].concat(), 4),
        ([&plain[..], &indented, &array, &plain].concat(), 8),
        ([&mark[..], mark, &plain].concat(), 2),
        (utf_16, 2),
        // What describes the files beside it.
        (
            zip(&[
                ("a.json", plain.clone()),
                ("manifest.json", b"{\n  \"files\": [1, 2]\n}".to_vec()),
            ]),
            2,
        ),
    ] {
        let (code, mapped, others, words) = dry_run(&config, &input);
        assert_eq!((code, mapped, others), (0, expected, 0), "{words}");
    }
}

#[test]
fn a_damaged_part_is_named_and_costs_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let config = config_in(&folder);
    let hour = |hour: &str| gzip(&lines(&[past(hour, 1), past(&format!("{hour}b"), 2)]));
    let damaged = |damage: &dyn Fn(&mut Vec<u8>)| {
        let mut packed = hour("2");
        damage(&mut packed);
        zip(&[
            ("1/1_2026-11-20_1#0.json.gz", hour("1")),
            ("1/1_2026-11-20_2#0.json.gz", packed),
            (
                "__MACOSX/1/._1_2026-11-20_2#0.json.gz",
                b"\0\x05\x16\x07\0".to_vec(),
            ),
            ("1/1_2026-11-20_3#0.json.gz", hour("3")),
        ])
    };
    let (code, mapped, others, words) = dry_run(&config, &damaged(&|_| {}));
    assert_eq!((code, mapped, others), (0, 6, 0), "{words}");
    let passed = "passed over 1 file that holds no events: __MACOSX/";
    assert!(words.contains(passed), "{words}");
    for damage in [
        &|packed: &mut Vec<u8>| packed.truncate(packed.len() - 20),
        &|packed: &mut Vec<u8>| packed.fill(0),
        &|packed: &mut Vec<u8>| *packed = b"<html>busy</html>".to_vec(),
        &|packed: &mut Vec<u8>| {
            let checksum = packed.len() - 6;
            packed[checksum] ^= 1;
        },
    ] as [&dyn Fn(&mut Vec<u8>); 4]
    {
        let (code, mapped, _, words) = dry_run(&config, &damaged(damage));
        assert!(code == 1 && (4..=6).contains(&mapped), "{mapped}: {words}");
        assert!(
            words.contains("-: 1/1_2026-11-20_2#0.json.gz: it is "),
            "{words}"
        );
        assert!(words.contains("the file is damaged"), "{words}");
    }
}

#[test]
fn what_is_cut_off_or_fails_among_events_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let config = config_in(&folder);
    let events = [past("a", 1), past("b", 2), past("c", 3)];
    let plain = lines(&events);
    let array = serde_json::to_vec(&events).unwrap();
    let cut = |text: &[u8]| text[..text.len() - 30].to_vec();
    let answer = |before: bool| {
        let answer = &b"{\"error\":\"timeout\"}\n"[..];
        if before {
            [answer, &plain[..]].concat()
        } else {
            [&plain[..], answer].concat()
        }
    };
    let named = |name: &str, content: Vec<u8>| zip(&[("1.json", plain.clone()), (name, content)]);
    for (input, mapped, invalid, expected) in [
        (cut(&plain), 2, 1, "-: it is cut off"),
        (cut(&array), 2, 1, "-: it is cut off"),
        (named("2", cut(&plain)), 5, 1, "-: 2: it is cut off"),
        (answer(false), 3, 0, "-: among its events is the answer to"),
        (answer(true), 3, 0, "-: among its events is the answer to"),
        (named("2", answer(true)), 6, 0, "-: 2: among its events"),
        (
            named("2.json.bz2", b"BZh9\0".to_vec()),
            3,
            0,
            "-: 2.json.bz2: it is packed with bzip2",
        ),
        (
            named("2.json", b"{\"error\":1}".to_vec()),
            3,
            0,
            "-: 2.json: it is not an export",
        ),
        (
            named("2.json.gz", gzip(b"{\"a\":1}")),
            3,
            0,
            "-: 2.json.gz: it is not an export",
        ),
    ] {
        let (code, taken, others, words) = dry_run(&config, &input);
        assert_eq!((code, taken, others), (1, mapped, invalid), "{words}");
        assert!(words.contains(expected), "{words}");
    }
}

#[test]
fn website_events_that_meta_no_longer_pairs_are_told_beforehand() {
    let folder = tempfile::tempdir().unwrap();
    let config = config_in(&folder);
    let mut events = [past("a", 1), past("b", 50), past("c", 60)];
    for event in &mut events {
        event["platform"] = json!("Web");
    }
    let input = lines(&events);
    let ran = backfill(&config, &["-", "--dry-run", "--json"], &input);
    assert_eq!(ran.row()["may_count_twice"], 2, "{ran:?}");
    assert_eq!(
        ran.words.matches("warning: web: there are website").count(),
        1,
        "{ran:?}"
    );
    let sum = "2 of the mapped are website events older than 48 hours";
    assert!(ran.words.contains(sum), "{ran:?}");
    for (pixel, mapped, words) in [
        (
            true,
            1,
            "2 website events older than 48 hours are kept back",
        ),
        (false, 3, "3 mapped, 0 filtered, 0 too old"),
    ] {
        let text = fs::read_to_string(&config).unwrap();
        let text = text.replace(
            "[sync.web]\n",
            &format!("[sync.web]\nbrowser_pixel = {pixel}\n"),
        );
        let said = folder.path().join("said.toml");
        fs::write(&said, text).unwrap();
        let ran = backfill(&said, &["-", "--dry-run", "--json"], &input);
        assert_eq!(ran.row()["mapped"], mapped, "{ran:?}");
        assert_eq!(ran.row()["may_count_twice"], 0, "{ran:?}");
        assert!(
            ran.words.contains(words) && !ran.words.contains("warning"),
            "{ran:?}"
        );
    }
}

#[test]
fn what_holds_no_event_is_an_error_and_no_filtered_event() {
    let folder = tempfile::tempdir().unwrap();
    let config = config_in(&folder);
    let answer = br#"{"error":{"http_code":403,"type":"invalid_api_key","message":"of k"}}"#;
    let twin = || b"\0\x05\x16\x07\0".to_vec();
    for (input, expected) in [
        (
            answer.to_vec(),
            "-: it is not an export, but the answer to a request that failed (403, invalid_api_key)",
        ),
        (gzip(answer), "answer to a request that failed"),
        (
            b"<!DOCTYPE html>\n<html>".to_vec(),
            "-: it is not an export: a page",
        ),
        (Vec::new(), "-: it holds no event"),
        (b"\n\n".to_vec(), "-: it holds no event"),
        (b"\xff\xfe{\0}\0".to_vec(), "its JSON object names no event"),
        (b"BZh91AY&SY\0\0".to_vec(), "packed with bzip2"),
        (
            b"PK\x05\x06".iter().copied().chain([0; 18]).collect(),
            "-: it holds no event",
        ),
        (zip(&[("._a.json.gz", twin())]), "-: it holds no event"),
        (
            lines(&[json!({"amplitude_id": 1}), json!({"amplitude_id": 2})]),
            "none of its 2",
        ),
    ] {
        let (code, mapped, others, words) = dry_run(&config, &input);
        assert_eq!((code, mapped, others), (1, 0, 0), "{words}");
        assert!(words.contains(expected), "{words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_history_becomes_dead_letters_as_if_it_had_been_streamed() {
    let scene = Scene::new(PLAIN_SYNC).await;
    let mut purchase = past("p", 1);
    purchase["event_type"] = json!("Purchase");
    let whole = lines(&[past("good", 1), purchase, past("old", 24 * 30)]);
    let content = [&whole[..], b"{\"event_type\":\"x\",,}\n"].concat();
    let ran = scene.backfill(&[&scene.file("export.json", &content)]);
    assert_eq!(ran.row(), json!({"queued": 1, "duplicates": 0}));
    let letters = command(&scene.config, &["dead", "list"], b"").rows();
    let reasons: Vec<_> = letters
        .iter()
        .map(|row| row["reason"].as_str().unwrap())
        .collect();
    assert_eq!(
        reasons,
        ["purchase_without_value", "too_old", "malformed_json"]
    );
    // Once more, with one event fixed: no dead letter twice, and one fewer.
    let mended = String::from_utf8(whole).unwrap();
    let mended = mended.replace(
        "\"event_properties\":{}",
        "\"event_properties\":{\"value\":1}",
    );
    let purchase = "[sync.web.custom_data]\nvalue = \"event_properties.value\"\n\
        currency = { constant = \"USD\" }\n";
    let text = fs::read_to_string(&scene.config).unwrap() + purchase;
    let config = scene.file("mended.toml", text.as_bytes());
    let ran = backfill(Path::new(&config), &["-"], mended.as_bytes());
    assert_eq!(ran.row(), json!({"queued": 1, "duplicates": 1}), "{ran:?}");
    let letters = command(&scene.config, &["dead", "list"], b"").rows();
    let reasons: Vec<_> = letters
        .iter()
        .map(|row| row["reason"].as_str().unwrap())
        .collect();
    assert_eq!(reasons, ["malformed_json", "too_old"]);
    scene.daemon.stop().await;
}

#[test]
fn history_may_come_before_the_first_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let config = config_in(&folder);
    let ran = backfill(&config, &["-"], &lines(&[past("first", 1)]));
    assert_eq!(ran.row(), json!({"queued": 1, "duplicates": 0}));
    assert!(ran.words.contains("once the daemon runs"), "{ran:?}");
}
