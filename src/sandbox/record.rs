//! What the sandbox accepted and counted, in bounded memory.
//!
//! The newest events are kept as the bytes that arrived. Of older ones only a 64-bit fingerprint of (pixel,
//! event name, event id) remains, so that repeats are still recognised.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use crate::clock::UnixMillis;

/// How many early calls are kept, and how many answers that announced one throttle.
pub(super) const MAX_EARLY: usize = 1000;
pub(super) const MAX_ANNOUNCED: usize = 64;

/// How many pixels have counters and throttles of their own, since their ids come from outside.
pub(super) const MAX_PIXELS: usize = 1000;

/// An accepted event, with its call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Accepted {
    /// The pixel of the call's path.
    pub pixel_id: String,
    /// The number of the call, from 1.
    pub request: u64,
    /// When it was accepted, in milliseconds since 1970.
    pub received_at_ms: i64,
    /// The test event code of the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_event_code: Option<String>,
    /// The event.
    pub event: Value,
}

/// A call that came while a throttle or block was in force for its pixel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EarlyCall {
    /// The pixel.
    pub pixel_id: String,
    /// When it came.
    pub arrived: UnixMillis,
    /// When an answer first announced the throttle.
    pub announced_at: UnixMillis,
    /// The trace ids of the first answers that had announced it by then.
    pub announced_by: Vec<String>,
}

/// Counts since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SandboxStats {
    /// Calls to the edge that were read completely.
    pub requests: u64,
    /// Calls without a body, which ask for nothing but the time. They count nowhere else.
    pub head_requests: u64,
    /// Calls whose batch was taken, whatever was answered.
    pub batches: u64,
    /// Events taken, repeats included.
    pub accepted: u64,
    /// Events taken whose (pixel, event name, event id) had been taken before.
    pub repeats: u64,
    /// Calls refused, by `code` or `code/sub-code`.
    pub refused: BTreeMap<String, u64>,
    /// Faults produced, by name.
    pub faults: BTreeMap<&'static str, u64>,
    /// Calls that came while a throttle or block was in force, more than a second after an answer announced it.
    pub early_calls: u64,
    /// Calls that are being answered now; a call that hangs counts until its caller leaves.
    pub in_flight: u64,
    /// The most calls at once.
    pub most_in_flight: u64,
    /// The most events that one call held, taken or not.
    pub largest_batch: usize,
    /// The most bytes that one call held, taken or not.
    pub largest_body: usize,
    /// Events taken by pixel, for the first thousand pixels.
    pub accepted_by_pixel: BTreeMap<String, u64>,
}

/// The accepted events.
pub(super) struct Record {
    kept: VecDeque<KeptEvent>,
    kept_bytes: usize,
    times: HashMap<u64, u32>,
    keep_events: usize,
    keep_bytes: usize,
    keep_ids: usize,
}

/// What the events of one batch have in common.
pub(super) struct AcceptedCall {
    pub(super) pixel_id: String,
    pub(super) request: u64,
    pub(super) received_at: UnixMillis,
    pub(super) test_event_code: Option<String>,
}

struct KeptEvent {
    call: Arc<AcceptedCall>,
    json: Box<str>,
}

impl SandboxStats {
    /// Counts a batch that was taken.
    pub(super) fn count_batch(&mut self, pixel_id: &str, events: u64, repeats: u64) {
        self.batches += 1;
        self.accepted += events;
        self.repeats += repeats;
        if let Some(accepted) = self.accepted_by_pixel.get_mut(pixel_id) {
            *accepted += events;
        } else if self.accepted_by_pixel.len() < MAX_PIXELS {
            self.accepted_by_pixel.insert(pixel_id.to_owned(), events);
        }
    }
}

impl Record {
    pub(super) fn new(keep_events: usize, keep_bytes: usize, keep_ids: usize) -> Self {
        Self {
            kept: VecDeque::new(),
            kept_bytes: 0,
            times: HashMap::new(),
            keep_events,
            keep_bytes,
            keep_ids,
        }
    }

