//! What the dates of answers tell of the time.
//!
//! Pure. A `Date` names a whole second, and a server may write the same one for a second. It was written at some
//! moment between the request and the answer. So an answer tells the time to half of its duration, and a second.

use std::collections::VecDeque;
use std::time::Duration;

use super::{UnixMillis, millis};

/// So many answers must agree.
const AGREEING: usize = 3;
/// Dates before 2020 or after 2099 tell nothing.
const PLAUSIBLE: std::ops::Range<i64> = UnixMillis::EARLIEST.0..4_102_444_800_000;
/// An answer that took longer tells the time too roughly.
const MAX_DURATION: Duration = Duration::from_secs(30);
/// How far the middle of a second is from its ends, and how old a date may be when it is sent, in milliseconds.
const ROUGH: i64 = 500 + 500;

/// What one answer tells.
#[derive(Clone, Copy, Debug)]
pub(super) struct DateSample {
    /// The true time less the uptime, in milliseconds.
    offset: i64,
    /// It may be wrong by this much.
    within: i64,
}

/// The latest answers.
#[derive(Debug, Default)]
pub(super) struct DateSamples(VecDeque<DateSample>);

impl DateSample {
    /// From a date, and from the uptimes of the request and of the answer; `None` where it tells nothing.
    pub(super) fn new(date: UnixMillis, sent: Duration, received: Duration) -> Option<Self> {
        let took = received.saturating_sub(sent);
        if !PLAUSIBLE.contains(&date.0) || took > MAX_DURATION {
            return None;
        }
        let half = millis(took) / 2;
        Some(Self {
            offset: date.0 + 500 - (millis(sent) + half),
            within: ROUGH + half,
        })
    }

    fn agrees_with(&self, other: &Self) -> bool {
        (self.offset - other.offset).abs() <= self.within + other.within
    }
}

impl DateSamples {
    /// Takes another answer. Gives the true time less the uptime, in milliseconds, if the latest answers agree: that
    /// of the quickest.
    pub(super) fn add(&mut self, sample: DateSample) -> Option<i64> {
        if self.0.len() == AGREEING {
            self.0.pop_front();
        }
        self.0.push_back(sample);
        let agree = (self.0.iter()).all(|one| self.0.iter().all(|other| one.agrees_with(other)));
        if self.0.len() < AGREEING || !agree {
            return None;
        }
        let quickest = self.0.iter().min_by_key(|sample| sample.within);
        quickest.map(|sample| sample.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: i64 = 1_790_000_000;

    /// Answers, as seconds of date, of sending and of receipt; the offset after the last, in seconds.
    fn check(answers: &[(i64, f64, f64)], expected: Option<f64>) {
        let mut samples = DateSamples::default();
        let mut last = None;
        for (date, sent, received) in answers {
            let [sent, received] = [sent, received].map(|at| Duration::from_secs_f64(*at));
            let sample = DateSample::new(UnixMillis::from_seconds(*date), sent, received);
            last = sample.and_then(|sample| samples.add(sample));
        }
        let expected = expected.map(|offset| Duration::from_secs_f64(offset).as_millis());
        let last = last.map(|offset| offset.unsigned_abs().into());
        assert_eq!(last, expected, "{answers:?}");
    }

    #[test]
    fn three_answers_that_agree_tell_the_time() {
        let date = DATE;
        check(&[], None);
        check(&[(date, 100.0, 100.2), (date + 1, 101.0, 101.2)], None);
        // The quickest one counts.
        let quick = (date + 1, 101.0, 101.2);
        check(
            &[(date, 100.0, 100.4), quick, (date + 2, 102.0, 102.4)],
            Some(1_790_000_001.5 - 101.1),
        );
        // The end of a second and its beginning agree, and so do a slow answer and a quick one.
        check(
            &[
                (date, 100.875, 100.875),
                (date, 101.5, 101.5),
                (date + 20, 101.0, 131.0),
            ],
            Some(1_790_000_000.5 - 100.875),
        );
        check(
            &[
                (date, 100.0, 100.2),
                (date + 1, 101.0, 101.2),
                (date + 60, 102.0, 102.2),
            ],
            None,
        );
        check(
            &[
                (date + 60, 100.0, 100.2),
                (date, 100.0, 100.2),
                quick,
                (date + 2, 102.0, 102.2),
            ],
            Some(1_790_000_000.5 - 100.1),
        );
    }

    #[test]
    fn a_date_that_cannot_be_is_ignored() {
        let second = |seconds| Duration::from_secs(seconds);
        for (date, took, is_taken) in [
            (DATE, 30, true),
            (DATE, 31, false),
            (0, 1, false),
            (1_577_836_799, 1, false),
            (1_577_836_800, 1, true),
            (4_102_444_799, 1, true),
            (4_102_444_800, 1, false),
            (i64::MAX / 1000, 1, false),
            (i64::MIN / 1000, 1, false),
        ] {
            let date = UnixMillis::from_seconds(date);
            let sample = DateSample::new(date, second(100), second(100 + took));
            assert_eq!(sample.is_some(), is_taken, "{date:?} after {took} s");
        }
    }
}
