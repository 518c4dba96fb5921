//! Fixed work whose instructions are counted: `fixed map 1000`, `fixed append 1000`, `fixed take 1000`.
//! `fixed events 1000` prints the events, one per line, for others to work on.
//!
//! `.ci/instructions` builds it by benches/fixed/Cargo.toml, runs it under callgrind and compares the
//! counts with stored ones. Each run does the same thing to the same events, so a count is the same on
//! a busy machine as on an idle one.

#![allow(
    missing_debug_implementations,
    unreachable_pub,
    reason = "a bench has no outside"
)]
#![allow(clippy::print_stdout, reason = "events are data")]

use std::sync::Arc;

use pixel_relay::clock::{TestClock, UnixMillis};
use pixel_relay::config::SyncName;
use pixel_relay::config::load::from_toml;
use pixel_relay::config::queue::QueueConfig;
use pixel_relay::event::Event;
use pixel_relay::event::arena::Arena;
use pixel_relay::payload::{PayloadArena, Submission};
use pixel_relay::queue::Queue;
use pixel_relay::queue::attempt::AttemptAnswer;
use pixel_relay::queue::lease::Order;
use pixel_relay::queue::settle::{End, Settlement};
use pixel_relay::sync::{Sync, compile_all};

#[path = "cost.rs"]
mod cost;

use cost::corpus::sample;

/// The time at which everything happens.
const NOW: UnixMillis = UnixMillis(1_795_197_879_000);
/// Events of one push.
const PUSH: usize = 64;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    match *words {
        ["search", rules, length] => {
            return cost::search(rules, length.parse().expect("a number of bytes"));
        }
        ["costs", length, part, parts] => {
            let number = |word: &str| word.parse().expect("a number");
            return cost::costs(length, number(part), number(parts));
        }
        _ => {}
    }
    let [_, work, count] = arguments.as_slice() else {
        return;
    };
    let count: usize = count.parse().expect("a number of events");
    match work.as_str() {
        "map" => {
            let (_, sync) = rules();
            drop(map(&sync, count));
        }
        "append" => store(count, false),
        "take" => store(count, true),
        "events" => {
            for number in 0..count {
                println!("{}", event(number));
            }
        }
        _ => panic!("the work is map, append, take or events"),
    }
}

fn rules() -> (QueueConfig, Sync) {
    let config = from_toml(sample::RULES, &[]).expect("the rules are well");
    let sync = compile_all(&config).expect("the rules are well").remove(0);
    (config.queue, sync)
}

fn event(number: usize) -> String {
    sample::event(&format!("event-{number:08}"), NOW.0.unsigned_abs().into())
}

fn map(sync: &Sync, count: usize) -> Vec<Submission> {
    let mut taken = Vec::with_capacity(count);
    for number in 0..count {
        let text = event(number);
        let arena = Arena::default();
        let event = Event::decode(text.as_bytes(), &arena).expect("the sample is an event");
        let (mapped, _) = sync.take(
            Ok(&event),
            text.as_bytes(),
            NOW,
            &mut PayloadArena::default(),
        );
        taken.push(Submission {
            sync: sync.name().clone(),
            mapped,
        });
    }
    taken
}

/// Maps and appends; takes out again, where that is asked for.
fn store(count: usize, take: bool) {
    let (mut config, sync) = rules();
    let folder = tempfile::tempdir().expect("a folder for the store");
    folder.path().clone_into(&mut config.path);
    let clock = Arc::new(TestClock::at(NOW));
    let queue = Queue::open(&config, &[sync.name().clone()], clock).expect("a new store opens");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let mut rest = map(&sync, count).into_iter();
        loop {
            let push: Vec<Submission> = rest.by_ref().take(PUSH).collect();
            if push.is_empty() {
                break;
            }
            queue.push(push).await.expect("the store takes them");
        }
        if take {
            take_out(&queue, sync.name()).await;
        }
        queue.close().await.expect("the store closes");
    });
}

/// Takes all events out, as for requests that are answered at once.
async fn take_out(queue: &Queue, sync: &SyncName) {
    loop {
        let leased = queue
            .lease(sync, 1000, 1 << 20, Order::MostUrgent)
            .await
            .expect("the store reads");
        if leased.is_empty() {
            return;
        }
        let slots: Vec<_> = leased.iter().map(|event| event.slot).collect();
        let delivery = queue.open_attempt(sync, &slots).await;
        let settlement = Settlement {
            sync: sync.clone(),
            delivery: Some(delivery.expect("the store writes")),
            answer: Some(answered()),
            ends: slots
                .into_iter()
                .map(|slot| (slot, End::Delivered { short: false }))
                .collect(),
            release: Vec::new(),
            cooldowns: Vec::new(),
        };
        queue.settle(settlement).await.expect("the store writes");
    }
}

fn answered() -> AttemptAnswer {
    AttemptAnswer {
        verdict: "delivered",
        status: Some(200),
        code: None,
        sub_code: None,
        trace_id: None,
        lost: false,
    }
}
