//! The real program on a clock that is wrong, or that is set while it runs: what is ready is sent, nothing is lost,
//! and the operator hears of it.

use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::preload::Shim;
use crate::process::{DaemonProcess, program};
use crate::support::{Graph, PLAIN_SYNC, config_text};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
/// Back from now this is little later than 1970, where the clock of a machine stands that was never set.
const FIFTY_YEARS: i64 = 50 * 365 * DAY;

/// A Graph endpoint whose clock is right, and what a daemon needs whose clock is not.
struct FalseTime {
    graph: Graph,
    shim: Shim,
    folder: TempDir,
}

impl FalseTime {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            graph: Graph::start().await,
            shim: Shim::new(folder.path()),
            folder,
        }
    }

    fn start(&self) -> DaemonProcess {
        let config = self.folder.path().join("pixel-relay.toml");
        let store = self.folder.path().join("store");
        std::fs::write(&config, config_text(self.graph.address, &store, PLAIN_SYNC)).unwrap();
        let mut command = program();
        command.args(["run", "--config"]).arg(&config);
        command.envs(self.shim.environment());
        DaemonProcess::start_as(command)
    }

    /// Waits until this many events reached Meta.
    async fn delivered(&self, events: u64) {
        let arrived =
            tokio::time::timeout(Duration::from_secs(60), self.graph.sandbox.wait_for(events));
        assert!(arrived.await.is_ok(), "{:?}", self.graph.sandbox.stats());
    }
}

/// The health report, once the condition holds.
async fn health_where(daemon: &DaemonProcess, holds: impl Fn(&Value) -> bool) -> Value {
    let waiting = async {
        loop {
            let page: Value = serde_json::from_str(&daemon.admin_text("/health").await).unwrap();
            if holds(&page) {
                return page;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(60), waiting).await;
    in_time.expect("the health report changes")
}

fn skew(page: &Value) -> Option<i64> {
    page["clock"]["skew_seconds"].as_i64()
}

fn is_near(seconds: Option<i64>, expected: i64) -> bool {
    seconds.is_some_and(|seconds| (seconds - expected).abs() <= 3)
}

/// The words of a report that warns of the clock, and of nothing else.
#[track_caller]
fn warning(page: &Value) -> &str {
    assert_eq!(page["status"], "warning", "{page}");
    assert_eq!(page["problems"].as_array().map(Vec::len), Some(1), "{page}");
    page["problems"][0].as_str().unwrap()
}

async fn end(daemon: DaemonProcess) -> String {
    daemon.signal("TERM");
    let (code, log) = tokio::task::spawn_blocking(|| daemon.wait()).await.unwrap();
    assert_eq!(code, Some(0), "{log}");
    log
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_back_while_the_daemon_runs_holds_nothing_up() {
    let time = FalseTime::new().await;
    let daemon = time.start();
    let page_before = health_where(&daemon, |page| skew(page).is_some()).await;
    assert_eq!(page_before["status"], "ok", "{page_before}");
    assert_eq!(daemon.post_event("before").await, 200);
    time.delivered(1).await;

    time.shim.set_clock(-2 * HOUR);
    assert_eq!(daemon.post_event("behind").await, 200);
    time.delivered(2).await;
    let wrong = health_where(&daemon, |page| is_near(skew(page), -2 * HOUR)).await;
    let words = warning(&wrong);
    assert!(
        words.contains("behind the time that Meta's answers tell"),
        "{words}"
    );
    let metrics = daemon.admin_text("/metrics").await;
    let shown = metrics
        .lines()
        .find_map(|line| line.strip_prefix("pixel_relay_clock_skew_seconds "));
    let shown: f64 = shown.unwrap().parse().unwrap();
    assert!((shown + 7200.0).abs() < 4.0, "{shown}");
    // The watch has to see it before it ends.
    tokio::time::sleep(Duration::from_secs(2)).await;

    time.shim.set_clock(0);
    let right = health_where(&daemon, |page| page["status"] == "ok").await;
    assert!(is_near(skew(&right), 0), "{right}");
    assert_eq!(daemon.post_event("right").await, 200);
    time.delivered(3).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let log = end(daemon).await;
    for words in ["behind the time that Meta", "clock is right again"] {
        assert_eq!(log.matches(words).count(), 1, "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_queued_is_sent_whatever_the_clock_says_at_the_start() {
    for wrong in [8 * DAY, FIFTY_YEARS, -2 * HOUR, -FIFTY_YEARS] {
        let time = FalseTime::new().await;
        time.graph.sandbox.set_faults("status=503".parse().unwrap());
        let daemon = time.start();
        assert_eq!(daemon.post_event("one").await, 200);
        assert_eq!(daemon.post_event("two").await, 200);
        end(daemon).await;

        time.shim.set_clock(wrong);
        time.graph.sandbox.set_faults("".parse().unwrap());
        let daemon = time.start();
        time.delivered(2).await;
        let page = health_where(&daemon, |page| is_near(skew(page), wrong)).await;
        warning(&page);
        // Events of the present are what they are by the right time.
        assert_eq!(daemon.post_event("three").await, 200);
        time.delivered(3).await;
        assert_eq!(time.graph.sandbox.stats().repeats, 0);
        end(daemon).await;
    }
}

/// A second that comes twice, and one that is left out, as before and after a second that the day is longer.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_that_comes_twice_costs_nothing() {
    let time = FalseTime::new().await;
    let daemon = time.start();
    health_where(&daemon, |page| skew(page).is_some()).await;
    for (round, off) in [-1, 0, 1, 0, -1].into_iter().enumerate() {
        assert_eq!(daemon.post_event(&format!("before-{round}")).await, 200);
        time.shim.set_clock(off);
        assert_eq!(daemon.post_event(&format!("after-{round}")).await, 200);
        time.delivered(2 * (round as u64 + 1)).await;
    }
    let page = health_where(&daemon, |page| page["status"] == "ok").await;
    assert!(is_near(skew(&page), 0), "{page}");
    assert_eq!(time.graph.sandbox.stats().repeats, 0);
    assert!(!end(daemon).await.contains("clock is"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_again_and_again_holds_nothing_up() {
    let time = FalseTime::new().await;
    let daemon = time.start();
    health_where(&daemon, |page| skew(page).is_some()).await;
    for (round, off) in [
        -HOUR,
        -2 * HOUR,
        8 * DAY,
        -30 * DAY,
        HOUR,
        -FIFTY_YEARS,
        0,
        -5,
        5,
    ]
    .into_iter()
    .enumerate()
    {
        time.shim.set_clock(off);
        assert_eq!(daemon.post_event(&format!("round-{round}")).await, 200);
        time.delivered(round as u64 + 1).await;
    }
    assert_eq!(time.graph.sandbox.stats().repeats, 0);
    let log = end(daemon).await;
    assert!(!log.contains("\"level\":\"ERROR\""), "{log}");
}
