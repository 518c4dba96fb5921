//! The senders: many connections that behave as Amplitude does and record what they send.
//!
//! They send again, unchanged, what was not acknowledged, or sometimes give up; and they sometimes repeat
//! what was acknowledged.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write as _;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use pixel_relay::clock::{Clock as _, SystemClock, UnixMillis};
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::daemon::SECRET;
use crate::events::{self, ExpectedOutcome, Kind, Sync};
use crate::rubbish::misbehave;

const CONNECTIONS: u64 = 12;
/// How many acknowledged bodies a connection keeps, to send one again.
const REMEMBERED: usize = 50;
/// Senders pause while more events than this are on their way.
const MOST_UNDER_WAY: u64 = 20_000;
/// The longest time for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// What was sent, and how it was answered.
pub struct Load {
    stopped: AtomicBool,
    address: watch::Sender<Option<String>>,
    record: Mutex<SendRecord>,
    expected: AtomicU64,
    arrived: AtomicU64,
}

/// What happened so far.
#[derive(Default)]
pub struct SendRecord {
    /// By serial number.
    pub events: Vec<Sent>,
    /// How often an event of this kind was sent, repeats included; and how often it was acknowledged. The
    /// second key: whether it was sent to the sync `web` alone.
    pub tries: BTreeMap<(Kind, bool), (u64, u64)>,
    /// Answers by status, with the code of errors.
    pub answers: BTreeMap<String, u64>,
    /// Requests without an answer.
    pub unanswered: u64,
    /// Requests given up without an acknowledgement.
    pub given_up: u64,
    /// Answers that were wrong.
    pub wrong: Vec<String>,
}

/// An event that was sent.
#[derive(Clone, Copy)]
pub struct Sent {
    pub kind: Kind,
    /// To the sync `web` alone, not to all.
    pub only_web: bool,
    pub acknowledged: bool,
    /// Whether an operator erased it, if it was still there.
    pub forgotten: bool,
}

impl Sent {
    /// What must become of it, for each sync that it was sent to.
    pub fn outcomes(self) -> impl Iterator<Item = (Sync, ExpectedOutcome)> {
        Sync::ALL
            .into_iter()
            .filter(move |sync| !self.only_web || *sync == Sync::Web)
            .map(move |sync| (sync, self.kind.outcome(sync)))
    }
}

/// A request's body, with how it is sent.
#[derive(Clone)]
struct Body {
    bytes: Vec<u8>,
    gzip: bool,
    put: bool,
    only_web: bool,
    serials: Range<usize>,
}

impl Load {
    pub fn new() -> Self {
        Self {
            stopped: AtomicBool::new(false),
            address: watch::Sender::new(None),
            record: Mutex::default(),
            expected: AtomicU64::new(0),
            arrived: AtomicU64::new(0),
        }
    }

    /// Starts the connections.
    pub fn start(self: &Arc<Self>, seed: u64) -> JoinSet<()> {
        let mut senders = JoinSet::new();
        for number in 0..CONNECTIONS {
            let random = fastrand::Rng::with_seed(seed.wrapping_mul(1000) + number);
            senders.spawn(Arc::clone(self).send_on(random));
        }
        let random = fastrand::Rng::with_seed(seed);
        senders.spawn(misbehave(Arc::clone(self), random));
        senders
    }

    /// Ends the connections, once what they are sending was answered or lost.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Sets the address of the daemon; `None` while it is down.
    pub fn point_at(&self, address: Option<String>) {
        self.address.send_replace(address);
    }

    /// The address of the daemon, if it is up.
    pub fn address(&self) -> Option<String> {
        self.address.borrow().clone()
    }

    /// Notes how many events arrived so far.
    pub fn set_arrived(&self, arrived: u64) {
        self.arrived.store(arrived, Ordering::Relaxed);
    }

