//! Every fault as a client on the network meets it.

use std::error::Error as _;
use std::time::Duration;

use super::super::faults::Fault;
use super::super::reply;
use super::*;

#[tokio::test]
async fn answers_faults_in_their_form() {
    let served = Served::start().await;
    let html = |status| match status {
        200..600 => Answer::Other(status, reply::PAGE.to_owned()),
        _ => unreachable!("statuses of this table"),
    };
    let two = || vec![event("a"), event("b")];
    let cases = [
        ("status=503", Answer::Error(503, 2, None), 0),
        ("status=500:bare", Answer::Error(500, 2, None), 0),
        ("status=502:html", html(502), 0),
        ("status=504:empty", Answer::Other(504, String::new()), 0),
        ("html", html(200), 0),
        ("empty", Answer::Other(200, String::new()), 0),
        (
            "error=400:100:2804001",
            Answer::Error(400, 100, Some(2_804_001)),
            0,
        ),
        ("error=500:-3", Answer::Error(500, -3, None), 0),
        ("token_dead", Answer::Error(401, 190, Some(463)), 0),
        ("token_dead=500", Answer::Error(500, 190, Some(463)), 0),
        ("no_permission", Answer::Error(403, 200, None), 0),
        ("pixel_gone", Answer::Error(400, 100, Some(33)), 0),
        ("reduce=1", Answer::Error(500, 1, None), 0),
        ("reduce=2", Answer::Received(2), 2),
        ("too_large=100", Answer::Other(413, String::new()), 0),
        ("too_large=10000", Answer::Received(2), 2),
        ("short_count", Answer::Received(1), 2),
        ("zero_count", Answer::Received(0), 0),
        ("poison=Lead", Answer::Error(400, 100, Some(2_804_007)), 0),
        ("poison=lead", Answer::Received(2), 2),
        ("throttle=4:1m", Answer::Error(403, 4, None), 0),
        (
            "throttle=613:1m",
            Answer::Error(400, 613, Some(1_487_742)),
            0,
        ),
        ("throttle=17:1m", Answer::Error(400, 17, Some(2_446_079)), 0),
        (
            "throttle=80004:1m",
            Answer::Error(400, 80_004, Some(2_446_079)),
            0,
        ),
        ("block=1m", Answer::Error(400, 368, None), 0),
        ("22/status=503", Answer::Received(2), 2),
        (
            "next:hang_after, 11/next:status=503",
            Answer::Error(503, 2, None),
            0,
        ),
    ];
    for (faults, expected, taken) in cases {
        let before = served.sandbox.stats().accepted;
        served.faults(faults);
        assert_eq!(served.send(&two()).await, expected, "{faults}");
        assert_eq!(served.sandbox.stats().accepted - before, taken, "{faults}");
    }
}

#[tokio::test]
async fn a_transient_error_says_so() {
    let served = Served::start().await;
    served.faults("error=400:1234:transient");
    let response = served
        .post("11", &json!({"data": [event("a")]}))
        .send()
        .await;
    let body: Value = serde_json::from_str(&text(response.unwrap()).await).unwrap();
    assert_eq!(body["error"]["is_transient"], true);
    assert_eq!(body["error"]["type"], "OAuthException");
}

#[tokio::test]
async fn torn_connections_are_resets() {
    let served = Served::start().await;
    let post = || served.post("11", &json!({"data": [event("a")]})).send();
    for (fault, taken) in [(Fault::ResetBefore, 0), (Fault::ResetAfter, 1)] {
        // Always, since a client may repeat by itself what failed on a used connection.
        served.faults(fault.name());
        let error = post().await.unwrap_err();
        assert!(is_reset(&error), "{fault:?}: {error:?}");
        assert_eq!(served.sandbox.stats().accepted, taken, "{fault:?}");
    }
    served.faults("partial");
    let response = post().await.unwrap();
    assert_eq!(response.status(), 200);
    let error = response.bytes().await.unwrap_err();
    assert!(is_reset(&error), "{error:?}");
    assert_eq!(served.sandbox.stats().accepted, 2);
}

#[tokio::test]
async fn a_call_that_hangs_is_never_answered() {
    for (fault, taken) in [(Fault::Hang, 0), (Fault::HangAfter, 1)] {
        let served = Served::start().await;
        served.faults(&format!("next:{}", fault.name()));
        let request = served.post("11", &json!({"data": [event("a")]}));
        let (answered, ()) = tokio::join!(request.send(), async {
            served
                .sandbox
                .wait_until(|stats| {
                    stats.faults.contains_key(fault.name()) && stats.accepted == taken
                })
                .await;
            assert_eq!(served.sandbox.stats().in_flight, 1);
            served.shutdown.cancel();
        });
        assert!(is_reset(&answered.unwrap_err()), "{fault:?}");
        served.stop().await;
    }
}

#[tokio::test]
async fn a_caller_that_leaves_ends_its_call() {
    let served = Served::start().await;
    served.faults("hang");
    let body = json!({"data": [event("a")]});
    {
        let call = served.post("11", &body).send();
        tokio::select! {
            _ = call => panic!("it was answered"),
            () = served.sandbox.wait_until(|stats| stats.faults.contains_key("hang")) => {}
        }
    }
    served
        .sandbox
        .wait_until(|stats| stats.in_flight == 0)
        .await;
    assert_eq!(served.sandbox.stats().most_in_flight, 1);
}