    /// Takes one event; returns whether it is a repeat.
    pub(super) fn take(&mut self, call: &Arc<AcceptedCall>, json: Box<str>, event: &Value) -> bool {
        self.kept_bytes += json.len();
        self.kept.push_back(KeptEvent {
            call: Arc::clone(call),
            json,
        });
        while self.kept.len() > self.keep_events || self.kept_bytes > self.keep_bytes {
            let Some(oldest) = self.kept.pop_front() else {
                break;
            };
            self.kept_bytes -= oldest.json.len();
        }
        let (Some(name), Some(id)) = (event["event_name"].as_str(), event["event_id"].as_str())
        else {
            return false;
        };
        let fingerprint = fingerprint(&call.pixel_id, name, id);
        if let Some(times) = self.times.get_mut(&fingerprint) {
            *times = times.saturating_add(1);
            return true;
        }
        if self.times.len() < self.keep_ids {
            self.times.insert(fingerprint, 1);
        }
        false
    }

    pub(super) fn newest(&self, limit: usize, pixel_id: Option<&str>) -> Vec<Accepted> {
        self.kept
            .iter()
            .rev()
            .filter(|kept| pixel_id.is_none_or(|pixel_id| kept.call.pixel_id == pixel_id))
            .take(limit)
            .map(KeptEvent::shown)
            .collect()
    }

    /// Removes and returns the kept events, oldest first. Repeats are still recognised afterwards.
    pub(super) fn take_out(&mut self) -> Vec<Accepted> {
        self.kept_bytes = 0;
        self.kept.drain(..).map(|kept| kept.shown()).collect()
    }

    pub(super) fn times_accepted(&self, pixel_id: &str, name: &str, id: &str) -> u32 {
        let fingerprint = fingerprint(pixel_id, name, id);
        self.times.get(&fingerprint).copied().unwrap_or(0)
    }
}

impl KeptEvent {
    fn shown(&self) -> Accepted {
        Accepted {
            pixel_id: self.call.pixel_id.clone(),
            request: self.call.request,
            received_at_ms: self.call.received_at.0,
            test_event_code: self.call.test_event_code.clone(),
            event: serde_json::from_str(&self.json).expect("it was parsed before it was taken"),
        }
    }
}

fn fingerprint(pixel_id: &str, name: &str, id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (pixel_id, name, id).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn take(record: &mut Record, pixel_id: &str, event: &Value) -> bool {
        let call = Arc::new(AcceptedCall {
            pixel_id: pixel_id.to_owned(),
            request: 1,
            received_at: UnixMillis(0),
            test_event_code: None,
        });
        record.take(&call, event.to_string().into(), event)
    }

    #[test]
    fn keeps_the_newest_and_remembers_the_rest_as_ids() {
        let mut record = Record::new(2, 1000, 100);
        for id in ["a", "b", "c"] {
            let event = json!({"event_name": "Lead", "event_id": id});
            assert!(!take(&mut record, "1", &event));
        }
        let ids: Vec<Value> = (record.newest(9, None).into_iter())
            .map(|accepted| accepted.event["event_id"].clone())
            .collect();
        assert_eq!(ids, ["c", "b"]);
        assert_eq!(record.newest(1, None).len(), 1);
        assert_eq!(record.newest(9, Some("2")), []);
        let taken_out = record.take_out();
        assert_eq!(taken_out.len(), 2);
        assert_eq!(taken_out[0].event["event_id"], "b");
        assert_eq!((record.newest(9, None).len(), record.kept_bytes), (0, 0));
        assert!(take(
            &mut record,
            "1",
            &json!({"event_name": "Lead", "event_id": "a"})
        ));
        assert_eq!(record.times_accepted("1", "Lead", "a"), 2);
        assert_eq!(record.times_accepted("1", "lead", "a"), 0);
    }

    #[test]
    fn the_same_id_is_no_repeat_for_another_pixel_or_name() {
        let mut record = Record::new(9, 1000, 100);
        let event = json!({"event_name": "Lead", "event_id": "a"});
        assert!(!take(&mut record, "1", &event));
        assert!(!take(&mut record, "2", &event));
        let renamed = json!({"event_name": "Contact", "event_id": "a"});
        assert!(!take(&mut record, "1", &renamed));
    }

    #[test]
    fn bytes_and_ids_are_bounded() {
        let mut record = Record::new(100, 100, 3);
        for id in 0..50 {
            let event = json!({"event_name": "Lead", "event_id": id.to_string()});
            take(&mut record, "1", &event);
        }
        assert!(record.kept_bytes <= 100 && record.kept.len() == 2);
        assert_eq!(record.times.len(), 3);
    }
}
