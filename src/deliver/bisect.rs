//! Finds the bad events of a batch that was refused whole.
//!
//! Pure: holds the parts of a batch, and learns from what becomes of each. A batch of `n` events, `k` of
//! them bad, costs about `k·log2(n)` extra requests. If the first half of a part with a bad event is
//! accepted, the bad one must be in the second half, which is split without being sent whole. If the first
//! half is refused, the second goes back to the untried rest and goes out with it, in one request. Only an
//! event that was refused alone counts as bad.

use std::mem;

/// A batch, or what is left of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bisection<T> {
    /// Goes out next.
    next: Vec<T>,
    /// Holds a bad event if `next` is accepted.
    suspect: Vec<T>,
    /// Of unknown quality.
    untried: Vec<T>,
    /// Most events that go out at once.
    most: usize,
    /// Something of the batch was refused.
    search: bool,
    /// `next` was chosen by a hint.
    guess: bool,
    /// A hint was wrong: hints are ignored until the rest is begun.
    misled: bool,
}

/// What splitting led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Split<T> {
    /// One event was alone. The rest, if any, goes on.
    Alone(T, Option<Bisection<T>>),
    /// There are smaller parts.
    Smaller(Bisection<T>),
}

impl<T> Bisection<T> {
    /// Begins with a whole batch. `None` where it is empty.
    pub fn whole(batch: Vec<T>) -> Option<Self> {
        (!batch.is_empty()).then_some(Self {
            next: batch,
            suspect: Vec::new(),
            untried: Vec::new(),
            most: usize::MAX,
            search: false,
            guess: false,
            misled: false,
        })
    }

    /// What goes out next; never empty.
    pub fn next(&self) -> &[T] {
        &self.next
    }

    pub fn next_mut(&mut self) -> &mut [T] {
        &mut self.next
    }

    /// Whether a part was refused before, so that giving up would lose what was learnt.
    pub fn is_search(&self) -> bool {
        self.search
    }

    /// All events, those that go out next first.
    pub fn into_all(mut self) -> Vec<T> {
        self.next.append(&mut self.suspect);
        self.next.append(&mut self.untried);
        self.next
    }

    /// Removes the events for which `keep` does not hold. Gives what is left, and what it removed.
    pub fn retain(mut self, mut keep: impl FnMut(&T) -> bool) -> (Option<Self>, Vec<T>) {
        let mut removed = Vec::new();
        for part in [&mut self.next, &mut self.suspect, &mut self.untried] {
            let (kept, gone): (Vec<T>, Vec<T>) = part.drain(..).partition(&mut keep);
            *part = kept;
            removed.extend(gone);
        }
        (self.with_next(), removed)
    }

    /// `next` was accepted. Gives it, and what is left.
    pub fn accepted(mut self) -> (Vec<T>, Option<Self>) {
        self.misled |= mem::take(&mut self.guess);
        let accepted = mem::take(&mut self.next);
        (accepted, self.with_next())
    }

    /// `next` was refused. `hint` is the index of the event that Meta blames.
    pub fn refused(mut self, hint: Option<usize>) -> Split<T> {
        let mut refused = match <[T; 1]>::try_from(self.take_next()) {
            Ok([bad]) => return Split::Alone(bad, self.with_next()),
            Err(several) => several,
        };
        match hint.filter(|index| !self.misled && *index < refused.len()) {
            Some(index) => {
                self.next = vec![refused.remove(index)];
                self.suspect = refused;
                self.guess = true;
            }
            None => self.narrow(refused),
        }
        Split::Smaller(self)
    }

    /// `next` was too large: goes on with its halves, of which nothing is known.
    pub fn too_large(mut self) -> Split<T> {
        let mut large = match <[T; 1]>::try_from(self.take_next()) {
            Ok([event]) => return Split::Alone(event, self.with_next()),
            Err(several) => several,
        };
        self.most = large.len().div_ceil(2);
        let mut second = large.split_off(self.most);
        second.append(&mut self.untried);
        self.next = large;
        self.untried = second;
        Split::Smaller(self)
    }

    /// Sends the first event of `next` ahead, alone: cheaper than a search where every event is
    /// bad.
    #[must_use]
    pub fn first_alone(mut self) -> Self {
        if self.suspect.is_empty() && self.next.len() > 1 {
            let mut rest = self.next.split_off(1);
            rest.append(&mut self.untried);
            self.untried = rest;
        }
        self
    }

    /// Takes out `next`, in which something is wrong: that says nothing about the suspects.
    fn take_next(&mut self) -> Vec<T> {
        self.suspect.append(&mut self.untried);
        self.untried = mem::take(&mut self.suspect);
        self.search = true;
        self.guess = false;
        mem::take(&mut self.next)
    }

    /// Looks for the bad one among `suspects`.
    fn narrow(&mut self, mut suspects: Vec<T>) {
        self.suspect = suspects.split_off(suspects.len().div_ceil(2));
        self.next = suspects;
    }