#[tokio::test]
async fn a_throttle_lasts_until_its_time_and_counts_early_calls() {
    let served = Served::start().await;
    served.faults("next:throttle=80004:90s");
    let post = || served.post("11", &json!({"data": [event("a")]})).send();
    let usage = |response: &Response| {
        let header = &response.headers()["x-business-use-case-usage"];
        let usage: Value = serde_json::from_slice(header.as_bytes()).unwrap();
        usage["11"][0]["estimated_time_to_regain_access"].clone()
    };
    let response = post().await.unwrap();
    assert_eq!(response.status(), 400);
    assert_eq!(usage(&response), 2);
    // A call that was on its way already.
    assert_eq!(post().await.unwrap().status(), 400);
    assert_eq!(served.sandbox.stats().early_calls, 0);
    // Another pixel does not notice.
    let other = served.post("22", &json!({"data": [event("a")]}));
    assert_eq!(answer(other).await, Answer::Received(1));

    served.clock.advance(Duration::from_secs(61));
    let response = post().await.unwrap();
    assert_eq!(usage(&response), 1);
    assert_eq!(served.sandbox.stats().early_calls, 1);
    let early = served.sandbox.early_calls().remove(0);
    assert_eq!(
        early.arrived.since(early.announced_at),
        Duration::from_secs(61)
    );
    assert_eq!(
        (early.pixel_id.as_str(), early.announced_by.len()),
        ("11", 2)
    );
    // Other faults leave it standing.
    served.sandbox.vary_faults(Faults::default());
    served.clock.advance(Duration::from_secs(59));
    assert_eq!(post().await.unwrap().status(), 200);
    assert_eq!(served.sandbox.stats().early_calls, 1);
    assert_eq!(
        served.sandbox.stats().refused.get("80004/2446079"),
        Some(&3)
    );
}

#[tokio::test]
async fn usage_and_hints_travel_in_the_documented_headers() {
    let served = Served::start().await;
    let headers = async |faults: &str| {
        served.faults(faults);
        let request = served.post("11", &json!({"data": [event("a")]}));
        let response = request.send().await.unwrap();
        let names = [
            "x-app-usage",
            "x-business-use-case-usage",
            "x-ad-account-usage",
            "retry-after",
        ];
        let values = names.iter().filter_map(|name| {
            let value = response.headers().get(*name)?.to_str().unwrap();
            Some(format!("{name}: {value}"))
        });
        values.collect::<Vec<_>>().join("\n")
    };
    assert_eq!(headers("").await, "");
    insta::assert_snapshot!(headers("usage_app=80,usage_business=96.5,11/usage_account=10").await, @r#"
    x-app-usage: {"call_count":80.0,"total_cputime":1,"total_time":1}
    x-business-use-case-usage: {"11":[{"ads_api_access_tier":"standard_access","call_count":96.5,"estimated_time_to_regain_access":0,"total_cputime":1,"total_time":1,"type":"ads_management"}]}
    x-ad-account-usage: {"acc_id_util_pct":10.0,"ads_api_access_tier":"standard_access","reset_time_duration":0}
    "#);
    insta::assert_snapshot!(headers("throttle=17:90s").await, @r#"x-ad-account-usage: {"acc_id_util_pct":100.0,"ads_api_access_tier":"standard_access","reset_time_duration":90}"#);
    insta::assert_snapshot!(headers("throttle=4:90s:retry_after").await, @"retry-after: 90");
    insta::assert_snapshot!(headers("throttle=4:90s").await, @r#"x-app-usage: {"call_count":100.0,"total_cputime":1,"total_time":1}"#);
}

#[tokio::test(start_paused = true)]
async fn latency_delays_every_answer() {
    let served = Served::start().await;
    served.faults("latency=200ms");
    let start = tokio::time::Instant::now();
    assert_eq!(served.send(&[event("a")]).await, Answer::Received(1));
    assert!(start.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn faults_are_switched_over_http() {
    let served = Served::start().await;
    let url = format!("{}/sandbox/faults", served.url);
    let put = async |text: &'static str| {
        let response = served.client.put(&url).body(text).send().await.unwrap();
        (response.status().as_u16(), self::text(response).await)
    };
    assert_eq!(put("next:status=503,hang=0.5").await.0, 204);
    let shown = text(served.client.get(&url).send().await.unwrap()).await;
    assert_eq!(shown, "next:status=503:graph\nhang=0.5\n");
    let (status, problem) = put("explode").await;
    assert_eq!(status, 400);
    assert!(problem.starts_with("fault `explode`: unknown"));
    assert_eq!(served.sandbox.faults(), shown.parse().unwrap());
    assert_eq!(put("").await.0, 204);
    assert_eq!(served.send(&[event("a")]).await, Answer::Received(1));
}

fn is_reset(error: &reqwest::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return error.kind() == io::ErrorKind::ConnectionReset;
        }
        cause = error.source();
    }
    false
}
