//! Does what commands ask for, on a store.
//!
//! The same for a daemon, where requests come through the socket, and for a command that has opened
//! the store itself. What a request names is checked against the configuration of whoever has the
//! store: a daemon answers by what it runs, whatever the file says by now.

use std::collections::{BTreeMap, HashSet};

use crate::config::{Config, SyncName};
use crate::control::wire::{Answer, Code, Mapped, MappedFate, Problem, Reply, Request};
use crate::http::blocking::{Work, without_blocking_others};
use crate::outcome::Reason;
use crate::payload::{Fingerprint, MapResult, Payload, Rejected, Submission};
use crate::queue::{PushError, Queue, StoreError};

/// Dead letters on a page.
const PAGE: usize = 256;

/// A store, and what is configured of its syncs.
#[derive(Debug)]
pub struct CommandHandler {
    queue: Queue,
    /// Every configured sync, and whether it takes events.
    syncs: BTreeMap<SyncName, bool>,
}

impl CommandHandler {
    /// Puts a desk before a store.
    pub fn new(queue: Queue, config: &Config) -> Self {
        let syncs = config.syncs.iter();
        Self {
            queue,
            syncs: syncs
                .map(|(name, sync)| (name.clone(), sync.enabled))
                .collect(),
        }
    }

    /// Answers a request as it comes through the socket.
    pub(super) async fn answer(&self, line: &[u8]) -> Reply {
        let request = without_blocking_others(Work::On(line.len()), || Request::from_line(line));
        let done = match request {
            Ok(request) => Box::pin(self.perform(request)).await,
            Err(problem) => Err(problem),
        };
        match done {
            Ok(answer) => Reply::Done(answer),
            Err(problem) => Reply::Failed(problem),
        }
    }

    /// Does what a request asks for.
    pub async fn perform(&self, request: Request) -> Result<Answer, Problem> {
        match request {
            Request::Letters {
                filter,
                after,
                with_events,
            } => {
                let mut letters = self.queue.dead(&filter, after, PAGE).await?;
                if !with_events {
                    letters.iter_mut().for_each(|letter| letter.json = None);
                }
                Ok(Answer::Letters(letters))
            }
            Request::Retry { filter } => {
                let retried = self.queue.retry_dead(&filter).await?;
                Ok(Answer::Retried(retried))
            }
            Request::Drop { filter } => {
                let dropped = self.queue.drop_dead(&filter).await?;
                Ok(Answer::Dropped(dropped))
            }
            Request::Trace { event_id } => {
                let traces = self.queue.trace(&event_id).await?;
                Ok(Answer::Traces(traces))
            }
            Request::Forget(person) => {
                let forgotten = self.queue.forget(person).await?;
                Ok(Answer::Forgotten(forgotten))
            }
            Request::DropQueue { sync, force } => self.drop_queue(&sync, force).await,
            Request::Remembered { fingerprints } => self.remembered(fingerprints).await,
            Request::Take { events } => self.take(events).await,
        }
    }

    async fn drop_queue(&self, name: &str, force: bool) -> Result<Answer, Problem> {
        let stored = self.queue.totals();
        let sync = SyncName::new(name)
            .filter(|sync| stored.contains_key(sync) || self.syncs.contains_key(sync))
            .ok_or_else(|| {
                let names: Vec<_> = stored.keys().map(SyncName::as_str).collect();
                let names = match names.as_slice() {
                    [] => "none".to_owned(),
                    names => names.join(", "),
                };
                Problem::new(
                    Code::UnknownSync,
                    format!("the store holds no sync `{name}`; it holds: {names}"),
                )
            })?;
        if self.syncs.get(&sync) == Some(&true) && !force {
            return Err(Problem::new(
                Code::SyncInUse,
                format!(
                    "sync `{sync}` is configured and takes events; remove it from the \
                     configuration, or disable it, and restart the daemon; or say --force"
                ),
            ));
        }
        Ok(Answer::Dropped(self.queue.drop_sync(&sync).await?))
    }

    async fn remembered(&self, fingerprints: Vec<[u64; 2]>) -> Result<Answer, Problem> {
        let wanted: Vec<_> = fingerprints.into_iter().map(fingerprint).collect();
        let found = self.queue.remembered(wanted.clone()).await?;
        let places = wanted.iter().zip(0..);
        let places = places.filter(|(wanted, _)| found.contains(*wanted));
        Ok(Answer::Remembered(places.map(|(_, place)| place).collect()))
    }

    async fn take(&self, events: Vec<Mapped>) -> Result<Answer, Problem> {
        let mut known = HashSet::new();
        let mut taken = Vec::with_capacity(events.len());
        let full = self.queue.health().full;
        for event in events {
            let sync = SyncName::new(&event.sync)
                .filter(|sync| self.syncs.contains_key(sync))
                .ok_or_else(|| {
                    Problem::new(
                        Code::UnknownSync,
                        format!(
                            "the daemon runs no sync `{}`; restart it, so that it reads its \
                             configuration anew",
                            event.sync
                        ),
                    )
                })?;
            // Nothing of the piece is taken yet, so that its repeat counts no duplicates.
            if full.contains(&sync) {
                return Err(PushError::Full {
                    sync,
                    pushed: crate::queue::Pushed::default(),
                    left: BTreeMap::new(),
                }
                .into());
            }
            if let MappedFate::Queue {
                fingerprint: id,
                known: true,
                ..
            } = event.fate
            {
                known.insert(fingerprint(id));
            }
            let mapped = mapped(event).ok_or_else(|| {
                Problem::new(Code::BadRequest, "the piece holds what is no mapped event")
            })?;
            taken.push(Submission { sync, mapped });
        }
        let pushed = self.queue.push_again(taken, known).await?;
        Ok(Answer::Taken {
            queued: pushed.queued,
            duplicates: pushed.duplicates,
        })
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        PushError::from(error).into()
    }
}

impl From<PushError> for Problem {
    fn from(error: PushError) -> Self {
        match &error {
            PushError::Full { .. } => Self::new(Code::Full, error.to_string()),
            PushError::DiskLow => Self::new(Code::DiskLow, error.to_string()),
            PushError::Storage(cause) => Self::new(Code::Storage, format!("{error}: {cause}")),
            PushError::Closed => Self::new(Code::Closed, "the store is being closed"),
        }
    }
}

const fn fingerprint([id, whole]: [u64; 2]) -> Fingerprint {
    Fingerprint { id, whole }
}

/// What the queue takes; `None` where something is missing or is no event.
fn mapped(event: Mapped) -> Option<MapResult> {
    // One object on one line: the line it came in was split at its end, and JSON was checked then.
    let json = event
        .event
        .map(|event| Box::<str>::from(event).into_string().into_bytes());
    let json = match json {
        Some(json) if json.first() != Some(&b'{') => return None,
        json => json,
    };
    let name = event.name.map(String::into_boxed_str);
    Some(match event.fate {
        MappedFate::Queue {
            fingerprint: id,
            deadline,
            known: _,
        } => Ok(Payload {
            json: json?.into(),
            event_name: name?.into(),
            fingerprint: fingerprint(id),
            deadline,
        }),
        MappedFate::Ended { reason, id } => Err(Rejected {
            reason: Reason::parse(&reason)?,
            event_name: name,
            event_id: id.map(String::into_boxed_str),
            json,
        }),
    })
}
