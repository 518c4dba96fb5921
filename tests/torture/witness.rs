//! What arrived at the endpoint, event by event.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use pixel_relay::clock::UnixMillis;
use pixel_relay::sandbox::Sandbox;
use pixel_relay::sandbox::record::Accepted;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use crate::LOOK;
use crate::events::{self, ExpectedOutcome, Sync};
use crate::load::{Load, Sent};

/// How many violations are shown in full.
const TOLD: usize = 20;

/// Everything that was accepted.
#[derive(Default)]
pub struct Witness {
    /// By sync and serial number.
    pub arrived: HashMap<(Sync, u64), Arrived>,
    /// How many of them must arrive.
    due: u64,
    /// All events, repeats included.
    pub accepted: u64,
    /// Requests some of whose events arrived once more in a later one, and when they were taken.
    pub repeated_requests: BTreeMap<u64, UnixMillis>,
    /// Violations: what should not have arrived, or not in this form.
    pub wrong: Vec<String>,
}

/// An event that arrived.
pub struct Arrived {
    /// Of its id and its name.
    fingerprint: u64,
    /// The request that brought it last, and when.
    request: u64,
    at: UnixMillis,
}

impl Witness {
    /// Checks what arrives until it is stopped; returns everything that arrived.
    pub async fn watch(
        mut self,
        sandbox: Sandbox,
        load: Arc<Load>,
        stop: CancellationToken,
    ) -> Self {
        loop {
            let last = stop.is_cancelled();
            let records = sandbox.take_records();
            self.accepted += records.len() as u64;
            for record in records {
                self.look_at(&record, &load);
            }
            load.set_arrived(self.due);
            if last {
                return self;
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    fn look_at(&mut self, accepted: &Accepted, load: &Load) {
        let event = &accepted.event;
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let (name, id) = (text(&event["event_name"]), text(&event["event_id"]));
        let sync = Sync::sending(&accepted.pixel_id, &name);
        let Some(serial) = event["custom_data"]["serial"].as_u64() else {
            return self.tell(format!("an event without its serial number: {name} {id}"));
        };
        let sent: Option<Sent> = usize::try_from(serial)
            .ok()
            .and_then(|place| load.record().events.get(place).copied());
        let Some(sent) = sent else {
            return self.tell(format!("{sync:?} {serial}: was never sent"));
        };
        let outcome = sent.outcomes().find(|(other, _)| *other == sync);
        let as_expected = |(_, outcome)| match outcome {
            ExpectedOutcome::Delivered(expected)
            | ExpectedOutcome::DeliveredOrDropped(expected) => expected == name,
            _ => false,
        };
        if !outcome.is_some_and(as_expected) {
            self.tell(format!(
                "{sync:?} {serial}: arrived as {name}, but is {:?}",
                sent.kind
            ));
        }
        if events::id(sent.kind, serial).is_some_and(|expected| expected != id) {
            self.tell(format!("{sync:?} {serial}: arrived under the id {id}"));
        }
        let email = hex::encode(Sha256::digest(events::email(serial)));
        if event["user_data"]["em"] != *email {
            let data = &event["user_data"];
            self.tell(format!(
                "{sync:?} {serial}: arrived with another person's data: {data}"
            ));
        }
        let mut hasher = DefaultHasher::new();
        (&id, &name).hash(&mut hasher);
        let arrived = Arrived {
            fingerprint: hasher.finish(),
            request: accepted.request,
            at: UnixMillis(accepted.received_at_ms),
        };
        match self.arrived.entry((sync, serial)) {
            Entry::Vacant(place) => {
                place.insert(arrived);
                self.due += u64::from(sync != Sync::Scrap);
            }
            Entry::Occupied(mut place) => {
                let before = place.insert(arrived);
                let same = before.fingerprint == place.get().fingerprint;
                if before.request == accepted.request {
                    self.tell(format!("{sync:?} {serial}: twice in one request"));
                } else {
                    self.repeated_requests.insert(before.request, before.at);
                }
                if !same {
                    self.tell(format!(
                        "{sync:?} {serial}: delivered before, and again as {name} {id}"
                    ));
                }
            }
        }
    }

    fn tell(&mut self, wrong: String) {
        if self.wrong.len() < TOLD {
            self.wrong.push(wrong);
        }
    }
}
