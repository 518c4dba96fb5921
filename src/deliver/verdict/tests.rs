//! Every code, status and shape of body of the Conversions API, and its verdict.

use proptest::prelude::*;

use super::*;

#[path = "tests/foreign.rs"]
mod foreign;

const SENT: usize = 3;
const TRANSIENT: Verdict = Verdict::Transient { wait: None };
const INVALID: Verdict = Verdict::Invalid { hint: None };
const REFUSED: Verdict = Verdict::Refused;
const THROTTLED: Verdict = Verdict::Throttled {
    wait: DEFAULT_THROTTLE,
    limit: LimitOf::Pixel,
};
const TOKEN_THROTTLED: Verdict = Verdict::Throttled {
    wait: DEFAULT_THROTTLE,
    limit: LimitOf::Token,
};
const BLOCKED: Verdict = Verdict::Blocked { wait: None };
const TOKEN: Verdict = Verdict::Paused(Fix::Token);
const PERMISSION: Verdict = Verdict::Paused(Fix::Permission);
const PIXEL: Verdict = Verdict::Paused(Fix::Pixel);
const VERSION: Verdict = Verdict::Paused(Fix::Version);

fn reply(status: u16, body: &str) -> GraphReply {
    GraphReply {
        status,
        usage: RateUsage::default(),
        body: body.as_bytes().to_vec(),
    }
}

fn check(status: u16, body: &str, expected: Verdict) {
    let verdict = judge(&reply(status, body), SENT, false).verdict;
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
        (&[4], &[None, Some(2_207_051)], TOKEN_THROTTLED),
        (&[17], &[None, Some(2_446_079)], TOKEN_THROTTLED),
        (&[341], &[None], TOKEN_THROTTLED),
        (&[32], &[None], THROTTLED),
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
        (&[101, 102], &[None], TOKEN),
        (&[104], &[None], Verdict::Paused(Fix::AppSecret)),
        (&[3, 5, 10, 200, 250, 294, 299], &[None], PERMISSION),
        (&[803], &[None], PIXEL),
        (&[100], &[Some(33), Some(34)], PIXEL),
        (&[12, 2500, 2635], &[None], VERSION),
        (&[2, 5000, -1, -3], &[None, Some(99)], TRANSIENT),
        (
            &[100],
            &[
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
            ],
            INVALID,
        ),
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
    // Not about an event: other events show whose fault it is.
    for status in [200, 400, 402, 405, 409, 422, 500] {
        check(status, &error(100, None), REFUSED);
        check(status, &error(100, Some(7)), REFUSED);
        check(status, &error(100, Some(2_803_999)), REFUSED);
        check(status, &error(105, None), REFUSED);
    }
    check(403, &error(100, None), PERMISSION);
}

#[test]
fn a_status_decides_where_graph_gives_no_known_code() {
    let rows = [
        (400, REFUSED),
        (401, TOKEN),
        (402, REFUSED),
        (403, PERMISSION),
        (404, PIXEL),
        (405, REFUSED),
        (408, TRANSIENT),
        (413, Verdict::TooLarge),
        (422, REFUSED),
        (429, THROTTLED),
        (500, TRANSIENT),
        (503, TRANSIENT),
        (200, TRANSIENT),
        (302, TRANSIENT),
    ];
    let bodies = [
        r#"{"error":{"code":123456}}"#,
        r#"{"error":{"message":"m","type":"OAuthException"}}"#,
        r#"{"error":{"message":"m","fbtrace_id":"T"}}"#,
        r#"{"error":{"code":400100,"error_subcode":1}}"#,
    ];
    for (status, verdict) in rows {
        for body in bodies {
            check(status, body, verdict);
        }
    }
}

