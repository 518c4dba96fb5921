//! What every engine must do, whatever is built on it.
//!
//! The same transactions are committed to every engine, and whatever is read of one must be what is read of the
//! other, page by page.

use fastrand::Rng;

use super::*;
use crate::profile::ProfileKey;
use crate::profile::clicks::ClickKey;
use crate::queue::attempt::{AttemptedEvents, OpenAttempt};
use crate::queue::batch::StoredBatch;
use crate::queue::batch_builder::{BatchBuilder, NewBatch};
use crate::queue::bits::Bits;
use crate::queue::compress::Compressor;
use crate::queue::cooldown::CooldownChange;
use crate::queue::damaged::{DamagedBatch, DamagedHeader, RawContent};
use crate::queue::engine::{
    AttemptChange, BatchChange, BatchOrder, Beside, CounterValue, Engine, EngineError, Opening,
    ScrubStep, StoredDeadLetter, StoredProfile, Transaction,
};
use crate::queue::state::BatchState;

const ORDERS: [BatchOrder; 5] = [
    BatchOrder::Deadline,
    BatchOrder::Freshest,
    BatchOrder::FreshestPurchases,
    BatchOrder::Oldest,
    BatchOrder::Newest,
];

/// A store in a folder, and one in memory.
struct Stores {
    _folder: TempDir,
    storages: [Box<dyn Storage>; 2],
}

impl Stores {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let storages: [Box<dyn Storage>; 2] = [
            Box::new(Sqlite::new(folder.path())),
            Box::new(MemoryEngine::default()),
        ];
        Self {
            _folder: folder,
            storages,
        }
    }

    fn open(&self, opening: Opening) -> [Box<dyn Engine>; 2] {
        self.storages
            .each_ref()
            .map(|storage| storage.open(opening).unwrap())
    }
}

/// Random transactions, as the rules above an engine make them.
struct Source {
    random: Rng,
    compressor: Compressor,
    last: BatchId,
    next: i64,
    batches: BTreeMap<BatchId, NewBatch>,
    dead_letters: Vec<i64>,
    damaged: Vec<i64>,
    open: Vec<AttemptId>,
}

impl Source {
    fn new(seed: u64) -> Self {
        Self {
            random: Rng::with_seed(seed),
            compressor: Compressor::new(),
            last: BatchId::default(),
            next: 0,
            batches: BTreeMap::new(),
            dead_letters: Vec::new(),
            damaged: Vec::new(),
            open: Vec::new(),
        }
    }

    fn transaction(&mut self) -> Transaction {
        let mut transaction = Transaction::default();
        if self.next == 0 {
            transaction.syncs = vec![(1, web()), (2, shop())];
        }
        for _ in 0..self.random.u8(1..6) {
            self.next += 1;
            match self.random.u8(0..11) {
                0..3 => transaction.added.push(self.batch()),
                3 => self.change_batch(&mut transaction),
                4 => self.change_dead_letters(&mut transaction),
                5 => self.change_attempts(&mut transaction),
                6 => self.change_cooldowns(&mut transaction),
                7 => self.change_profiles(&mut transaction),
                8 => self.change_clicks(&mut transaction),
                9 => self.change_damaged(&mut transaction),
                _ => transaction.counters.push(CounterValue {
                    sync: self.random.i64(1..3),
                    counter: ["taken", "queued"][self.random.usize(0..2)].into(),
                    value: self.random.i64(0..100),
                }),
            }
        }
        transaction.erases = self.random.u8(0..5) == 0;
        transaction
    }

    fn moment(&mut self) -> UnixMillis {
        UnixMillis(self.random.i64(0..50))
    }

    fn batch(&mut self) -> NewBatch {
        let mut builder = BatchBuilder::default();
        let name = if self.random.bool() {
            "Purchase"
        } else {
            "Lead"
        };
        for _ in 0..self.random.u8(1..5) {
            let deadline = self.random.i64(0..9);
            builder.add(payload(self.random.u64(0..20), name, deadline));
        }
        self.last = self.last.next();
        let (sync, taken_at) = (self.random.i64(1..3), self.moment());
        let batch = builder.build(self.last, sync, taken_at, &mut self.compressor);
        self.batches.insert(self.last, batch.clone());
        batch
    }

