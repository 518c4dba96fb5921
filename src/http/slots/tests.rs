//! Slots without sockets.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use super::*;

const EIGHT_AND_TWO: SlotLimits = SlotLimits {
    common: 8,
    reserve: 2,
};

fn slots(limits: SlotLimits) -> Arc<Slots> {
    let metrics = ConnectionMetrics::new("public", Gauge::default(), |_| Counter::default());
    Slots::new(limits, metrics)
}

#[expect(clippy::unnecessary_wraps, reason = "a slot may have no address")]
fn address(number: u8) -> Option<IpAddr> {
    Some(IpAddr::from([198, 51, 100, number]))
}

/// Lets a connection in, and lets its request begin: it is idle no more.
fn busy(slots: &Arc<Slots>, of: Option<IpAddr>) -> ConnectionSlot {
    let slot = slots.admit(of).unwrap();
    slot.begin(|| false, || true).unwrap();
    slot
}

/// Answers, and writes all of it.
fn finish(slot: &ConnectionSlot) {
    drop(slot.answer());
    slot.written();
}

fn is_ended(slot: &ConnectionSlot) -> bool {
    slot.state.state.load(Ordering::Relaxed) == ENDED
}

#[test]
fn an_address_holds_half_and_the_rest_is_for_others() {
    let slots = slots(EIGHT_AND_TWO);
    let own: Vec<_> = (0..4).map(|_| busy(&slots, address(1))).collect();
    let more = slots.admit(address(1)).unwrap();
    assert_eq!(more.shortage, Some(ConnectionEnd::AddressShare));
    assert_eq!(
        more.begin(|| false, || false),
        Err(ConnectionEnd::AddressShare)
    );
    let others: Vec<_> = (0..4).map(|_| busy(&slots, address(2))).collect();
    assert!(others.iter().all(|slot| !slot.is_reserve()));
    let third = slots.admit(address(3)).unwrap();
    assert_eq!(third.shortage, Some(ConnectionEnd::Limit));
    drop((own, others, more, third));
    let table = slots.table();
    assert!(table.slots.is_empty() && table.held.is_empty());
    assert_eq!(table.in_common, 0);
}

#[test]
fn a_trusted_proxy_has_no_share_and_is_not_ended_for_others() {
    let slots = slots(EIGHT_AND_TWO);
    let proxied: Vec<_> = (0..8).map(|_| slots.admit(None).unwrap()).collect();
    let next = slots.admit(address(1)).unwrap();
    assert_eq!(next.shortage, Some(ConnectionEnd::Limit));
    assert!(!proxied.iter().any(is_ended));
}

#[test]
fn whoever_shows_the_secret_counts_no_more_and_is_never_ended() {
    let slots = slots(EIGHT_AND_TWO);
    let known: Vec<_> = (0..7)
        .map(|_| {
            let slot = slots.admit(address(1)).unwrap();
            assert!(!slot.is_reserve());
            slot.begin(|| true, || false).unwrap();
            finish(&slot);
            slot
        })
        .collect();
    let stranger = slots.admit(address(1)).unwrap();
    for _ in 0..5 {
        let next = slots.admit(address(2)).unwrap();
        assert!(next.begin(|| true, || false).is_ok());
    }
    assert!(is_ended(&stranger) && !known.iter().any(is_ended));
}

#[test]
fn the_longest_idle_of_whoever_holds_most_makes_room() {
    let slots = slots(EIGHT_AND_TWO);
    let lone = slots.admit(address(1)).unwrap();
    let many: Vec<_> = (0..4).map(|_| slots.admit(address(2)).unwrap()).collect();
    let few: Vec<_> = (0..3).map(|_| slots.admit(address(3)).unwrap()).collect();
    // The first becomes idle last.
    many[0].begin(|| false, || false).unwrap();
    finish(&many[0]);
    let next = slots.admit(address(4)).unwrap();
    assert!(!next.is_reserve());
    let ended: Vec<_> = many.iter().map(is_ended).collect();
    assert_eq!(ended, [false, true, false, false]);
    assert_eq!(
        many[1].begin(|| true, || true),
        Err(ConnectionEnd::MadeRoom)
    );
    many[1].answer_last();
    assert!(many[1].is_for_one_request());
    assert!(!is_ended(&lone) && !few.iter().any(is_ended));
}

#[test]
fn an_address_at_its_share_gives_up_its_own() {
    let slots = slots(SlotLimits {
        common: 2,
        reserve: 1,
    });
    let other = slots.admit(address(2)).unwrap();
    let mut last = slots.admit(address(1)).unwrap();
    for _ in 0..100 {
        let next = slots.admit(address(1)).unwrap();
        assert!(!next.is_reserve() && is_ended(&last));
        last = next;
    }
    assert!(!is_ended(&other));
    assert_eq!(slots.table().slots.len(), 2);
}

