//! The pages, and the reference that is written from them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::clock::{ClockSkew, CorrectedClock, TestClock, UnixMillis};
use crate::config::SyncName;
use crate::config::fields::WebsiteField;
use crate::config::load::from_toml;
use crate::http::{ConnectionLimits, HttpServer};
use crate::normalize::field::UserDataField;
use crate::outcome::Reason;
use crate::queue::DamageLog;
use crate::queue::quota::StoreStats;
use crate::queue::totals::{Removal, SyncTotals};
use crate::telemetry::metrics::{Endpoint, LaneState, PanickedPart};

/// A family of metrics, as a page shows it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Family {
    kind: String,
    help: String,
    labels: Vec<String>,
    samples: usize,
}

/// Reads a page strictly, by the rules that both text formats share.
fn parse(page: &str, counters_end_in_total: bool) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    for line in page.lines() {
        if line == "# EOF" {
            break;
        } else if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap();
            current = name.to_owned();
            let family = families.entry(current.clone()).or_default();
            assert_eq!(family, &Family::default(), "{name} comes twice");
            family.help = help.to_owned();
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(name, current);
            families.get_mut(name).unwrap().kind = kind.to_owned();
        } else {
            let end = line.find(['{', ' ']).unwrap();
            let (name, rest) = line.split_at(end);
            let family = families.get_mut(&current).unwrap();
            let suffix = name.strip_prefix(&current).unwrap();
            match family.kind.as_str() {
                "counter" if counters_end_in_total => assert_eq!(suffix, "_total"),
                "counter" | "gauge" => assert_eq!(suffix, ""),
                "histogram" => assert!(["_bucket", "_sum", "_count"].contains(&suffix)),
                other => panic!("{other}"),
            }
            let (labels, value) = match rest.strip_prefix('{') {
                Some(rest) => rest.rsplit_once("} ").unwrap(),
                None => ("", rest.trim_start()),
            };
            value.parse::<f64>().unwrap();
            for label in labels.split("\",").filter(|label| !label.is_empty()) {
                let (key, _) = label.split_once("=\"").unwrap();
                if key != "le" && !family.labels.iter().any(|label| label == key) {
                    family.labels.push(key.to_owned());
                }
            }
            family.samples += 1;
        }
    }
    families
}

/// A page on which every metric has a value.
fn full_page() -> String {
    let web = SyncName::new("web").unwrap();
    let metrics = Metrics::new();
    metrics.received(Endpoint::Webhook, 3);
    metrics.missed(&web, "disk_low", 2);
    metrics.refused("unauthorized");
    metrics.connections("public");
    metrics.delivery(&web, "delivered", 0.2, 5);
    metrics.end_to_end(&web, 1.5);
    metrics.meta_usage(&web, "call_count", 28.0);
    metrics.lane_state(&web, LaneState::Running);
    metrics.panicked(PanickedPart::Lane);
    let coverage = metrics.coverage(&web, ["Order \"Completed\""]);
    coverage.mapped("Order \"Completed\"", [UserDataField::Email], []);
    coverage.mapped("else", [], WebsiteField::ALL.iter().copied());
    coverage.dropped("ph", "not_a_phone_number");
    let totals = SyncTotals {
        taken: 9,
        dead_retried: 1,
        ended: [(Reason::Accepted, 5), (Reason::TooOld, 2)].into(),
        dead_removed: [(Removal::Aged, 1)].into(),
        queued: 2,
        dead: 1,
        profiles: 3,
        profile_bytes: 900,
    };
    let sync = SyncView {
        enabled: true,
        lane: None,
        ready_bytes: 0,
        last_event: None,
        silence: Some(Duration::from_secs(1)),
        missed: None,
    };
    metrics.render(HealthMetrics(HealthView {
        skew: Some(ClockSkew(1500)),
        syncs: [(web.clone(), sync)].into(),
        totals: [(web.clone(), totals)].into(),
        stats: StoreStats {
            used_bytes: 4096,
            headroom: Some(Duration::from_secs(60)),
            duplicate_window: Duration::from_secs(60),
            damage: DamageLog::default(),
            oldest: [(web, UnixMillis(0))].into(),
        },
        ..HealthView::default()
    }))
}

