//! Who may hold the connections of a listener.
//!
//! The listener lets in a common number of connections, of which one address holds at most half, unless it is
//! a trusted proxy's; what has shown a secret no longer counts. Beyond that, a connection first takes the place
//! of an idle one: that of the same address, if the address has its share, else that of the address which holds
//! most, and of its connections the one that has been idle longest. Where none is idle, the connection comes
//! into the reserve, where its first request must say that it is due there. The reserve makes room in the same
//! way, so that a newcomer is always heard.
//!
//! Whatever has shown a secret is never ended for another, and leaves the reserve as soon as there is room.

use std::collections::{BTreeMap, HashMap};
use std::future::pending;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

use crate::http::connection_metrics::{ConnectionEnd, ConnectionMetrics};

/// The state of a slot whose connection has a request under way.
const BUSY: u64 = 0;
/// The state of a slot that was taken away.
const ENDED: u64 = u64::MAX;

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
    /// Grows with every connection that becomes idle, so that it tells which has been idle longest.
    moments: AtomicU64,
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
    /// [`BUSY`], [`ENDED`], or the moment since which it is idle.
    state: AtomicU64,
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
            moments: AtomicU64::new(1),
            metrics,
        })
    }

    fn table(&self) -> MutexGuard<'_, SlotTable> {
        self.table.lock().expect("no holder of this lock panics")
    }

    fn moment(&self) -> u64 {
        self.moments.fetch_add(1, Ordering::Relaxed)
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
        if held.is_some_and(|held| held.load(Ordering::Relaxed) >= share) {
            let is_its_own = |slot: &TakenSlot| !slot.in_reserve && slot.address == address;
            return (!self.end_idle(table, is_its_own)).then_some(ConnectionEnd::AddressShare);
        }
        if table.in_common >= self.limits.common {
            let is_common = |slot: &TakenSlot| !slot.in_reserve && slot.address.is_some();
            return (!self.end_idle(table, is_common)).then_some(ConnectionEnd::Limit);
        }
        None
    }

    /// Ends the connection that has been idle longest, of the address that holds most, among some that have
    /// shown no secret. Says whether there was one.
    fn end_idle(&self, table: &mut SlotTable, is_wanted: impl Fn(&TakenSlot) -> bool) -> bool {
        loop {
            let idle = table.slots.iter().filter_map(|(number, slot)| {
                let since = slot.state.idle_since()?;
                let held = slot.held.load(Ordering::Relaxed);
                is_wanted(slot).then_some((held, u64::MAX - since, *number))
            });
            let Some((.., number)) = idle.max() else {
                return false;
            };
            let Some(slot) = table.slots.get(&number) else {
                return false;
            };
            // A request may have come in this moment.
            if slot.state.end() {
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

    /// Since when it is idle, if it is, and may be ended for another.
    fn idle_since(&self) -> Option<u64> {
        let state = self.state.load(Ordering::Relaxed);
        (state != BUSY && state != ENDED && !self.is_trusted()).then_some(state)
    }

    /// Ends it if it is idle.
    fn end(&self) -> bool {
        self.leave_idle(ENDED)
    }

    fn leave_idle(&self, next: u64) -> bool {
        self.state
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |state| {
                (state != BUSY && state != ENDED).then_some(next)
            })
            .is_ok()
    }
}

impl ConnectionSlot {
    /// Notes that a request has come. `shows_secret` says whether it carries a secret, and `is_due` whether it
    /// may use the reserve without. Returns why it is not to be answered.
    pub(super) fn begin(
        &self,
        shows_secret: impl FnOnce() -> bool,
        is_due: impl FnOnce() -> bool,
    ) -> Result<(), ConnectionEnd> {
        if !self.state.leave_idle(BUSY) {
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

    /// Notes that the request has its answer.
    pub(super) fn finish(&self) {
        let now = self.slots.moment();
        let state = &self.state.state;
        // A connection that was ended for another stays so.
        let was_busy = state.compare_exchange(BUSY, now, Ordering::Relaxed, Ordering::Relaxed);
        was_busy.ok();
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
mod tests {
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::gauge::Gauge;

    use super::*;

    const EIGHT_AND_TWO: SlotLimits = SlotLimits {
        common: 8,
        reserve: 2,
    };

    fn slots(limits: SlotLimits) -> Arc<Slots> {
        let metrics = ConnectionMetrics::new("public", Gauge::default(), |_| Counter::default());
        Slots::new(limits, metrics)
    }

    #[expect(clippy::unnecessary_wraps, reason = "a slot may have no address")]
    fn address(number: u8) -> Option<IpAddr> {
        Some(IpAddr::from([198, 51, 100, number]))
    }

    /// Lets a connection in, and lets its request begin: it is idle no more.
    fn busy(slots: &Arc<Slots>, of: Option<IpAddr>) -> ConnectionSlot {
        let slot = slots.admit(of).unwrap();
        slot.begin(|| false, || true).unwrap();
        slot
    }

    fn is_ended(slot: &ConnectionSlot) -> bool {
        slot.state.state.load(Ordering::Relaxed) == ENDED
    }

    #[test]
    fn an_address_holds_half_and_the_rest_is_for_others() {
        let slots = slots(EIGHT_AND_TWO);
        let own: Vec<_> = (0..4).map(|_| busy(&slots, address(1))).collect();
        let more = slots.admit(address(1)).unwrap();
        assert_eq!(more.shortage, Some(ConnectionEnd::AddressShare));
        assert_eq!(
            more.begin(|| false, || false),
            Err(ConnectionEnd::AddressShare)
        );
        let others: Vec<_> = (0..4).map(|_| busy(&slots, address(2))).collect();
        assert!(others.iter().all(|slot| !slot.is_reserve()));
        let third = slots.admit(address(3)).unwrap();
        assert_eq!(third.shortage, Some(ConnectionEnd::Limit));
        drop((own, others, more, third));
        let table = slots.table();
        assert!(table.slots.is_empty() && table.held.is_empty());
        assert_eq!(table.in_common, 0);
    }

    #[test]
    fn a_trusted_proxy_has_no_share_and_is_not_ended_for_others() {
        let slots = slots(EIGHT_AND_TWO);
        let proxied: Vec<_> = (0..8).map(|_| slots.admit(None).unwrap()).collect();
        let next = slots.admit(address(1)).unwrap();
        assert_eq!(next.shortage, Some(ConnectionEnd::Limit));
        assert!(!proxied.iter().any(is_ended));
    }

    #[test]
    fn whoever_shows_the_secret_counts_no_more_and_is_never_ended() {
        let slots = slots(EIGHT_AND_TWO);
        let known: Vec<_> = (0..7)
            .map(|_| {
                let slot = slots.admit(address(1)).unwrap();
                assert!(!slot.is_reserve());
                slot.begin(|| true, || false).unwrap();
                slot.finish();
                slot
            })
            .collect();
        let stranger = slots.admit(address(1)).unwrap();
        for _ in 0..5 {
            let next = slots.admit(address(2)).unwrap();
            assert!(next.begin(|| true, || false).is_ok());
        }
        assert!(is_ended(&stranger) && !known.iter().any(is_ended));
    }

    #[test]
    fn the_longest_idle_of_whoever_holds_most_makes_room() {
        let slots = slots(EIGHT_AND_TWO);
        let lone = slots.admit(address(1)).unwrap();
        let many: Vec<_> = (0..4).map(|_| slots.admit(address(2)).unwrap()).collect();
        let few: Vec<_> = (0..3).map(|_| slots.admit(address(3)).unwrap()).collect();
        // The first becomes idle last.
        many[0].begin(|| false, || false).unwrap();
        many[0].finish();
        let next = slots.admit(address(4)).unwrap();
        assert!(!next.is_reserve());
        let ended: Vec<_> = many.iter().map(is_ended).collect();
        assert_eq!(ended, [false, true, false, false]);
        assert_eq!(
            many[1].begin(|| true, || true),
            Err(ConnectionEnd::MadeRoom)
        );
        many[1].answer_last();
        assert!(many[1].is_for_one_request());
        assert!(!is_ended(&lone) && !few.iter().any(is_ended));
    }

    #[test]
    fn an_address_at_its_share_gives_up_its_own() {
        let slots = slots(SlotLimits {
            common: 2,
            reserve: 1,
        });
        let other = slots.admit(address(2)).unwrap();
        let mut last = slots.admit(address(1)).unwrap();
        for _ in 0..100 {
            let next = slots.admit(address(1)).unwrap();
            assert!(!next.is_reserve() && is_ended(&last));
            last = next;
        }
        assert!(!is_ended(&other));
        assert_eq!(slots.table().slots.len(), 2);
    }

    #[test]
    fn the_reserve_hears_every_newcomer_and_leaves_it_to_those_with_the_secret() {
        let slots = slots(EIGHT_AND_TWO);
        let mut strangers: Vec<_> = (0..8).map(|n| busy(&slots, address(n))).collect();
        let mut silent = slots.admit(address(20)).unwrap();
        for n in 21..200 {
            let next = slots.admit(address(n)).unwrap();
            assert_eq!(next.shortage, Some(ConnectionEnd::Limit));
            silent = next;
        }
        let known: Vec<_> = (0..2)
            .map(|_| {
                let slot = slots.admit(address(30)).unwrap();
                assert!(slot.begin(|| true, || false).is_ok());
                slot.finish();
                slot
            })
            .collect();
        assert!(is_ended(&silent));
        assert!(slots.admit(address(40)).is_none());
        // As soon as there is room, the reserve is free again.
        strangers.pop();
        let health = slots.admit(address(40)).unwrap();
        assert!(health.begin(|| false, || true).is_ok());
        assert!(health.is_for_one_request());
        assert!(!known.iter().any(is_ended));
        assert!(!known.iter().any(ConnectionSlot::is_for_one_request));
    }

    #[test]
    fn the_reserve_is_not_for_waiting() {
        let slots = slots(SlotLimits {
            common: 1,
            reserve: 2,
        });
        let _common = busy(&slots, address(1));
        let silent = slots.admit(address(2)).unwrap();
        let used = slots.admit(address(3)).unwrap();
        used.begin(|| false, || true).unwrap();
        assert!(silent.end_if_unused() && !used.end_if_unused());
        used.finish();
        assert!(!used.end_if_unused());
    }
}
