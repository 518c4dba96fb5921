//! A backfill of a million events, beside plain unpacking and parsing of the same archive.
//!
//! `cargo bench --bench backfill` writes an export archive as Amplitude does (a zip of gzipped NDJSON
//! files) and reads it three times, each time in a new process: one that only unpacks it and parses every
//! line; `backfill --dry-run`; and `backfill` into a new store. Figures are CPU time as the kernel accounts
//! it, and peak resident memory. Memory must not grow with the number of events, so the dry run also runs on
//! a tenth of them. Quote the ratios.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a bench measures time and tells its figures"
)]

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use flate2::Compression;
use flate2::bufread::{DeflateDecoder, MultiGzDecoder};
use flate2::write::{DeflateEncoder, GzEncoder};

/// Events in the archive.
const EVENTS: usize = 1_000_000;
/// Events in each of its files.
const EVENTS_A_FILE: usize = 20_000;
/// Different users.
const USERS: usize = 50_000;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("parse") => parse(Path::new(&arguments[2])).expect("the archive is readable"),
        // `cargo bench` passes `--bench`; `cargo test` does not, and has nothing to run here.
        Some("--bench") => measure().expect("the disk holds the archives"),
        _ => {}
    }
}

fn measure() -> io::Result<()> {
    let folder = tempfile::tempdir()?;
    let archive = folder.path().join("export.zip");
    let tenth = folder.path().join("tenth.zip");
    write_archive(&archive, EVENTS)?;
    write_archive(&tenth, EVENTS / 10)?;
    println!(
        "{EVENTS} events, an archive of {} MB",
        fs::metadata(&archive)?.len() / 1_000_000
    );
    let this = std::env::current_exe()?;
    let parsed = Run::of(Command::new(this).arg("parse").arg(&archive));
    parsed.tell("unpack and parse, nothing else", EVENTS, parsed.cpu);
    Run::of(backfill(folder.path(), &tenth).arg("--dry-run")).tell(
        "dry run, a tenth of the events",
        EVENTS / 10,
        parsed.cpu / 10.0,
    );
    Run::of(backfill(folder.path(), &archive).arg("--dry-run")).tell("dry run", EVENTS, parsed.cpu);
    Run::of(&mut backfill(folder.path(), &archive)).tell("into a store", EVENTS, parsed.cpu);
    Run::of(&mut backfill(folder.path(), &archive)).tell("the same again", EVENTS, parsed.cpu);
    Ok(())
}

/// The command, with a sync that hashes six fields.
fn backfill(folder: &Path, archive: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pixel-relay"));
    let mappings = [
        ("EMAIL", "user_properties.email"),
        ("PHONE", "user_properties.phone"),
        ("FIRST_NAME", "user_properties.first_name"),
        ("CITY", "city"),
        ("COUNTRY", "country"),
    ];
    command
        .arg("backfill")
        .arg(archive)
        .env_clear()
        .env("PIXEL_RELAY__QUEUE__PATH", folder.join("store"))
        .env("PIXEL_RELAY__INGEST__SECRET", "s")
        .env("PIXEL_RELAY__SYNC__WEB__PIXEL_ID", "123456789012345")
        .env("PIXEL_RELAY__SYNC__WEB__ACCESS_TOKEN", "t")
        .envs(
            mappings
                .map(|(name, path)| (format!("PIXEL_RELAY__SYNC__WEB__USER_DATA__{name}"), path)),
        );
    command
}

/// The cost of a process.
struct Run {
    seconds: f64,
    cpu: f64,
    peak_memory: u64,
}

impl Run {
    fn of(command: &mut Command) -> Self {
        let begin = Instant::now();
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program is there");
        let mut peak_memory = 0;
        // After its end a process keeps its times until it is waited for, but not its memory.
        while !stat(&child).starts_with('Z') {
            peak_memory = memory(&child).unwrap_or(peak_memory);
            sleep(Duration::from_millis(10));
        }
        let seconds = begin.elapsed().as_secs_f64();
        let ticks: u32 = stat(&child)
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|ticks| ticks.parse::<u32>().expect("a number"))
            .sum();
        assert!(child.wait().expect("it was started").success());
        Self {
            seconds,
            cpu: f64::from(ticks) / 100.0,
            peak_memory,
        }
    }

    fn tell(&self, what: &str, events: usize, plain: f64) {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let each = self.cpu / events as f64 * 1e6;
        println!(
            "{what:32} {:6.2} s, {:6.2} s of CPU, {each:5.2} µs each, ratio {:4.2}, {:4} MiB",
            self.seconds,
            self.cpu,
            plain / self.cpu,
            self.peak_memory >> 20,
        );
    }
}

/// What the kernel accounts, behind the name.
fn stat(child: &Child) -> String {
    let stat =
        fs::read_to_string(format!("/proc/{}/stat", child.id())).expect("it is not waited for");
    let fields = stat.rsplit_once(')').expect("the name is in brackets").1;
    fields.trim_start().to_owned()
}

fn memory(child: &Child) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes << 10)
}