    /// Locks the record.
    pub fn record(&self) -> MutexGuard<'_, SendRecord> {
        self.record.lock().unwrap()
    }

    /// Sends good events, so that a lane can find out that not every event is refused.
    pub async fn send_good_ones(&self, seed: u64) {
        let mut random = fastrand::Rng::with_seed(seed);
        let kinds = [Kind::Page, Kind::SignUp, Kind::Order];
        let body = self.write(&kinds, false, &mut random);
        self.send(&client(), &body, &mut random, true).await;
    }

    async fn send_on(self: Arc<Self>, mut random: fastrand::Rng) {
        let client = client();
        let mut remembered: VecDeque<Body> = VecDeque::new();
        while !self.is_stopped() {
            let under_way = (self.expected.load(Ordering::Relaxed))
                .saturating_sub(self.arrived.load(Ordering::Relaxed));
            if under_way > MOST_UNDER_WAY {
                sleep(Duration::from_millis(50)).await;
                continue;
            }
            if !remembered.is_empty() && random.u8(0..10) == 0 {
                let again = &remembered[random.usize(0..remembered.len())];
                self.send(&client, again, &mut random, false).await;
            } else {
                let count = match random.u8(0..100) {
                    0..50 => 1,
                    50..97 => random.usize(2..30),
                    _ => random.usize(100..400),
                };
                let kinds: Vec<Kind> = (0..count).map(|_| Kind::draw(&mut random)).collect();
                let only_web = random.u8(0..20) == 0;
                let body = self.write(&kinds, only_web, &mut random);
                if self.send(&client, &body, &mut random, false).await {
                    // What was sent long ago may have left the window of duplicates.
                    if remembered.len() == REMEMBERED {
                        remembered.pop_front();
                    }
                    remembered.push_back(body);
                }
            }
            sleep(Duration::from_millis(random.u64(0..80))).await;
        }
    }

    /// Writes lines of an export, as history that the stream has not brought; returns them with their serial numbers.
    pub fn write_history(
        &self,
        count: usize,
        random: &mut fastrand::Rng,
    ) -> (String, Range<usize>) {
        let kinds: Vec<Kind> = (0..count).map(|_| Kind::draw_good(random)).collect();
        let first = self.begin(&kinds, false);
        let hour_ago = UnixMillis(SystemClock.now().0 - 3_600_000).to_string();
        let then = hour_ago.replace('T', " ");
        let mut text = String::new();
        for (place, kind) in kinds.iter().enumerate() {
            let serial = (first + place) as u64;
            events::write(&mut text, *kind, serial, then.trim_end_matches('Z'), random);
            text.push('\n');
        }
        (text, first..first + count)
    }

    /// Notes that events were taken.
    pub fn acknowledge(&self, serials: Range<usize>) {
        let body = Body {
            bytes: Vec::new(),
            gzip: false,
            put: false,
            only_web: false,
            serials,
        };
        self.count_tries(&body, true);
    }

    /// Chooses one of the last events that were taken; gives its serial number and its id.
    pub fn any_taken(&self, random: &mut fastrand::Rng) -> Option<(usize, String)> {
        let record = self.record();
        let last = record.events.len();
        let mut serials = (0..50).map(|_| last.saturating_sub(random.usize(1..3000)));
        let serial = serials.find(|serial| {
            let event = record.events.get(*serial);
            event.is_some_and(|event| event.acknowledged && event.kind.is_good())
        })?;
        let id = events::id(record.events[serial].kind, serial as u64)?;
        Some((serial, id))
    }

    /// Gives events their serial numbers; returns the first.
    fn begin(&self, kinds: &[Kind], only_web: bool) -> usize {
        let mut record = self.record();
        let first = record.events.len();
        record.events.extend(kinds.iter().map(|kind| Sent {
            kind: *kind,
            only_web,
            acknowledged: false,
            forgotten: false,
        }));
        first
    }

    fn write(&self, kinds: &[Kind], only_web: bool, random: &mut fastrand::Rng) -> Body {
        let first = self.begin(kinds, only_web);
        let now = SystemClock.now().to_string();
        let mut text = String::new();
        // A body that is nothing but a broken event is refused, so one stands in a list.
        let may_be_bare = kinds != [Kind::Malformed];
        let (begin, end) = match (kinds.len(), random.u8(0..4)) {
            (1, 0..3) if may_be_bare => ("", ""),
            (_, 0) => ("{\"events\":[", "]}"),
            _ => ("[", "]"),
        };
        text.push_str(begin);
        for (place, kind) in kinds.iter().enumerate() {
            if place > 0 {
                text.push(',');
            }
            events::write(&mut text, *kind, (first + place) as u64, &now, random);
        }
        text.push_str(end);
        let gzip = random.u8(0..5) == 0;
        Body {
            bytes: if gzip {
                zipped(&text)
            } else {
                text.into_bytes()
            },
            gzip,
            put: random.u8(0..10) == 0,
            only_web,
            serials: first..first + kinds.len(),
        }
    }

    /// Sends a body until it is acknowledged; returns whether it was.
    async fn send(
        &self,
        client: &reqwest::Client,
        body: &Body,
        random: &mut fastrand::Rng,
        to_the_end: bool,
    ) -> bool {
        let mut addresses = self.address.subscribe();
        loop {
            let address = loop {
                if let Some(address) = addresses.borrow_and_update().clone() {
                    break address;
                }
                if self.is_stopped() && !to_the_end {
                    return false;
                }
                // Looks up now and then, since a stop does not change the address.
                tokio::time::timeout(Duration::from_millis(100), addresses.changed())
                    .await
                    .ok();
            };
            self.count_tries(body, false);
            if self.try_once(client, &address, body).await {
                self.count_tries(body, true);
                return true;
            }
            if self.is_stopped() && !to_the_end {
                return false;
            }
            if !to_the_end && random.u8(0..30) == 0 {
                self.record().given_up += 1;
                return false;
            }
            sleep(Duration::from_millis(random.u64(20..250))).await;
        }
    }

    /// Sends a body once; returns whether it was acknowledged.
    async fn try_once(&self, client: &reqwest::Client, address: &str, body: &Body) -> bool {
        let path = if body.only_web { "/web" } else { "" };
        let url = format!("{address}/webhook{path}");
        let request = if body.put {
            client.put(url)
        } else {
            client.post(url)
        };
        let mut request = request.header("authorization", SECRET);
        if body.gzip {
            request = request.header("content-encoding", "gzip");
        }
        let Ok(answer) = request.body(body.bytes.clone()).send().await else {
            self.record().unanswered += 1;
            return false;
        };
        let status = answer.status().as_u16();
        let Ok(text) = answer.text().await else {
            self.record().unanswered += 1;
            return false;
        };
        let said: Value = serde_json::from_str(&text).unwrap_or_default();
        let mut record = self.record();
        let code = said["error"].as_str().unwrap_or_default();
        *record
            .answers
            .entry(format!("{status} {code}").trim_end().to_owned())
            .or_default() += 1;
        match status {
            200 => {
                let events = body.serials.len() as u64;
                let syncs = if body.only_web { 1 } else { Sync::ALL.len() } as u64;
                let ends: u64 = ["queued", "duplicate", "filtered", "invalid"]
                    .iter()
                    .filter_map(|name| said[name].as_u64())
                    .sum();
                if said["events"].as_u64() != Some(events) || ends != events * syncs {
                    let wrong = format!("{events} events for {syncs} syncs were answered {text}");
                    record.wrong.push(wrong);
                }
                true
            }
            503 => false,
            _ => {
                record
                    .wrong
                    .push(format!("a good request was answered {status} {text}"));
                false
            }
        }
    }

    fn count_tries(&self, body: &Body, acknowledged: bool) {
        let mut record = self.record();
        let mut expected = 0;
        for serial in body.serials.clone() {
            let event = &mut record.events[serial];
            let kind = event.kind;
            if acknowledged && !event.acknowledged {
                event.acknowledged = true;
                let delivered = |(_, outcome)| matches!(outcome, ExpectedOutcome::Delivered(_));
                expected += event
                    .outcomes()
                    .filter(|outcome| delivered(*outcome))
                    .count() as u64;
            }
            let (tries, acknowledgements) = record.tries.entry((kind, body.only_web)).or_default();
            if acknowledged {
                *acknowledgements += 1;
            } else {
                *tries += 1;
            }
        }
        self.expected.fetch_add(expected, Ordering::Relaxed);
    }

    /// Whether the connections are to end.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}

/// One connection, which goes with its daemon.
pub fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .timeout(PATIENCE)
        .build()
        .unwrap()
}

fn zipped(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}
