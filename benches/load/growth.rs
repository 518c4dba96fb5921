//! What an event costs as the backlog and the number of syncs grow, and how a backlog is drained.

use std::time::Instant;

use crate::NOWHERE;
use crate::client::{self, Load, Shape};
use crate::process::{Measured, Server};
use crate::table::Table;

/// Events per request here.
const ARRAY: usize = 100;
/// The backlogs at which the cost of taking another ten thousand events, or more, is measured.
const BACKLOGS: [usize; 3] = [10_000, 1_000_000, 2_000_000];
/// Events that are taken to measure that cost.
const STEP: usize = 100_000;
/// A backlog that takes days to build, and 14 GB of disk.
const DEEP: usize = 10_000_000;
/// An hour at a thousand events per second, and how often memory is looked at.
const HOUR: usize = 3_600_000;
const LOOKS: usize = 10;
/// Events that are delivered to measure the cost of that.
const DRAINED: usize = 400_000;
/// Keeps the duplicate window out of the memory that is measured.
const NO_WINDOW: [(&str, &str); 1] = [("PIXEL_RELAY__QUEUE__DUPLICATE_IDS", "1")];

/// The same events for one sync and for several.
pub fn with_syncs(table: &mut Table) {
    for syncs in [1, 4] {
        let folder = tempfile::tempdir().expect("a folder for the store");
        let daemon = Server::start_daemon(folder.path(), NOWHERE, syncs, &[]);
        take(&daemon, "warm", STEP / 10);
        let cost = take(&daemon, "syncs", STEP);
        let all = cost.cpu() / STEP as f64;
        table.micros(format!("{syncs} syncs: taking an event"), all);
    }
}

/// The same events without and with user memory; each event is of another person, so that each makes a new
/// profile of a user and one of a device.
pub fn with_memory(table: &mut Table) {
    let remembering = ("PIXEL_RELAY__SYNC__WEB1__USER_MEMORY__WEBHOOK", "true");
    for (name, settings) in [("nobody", &[][..]), ("everyone", &[remembering])] {
        let folder = tempfile::tempdir().expect("a folder for the store");
        let daemon = Server::start_daemon(folder.path(), NOWHERE, 1, settings);
        take(&daemon, "warm", STEP / 10);
        let cost = take(&daemon, "memory", STEP);
        let all = cost.cpu() / STEP as f64;
        table.micros(format!("{name} remembered: taking an event"), all);
    }
}

/// A backlog grows while the endpoint is down; then the endpoint answers at once.
pub fn with_backlog(table: &mut Table) {
    let folder = tempfile::tempdir().expect("a folder for the store");
    let daemon = Server::start_daemon(folder.path(), NOWHERE, 1, &NO_WINDOW);
    let mut queued = 0;
    for backlog in BACKLOGS {
        if backlog > queued {
            take(&daemon, &format!("fill-{backlog}"), backlog - queued);
            queued = backlog;
        }
        let cost = take(&daemon, &format!("at-{backlog}"), STEP);
        queued += STEP;
        let all = cost.cpu() / STEP as f64;
        table.micros(format!("{backlog} queued: taking an event"), all);
        table.memory(&format!("{backlog} queued"), &daemon.measure());
    }
    daemon.stop();

    let sink = Server::start_sink();
    let begun = Instant::now();
    let daemon = Server::start_daemon(folder.path(), &sink.url(), 1, &NO_WINDOW);
    table.millis(
        format!("{queued} queued: start"),
        begun.elapsed().as_secs_f64(),
    );
    let mut delivered = 0;
    for part in ["first", "next", "last"] {
        let events = match part {
            "last" => queued - delivered,
            _ => DRAINED,
        };
        let before = daemon.measure();
        let begun = Instant::now();
        let already = delivered;
        delivered = client::wait_until_delivered(daemon.admin, already + events);
        let wall = begun.elapsed().as_secs_f64();
        let events = (delivered - already) as f64;
        let cost = daemon.measure().since(&before);
        table.micros(format!("drain, {part}: an event"), cost.cpu() / events);
        table.micros(
            format!("drain, {part}: of that the writer"),
            cost.writer() / events,
        );
        table.count(
            format!("drain, {part}: events per second and core"),
            events / cost.cpu(),
        );
        table.count(
            format!("drain, {part}: events per second of wall time"),
            events / wall,
        );
    }
    table.memory("drained", &daemon.measure());
}

/// The same as `with_backlog` measures, at a backlog that is ten times as deep.
pub fn with_deep_backlog(table: &mut Table) {
    let folder = tempfile::tempdir().expect("a folder for the store");
    let [no_window] = NO_WINDOW;
    let settings = [no_window, ("PIXEL_RELAY__QUEUE__MAX_BYTES", "100GiB")];
    let daemon = Server::start_daemon(folder.path(), NOWHERE, 1, &settings);
    let mut queued = 0;
    for backlog in [STEP / 10, DEEP] {
        take(&daemon, &format!("fill-{backlog}"), backlog - queued);
        let cost = take(&daemon, &format!("at-{backlog}"), STEP);
        queued = backlog + STEP;
        let all = cost.cpu() / STEP as f64;
        table.micros(format!("{backlog} queued: taking an event"), all);
        table.memory(&format!("{backlog} queued"), &daemon.measure());
    }
    daemon.stop();
    let begun = Instant::now();
    let _daemon = Server::start_daemon(folder.path(), NOWHERE, 1, &settings);
    table.millis(
        format!("{queued} queued: start"),
        begun.elapsed().as_secs_f64(),
    );
}

/// An hour's worth of events, taken and delivered as fast as that goes.
pub fn for_an_hour(table: &mut Table) {
    let folder = tempfile::tempdir().expect("a folder for the store");
    let sink = Server::start_sink();
    let daemon = Server::start_daemon(folder.path(), &sink.url(), 1, &NO_WINDOW);
    for look in 1..=LOOKS {
        let part = HOUR / LOOKS;
        let cost = take(&daemon, &format!("hour-{look}"), part);
        client::wait_until_delivered(daemon.admin, look * part);
        let taken = format!("{} events taken and delivered", look * part);
        table.micros(
            format!("{taken}: taking an event"),
            cost.cpu() / part as f64,
        );
        table.memory(&taken, &daemon.measure());
    }
}

fn take(daemon: &Server, prefix: &str, events: usize) -> Measured {
    let load = Load {
        shape: Shape::Array(ARRAY),
        requests: events / ARRAY,
        connections: 16,
        prefix: prefix.to_owned(),
    };
    let before = daemon.measure();
    client::run(daemon.address, &load);
    daemon.measure().since(&before)
}
