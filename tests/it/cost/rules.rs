//! Rules that use one of the ways to read an event each, or all of them.

use super::sample;

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

/// The rules of a name.
pub fn rules(name: &str) -> &'static str {
    let mut all = RULES.iter();
    all.find_map(|(own, rules)| (*own == name).then_some(*rules))
        .expect("known rules")
}

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
