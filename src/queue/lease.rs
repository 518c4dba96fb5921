//! What is handed out for delivery.

use std::fmt;
use std::sync::Arc;

use crate::clock::UnixMillis;

/// The place of one queued event: a row of the store, and a position in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot {
    pub(super) row: i64,
    pub(super) position: u16,
}

impl Slot {
    /// The place of the event at this position of a row.
    pub(super) fn new(row: i64, position: usize) -> Self {
        let position = u16::try_from(position).expect("a row has at most 256 events");
        Self { row, position }
    }

    /// The position in the row.
    pub(super) fn position(self) -> usize {
        usize::from(self.position)
    }
}

/// An event that is out on lease: nobody else is handed it until it is settled or released.
#[derive(Clone, Debug)]
pub struct Leased {
    /// Where it is, for the settlement.
    pub slot: Slot,
    /// The mapped event: one JSON object.
    pub body: EventBody,
    /// Meta's event name.
    pub event_name: Arc<str>,
    /// When it must have been delivered: seconds since the epoch. The end of Meta's window or, if
    /// Meta may have taken it with an earlier request, of the 48 hours after that.
    pub deadline: i64,
    /// When it was taken.
    pub taken_at: UnixMillis,
}

/// The bytes of one event, shared with the row that they lie in.
#[derive(Clone)]
pub struct EventBody {
    pub(super) row: Arc<[u8]>,
    pub(super) start: u32,
    pub(super) end: u32,
}

impl AsRef<[u8]> for EventBody {
    fn as_ref(&self) -> &[u8] {
        &self.row[self.start as usize..self.end as usize]
    }
}

impl fmt::Debug for EventBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({} bytes)", self.as_ref().len())
    }
}

/// Which events a lease takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// For delivery. Where more is ready than fits, as after an outage, leases take turns: half of them
    /// begin with the freshest Purchases, one in four takes the freshest events of all, and one in four
    /// those whose window closes first.
    MostUrgent,
    /// One of each event name, the newest: for probing a paused lane. Looks at the newest 256 rows.
    NewestOfEachName,
}

/// What is ready to be leased.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Events.
    pub events: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the oldest was taken.
    pub oldest: Option<UnixMillis>,
}

/// How much a lease may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct LeaseLimits {
    /// Most events.
    pub(super) events: usize,
    /// Most bytes of JSON; the first event may be larger.
    pub(super) bytes: usize,
}
