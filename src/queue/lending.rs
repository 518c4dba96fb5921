//! Hands ready events out: finds those that are to be leased, and puts them on lease.

use std::collections::HashSet;
use std::sync::Arc;

use crate::config::SyncName;

use super::lanes::Turn;
use super::lease::{LeaseLimits, Leased, Order, Slot};
use super::row::{Bits, StoredBatch};
use super::rows::{self, BatchState, standing};
use super::store::Core;

/// Rows by how long Meta still takes their events, the longest first: of the events of a source, that is by
/// their age. Where an answer was lost that is less, so that what Meta may have waits behind what it lacks.
const FRESHEST: &str = standing!("WHERE sync = ?1 ORDER BY deadline DESC, id DESC");
const FRESHEST_PURCHASES: &str = standing!(
    "INDEXED BY row_of_purchases WHERE sync = ?1 AND purchase = 1 ORDER BY deadline DESC, id DESC"
);

/// How many rows a lease by name looks at.
const ROWS_BY_NAME: i64 = 256;

impl Core {
    /// Hands out ready events.
    pub(super) fn lease(
        &mut self,
        sync: &SyncName,
        limits: LeaseLimits,
        order: Order,
    ) -> rusqlite::Result<Vec<Leased>> {
        let Some(place) = self.ledger.find(sync) else {
            return Ok(Vec::new());
        };
        let mut lease = Lease {
            limits,
            now: self.now.seconds(),
            taken: Vec::new(),
            bytes: 0,
            full: limits.events == 0,
            damaged: Vec::new(),
            overdue: false,
        };
        let leased = match order {
            Order::MostUrgent => self.lease_in_turn(place, &mut lease),
            Order::NewestOfEachName => self.lease_newest_of_each_name(place, &mut lease),
        };
        if let Err(error) = leased {
            let slots: Vec<Slot> = lease.taken.iter().map(|event| event.slot).collect();
            self.lanes().lane(sync).release(&slots);
            return Err(error);
        }
        self.damaged.append(&mut lease.damaged);
        self.overdue |= lease.overdue;
        self.lanes().lane(sync).doubt_oldest();
        self.refresh_oldest(place)?;
        Ok(lease.taken)
    }

    fn lease_in_turn(&self, place: usize, lease: &mut Lease) -> rusqlite::Result<()> {
        let sync = &self.ledger.accounts()[place].name;
        let turn = self.lanes().lane(sync).turn(lease.limits);
        match turn {
            Turn::MostUrgent => self.lease_most_urgent(place, lease),
            Turn::Freshest => self.lease_freshest(place, FRESHEST, lease),
            Turn::Purchases => {
                self.lease_freshest(place, FRESHEST_PURCHASES, lease)?;
                self.lease_freshest(place, FRESHEST, lease)
            }
        }
    }

    /// Goes from the newest row to older ones. On the way it passes the rows that are on lease, of which
    /// there are no more than requests under way can carry.
    fn lease_freshest(&self, place: usize, rows: &str, lease: &mut Lease) -> rusqlite::Result<()> {
        let account = &self.ledger.accounts()[place];
        let mut statement = self.connection.prepare_cached(rows)?;
        let mut found = statement.query([account.id])?;
        while !lease.full
            && let Some(found) = found.next()?
        {
            let standing = BatchState::read(found)?;
            self.lease_row(&account.name, &standing, lease, |_, positions| positions)?;
        }
        Ok(())
    }

    fn lease_most_urgent(&self, place: usize, lease: &mut Lease) -> rusqlite::Result<()> {
        let account = &self.ledger.accounts()[place];
        // Only this thread leases, so between two locks events can only become ready, not the
        // other way round; what is released meanwhile lowers the mark by itself.
        let from = self.lanes().lane(&account.name).take_urgent();
        let mut ready_from = i64::MAX;
        let mut statement = self.connection.prepare_cached(standing!(
            "WHERE sync = ?1 AND deadline >= ?2 ORDER BY deadline, id"
        ))?;
        let mut found = statement.query([account.id, from])?;
        while let Some(found) = found.next()? {
            let standing = BatchState::read(found)?;
            if lease.full {
                ready_from = ready_from.min(standing.deadline);
                break;
            }
            let left = self.lease_row(&account.name, &standing, lease, |_, positions| positions)?;
            if left {
                ready_from = ready_from.min(standing.deadline);
            }
        }
        self.lanes().lane(&account.name).lower_urgent(ready_from);
        Ok(())
    }

