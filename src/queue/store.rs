//! The store as the writer's thread has it: an open file, and what is kept in memory about it.
//!
//! All changes are made inside [`Core::transact`]. What a change does to memory is put down as an
//! [`Effect`] and done only after the commit. After an error nothing of this is to be used any more:
//! the store is opened anew, and all but leases and requests under way is read from the file again.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use rusqlite::Connection;

use crate::clock::{Clock, UnixMillis};
use crate::config::SyncName;
use crate::config::queue::QueueConfig;
use crate::payload::Payload;
use crate::profile::clicks::FirstSeen;

use super::bounds::AllBounds;
use super::disk::{CapacityProblem, Quota, StoreHealth, Warned};
use super::lanes::{LeaseTable, SyncLeases};
use super::lease::Slot;
use super::packed::Packer;
use super::recent::RecentClicks;
use super::row::{BatchBuilder, BatchKind};
use super::rows::{self, BatchState, standing};
use super::seen::DuplicateWindow;
use super::settle::DeliveryId;
use super::slices::AttemptedEvents;
use super::standstill::Cooldown;
use super::totals::{Counter, Counters, SyncCounters};

/// What the writer and the handles share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    lanes: Mutex<LeaseTable>,
    view: Mutex<QueueView>,
    requests: Mutex<HashMap<DeliveryId, OpenAttempt>>,
    reader: Mutex<Option<Connection>>,
    bounds: Mutex<Option<AllBounds>>,
    clicks: Mutex<RecentClicks>,
}

/// What the handles see of the store, as of the last commit.
#[derive(Debug, Default)]
pub(super) struct QueueView {
    /// The counters.
    pub(super) accounts: Vec<SyncCounters>,
    /// When the oldest queued event of a sync was taken.
    pub(super) oldest: BTreeMap<SyncName, UnixMillis>,
    /// Whether it can store.
    pub(super) health: StoreHealth,
    /// What the log has said of that.
    pub(super) warned: Warned,
    /// Bytes in use.
    pub(super) used_bytes: u64,
    /// See `Stats`.
    pub(super) headroom: Option<std::time::Duration>,
    /// See `Stats`.
    pub(super) duplicate_window: std::time::Duration,
    /// What stood still when the process began.
    pub(super) standstills: Vec<Cooldown>,
}

impl Shared {
    /// The lanes, for a moment.
    pub(super) fn lanes(&self) -> MutexGuard<'_, LeaseTable> {
        self.lanes.lock().expect("no holder of this lock panics")
    }

    /// The view, for a moment.
    pub(super) fn view(&self) -> MutexGuard<'_, QueueView> {
        self.view.lock().expect("no holder of this lock panics")
    }

    /// The requests under way, for a moment.
    pub(super) fn requests(&self) -> MutexGuard<'_, HashMap<DeliveryId, OpenAttempt>> {
        self.requests.lock().expect("no holder of this lock panics")
    }

    /// The connection that reads profiles, for a moment; none where it is yet to be opened.
    pub(super) fn reader(&self) -> MutexGuard<'_, Option<Connection>> {
        self.reader.lock().expect("no holder of this lock panics")
    }

    /// The clicks that were asked for lately, for a moment.
    pub(super) fn clicks(&self) -> MutexGuard<'_, RecentClicks> {
        self.clicks.lock().expect("no holder of this lock panics")
    }

    /// How much is remembered of people, for a moment; none where nobody said so.
    pub(super) fn bounds(&self) -> MutexGuard<'_, Option<AllBounds>> {
        self.bounds.lock().expect("no holder of this lock panics")
    }
}

/// What stays the same while the store is closed and opened again.
#[derive(Debug)]
pub(super) struct QueueContext {
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
    Opened(DeliveryId, OpenAttempt),
    /// A request was answered.
    Answered(DeliveryId),
    /// A click is stored.
    Clicked(FirstSeen),
}

/// A request under way.
#[derive(Debug)]
pub(super) struct OpenAttempt {
    /// When it was sent.
    pub(super) sent_at: UnixMillis,
    /// The events that it carries.
    pub(super) slices: AttemptedEvents,
}

/// The open store.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) ground: Arc<QueueContext>,
    pub(super) connection: Connection,
    pub(super) ledger: Counters,
    pub(super) seen: DuplicateWindow,
    pub(super) room: Quota,
    /// Rows in the making, by account.
    pub(super) drafts: BTreeMap<(usize, BatchKind), BatchBuilder>,
    pub(super) packer: Packer,
    pub(super) effects: Vec<Effect>,
    /// Rows that were found damaged and have not been counted yet.
    pub(super) damaged: Vec<i64>,
    /// A lease came upon events that have expired.
    pub(super) overdue: bool,
    /// The time of the transaction under way, or of the last one.
    pub(super) now: UnixMillis,
}

