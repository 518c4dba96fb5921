//! Limits how much is unpacked of a file.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

/// How many bytes may be unpacked of any file, and for each byte that is read: about the most that deflate
/// can yield. All levels of nesting count together.
const FREE: u64 = 1 << 30;
const MOST_FOLD: u64 = 1100;

/// Limits what is unpacked of a file, so that a zip bomb ends.
#[derive(Debug)]
pub(super) struct Budget {
    read: Rc<Cell<u64>>,
    start: u64,
    unpacked: Cell<u64>,
}

impl Budget {
    pub(super) fn new(read: Rc<Cell<u64>>) -> Self {
        Self {
            start: read.get(),
            read,
            unpacked: Cell::new(0),
        }
    }

    /// Counts unpacked bytes; fails if they are too many.
    pub(super) fn spend(&self, count: usize) -> io::Result<usize> {
        self.unpacked
            .set(self.unpacked.get().saturating_add(count as u64));
        if self.is_spent() {
            return Err(io::Error::other(
                "it unpacks to more than a thousand times its size; the rest is not read",
            ));
        }
        Ok(count)
    }

    /// Whether too much was unpacked.
    pub(super) fn is_spent(&self) -> bool {
        let read = self.read.get().saturating_sub(self.start);
        self.unpacked.get() > read.saturating_mul(MOST_FOLD).saturating_add(FREE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_unpacked_grows_with_what_was_read() {
        let read = Rc::new(Cell::new(1000));
        let budget = Budget::new(Rc::clone(&read));
        read.set(1010);
        let free = usize::try_from(FREE).unwrap();
        assert!(budget.spend(free).is_ok());
        assert_eq!(budget.spend(10 * 1100).unwrap(), 11_000);
        assert!(!budget.is_spent());
        assert!(budget.spend(1).is_err());
        assert!(budget.is_spent());
    }
}
