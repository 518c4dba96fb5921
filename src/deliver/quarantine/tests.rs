//! Which events are bad, and when that is known.

use super::*;

const ONE: i64 = 100;
const OTHER: i64 = 9999;

struct Bench {
    quarantine: Quarantine,
    now: Instant,
}

/// What became of events, by their numbers.
#[derive(Debug, Default, PartialEq)]
struct Update {
    rejected: Vec<i64>,
    released: Vec<i64>,
    pauses: bool,
}

impl From<QuarantineUpdate> for Update {
    fn from(update: QuarantineUpdate) -> Self {
        let rejected = update.rejected.iter();
        Self {
            rejected: rejected.map(|(event, _)| event.taken_at.0).collect(),
            released: numbers(&update.released),
            pauses: update.pauses,
        }
    }
}

fn numbers(events: &[Leased]) -> Vec<i64> {
    events.iter().map(|event| event.taken_at.0).collect()
}

fn refusal(code: i64) -> Refusal {
    Refusal {
        reason: Reason::Refused,
        code: Some(code),
        sub_code: None,
        trace_id: None,
        message: Some("no".to_owned()),
    }
}

impl Bench {
    fn new() -> Self {
        Self {
            quarantine: Quarantine::default(),
            now: Instant::now(),
        }
    }

    fn refused(&mut self, number: usize, code: i64, blame: Blame) -> Update {
        self.refused_while(number, code, blame, false)
    }

    fn refused_while(&mut self, number: usize, code: i64, blame: Blame, is_paused: bool) -> Update {
        let refused = LoneRefusal {
            refusal: refusal(code),
            blame,
        };
        self.quarantine
            .on_refusal(event(number), refused, is_paused, self.now, 1.0)
            .into()
    }

    /// An event that was sent now is accepted.
    fn accepted(&mut self, number: usize) -> Update {
        self.quarantine
            .on_acceptance(&[event(number)], self.now)
            .into()
    }

    /// Whether an event that was queued again is known to be bad.
    fn takes_rejected(&mut self, number: usize) -> bool {
        self.quarantine.take_rejected(&event(number)).is_some()
    }
}

fn id(number: usize) -> i64 {
    number.try_into().unwrap()
}

fn event(number: usize) -> Leased {
    Leased::sample(id(number))
}

/// The refused event, if there is one, is held, and nothing else happens.
fn held() -> Update {
    Update::default()
}

fn rejected(numbers: &[usize]) -> Update {
    Update {
        rejected: numbers.iter().map(|number| id(*number)).collect(),
        ..held()
    }
}

fn released(number: usize) -> Update {
    Update {
        released: vec![id(number)],
        ..held()
    }
}

#[test]
fn another_that_is_accepted_decides() {
    let mut bench = Bench::new();
    assert_eq!(bench.refused(1, ONE, Blame::Unknown), held());
    assert!(bench.quarantine.is_isolating());
    let (undecided, refusal) = bench.quarantine.undecided();
    assert_eq!((undecided, refusal.unwrap().code), (1, Some(ONE)));
    assert_eq!(bench.accepted(7), rejected(&[1]));
    assert!(!bench.quarantine.is_isolating());
    assert!(bench.quarantine.is_empty());
}

#[test]
fn what_was_sent_before_decides_nothing() {
    let mut bench = Bench::new();
    let before = bench.now;
    bench.now += Duration::from_secs(1);
    bench.refused(1, ONE, Blame::Unknown);
    let update = bench.quarantine.on_acceptance(&[event(7)], before);
    assert_eq!(Update::from(update), held());
    assert_eq!(bench.quarantine.streak(), 1);
    assert_eq!(bench.accepted(8), rejected(&[1]));
}

#[test]
fn an_event_that_graph_blames_is_bad_at_once() {
    let mut bench = Bench::new();
    for key in 1..PROBE_FROM {
        assert_eq!(bench.refused(key, ONE, Blame::Event), rejected(&[key]));
        assert!(!bench.quarantine.is_isolating());
    }
    bench.refused(PROBE_FROM, ONE, Blame::Event);
    assert!(
        bench.quarantine.is_isolating(),
        "one event at a time from here on"
    );
    bench.accepted(99);
    assert!(!bench.quarantine.is_isolating());
}

