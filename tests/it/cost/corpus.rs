//! Requests that are made to cost as much as they can, beside honest ones of the same length.
//!
//! A costly request is a costly value at a place that the rules read, in one event as long as the request or in
//! many short ones; or it is a body that is costly as a whole.

use std::fmt::Write as _;

#[path = "../../../benches/sample.rs"]
#[allow(dead_code, reason = "a bench uses more of it")]
pub mod sample;

/// The time at which everything happens.
pub const NOW: i64 = 1_795_197_879_000;
pub const KEY: &str = "0123456789abcdef0123456789abcdef";
pub const SECRET: &str = "Bearer load";

/// Rules that use one of the ways to read an event each, or all of them.
pub const RULES: &[(&str, &str)] = &[
    ("sample", sample::RULES),
    ("least", LEAST),
    ("lists", LISTS),
    ("conditions", CONDITIONS),
    ("everything", EVERYTHING),
    ("several", SEVERAL),
];

const LEAST: &str = r#"
[sync.web]
pixel_id = "1"
access_token = "t"
"#;

const LISTS: &str = r#"
[sync.web]
pixel_id = "1"
access_token = "t"
properties = ["*"]
[sync.web.custom_data]
content_ids = { all = ["event_properties.products[*].sku", "event_properties.products[*].id", "event_properties.p[*][*]", "event_properties.p"] }
contents = { each = { all = ["event_properties.products", "event_properties.p", "event_properties.p[*].items"] }, id = ["sku", "id"], quantity = { from = "qty", map = { 1 = 1, 2 = 2 }, default = 1 }, item_price = "price", coupon = "event_properties.coupon", brand = ["brand", "event_properties.brand", "event_properties.p"], category = { from = "event_properties.p", split = "," }, title = { from = ["name", "event_properties.p[*]"], map = { a = "b" } }, description = { constant = "x", when = [{ property = "event_properties.p", op = "contains", values = ["abc", "def"] }, { property = "user_properties.plan", op = "is not", value = "x" }] }, list = "event_properties.products[*].sku" }
things = { each = "event_properties.products", a = "a", b = "event_properties.p.b", who = "user_id", plan = { from = "user_properties.plan", when = [{ property = "sku", op = "glob match", value = "*" }] } }
parts = { all = [{ from = "event_properties.p", split = "," }, { from = "event_properties.coupon", split = ";" }] }
"#;

const CONDITIONS: &str = r#"
[sync.web]
pixel_id = "1"
access_token = "t"
consent = [{ property = "event_properties.p", op = "is not", values = ["denied", "no", "1.50"] }, { property = "user_properties.plan", op = "does not contain", values = ["denied", "refused", "none"] }]
where = [
    { property = "event_properties.p", op = "glob does not match", values = ["**/a*b*c/**[0-9][!x]?z", "**needle**", "/org/*/chart/*/x"] },
    { property = "event_properties.p", op = "does not contain", values = ["needle", "Nadel", "aiguille", "aguja", "ago", "naald"] },
    { property = "event_properties.p", op = "does not start with", values = ["needle", "Nadel"] },
    { property = "event_properties.p", op = "set does not contain", values = ["a1", "b2", "c3", 4, 5.5] },
    { property = "event_properties.p", op = "set is not", values = ["a1", "b2", "c3", 4, 5.5] },
    { property = "event_properties.products[*].sku", op = "is not", values = ["a1", 2] },
    { property = "user_properties.tags", op = "is not", value = "needle" },
    { property = "groups.company", op = "is not", value = 7 },
]
[sync.web.limited_data_use]
mode = "when"
when = [{ property = "event_properties.p", op = "greater", value = 1000000000 }, { property = "user_properties.plan", op = "less", value = 3 }]
"#;