/// Unpacks an archive that `write_archive` made and parses every line.
fn parse(archive: &Path) -> io::Result<()> {
    let mut input = BufReader::with_capacity(128 << 10, File::open(archive)?);
    let mut events = 0;
    loop {
        let mut header = [0; 30];
        input.read_exact(&mut header)?;
        if !header.starts_with(b"PK\x03\x04") {
            break;
        }
        let name = u16::from_le_bytes([header[26], header[27]]);
        io::copy(&mut input.by_ref().take(name.into()), &mut io::sink())?;
        let file = BufReader::with_capacity(64 << 10, DeflateDecoder::new(&mut input));
        let mut lines = BufReader::with_capacity(64 << 10, MultiGzDecoder::new(file));
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line)? > 0 {
            let event: serde_json::Value = serde_json::from_slice(&line)?;
            events += usize::from(event.is_object());
            line.clear();
        }
    }
    assert!(events > 0);
    Ok(())
}

fn write_archive(path: &Path, events: usize) -> io::Result<()> {
    let mut archive = BufWriter::new(File::create(path)?);
    let now = SystemTime::now();
    for first in (0..events).step_by(EVENTS_A_FILE) {
        let mut file = GzEncoder::new(Vec::new(), Compression::fast());
        for number in first..(first + EVENTS_A_FILE).min(events) {
            write_event(&mut file, number, now)?;
        }
        let file = file.finish()?;
        write_entry(&mut archive, first / EVENTS_A_FILE, &file)?;
    }
    // The directory is not read, but the parser above reads a header's length.
    archive.write_all(b"PK\x01\x02")?;
    archive.write_all(&[0; 42])?;
    archive.flush()
}

fn write_entry(archive: &mut impl Write, number: usize, file: &[u8]) -> io::Result<()> {
    let name = format!("123456/123456_2026-11-20_{number}#0.json.gz");
    let mut packed = DeflateEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(file)?;
    let packed = packed.finish()?;
    let size = |bytes: usize| u32::try_from(bytes).expect("a file is small").to_le_bytes();
    archive.write_all(b"PK\x03\x04\x14\0\0\0\x08\0\0\0\0\0")?;
    archive.write_all(&crc32fast::hash(file).to_le_bytes())?;
    archive.write_all(&size(packed.len()))?;
    archive.write_all(&size(file.len()))?;
    archive.write_all(&size(name.len())[..2])?;
    archive.write_all(&[0; 2])?;
    archive.write_all(name.as_bytes())?;
    archive.write_all(&packed)
}

/// An event as Amplitude exports it.
fn write_event(out: &mut impl Write, number: usize, now: SystemTime) -> io::Result<()> {
    let user = number * 7919 % USERS;
    // Over the last six days.
    let ago = Duration::from_millis((number % 518_400) as u64 * 1000);
    let time = humantime::format_rfc3339_micros(now - ago).to_string();
    let time = time.replace('T', " ");
    let time = time.trim_end_matches('Z');
    writeln!(
        out,
        "{{\"$insert_id\":\"insert-{number:09}-5f9c\",\"$insert_key\":\"00bb\",\"$schema\":13,\
         \"adid\":null,\"amplitude_attribution_ids\":null,\"amplitude_event_type\":null,\
         \"amplitude_id\":{},\"app\":123456,\"city\":\"San Francisco\",\
         \"client_event_time\":\"{time}\",\"client_upload_time\":\"{time}\",\"country\":\"United States\",\
         \"data\":{{\"path\":\"/2/httpapi\",\"group_first_event\":{{}}}},\"data_type\":\"event\",\
         \"device_carrier\":null,\"device_family\":\"Mac OS X\",\
         \"device_id\":\"b7b0f6a1-94c5-4c06-8f19-{user:012}\",\"device_type\":\"Mac\",\"dma\":\"San Francisco\",\
         \"event_id\":{number},\"event_properties\":{{\"[Amplitude] Page URL\":\"https://shop.example.com/p/{user}\",\
         \"total\":{}.5,\"currency\":\"USD\",\"order_id\":\"o-{number}\",\"coupon\":\"SPRING\"}},\
         \"event_time\":\"{time}\",\"event_type\":\"Order Completed\",\"group_properties\":{{}},\"groups\":{{}},\
         \"idfa\":null,\"ip_address\":\"203.0.113.{}\",\"is_attribution_event\":false,\"language\":\"English\",\
         \"library\":\"amplitude-ts/2.11.1\",\"location_lat\":null,\"location_lng\":null,\"os_name\":\"Chrome\",\
         \"os_version\":\"130\",\"paying\":null,\"platform\":\"Web\",\"processed_time\":\"{time}\",\
         \"region\":\"California\",\"sample_rate\":null,\"server_received_time\":\"{time}\",\
         \"server_upload_time\":\"{time}\",\"session_id\":{},\"start_version\":null,\"user_creation_time\":\"{time}\",\
         \"user_id\":\"customer-{user}\",\"user_properties\":{{\"email\":\"customer.{user}@example.com\",\
         \"phone\":\"+1 415 555 {:04}\",\"first_name\":\"Customer\",\"plan\":\"premium\",\
         \"initial_utm_source\":\"EMPTY\",\"fbp\":\"fb.1.1700000000000.{user}\"}},\
         \"uuid\":\"5f9c31a2-0000-4000-8000-{number:012}\",\"version_name\":null}}",
        user + 1_000_000,
        number % 900 + 10,
        user % 250 + 1,
        number / 20 + 1_700_000_000_000,
        user % 10_000,
    )
}
