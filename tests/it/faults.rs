//! A fault of the program costs what was being done: the rest goes on, or the process ends in order.

use std::backtrace::Backtrace;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pixel_relay::clock::{Clock, SystemClock, UnixMillis};
use serde_json::Value;

use crate::support::{Daemon, Graph, PLAIN_SYNC, config_text, event};

/// A clock that fails a given part of the program when that asks for the time.
#[derive(Debug)]
struct FailingClock {
    part: &'static str,
    /// How often it will.
    left: AtomicUsize,
}

impl FailingClock {
    fn of(part: &'static str) -> Arc<Self> {
        let left = AtomicUsize::new(0);
        Arc::new(Self { part, left })
    }

    fn fail(&self, times: usize) {
        self.left.store(times, Ordering::SeqCst);
    }
}

impl FailingClock {
    fn may_fail(&self) {
        let fails = self.left.load(Ordering::SeqCst) > 0
            && Backtrace::force_capture().to_string().contains(self.part)
            && (self.left)
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                    left.checked_sub(1)
                })
                .is_ok();
        assert!(!fails, "the clock fails");
    }
}

impl Clock for FailingClock {
    fn now(&self) -> UnixMillis {
        self.may_fail();
        SystemClock.now()
    }

    fn uptime(&self) -> Duration {
        self.may_fail();
        SystemClock.uptime()
    }

    fn unconfirmed_for(&self) -> Option<Duration> {
        SystemClock.unconfirmed_for()
    }
}

async fn start(graph: &Graph, clock: &Arc<FailingClock>) -> Daemon {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let config = config_text(graph.address, folder.path(), PLAIN_SYNC);
    Daemon::start_at(folder, config, Arc::clone(clock) as Arc<dyn Clock>).await
}

async fn health(daemon: &Daemon) -> Value {
    serde_json::from_str(&daemon.admin_text("/health").await).unwrap()
}

const PANICS: &str = "pixel_relay_panics_total";

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_that_fails_begins_anew_and_loses_nothing() {
    // When it takes an answer, the events are with Meta, and the lane does not know it yet.
    for part in ["Lane::on_answer", "Lane::publish"] {
        let graph = Graph::start().await;
        let clock = FailingClock::of(part);
        let daemon = start(&graph, &clock).await;
        assert_eq!(daemon.post(event("before").to_string()).await.0, 200);
        graph.sandbox.wait_for(1).await;
        clock.fail(2);
        for id in ["one", "two", "three"] {
            assert_eq!(daemon.post(event(id).to_string()).await.0, 200);
        }
        daemon.until(PANICS, &["part=\"lane\""], 2.0).await;
        assert_eq!(daemon.post(event("after").to_string()).await.0, 200);
        let delivered = ["outcome=\"delivered\""];
        daemon
            .until("pixel_relay_outcomes_total", &delivered, 5.0)
            .await;
        for id in ["before", "one", "two", "three", "after"] {
            let times = graph.sandbox.times_accepted("1001", "Sign Up", id);
            assert!(times >= 1, "{part}, {id}: {times}");
        }
        let health = health(&daemon).await;
        assert_eq!(health["status"], "warning");
        let problem = health["problems"][0].as_str().unwrap();
        assert!(problem.contains("begun anew 2 times"), "{problem}");
        assert!(problem.contains("the clock fails"), "{problem}");
        daemon.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_that_fails_again_and_again_ends_the_daemon_in_order() {
    let graph = Graph::start().await;
    let clock = FailingClock::of("Lane::on_answer");
    let daemon = start(&graph, &clock).await;
    let (folder, config) = (Arc::clone(&daemon.folder), daemon.config_file());
    clock.fail(3);
    for id in ["one", "two"] {
        assert_eq!(daemon.post(event(id).to_string()).await.0, 200);
    }
    let error = daemon.ended().await.unwrap_err();
    let told = format!("{error:#}");
    assert!(told.contains("failed again and again"), "{told}");
    // It has left the store, with everything in it.
    let config = std::fs::read_to_string(config).unwrap();
    let daemon = Daemon::start_on(folder, config).await;
    let delivered = ["outcome=\"delivered\""];
    daemon
        .until("pixel_relay_outcomes_total", &delivered, 2.0)
        .await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_fails_is_answered_and_costs_no_other() {
    let graph = Graph::start().await;
    let clock = FailingClock::of("pixel_relay::ingest::");
    let daemon = start(&graph, &clock).await;
    clock.fail(1);
    let (status, answer) = daemon.post(event("one").to_string()).await;
    assert_eq!((status, answer["error"].as_str()), (500, Some("internal")));
    assert_eq!(daemon.post(event("one").to_string()).await.0, 200);
    assert_eq!(daemon.metric(PANICS, &["part=\"request\""]).await, 1.0);
    graph.sandbox.wait_for(1).await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_fails_begins_anew() {
    let graph = Graph::start().await;
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let config = config_text(graph.address, folder.path(), PLAIN_SYNC)
        .replace("[queue]", "silence_after = \"1s\"\n[queue]");
    let clock = FailingClock::of("SilenceWatch");
    clock.fail(2);
    let shared = Arc::clone(&clock) as Arc<dyn Clock>;
    let daemon = Daemon::start_at(folder, config, shared).await;
    daemon.until(PANICS, &["part=\"watch\""], 2.0).await;
    assert_eq!(daemon.post(event("one").to_string()).await.0, 200);
    graph.sandbox.wait_for(1).await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_fails_ends_the_daemon() {
    let graph = Graph::start().await;
    let clock = FailingClock::of("queue::writer::");
    let daemon = start(&graph, &clock).await;
    let (folder, config) = (Arc::clone(&daemon.folder), daemon.config_file());
    assert_eq!(daemon.post(event("one").to_string()).await.0, 200);
    clock.fail(1);
    // Which of its parts sees it first is open.
    daemon.ended().await.unwrap_err();
    let config = std::fs::read_to_string(config).unwrap();
    let daemon = Daemon::start_on(folder, config).await;
    graph.sandbox.wait_for(1).await;
    let delivered = ["outcome=\"delivered\""];
    daemon
        .until("pixel_relay_outcomes_total", &delivered, 1.0)
        .await;
    daemon.stop().await;
}