const SYNC_OF_EVERYTHING: &str = r#"
[sync.NAME]
pixel_id = "1"
access_token = "t"
properties = ["*"]
default_calling_code = "country"
referrer_url = "event_properties.referrer"
opt_out = "user_properties.opt_out"
event_id = ["event_properties.p", "$insert_id", "insert_id", "uuid"]
event_source_url = ['event_properties["[Amplitude] Page Location"]', "event_properties.page", "event_properties.p"]
consent = [{ property = "user_properties.plan", op = "is not", values = ["denied", "no"] }]
where = [
    { property = "event_properties.p", op = "glob does not match", value = "**/a*b*c/**" },
    { property = "event_properties.p", op = "does not contain", values = ["needle", "Nadel"] },
]
[sync.NAME.user_data]
external_id = { all = ["user_id", "device_id", "event_properties.p"] }
email = { all = ["user_properties.email", "event_properties.p"] }
phone = { all = ["user_properties.phone", "event_properties.p"] }
first_name = ["user_properties.first_name", "event_properties.p"]
last_name = ["user_properties.last_name", "event_properties.p"]
date_of_birth = ["user_properties.birthday", "event_properties.p"]
gender = ["user_properties.gender", "event_properties.p"]
city = ["city", "event_properties.p"]
state = ["region", "event_properties.p"]
zip_code = ["user_properties.zip", "event_properties.p"]
country = ["country", "event_properties.p"]
client_ip_address = ["ip_address", "event_properties.p"]
client_user_agent = ["user_properties.user_agent", "event_properties.p"]
click_id = ["user_properties.fbc", 'event_properties["[Amplitude] Page Location"]', "event_properties.p"]
browser_id = ["user_properties.fbp", "event_properties.p"]
subscription_id = "event_properties.p"
facebook_login_id = "event_properties.p"
lead_id = "event_properties.p"
[sync.NAME.custom_data]
value = ["event_properties.value", "event_properties.total", "event_properties.p"]
currency = { from = ["event_properties.currency", "event_properties.p"], default = "USD" }
order_id = ["event_properties.order_id", "event_properties.p"]
num_items = "event_properties.p[*]"
content_ids = { all = ["event_properties.products[*].sku", "event_properties.p[*].id", "event_properties.p"] }
contents = { each = ["event_properties.products", "event_properties.p"], id = ["sku", "id"], quantity = { from = "qty", default = 1 }, item_price = "price", coupon = ["event_properties.coupon", "event_properties.p"] }
content_name = "event_properties.p"
search_string = { from = "event_properties.p", map = { a = "b" }, default = "c" }
mine = "event_properties.p"
also = { from = "event_properties.p", split = "," }
plan = "user_properties.plan"
[sync.NAME.original_event_data]
event_time = "event_properties.p"
order_id = "event_properties.p"
[sync.NAME.limited_data_use]
mode = "when"
when = [{ property = "region", op = "is", value = "California" }]
country = "event"
state = "event"
[sync.NAME.app]
advertiser_tracking_enabled = "user_properties.att"
"#;

const EVERYTHING: &str = "EVERYTHING";
const SEVERAL: &str = "SEVERAL";

const MEMORY: &str = r#"
[sync.NAME.user_memory]
webhook = true
keep_as_is = ["plan", "tags", "p"]
"#;

/// The text of rules, with what lets requests in.
pub fn config(rules: &str) -> String {
    let of_everything =
        |name: &str, memory: &str| format!("{SYNC_OF_EVERYTHING}{memory}").replace("NAME", name);
    let syncs = match rules {
        EVERYTHING => of_everything("web", MEMORY),
        SEVERAL => ["one", "two"].map(|name| of_everything(name, "")).concat(),
        rules => rules.replace("[ingest]\nsecret = \"Bearer load\"\n", ""),
    };
    format!("[ingest]\nsecret = \"{SECRET}\"\napi_keys = [\"{KEY}\"]\n{syncs}")
}

/// Honest events in an array, as many as there is room for, and at least one.
pub fn honest(length: usize) -> Vec<u8> {
    let mut body = String::from("[");
    for number in 0.. {
        let event = sample::event(
            &format!("event-{number:08}"),
            u128::from(NOW.unsigned_abs()),
        );
        if number > 0 && body.len() + event.len() + 2 > length {
            break;
        }
        if number > 0 {
            body.push(',');
        }
        body.push_str(&event);
    }
    body.push(']');
    body.into_bytes()
}

/// A value of about so many bytes, as JSON, or nearly.
pub type Value = fn(usize) -> String;

