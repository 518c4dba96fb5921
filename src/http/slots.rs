//! Who may hold the connections of a listener.
//!
//! The listener lets in a common number of connections, of which one address holds at most half, unless it is
//! a trusted proxy's; what has shown a secret no longer counts. Beyond that, a connection first takes the place
//! of an idle one: that of the same address, if the address has its share, else that of the address which holds
//! most, and of its connections the one that has been idle longest. A connection is idle once its answer is
//! written; one whose client does not read is busy. Where none is idle, an address that holds more than the
//! newcomer's gives up its longest request, if that takes long; any address does if it takes very long. So whoever holds
//! least gets in, however many addresses hold on to what they have. Else the connection comes into the reserve, where its first request must
//! say that it is due there. The reserve makes room of idle ones in the same way, so that a newcomer is always heard.
//!
//! Whatever has shown a secret is never ended for another, and leaves the reserve as soon as there is room.

use std::collections::{BTreeMap, HashMap};
use std::future::pending;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::http::connection_metrics::{ConnectionEnd, ConnectionMetrics};

/// Set in the state of a slot whose connection has a request under way, or an answer that is not written yet.
const BUSY: u64 = 1 << 63;
/// The state of a slot that was taken away.
const ENDED: u64 = u64::MAX;
/// A request that takes longer may be ended for an address that holds less.
const LONG: Duration = Duration::from_secs(5);
/// One that takes longer, for any other.
const VERY_LONG: Duration = Duration::from_secs(60);

/// How many connections there may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlotLimits {
    /// For everyone.
    pub(super) common: usize,
    /// On top of them, for those who show a secret.
    pub(super) reserve: usize,
}

/// The connections of one listener.
#[derive(Debug)]
pub(super) struct Slots {
    limits: SlotLimits,
    table: Mutex<SlotTable>,
    start: Instant,
    /// The last moment that was given out, in nanoseconds since the start. No two are the same.
    last_moment: AtomicU64,
    metrics: ConnectionMetrics,
}

#[derive(Debug, Default)]
struct SlotTable {
    slots: BTreeMap<u64, TakenSlot>,
    next: u64,
    in_common: usize,
    /// How many connections each address holds, without trusted proxies and those who showed a secret.
    held: HashMap<IpAddr, Arc<AtomicUsize>>,
}

#[derive(Debug)]
struct TakenSlot {
    state: Arc<SlotState>,
    /// `None`: a trusted proxy's.
    address: Option<IpAddr>,
    /// How many connections the address holds.
    held: Arc<AtomicUsize>,
    in_reserve: bool,
}

/// What a connection and the table of all share.
#[derive(Debug)]
struct SlotState {
    /// [`ENDED`], or the moment since which it is idle, or with [`BUSY`] the moment since which it is busy.
    state: AtomicU64,
    /// Whether all of the present answer has been made, and waits to be written.
    is_answered: AtomicBool,
    has_shown_secret: AtomicBool,
    ended: Notify,
}

/// A connection's place among all. Given back on drop.
#[derive(Debug)]
pub(super) struct ConnectionSlot {
    slots: Arc<Slots>,
    number: u64,
    state: Arc<SlotState>,
    /// The moment at which it was let in.
    began: u64,
    /// Why it was let in only into the reserve.
    shortage: Option<ConnectionEnd>,
}

impl Slots {
    pub(super) fn new(limits: SlotLimits, metrics: ConnectionMetrics) -> Arc<Self> {
        Arc::new(Self {
            limits,
            table: Mutex::default(),
            start: Instant::now(),
            last_moment: AtomicU64::new(0),
            metrics,
        })
    }

