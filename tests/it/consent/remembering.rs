//! What is remembered of people who do not consent, and of those who do.

use super::*;

#[tokio::test]
async fn nothing_of_a_person_is_remembered_without_consent() {
    let graph = Graph::start().await;
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let syncs = "[sync.web]\npixel_id = '1001'\naccess_token = 'test-token'\n\
        consent = [{ property = 'user_properties.ads', op = 'is', value = 'granted' }]\n\
        [sync.web.user_data]\nemail = 'user_properties.email'\nphone = 'user_properties.phone'\n\
        client_user_agent = 'user_agent'\nclick_id = 'user_properties.fbclid'\n\
        [sync.web.user_memory]\nkeep_as_is = ['ads']\n\
        [sync.web.events]\nBuy = {}\n\
        [sync.web.delivery]\nmax_batch_delay = '10ms'\nrequests_per_second = 'unlimited'\n";
    let keys = format!("api_keys = ['{KEY}']\n[queue]");
    let config = config_text(graph.address, folder.path(), syncs).replace("[queue]", &keys);
    let daemon = Daemon::start_on(folder, config).await;
    let of = |name: &str, properties: Value| {
        json!({
            "event_type": name, "user_id": "user-1", "ip": "203.0.113.9", "user_agent": "Mozilla/5.0",
            "user_properties": properties,
        })
    };
    let mut ids = 0;
    let mut buy = |properties: Value| {
        ids += 1;
        let mut buy = event(&format!("i-{ids}"), "user-1", &properties);
        buy["event_type"] = json!("Buy");
        buy
    };
    let before = [
        of(
            "$identify",
            json!({ "$set": { "email": "pat@example.com", "fbclid": "AbC" } }),
        ),
        of(
            "Not in the table",
            json!({ "$set": { "phone": "+16505551212" } }),
        ),
        of(
            "Buy",
            json!({ "$set": { "ads": "denied", "email": "pat@example.com" } }),
        ),
        buy(json!({})),
    ];
    send(&daemon, "httpapi", &before).await;
    let filtered = daemon
        .metric("pixel_relay_outcomes_total", &["no_consent"])
        .await;
    assert_eq!(filtered, 2.0);
    // With consent, only what is said from now on is there.
    send(
        &daemon,
        "httpapi",
        &[buy(json!({ "$set": { "ads": "granted" } }))],
    )
    .await;
    let known = of("$identify", json!({ "$set": { "phone": "+16505551212" } }));
    send(&daemon, "httpapi", &[known, buy(json!({}))]).await;
    daemon
        .until("pixel_relay_outcomes_total", &["delivered"], 2.0)
        .await;
    let mut fields: Vec<Vec<String>> = graph
        .accepted()
        .iter()
        .map(|event| {
            event["user_data"]
                .as_object()
                .unwrap()
                .keys()
                .cloned()
                .collect()
        })
        .collect();
    fields.sort();
    assert_eq!(
        fields,
        [
            vec![
                "client_ip_address",
                "client_user_agent",
                "external_id",
                "ph"
            ],
            vec!["external_id"],
        ]
    );
    // What takes away counts without consent.
    let no = of(
        "$identify",
        json!({ "$set": { "ads": "denied" }, "$unset": { "phone": "-" } }),
    );
    let yes = of("$identify", json!({ "$set": { "ads": "granted" } }));
    send(&daemon, "httpapi", &[no, yes, buy(json!({}))]).await;
    daemon
        .until("pixel_relay_outcomes_total", &["delivered"], 3.0)
        .await;
    let with_phone = graph
        .accepted()
        .iter()
        .filter(|event| event["user_data"]["ph"].is_string())
        .count();
    assert_eq!(with_phone, 1);
    daemon.stop().await;
}

#[tokio::test]
async fn a_denial_that_does_not_fit_is_none_the_less_one() {
    let graph = Graph::start().await;
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let syncs = "[sync.web]\npixel_id = '1001'\naccess_token = 'test-token'\n\
        consent = [{ property = 'user_properties.ads', op = 'is not', value = 'denied' }]\n\
        [sync.web.user_data]\nexternal_id = 'user_id'\n\
        [sync.web.user_memory]\nkeep_as_is = ['ads']\n\
        [sync.web.delivery]\nmax_batch_delay = '10ms'\nrequests_per_second = 'unlimited'\n";
    let keys = format!("api_keys = ['{KEY}']\n[queue]");
    let config = config_text(graph.address, folder.path(), syncs).replace("[queue]", &keys);
    let daemon = Daemon::start_on(folder, config).await;
    let most: Vec<String> = (0..20).map(|number| format!("v{number}")).collect();
    let all: Vec<&str> = most.iter().map(String::as_str).chain(["denied"]).collect();
    let long = json!(all.repeat(20)).to_string();
    let bare = json!({});
    // What an update says of the person, what the event says itself, and whether it goes on.
    let cases = [
        (bare.clone(), json!({ "$append": { "ads": all } }), false),
        (
            json!({ "$set": { "ads": most } }),
            json!({ "$append": { "ads": "denied" } }),
            false,
        ),
        (
            json!({ "$set": { "ads": most } }),
            json!({ "$postInsert": { "ads": "denied" } }),
            false,
        ),
        (json!({ "$set": { "ads": all } }), bare.clone(), false),
        (json!({ "$set": { "ads": long } }), bare.clone(), false),
        (
            json!({ "$set": { "ads": { "x": long, "y": "denied" } } }),
            bare.clone(),
            false,
        ),
        // Not even an unreadable update leaves a yes as it was.
        (
            json!({ "$set": "{\"ads\":\"denied\",\"x\":\"cut o" }),
            bare.clone(),
            false,
        ),
        (json!({ "$set": { "ads": most } }), bare.clone(), true),
        // What is set anew counts.
        (
            json!({ "$set": { "ads": all } }),
            json!({ "$set": { "ads": "granted" } }),
            true,
        ),
        (
            json!({ "$set": { "ads": all } }),
            json!({ "$unset": { "ads": "-" } }),
            true,
        ),
    ];
    let mut kept_back = 0.0;
    let mut delivered = 0.0;
    for (place, (update, own, goes_on)) in cases.into_iter().enumerate() {
        let user = format!("user-{place}");
        let update = json!({
            "event_type": "$identify", "user_id": user, "user_properties": update,
        });
        let mut buy = event(&format!("i-{place}"), &user, &own);
        buy["event_type"] = json!("Buy");
        send(&daemon, "httpapi", &[update]).await;
        send(&daemon, "httpapi", &[buy]).await;
        if goes_on {
            delivered += 1.0;
        } else {
            kept_back += 1.0;
        }
        let filtered = daemon
            .metric("pixel_relay_outcomes_total", &["no_consent"])
            .await;
        assert_eq!(filtered, kept_back, "{place}");
    }
    daemon
        .until("pixel_relay_outcomes_total", &["delivered"], delivered)
        .await;
    daemon.stop().await;
}