impl Core {
    /// The lanes, for a moment.
    pub(super) fn lanes(&self) -> MutexGuard<'_, LeaseTable> {
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
        self.room
            .measure(&self.connection, &self.ledger, self.now)?;
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
        while let Some(((place, _), draft)) = self.drafts.pop_first() {
            self.write_draft(place, &draft)?;
        }
        Ok(())
    }

    /// Adds an event to the row in the making; a row that is full is written first.
    pub(super) fn queue(&mut self, place: usize, payload: Payload) -> rusqlite::Result<()> {
        let kind = BatchKind::of(&payload, self.now);
        let draft = self.drafts.entry((place, kind)).or_default();
        if draft.is_full_for(payload.json.len()) {
            let full = std::mem::take(draft);
            self.write_draft(place, &full)?;
        }
        let account = self.ledger.at(place);
        account.add(Counter::Queued, 1);
        account.add(Counter::QueuedBytes, payload.json.len() as u64);
        self.drafts.entry((place, kind)).or_default().add(payload);
        Ok(())
    }

    /// Bytes of the store that the rows in the making will take at most.
    pub(super) fn held_by_drafts(&self, place: usize) -> u64 {
        let (first, last) = BatchKind::ALL.into_inner();
        let drafts = self.drafts.range((place, first)..=(place, last));
        drafts
            .map(|(_, draft)| draft.held_bytes(draft.body.len()) as u64)
            .sum()
    }

    /// Writes a row.
    pub(super) fn write_draft(
        &mut self,
        place: usize,
        draft: &BatchBuilder,
    ) -> rusqlite::Result<()> {
        let account = self.ledger.at(place);
        let stored = self.packer.pack(&draft.body);
        let row = rows::insert(&self.connection, account.id, draft, stored, self.now)?;
        let held = draft.held_bytes(stored.len()) as u64;
        account.add(Counter::HeldBytes, held);
        account.add(Counter::SeenBytes, draft.fingerprints.len() as u64);
        self.room.taken(&account.name, held);
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
        let mut lane = |place: usize, change: &dyn Fn(&mut SyncLeases)| {
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
                Effect::Clicked(click) => self.ground.shared.clicks().store(click),
                Effect::Answered(id) => {
                    self.ground.shared.requests().remove(&id);
                }
            }
        }
    }

    /// Finds out again which ready event is the oldest, after the one that was has gone.
    pub(super) fn refresh_oldest(&self, place: usize) -> rusqlite::Result<()> {
        let account = &self.ledger.accounts()[place];
        let mut lanes = self.lanes();
        let lane = lanes.lane(&account.name);
        let Some(from) = lane.stale_oldest() else {
            return Ok(());
        };
        lane.set_oldest(self.oldest_ready(account.id, from, lane)?);
        Ok(())
    }

    fn oldest_ready(
        &self,
        sync: i64,
        from: i64,
        lane: &SyncLeases,
    ) -> rusqlite::Result<Option<(i64, UnixMillis)>> {
        let mut statement = self
            .connection
            .prepare_cached(standing!("WHERE sync = ?1 AND id >= ?2 ORDER BY id"))?;
        let mut found = statement.query([sync, from])?;
        while let Some(found) = found.next()? {
            let standing = BatchState::read(found)?;
            let (leased, _) = lane.on_lease(standing.row);
            if !standing.open().without(&leased).is_empty() {
                return Ok(Some((standing.row, standing.taken_at)));
            }
        }
        Ok(None)
    }

    fn show(&self) -> rusqlite::Result<()> {
        let mut view = self.ground.shared.view();
        for (place, account) in self.ledger.accounts().iter().enumerate() {
            let shown = view.accounts.get(place);
            if shown == Some(account) {
                continue;
            }
            // A row leaves with its last event, and a new one is not the oldest but where there was none.
            let has_oldest = view.oldest.contains_key(&account.name)
                && shown.is_some_and(|shown| shown.ended() == account.ended());
            match view.accounts.get_mut(place) {
                Some(shown) => shown.clone_from(account),
                None => view.accounts.push(account.clone()),
            }
            if has_oldest {
                continue;
            }
            match rows::oldest(&self.connection, account.id)? {
                Some(taken_at) => view.oldest.insert(account.name.clone(), taken_at),
                None => view.oldest.remove(&account.name),
            };
        }
        view.health = StoreHealth {
            trouble: self.room.is_disk_low().then_some(CapacityProblem::DiskLow),
            full: self.room.full(&self.ledger),
        };
        self.room.warn(&self.ledger, &mut view.warned);
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