    fn table(&self) -> MutexGuard<'_, SlotTable> {
        self.table.lock().expect("no holder of this lock panics")
    }

    fn moment(&self) -> u64 {
        let now = nanoseconds(self.start.elapsed());
        let later = |last: u64| now.max(last + 1);
        let last = (self.last_moment).fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
            Some(later(last))
        });
        last.map_or(now, later)
    }

    /// Lets a connection of this address in; `None` as address: of a trusted proxy. `None` if no slot is
    /// free and none can be freed.
    pub(super) fn admit(self: &Arc<Self>, address: Option<IpAddr>) -> Option<ConnectionSlot> {
        let mut table = self.table();
        let shortage = self.make_room(&mut table, address);
        if let Some(end) = shortage
            && table.in_reserve() >= self.limits.reserve
            && !self.end_idle(&mut table, |slot| slot.in_reserve)
        {
            drop(table);
            self.metrics.note(end);
            return None;
        }
        let began = self.moment();
        let state = Arc::new(SlotState {
            state: AtomicU64::new(began),
            is_answered: AtomicBool::new(false),
            has_shown_secret: AtomicBool::new(false),
            ended: Notify::new(),
        });
        let number = table.next;
        table.next += 1;
        let held = table.held(address);
        held.fetch_add(1, Ordering::Relaxed);
        table.in_common += usize::from(shortage.is_none());
        table.slots.insert(
            number,
            TakenSlot {
                state: Arc::clone(&state),
                address,
                held,
                in_reserve: shortage.is_some(),
            },
        );
        drop(table);
        self.metrics.open.inc();
        Some(ConnectionSlot {
            slots: Arc::clone(self),
            number,
            state,
            began,
            shortage,
        })
    }

    /// Sees to it that the common slots have room for one more of an address; says why they have not.
    fn make_room(&self, table: &mut SlotTable, address: Option<IpAddr>) -> Option<ConnectionEnd> {
        let share = (self.limits.common / 2).max(1);
        let held = address.and_then(|address| table.held.get(&address));
        let held = held.map_or(0, |held| held.load(Ordering::Relaxed));
        if held >= share {
            let is_its_own = |slot: &TakenSlot| !slot.in_reserve && slot.address == address;
            return (!self.end_idle(table, is_its_own)).then_some(ConnectionEnd::AddressShare);
        }
        if table.in_common >= self.limits.common {
            let is_common = |slot: &TakenSlot| !slot.in_reserve && slot.address.is_some();
            let has_room = self.end_idle(table, is_common) || self.end_long(table, held);
            return (!has_room).then_some(ConnectionEnd::Limit);
        }
        None
    }

    /// Ends the connection that has been idle longest, of the address that holds most, among some. Says whether
    /// there was one.
    fn end_idle(&self, table: &mut SlotTable, is_wanted: impl Fn(&TakenSlot) -> bool) -> bool {
        self.end_longest(table, |slot, state| {
            (state & BUSY == 0 && is_wanted(slot)).then_some(state)
        })
    }

    /// Ends the longest request of the address that holds most, for one that holds this many. Says whether there
    /// was one.
    fn end_long(&self, table: &mut SlotTable, held_by_other: usize) -> bool {
        let now = self.moment();
        self.end_longest(table, |slot, state| {
            let since = state & !BUSY;
            // Else the two would end each other's in turn, as soon as they begin.
            let holds_more = slot.held.load(Ordering::Relaxed) > held_by_other + 1;
            let patience = if holds_more { LONG } else { VERY_LONG };
            let is_long = since < now.saturating_sub(nanoseconds(patience));
            let is_common = !slot.in_reserve && slot.address.is_some();
            (is_common && is_long).then_some(since)
        })
    }

    /// Ends the connection of the address that holds most, and of its own the one with the earliest moment, among
    /// those for which there is a moment. It has shown no secret. Says whether there was one.
    fn end_longest(
        &self,
        table: &mut SlotTable,
        since: impl Fn(&TakenSlot, u64) -> Option<u64>,
    ) -> bool {
        loop {
            let found = table.slots.iter().filter_map(|(number, slot)| {
                let state = slot.state.of_stranger()?;
                let held = slot.held.load(Ordering::Relaxed);
                Some((held, u64::MAX - since(slot, state)?, *number, state))
            });
            let Some((_, _, number, state)) = found.max() else {
                return false;
            };
            let Some(slot) = table.slots.get(&number) else {
                return false;
            };
            // A request may have come, or have been answered, in this moment.
            if slot.state.end(state) {
                slot.state.ended.notify_one();
                table.remove(number);
                self.metrics.note(ConnectionEnd::MadeRoom);
                return true;
            }
        }
    }

    /// Notes that a connection has shown a secret, and takes it out of the reserve if that can be.
    fn trust(&self, number: u64) {
        let mut table = self.table();
        let Some(slot) = table.slots.get(&number) else {
            return;
        };
        if slot.state.has_shown_secret.swap(true, Ordering::Relaxed) {
            return;
        }
        let (address, in_reserve) = (slot.address, slot.in_reserve);
        slot.held.fetch_sub(1, Ordering::Relaxed);
        table.forget_unless_held(address);
        let is_common = |slot: &TakenSlot| !slot.in_reserve && slot.address.is_some();
        if in_reserve && table.in_common >= self.limits.common {
            self.end_idle(&mut table, is_common);
        }
        self.promote(&mut table);
    }

    /// Moves connections that have shown a secret out of the reserve while there is room.
    fn promote(&self, table: &mut SlotTable) {
        while table.in_common < self.limits.common {
            let mut slots = table.slots.values_mut();
            let trusted = slots.find(|slot| slot.in_reserve && slot.state.is_trusted());
            let Some(slot) = trusted else {
                return;
            };
            slot.in_reserve = false;
            table.in_common += 1;
        }
    }
}

impl SlotTable {
    fn in_reserve(&self) -> usize {
        self.slots.len() - self.in_common
    }

    /// The count of an address; a proxy's connections do not add up.
    fn held(&mut self, address: Option<IpAddr>) -> Arc<AtomicUsize> {
        match address {
            Some(address) => Arc::clone(self.held.entry(address).or_default()),
            None => Arc::default(),
        }
    }