#[test]
fn twenty_alike_in_a_row_are_too_many() {
    let mut bench = Bench::new();
    for key in 1..TOO_MANY {
        assert_eq!(bench.refused(key, ONE, Blame::Unknown), held());
    }
    let last = bench.refused(TOO_MANY, ONE, Blame::Unknown);
    let too_many = Update {
        released: (1..=id(TOO_MANY)).collect(),
        pauses: true,
        ..held()
    };
    assert_eq!(last, too_many);
    assert!(!bench.quarantine.is_isolating());
    // They are queued again; once another is accepted they are known to be bad.
    assert!(!bench.takes_rejected(1));
    let again = bench.refused_while(50, ONE, Blame::Event, true);
    assert_eq!(again, released(50));
    assert_eq!(bench.accepted(99), held());
    assert!(bench.takes_rejected(1));
    assert!(!bench.takes_rejected(1), "only once");
    assert!(bench.takes_rejected(50));
}

#[test]
fn a_mistake_in_a_mapping_costs_few_events() {
    let mut bench = Bench::new();
    for key in 1..TOO_MANY {
        bench.refused(key, ONE, Blame::Event);
    }
    let last = bench.refused(TOO_MANY, ONE, Blame::Event);
    let too_many = Update {
        pauses: true,
        ..released(TOO_MANY)
    };
    assert_eq!(last, too_many);
}

#[test]
fn another_cause_ends_the_streak_and_rejects_nothing() {
    let mut bench = Bench::new();
    for key in 1..TOO_MANY {
        bench.refused(key, ONE, Blame::Unknown);
    }
    assert_eq!(bench.refused(40, OTHER, Blame::Unknown), held());
    assert_eq!(bench.quarantine.streak(), 1);
    assert_eq!(bench.quarantine.undecided().0, TOO_MANY);
}

#[test]
fn reasons_that_change_for_ever_pause_too() {
    let mut bench = Bench::new();
    let mut pauses = None;
    for key in 1..=TOO_MANY_HELD + 1 {
        let code = if key % 2 == 0 { ONE } else { OTHER };
        if bench.refused(key, code, Blame::Unknown).pauses {
            pauses = Some(key);
            break;
        }
    }
    assert_eq!(pauses, Some(TOO_MANY_HELD + 1));
}

#[test]
fn the_same_event_counts_once_and_is_tried_ever_more_slowly() {
    let mut bench = Bench::new();
    let mut waits = Vec::new();
    for _ in 0..12 {
        assert_eq!(bench.refused(1, ONE, Blame::Unknown), held());
        assert!(bench.quarantine.take_due(bench.now).is_none());
        let due = bench.quarantine.next_due().unwrap();
        waits.push((due - bench.now).as_millis());
        bench.now = due;
        let again = bench.quarantine.take_due(due).unwrap();
        assert_eq!(again.taken_at.0, 1);
        assert!(bench.quarantine.is_retry(&[again]));
        assert_eq!(bench.quarantine.next_due(), None);
    }
    assert_eq!(bench.quarantine.streak(), 1);
    assert_eq!(waits[..4], [500, 1000, 2000, 4000]);
    assert_eq!(waits[11], 300_000);
}

#[test]
fn meta_may_change_its_mind() {
    let mut bench = Bench::new();
    bench.refused(1, ONE, Blame::Unknown);
    bench.refused(2, ONE, Blame::Unknown);
    assert_eq!(bench.accepted(1), released(2));
    assert!(bench.quarantine.is_empty());
}

#[test]
fn what_only_fails_is_never_bad() {
    let mut bench = Bench::new();
    for key in 0..3 * TOO_MANY {
        assert_eq!(bench.refused(key, OTHER, Blame::Passing), held());
    }
    assert!(!bench.quarantine.is_isolating());
    assert_eq!(bench.accepted(999), held());
    assert_eq!(bench.quarantine.failing(), 3 * TOO_MANY);
    assert_eq!(bench.accepted(0), held());
    assert_eq!(bench.quarantine.failing(), 3 * TOO_MANY - 1);
}

#[test]
fn only_so_many_are_held() {
    let mut bench = Bench::new();
    for key in 0..MOST {
        assert_eq!(bench.refused(key, OTHER, Blame::Passing), held());
    }
    let over = bench.refused(MOST, OTHER, Blame::Passing);
    assert_eq!(over, released(MOST));
    assert_eq!(bench.quarantine.release().len(), MOST);
    assert_eq!(bench.refused(MOST, OTHER, Blame::Passing), held());
}
