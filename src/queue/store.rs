//! The store as the writer's thread has it: an open file, and what is kept in memory about it.
//!
//! All changes are made inside [`Store::transact`]. What a change does to memory is put down as an
//! [`Effect`] and done only after the commit. After an error nothing of this is to be used any more:
//! the store is opened anew, and all but leases and requests under way is read from the file again.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use rusqlite::Connection;

use crate::clock::{Clock, UnixMillis};
use crate::config::{QueueConfig, SyncName};

use super::OpenError;
use super::disk::{Room, StoreHealth, Trouble};
use super::lanes::Lanes;
use super::lease::Slot;
use super::row::{Draft, fingerprints};
use super::rows;
use super::schema;
use super::seen::Seen;
use super::settle::{DeliveryId, Request};
use super::totals::{Account, Counter, Ledger};

/// What the writer and the handles share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    lanes: Mutex<Lanes>,
    view: Mutex<View>,
    requests: Mutex<HashMap<DeliveryId, Request>>,
}

/// What the handles see of the store, as of the last commit.
#[derive(Debug, Default)]
pub(super) struct View {
    /// The counters.
    pub(super) accounts: Vec<Account>,
    /// When the oldest queued event of a sync was taken.
    pub(super) oldest: BTreeMap<SyncName, UnixMillis>,
    /// Whether it can store.
    pub(super) health: StoreHealth,
    /// Bytes in use.
    pub(super) used_bytes: u64,
    /// See `Stats`.
    pub(super) headroom: Option<std::time::Duration>,
    /// See `Stats`.
    pub(super) duplicate_window: std::time::Duration,
}

impl Shared {
    /// The lanes, for a moment.
    pub(super) fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().expect("no holder of this lock panics")
    }

    /// The view, for a moment.
    pub(super) fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().expect("no holder of this lock panics")
    }

    /// The requests under way, for a moment.
    pub(super) fn requests(&self) -> MutexGuard<'_, HashMap<DeliveryId, Request>> {
        self.requests.lock().expect("no holder of this lock panics")
    }
}

/// What stays the same while the store is closed and opened again.
#[derive(Debug)]
pub(super) struct Ground {
    /// How it is configured.
    pub(super) config: QueueConfig,
    /// The syncs that take events in.
    pub(super) syncs: Vec<SyncName>,
    /// The time.
    pub(super) clock: Arc<dyn Clock>,
    /// What the handles see.
    pub(super) shared: Arc<Shared>,
}

/// What a commit does to memory.
#[derive(Debug)]
pub(super) enum Effect {
    /// A row came.
    Added {
        place: usize,
        row: i64,
        deadline: i64,
        taken_at: UnixMillis,
    },
    /// Events on lease ended.
    Ended { place: usize, slots: Vec<Slot> },
    /// Events on lease are ready again.
    Released { place: usize, slots: Vec<Slot> },
    /// Events of a row ended that were not on lease.
    EndedUnleased { place: usize, row: i64 },
    /// Events of a row expire earlier than was known.
    Sooner { place: usize, deadline: i64 },
    /// A request is under way.
    Opened(DeliveryId, Request),
    /// A request was answered.
    Answered(DeliveryId),
}

/// The open store.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) ground: Arc<Ground>,
    pub(super) connection: Connection,
    pub(super) ledger: Ledger,
    pub(super) seen: Seen,
    pub(super) room: Room,
    /// Rows in the making, by account.
    pub(super) drafts: BTreeMap<usize, Draft>,
    pub(super) effects: Vec<Effect>,
    /// Rows that were found damaged and have not been counted yet.
    pub(super) damaged: Vec<i64>,
    /// A lease came upon events that have expired.
    pub(super) overdue: bool,
    /// The time of the transaction under way, or of the last one.
    pub(super) now: UnixMillis,
}

impl Store {
    /// Opens the file and reads what is kept in memory. `restarted`: the process is new, so that no
    /// request can be under way.
    pub(super) fn open(ground: &Arc<Ground>, restarted: bool) -> Result<Self, OpenError> {
        let config = &ground.config;
        let now = ground.clock.now();
        let connection = schema::open(&config.path)?;
        if !restarted {
            schema::truncate_log(&connection)?;
            prove_writable(&connection)?;
        }
        let mut seen = Seen::new(config.duplicate_ids.get(), config.duplicate_window);
        let window = i64::try_from(config.duplicate_window.as_millis()).unwrap_or(i64::MAX);
        load_seen(&connection, &mut seen, now.0.saturating_sub(window))?;
        let mut store = Self {
            ground: Arc::clone(ground),
            ledger: Ledger::load(&connection)?,
            connection,
            seen,
            room: Room::new(config, ground.syncs.clone()),
            drafts: BTreeMap::new(),
            effects: Vec::new(),
            damaged: Vec::new(),
            overdue: false,
            now,
        };
        store.transact(|store| {
            for sync in &Arc::clone(&store.ground).syncs {
                store.ledger.account(&store.connection, sync)?;
            }
            store.resolve_open_deliveries(restarted)
        })?;
        for account in store.ledger.accounts() {
            ground.shared.lanes().lane(&account.name).reset_marks();
        }
        store.publish()?;
        Ok(store)
    }

