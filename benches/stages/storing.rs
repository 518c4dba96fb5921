//! From a server event to the disk, and from there to a request.

use std::cell::Cell;
use std::fs::File;
use std::hint::black_box;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::Criterion;
use pixel_relay::clock::TestClock;
use pixel_relay::config::SyncName;
use pixel_relay::config::queue::QueueConfig;
use pixel_relay::deliver::client::join_events;
use pixel_relay::event::Event;
use pixel_relay::event::arena::Arena;
use pixel_relay::payload::{Fingerprint, Payload, PayloadArena, Submission};
use pixel_relay::queue::Queue;
use pixel_relay::queue::attempt::AttemptAnswer;
use pixel_relay::queue::lease::Order;
use pixel_relay::queue::settle::{End, Settlement};
use pixel_relay::sync::Sync;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::mapping::{NOW, queue_config, sync, text};

/// Events of one push: about as many as wait together in a busy daemon.
pub const PUSH: u32 = 64;
/// Events of one request.
pub const BATCH: u32 = 1000;

pub fn measure(criterion: &mut Criterion) {
    let sync = sync();
    let payload = payload(&sync);
    let runtime = Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let mut file = tempfile::tempfile().expect("a file");
    let events = payload.json.repeat(PUSH as usize);
    criterion.bench_function("write and sync", |bencher| {
        bencher.iter(|| append(&mut file, &events));
    });
    let store = Store::open(&sync, payload.clone());
    criterion.bench_function("append", |bencher| {
        bencher.iter_custom(|rounds| (0..rounds).map(|_| store.append(&runtime, PUSH)).sum());
    });

    let batch = payload.json.repeat(BATCH as usize);
    let mut file = tempfile::tempfile().expect("a file");
    append(&mut file, &batch);
    criterion.bench_function("read and sync", |bencher| {
        bencher.iter(|| read_and_mark(&mut file, batch.len()));
    });
    let store = Store::open(&sync, payload.clone());
    criterion.bench_function("take", |bencher| {
        bencher.iter_custom(|rounds| {
            (0..rounds)
                .map(|_| {
                    store.append(&runtime, BATCH);
                    store.take(&runtime)
                })
                .sum()
        });
    });

    let bodies = vec![payload.json.clone(); BATCH as usize];
    criterion.bench_function("copy", |bencher| bencher.iter(|| black_box(&batch).clone()));
    criterion.bench_function("join", |bencher| {
        bencher.iter(|| join_events(black_box(&bodies), b"],\"access_token\":\"load\"}"));
    });
}

/// A new store, and events that differ only in their fingerprints.
struct Store {
    queue: Queue,
    sync: SyncName,
    payload: Payload,
    next: Cell<u64>,
    _folder: TempDir,
}

impl Store {
    fn open(sync: &Sync, payload: Payload) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the store");
        let config = QueueConfig {
            path: folder.path().to_owned(),
            ..queue_config()
        };
        let sync = sync.name().clone();
        let clock = Arc::new(TestClock::at(NOW));
        let queue =
            Queue::open(&config, std::slice::from_ref(&sync), clock).expect("a new store opens");
        Self {
            queue,
            sync,
            payload,
            next: Cell::new(0),
            _folder: folder,
        }
    }

    /// Appends this many events by one push.
    fn append(&self, runtime: &Runtime, count: u32) -> Duration {
        let taken: Vec<Submission> = (0..count).map(|_| self.event()).collect();
        let begun = Instant::now();
        let pushed = runtime.block_on(self.queue.push(taken));
        let took = begun.elapsed();
        assert_eq!(
            pushed.expect("the store takes them").queued,
            u64::from(count)
        );
        took
    }

    /// Leases and settles a batch, as for a request that is answered at once.
    fn take(&self, runtime: &Runtime) -> Duration {
        let begun = Instant::now();
        runtime.block_on(async {
            let (queue, sync) = (&self.queue, &self.sync);
            let mut slots = Vec::with_capacity(BATCH as usize);
            while slots.len() < BATCH as usize {
                let leased = queue
                    .lease(
                        sync,
                        BATCH as usize - slots.len(),
                        usize::MAX,
                        Order::MostUrgent,
                    )
                    .await
                    .expect("the store reads");
                slots.extend(leased.iter().map(|event| event.slot));
            }
            let delivery = queue.open_attempt(sync, &slots).await;
            let settlement = Settlement {
                sync: sync.clone(),
                delivery: Some(delivery.expect("the store writes")),
                answer: Some(AttemptAnswer {
                    verdict: "delivered",
                    status: Some(200),
                    code: None,
                    sub_code: None,
                    trace_id: None,
                    lost: false,
                }),
                ends: slots
                    .into_iter()
                    .map(|slot| (slot, End::Delivered { short: false }))
                    .collect(),
                release: Vec::new(),
                cooldowns: Vec::new(),
            };
            queue.settle(settlement).await.expect("the store writes");
        });
        begun.elapsed()
    }

    fn event(&self) -> Submission {
        let number = self.next.replace(self.next.get() + 1);
        let payload = Payload {
            fingerprint: Fingerprint {
                id: number,
                whole: number,
            },
            ..self.payload.clone()
        };
        Submission {
            sync: self.sync.clone(),
            mapped: Ok(payload),
        }
    }
}

fn payload(sync: &Sync) -> Payload {
    let text = text(1);
    let arena = Arena::default();
    let event = Event::decode(text.as_bytes(), &arena).expect("the sample is an event");
    match sync
        .take(
            Ok(&event),
            text.as_bytes(),
            NOW,
            &mut PayloadArena::default(),
        )
        .0
    {
        Ok(payload) => payload,
        Err(rejected) => panic!("the sample is not mapped: {}", rejected.reason),
    }
}

fn append(file: &mut File, events: &[u8]) {
    file.write_all(events).expect("the disk takes them");
    file.sync_data().expect("the disk takes them");
}

/// Reads a batch, and notes durably that it was read, twice: before and after the request.
fn read_and_mark(file: &mut File, bytes: usize) -> Vec<u8> {
    let mut batch = vec![0; bytes];
    file.seek(SeekFrom::Start(0)).expect("a file");
    file.read_exact(&mut batch).expect("it was written");
    append(file, b"sent");
    append(file, b"done");
    file.set_len(bytes as u64).expect("a file");
    batch
}
