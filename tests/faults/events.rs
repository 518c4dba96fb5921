//! The events that are sent. Everything in one follows from its serial number, so that what arrives can be
//! compared with what was sent.

use std::ops::Range;

use pixel_relay::clock::{Clock as _, SystemClock};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// The pixel that the endpoint knows.
pub const PIXEL: &str = "1001";

/// The sync: it remembers people, and sends two properties.
pub const SYNC: &str = r#"
[sync.web]
pixel_id = "1001"
access_token = "TOKEN"
consent = "not_required"
properties = ["serial", "padding"]
[sync.web.user_data]
email = "user_properties.email"
[sync.web.user_memory]
[sync.web.delivery]
max_batch_delay = "DELAY"
timeout = "2s"
requests_per_second = "unlimited"
"#;

/// What must become of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Delivered,
    /// Meta refuses it, although it follows every rule.
    Refused,
    TooOld,
}

pub fn fate(serial: u64) -> Fate {
    match serial % 128 {
        37 => Fate::Refused,
        71 => Fate::TooOld,
        _ => Fate::Delivered,
    }
}

/// A request's body with these events.
pub fn body(serials: Range<u64>) -> Vec<u8> {
    let now = SystemClock.now().to_string();
    let events: Vec<Value> = serials.map(|serial| write(serial, &now)).collect();
    serde_json::to_vec(&events).unwrap()
}

fn write(serial: u64, now: &str) -> Value {
    let fate = fate(serial);
    json!({
        "event_type": name(fate),
        "event_time": if fate == Fate::TooOld { "2020-01-01 00:00:00.000000" } else { now },
        "$insert_id": id(serial),
        "user_id": format!("user-{}", serial % 500),
        "device_id": "b7b0f6a1-94c5-4c06-8f19-6a5b3d5f2a60",
        "ip_address": "203.0.113.24",
        "event_properties": {"serial": serial, "padding": padding(serial)},
        "user_properties": {"email": email(serial)},
    })
}

/// What is wrong with an event that arrived; `None`: nothing. The other value is its serial number.
pub fn look_at(event: &Value) -> (u64, Option<String>) {
    let Some(serial) = event["custom_data"]["serial"].as_u64() else {
        return (0, Some(format!("an event that was never sent: {event}")));
    };
    let em = hex::encode(Sha256::digest(email(serial)));
    let same = event["event_id"] == *id(serial)
        && event["event_name"] == *name(fate(serial))
        && event["custom_data"]["padding"] == *padding(serial)
        && event["user_data"]["em"] == *em;
    let wrong = (!same).then(|| format!("event {serial} arrived altered: {event}"));
    (serial, wrong)
}

pub fn id(serial: u64) -> String {
    format!("event-{serial}")
}

const fn name(fate: Fate) -> &'static str {
    match fate {
        Fate::Refused => "Poison",
        Fate::Delivered | Fate::TooOld => "Page Viewed",
    }
}

/// The person's address, which belongs to the user.
fn email(serial: u64) -> String {
    format!("person-{}@faults.example", serial % 500)
}

/// Digits that do not compress well; sometimes so many that they need pages of their own.
fn padding(serial: u64) -> String {
    let length = if serial % 64 == 5 {
        9000
    } else {
        1 + serial % 300
    };
    let mut random = fastrand::Rng::with_seed(serial);
    (0..length).map(|_| random.alphanumeric()).collect()
}
