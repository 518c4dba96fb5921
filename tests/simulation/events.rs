//! The events that are sent, and what must become of each.

use std::time::Duration;

use fastrand::Rng;
use pixel_relay::clock::UnixMillis;
use serde_json::{Value, json};

/// The end of every e-mail address: raw personal data, to be looked for where it must not be.
pub const MAIL: &str = "@simulated.example";
/// The beginning of every phone number, in the form in which it comes.
pub const PHONE: &str = "+1 (415) 555";

/// What kind of event it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    Page,
    Purchase,
    /// With tens of kilobytes.
    Large,
    /// Meta's window closes for it within a minute.
    Aging,
    /// Older than Meta's window.
    Old,
    /// Two hours ahead.
    Future,
    /// Names nobody.
    Nobody,
    /// No JSON.
    Malformed,
    /// Meta refuses it, although it follows every rule.
    Poison,
}

/// An event that was sent.
#[derive(Clone, Debug)]
pub struct SentEvent {
    pub id: String,
    pub kind: EventKind,
    /// The end of Meta's window.
    pub deadline: UnixMillis,
    pub json: String,
}

const WINDOW: Duration = Duration::from_secs(7 * 24 * 3600);

impl EventKind {
    fn draw(random: &mut Rng) -> Self {
        match random.u8(..100) {
            0..60 => Self::Page,
            60..75 => Self::Purchase,
            75..78 => Self::Large,
            78..82 => Self::Aging,
            82..86 => Self::Old,
            86..89 => Self::Future,
            89..92 => Self::Nobody,
            92..94 => Self::Malformed,
            _ => Self::Poison,
        }
    }

    /// Whether Meta must have it in the end.
    pub const fn is_good(self) -> bool {
        matches!(self, Self::Page | Self::Purchase | Self::Large)
    }
}

impl SentEvent {
    /// Makes an event that happens now, or when its kind says.
    pub fn draw(random: &mut Rng, number: u64, now: UnixMillis) -> Self {
        Self::of(EventKind::draw(random), random, number, now)
    }

    pub fn of(kind: EventKind, random: &mut Rng, number: u64, now: UnixMillis) -> Self {
        let time = match kind {
            EventKind::Aging => now
                .before(WINDOW)
                .plus(Duration::from_secs(random.u64(3..60))),
            EventKind::Old => now
                .before(WINDOW)
                .before(Duration::from_secs(2 * 24 * 3600)),
            EventKind::Future => now.plus(Duration::from_secs(2 * 3600)),
            _ => now,
        };
        let id = format!("event-{number}");
        let name = match kind {
            EventKind::Purchase => "Purchase",
            EventKind::Poison => "Poison",
            _ => ["Page Viewed", "Sign Up", "Search"][random.usize(..3)],
        };
        let person = random.u32(..10);
        let mut event = json!({
            "event_type": name,
            "event_time": time.to_string(),
            "$insert_id": id,
            "user_id": format!("user-{person}"),
            "device_id": format!("b7b0f6a1-94c5-4c06-8f19-6a5b3d5f2a{person:02}"),
            "event_properties": {
                "serial": number,
                "value": "19.90",
                "currency": "EUR",
                "comment": format!("write to person-{number}{MAIL}"),
            },
            "user_properties": {
                "email": format!("person-{number}{MAIL}"),
                "phone": format!("{PHONE}-{:04}", number % 10_000),
            },
        });
        match kind {
            EventKind::Large => {
                event["event_properties"]["padding"] =
                    "x".repeat(random.usize(20_000..40_000)).into();
            }
            EventKind::Nobody => {
                for name in ["user_id", "device_id", "user_properties"] {
                    event.as_object_mut().map(|event| event.remove(name));
                }
            }
            _ => {}
        }
        let mut json = event.to_string();
        if kind == EventKind::Malformed {
            json = json.replacen('{', "{,", 1);
        }
        Self {
            id,
            kind,
            deadline: UnixMillis::from_seconds(time.seconds()).plus(WINDOW),
            json,
        }
    }
}

/// An event in a request to Graph.
#[derive(Clone, Debug)]
pub struct PostedEvent {
    pub id: String,
}

/// Reads the events of a request to Graph.
pub fn posted(body: &[u8]) -> Vec<PostedEvent> {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let data = body["data"].as_array().cloned().unwrap_or_default();
    let id = |event: &Value| event["event_id"].as_str().unwrap_or_default().to_owned();
    data.iter()
        .map(|event| PostedEvent { id: id(event) })
        .collect()
}
