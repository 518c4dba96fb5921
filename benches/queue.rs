//! What the queue costs per event, beside a plain file that is appended to and synced as often.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use std::cell::RefCell;
use std::fs::File;
use std::io::Write;
use std::num::{NonZeroU64, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tokio::runtime::{self, Runtime};

use pixel_relay::clock::SystemClock;
use pixel_relay::config::{QueueConfig, SyncName};
use pixel_relay::map::payload::{Fingerprint, Payload};
use pixel_relay::queue::Queue;
use pixel_relay::queue::lease::Order;
use pixel_relay::queue::settle::{Answer, End, Settlement};
use pixel_relay::sync::{Fate, Taken};

/// Events in a commit, as 64 busy connections make it.
const COMMIT: usize = 64;
/// Events in a request.
const REQUEST: usize = 1000;
/// Bytes of an event.
const BYTES: usize = 900;

struct Bench {
    runtime: Runtime,
    queue: Queue,
    sync: SyncName,
    next: u64,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let config = QueueConfig {
            path: folder.path().to_owned(),
            max_bytes: NonZeroU64::new(10 << 30).expect("not zero"),
            min_free_disk: Some(0),
            duplicate_window: Duration::from_secs(48 * 3600),
            duplicate_ids: NonZeroUsize::new(1_800_000).expect("not zero"),
            dead_letter_retention: Duration::from_secs(30 * 24 * 3600),
            dead_letter_max_bytes: 1 << 30,
        };
        let sync = SyncName::new("web").expect("follows the rule");
        let queue = Queue::open(&config, std::slice::from_ref(&sync), Arc::new(SystemClock))
            .expect("a new store opens");
        Self {
            runtime: runtime::Builder::new_current_thread()
                .build()
                .expect("a runtime starts"),
            queue,
            sync,
            next: 0,
            _folder: folder,
        }
    }

    fn events(&mut self, count: usize) -> Vec<Taken> {
        let sync = self.sync.clone();
        (0..count)
            .map(|_| {
                self.next += 1;
                Taken {
                    sync: sync.clone(),
                    fate: Fate::Mapped(payload(self.next)),
                }
            })
            .collect()
    }

    fn push(&self, events: Vec<Taken>) {
        let pushed = self.runtime.block_on(self.queue.push(events));
        assert!(pushed.is_ok());
    }

    fn fill(&mut self, events: usize) {
        for _ in 0..events.div_ceil(COMMIT) {
            let events = self.events(COMMIT);
            self.push(events);
        }
    }

    fn deliver(&self) {
        self.runtime.block_on(async {
            let leased = self
                .queue
                .lease(&self.sync, REQUEST, 1 << 20, Order::MostUrgent)
                .await
                .expect("the store can be read");
            let slots: Vec<_> = leased.iter().map(|event| event.slot).collect();
            let delivery = self.queue.open_delivery(&self.sync, &slots).await;
            let settlement = Settlement {
                sync: self.sync.clone(),
                delivery: Some(delivery.expect("the store can be written")),
                answer: Some(Answer {
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
            };
            let settled = self.queue.settle(settlement).await;
            assert!(settled.is_ok());
        });
    }
}

fn payload(number: u64) -> Payload {
    let mut json = format!(r#"{{"event_name":"Purchase","event_id":"{number:016}","x":""#);
    json.extend(std::iter::repeat_n('x', BYTES - json.len() - 2));
    json.push_str("\"}");
    Payload {
        json: json.into_bytes(),
        event_name: "Purchase".into(),
        fingerprint: Fingerprint {
            id: number.wrapping_mul(0x9E37_79B9_7F4A_7C15),
            whole: number.wrapping_mul(0xD6E8_FEB8_6659_FD93),
        },
        deadline: 4_000_000_000 + i64::try_from(number).unwrap_or(0) / 100,
    }
}

fn append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append a commit");
    group.throughput(Throughput::Elements(COMMIT as u64));

    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let mut file = File::create(folder.path().join("plain")).expect("a file can be made");
    let bytes = vec![b'x'; BYTES * COMMIT];
    group.bench_function("plain file", |bencher| {
        bencher.iter(|| file.write_all(&bytes).and_then(|()| file.sync_data()));
    });

    let bench = RefCell::new(Bench::new());
    group.bench_function("queue", |bencher| {
        bencher.iter_batched(
            || bench.borrow_mut().events(COMMIT),
            |events| bench.borrow().push(events),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn take(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("take a request out");
    group.throughput(Throughput::Elements(REQUEST as u64));
    for backlog in [10_000, 200_000] {
        let bench = RefCell::new(Bench::new());
        bench.borrow_mut().fill(backlog);
        group.bench_function(format!("of a backlog of {backlog}"), |bencher| {
            bencher.iter_batched(
                || bench.borrow_mut().fill(REQUEST),
                |()| bench.borrow().deliver(),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, append, take);
criterion_main!(benches);
