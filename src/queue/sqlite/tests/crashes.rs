//! The store after a power cut at any moment.
//!
//! Between two answers the store writes its log, and now and then carries the log's pages over into
//! the file. A power cut leaves any part of the sectors written since the last sync. So each
//! case takes the files before and after an operation, builds from them a state that such a cut can leave,
//! opens that, and expects the queue as it was before the operation or as it is after it, never
//! anything in between. What it trusts: a sync that succeeded is on the disk.

use std::collections::BTreeSet;
use std::fs;

use super::*;
use crate::payload::{Payload, Submission};

/// What a power cut keeps or loses as a whole.
const SECTOR: usize = 512;
/// The head of the log, which tells one log from the next.
const LOG_HEAD: usize = 32;
/// Enough to fill the log and carry it over more than once.
const OPERATIONS: usize = 130;

/// The store's files, byte by byte.
#[derive(Clone)]
struct Files {
    main: Vec<u8>,
    log: Vec<u8>,
}

/// What a crash must not change.
#[derive(Clone, Debug, PartialEq)]
struct State {
    totals: SyncTotals,
    /// The bodies that are queued, in order.
    queued: Vec<String>,
}

/// A queue under random operations, with what must be in it.
struct Run {
    fixture: QueueFixture,
    random: fastrand::Rng,
    next: u64,
    queued: Vec<String>,
    leased: Vec<Leased>,
    sent: Option<AttemptId>,
}

impl Files {
    fn read(fixture: &QueueFixture) -> Self {
        let read = |name| fs::read(fixture.folder.path().join(name)).unwrap();
        Self {
            main: read("queue.db"),
            log: read("queue.db-wal"),
        }
    }

    /// A state that a power cut can leave on the way from these files to others.
    fn cut(&self, after: &Self, random: &mut fastrand::Rng) -> Self {
        // The log is synced before its pages are carried over, and the file before the log begins anew.
        let log_is_first = self.main == after.main || random.bool();
        let begins_anew = self.log.get(..LOG_HEAD) != after.log.get(..LOG_HEAD);
        if log_is_first && !(begins_anew && self.main != after.main) {
            let mut log = mixed(&self.log, &after.log, random);
            // The head of a log that begins anew is synced before anything follows.
            if begins_anew && log.len() >= LOG_HEAD {
                log[..LOG_HEAD].copy_from_slice(&after.log[..LOG_HEAD]);
            }
            return Self {
                main: self.main.clone(),
                log,
            };
        }
        Self {
            main: mixed(&self.main, &after.main, random),
            log: after.log.clone(),
        }
    }
}

