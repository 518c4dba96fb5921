//! Two pixels, one of them down for good: the other's delay does not move.
//!
//! The test prints the delays and their ratio, but does not check them, since they depend on the machine. It
//! checks that every event of the working pixel arrives while all events of the other wait.

use pixel_relay::clock::{Clock as _, SystemClock};
use pixel_relay::sandbox::faults::Faults;

use crate::support::{Daemon, Graph, event};

const SYNCS: &str = "[sync.down]\npixel_id = \"1\"\naccess_token = \"test-token\"\n\
    [sync.down.delivery]\nmax_batch_delay = \"10ms\"\ntimeout = \"1s\"\n\
    requests_per_second = \"unlimited\"\n\
    [sync.well]\npixel_id = \"2\"\naccess_token = \"test-token\"\n\
    [sync.well.delivery]\nmax_batch_delay = \"10ms\"\nrequests_per_second = \"unlimited\"\n";

/// Events of one measurement, sent one after the other.
const EVENTS: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn a_pixel_that_is_down_for_good_does_not_delay_another() {
    let graph = Graph::start().await;
    let daemon = Daemon::start(&graph, SYNCS).await;
    let mut delays = Vec::new();
    for (number, faults) in ["", "1/hang", "1/status=503", "1/reset_after"]
        .iter()
        .enumerate()
    {
        graph.sandbox.set_faults(faults.parse::<Faults>().unwrap());
        let delay = median_delay(&graph, &daemon, number).await;
        println!("the other pixel `{faults}`: half of the events arrive within {delay} ms");
        delays.push(delay);
    }
    let (alone, worst) = (delays[0], delays[1..].iter().max().unwrap());
    println!(
        "ratio of the delay beside a dead pixel to the delay beside a living one: {:.2}",
        f64::from(*worst) / f64::from(alone.max(1))
    );
    // Nothing for the other pixel got through hangs and server errors.
    assert!(daemon.metric("pixel_relay_queue_events", &["down"]).await > 0.0);
    graph.sandbox.set_faults(Faults::default());
    daemon.stop().await;
}

/// Sends events one by one; returns the median time from sending to arrival, in milliseconds.
async fn median_delay(graph: &Graph, daemon: &Daemon, round: usize) -> u32 {
    let mut sent = Vec::new();
    for number in 0..EVENTS {
        let id = format!("{round}-{number}");
        sent.push((id.clone(), SystemClock.now().0));
        assert_eq!(daemon.post(event(&id).to_string()).await.0, 200);
    }
    let all = (EVENTS * (round + 1)) as u64;
    graph
        .sandbox
        .wait_until(|stats| {
            stats
                .accepted_by_pixel
                .get("2")
                .is_some_and(|well| *well >= all)
        })
        .await;
    let arrived = graph.sandbox.records(usize::MAX, Some("2"));
    let mut delays: Vec<i64> = sent
        .iter()
        .map(|(id, sent_at)| {
            let arrived = arrived
                .iter()
                .find(|accepted| accepted.event["event_id"] == **id);
            arrived.expect("it arrived").received_at_ms - sent_at
        })
        .collect();
    delays.sort_unstable();
    u32::try_from(delays[EVENTS / 2]).unwrap_or(0)
}
