//! From the webhook to the simulated Graph endpoint: what arrives, in which batches.

use pixel_relay::sandbox::faults::Faults;
use serde_json::json;

use crate::process::DaemonProcess;
use crate::storage::place;
use crate::support::{Daemon, Graph, PLAIN_SYNC, SECRET, client, event};

#[tokio::test(flavor = "multi_thread")]
async fn an_event_becomes_a_batch_that_meta_accepts() {
    let graph = Graph::start().await;
    let daemon = Daemon::start(&graph, PLAIN_SYNC).await;
    let (status, answer) = daemon.post(event("one").to_string()).await;
    assert_eq!((status, &answer["queued"]), (200, &json!(1)), "{answer}");
    graph.sandbox.wait_for(1).await;

    let accepted = graph.accepted();
    assert_eq!(accepted[0]["event_name"], "Sign Up");
    assert_eq!(accepted[0]["event_id"], "one");
    daemon
        .until("pixel_relay_outcomes_total", &["delivered"], 1.0)
        .await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_events_go_out_in_few_batches_of_at_most_a_thousand() {
    let graph = Graph::start().await;
    let daemon = Daemon::start(
        &graph,
        "[sync.web]\npixel_id = \"1001\"\naccess_token = \"test-token\"\n\
         [sync.web.delivery]\nmax_batch_delay = \"200ms\"\nmax_batch_bytes = \"4MiB\"\n",
    )
    .await;
    let events: Vec<_> = (0..2500)
        .map(|number| event(&format!("e{number}")))
        .collect();
    let (status, answer) = daemon.post(serde_json::to_vec(&events).unwrap()).await;
    assert_eq!((status, &answer["queued"]), (200, &json!(2500)), "{answer}");
    graph.sandbox.wait_for(2500).await;

    let stats = graph.sandbox.stats();
    assert_eq!(stats.accepted, 2500);
    assert_eq!(stats.largest_batch, 1000);
    assert!(stats.requests <= 5, "{stats:?}");
    daemon
        .until("pixel_relay_outcomes_total", &["delivered"], 2500.0)
        .await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sync_has_its_own_pixel_and_mapping() {
    let graph = Graph::start().await;
    let daemon = Daemon::start(
        &graph,
        "[sync.shop]\npixel_id = \"1\"\naccess_token = \"test-token\"\n\
         [sync.shop.delivery]\nmax_batch_delay = \"10ms\"\n\
         [sync.blog]\npixel_id = \"2\"\naccess_token = \"test-token\"\n\
         [sync.blog.events]\n\"Sign Up\" = \"Lead\"\n\
         [sync.blog.delivery]\nmax_batch_delay = \"10ms\"\n",
    )
    .await;
    let mut other = event("other");
    other["event_type"] = json!("Song Played");
    let body = json!([event("both"), other]).to_string();
    let (status, answer) = daemon.post(body).await;
    assert_eq!(status, 200);
    assert_eq!(
        (&answer["queued"], &answer["filtered"]),
        (&json!(3), &json!(1)),
        "{answer}"
    );
    // The webhook of one sync reaches that sync alone.
    let (status, _) = daemon
        .post_to("/webhook/blog", event("blog only").to_string())
        .await;
    assert_eq!(status, 200);
    graph.sandbox.wait_for(4).await;

    let mut names: Vec<_> = graph
        .accepted()
        .iter()
        .map(|event| {
            format!(
                "{}/{}",
                event["event_id"].as_str().unwrap(),
                event["event_name"].as_str().unwrap()
            )
        })
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "blog only/Lead",
            "both/Lead",
            "both/Sign Up",
            "other/Song Played"
        ]
    );
    daemon
        .until("pixel_relay_outcomes_total", &["delivered"], 4.0)
        .await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pixel_at_a_standstill_does_not_slow_another() {
    let graph = Graph::start().await;
    graph
        .sandbox
        .set_faults("1/hang".parse::<Faults>().unwrap());
    let daemon = Daemon::start(
        &graph,
        "[sync.stuck]\npixel_id = \"1\"\naccess_token = \"test-token\"\n\
         [sync.stuck.delivery]\nmax_batch_delay = \"10ms\"\n\
         [sync.well]\npixel_id = \"2\"\naccess_token = \"test-token\"\n\
         [sync.well.delivery]\nmax_batch_delay = \"10ms\"\nrequests_per_second = \"unlimited\"\n",
    )
    .await;
    for number in 0..50 {
        let (status, _) = daemon.post(event(&format!("e{number}")).to_string()).await;
        assert_eq!(status, 200);
    }
    daemon
        .until("pixel_relay_outcomes_total", &["well", "delivered"], 50.0)
        .await;
    assert_eq!(
        daemon.metric("pixel_relay_queue_events", &["stuck"]).await,
        50.0
    );
    daemon.assert_law().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_event_is_delivered_once_also_across_a_restart() {
    let graph = Graph::start().await;
    let daemon = Daemon::start(&graph, PLAIN_SYNC).await;
    let body = event("once").to_string();
    assert_eq!(daemon.post(body.clone()).await.1["queued"], 1);
    assert_eq!(daemon.post(body.clone()).await.1["duplicate"], 1);
    daemon
        .until("pixel_relay_outcomes_total", &["delivered"], 1.0)
        .await;
    let daemon = daemon.restart().await;
    assert_eq!(daemon.post(body).await.1["duplicate"], 1);
    assert_eq!(
        daemon
            .metric("pixel_relay_outcomes_total", &["duplicate"])
            .await,
        2.0
    );
    assert_eq!(
        daemon.metric("pixel_relay_events_taken_total", &[]).await,
        3.0
    );
    daemon.stop().await;
    assert_eq!(graph.accepted().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_tells_the_wait_that_holds() {
    let graph = Graph::start().await;
    let faults = "throttle=80004:3s:retry_after,usage_app=100";
    graph.sandbox.set_faults(faults.parse::<Faults>().unwrap());
    let (_folder, config) = place(&graph);
    let mut daemon = DaemonProcess::start(&config);
    let url = format!("{}/webhook", daemon.public);
    let request = client().post(url).header("authorization", SECRET);
    let answer = request.body(event("one").to_string()).send().await;
    assert_eq!(answer.unwrap().status(), 200);
    let line = tokio::task::spawn_blocking(move || {
        let line = daemon.wait_for_line("rate limit is reached, nothing is sent");
        daemon.kill();
        line
    });
    let line = line.await.unwrap();
    assert!(
        line.contains("nothing is sent to the pixel for 60 s"),
        "{line}"
    );
    assert!(!line.contains("for 3 s"), "{line}");
}