/// An event that fills half a page.
fn large(number: u64) -> Payload {
    let mut payload = payload(number, "Purchase", START + 7 * 24 * 3600);
    let padding = noise(number, 2000);
    payload.json = format!(r#"{{"event_id":"id-{number}","padding":"{padding}"}}"#).into();
    payload
}

/// Some sectors as they were and some as they became; what is new at the end may be missing.
fn mixed(before: &[u8], after: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
    let share = random.f64();
    let mut mixed = after.to_vec();
    for (place, sector) in mixed.chunks_mut(SECTOR).enumerate() {
        if random.f64() > share {
            continue;
        }
        let old = before.get(place * SECTOR..).unwrap_or_default();
        let (kept, missing) = sector.split_at_mut(old.len().min(sector.len()));
        kept.copy_from_slice(&old[..kept.len()]);
        missing.fill(0);
    }
    if after.len() > before.len() && random.bool() {
        mixed.truncate(random.usize(before.len()..=after.len()));
    }
    mixed
}

impl Run {
    fn state(&self) -> State {
        let mut queued = self.queued.clone();
        queued.sort_unstable();
        State {
            totals: self.fixture.totals(),
            queued,
        }
    }

    /// One operation, which is one transaction or none.
    async fn operate(&mut self) {
        match self.random.u8(0..10) {
            0..4 => self.push().await,
            4..6 if self.leased.is_empty() => {
                let most = self.random.usize(1..100);
                self.leased = self.fixture.lease(most).await;
            }
            _ if self.leased.is_empty() => self.push().await,
            _ if self.sent.is_none() => {
                self.sent = Some(self.fixture.open_attempt(&self.leased).await);
            }
            _ => self.settle().await,
        }
    }

    async fn push(&mut self) {
        // A repeat now and then.
        let from = self.next.saturating_sub(self.random.u64(0..3));
        let count = self.random.u64(1..40);
        let events: Vec<Payload> = (from..from + count).map(large).collect();
        for payload in events
            .iter()
            .skip(usize::try_from(self.next - from).unwrap())
        {
            self.queued
                .push(String::from_utf8(payload.json.to_vec()).unwrap());
        }
        self.next = self.next.max(from + count);
        let taken = events.into_iter().map(|payload| Submission {
            sync: web(),
            mapped: Ok(payload),
        });
        self.fixture.push(taken).await;
    }

    async fn settle(&mut self) {
        let delivery = self.sent.take().expect("it was sent");
        let leased = std::mem::take(&mut self.leased);
        let (delivered, rest) = leased.split_at(self.random.usize(0..=leased.len()));
        let (refused, rest) = rest.split_at(rest.len().min(2));
        let ends = accepted(delivery, delivered).ends.into_iter();
        let settlement = Settlement {
            ends: ends.chain(rejected(delivery, refused).ends).collect(),
            ..lost(delivery, rest)
        };
        let gone: BTreeSet<String> = delivered.iter().chain(refused).map(text).collect();
        self.queued.retain(|body| !gone.contains(body));
        self.fixture.settle(settlement).await;
    }

    /// Opens what a crash left, and gives what is in it.
    async fn opened(&self, files: &Files) -> State {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("queue.db"), &files.main).unwrap();
        fs::write(folder.path().join("queue.db-wal"), &files.log).unwrap();
        let config = QueueConfig {
            path: folder.path().to_owned(),
            ..self.fixture.config.clone()
        };
        let queue = open(&config, &self.fixture.clock, &TestStore::Sqlite)
            .expect("what is left is a store");
        let fixture = QueueFixture {
            folder,
            config,
            clock: Arc::clone(&self.fixture.clock),
            queue,
            store: TestStore::Sqlite,
        };
        assert_law(&fixture.queue);
        let totals = fixture.totals();
        let mut queued = fixture.deliver_all().await;
        queued.sort_unstable();
        assert_eq!(fixture.totals().queued, 0);
        State { totals, queued }
    }
}

#[tokio::test]
async fn a_power_cut_leaves_each_operation_done_or_not_done() {
    let mut run = Run {
        fixture: QueueFixture::new(TestEngine::Sqlite),
        random: fastrand::Rng::with_seed(1),
        next: 0,
        queued: Vec::new(),
        leased: Vec::new(),
        sent: None,
    };
    run.push().await;
    let (mut before, mut files) = (run.state(), Files::read(&run.fixture));
    let (mut undone, mut done, mut carried_over, mut anew) = (0, 0, 0, 0);
    for _ in 0..OPERATIONS {
        run.operate().await;
        let (after, files_after) = (run.state(), Files::read(&run.fixture));
        let is_carried_over = files.main != files_after.main;
        let is_anew = files.log.get(..LOG_HEAD) != files_after.log.get(..LOG_HEAD);
        carried_over += u32::from(is_carried_over);
        anew += u32::from(is_anew);
        // Most operations only append to the log; the others are looked at more closely.
        let cuts = match (is_carried_over || is_anew, run.random.u8(0..3)) {
            (true, _) => 10,
            (false, 0) => 1,
            (false, _) => 0,
        };
        for _ in 0..cuts {
            let cut = files.cut(&files_after, &mut run.random);
            let found = run.opened(&cut).await;
            if found == before {
                undone += 1;
            } else {
                assert_eq!(found, after);
                done += 1;
            }
        }
        (before, files) = (after, files_after);
    }
    // The cases that matter came up.
    assert!(undone > 0 && done > 0, "{undone} {done}");
    assert!(carried_over > 0 && anew > 0, "{carried_over} {anew}");
}
