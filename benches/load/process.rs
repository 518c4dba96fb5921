//! Server processes: started on one core, measured by the kernel's accounting.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::sample;

/// A server in its own process, on the first core.
pub struct Server {
    child: Child,
    /// Where it takes events.
    pub address: SocketAddr,
    /// The daemon's admin listener; the same as `address` for other servers.
    pub admin: SocketAddr,
}

/// What the kernel accounts to a process.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Seconds of CPU by the names of threads, in user space and in the kernel.
    cpu: BTreeMap<String, f64>,
    /// Resident bytes now.
    pub memory: u64,
    /// Most resident bytes so far.
    pub peak_memory: u64,
    /// Bytes handed to the disk.
    pub written: u64,
}

impl Measured {
    /// Seconds of CPU.
    pub fn cpu(&self) -> f64 {
        self.cpu.values().sum()
    }

    /// Seconds of CPU of the thread that changes the store.
    pub fn writer(&self) -> f64 {
        self.cpu.get("queue").copied().unwrap_or(0.0)
    }

    /// The difference from an earlier measurement.
    pub fn since(mut self, before: &Self) -> Self {
        for (name, seconds) in &mut self.cpu {
            *seconds -= before.cpu.get(name).copied().unwrap_or(0.0);
        }
        self.written -= before.written;
        self
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

    /// Starts the daemon on a store, with its endpoint at the given URL and this many syncs, each of which
    /// takes every event.
    pub fn start_daemon(store: &Path, meta: &str, syncs: usize, more: &[(&str, &str)]) -> Self {
        let config = store.join("pixel-relay.toml");
        fs::write(&config, rules(syncs)).expect("the folder can be written");
        let mut command = on_core(0, env!("CARGO_BIN_EXE_pixel-relay"));
        command.args(["run", "--config"]).arg(config);
        command
            .env_clear()
            .env("PIXEL_RELAY__LOG__FORMAT", "json")
            .env("PIXEL_RELAY__SERVER__LISTEN", "127.0.0.1:0")
            .env("PIXEL_RELAY__ADMIN__LISTEN", "127.0.0.1:0")
            .env("PIXEL_RELAY__META__URL", meta)
            .env("PIXEL_RELAY__QUEUE__PATH", store)
            .envs(more.iter().copied());
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

    /// Starts the receiver that is written with Meta's SDK for Node; `None` where that is not installed.
    pub fn start_node() -> Option<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/compare");
        if !folder.join("node_modules").exists() {
            return None;
        }
        let mut command = on_core(0, "node");
        command.arg(folder.join("receiver.mjs"));
        Some(Self::start_that_says_where(command))
    }

    fn start_own(which: &str) -> Self {
        let core = usize::from(which == "serve-sink");
        let this = std::env::current_exe().expect("this program has a path");
        let mut command = on_core(core, this);
        command.arg(which);
        Self::start_that_says_where(command)
    }

    /// Starts a server that writes its address as its first line.
    fn start_that_says_where(mut command: Command) -> Self {
        let mut child = command
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

    /// What the kernel accounts to it so far.
    pub fn measure(&self) -> Measured {
        let process = PathBuf::from(format!("/proc/{}", self.child.id()));
        let read = |file: PathBuf| fs::read_to_string(file).expect("it still runs");
        let mut cpu: BTreeMap<String, f64> = BTreeMap::new();
        for thread in fs::read_dir(process.join("task")).expect("it still runs") {
            let thread = thread.expect("it still runs").path();
            // A thread may have ended meanwhile.
            let Ok(times) = fs::read_to_string(thread.join("schedstat")) else {
                continue;
            };
            let name = fs::read_to_string(thread.join("comm")).unwrap_or_default();
            let nanos: f64 = times
                .split_whitespace()
                .next()
                .and_then(|nanos| nanos.parse().ok())
                .expect("the kernel counts the time of threads");
            *cpu.entry(name.trim_end().to_owned()).or_default() += nanos / 1e9;
        }
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
        let status = read(process.join("status"));
        Measured {
            cpu,
            memory: line_of(&status, "VmRSS:") << 10,
            peak_memory: line_of(&status, "VmHWM:") << 10,
            written: line_of(&read(process.join("io")), "write_bytes:"),
        }
    }

    /// Where it takes batches.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
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

/// The sample's rules, with its one sync repeated under other names.
fn rules(syncs: usize) -> String {
    let (head, sync) = sample::RULES
        .split_once("[sync.web]")
        .expect("the sample has a sync");
    let mut rules = head.to_owned();
    for number in 1..=syncs {
        let sync = format!("[sync.web]{sync}").replace("[sync.web", &format!("[sync.web{number}"));
        rules.push_str(&sync);
    }
    rules
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
