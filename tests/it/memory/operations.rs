//! Operations on user properties, in identify calls and in events.

use super::*;

#[tokio::test]
async fn every_operation_acts_as_at_amplitude() {
    let graph = Graph::start().await;
    let rules = SYNC.replace(
        "email = \"user_properties.email\"",
        "email = \"user_properties.emails[*]\"",
    );
    let rules = rules.replace(
        "[sync.web.user_memory]",
        "[sync.web.user_memory]\nkeep_as_is = [\"plan\"]",
    );
    let daemon = start(&graph, &rules).await;
    let mut all = 0;
    for (at, (steps, expected)) in [
        (
            json!([{ "$set": ["a@x.de", "b@x.de"] }]),
            vec!["a@x.de", "b@x.de"],
        ),
        (
            json!([{ "$set": ["a@x.de"] }, { "$set": ["b@x.de"] }]),
            vec!["b@x.de"],
        ),
        (json!([{ "$set": ["a@x.de"] }, { "$set": "" }]), vec![]),
        (json!([{ "$set": ["a@x.de"] }, { "$unset": "-" }]), vec![]),
        (
            json!([{ "$setOnce": ["a@x.de"] }, { "$setOnce": ["b@x.de"] }]),
            vec!["a@x.de"],
        ),
        (
            json!([{ "$append": "a@x.de" }, { "$append": ["b@x.de", "a@x.de"] }]),
            vec!["a@x.de", "b@x.de"],
        ),
        (
            json!([{ "$set": ["a@x.de"] }, { "$prepend": ["b@x.de", "c@x.de"] }]),
            vec!["b@x.de", "c@x.de", "a@x.de"],
        ),
        (
            json!([{ "$set": ["a@x.de", "b@x.de"] }, { "$prepend": "B@x.de" }]),
            vec!["b@x.de", "a@x.de"],
        ),
        (
            json!([{ "$set": ["a@x.de", "b@x.de"] }, { "$preInsert": ["b@x.de", "c@x.de"] }]),
            vec!["c@x.de", "a@x.de", "b@x.de"],
        ),
        (
            json!([{ "$set": ["a@x.de", "b@x.de"] }, { "$postInsert": ["c@x.de", "a@x.de"] }]),
            vec!["a@x.de", "b@x.de", "c@x.de"],
        ),
        (
            json!([{ "$set": ["a@x.de", "b@x.de"] }, { "$remove": " A@X.de" }]),
            vec!["b@x.de"],
        ),
        (json!([{ "$remove": "a@x.de" }]), vec![]),
    ]
    .into_iter()
    .enumerate()
    {
        let who = user(&format!("user-{at}"));
        for step in steps.as_array().unwrap() {
            let (act, operand) = step.as_object().unwrap().iter().next().unwrap();
            let operations = json!({ act: { "emails": operand } });
            upload(&daemon, json!([identify(&who, &operations)])).await;
        }
        let name = format!("E{at}");
        upload(&daemon, json!([track(&name, &who)])).await;
        all += 1;
        let events = delivered(&graph, &daemon, all, &name).await;
        let expected: Vec<Value> = expected.iter().map(|email| json!(hashed(email))).collect();
        let expected = match expected.as_slice() {
            [] => Value::Null,
            [one] => one.clone(),
            several => json!(several),
        };
        assert_eq!(events[0]["user_data"]["em"], expected, "{steps}");
    }
    let who = user("user-x");
    let set = json!({ "$set": { "emails": ["a@x.de"], "plan": "pro" } });
    let clear = json!({ "$clearAll": "-" });
    upload(&daemon, json!([identify(&who, &set), track("Kept", &who)])).await;
    upload(
        &daemon,
        json!([identify(&who, &clear), track("Cleared", &who)]),
    )
    .await;
    let kept = delivered(&graph, &daemon, all + 2, "Kept").await;
    assert_eq!(kept[0]["custom_data"]["plan"], "pro");
    let cleared = delivered(&graph, &daemon, all + 2, "Cleared").await;
    assert_eq!(cleared[0]["user_data"]["em"], Value::Null);
    assert_eq!(cleared[0]["custom_data"], Value::Null);
    daemon.stop().await;
}

#[tokio::test]
async fn an_events_own_properties_are_learnt_before_it_is_mapped() {
    let graph = Graph::start().await;
    let daemon = start(&graph, SYNC).await;
    let who = user("user-1");
    let with = |name: &str, properties: Value| {
        let mut event = track(name, &who);
        event["user_properties"] = properties;
        event
    };
    let mut skipped = with("Skipped", json!({ "email": "skipped@x.de" }));
    skipped["$skip_user_properties_sync"] = json!(true);
    let mut group = with(
        "$groupidentify",
        json!({ "$set": { "email": "group@x.de" } }),
    );
    group["groups"] = json!({ "org": "acme" });
    upload(
        &daemon,
        json!([
            with(
                "Operations",
                json!({ "$set": { "email": "a@x.de", "address": { "city": "Berlin" } } })
            ),
            with("Later", json!({})),
            with("Plain", json!({ "email": "b@x.de" })),
            skipped,
            group,
            with("Last", json!({ "email": null, "address": { "zip": "1" } })),
        ]),
    )
    .await;
    for (name, email, city) in [
        ("Operations", Some("a@x.de"), Some("berlin")),
        ("Later", Some("a@x.de"), Some("berlin")),
        ("Plain", Some("b@x.de"), Some("berlin")),
        ("Skipped", Some("skipped@x.de"), Some("berlin")),
        ("Last", None, None),
    ] {
        let events = delivered(&graph, &daemon, 5, name).await;
        let of = |text: Option<&str>| text.map_or(Value::Null, |text| json!(hashed(text)));
        assert_eq!(events[0]["user_data"]["em"], of(email), "{name}");
        assert_eq!(events[0]["user_data"]["ct"], of(city), "{name}");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn what_is_kept_as_it_came_serves_conditions_and_a_repeat_adds_nothing() {
    let graph = Graph::start().await;
    let rules = SYNC.replace(
        "[sync.web.user_memory]",
        "[sync.web.user_memory]\nkeep_as_is = [\"plan\", \"karma\", \"tags\"]",
    );
    let rules = rules
        .replace("plan = \"user_properties.plan\"", "karma = \"user_properties.karma\"\ntags = \"user_properties.tags\"")
        .replace("[sync.web.user_data]", "where = [{ property = \"user_properties.plan\", op = \"is\", value = \"pro\" }]\n[sync.web.user_data]");
    let daemon = start(&graph, &rules).await;
    let who = both("user-1", "device-1");
    let mut raise = identify(
        &who,
        &json!({
            "$set": { "plan": "pro" }, "$add": { "karma": 2.5 }, "$append": { "tags": "x" },
        }),
    );
    raise["insert_id"] = json!("i-1");
    upload(&daemon, json!([track("Free", &who), raise])).await;
    upload(&daemon, json!([raise])).await;
    raise["insert_id"] = json!("i-2");
    upload(&daemon, json!([raise, track("Paid", &who)])).await;
    let events = delivered(&graph, &daemon, 1, "Paid").await;
    assert_eq!(
        events[0]["custom_data"],
        json!({ "karma": 5, "tags": ["x", "x"] })
    );
    let filtered = daemon
        .metric("pixel_relay_outcomes_total", &["sync_condition"])
        .await;
    assert_eq!(filtered, 1.0);
    daemon.stop().await;
}
