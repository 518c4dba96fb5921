//! Hands mapped events over to the store, in pieces.
//!
//! Which of them were taken before is asked for many at once, since the store then reads everything
//! that it remembers; they are handed over in small pieces, since each is one transaction and one
//! message.

use std::thread::sleep;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::value::RawValue;

use crate::cli::Terminal;
use crate::cli::backfill::progress::Progress;
use crate::cli::store::{self, StoreClient, Stored};
use crate::config::SyncName;
use crate::control::wire::{Code, Mapped, MappedFate};
use crate::payload::MapResult;

/// Events, and bytes of them, that are held until they are asked for together.
const HELD_EVENTS: usize = 32 << 10;
const HELD_BYTES: usize = 16 << 20;
/// Events, and bytes of them, in one transaction.
const PIECE_EVENTS: usize = 1000;
const PIECE_BYTES: usize = 1 << 20;
/// How long to wait for room.
const BETWEEN_TRIES: Duration = Duration::from_secs(1);

/// Events on their way into a store.
#[derive(Debug)]
pub(super) struct Uploader {
    store: StoreClient,
    held: Vec<Mapped>,
    held_bytes: usize,
    stored: Stored,
}

impl Uploader {
    /// Begins with nothing in hand.
    pub(super) const fn new(store: StoreClient) -> Self {
        Self {
            store,
            held: Vec::new(),
            held_bytes: 0,
            stored: Stored {
                queued: 0,
                duplicates: 0,
            },
        }
    }

    /// Takes an event; hands everything over when there is enough of it.
    pub(super) fn take(
        &mut self,
        sync: &SyncName,
        event: MapResult,
        progress: &Progress,
        terminal: &mut Terminal,
    ) -> anyhow::Result<()> {
        let event = mapped(sync, event)?;
        self.held_bytes += size(&event);
        self.held.push(event);
        if self.held.len() >= HELD_EVENTS || self.held_bytes >= HELD_BYTES {
            self.flush(progress, terminal)?;
        }
        Ok(())
    }

    /// Hands over what is held.
    pub(super) fn flush(
        &mut self,
        progress: &Progress,
        terminal: &mut Terminal,
    ) -> anyhow::Result<()> {
        self.held_bytes = 0;
        let mut held = std::mem::take(&mut self.held);
        self.mark_known(&mut held)?;
        let mut piece = Vec::new();
        let mut bytes = 0;
        for event in held {
            bytes += size(&event);
            piece.push(event);
            if piece.len() >= PIECE_EVENTS || bytes >= PIECE_BYTES {
                self.store_piece(&piece, progress, terminal)?;
                piece.clear();
                bytes = 0;
            }
        }
        if piece.is_empty() {
            return Ok(());
        }
        self.store_piece(&piece, progress, terminal)
    }

    /// Leaves the store; gives what was stored, and whether a daemon delivers it.
    pub(super) fn end(self) -> anyhow::Result<(Stored, bool)> {
        let has_daemon = self.store.has_daemon();
        self.store.close()?;
        Ok((self.stored, has_daemon))
    }

    fn mark_known(&self, held: &mut [Mapped]) -> anyhow::Result<()> {
        let mut to_queue: Vec<_> = held
            .iter_mut()
            .filter_map(|event| match &mut event.fate {
                MappedFate::Queue {
                    fingerprint, known, ..
                } => Some((*fingerprint, known)),
                MappedFate::Ended { .. } => None,
            })
            .collect();
        if to_queue.is_empty() {
            return Ok(());
        }
        let fingerprints = to_queue.iter().map(|(fingerprint, _)| *fingerprint);
        for place in self.store.remembered(fingerprints.collect())? {
            if let Some((_, known)) = to_queue.get_mut(place as usize) {
                **known = true;
            }
        }
        Ok(())
    }

    /// Stores a piece; waits for room where there is none.
    fn store_piece(
        &mut self,
        piece: &[Mapped],
        progress: &Progress,
        terminal: &mut Terminal,
    ) -> anyhow::Result<()> {
        let mut has_said = false;
        loop {
            match self.store.take(piece) {
                Ok(stored) => {
                    self.stored.queued += stored.queued;
                    self.stored.duplicates += stored.duplicates;
                    return Ok(());
                }
                Err(error) if !self.store.has_daemon() => {
                    return Err(error.context(
                        "the events cannot be stored; where there is no room, start the daemon, \
                         so that it delivers, and run the command again: it goes on where it stopped",
                    ));
                }
                Err(error) => {
                    let code = store::problem(&error).map(|problem| problem.code);
                    if !matches!(code, Some(Code::Full | Code::DiskLow)) {
                        return Err(
                            error.context("run the command again: it goes on where it stopped")
                        );
                    }
                    if !has_said {
                        progress.say(&format!("{error}: waiting for room"), terminal)?;
                        has_said = true;
                    }
                    sleep(BETWEEN_TRIES);
                }
            }
        }
    }
}

fn mapped(sync: &SyncName, event: MapResult) -> anyhow::Result<Mapped> {
    let raw = |json: Vec<u8>| -> anyhow::Result<Box<RawValue>> {
        let json = String::from_utf8(json).context("a mapped event is no text")?;
        RawValue::from_string(json).context("a mapped event is no JSON")
    };
    let sync = sync.as_str().to_owned();
    Ok(match event {
        Ok(payload) => Mapped {
            sync,
            name: Some(payload.event_name.to_string()),
            event: Some(raw(payload.json.into())?),
            fate: MappedFate::Queue {
                fingerprint: [payload.fingerprint.id, payload.fingerprint.whole],
                deadline: payload.deadline,
                known: false,
            },
        },
        Err(rejected) => Mapped {
            sync,
            name: rejected.event_name.map(String::from),
            event: rejected.json.map(raw).transpose()?,
            fate: MappedFate::Ended {
                reason: rejected.reason.as_str().to_owned(),
                id: rejected.event_id.map(String::from),
            },
        },
    })
}

/// About what the event takes.
fn size(event: &Mapped) -> usize {
    event.event.as_ref().map_or(0, |event| event.get().len()) + 128
}
