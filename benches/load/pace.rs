//! How long answers and deliveries take, at a steady pace.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::client::{self, Load, Shape};
use crate::process::Server;
use crate::table::{Table, percentile};

/// How long a steady pace is held.
const LENGTH: Duration = Duration::from_secs(10);
/// Requests that tell the capacity.
const FULL: usize = 100_000;

/// A thousand events per second, delivered to an endpoint that answers at once.
pub fn at_a_thousand(table: &mut Table) {
    let folder = tempfile::tempdir().expect("a folder for the store");
    let sink = Server::start_sink();
    let daemon = Server::start_daemon(folder.path(), &sink.url(), 1, &[]);
    let before = daemon.measure();
    let answers = hold(table, daemon.address, "1000/s", 1000);
    client::wait_until_delivered(daemon.admin, answers);
    let cost = daemon.measure().since(&before);
    table.micros(
        "1000/s: an event, to its delivery".to_owned(),
        cost.cpu() / answers as f64,
    );
    for (bound, share) in client::delivered_within(daemon.admin) {
        if (0.05..=0.5).contains(&bound) {
            table.figure(
                format!("1000/s: delivered within {bound} s (max_batch_delay is 0.2 s)"),
                share * 100.0,
                " %",
            );
        }
    }
    table.memory("1000/s", &daemon.measure());
}

/// As many events as it can take while it delivers, and then four fifths of that.
pub fn at_capacity(table: &mut Table) {
    let folder = tempfile::tempdir().expect("a folder for the store");
    let sink = Server::start_sink();
    let daemon = Server::start_daemon(folder.path(), &sink.url(), 1, &[]);
    let load = Load {
        shape: Shape::Single,
        requests: FULL,
        connections: 64,
        prefix: "full".to_owned(),
    };
    let before = daemon.measure();
    let begun = Instant::now();
    client::run(daemon.address, &load);
    let capacity = FULL as f64 / begun.elapsed().as_secs_f64();
    client::wait_until_delivered(daemon.admin, FULL);
    let cost = daemon.measure().since(&before);
    table.micros(
        "full load: an event, to its delivery".to_owned(),
        cost.cpu() / FULL as f64,
    );
    table.count(
        "full load: events per second of wall time".to_owned(),
        capacity,
    );
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate"
    )]
    let pace = (capacity * 0.8) as u32;
    hold(table, daemon.address, "80 % of that", pace);
    table.memory("80 % of that", &daemon.measure());
}

fn hold(table: &mut Table, address: SocketAddr, name: &str, per_second: u32) -> usize {
    let answers = client::run_paced(address, name, per_second, LENGTH);
    for percent in [50, 99] {
        let name = format!("{name}: answer, {percent}th percentile");
        table.millis(name, percentile(&answers, percent));
    }
    answers.len()
}
