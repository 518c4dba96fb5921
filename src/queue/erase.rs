//! Erasure: of a person, and of a sync that is no more.

/// Whom `forget` erases. An event matches where it holds any of these.
#[derive(Clone, Debug, Default)]
pub struct Person {
    /// Hashed values as they stand in `user_data`: 64 lower-case hex digits each.
    pub hashes: Vec<String>,
    /// Event ids.
    pub event_ids: Vec<String>,
}

/// What `forget` did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Queued events, now `erased`.
    pub queued: u64,
    /// Dead letters removed.
    pub dead: u64,
    /// Events on lease at that moment: a request may be carrying them. Repeat to reach what is left.
    pub in_flight: u64,
}