/// Repeats a piece between a beginning and an end.
fn filled(length: usize, begin: &str, piece: impl Fn(usize) -> String, end: &str) -> String {
    let mut text = String::from(begin);
    let mut number = 0;
    loop {
        let next = piece(number);
        if number > 0 && text.len() + next.len() + end.len() > length {
            break;
        }
        text.push_str(&next);
        number += 1;
    }
    text.push_str(end);
    text
}

/// A list of the same items, or an object of the same members.
fn listed(length: usize, open: &str, item: &str, close: &str) -> String {
    let separated = format!(",{item}");
    filled(
        length,
        open,
        |number| {
            if number == 0 {
                item.to_owned()
            } else {
                separated.clone()
            }
        },
        close,
    )
}

fn numbered(length: usize, open: &str, item: impl Fn(usize) -> String, close: &str) -> String {
    let separated = |number| {
        if number == 0 {
            item(number)
        } else {
            format!(",{}", item(number))
        }
    };
    filled(length, open, separated, close)
}

fn text(length: usize, piece: &str) -> String {
    filled(length, "\"", |_| piece.to_owned(), "\"")
}

/// JSON in a text in a text, and so on.
fn encoded(mut json: String, times: usize) -> String {
    for _ in 0..times {
        json = format!("\"{}\"", json.replace('\\', "\\\\").replace('"', "\\\""));
    }
    json
}

/// The same, with escapes by number: each encoding adds as much, and does not double what the last one added.
fn encoded_by_number(length: usize) -> String {
    let mut json = "[1]".to_owned();
    loop {
        let next = json.replace('\\', "\\u005c").replace('"', "\\u0022");
        if next.len() + 4 > length {
            return format!("\"{next}\"");
        }
        json = format!("[\"{next}\"]");
    }
}

/// Items beside which the first half of a value, if it is a text, stands in an event.
fn items_and_half(value: &str) -> (String, String) {
    let items = vec!["{\"sku\":1}"; (value.len() / 20).min(1000)].join(",");
    let half = value
        .get(..value.len() / 2)
        .filter(|_| value.starts_with('"'))
        .map_or(value.to_owned(), |half| {
            format!("{}\"", half.trim_end_matches('\\'))
        });
    (items, half)
}