#[test]
fn the_reserve_hears_every_newcomer_and_leaves_it_to_those_with_the_secret() {
    let slots = slots(EIGHT_AND_TWO);
    let mut strangers: Vec<_> = (0..8).map(|n| busy(&slots, address(n))).collect();
    let mut silent = slots.admit(address(20)).unwrap();
    for n in 21..200 {
        let next = slots.admit(address(n)).unwrap();
        assert_eq!(next.shortage, Some(ConnectionEnd::Limit));
        silent = next;
    }
    let known: Vec<_> = (0..2)
        .map(|_| {
            let slot = slots.admit(address(30)).unwrap();
            assert!(slot.begin(|| true, || false).is_ok());
            finish(&slot);
            slot
        })
        .collect();
    assert!(is_ended(&silent));
    assert!(slots.admit(address(40)).is_none());
    // As soon as there is room, the reserve is free again.
    strangers.pop();
    let health = slots.admit(address(40)).unwrap();
    assert!(health.begin(|| false, || true).is_ok());
    assert!(health.is_for_one_request());
    assert!(!known.iter().any(is_ended));
    assert!(!known.iter().any(ConnectionSlot::is_for_one_request));
}

#[test]
fn the_reserve_is_not_for_waiting() {
    let slots = slots(SlotLimits {
        common: 1,
        reserve: 2,
    });
    let _common = busy(&slots, address(1));
    let silent = slots.admit(address(2)).unwrap();
    let used = slots.admit(address(3)).unwrap();
    used.begin(|| false, || true).unwrap();
    assert!(silent.end_if_unused() && !used.end_if_unused());
    finish(&used);
    assert!(!used.end_if_unused());
}

#[tokio::test(start_paused = true)]
async fn whoever_holds_least_gets_in_however_many_hold_on() {
    for holders in [2, 3, 10] {
        let slots = slots(SlotLimits {
            common: 40,
            reserve: 4,
        });
        let held: Vec<_> = (0..40)
            .map(|place| busy(&slots, address(place % holders)))
            .collect();
        // For a while, what is being done is let be.
        let early = slots.admit(address(100)).unwrap();
        assert_eq!(early.shortage, Some(ConnectionEnd::Limit));
        drop(early);
        tokio::time::advance(LONG + Duration::from_millis(1)).await;
        let share = 40 / (usize::from(holders) + 1);
        let mut newcomers = Vec::new();
        for number in 1..share {
            let newcomer = busy(&slots, address(100));
            assert!(newcomer.shortage.is_none(), "{holders}: {number}");
            newcomers.push(newcomer);
        }
        // All that it takes are the longest, and as many of each.
        let ended = held.iter().filter(|slot| is_ended(slot)).count();
        assert_eq!(ended, share - 1, "{holders}");
        let lost = |holder: u8| {
            let own = held.iter().skip(usize::from(holder));
            own.step_by(usize::from(holders))
                .filter(|slot| is_ended(slot))
                .count()
        };
        let lost: Vec<usize> = (0..holders).map(lost).collect();
        let [least, most] = [lost.iter().min(), lost.iter().max()].map(Option::unwrap);
        assert!(most - least <= 1, "{lost:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_takes_the_place_of_one_who_holds_no_more() {
    let slots = slots(EIGHT_AND_TWO);
    let known = slots.admit(address(1)).unwrap();
    known.begin(|| true, || false).unwrap();
    let proxied = busy(&slots, None);
    let held: Vec<_> = (2..8).map(|number| busy(&slots, address(number))).collect();
    tokio::time::advance(2 * LONG).await;
    let newcomer = slots.admit(address(20)).unwrap();
    assert_eq!(newcomer.shortage, Some(ConnectionEnd::Limit));
    assert!(!is_ended(&known) && !is_ended(&proxied) && !held.iter().any(is_ended));
    drop(newcomer);
    // But nobody holds on for ever.
    tokio::time::advance(VERY_LONG).await;
    let newcomer = busy(&slots, address(20));
    assert_eq!(newcomer.shortage, None);
    assert!(is_ended(&held[0]) && held.iter().filter(|slot| is_ended(slot)).count() == 1);
    assert!(!is_ended(&known) && !is_ended(&proxied));
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_idle_when_its_answer_is_written() {
    let slots = slots(SlotLimits {
        common: 2,
        reserve: 1,
    });
    let one = busy(&slots, address(1));
    let other = busy(&slots, address(2));
    let is_idle = |slot: &ConnectionSlot| slot.state.state.load(Ordering::Relaxed) & BUSY == 0;
    // Written is what belongs to no answer yet.
    one.written();
    assert!(!is_idle(&one));
    let answer = one.answer();
    one.written();
    assert!(!is_idle(&one), "more of it follows");
    drop(answer);
    assert!(!is_idle(&one));
    one.written();
    assert!(is_idle(&one));
    // The next request comes before the answer to the first is written.
    drop(other.answer());
    other.begin(|| false, || false).unwrap();
    other.written();
    assert!(!is_idle(&other));
    finish(&other);
    assert!(is_idle(&other));
}