#[test]
fn what_is_said_of_an_event_is_told_from_what_is_said_of_the_request() {
    let blames = |specs: &str| {
        [
            format!(r#"{{"error":{{"code":100,"error_data":{{"blame_field_specs":{specs}}}}}}}"#),
            serde_json::json!({"error": {"code": 100,
                "error_data": format!(r#"{{"blame_field_specs":{specs}}}"#)}})
            .to_string(),
        ]
    };
    for (specs, verdict) in [
        (r#"[["data"]]"#, INVALID),
        (r#"[["user_data","em"]]"#, INVALID),
        (r#"[["access_token"],["custom_data","value"]]"#, INVALID),
        (
            r#"[["data","2","event_time"]]"#,
            Verdict::Invalid { hint: Some(2) },
        ),
        (
            r#"["data[1][user_data]"]"#,
            Verdict::Invalid { hint: Some(1) },
        ),
        (r#"[["access_token"]]"#, REFUSED),
        (r#"[["test_event_code"]]"#, REFUSED),
        ("[]", REFUSED),
        ("7", REFUSED),
    ] {
        for body in blames(specs) {
            check(400, &body, verdict);
        }
    }
    // Whatever the language, and whatever the code.
    for text in [
        "Clé inattendue « x » sur $['data'][1]['custom_data']",
        "参数 $['data'][1] 无效",
    ] {
        for code in [100, 9999] {
            let body = serde_json::json!({"error": {"code": code, "error_user_msg": text}});
            check(400, &body.to_string(), Verdict::Invalid { hint: Some(1) });
        }
    }
}

#[test]
fn a_proof_and_a_permission_are_told_by_form_first() {
    let verdict = |message: &str, kind: &str, proves| {
        let body = serde_json::json!({"error": {"message": message, "type": kind, "code": 100,
            "fbtrace_id": "T"}});
        judge(&reply(400, &body.to_string()), SENT, proves).verdict
    };
    let graph_method = "GraphMethodException";
    for (message, proves, fix) in [
        (
            "Invalid appsecret_proof provided in the API argument",
            true,
            Fix::AppSecret,
        ),
        (
            "API calls from the server require an appsecret_proof argument",
            false,
            Fix::AppSecret,
        ),
        ("Ungültiger Beweis", true, Fix::AppSecretOrPixel),
        ("Objekt gibt es nicht", false, Fix::Pixel),
    ] {
        assert_eq!(
            verdict(message, graph_method, proves),
            Verdict::Paused(fix),
            "{message}"
        );
    }
    for (message, expected) in [
        ("(#100) Missing Permission", PERMISSION),
        ("(#100) Missing permissions.", PERMISSION),
        ("Missing Permission", PERMISSION),
        // A stranger's event name pauses nothing.
        ("(#100) No event is called Missing Permission", REFUSED),
        ("(#100) appsecret_proof is no event name", REFUSED),
        ("(#100) Berechtigung fehlt", REFUSED),
    ] {
        assert_eq!(
            verdict(message, "OAuthException", true),
            expected,
            "{message}"
        );
    }
    for fix in Fix::ALL {
        assert_eq!(Fix::parse(fix.as_str()), Some(*fix));
    }
    assert!(Fix::AppSecretOrPixel.in_words().contains("pixel"));
}

#[test]
fn a_refusal_blames_whom_it_can() {
    for (status, body, blame) in [
        (400, error(100, Some(2_804_003)), Blame::Event),
        (400, error(100, None), Blame::Unknown),
        (413, error(1, None), Blame::Event),
        (413, "<html>".to_owned(), Blame::Unknown),
        (400, "<html>".to_owned(), Blame::Passing),
        (500, error(2, None), Blame::Passing),
    ] {
        assert_eq!(judge(&reply(status, &body), 1, false).blame(), blame);
    }
}

#[test]
fn events_that_meta_may_have_taken_are_told() {
    for (status, body, sent, may_be_taken) in [
        (400, error(100, Some(2_804_003)), 2, true),
        (400, error(100, None), 2, true),
        (400, error(100, None), 1, false),
        (400, error(190, None), 2, false),
        (500, error(1, None), 2, false),
        (200, "{}".to_owned(), 1, true),
        (200, r#"{"success":true}"#.to_owned(), 1, true),
        (200, r#"{"events_received":3"#.to_owned(), 1, true),
        (200, r#"{"events_received":0}"#.to_owned(), 1, false),
        (200, "<html></html>".to_owned(), 1, false),
    ] {
        let judgement = judge(&reply(status, &body), sent, false);
        assert_eq!(
            judgement.may_be_taken, may_be_taken,
            "{status} {body} {sent}"
        );
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
        (200, r#"{"events_received":"3"}"#, Verdict::Delivered),
        (200, r#"{"events_received":3.0}"#, Verdict::Delivered),
        (200, r#"for (;;);{"events_received":3}"#, Verdict::Delivered),
        (
            200,
            r#"{"events_received":"1"}"#,
            Verdict::ShortCount { received: 1 },
        ),
        (200, r#"{"events_received":-3}"#, Verdict::Uncounted),
        (200, r#"{"events_received":2.5}"#, Verdict::Uncounted),
        (200, r#"{"events_received":null}"#, Verdict::Uncounted),
        (
            200,
            r#"{"messages":[],"fbtrace_id":"T"}"#,
            Verdict::Uncounted,
        ),
        (200, r#"{"fbtrace_id":"T"}"#, Verdict::Uncounted),
        (200, "{}", TRANSIENT),
        (200, r#"{"success":true}"#, TRANSIENT),
        (200, r#"[{"events_received":3}]"#, TRANSIENT),
        (200, r#"{"events_received":3"#, TRANSIENT),
        (302, r#"{"events_received":3}"#, TRANSIENT),
        (500, r#"{"events_received":3}"#, TRANSIENT),
        (400, r#"{"events_received":3}"#, TRANSIENT),
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
            TOKEN_THROTTLED,
        ),
        (
            403,
            r#"{"error":{"code":4,"is_transient":false}}"#,
            TOKEN_THROTTLED,
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
        // The same words decide nothing with another code.
        (
            400,
            r#"{"error":{"code":2,"message":"reduce the amount of data"}}"#,
            TRANSIENT,
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
        ("on data[2].user_data", Some(2)),
        ("on metadata[2]", None),
        ("['data'][x]", None),
        ("['data'][-1]", None),
        ("['data'][99999999999999999999999]", None),
        ("['data'][5", None),
        ("data[5", None),
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
    let usage = RateUsage {
        regain: Some(Duration::from_secs(1140)),
        retry_after: Some(Duration::from_secs(7)),
        ..RateUsage::default()
    };
    let rows = [
        (
            error(80_004, None),
            Verdict::Throttled {
                wait: Duration::from_secs(1140),
                limit: LimitOf::Pixel,
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
        let reply = GraphReply {
            usage,
            ..reply(503, &body)
        };
        assert_eq!(judge(&reply, SENT, false).verdict, verdict, "{body}");
    }
}

#[test]
fn what_supports_the_verdict_is_kept() {
    let body = r#"{"error":{"message":"Invalid parameter","type":"OAuthException","code":100,
        "error_subcode":2804003,"is_transient":false,"error_user_title":"Event Timestamp Too Old",
        "error_user_msg":"Old.","fbtrace_id":"A6UyEgg_HdoiRX9duxcBOjb"}}"#;
    let judgement = judge(&reply(400, body), SENT, false);
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

    let body =
        r#"{"events_received":3,"messages":["look",{"message":"there"},7],"fbtrace_id":"T"}"#;
    let judgement = judge(&reply(200, body), SENT, false);
    assert_eq!(judgement.trace_id.as_deref(), Some("T"));
    assert_eq!(judgement.remarks.as_deref(), Some("look; there; 7"));
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
        let reply = GraphReply { status, usage: RateUsage::default(), body };
        let delivered = judge(&reply, SENT, true).verdict == Verdict::Delivered;
        prop_assert!(!delivered || (200..300).contains(&status));
    }
}
