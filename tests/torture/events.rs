//! The events that are sent, and what must become of each.

use std::fmt::Write as _;

use serde_json::json;

/// The pixels that the endpoint knows.
pub const PIXELS: [&str; 3] = ["1001", "2002", "3003"];

/// The syncs of the daemon under test: two share a pixel, one filters, and what is queued for one is dropped at times.
pub const SYNCS: &str = r#"
[sync.web]
pixel_id = "1001"
access_token_file = "TOKEN_FILE"
properties = ["serial"]
[sync.web.user_data]
email = "user_properties.email"
[sync.web.delivery]
max_batch_delay = "50ms"
timeout = "1s"
requests_per_second = "unlimited"

[sync.twin]
pixel_id = "1001"
access_token_file = "TOKEN_FILE"
properties = ["serial"]
[sync.twin.user_data]
email = "user_properties.email"
[sync.twin.events]
"Sign Up" = "Lead"
[sync.twin.delivery]
max_batch_delay = "50ms"
timeout = "1s"
requests_per_second = 50

[sync.shop]
pixel_id = "2002"
access_token_file = "TOKEN_FILE"
properties = ["serial"]
[sync.shop.user_data]
email = "user_properties.email"
[sync.shop.events.Order]
send_as = "Purchase"
where = [{ property = "event_properties.total", op = "greater", value = 0 }]
[sync.shop.events.Order.custom_data]
value = "event_properties.total"
currency = { constant = "EUR" }
[sync.shop.events."Poison"]
[sync.shop.delivery]
max_batch_delay = "50ms"
timeout = "1s"
requests_per_second = "unlimited"

[sync.scrap]
pixel_id = "3003"
access_token_file = "TOKEN_FILE"
properties = ["serial"]
[sync.scrap.user_data]
email = "user_properties.email"
[sync.scrap.events."Sign Up"]
[sync.scrap.delivery]
max_batch_delay = "50ms"
timeout = "1s"
requests_per_second = "unlimited"
"#;

/// The names and pixels of the syncs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sync {
    Web,
    Twin,
    Shop,
    /// What is queued for it is dropped at times.
    Scrap,
}

impl Sync {
    pub const ALL: [Self; 4] = [Self::Web, Self::Twin, Self::Shop, Self::Scrap];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Web => "web",
            Self::Twin => "twin",
            Self::Shop => "shop",
            Self::Scrap => "scrap",
        }
    }

    /// The sync that sends events of this name to this pixel.
    pub fn sending(pixel_id: &str, event_name: &str) -> Self {
        match (pixel_id, event_name) {
            ("1001", "Lead") => Self::Twin,
            ("1001", _) => Self::Web,
            ("3003", _) => Self::Scrap,
            _ => Self::Shop,
        }
    }
}

/// What kind of event it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Page,
    /// Without an id: the daemon makes one from its bytes.
    PageWithoutId,
    SignUp,
    Order,
    FreeOrder,
    /// Meta refuses it, although it follows every rule.
    Poison,
    TooOld,
    Nobody,
    Malformed,
}

/// What must become of an event in a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectedOutcome {
    /// Delivered under this name.
    Delivered(&'static str),
    /// The same, or dropped by an operator.
    DeliveredOrDropped(&'static str),
    Rejected,
    Invalid(&'static str),
    Filtered,
}

impl Kind {
    /// Draws one: mostly good ones.
    pub fn draw(random: &mut fastrand::Rng) -> Self {
        match random.u16(0..1000) {
            0..400 => Self::Page,
            400..500 => Self::PageWithoutId,
            500..700 => Self::SignUp,
            700..900 => Self::Order,
            900..940 => Self::FreeOrder,
            940..943 => Self::Poison,
            943..965 => Self::TooOld,
            965..980 => Self::Nobody,
            _ => Self::Malformed,
        }
    }

    /// Draws one that has an id and is delivered.
    pub fn draw_good(random: &mut fastrand::Rng) -> Self {
        [Self::Page, Self::SignUp, Self::Order][random.usize(0..3)]
    }

    /// Whether it has an id and is delivered.
    pub const fn is_good(self) -> bool {
        matches!(self, Self::Page | Self::SignUp | Self::Order)
    }

    pub const fn outcome(self, sync: Sync) -> ExpectedOutcome {
        match (self, sync) {
            (Self::Malformed, _) => ExpectedOutcome::Invalid("malformed_json"),
            (Self::Page | Self::PageWithoutId, Sync::Web) => {
                ExpectedOutcome::Delivered("Page Viewed")
            }
            (Self::SignUp, Sync::Web) => ExpectedOutcome::Delivered("Sign Up"),
            (Self::SignUp, Sync::Twin) => ExpectedOutcome::Delivered("Lead"),
            (Self::SignUp, Sync::Scrap) => ExpectedOutcome::DeliveredOrDropped("Sign Up"),
            (Self::Order | Self::FreeOrder, Sync::Web) => ExpectedOutcome::Delivered("Order"),
            (Self::Order, Sync::Shop) => ExpectedOutcome::Delivered("Purchase"),
            (Self::Poison, Sync::Web | Sync::Shop) => ExpectedOutcome::Rejected,
            (Self::TooOld, Sync::Web) => ExpectedOutcome::Invalid("too_old"),
            (Self::Nobody, Sync::Web) => ExpectedOutcome::Invalid("no_identifier"),
            _ => ExpectedOutcome::Filtered,
        }
    }

    const fn event_type(self) -> &'static str {
        match self {
            Self::SignUp => "Sign Up",
            Self::Order | Self::FreeOrder => "Order",
            Self::Poison => "Poison",
            _ => "Page Viewed",
        }
    }
}

/// The id under which an event must arrive; `None`: any, but always the same.
pub fn id(kind: Kind, serial: u64) -> Option<String> {
    (kind != Kind::PageWithoutId).then(|| format!("event-{serial}"))
}

/// The event's e-mail address, which must leave this machine only as a hash.
pub fn email(serial: u64) -> String {
    format!("person-{serial}{MAIL}")
}

/// The end of every address: raw personal data, to be looked for where it must not be.
pub const MAIL: &str = "@torture.example";

/// Writes an event as Amplitude's webhook does.
pub fn write(body: &mut String, kind: Kind, serial: u64, now: &str, random: &mut fastrand::Rng) {
    let mut event = json!({
        "event_type": kind.event_type(),
        "event_time": now,
        "user_id": format!("user-{serial}"),
        "device_id": "b7b0f6a1-94c5-4c06-8f19-6a5b3d5f2a60",
        "ip_address": "203.0.113.24",
        "event_properties": {"serial": serial, "padding": "x".repeat(random.usize(0..200))},
        "user_properties": {"email": email(serial)},
    });
    if let Some(id) = id(kind, serial) {
        event["$insert_id"] = id.into();
    }
    match kind {
        Kind::Order => event["event_properties"]["total"] = "19.90".into(),
        Kind::FreeOrder => event["event_properties"]["total"] = 0.into(),
        Kind::TooOld => event["event_time"] = "2020-01-01 00:00:00.000000".into(),
        Kind::Nobody => {
            for name in ["user_id", "device_id", "ip_address", "user_properties"] {
                event.as_object_mut().unwrap().remove(name);
            }
        }
        _ => {}
    }
    let event = event.to_string();
    if kind == Kind::Malformed {
        body.push_str(&event.replacen('{', "{,", 1));
    } else {
        write!(body, "{event}").unwrap();
    }
}