    /// Makes sure that `next` is not empty; `None` where nothing is left.
    fn with_next(mut self) -> Option<Self> {
        if self.next.is_empty() {
            let suspects = mem::take(&mut self.suspect);
            self.narrow(suspects);
        }
        if self.next.is_empty() {
            let rest = self.untried.split_off(self.most.min(self.untried.len()));
            self.next = mem::replace(&mut self.untried, rest);
            self.misled = false;
        }
        (!self.next.is_empty()).then_some(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Sends parts to an endpoint that refuses any that holds a bad event, until nothing is left.
    struct Simulation {
        calls: usize,
        accepted: Vec<usize>,
        bad: Vec<usize>,
        largest: usize,
    }

    fn run(events: usize, bad: &[usize], hint: impl Fn(&[usize]) -> Option<usize>) -> Simulation {
        let mut run = Simulation {
            calls: 0,
            accepted: Vec::new(),
            bad: Vec::new(),
            largest: 0,
        };
        let mut left = Bisection::whole((0..events).collect());
        while let Some(parts) = left.take() {
            run.calls += 1;
            run.largest = run.largest.max(parts.next().len());
            let refused = parts.next().iter().any(|event| bad.contains(event));
            left = if refused {
                let hint = hint(parts.next());
                match parts.refused(hint) {
                    Split::Alone(event, rest) => {
                        run.bad.push(event);
                        rest
                    }
                    Split::Smaller(parts) => Some(parts),
                }
            } else {
                let (accepted, rest) = parts.accepted();
                run.accepted.extend(accepted);
                rest
            };
        }
        run.accepted.sort_unstable();
        run
    }

    fn bound(events: usize, bad: usize) -> usize {
        // Per bad event: a search, the event alone, and what was put back.
        1 + bad * (events.next_power_of_two().ilog2() as usize + 2)
    }

    proptest! {
        #[test]
        fn every_bad_event_stands_alone_and_every_good_one_is_accepted(
            events in 1_usize..300,
            bad in proptest::collection::btree_set(0_usize..300, 0..12),
            hints in prop_oneof![Just(None), (0_usize..300).prop_map(Some)],
        ) {
            let bad: Vec<usize> = bad.into_iter().filter(|bad| *bad < events).collect();
            let run = run(events, &bad, |_| hints);
            let good: Vec<usize> = (0..events).filter(|event| !bad.contains(event)).collect();
            prop_assert_eq!(run.accepted, good);
            let mut found = run.bad;
            found.sort_unstable();
            prop_assert_eq!(&found, &bad);
            // Hints that lead nowhere cost at most one request for each part that they point into.
            let misled = if hints.is_some() { 1 + bad.len() } else { 0 };
            prop_assert!(run.calls <= bound(events, bad.len()) + misled, "{} calls", run.calls);
            prop_assert!(run.largest <= events);
        }
    }

    #[test]
    fn one_bad_event_in_a_thousand_costs_about_ten_requests() {
        for bad in [0, 1, 499, 500, 998, 999] {
            let run = run(1000, &[bad], |_| None);
            assert_eq!(run.bad, [bad]);
            assert!(run.calls <= 13, "{} calls for {bad}", run.calls);
        }
    }

    #[test]
    fn right_hints_find_each_bad_event_at_once() {
        let bad = [3, 500, 501, 999];
        let run = run(1000, &bad, |sent| {
            sent.iter().position(|event| bad.contains(event))
        });
        assert_eq!(run.bad, bad);
        // The whole, then for each bad event: it alone, and the rest.
        assert_eq!(run.calls, 1 + 2 * bad.len());
    }

    #[test]
    fn a_batch_of_bad_events_only_ends() {
        let bad: Vec<usize> = (0..64).collect();
        let run = run(64, &bad, |_| None);
        assert_eq!(run.bad, bad);
    }

    #[test]
    fn a_scout_goes_ahead_alone_and_the_rest_follows_whole() {
        let parts = Bisection::whole(vec![1, 2, 3]).unwrap().first_alone();
        assert_eq!(parts.next(), [1]);
        let (accepted, rest) = parts.accepted();
        assert_eq!(accepted, [1]);
        assert_eq!(rest.unwrap().next(), [2, 3]);
        assert_eq!(Bisection::whole(vec![1]).unwrap().first_alone().next(), [1]);
    }

    #[test]
    fn what_is_too_large_is_halved_down_to_what_fits() {
        for (fits, sizes) in [
            (8, vec![8]),
            (7, vec![8, 4, 4]),
            (3, vec![8, 4, 2, 2, 2, 2]),
            (1, vec![8, 4, 2, 1, 1, 1, 1, 1, 1, 1, 1]),
            (0, vec![8, 4, 2, 1, 1, 1, 1, 1, 1, 1, 1]),
        ] {
            let mut left = Bisection::whole((0..8).collect());
            let mut sent = Vec::new();
            let mut seen = Vec::new();
            while let Some(parts) = left.take() {
                sent.push(parts.next().len());
                left = if parts.next().len() <= fits {
                    let (accepted, rest) = parts.accepted();
                    seen.extend(accepted);
                    rest
                } else {
                    match parts.too_large() {
                        Split::Alone(event, rest) => {
                            seen.push(event);
                            rest
                        }
                        Split::Smaller(parts) => Some(parts),
                    }
                };
            }
            assert_eq!(sent, sizes, "{fits}");
            assert_eq!(seen, (0..8).collect::<Vec<_>>(), "{fits}");
        }
    }

    #[test]
    fn events_can_be_taken_out_of_a_search() {
        let Split::Smaller(parts) = Bisection::whole(vec![1, 2, 3, 4]).unwrap().refused(None)
        else {
            panic!("four events are split");
        };
        assert!(parts.is_search());
        assert_eq!(parts.next(), [1, 2]);
        let (left, removed) = parts.retain(|event| *event > 2);
        assert_eq!(removed, [1, 2]);
        let left = left.unwrap();
        assert_eq!(left.next(), [3]);
        assert_eq!(left.into_all(), [3, 4]);
        assert_eq!(
            Bisection::whole(vec![1]).unwrap().retain(|_| false),
            (None, vec![1])
        );
        assert_eq!(Bisection::<u8>::whole(Vec::new()), None);
    }
}