pub const VALUES: &[(&str, Value)] = &[
    ("texts in texts by number", encoded_by_number),
    ("equal keys", |n| listed(n, "{", "\"\":0", "}")),
    ("keys", |n| {
        numbered(n, "{", |k| format!("\"k{k}\":{k}"), "}")
    }),
    ("texts by key", |n| {
        numbered(n, "{", |k| format!("\"k{k}\":\"v\""), "}")
    }),
    ("long keys", |n| {
        numbered(
            n,
            "{",
            |k| format!("\"{}{k}\":\"\\u0041 1\"", "phone ".repeat(40)),
            "}",
        )
    }),
    ("escaped keys", |n| {
        numbered(n, "{", |k| format!("\"\\u0061{k}\":0"), "}")
    }),
    ("numbers", |n| listed(n, "[", "0", "]")),
    ("long numbers", |n| {
        listed(n, "[", "12345678901234567890.5e-7", "]")
    }),
    ("empty lists", |n| listed(n, "[", "[]", "]")),
    ("empty objects", |n| listed(n, "[", "{}", "]")),
    ("empty texts", |n| listed(n, "[", "\"\"", "]")),
    ("short texts", |n| {
        numbered(n, "[", |k| format!("\"{k}\""), "]")
    }),
    ("items", |n| {
        numbered(n, "[", |k| format!("{{\"sku\":{k}}}"), "]")
    }),
    ("equal items", |n| {
        listed(n, "[", "{\"sku\":\"s\",\"qty\":2,\"price\":1.5}", "]")
    }),
    ("items of equal keys", |n| {
        listed(n, "[", "{\"sku\":1,\"sku\":1,\"\":1}", "]")
    }),
    ("lists in lists", |n| listed(n, "[", "[[1,2],[3]]", "]")),
    ("JSON texts", |n| listed(n, "[", "\"{}\"", "]")),
    ("other JSON texts", |n| {
        numbered(n, "[", |k| format!("\"{{\\\"sku\\\":{k}}}\""), "]")
    }),
    ("broken JSON texts", |n| {
        numbered(n, "[", |k| format!("\"[{k},\""), "]")
    }),
    ("texts that begin as JSON", |n| listed(n, "[", "\"[\"", "]")),
    ("broken words", |n| {
        encoded(listed(n * 9 / 10, "[", "x", "]"), 1)
    }),
    ("broken numbers", |n| {
        encoded(listed(n * 9 / 10, "[1,", "1.", "]"), 1)
    }),
    ("quotes", |n| encoded("\"".repeat(n / 2), 1)),
    ("JSON in texts", |n| {
        encoded(listed(n * 2 / 3, "[", "{\"a\":[1,2]}", "]"), 3)
    }),
    ("text in texts", |n| encoded("x".repeat(n / 32), 12)),
    ("deep lists", |n| "[".repeat(n / 2) + &"]".repeat(n / 2)),
    ("deep objects", |n| {
        "{\"a\":".repeat(n / 6) + "1" + &"}".repeat(n / 6)
    }),
    ("deep mixed", |n| {
        "[{\"a\":".repeat(n / 9) + "1" + &"}]".repeat(n / 9)
    }),
    ("deep JSON text", |n| {
        encoded("[".repeat(n / 2) + &"]".repeat(n / 2), 1)
    }),
    ("letters", |n| text(n, "a")),
    ("blanks", |n| text(n, " ")),
    ("words", |n| text(n, "Lorem ipsum, ")),
    ("newlines", |n| text(n, "\\n")),
    ("escapes", |n| text(n, "\\u0041")),
    ("escaped pairs", |n| text(n, "\\ud83d\\ude00")),
    ("broken pairs", |n| text(n, "\\ud83d")),
    ("broken escapes", |n| text(n, "\\x")),
    ("control characters", |n| text(n, "\u{1}a")),
    ("umlauts", |n| text(n, "é")),
    ("capital dotted i", |n| text(n, "İ")),
    ("combining marks", |n| text(n, "a\u{301}\u{323}\u{327}")),
    ("only combining marks", |n| text(n, "\u{323}\u{301}\u{345}")),
    ("ligatures", |n| text(n, "\u{fdfa}")),
    ("hangul", |n| text(n, "\u{1100}\u{1161}\u{11a8}")),
    ("emoji", |n| text(n, "👩\u{200d}👩")),
    ("invisible", |n| text(n, "\u{200b}\u{feff}")),
    ("digits", |n| text(n, "9")),
    ("digits of another script", |n| text(n, "٣")),
    ("full-width digits", |n| text(n, "９ ")),
    ("groups of digits", |n| text(n, "12 ")),
    ("pluses", |n| text(n, "+1")),
    ("pluses and blanks", |n| text(n, "+ ")),
    ("cards", |n| text(n, "4111 1111 1111 1112 ")),
    ("points", |n| text(n, "1.")),
    ("commas", |n| text(n, ",")),
    ("semicolons", |n| text(n, "a;")),
    ("thousands", |n| text(n, "1,234,")),
    ("at signs", |n| text(n, "@")),
    ("almost addresses", |n| text(n, "a@b.")),
    ("encoded at signs", |n| text(n, "%40a")),
    ("percent signs", |n| text(n, "%41")),
    ("address at the end", |n| {
        text(n, "abc ").replace("abc \"", "a@example.com\"")
    }),
    ("slashes", |n| text(n, "/a")),
    ("question marks", |n| text(n, "?a")),
    ("number signs", |n| text(n, "#a?")),
    ("colons", |n| text(n, "://")),
    ("parameters", |n| {
        filled(n, "\"https://a.example/?x", |k| format!("&a{k}=%41"), "\"")
    }),
    ("kept parameters", |n| {
        filled(
            n,
            "\"https://a.example/?fbclid=x",
            |k| format!("&utm_a={k}+%2B"),
            "\"",
        )
    }),
    ("separators of parameters", |n| {
        filled(n, "\"https://a.example/?x", |_| "&".to_owned(), "\"")
    }),
    ("fragments", |n| {
        filled(n, "\"https://a.example/#x", |_| ";a=1".to_owned(), "\"")
    }),
    ("addresses of pages", |n| {
        filled(n, "\"", |_| "https://a.example/?t=1 ".to_owned(), "\"")
    }),
    ("page addresses in a list", |n| {
        listed(n, "[", "\"//a?b=c@d.de\"", "]")
    }),
    ("users of pages", |n| {
        filled(n, "\"https://", |_| "a:b@".to_owned(), "\"")
    }),
    ("globs", |n| text(n, "/a/b*c")),
    ("user agent", |n| {
        text(n, "Mozilla/5.0 (X11; Linux x86_64) ")
    }),
    ("IP addresses", |n| text(n, "10.0.0.1, ")),
    ("forwarded IP addresses", |n| text(n, "::ffff:10.0.0.1,")),
    ("dates", |n| text(n, "2026-11-20T10:00:00")),
    ("long number", |n| "9".repeat(n)),
    ("long fraction", |n| format!("0.{}1", "0".repeat(n))),
    ("long exponent", |n| format!("1e{}", "9".repeat(n))),
    ("long negative exponent", |n| {
        format!("1e-{}", "9".repeat(n))
    }),
    ("names", |n| listed(n, "[", "\"O'Brien-Ñandú\"", "]")),
    ("phones", |n| {
        numbered(n, "[", |k| format!("\"+1 650 253 {k:04}\""), "]")
    }),
    ("mail addresses", |n| {
        numbered(n, "[", |k| format!("\"a{k}@example.com\""), "]")
    }),
    ("hashes", |n| {
        listed(n, "[", &format!("\"{}\"", "a1".repeat(32)), "]")
    }),
    ("nulls", |n| listed(n, "[", "null", "]")),
    ("words for nothing", |n| listed(n, "[", "\"(none)\"", "]")),
    ("broken", |n| listed(n, "[", "NaN", "]")),
    ("broken members", |n| {
        numbered(n, "{", |k| format!("\"k{k}\":x"), "}")
    }),
    ("operations", |n| listed(n, "{", "\"$set\":{\"p\":1}", "}")),
    ("all operations", |n| {
        let half = listed(n / 9, "[", "\"a\"", "]");
        let acts = [
            "$set",
            "$setOnce",
            "$append",
            "$prepend",
            "$preInsert",
            "$postInsert",
            "$remove",
        ];
        let members = acts.map(|act| format!("\"{act}\":{{\"p\":{half},\"tags\":{half}}}"));
        format!("{{{}}}", members.join(","))
    }),
    ("operations on many", |n| {
        let many = numbered(n / 3, "{", |k| format!("\"k{k}\":1"), "}");
        format!("{{\"$set\":{many},\"$setOnce\":{many},\"$add\":{many}}}")
    }),
    ("operations on one", |n| {
        let many = listed(n / 3, "{", "\"tags\":1", "}");
        format!("{{\"$set\":{many},\"$append\":{many},\"$prepend\":{many}}}")
    }),
];