    fn change_batch(&mut self, transaction: &mut Transaction) {
        let known = self.batches.keys().copied();
        let is_stored = |id: &BatchId| transaction.added.iter().all(|it| it.state.id != *id);
        let stored: Vec<BatchId> = known.filter(is_stored).collect();
        let Some(id) = self.random.choice(stored) else {
            return;
        };
        let batch = self.batches.get_mut(&id).expect("it is known");
        let mut state: BatchState = batch.state.clone();
        let content = StoredBatch::read(id, &batch.index, &batch.body, batch.checksum).unwrap();
        state.settled.add(self.random.usize(0..state.events));
        state.last_try = Some(UnixMillis(self.random.i64(0..50)));
        state
            .in_doubt
            .add(&Bits::first(1), UnixMillis(self.random.i64(0..50)));
        state.deadline = self.random.i64(0..9);
        batch.state = state.clone();
        let change = match self.random.u8(0..3) {
            0 => Some(BatchChange {
                state,
                body: None,
                restores: false,
            }),
            1 => {
                let blanked = state.settled;
                let body = content.without(id, &blanked, &mut self.compressor);
                batch.checksum = body.checksum;
                batch.body.clone_from(&body.stored);
                let body = Some(body);
                Some(BatchChange {
                    state,
                    body,
                    restores: false,
                })
            }
            _ => {
                self.batches.remove(&id);
                if self.random.bool() {
                    transaction.aged_fingerprints.insert(id);
                }
                None
            }
        };
        transaction.batches.insert(id, change);
    }

    fn change_dead_letters(&mut self, transaction: &mut Transaction) {
        if self.random.bool()
            && let Some(id) = self.dead_letters.pop()
            && !transaction.dead_letters.contains_key(&id)
        {
            transaction.dead_letters.insert(id, None);
            return;
        }
        let reasons = [Reason::TooOld, Reason::Refused, Reason::WindowClosed];
        let letter = DeadLetter {
            id: self.next,
            sync: web(),
            reason: reasons[self.random.usize(0..3)],
            event_name: self.random.bool().then(|| "Lead".to_owned()),
            event_id: Some("id-1".to_owned()),
            code: Some(self.random.i64(0..9)),
            sub_code: None,
            trace_id: Some("trace".to_owned()),
            message: self.random.bool().then(|| "no".to_owned()),
            taken_at: self.moment(),
            first_try: Some(self.moment()),
            last_try: None,
            filed_at: self.moment(),
            json: self.random.bool().then(|| b"{}".to_vec()),
        };
        let whole_half = self.random.bool().then(|| self.random.u64(..));
        let stored = StoredDeadLetter {
            letter,
            sync: 1,
            bytes: self.random.u64(0..99),
            id_half: Some(self.random.u64(0..3)),
            whole_half,
            deadline: whole_half.map(|_| 9),
            is_sound: true,
        };
        self.dead_letters.push(self.next);
        transaction.dead_letters.insert(self.next, Some(stored));
    }

    fn change_damaged(&mut self, transaction: &mut Transaction) {
        if self.random.bool()
            && let Some(id) = self.damaged.pop()
            && !transaction.damaged.contains_key(&id)
        {
            transaction.damaged.insert(id, None);
            return;
        }
        let content = RawContent {
            checksum: self.random.bool().then_some(7),
            index: vec![1; self.random.usize(0..9)],
            body: vec![2; self.random.usize(0..9)],
        };
        let batch = DamagedBatch {
            header: DamagedHeader {
                id: self.next,
                batch: BatchId::embedded(self.random.i64(1..9)),
                sync: self.random.i64(1..3),
                taken_at: self.moment(),
                events: self.random.u64(0..9),
                why: content.damage(),
                found_at: self.moment(),
                bytes: content.held_bytes(),
            },
            settled: self.random.bool().then(|| vec![3]),
            content,
        };
        self.damaged.push(self.next);
        transaction.damaged.insert(self.next, Some(batch));
    }

    fn change_attempts(&mut self, transaction: &mut Transaction) {
        let is_stored = |id: &AttemptId| !transaction.attempts.contains_key(id);
        let open = self.open.iter().position(is_stored);
        let (id, change) = match open.filter(|_| self.random.bool()) {
            Some(place) if self.random.bool() => (self.open.remove(place), AttemptChange::Remove),
            Some(place) => {
                let at = self.moment();
                let answer = answer(self.random.bool());
                (
                    self.open.remove(place),
                    AttemptChange::Answer { at, answer },
                )
            }
            None => {
                let batch = BatchId::embedded(self.random.i64(1..9));
                let slots = [2, 3, 9].map(|position| Slot::new(batch, position));
                let id = AttemptId(self.next);
                self.open.push(id);
                let request = OpenAttempt {
                    sent_at: self.moment(),
                    events: AttemptedEvents::of(&slots),
                };
                (id, AttemptChange::Open(1, request))
            }
        };
        transaction.attempts.insert(id, change);
    }

