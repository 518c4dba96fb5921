//! Uploads mapped events to the store, in pieces.
//!
//! It asks for many events at once which of them were taken before, since the store reads all its
//! fingerprints for that. It uploads them in small pieces, since each is one transaction and one request.

use std::collections::HashSet;
use std::mem;
use std::thread::sleep;
use std::time::Duration;

use crate::cli::backfill::progress::Progress;
use crate::cli::store::StoreClient;
use crate::config::SyncName;
use crate::control::command::{FindKnown, PushEvents};
use crate::control::problem::{Problem, ProblemCode};
use crate::payload::{Fingerprint, MapResult, Submission};
use crate::queue::Pushed;

/// How many events, and bytes of them, are held before an upload.
const HELD_EVENTS: usize = 32 << 10;
const HELD_BYTES: usize = 16 << 20;
/// How many events, and bytes of them, go into one transaction.
const PIECE_EVENTS: usize = 1000;
const PIECE_BYTES: usize = 1 << 20;
const BETWEEN_TRIES: Duration = Duration::from_secs(1);

/// Events on their way into a store.
#[derive(Debug)]
pub(super) struct Uploader {
    store: StoreClient,
    held: Vec<Submission>,
    held_bytes: usize,
    pushed: Pushed,
}

impl Uploader {
    pub(super) fn new(store: StoreClient) -> Self {
        Self {
            store,
            held: Vec::new(),
            held_bytes: 0,
            pushed: Pushed::default(),
        }
    }

    /// Takes an event; uploads all when enough are held.
    pub(super) fn take(
        &mut self,
        sync: &SyncName,
        mapped: MapResult,
        progress: &mut Progress<'_>,
    ) -> anyhow::Result<()> {
        let event = Submission {
            sync: sync.clone(),
            mapped,
        };
        self.held_bytes += size(&event);
        self.held.push(event);
        if self.held.len() >= HELD_EVENTS || self.held_bytes >= HELD_BYTES {
            self.flush(progress)?;
        }
        Ok(())
    }

    /// Uploads what is held.
    pub(super) fn flush(&mut self, progress: &mut Progress<'_>) -> anyhow::Result<()> {
        self.held_bytes = 0;
        let held = mem::take(&mut self.held);
        let fingerprints: Vec<_> = held.iter().filter_map(fingerprint).collect();
        let known = if fingerprints.is_empty() {
            HashSet::new()
        } else {
            self.store.perform(FindKnown { fingerprints })?
        };
        let mut piece = Vec::new();
        let mut bytes = 0;
        for event in held {
            bytes += size(&event);
            piece.push(event);
            if piece.len() >= PIECE_EVENTS || bytes >= PIECE_BYTES {
                self.push(mem::take(&mut piece), &known, progress)?;
                bytes = 0;
            }
        }
        if piece.is_empty() {
            return Ok(());
        }
        self.push(piece, &known, progress)
    }

    /// Leaves the store; returns what was stored, and whether a daemon delivers it.
    pub(super) fn end(self) -> anyhow::Result<(Pushed, bool)> {
        let has_daemon = self.store.has_daemon();
        self.store.close()?;
        Ok((self.pushed, has_daemon))
    }

    /// Stores a piece; while the daemon has no room, waits.
    fn push(
        &mut self,
        events: Vec<Submission>,
        known: &HashSet<Fingerprint>,
        progress: &mut Progress<'_>,
    ) -> anyhow::Result<()> {
        let fingerprints = events.iter().filter_map(fingerprint);
        let known = fingerprints.filter(|of| known.contains(of)).collect();
        let push = PushEvents { events, known };
        let mut has_said = false;
        loop {
            match self.store.perform(push.clone()) {
                Ok(pushed) => {
                    self.pushed.queued += pushed.queued;
                    self.pushed.duplicates += pushed.duplicates;
                    return Ok(());
                }
                Err(error) if !self.store.has_daemon() => {
                    return Err(error.context(
                        "the events cannot be stored; where there is no room, start the daemon, \
                         so that it delivers, and run the command again: it goes on where it stopped",
                    ));
                }
                Err(error) => {
                    let code = error.downcast_ref().map(|problem: &Problem| problem.code);
                    if !matches!(code, Some(ProblemCode::Full | ProblemCode::DiskLow)) {
                        let Pushed {
                            queued, duplicates, ..
                        } = self.pushed;
                        return Err(error.context(format!(
                            "{queued} events were queued, and {duplicates} were there before; run the command \
                             again: it goes on where it stopped"
                        )));
                    }
                    if !has_said {
                        progress.say(&format!("{error}: waiting for room"))?;
                        has_said = true;
                    }
                    sleep(BETWEEN_TRIES);
                }
            }
        }
    }
}

fn fingerprint(event: &Submission) -> Option<Fingerprint> {
    Some(event.mapped.as_ref().ok()?.fingerprint)
}

/// About how much memory the event takes.
fn size(event: &Submission) -> usize {
    let json = match &event.mapped {
        Ok(payload) => payload.json.len(),
        Err(rejected) => rejected.json.as_ref().map_or(0, Vec::len),
    };
    json + 128
}
