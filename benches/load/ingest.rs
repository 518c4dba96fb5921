//! What it costs to take an event in, beside a server that only reads it.

use crate::NOWHERE;
use crate::client::{self, Load, Shape};
use crate::process::Server;
use crate::table::{Table, median};

/// Connections of a busy sender, each with one request at a time.
const CONNECTIONS: usize = 64;
/// Requests of a round beside Node.
const NODE_REQUESTS: usize = 10_000;
/// Rounds, the two servers in turn; one more comes first, to warm up.
const ROUNDS: usize = 5;

pub fn measure(table: &mut Table) {
    of_shape(table, "single", Shape::Single, 40_000);
    of_shape(table, "array", Shape::Array(100), 1_500);
}

/// What a user would run instead: a receiver around Meta's SDK for Node, which stores nothing.
pub fn of_node(table: &mut Table) {
    let Some(node) = Server::start_node() else {
        eprintln!("left out: run npm install in benches/compare");
        return;
    };
    let folder = tempfile::tempdir().expect("a folder for the store");
    let daemon = Server::start_daemon(folder.path(), NOWHERE, 1, &[]);
    let mut costs = [Vec::new(), Vec::new()];
    for round in 0..=ROUNDS {
        for (server, costs) in [&node, &daemon].into_iter().zip(&mut costs) {
            let load = Load {
                shape: Shape::Single,
                requests: NODE_REQUESTS,
                connections: CONNECTIONS,
                prefix: format!("node-{round}"),
            };
            let before = server.measure();
            client::run(server.address, &load);
            if round > 0 {
                costs.push(server.measure().since(&before).cpu() / NODE_REQUESTS as f64);
            }
        }
    }
    let [node, daemon] = costs.map(median);
    table.micros(
        "receiver around Meta's SDK for Node, nothing stored".to_owned(),
        node,
    );
    table.micros("pixel-relay beside it, all stored".to_owned(), daemon);
    table.figure(
        "times cheaper than that receiver".to_owned(),
        node / daemon,
        "",
    );
}

fn of_shape(table: &mut Table, name: &str, shape: Shape, requests: usize) {
    let folder = tempfile::tempdir().expect("a folder for the store");
    let bare = Server::start_bare();
    let daemon = Server::start_daemon(folder.path(), NOWHERE, 1, &[]);
    let events = (requests * shape.events()) as f64;
    let (mut floor, mut ingest, mut writer) = (Vec::new(), Vec::new(), Vec::new());
    let mut written = 0;
    let mut rate = Vec::new();
    for round in 0..=ROUNDS {
        let load = Load {
            shape,
            requests,
            connections: CONNECTIONS,
            prefix: format!("{name}-{round}"),
        };
        let before = bare.measure();
        client::run(bare.address, &load);
        let of_bare = bare.measure().since(&before);
        let before = daemon.measure();
        let begun = std::time::Instant::now();
        client::run(daemon.address, &load);
        let took = begun.elapsed();
        let of_daemon = daemon.measure().since(&before);
        if round > 0 {
            floor.push(of_bare.cpu() / events);
            ingest.push((of_daemon.cpu() - of_daemon.writer()) / events);
            writer.push(of_daemon.writer() / events);
            rate.push(events / took.as_secs_f64());
            written += of_daemon.written;
        }
    }
    let (floor, ingest, writer) = (median(floor), median(ingest), median(writer));
    let all = ingest + writer;
    table.micros(format!("{name}: bare server"), floor);
    table.micros(format!("{name}: pixel-relay"), all);
    table.micros(format!("{name}: of that ingest, which maps"), ingest);
    table.micros(format!("{name}: of that the writer"), writer);
    table.figure(format!("{name}: ratio to the bare server"), floor / all, "");
    table.count(format!("{name}: events per second and core"), 1.0 / all);
    table.count(
        format!("{name}: events per second of wall time"),
        median(rate),
    );
    let written = written as f64 / (ROUNDS as f64 * events);
    table.count(format!("{name}: bytes written per event"), written);
    table.memory(name, &daemon.measure());
}