    /// The lanes, for a moment.
    pub(super) fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.ground.shared.lanes()
    }

    /// Makes changes in one transaction, durable when this returns.
    pub(super) fn transact(
        &mut self,
        change: impl FnOnce(&mut Self) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        self.now = self.ground.clock.now();
        self.seen.expire(self.now);
        self.execute("BEGIN IMMEDIATE")?;
        self.room.measure(&self.connection, &self.ledger)?;
        change(self)?;
        self.write_drafts()?;
        self.ledger.write(&self.connection)?;
        self.execute("COMMIT")
    }

    /// Shows others what was committed.
    pub(super) fn publish(&mut self) -> rusqlite::Result<()> {
        let effects = std::mem::take(&mut self.effects);
        self.apply(effects);
        for place in 0..self.ledger.accounts().len() {
            self.refresh_oldest(place)?;
        }
        self.show()
    }

    fn write_drafts(&mut self) -> rusqlite::Result<()> {
        while let Some((place, draft)) = self.drafts.pop_first() {
            self.write_draft(place, &draft)?;
        }
        Ok(())
    }

    /// Writes a row.
    pub(super) fn write_draft(&mut self, place: usize, draft: &Draft) -> rusqlite::Result<()> {
        let account = self.ledger.at(place);
        let row = rows::insert(&self.connection, account.id, draft, self.now)?;
        account.add(Counter::HeldBytes, draft.held_bytes() as u64);
        account.add(Counter::SeenBytes, draft.fingerprints.len() as u64);
        self.room.taken(&account.name, draft.held_bytes() as u64);
        self.effects.push(Effect::Added {
            place,
            row,
            deadline: draft.deadline,
            taken_at: self.now,
        });
        Ok(())
    }

    fn apply(&mut self, effects: Vec<Effect>) {
        let mut lanes = self.ground.shared.lanes();
        let accounts = self.ledger.accounts();
        for account in accounts {
            let bytes = account.get(Counter::QueuedBytes);
            lanes
                .lane(&account.name)
                .set_queued(account.get(Counter::Queued), bytes);
        }
        let mut lane = |place: usize, change: &dyn Fn(&mut super::lanes::Lane)| {
            change(lanes.lane(&accounts[place].name));
        };
        for effect in effects {
            match effect {
                Effect::Added {
                    place,
                    row,
                    deadline,
                    taken_at,
                } => lane(place, &|lane| lane.added(row, deadline, taken_at)),
                Effect::Ended { place, slots } => lane(place, &|lane| lane.ended(&slots)),
                Effect::Released { place, slots } => lane(place, &|lane| lane.release(&slots)),
                Effect::EndedUnleased { place, row } => {
                    lane(place, &|lane| lane.ended_unleased(row));
                }
                Effect::Sooner { place, deadline } => {
                    lane(place, &|lane| lane.lower_urgent(deadline));
                }
                Effect::Opened(id, request) => {
                    self.ground.shared.requests().insert(id, request);
                }
                Effect::Answered(id) => {
                    self.ground.shared.requests().remove(&id);
                }
            }
        }
    }

    fn show(&self) -> rusqlite::Result<()> {
        let mut view = self.ground.shared.view();
        for (place, account) in self.ledger.accounts().iter().enumerate() {
            match view.accounts.get_mut(place) {
                Some(shown) if shown == account => continue,
                Some(shown) => shown.clone_from(account),
                None => view.accounts.push(account.clone()),
            }
            match rows::oldest(&self.connection, account.id)? {
                Some(taken_at) => view.oldest.insert(account.name.clone(), taken_at),
                None => view.oldest.remove(&account.name),
            };
        }
        view.health = StoreHealth {
            trouble: self.room.is_disk_low().then_some(Trouble::DiskLow),
            full: self.room.full(&self.ledger),
        };
        view.used_bytes = self.room.used_bytes();
        view.headroom = self.room.headroom(&self.ledger);
        view.duplicate_window = self.seen.reach(self.now);
        Ok(())
    }

    fn execute(&self, statement: &str) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached(statement)?
            .execute([])
            .map(drop)
    }
}

/// Checks that a write reaches the disk.
fn prove_writable(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "BEGIN IMMEDIATE;
         INSERT INTO total VALUES (0, 'reopened', 1) ON CONFLICT DO UPDATE SET value = value + 1;
         COMMIT",
    )
}

/// Loads the newest fingerprints, as many as the window holds.
fn load_seen(connection: &Connection, seen: &mut Seen, from: i64) -> rusqlite::Result<()> {
    let mut first = i64::MAX;
    let mut count = 0;
    let mut sizes = connection
        .prepare("SELECT row, taken_at, length(fingerprints) / 16 FROM seen ORDER BY row DESC")?;
    let mut sizes = sizes.query([])?;
    while let Some(size) = sizes.next()?
        && count < seen.capacity()
        && size.get::<_, i64>(1)? > from
    {
        first = size.get(0)?;
        count += usize::try_from(size.get::<_, i64>(2)?).unwrap_or(0);
    }
    let mut blobs = connection
        .prepare("SELECT taken_at, fingerprints FROM seen WHERE row >= ?1 ORDER BY row")?;
    let mut blobs = blobs.query([first])?;
    while let Some(blob) = blobs.next()? {
        let taken_at = UnixMillis(blob.get(0)?);
        for id in fingerprints(blob.get_ref(1)?.as_blob()?) {
            seen.insert(id, taken_at);
        }
    }
    Ok(())
}