/// A place in an event: what comes before the value, and behind it. The event's number makes it unique.
pub type Place = fn(usize, &str) -> String;

fn event(number: usize, properties: &str, user_properties: &str, more: &str) -> String {
    let mut event = String::new();
    write!(
        event,
        "{{\"event_type\":\"Order Completed\",\"event_time\":{NOW},\"$insert_id\":\"i{number}\",\"user_id\":\"user-{}\",\
         \"event_properties\":{{{properties}}},\"user_properties\":{user_properties}{more}}}",
        number % 100,
    )
    .expect("a text takes all");
    event
}

pub const PLACES: &[(&str, Place)] = &[
    ("p", |n, v| event(n, &format!("\"p\":{v}"), "{}", "")),
    ("products", |n, v| {
        event(n, &format!("\"products\":{v}"), "{}", "")
    }),
    ("value in products", |n, v| {
        event(
            n,
            &format!("\"products\":[{{\"sku\":\"s\",\"name\":{v},\"price\":{v}}}]"),
            "{}",
            "",
        )
    }),
    ("p beside products", |n, v| {
        let (items, half) = items_and_half(v);
        event(
            n,
            &format!("\"products\":[{items}],\"p\":{half},\"coupon\":\"0\""),
            "{\"$setOnce\":{\"plan\":1}}",
            "",
        )
    }),
    ("coupon beside products", |n, v| {
        let (items, half) = items_and_half(v);
        event(
            n,
            &format!("\"products\":[{items}],\"coupon\":{half}"),
            "{}",
            "",
        )
    }),
    ("page", |n, v| {
        event(n, &format!("\"[Amplitude] Page Location\":{v}"), "{}", "")
    }),
    ("value", |n, v| {
        event(n, &format!("\"value\":{v},\"$price\":1"), "{}", "")
    }),
    ("currency", |n, v| {
        event(n, &format!("\"currency\":{v},\"value\":1"), "{}", "")
    }),
    ("event properties", |n, v| {
        event(n, "", "{}", &format!(",\"event_properties\":{v}"))
    }),
    ("user properties", |n, v| event(n, "", v, "")),
    ("plan", |n, v| {
        event(n, "", &format!("{{\"plan\":{v}}}"), "")
    }),
    ("email", |n, v| {
        event(n, "", &format!("{{\"email\":{v}}}"), "")
    }),
    ("phone", |n, v| {
        event(n, "", &format!("{{\"phone\":{v}}}"), "")
    }),
    ("first name", |n, v| {
        event(n, "", &format!("{{\"first_name\":{v}}}"), "")
    }),
    ("birthday", |n, v| {
        event(n, "", &format!("{{\"birthday\":{v}}}"), "")
    }),
    ("zip", |n, v| event(n, "", &format!("{{\"zip\":{v}}}"), "")),
    ("fbc", |n, v| event(n, "", &format!("{{\"fbc\":{v}}}"), "")),
    ("user agent", |n, v| {
        event(n, "", &format!("{{\"user_agent\":{v}}}"), "")
    }),
    ("set", |n, v| {
        event(
            n,
            "",
            &format!("{{\"$set\":{{\"plan\":{v},\"email\":{v}}}}}"),
            "",
        )
    }),
    ("append", |n, v| {
        event(
            n,
            "",
            &format!("{{\"$append\":{{\"tags\":{v}}},\"$set\":{v}}}"),
            "",
        )
    }),
    ("groups", |n, v| {
        event(
            n,
            "",
            "{}",
            &format!(",\"groups\":{{\"company\":{v}}},\"group_properties\":{v}"),
        )
    }),
    ("country", |n, v| {
        event(
            n,
            "",
            "{}",
            &format!(",\"country\":{v},\"region\":{v},\"city\":{v}"),
        )
    }),
    ("ip_address", |n, v| {
        event(n, "", "{}", &format!(",\"ip_address\":{v}"))
    }),
    ("user_id", |n, v| {
        event(n, "", "{}", &format!(",\"user_id\":{v},\"device_id\":{v}"))
    }),
    ("insert id", |n, v| {
        event(n, "", "{}", &format!(",\"$insert_id\":{v}"))
    }),
    ("event_type", |n, v| {
        event(n, "", "{}", &format!(",\"event_type\":{v}"))
    }),
    ("event_time", |n, v| {
        event(n, "", "{}", &format!(",\"event_time\":{v}"))
    }),
    ("api_properties", |n, v| {
        event(n, "", "{}", &format!(",\"api_properties\":{v}"))
    }),
    ("another key", |n, v| {
        event(n, "", "{}", &format!(",\"other\":{v}"))
    }),
    ("top", |n, v| {
        let inner = v
            .strip_prefix('{')
            .and_then(|v| v.strip_suffix('}'))
            .filter(|v| !v.is_empty());
        event(
            n,
            "",
            "{}",
            &inner.map_or(format!(",\"x\":{v}"), |inner| format!(",{inner}")),
        )
    }),
];

