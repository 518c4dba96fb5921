//! One sync: what becomes of an event that was taken for it.

use crate::config::SyncName;
use crate::map::payload::Payload;
use crate::outcome::Reason;

/// An event that was taken for a sync, on its way to the queue.
#[derive(Debug)]
pub struct Taken {
    /// The sync.
    pub sync: SyncName,
    /// What became of the event.
    pub fate: Fate,
}

/// What becomes of an event before it is queued.
#[derive(Debug)]
pub enum Fate {
    /// It was mapped and is to be delivered.
    Mapped(Payload),
    /// It ended here.
    Ended(Ended),
}

/// An event that ends before it is queued.
#[derive(Debug)]
pub struct Ended {
    /// Why.
    pub reason: Reason,
    /// Its name, where it is known.
    pub event_name: Option<Box<str>>,
    /// Its id, where it is known.
    pub event_id: Option<Box<str>>,
    /// The mapped event, if there is one; never raw input.
    pub json: Option<Vec<u8>>,
}
