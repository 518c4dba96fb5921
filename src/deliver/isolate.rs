//! Finds the bad events of a batch that was refused whole.
//!
//! Pure: holds parts of a batch, and learns from what became of each. A batch of `n` events of which
//! `k` are bad costs about `k·log2(n)` extra requests: while the first half of a part that holds a bad
//! event is accepted, the bad one must be in the second half, which is split without being sent
//! whole; while the first half is refused, the second is put back with the untried rest and goes
//! out with it, in one request. Only what was refused alone counts as bad.

/// A batch, or what is left of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts<T> {
    /// Goes out next.
    next: Vec<T>,
    /// Known to hold a bad event if `next` is accepted; empty for a batch that was not refused yet.
    suspect: Vec<T>,
    /// Of unknown quality.
    untried: Vec<T>,
    /// Whether a hint was wrong, after which no more are followed in this batch.
    misled: bool,
}

/// What a refusal led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused<T> {
    /// One event stood alone: it is bad. What is left, if anything, goes on.
    Alone(T, Option<Parts<T>>),
    /// It was split further.
    Split(Parts<T>),
}

impl<T> Parts<T> {
    /// Begins with a whole batch. `None` where it is empty.
    pub fn whole(batch: Vec<T>) -> Option<Self> {
        (!batch.is_empty()).then_some(Self {
            next: batch,
            suspect: Vec::new(),
            untried: Vec::new(),
            misled: false,
        })
    }

    /// What goes out next; never empty.
    pub fn next(&self) -> &[T] {
        &self.next
    }

    /// Tells whether bad events are being looked for.
    pub fn is_search(&self) -> bool {
        self.misled || !self.suspect.is_empty() || !self.untried.is_empty()
    }

    /// All events, those that go out next first.
    pub fn into_all(mut self) -> Vec<T> {
        self.next.append(&mut self.suspect);
        self.next.append(&mut self.untried);
        self.next
    }

    /// Keeps the events for which `keep` holds, and returns the others. `None` where none is left.
    pub fn retain(mut self, mut keep: impl FnMut(&T) -> bool) -> (Option<Self>, Vec<T>) {
        let mut removed = Vec::new();
        for part in [&mut self.next, &mut self.suspect, &mut self.untried] {
            let (kept, gone): (Vec<T>, Vec<T>) = part.drain(..).partition(|event| keep(event));
            *part = kept;
            removed.extend(gone);
        }
        (self.with_next(), removed)
    }

    /// `next` was accepted, or at least is done with: returns it, and what is left.
    pub fn accepted(mut self) -> (Vec<T>, Option<Self>) {
        let done = std::mem::take(&mut self.next);
        let suspects = std::mem::take(&mut self.suspect);
        self.narrow(suspects);
        (done, self.with_next())
    }

    /// `next` was refused. `hint` is the index of the event that is said to be bad.
    pub fn refused(mut self, hint: Option<usize>) -> Refused<T> {
        // The bad event is in `next`: nothing is known of the suspects any more.
        self.suspect.append(&mut self.untried);
        self.untried = std::mem::take(&mut self.suspect);
        let mut refused = std::mem::take(&mut self.next);
        if refused.len() == 1
            && let Some(bad) = refused.pop()
        {
            return Refused::Alone(bad, self.with_next());
        }
        match hint.filter(|index| !self.misled && *index < refused.len()) {
            Some(index) => {
                self.next = vec![refused.remove(index)];
                self.suspect = refused;
                // Right hints are followed again: the search is over once the hinted event is refused.
                self.misled = true;
            }
            None => self.narrow(refused),
        }
        Refused::Split(self)
    }

    /// Splits `next` in halves, of which nothing is known. `None` where it is one event: it, and
    /// what is left, come back.
    pub fn halved(mut self) -> Refused<T> {
        self.suspect.append(&mut self.untried);
        self.untried = std::mem::take(&mut self.suspect);
        let mut large = std::mem::take(&mut self.next);
        if large.len() == 1
            && let Some(event) = large.pop()
        {
            return Refused::Alone(event, self.with_next());
        }
        let mut second = large.split_off(large.len().div_ceil(2));
        second.append(&mut self.untried);
        self.next = large;
        self.untried = second;
        Refused::Split(self)
    }

    /// Looks for the bad event among `suspects`, one of which is bad.
    fn narrow(&mut self, mut suspects: Vec<T>) {
        self.suspect = suspects.split_off(suspects.len().div_ceil(2));
        self.next = suspects;
    }

    /// Makes sure that `next` is not empty.
    fn with_next(mut self) -> Option<Self> {
        if self.next.is_empty() && !self.suspect.is_empty() {
            let suspects = std::mem::take(&mut self.suspect);
            self.narrow(suspects);
        }
        if self.next.is_empty() {
            self.next = std::mem::take(&mut self.untried);
            self.misled = false;
        }
        (!self.next.is_empty()).then_some(self)
    }
}