/// An array of about so many bytes, of events with about `each` bytes of a value at a place.
pub fn body(place: Place, value: Value, each: usize, length: usize) -> Vec<u8> {
    let mut body = String::from("[");
    let value = value(each);
    let mut number = 0;
    loop {
        let next = place(number, &value);
        if number > 0 && body.len() + next.len() + 2 > length {
            break;
        }
        if number > 0 {
            body.push(',');
        }
        body.push_str(&next);
        number += 1;
    }
    body.push(']');
    body.into_bytes()
}

/// A text whose tildes are bytes that no text holds.
fn broken(text: String) -> Vec<u8> {
    let bytes = text.into_bytes().into_iter();
    bytes
        .map(|byte| if byte == b'~' { 0xff } else { byte })
        .collect()
}

/// A body of about so many bytes.
pub type Body = fn(usize) -> Vec<u8>;

/// Bodies that are costly as a whole.
pub const BODIES: &[(&str, Body)] = &[
    ("elements that are numbers", |n| {
        listed(n, "[", "1", "]").into()
    }),
    ("empty elements", |n| listed(n, "[", "", "]").into()),
    ("empty events", |n| listed(n, "[", "{}", "]").into()),
    ("lists as events", |n| listed(n, "[", "[]", "]").into()),
    ("events of one field", |n| {
        listed(n, "[", "{\"\":0}", "]").into()
    }),
    ("events with only a name", |n| {
        listed(n, "[", "{\"event_type\":\"A\"}", "]").into()
    }),
    ("events without a person", |n| {
        listed(
            n,
            "[",
            &format!("{{\"event_type\":\"A\",\"time\":{NOW}}}"),
            "]",
        )
        .into()
    }),
    ("least events", |n| {
        numbered(
            n,
            "[",
            |k| format!("{{\"event_type\":\"A\",\"time\":{NOW},\"user_id\":{k}}}"),
            "]",
        )
        .into()
    }),
    ("least events of one person", |n| {
        numbered(
            n,
            "[",
            |k| format!("{{\"event_type\":\"A\",\"time\":{NOW},\"user_id\":\"u\",\"uuid\":{k}}}"),
            "]",
        )
        .into()
    }),
    ("the same event", |n| {
        listed(
            n,
            "[",
            &format!("{{\"event_type\":\"A\",\"time\":{NOW},\"user_id\":\"u\"}}"),
            "]",
        )
        .into()
    }),
    ("old events", |n| {
        listed(
            n,
            "[",
            "{\"event_type\":\"A\",\"time\":1,\"user_id\":\"u\"}",
            "]",
        )
        .into()
    }),
    ("identifies", |n| {
        numbered(n, "[", |k| format!("{{\"event_type\":\"$identify\",\"user_id\":{k},\"user_properties\":{{\"plan\":1}}}}"), "]").into()
    }),
    ("identifies of one person", |n| {
        numbered(n, "[", |k| format!("{{\"event_type\":\"$identify\",\"user_id\":1,\"user_properties\":{{\"plan\":{k}}}}}"), "]").into()
    }),
    ("appends", |n| {
        numbered(n, "[", |k| format!("{{\"event_type\":\"$identify\",\"user_id\":1,\"user_properties\":{{\"$append\":{{\"tags\":{k}}}}}}}"), "]").into()
    }),
    ("sessions", |n| {
        listed(n, "[", "{\"event_type\":\"session_start\"}", "]").into()
    }),
    ("broken events", |n| {
        listed(n, "[", "{\"a\":1,,}", "]").into()
    }),
    ("shorter broken events", |n| {
        listed(n, "[", "{1}", "]").into()
    }),
    ("broken values", |n| listed(n, "[", "{\"a\":x}", "]").into()),
    ("broken words", |n| listed(n, "[", "x", "]").into()),
    ("broken characters", |n| {
        broken(listed(n, "[", "{\"a\":\"~\"}", "]"))
    }),
    ("one broken text", |n| {
        broken(event(0, &format!("\"p\":\"{}\"", "~".repeat(n)), "{}", ""))
    }),
    ("grouped numbers", |n| {
        listed(n, "[", "{\"a\":1,396}", "]").into()
    }),
    ("deep elements", |n| {
        ("[".repeat(n / 2) + &"]".repeat(n / 2)).into()
    }),
    ("unclosed", |n| "[".repeat(n).into()),
    ("unclosed objects", |n| "{\"a\":".repeat(n / 5).into()),
    ("blanks", |n| (" ".repeat(n) + "{}").into()),
    ("members beside events", |n| {
        listed(n, "{\"events\":[],", "\"\":0", "}").into()
    }),
    ("members of one event", |n| {
        listed(n, "{\"event_type\":\"A\",", "\"\":0", "}").into()
    }),
    ("broken members of one event", |n| {
        listed(n, "{\"event_type\":\"A\",", "\"\":x", "}").into()
    }),
    ("trailing", |n| (listed(n, "[", "{}", "]") + "x").into()),
    ("grouped numbers in one object", |n| {
        listed(n, "{\"a\":1,396,", "\"\":0", "}").into()
    }),
];
