//! Every code, status and shape of body of the Conversions API, and its verdict.

use proptest::prelude::*;

use super::*;

const SENT: usize = 3;
const TRANSIENT: Verdict = Verdict::Transient { wait: None };
const INVALID: Verdict = Verdict::Invalid { hint: None };
const THROTTLED: Verdict = Verdict::Throttled {
    wait: DEFAULT_THROTTLE,
};
const BLOCKED: Verdict = Verdict::Blocked { wait: None };
const TOKEN: Verdict = Verdict::Paused(Fix::Token);
const PERMISSION: Verdict = Verdict::Paused(Fix::Permission);
const PIXEL: Verdict = Verdict::Paused(Fix::Pixel);

fn reply(status: u16, body: &str) -> Reply {
    Reply {
        status,
        usage: Usage::default(),
        body: body.as_bytes().to_vec(),
    }
}

fn check(status: u16, body: &str, expected: Verdict) {
    let verdict = judge(&reply(status, body), SENT).verdict;
    assert_eq!(verdict, expected, "{status} {body}");
}

fn error(code: i64, sub_code: Option<i64>) -> String {
    let mut error = serde_json::json!({"message": "m", "type": "OAuthException", "code": code,
        "fbtrace_id": "T"});
    if let Some(sub_code) = sub_code {
        error["error_subcode"] = sub_code.into();
    }
    serde_json::json!({ "error": error }).to_string()
}

#[test]
fn every_code_decides_whatever_the_status() {
    type Row<'a> = (&'a [i64], &'a [Option<i64>], Verdict);
    let rows: &[Row<'_>] = &[
        (&[4], &[None, Some(2_207_051)], THROTTLED),
        (&[17], &[None, Some(2_446_079)], THROTTLED),
        (&[32, 341], &[None], THROTTLED),
        (
            &[613],
            &[None, Some(1_487_742), Some(5_044_001), Some(1996)],
            THROTTLED,
        ),
        (
            &[80_000, 80_001, 80_004, 80_009, 80_014],
            &[None, Some(2_446_079)],
            THROTTLED,
        ),
        (&[368], &[None], BLOCKED),
        (
            &[190],
            &[
                None,
                Some(458),
                Some(459),
                Some(460),
                Some(463),
                Some(464),
                Some(467),
                Some(492),
                Some(493),
            ],
            TOKEN,
        ),
        (&[102], &[None], TOKEN),
        (&[104], &[None], Verdict::Paused(Fix::AppSecret)),
        (&[3, 10, 200, 250, 294, 299], &[None], PERMISSION),
        (&[803], &[None], PIXEL),
        (&[100], &[Some(33), Some(34)], PIXEL),
        (&[2635], &[None], Verdict::Paused(Fix::Version)),
        (&[2, 5000, -1, -3], &[None, Some(99)], TRANSIENT),
        (
            &[100],
            &[
                None,
                Some(2_804_001),
                Some(2_804_003),
                Some(2_804_004),
                Some(2_804_007),
                Some(2_804_008),
                Some(2_804_009),
                Some(2_804_010),
                Some(2_804_016),
                Some(2_804_017),
                Some(2_804_019),
                Some(2_804_023),
                Some(2_804_030),
                Some(2_804_036),
                Some(2_804_043),
                Some(2_804_048),
                Some(2_804_050),
                Some(2_804_063),
                Some(2_804_132),
                Some(1_815_356),
                Some(7),
            ],
            INVALID,
        ),
        (&[105], &[None], INVALID),
    ];
    for (codes, sub_codes, verdict) in rows {
        for code in *codes {
            for sub_code in *sub_codes {
                for status in [200, 400, 401, 403, 404, 413, 429, 500, 503] {
                    check(status, &error(*code, *sub_code), *verdict);
                }
            }
        }
    }
    for status in [200, 400, 500, 503] {
        check(status, &error(1, None), TRANSIENT);
        check(status, &error(1, Some(99)), TRANSIENT);
    }
    check(413, &error(1, None), Verdict::TooLarge);
}

