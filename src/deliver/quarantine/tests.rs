//! Who is bad, and when.

use super::*;

const ONE: Cause = (Some(100), None);
const OTHER: Cause = (Some(9999), None);

type Update = QuarantineUpdate<String, &'static str>;

impl Keyed for String {
    type Key = Self;

    fn key(&self) -> Self {
        self.clone()
    }
}

struct Bench {
    quarantine: Quarantine<String, &'static str>,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        Self {
            quarantine: Quarantine::default(),
            now: Instant::now(),
        }
    }

    fn refused(&mut self, key: usize, cause: Cause, blame: Blame) -> Update {
        self.refused_while(key, cause, blame, false)
    }

    fn refused_while(&mut self, key: usize, cause: Cause, blame: Blame, is_paused: bool) -> Update {
        let refusal = LoneRefusal {
            refusal: "no",
            cause,
            blame,
        };
        self.quarantine
            .on_refusal(key.to_string(), refusal, is_paused, self.now, 1.0)
    }

    /// An event that was sent now is accepted.
    fn accepted(&mut self, key: usize) -> Update {
        self.quarantine.on_acceptance(&[key.to_string()], self.now)
    }
}

/// Nothing becomes of any event but that the refused one, if there is one, is held.
fn held() -> Update {
    Update::default()
}

fn rejected(keys: &[usize]) -> Update {
    Update {
        rejected: keys.iter().map(|key| (key.to_string(), "no")).collect(),
        ..held()
    }
}

fn released(key: usize) -> Update {
    Update {
        released: vec![key.to_string()],
        ..held()
    }
}

#[test]
fn another_that_is_accepted_decides() {
    let mut bench = Bench::new();
    assert_eq!(bench.refused(1, ONE, Blame::Unknown), held());
    assert!(bench.quarantine.is_isolating());
    assert_eq!(bench.quarantine.undecided(), (1, Some(&"no")));
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
    assert_eq!(
        bench.quarantine.on_acceptance(&["7".to_owned()], before),
        held()
    );
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
    let mut all: Vec<String> = (1..=TOO_MANY).map(|key| key.to_string()).collect();
    let mut last = bench.refused(TOO_MANY, ONE, Blame::Unknown);
    all.sort();
    last.released.sort();
    let too_many = Update {
        released: all,
        pauses: true,
        ..held()
    };
    assert_eq!(last, too_many);
    assert!(!bench.quarantine.is_isolating());
    // They are queued again; once another is accepted they are known to be bad.
    assert_eq!(bench.quarantine.take_rejected(&"1".to_owned()), None);
    let again = bench.refused_while(50, ONE, Blame::Event, true);
    assert_eq!(again, released(50));
    assert_eq!(bench.accepted(99), held());
    assert_eq!(bench.quarantine.take_rejected(&"1".to_owned()), Some("no"));
    assert_eq!(bench.quarantine.take_rejected(&"1".to_owned()), None);
    assert_eq!(bench.quarantine.take_rejected(&"50".to_owned()), Some("no"));
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
        let cause = if key % 2 == 0 { ONE } else { OTHER };
        if bench.refused(key, cause, Blame::Unknown).pauses {
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
        assert_eq!(bench.quarantine.take_due(bench.now), None);
        let due = bench.quarantine.next_due().unwrap();
        waits.push((due - bench.now).as_millis());
        bench.now = due;
        assert_eq!(bench.quarantine.take_due(due).as_deref(), Some("1"));
        assert!(bench.quarantine.is_retry(&["1".to_owned()]));
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
