//! Tells a bad event from a bad day.
//!
//! Pure. An event that Meta refuses alone is bad, as long as others are accepted. Where one after
//! the other is refused for the same reason and none is accepted, something else is wrong (a
//! setting of the pixel, a mapping), and setting the events aside would cost good ones. So refused
//! events are held until an acceptance speaks for the lane, or until they are too many in a row.

use std::mem;

/// So many refusals in a row, all for the same reason, pause a lane.
pub const TOO_MANY: usize = 20;

/// A reason to refuse: code and sub-code.
pub type Cause = (Option<i64>, Option<i64>);

/// Events that were refused alone, in a row, for the same reason.
#[derive(Debug)]
pub struct Streak<T> {
    cause: Cause,
    length: usize,
    held: Vec<T>,
}

/// What a refusal led to.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusals<T> {
    /// It is held. The others were refused before, for another reason, and are bad.
    Held(Vec<T>),
    /// Too many in a row: these were held.
    TooMany(Vec<T>),
}

impl<T> Default for Streak<T> {
    fn default() -> Self {
        Self {
            cause: (None, None),
            length: 0,
            held: Vec::new(),
        }
    }
}

impl<T> Streak<T> {
    /// An event was refused alone.
    pub fn refused(&mut self, event: T, cause: Cause) -> Refusals<T> {
        let others = if cause == self.cause {
            Vec::new()
        } else {
            self.accepted()
        };
        self.cause = cause;
        self.length += 1;
        self.held.push(event);
        if self.length < TOO_MANY {
            return Refusals::Held(others);
        }
        self.length = 0;
        Refusals::TooMany(mem::take(&mut self.held))
    }

    /// An event was accepted: those that were held are bad.
    pub fn accepted(&mut self) -> Vec<T> {
        self.length = 0;
        mem::take(&mut self.held)
    }

    /// Nothing else will come soon that could speak for the lane: those that were held are taken
    /// for bad. The row goes on.
    pub fn give_up(&mut self) -> Vec<T> {
        mem::take(&mut self.held)
    }

    /// Refusals in a row so far.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Whether events are held.
    pub fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Cause = (Some(100), Some(2_804_050));
    const OTHER: Cause = (Some(100), Some(2_804_019));

    #[test]
    fn twenty_in_a_row_are_too_many() {
        let mut streak = Streak::default();
        for event in 1..TOO_MANY {
            assert_eq!(streak.refused(event, ONE), Refusals::Held(vec![]));
        }
        let all = (1..=TOO_MANY).collect();
        assert_eq!(streak.refused(TOO_MANY, ONE), Refusals::TooMany(all));
        assert!(!streak.is_holding());
        assert_eq!(streak.refused(0, ONE), Refusals::Held(vec![]));
    }

    #[test]
    fn an_acceptance_ends_the_row() {
        let mut streak = Streak::default();
        for event in 1..TOO_MANY {
            streak.refused(event, ONE);
        }
        assert_eq!(streak.accepted().len(), TOO_MANY - 1);
        for event in 1..TOO_MANY {
            assert_eq!(streak.refused(event, ONE), Refusals::Held(vec![]));
        }
    }

    #[test]
    fn another_reason_ends_the_row() {
        let mut streak = Streak::default();
        streak.refused(1, ONE);
        streak.refused(2, ONE);
        assert_eq!(streak.refused(3, OTHER), Refusals::Held(vec![1, 2]));
        assert_eq!(streak.accepted(), [3]);
    }

    #[test]
    fn giving_up_does_not_end_the_row() {
        let mut streak = Streak::default();
        for event in 1..TOO_MANY {
            streak.refused(event, ONE);
            assert_eq!(streak.give_up(), [event]);
        }
        assert_eq!(
            streak.refused(TOO_MANY, ONE),
            Refusals::TooMany(vec![TOO_MANY])
        );
    }
}