#[test]
fn a_status_decides_where_no_known_code_does() {
    let rows = [
        (400, INVALID),
        (401, TOKEN),
        (402, INVALID),
        (403, PERMISSION),
        (404, PIXEL),
        (405, INVALID),
        (408, TRANSIENT),
        (413, Verdict::TooLarge),
        (422, INVALID),
        (429, THROTTLED),
        (500, TRANSIENT),
        (502, TRANSIENT),
        (503, TRANSIENT),
        (504, TRANSIENT),
        (100, TRANSIENT),
        (200, TRANSIENT),
        (204, TRANSIENT),
        (301, TRANSIENT),
        (302, TRANSIENT),
        (599, TRANSIENT),
    ];
    let deep = "[".repeat(100_000);
    let bodies = [
        "",
        " ",
        "<!DOCTYPE html><html><body>Sorry, something went wrong.</body></html>",
        "null",
        "[]",
        "{}",
        "\"ok\"",
        "{\"error\":",
        "\u{0}",
        deep.as_str(),
        r#"{"error":{}}"#,
        r#"{"error":[]}"#,
        r#"{"error":true}"#,
        r#"{"error":"invalid_request"}"#,
        r#"{"error":{"code":123456}}"#,
        r#"{"error":{"code":null}}"#,
        r#"{"error":{"code":1.5}}"#,
        r#"{"error":{"code":99999999999999999999}}"#,
        r#"{"error":{"message":"m","type":"OAuthException"}}"#,
    ];
    for (status, verdict) in rows {
        for body in bodies {
            check(status, body, verdict);
        }
    }
}