    fn change_cooldowns(&mut self, transaction: &mut Transaction) {
        let whose = ["11", "22"][self.random.usize(0..2)].to_owned();
        let until = UnixMillis(self.next);
        transaction.cooldowns.push(if self.random.bool() {
            CooldownChange::Over { whose, by: until }
        } else {
            CooldownChange::Begun(Cooldown {
                whose,
                kind: ["throttled", "blocked"][self.random.usize(0..2)].to_owned(),
                since: self.moment(),
                until,
            })
        });
    }

    fn change_profiles(&mut self, transaction: &mut Transaction) {
        let sync = [web(), shop()][self.random.usize(0..2)].clone();
        let key = ProfileKey::user(&sync, &self.random.u8(0..9).to_string());
        let profile = StoredProfile {
            sync: if sync == web() { 1 } else { 2 },
            touched: self.moment(),
            body: vec![1; self.random.usize(1..9)],
            is_sound: true,
        };
        let stored = (self.random.u8(0..4) > 0).then_some(profile);
        transaction.profiles.insert(key, stored);
    }

    fn change_clicks(&mut self, transaction: &mut Transaction) {
        // The rules store a click once, and let the first ones go.
        let seen = self.moment();
        let key = ClickKey::of(&self.next.to_string());
        transaction.clicks.insert(key, Some(seen));
    }
}

/// All that can be read of an engine, in pages of this many.
fn everything(engine: &mut dyn Engine, page: usize) -> Result<Vec<String>, EngineError> {
    let mut seen = Vec::new();
    let mut note = |what: &dyn std::fmt::Debug| seen.push(format!("{what:?}"));
    let syncs = engine.syncs()?;
    note(&syncs);
    note(&engine.last_ids()?);
    let mut counters = engine.counters()?;
    counters.retain(|counter| counter.sync > 0);
    counters.sort_by_key(|it| (it.sync, Arc::clone(&it.counter)));
    note(&counters);
    for (sync, _) in &syncs {
        for order in ORDERS {
            let mut after = None;
            loop {
                let states = engine.batches(*sync, order, after, page)?;
                note(&(order, &states));
                let Some(last) = states.last() else { break };
                after = Some(last.place());
            }
        }
        note(&engine.dead_count(*sync, Reason::TooOld)?);
        let mut after = None;
        loop {
            let aged = engine.oldest_profiles(*sync, after, page)?;
            let Some(last) = aged.last() else { break };
            after = Some((last.touched, last.place));
            let mut aged: Vec<_> = aged.iter().map(|it| (it.touched, it.held)).collect();
            aged.sort_unstable();
            note(&aged.len());
        }
    }
    let mut after = None;
    loop {
        let ids = engine.batch_ids(after, page)?;
        let Some(last) = ids.last() else { break };
        after = Some(*last);
        for id in ids {
            note(&engine.batch(id)?);
            note(&engine.content(id)?.map(|content| content.entries));
            note(&engine.raw_content(id)?);
        }
    }
    let mut after = None;
    while let Some(last) = engine.fingerprints(after, page)?.last() {
        note(&engine.fingerprints(after, page)?);
        note(&engine.newest_fingerprint_counts(after, page)?);
        after = Some(last.batch);
    }
    let mut after = 0;
    while let Some(last) = engine.dead_headers(after, page)?.last() {
        note(&engine.dead_headers(after, page)?);
        note(&engine.dead_letter(last.id)?);
        let filter = DeadFilter {
            reason: Some(Reason::Refused),
            filed_from: Some(UnixMillis(20)),
            ..DeadFilter::default()
        };
        note(&engine.dead_letters(&filter, after, page, 3)?);
        note(&engine.dead_letters(&DeadFilter::default(), after, page, 3)?);
        note(&engine.dead_contents(after, page, 3)?);
        after = last.id;
    }
    note(&engine.raw_content(BatchId::embedded(1 << 40))?);
    let mut after = 0;
    while let Some(last) = engine.damaged_headers(after, page)?.last() {
        note(&engine.damaged_headers(after, page)?);
        note(&engine.damaged_batches(after, page)?);
        after = last.id;
    }
    for id_half in 0..3 {
        let mut letters = engine.dead_of_event(id_half)?;
        letters.sort_by_key(|letter| letter.id);
        note(&letters);
    }
    note(&engine.unanswered()?);
    note(&engine.attempts(0, UnixMillis(20), page)?);
    note(&engine.attempts(5, UnixMillis(0), page)?);
    note(&engine.cooldowns()?);
    let mut profiles = engine.profiles(0, 100)?;
    profiles.sort_by_key(|(_, key, _)| *key);
    for (_, key, profile) in profiles {
        note(&(&profile, engine.profile(key)?));
    }
    note(&engine.click_count()?);
    for click in engine.oldest_clicks(100)? {
        note(&engine.click(click.click)?);
    }
    Ok(seen)
}

