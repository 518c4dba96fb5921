//! Runs the real program, as an operator does.

use std::collections::BTreeMap;
use std::fmt::Formatter;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::Value;

use crate::support::{SECRET, client, event};

/// The program under test.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pixel-relay"));
    command
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs a command to its end, with the given text on standard input.
pub fn run(arguments: &[&str], environment: &[(&str, &str)], input: &str) -> Output {
    let mut child = program()
        .args(arguments)
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()).ok());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

/// The result of a command.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub data: String,
    pub words: String,
}

impl Ran {
    /// The lines of its data, each of which must be JSON.
    pub fn rows(&self) -> Vec<Value> {
        let rows = self.data.lines();
        rows.map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The one line of its data, if it succeeded.
    pub fn row(&self) -> Value {
        assert_eq!(self.code, 0, "{self:?}");
        let rows = self.rows();
        assert_eq!(rows.len(), 1, "{self:?}");
        rows[0].clone()
    }
}

/// Runs a command with a configuration file, and the given bytes on standard input.
pub fn command(config: &Path, arguments: &[&str], input: &[u8]) -> Ran {
    let mut child = program()
        .args(arguments)
        .arg("--config")
        .arg(config)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(&input).ok());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    Ran {
        code: output.status.code().unwrap(),
        data: String::from_utf8(output.stdout).unwrap(),
        words: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Reads a line of the log: one object without a repeated key, and without a number in quotes except in
/// ids.
fn log_entry(line: &str) -> BTreeMap<String, Value> {
    let Entry(entry) = serde_json::from_str(line)
        .unwrap_or_else(|error| panic!("a log line that is no JSON object ({error}): {line}"));
    for (key, value) in &entry {
        let is_number = value
            .as_str()
            .is_some_and(|text| text.parse::<f64>().is_ok());
        assert!(
            !is_number || key.ends_with("_id"),
            "a number in quotes: {line}"
        );
    }
    entry
}

struct Entry(BTreeMap<String, Value>);

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Entry;

            fn expecting(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut members: M) -> Result<Entry, M::Error> {
                let mut entry = BTreeMap::new();
                while let Some((key, value)) = members.next_entry::<String, Value>()? {
                    if let Some(twice) = entry.insert(key, value) {
                        return Err(M::Error::custom(format!("a key twice, once with {twice}")));
                    }
                }
                Ok(Entry(entry))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

/// A daemon in its own process.
pub struct DaemonProcess {
    pub child: Child,
    pub public: String,
    pub admin: String,
    /// What it wrote before it was ready.
    pub beginning: String,
    log: BufReader<ChildStderr>,
}

impl DaemonProcess {
    /// Sends the webhook an event with this id; gives the status of the answer.
    pub async fn post_event(&self, id: &str) -> u16 {
        let url = format!("{}/webhook", self.public);
        let request = client().post(url).header("authorization", SECRET);
        let answer = request.body(event(id).to_string()).send().await;
        answer.unwrap().status().as_u16()
    }

    /// The text of a page of the admin listener.
    pub async fn admin_text(&self, path: &str) -> String {
        let page = client().get(format!("{}{path}", self.admin)).send().await;
        page.unwrap().text().await.unwrap()
    }

    /// Starts it on a configuration file, and waits until it listens.
    pub fn start(config: &Path) -> Self {
        let mut command = program();
        command.args(["run", "--config"]).arg(config);
        Self::start_as(command)
    }

    /// Starts it by a given command, and waits until it listens.
    #[expect(clippy::zombie_processes, reason = "`wait` and `kill` wait for it")]
    pub fn start_as(mut command: Command) -> Self {
        let mut child = command
            .env("PIXEL_RELAY__LOG__FORMAT", "json")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut seen = String::new();
        loop {
            let mut line = String::new();
            let read = log.read_line(&mut line).unwrap();
            assert!(read > 0, "the daemon did not start:\n{seen}");
            seen.push_str(&line);
            let entry = log_entry(&line);
            let address = |key| entry.get(key).and_then(Value::as_str);
            if let (Some(public), Some(admin)) = (address("public"), address("admin")) {
                return Self {
                    public: format!("http://{public}"),
                    admin: format!("http://{admin}"),
                    beginning: seen,
                    child,
                    log,
                };
            }
        }
    }

    /// Waits until it logs a line with the text; returns the lines up to that one.
    pub fn wait_for_line(&mut self, text: &str) -> String {
        let mut lines = String::new();
        loop {
            let mut line = String::new();
            let read = self.log.read_line(&mut line).unwrap();
            assert_ne!(read, 0, "it ended without a line about {text:?}");
            log_entry(&line);
            lines.push_str(&line);
            if line.contains(text) {
                return lines;
            }
        }
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// Waits for its end; returns whether it ended well, and the rest of its log.
    pub fn wait(mut self) -> (Option<i32>, String) {
        let mut log = String::new();
        self.log.read_to_string(&mut log).unwrap();
        let code = self.child.wait().unwrap().code();
        // The last word of a command that failed is for people.
        let is_for_people = |line: &str| code != Some(0) && line.starts_with("error: ");
        for line in log.lines().filter(|line| !is_for_people(line)) {
            log_entry(line);
        }
        (code, log)
    }

    /// Kills it at once.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
