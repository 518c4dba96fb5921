//! Server processes: started on one core, measured by what the kernel accounts to them.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The secret that the daemon asks for.
pub const SECRET: &str = "Bearer load";

/// A server in a process of its own, on the first core.
pub struct Server {
    child: Child,
    /// Where it takes events.
    pub address: SocketAddr,
    /// The daemon's admin listener; the same as `address` for other servers.
    pub admin: SocketAddr,
}

/// What the kernel accounts to a process.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Seconds of CPU, in user space and in the kernel.
    pub cpu: f64,
    /// Resident bytes now.
    pub memory: u64,
    /// Most resident bytes so far.
    pub peak_memory: u64,
    /// Bytes handed to the disk.
    pub written: u64,
}

impl Measured {
    /// What came on top since an earlier measurement.
    pub fn since(mut self, before: Self) -> Self {
        self.cpu -= before.cpu;
        self.written -= before.written;
        self
    }

    /// Seconds of CPU per event.
    pub fn cpu_per(self, events: usize) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let events = events as f64;
        self.cpu / events
    }
}

impl Server {
    /// Starts the server that drops what it reads.
    pub fn start_bare() -> Self {
        Self::start_own("serve-bare")
    }

    /// Starts the endpoint that answers at once.
    pub fn start_sink() -> Self {
        Self::start_own("serve-sink")
    }

    /// Starts the daemon on a store, with its endpoint at the given URL.
    pub fn start_daemon(store: &Path, meta: &str) -> Self {
        let mut command = on_core(0, env!("CARGO_BIN_EXE_pixel-relay"));
        command.arg("run").env_clear().envs([
            ("PIXEL_RELAY__LOG__FORMAT", "json"),
            ("PIXEL_RELAY__SERVER__LISTEN", "127.0.0.1:0"),
            ("PIXEL_RELAY__ADMIN__LISTEN", "127.0.0.1:0"),
            ("PIXEL_RELAY__INGEST__SECRET", SECRET),
            ("PIXEL_RELAY__META__URL", meta),
            ("PIXEL_RELAY__SYNC__WEB__PIXEL_ID", "123456789012345"),
            ("PIXEL_RELAY__SYNC__WEB__ACCESS_TOKEN", "load"),
            (
                "PIXEL_RELAY__SYNC__WEB__USER_DATA__EMAIL",
                "user_properties.email",
            ),
            (
                "PIXEL_RELAY__SYNC__WEB__USER_DATA__PHONE",
                "user_properties.phone",
            ),
            (
                "PIXEL_RELAY__SYNC__WEB__USER_DATA__FIRST_NAME",
                "user_properties.first_name",
            ),
            (
                "PIXEL_RELAY__SYNC__WEB__USER_DATA__LAST_NAME",
                "user_properties.last_name",
            ),
            ("PIXEL_RELAY__SYNC__WEB__USER_DATA__CITY", "city"),
            ("PIXEL_RELAY__SYNC__WEB__USER_DATA__STATE", "region"),
            ("PIXEL_RELAY__SYNC__WEB__USER_DATA__COUNTRY", "country"),
            (
                "PIXEL_RELAY__SYNC__WEB__USER_DATA__BROWSER_ID",
                "user_properties.fbp",
            ),
            ("PIXEL_RELAY__SYNC__WEB__DELIVERY__MAX_BATCH_DELAY", "200ms"),
            (
                "PIXEL_RELAY__SYNC__WEB__DELIVERY__REQUESTS_PER_SECOND",
                "unlimited",
            ),
        ]);
        command.env("PIXEL_RELAY__QUEUE__PATH", store);
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the daemon starts");
        let mut log = BufReader::new(child.stderr.take().expect("it was asked for"));
        let (address, admin) = loop {
            let mut line = String::new();
            assert!(
                log.read_line(&mut line).expect("the log is text") > 0,
                "the daemon did not start"
            );
            let entry: serde_json::Value = serde_json::from_str(&line).expect("the log is JSON");
            let of = |name: &str| entry[name].as_str().and_then(|text| text.parse().ok());
            if let (Some(public), Some(admin)) = (of("public"), of("admin")) {
                break (public, admin);
            }
        };
        // What it logs later must not fill the pipe.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self {
            child,
            address,
            admin,
        }
    }

    fn start_own(which: &str) -> Self {
        let core = usize::from(which == "serve-sink");
        let this = std::env::current_exe().expect("this program has a path");
        let mut child = on_core(core, this)
            .arg(which)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut line = String::new();
        let output = child.stdout.take().expect("it was asked for");
        BufReader::new(output)
            .read_line(&mut line)
            .expect("it says where it listens");
        let address = line.trim().parse().expect("an address");
        Self {
            child,
            address,
            admin: address,
        }
    }

    /// What the kernel accounts to it by now.
    pub fn measure(&self) -> Measured {
        let read = |file: &str| {
            fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).expect("it still runs")
        };
        let stat = read("stat");
        // The name in brackets may hold spaces; user and system time are the 14th and 15th fields.
        let fields = stat.rsplit_once(')').expect("the name is in brackets").1;
        let ticks: u32 = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|ticks| ticks.parse::<u32>().expect("a number"))
            .sum();
        let line_of = |text: &str, name: &str| -> u64 {
            let line = text
                .lines()
                .find(|line| line.starts_with(name))
                .expect("it is listed");
            line.split_whitespace()
                .nth(1)
                .and_then(|text| text.parse().ok())
                .expect("a number")
        };
        let status = read("status");
        Measured {
            cpu: f64::from(ticks) / 100.0,
            memory: line_of(&status, "VmRSS:") << 10,
            peak_memory: line_of(&status, "VmHWM:") << 10,
            written: line_of(&read("io"), "write_bytes:"),
        }
    }

    /// Stops it gracefully.
    pub fn stop(mut self) {
        let pid = self.child.id().to_string();
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .expect("kill is there");
        self.child.wait().expect("it was started");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Pins this process to a core, where there are several.
pub fn pin_this_process(core: usize) {
    if several_cores() {
        let pid = std::process::id().to_string();
        let pinned = Command::new("taskset")
            .args(["-a", "-p", "-c", &core.to_string(), &pid])
            .stdout(Stdio::null())
            .status();
        assert!(
            pinned.is_ok_and(|status| status.success()),
            "taskset (util-linux) is needed"
        );
    }
}

fn on_core(core: usize, program: impl AsRef<std::ffi::OsStr>) -> Command {
    if several_cores() {
        let mut command = Command::new("taskset");
        command.args(["-c", &core.to_string()]).arg(program);
        command
    } else {
        Command::new(program)
    }
}

fn several_cores() -> bool {
    fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| {
        text.lines()
            .filter(|line| line.starts_with("processor"))
            .count()
            > 1
    })
}
