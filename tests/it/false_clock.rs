//! The program sees the time of day that a test makes up for it, and sees it move.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use pixel_relay::clock::{Clock as _, SystemClock, UnixMillis};
use serde_json::Value;

use crate::preload::Shim;
use crate::process::{DaemonProcess, program};
use crate::support::{HOLDING_SYNC, config_text, event};

const DAY: i64 = 24 * 3600;

/// What `pixel-relay map` says of an event of the true present, by a clock that is wrong by this much.
fn mapped_at(seconds: i64) -> String {
    let folder = tempfile::tempdir().unwrap();
    let shim = Shim::new(folder.path());
    shim.set_clock(seconds);
    let input = folder.path().join("input");
    std::fs::write(&input, event("one").to_string()).unwrap();
    let output = program()
        .arg("map")
        .envs(shim.environment())
        .env("PIXEL_RELAY__INGEST__SECRET", "Bearer secret")
        .env("PIXEL_RELAY__SYNC__WEB__PIXEL_ID", "1001")
        .env("PIXEL_RELAY__SYNC__WEB__ACCESS_TOKEN", "token")
        .stdin(Stdio::from(std::fs::File::open(&input).unwrap()))
        .output()
        .unwrap();
    let row: Value = serde_json::from_slice(&output.stdout).unwrap();
    let of = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
    format!("{} {}", of("outcome"), of("reason"))
}

#[test]
fn map_judges_by_the_false_clock() {
    assert_eq!(mapped_at(0), "mapped ");
    assert_eq!(mapped_at(-3600), "invalid in_future");
    assert_eq!(mapped_at(8 * DAY), "invalid too_old");
    // Before 1970 the program's clock stands at its zero.
    assert_eq!(mapped_at(-100 * 365 * DAY), "invalid in_future");
}

#[test]
fn a_running_daemon_sees_the_clock_move() {
    let folder = tempfile::tempdir().unwrap();
    let shim = Shim::new(folder.path());
    shim.set_clock(400 * DAY);
    let config = folder.path().join("pixel-relay.toml");
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
    let store = folder.path().join("store");
    std::fs::write(&config, config_text(nowhere, &store, HOLDING_SYNC)).unwrap();
    let mut command = program();
    command.args(["run", "--config"]).arg(&config);
    command.envs(shim.environment());
    let daemon = DaemonProcess::start_as(command);
    let near = |lines: &str, days: i64| {
        let entry: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
        let written = UnixMillis::parse(entry["timestamp"].as_str().unwrap()).unwrap();
        let expected = SystemClock.now().seconds() + days * DAY;
        assert!((written.seconds() - expected).abs() < DAY, "{lines}");
    };
    near(&daemon.beginning, 400);
    shim.set_clock(-3 * DAY);
    std::thread::sleep(Duration::from_millis(10));
    daemon.signal("TERM");
    let (code, log) = daemon.wait();
    assert_eq!(code, Some(0), "{log}");
    near(&log, -3);
}