    fn lease_newest_of_each_name(&self, place: usize, lease: &mut Lease) -> rusqlite::Result<()> {
        let account = &self.ledger.accounts()[place];
        let mut names: HashSet<Arc<str>> = HashSet::new();
        let mut statement = self
            .connection
            .prepare_cached(standing!("WHERE sync = ?1 ORDER BY id DESC LIMIT ?2"))?;
        let mut found = statement.query([account.id, ROWS_BY_NAME])?;
        while let Some(found) = found.next()?
            && !lease.full
        {
            let standing = BatchState::read(found)?;
            self.lease_row(&account.name, &standing, lease, |content, mut positions| {
                positions.reverse();
                positions.retain(|position| {
                    names.insert(Arc::clone(content.name(&content.entries[*position])))
                });
                positions
            })?;
        }
        Ok(())
    }

    /// Takes from one row what `choose` lets pass; true if ready events are left in it.
    fn lease_row(
        &self,
        sync: &SyncName,
        standing: &BatchState,
        lease: &mut Lease,
        choose: impl FnOnce(&StoredBatch, Vec<usize>) -> Vec<usize>,
    ) -> rusqlite::Result<bool> {
        let (leased, content) = self.lanes().lane(sync).on_lease(standing.row);
        let ready = standing.open().without(&leased);
        if ready.is_empty() {
            return Ok(false);
        }
        let content = match content {
            Some(content) => content,
            None => match rows::content(&self.connection, standing.row)? {
                Some(content) if content.entries.len() == standing.events => Arc::new(content),
                _ => {
                    lease.damaged.push(standing.row);
                    return Ok(false);
                }
            },
        };
        let taken = lease.take(
            standing,
            &content,
            choose(&content, ready.positions().collect()),
        );
        if !taken.is_empty() {
            self.lanes().lane(sync).lend(standing, &content, &taken);
        }
        Ok(taken != ready)
    }
}

/// A lease in the making.
#[derive(Debug)]
struct Lease {
    limits: LeaseLimits,
    now: i64,
    taken: Vec<Leased>,
    bytes: usize,
    /// The next event did not fit.
    full: bool,
    damaged: Vec<i64>,
    /// Events were passed over that have expired.
    overdue: bool,
}

impl Lease {
    /// Takes what fits and has not expired.
    fn take(&mut self, standing: &BatchState, content: &StoredBatch, chosen: Vec<usize>) -> Bits {
        let mut taken = Bits::default();
        for position in chosen {
            let entry = &content.entries[position];
            let (deadline, _) = standing.expiry(position, entry);
            if deadline <= self.now {
                self.overdue = true;
                continue;
            }
            let body = content.body(entry);
            let bytes = self.bytes + body.as_ref().len();
            self.full = self.taken.len() == self.limits.events
                || (bytes > self.limits.bytes && !self.taken.is_empty());
            if self.full {
                break;
            }
            self.bytes = bytes;
            taken.add(position);
            self.taken.push(Leased {
                slot: Slot::new(standing.row, position),
                body,
                event_name: Arc::clone(content.name(entry)),
                deadline,
                taken_at: standing.taken_at,
            });
        }
        self.full |= self.taken.len() == self.limits.events;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::schema;

    #[test]
    fn a_lease_begins_where_the_index_says() {
        let folder = tempfile::tempdir().unwrap();
        let connection = schema::open(folder.path()).unwrap();
        for (statement, index) in [
            (FRESHEST, "row_by_deadline"),
            (FRESHEST_PURCHASES, "row_of_purchases"),
        ] {
            let plan: Vec<String> = connection
                .prepare(&format!("EXPLAIN QUERY PLAN {statement}"))
                .and_then(|mut plan| plan.query_map([1], |step| step.get(3))?.collect())
                .unwrap();
            let expected = format!("SEARCH row USING INDEX {index} (sync=?)");
            assert_eq!(plan, [expected]);
        }
    }
}
