//! Bodies that Graph did not write, or that came garbled.

use super::*;

/// What Graph cannot have written.
const FOREIGN: [&str; 19] = [
    "<!DOCTYPE html><html><body>Sorry, something went wrong.</body></html>",
    "<html>{\"error\":{\"code\":190,\"type\":\"OAuthException\"}}</html>",
    "Access denied",
    "null",
    "[]",
    "{}",
    "\"ok\"",
    "{\"error\":",
    "{\"message\":\"Forbidden\"}",
    r#"{"error":{}}"#,
    r#"{"error":[]}"#,
    r#"{"error":true}"#,
    r#"{"error":"invalid_request"}"#,
    r#"{"error":{"code":null}}"#,
    r#"{"error":{"code":1.5}}"#,
    r#"{"error":{"code":99999999999999999999}}"#,
    r#"{"error":{"message":"m","status":"UNAUTHENTICATED"}}"#,
    r#"{"events_received":3,"error":"no"}"#,
    "{\"a\": \"\u{1}\"}",
];

#[test]
fn what_graph_did_not_write_is_no_word_about_an_event_or_a_token() {
    let deep = "[".repeat(100_000);
    let deeper = "{\"a\":".repeat(100_000);
    let bodies = FOREIGN.iter().copied().chain([deep.as_str(), &deeper]);
    for body in bodies {
        for status in [
            100, 200, 204, 301, 302, 400, 401, 402, 403, 404, 405, 407, 408, 422, 451, 500, 502,
            503, 599,
        ] {
            check(status, body, TRANSIENT);
        }
        check(413, body, Verdict::TooLarge);
        check(429, body, THROTTLED);
        // The status where Graph has its code.
        let others = r#"{"error":{"code":403,"message":"forbidden"}}"#;
        check(403, others, TRANSIENT);
        let judgement = judge(&reply(400, body), SENT, false);
        assert!(judgement.is_foreign, "{body}");
        assert!(!judgement.may_be_taken, "{body}");
    }
}

#[test]
fn an_empty_body_leaves_the_status_alone() {
    for body in ["", " ", "\u{0}", "\u{feff}\r\n"] {
        for (status, verdict) in [
            (200, TRANSIENT),
            (204, TRANSIENT),
            (400, TRANSIENT),
            (401, TOKEN),
            (403, PERMISSION),
            (404, PIXEL),
            (413, Verdict::TooLarge),
            (422, TRANSIENT),
            (429, THROTTLED),
            (503, TRANSIENT),
        ] {
            check(status, body, verdict);
        }
    }
}

#[test]
fn a_known_code_is_found_whatever_surrounds_it() {
    let dead = r#"{"error":{"message":"m \"code\":4,","type":"OAuthException","code":190,"fbtrace_id":"T"}}"#;
    let bodies = [
        dead.to_owned(),
        format!("\u{feff}{dead}"),
        format!("for (;;);{dead}"),
        format!("while(1);\n{dead}"),
        format!(")]}}',\n{dead}"),
        format!("/**/ callback({dead});"),
        format!("{dead}{dead}"),
        format!("{dead}<!-- served by a proxy -->"),
        format!("{dead}\0\0"),
        dead.strip_suffix("}}").unwrap().to_owned(),
        r#"{"error":{"message":"cut","type":"OAuthException","code":190"#.to_owned(),
        r#"{"error":{"message":"a
            raw line break","code": "190", "error_subcode": 463}}"#
            .to_owned(),
        "{'error': {'message': 'm', 'code': 190}}".to_owned(),
        r#"{"error":{"code":190,,}}"#.to_owned(),
        r#"{"error":{"code":190,"message":"half an emoji \ud83d"}}"#.to_owned(),
    ];
    for body in bodies {
        for status in [200, 400, 401, 500] {
            check(status, &body, TOKEN);
        }
    }
    let mut broken = br#"{"error":{"message":"caf\xe9","code":190}}"#.to_vec();
    broken[21] = 0xe9;
    let judgement = judge(
        &GraphReply {
            status: 400,
            body: broken,
            ..GraphReply::default()
        },
        SENT,
        false,
    );
    assert_eq!(judgement.verdict, TOKEN);
    check(
        400,
        r#"{"error":{"code":100,"error_subcode":2804003,"message":"cut"#,
        INVALID,
    );
    check(400, r#"{"error":{"code":100,"message":"cut"#, REFUSED);
}