#[test]
fn every_engine_holds_and_finds_the_same() {
    for seed in 0..12 {
        let stores = Stores::new();
        let mut source = Source::new(seed);
        let mut engines = stores.open(Opening::Start);
        for round in 0..60 {
            let transaction = source.transaction();
            for engine in &mut engines {
                engine.commit(&transaction).unwrap();
            }
            if round % 6 == 0 {
                let page = source.random.usize(1..5);
                let [a, b] = engines
                    .each_mut()
                    .map(|it| everything(&mut **it, page).unwrap());
                assert_eq!(a, b, "seed {seed}, round {round}");
            }
            if round % 20 == 19 {
                drop(engines);
                engines = stores.open(Opening::AfterFailure);
            }
        }
    }
}

#[test]
fn a_transaction_that_fails_leaves_nothing_and_what_is_unknown_can_be_asked_for() {
    let memory = MemoryEngine::default();
    let mut source = Source::new(1);
    let begun = Transaction {
        syncs: vec![(1, web()), (2, shop())],
        ..Transaction::default()
    };
    memory.clone().commit(&begun).unwrap();
    for (fault, is_stored) in [
        (StoreFault::Unavailable, false),
        (StoreFault::UnknownAndStored, true),
        (StoreFault::UnknownAndLost, false),
    ] {
        let added = source.batch();
        let id = added.state.id;
        let transaction = Transaction {
            added: vec![added],
            ..Transaction::default()
        };
        memory.set_fault(Some(fault));
        let error = memory.clone().commit(&transaction).unwrap_err();
        let is_unknown = matches!(error, EngineError::Unknown(_));
        assert_eq!(is_unknown, fault != StoreFault::Unavailable);
        memory.set_fault(None);
        let mut engine = memory.open(Opening::AfterFailure).unwrap();
        assert_eq!(engine.batch(id).unwrap().is_some(), is_stored, "{fault:?}");
    }
}

#[test]
fn a_reader_sees_what_was_committed() {
    let stores = Stores::new();
    let mut source = Source::new(2);
    let mut engines = stores.open(Opening::Start);
    for (engine, storage) in engines.iter_mut().zip(&stores.storages) {
        let added = source.batch();
        let id = added.state.id;
        let mut reader = storage.reader(Beside::Writer).unwrap();
        assert!(reader.batch(id).unwrap().is_none());
        let transaction = Transaction {
            added: vec![added],
            ..Transaction::default()
        };
        engine.commit(&transaction).unwrap();
        assert!(reader.batch(id).unwrap().is_some());
    }
}

#[test]
fn scrubbing_and_maintenance_come_to_an_end() {
    let stores = Stores::new();
    let clock = TestClock::at(UnixMillis(0));
    for engine in &mut stores.open(Opening::Start) {
        let mut step = Some(ScrubStep::default());
        while let Some(now) = step {
            step = engine.scrub(now, clock.uptime()).unwrap();
        }
        while engine.maintain(&clock).unwrap() {}
        assert!(engine.used_bytes().unwrap() < 1 << 20);
        engine.close().unwrap();
    }
}

#[test]
fn a_store_has_one_owner() {
    for storage in &Stores::new().storages {
        let owner = storage.acquire().unwrap();
        assert!(matches!(storage.acquire(), Err(OpenError::InUse(_))));
        drop(owner);
        storage.acquire().unwrap();
    }
}

/// Nobody hears of a commit that was stored: the push is refused, and its repeat is a duplicate.
#[tokio::test]
async fn what_may_have_been_stored_is_not_acknowledged() {
    for (fault, repeat) in [
        (StoreFault::UnknownAndStored, (0, 2)),
        (StoreFault::UnknownAndLost, (2, 0)),
    ] {
        let fixture = QueueFixture::new(TestEngine::Memory);
        let TestStore::Memory(memory) = &fixture.store else {
            panic!("the store is in memory");
        };
        memory.set_fault(Some(fault));
        let events = || vec![event(1), event(2)];
        let failed = fixture.queue.push(events()).await.unwrap_err();
        assert!(matches!(
            failed,
            PushError::Store(StoreError::Storage(EngineError::Unknown(_)))
        ));
        let pushed = fixture.push(events()).await;
        assert_eq!((pushed.queued, pushed.duplicates), repeat, "{fault:?}");
        assert_eq!(fixture.deliver_all().await.len(), 2);
    }
}