    fn forget_unless_held(&mut self, address: Option<IpAddr>) {
        if let Some(address) = address
            && let Some(held) = self.held.get(&address)
            && held.load(Ordering::Relaxed) == 0
        {
            self.held.remove(&address);
        }
    }

    fn remove(&mut self, number: u64) {
        let Some(slot) = self.slots.remove(&number) else {
            return;
        };
        self.in_common -= usize::from(!slot.in_reserve);
        if !slot.state.is_trusted() {
            slot.held.fetch_sub(1, Ordering::Relaxed);
            self.forget_unless_held(slot.address);
        }
    }
}

impl SlotState {
    fn is_trusted(&self) -> bool {
        self.has_shown_secret.load(Ordering::Relaxed)
    }

    /// The state, if it may be ended for another.
    fn of_stranger(&self) -> Option<u64> {
        let state = self.state.load(Ordering::Relaxed);
        (state != ENDED && !self.is_trusted()).then_some(state)
    }

    /// Ends it if it is still as it was.
    fn end(&self, state: u64) -> bool {
        let end = (self.state).compare_exchange(state, ENDED, Ordering::Relaxed, Ordering::Relaxed);
        end.is_ok()
    }

    /// Goes on to another state, unless it was ended.
    fn go_on(&self, next: u64) -> bool {
        self.state
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |state| {
                (state != ENDED).then_some(next)
            })
            .is_ok()
    }
}

/// A time in nanoseconds, which leave room for [`BUSY`] for centuries.
fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX) & !BUSY
}

impl ConnectionSlot {
    /// Notes that a request has come. `shows_secret` says whether it carries a secret, and `is_due` whether it
    /// may use the reserve without. Returns why it is not to be answered.
    pub(super) fn begin(
        &self,
        shows_secret: impl FnOnce() -> bool,
        is_due: impl FnOnce() -> bool,
    ) -> Result<(), ConnectionEnd> {
        self.state.is_answered.store(false, Ordering::Relaxed);
        if !self.state.go_on(BUSY | self.slots.moment()) {
            return Err(ConnectionEnd::MadeRoom);
        }
        if self.state.is_trusted() {
            return Ok(());
        }
        if shows_secret() {
            self.slots.trust(self.number);
            return Ok(());
        }
        match self.shortage {
            Some(shortage) if !is_due() => {
                self.slots.metrics.note(shortage);
                Err(shortage)
            }
            _ => Ok(()),
        }
    }

    /// Lets a request be answered that showed a secret in the moment in which its connection was ended.
    pub(super) fn answer_last(&self) {
        self.state.has_shown_secret.store(true, Ordering::Relaxed);
    }

    /// Begins the answer of the request. All of it has been made when this is dropped.
    pub(super) fn answer(&self) -> AnswerInMaking {
        AnswerInMaking(Arc::clone(&self.state))
    }

    /// Notes that all that was made so far is written. If that is all of the answer, the connection is idle.
    pub(super) fn written(&self) {
        if self.state.is_answered.swap(false, Ordering::Relaxed) {
            self.state.go_on(self.slots.moment());
        }
    }

    /// Whether the connection must close after the present answer: it is in the reserve, or was ended for another.
    pub(super) fn is_for_one_request(&self) -> bool {
        let is_ended = self.state.state.load(Ordering::Relaxed) == ENDED;
        is_ended || (self.shortage.is_some() && !self.state.is_trusted())
    }

    /// Waits until the connection is to end for another. One that has shown a secret goes on to its answer.
    pub(super) async fn ended(&self) {
        self.state.ended.notified().await;
        if self.state.is_trusted() {
            pending::<()>().await;
        }
    }

    /// Ends a connection of the reserve on which no request has come since it was let in.
    pub(super) fn end_if_unused(&self) -> bool {
        let state = &self.state.state;
        let unused =
            state.compare_exchange(self.began, ENDED, Ordering::Relaxed, Ordering::Relaxed);
        if let (Some(shortage), Ok(_)) = (self.shortage, unused) {
            self.slots.metrics.note(shortage);
        }
        unused.is_ok()
    }

    /// Whether it was let in only into the reserve.
    pub(super) const fn is_reserve(&self) -> bool {
        self.shortage.is_some()
    }

    /// Counts that the other end does not read.
    pub(super) fn note_not_reading(&self) {
        self.slots.metrics.note(ConnectionEnd::NotReading);
    }
}

/// An answer of which more may follow.
#[derive(Debug)]
pub(super) struct AnswerInMaking(Arc<SlotState>);

impl Drop for AnswerInMaking {
    fn drop(&mut self) {
        self.0.is_answered.store(true, Ordering::Relaxed);
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut table = self.slots.table();
        table.remove(self.number);
        self.slots.promote(&mut table);
        drop(table);
        self.slots.metrics.open.dec();
    }
}

#[cfg(test)]
mod tests;