#[test]
fn the_page_is_whole_in_both_formats() {
    let page = full_page();
    assert!(page.ends_with("\n# EOF\n"));
    let open = parse(&page, true);
    let text = prometheus_text(&page);
    assert!(!text.contains("# EOF"));
    assert!(text.contains("\npixel_relay_queue_bytes 4096.0\n"));
    let old = parse(&text, false);
    assert_eq!(open.len(), old.len());
    for (name, family) in &open {
        assert!(family.samples > 0, "{name}");
        assert!(family.help.ends_with('.'), "{name}");
        let old_name = match family.kind.as_str() {
            "counter" => format!("{name}_total"),
            _ => name.clone(),
        };
        assert_eq!(old.get(&old_name), Some(family), "{name}");
    }
    assert!(
        page.contains(r#"{sync="web",event="Order \"Completed\""} 1"#),
        "{page}"
    );
    assert!(page.contains(
        r#"pixel_relay_outcomes_total{sync="web",outcome="invalid",reason="too_old"} 2"#
    ));
}

#[test]
fn what_has_no_value_is_not_on_the_page() {
    let page = Metrics::new().render(HealthMetrics(HealthView::default()));
    let names: Vec<String> = parse(&page, true).into_keys().collect();
    assert_eq!(
        names,
        [
            "pixel_relay_duplicate_window_seconds",
            "pixel_relay_queue_bytes",
            "pixel_relay_store_damage"
        ]
    );
}

#[test]
fn the_reference_lists_every_metric() {
    let mut reference = String::from(
        "# Metrics\n\n\
         <!-- Written by a test from the metrics themselves: change the help text there. -->\n\n\
         On the operators' listener, `/metrics` gives these in the text format of Prometheus, or of\n\
         OpenMetrics where that is asked for. `event` is a name of the sync's event table; all others\n\
         are `other`. Events taken, outcomes and dead letters are counted in the store and survive a\n\
         restart; the other counters begin at zero.\n\n\
         | metric | type | labels | meaning |\n| --- | --- | --- | --- |\n",
    );
    let page = prometheus_text(&full_page());
    let families = parse(&page, false);
    for line in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        let family = &families[name];
        let labels: Vec<String> = family.labels.iter().map(|key| format!("`{key}`")).collect();
        let labels = labels.join(", ");
        let help = &family.help;
        writeln!(reference, "| `{name}` | {kind} | {labels} | {help} |").unwrap();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/METRICS.md");
    if fs::read_to_string(&path).unwrap_or_default() != reference {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, reference).unwrap();
        panic!("docs/METRICS.md was out of date and is written anew: commit it");
    }
}

struct Running {
    address: SocketAddr,
    queue: Queue,
    _folder: TempDir,
    _tasks: JoinSet<()>,
}

async fn start(config: &str) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let mut config = from_toml(config, &[]).unwrap();
    config.queue.path = folder.path().join("data");
    config.queue.min_free_disk = Some(0);
    let clock = Arc::new(TestClock::at(UnixMillis::from_seconds(1_790_000_000)));
    let names: Vec<SyncName> = config.syncs.keys().cloned().collect();
    let queue = Queue::open(&config.queue, &names, clock.clone()).unwrap();
    let metrics = Arc::new(Metrics::new());
    let last_seen = Arc::new(LastSeen::default());
    last_seen.watch(names, clock.uptime());
    let (shared, lanes) = (queue.clone(), LaneHandles::default());
    let config = LiveConfig::new(config);
    let connections = metrics.connections("admin");
    let state = AdminState::new(
        config.clone(),
        shared,
        lanes,
        metrics,
        last_seen,
        Arc::new(CorrectedClock::new(clock)),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    let stop = CancellationToken::new();
    let server = HttpServer {
        limits: ConnectionLimits::default(),
        config,
        authenticator: Arc::clone(state.authenticator()),
        metrics: connections,
        panics: Counter::default(),
        router: router(Arc::new(state)),
    };
    tasks.spawn(server.serve(listener, stop));
    Running {
        address,
        queue,
        _folder: folder,
        _tasks: tasks,
    }
}

impl Running {
    async fn get(&self, path: &str, headers: &str) -> (String, String) {
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }
}

const ONE_SYNC: &str =
    "[ingest]\nsecret = \"s\"\n[sync.web]\npixel_id = \"1\"\naccess_token = \"t\"\n";

#[tokio::test]
async fn the_format_is_the_one_that_was_asked_for() {
    let running = start(ONE_SYNC).await;
    let (head, page) = running.get("/metrics", "").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(
        head.contains("content-type: text/plain; version=0.0.4"),
        "{head}"
    );
    assert!(
        page.contains("\npixel_relay_silence_warning{sync=\"web\"} 0.0\n"),
        "{page}"
    );
    let wish = "accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n";
    let (head, page) = running.get("/metrics", wish).await;
    assert!(
        head.contains("content-type: application/openmetrics-text"),
        "{head}"
    );
    assert!(page.ends_with("# EOF\n"), "{page}");
}

#[tokio::test]
async fn health_fails_only_where_nothing_can_be_stored() {
    let running = start(ONE_SYNC).await;
    let (head, body) = running.get("/health", "").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(body.contains(r#""status": "ok""#), "{body}");
    running.queue.clone().close().await.unwrap();
    let (head, body) = running.get("/health", "").await;
    assert!(head.starts_with("HTTP/1.1 503"), "{head}");
    assert!(body.contains(r#""status": "failing""#), "{body}");
}

#[tokio::test]
async fn a_secret_guards_every_page() {
    let running = start(&format!("[admin]\nsecret = \"word\"\n{ONE_SYNC}")).await;
    for path in ["/health", "/metrics", "/none"] {
        for header in [
            "",
            "authorization: word\r\n",
            "authorization: Bearer wor\r\n",
        ] {
            let (head, _) = running.get(path, header).await;
            assert!(head.starts_with("HTTP/1.1 401"), "{path} {header} {head}");
        }
    }
    let (head, _) = running
        .get("/metrics", "authorization: Bearer word\r\n")
        .await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
}