#[test]
fn only_what_is_clearly_a_success_counts_as_one() {
    let rows = [
        (200, r#"{"events_received":3}"#, Verdict::Delivered),
        (
            200,
            r#"{"events_received":3,"messages":[],"fbtrace_id":"T","error":null}"#,
            Verdict::Delivered,
        ),
        (202, r#"{"events_received":3}"#, Verdict::Delivered),
        (200, r#"{"events_received":4}"#, Verdict::Delivered),
        (
            200,
            r#"{"events_received":2}"#,
            Verdict::ShortCount { received: 2 },
        ),
        (200, r#"{"events_received":0}"#, TRANSIENT),
        (200, r#"{"events_received":"3"}"#, TRANSIENT),
        (200, r#"{"events_received":-3}"#, TRANSIENT),
        (200, r#"{"events_received":3.0}"#, TRANSIENT),
        (200, r#"{"events_received":null}"#, TRANSIENT),
        (200, r#"{"success":true}"#, TRANSIENT),
        (200, r#"[{"events_received":3}]"#, TRANSIENT),
        (200, r#"{"events_received":3"#, TRANSIENT),
        (302, r#"{"events_received":3}"#, TRANSIENT),
        (500, r#"{"events_received":3}"#, TRANSIENT),
        (400, r#"{"events_received":3}"#, INVALID),
        (200, r#"{"events_received":3,"error":{"code":190}}"#, TOKEN),
    ];
    for (status, body, verdict) in rows {
        check(status, body, verdict);
    }
}

#[test]
fn shapes_that_were_seen() {
    let rows = [
        // A bare code.
        (500, r#"{"error":{"code":2}}"#, TRANSIENT),
        // A code as text.
        (500, r#"{"error":{"code":"190"}}"#, TOKEN),
        // A server error that is about the token.
        (500, r#"{"error":{"code":190,"is_transient":false}}"#, TOKEN),
        // A client error that passes.
        (
            400,
            r#"{"error":{"code":2,"is_transient":true}}"#,
            TRANSIENT,
        ),
        (
            400,
            r#"{"error":{"code":100,"is_transient":true}}"#,
            TRANSIENT,
        ),
        (
            400,
            r#"{"error":{"code":100,"error_subcode":2804019,"is_transient":true}}"#,
            TRANSIENT,
        ),
        (
            400,
            r#"{"error":{"code":9999,"is_transient":true}}"#,
            TRANSIENT,
        ),
        // The flag contradicts the code.
        (
            403,
            r#"{"error":{"code":4,"is_transient":true}}"#,
            THROTTLED,
        ),
        (
            403,
            r#"{"error":{"code":4,"is_transient":false}}"#,
            THROTTLED,
        ),
        (400, r#"{"error":{"code":190,"is_transient":true}}"#, TOKEN),
        (
            400,
            r#"{"error":{"code":100,"error_subcode":33,"is_transient":true}}"#,
            PIXEL,
        ),
        // An object that may not be used, without its sub-code.
        (
            400,
            r#"{"error":{"code":100,"type":"GraphMethodException"}}"#,
            PIXEL,
        ),
        (
            500,
            r#"{"error":{"code":1,"message":"Please reduce the amount of data you're asking for, then retry your request"}}"#,
            Verdict::TooLarge,
        ),
        // The same words with a code of their own decide nothing.
        (
            400,
            r#"{"error":{"code":2,"message":"reduce the amount of data"}}"#,
            TRANSIENT,
        ),
        (
            400,
            r#"{"error":{"code":100,"error_data":{"blame_field_specs":[["data"]]}}}"#,
            INVALID,
        ),
        (
            400,
            r#"{"error":{"code":100,"error_data":"{\"blame_field_specs\":[[\"data\"]]}"}}"#,
            INVALID,
        ),
    ];
    for (status, body, verdict) in rows {
        check(status, body, verdict);
    }
}

#[test]
fn the_hint_is_an_index_in_the_text() {
    let rows = [
        ("on param \"$['data'][17]['custom_data']\"", Some(17)),
        ("on param $[\"data\"][4]", Some(4)),
        ("['data'][x]", None),
        ("['data'][-1]", None),
        ("['data'][99999999999999999999999]", None),
        ("['data'][5", None),
        ("data[5]", None),
    ];
    for (text, hint) in rows {
        for name in ["message", "error_user_msg"] {
            let body = serde_json::json!({"error": {"code": 100, "error_subcode": 2_804_019,
                name: text}});
            check(400, &body.to_string(), Verdict::Invalid { hint });
        }
    }
}

#[test]
fn the_longest_wait_that_was_asked_for_is_kept() {
    let usage = Usage {
        regain: Some(Duration::from_secs(1140)),
        retry_after: Some(Duration::from_secs(7)),
        ..Usage::default()
    };
    let rows = [
        (
            error(80_004, None),
            Verdict::Throttled {
                wait: Duration::from_secs(1140),
            },
        ),
        (
            error(368, None),
            Verdict::Blocked {
                wait: Some(Duration::from_secs(1140)),
            },
        ),
        (
            error(2, None),
            Verdict::Transient {
                wait: Some(Duration::from_secs(7)),
            },
        ),
    ];
    for (body, verdict) in rows {
        let reply = Reply {
            usage,
            ..reply(503, &body)
        };
        assert_eq!(judge(&reply, SENT).verdict, verdict, "{body}");
    }
}

#[test]
fn what_supports_the_verdict_is_kept() {
    let body = r#"{"error":{"message":"Invalid parameter","type":"OAuthException","code":100,
        "error_subcode":2804003,"is_transient":false,"error_user_title":"Event Timestamp Too Old",
        "error_user_msg":"Old.","fbtrace_id":"A6UyEgg_HdoiRX9duxcBOjb"}}"#;
    let judgement = judge(&reply(400, body), SENT);
    assert_eq!(judgement.code, Some(100));
    assert_eq!(judgement.sub_code, Some(2_804_003));
    assert_eq!(
        judgement.trace_id.as_deref(),
        Some("A6UyEgg_HdoiRX9duxcBOjb")
    );
    assert_eq!(
        judgement.text.as_deref(),
        Some("Invalid parameter: Event Timestamp Too Old: Old.")
    );

    let body = r#"{"events_received":3,"messages":["look"],"fbtrace_id":"T"}"#;
    let judgement = judge(&reply(200, body), SENT);
    assert_eq!(judgement.trace_id.as_deref(), Some("T"));
    assert!(judgement.remarks);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_or_take_a_failure_for_a_success(
        status in 100_u16..600,
        body in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..200),
            "\\{\"(error|events_received|code|x)\":(\\{|[0-9]{1,3}|null|\")[\\}\"0-9a-z:]{0,20}\\}?"
                .prop_map(String::into_bytes),
        ],
    ) {
        let reply = Reply { status, usage: Usage::default(), body };
        let delivered = judge(&reply, SENT).verdict == Verdict::Delivered;
        prop_assert!(!delivered || (200..300).contains(&status));
    }
}
