//! Reads beside the writer: the reader that all requests share, for a few microseconds each, and turns for commands.
//!
//! A disk may hang, and with it the request that reads. The others then wait for a moment and are told so: else they
//! would keep every thread of the runtime, and `/health` and delivery would stand still.

use std::fmt;
use std::mem;
use std::panic::resume_unwind;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;

use super::StoreError;
use super::engine::{EngineError, EngineResult, Reader};

/// The longest wait for the reader, of one that has it all the time.
const PATIENCE: Duration = Duration::from_secs(2);

/// Reads of commands, and of the search for damage, at a time. Each has a thread.
const AT_A_TIME: usize = 2;

/// The reader, while nobody has it.
#[derive(Default)]
pub(super) struct SharedReader {
    state: Mutex<ReaderState>,
    returned: Condvar,
}

#[derive(Default)]
struct ReaderState {
    /// `None` until it is opened.
    reader: Option<Box<dyn Reader>>,
    /// Whether a request has it.
    is_taken: bool,
    /// Whether the request that has it got nowhere while another waited.
    is_stuck: bool,
    /// How often it was taken.
    takings: u64,
    /// How often the writer has closed it.
    closings: u64,
}

/// Bounds the reads that have a reader of their own, so that they never use up the threads for blocking work.
#[derive(Debug)]
pub(super) struct ReadTurns {
    all: Arc<Semaphore>,
    /// Of them, for the search for damage: a step of it may read for long, so the rest is left to commands.
    searches: Arc<Semaphore>,
}

/// What a request that has the reader gives back, come what may.
struct BorrowedReader<'r> {
    shared: &'r SharedReader,
    reader: Option<Box<dyn Reader>>,
    closings: u64,
}

impl Default for ReadTurns {
    fn default() -> Self {
        let turns = |count| Arc::new(Semaphore::new(count));
        Self {
            all: turns(AT_A_TIME),
            searches: turns(AT_A_TIME - 1),
        }
    }
}

impl ReadTurns {
    /// Reads on a thread for blocking work, when it is its turn. The turn ends with the read, even if nobody waits
    /// for it any more.
    pub(super) async fn perform<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let turn = turn(&self.all).await?;
        on_thread(turn, read).await
    }

    /// The same for a step of the search for damage.
    pub(super) async fn search<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let turns = (turn(&self.searches).await?, turn(&self.all).await?);
        on_thread(turns, read).await
    }
}

async fn turn(turns: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, StoreError> {
    let turn = Arc::clone(turns).acquire_owned().await;
    turn.map_err(|_| StoreError::Closed)
}

/// Reads on a thread for blocking work, and has the turn until it is done.
async fn on_thread<T: Send + 'static>(
    turn: impl Send + 'static,
    read: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StoreError> {
    let reading = spawn_blocking(move || {
        let found = read();
        drop(turn);
        found
    });
    match reading.await {
        Ok(found) => Ok(found),
        Err(ended) => match ended.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(_) => Err(StoreError::Closed),
        },
    }
}

impl SharedReader {
    /// Reads. After an error the reader is opened anew.
    pub(super) fn read<T>(
        &self,
        open: impl FnOnce() -> EngineResult<Box<dyn Reader>>,
        read: impl FnOnce(&mut dyn Reader) -> EngineResult<T>,
    ) -> EngineResult<T> {
        let mut taken = self.take()?;
        let mut reader = match taken.reader.take() {
            Some(reader) => reader,
            None => open()?,
        };
        let found = read(&mut *reader)?;
        taken.reader = Some(reader);
        Ok(found)
    }

    /// Closes the reader, for another file may take the place of the one that it has open. Waits for a moment for
    /// the request that has it.
    pub(super) fn close(&self) {
        let mut state = self.state();
        let is_busy = |state: &mut ReaderState| state.is_taken && !state.is_stuck;
        if is_busy(&mut state) {
            let waited = self.returned.wait_timeout_while(state, PATIENCE, is_busy);
            state = waited.expect("no holder of this lock panics").0;
        }
        state.closings += 1;
        let reader = state.reader.take();
        drop(state);
        drop(reader);
    }

    fn state(&self) -> MutexGuard<'_, ReaderState> {
        self.state.lock().expect("no holder of this lock panics")
    }

    fn take(&self) -> EngineResult<BorrowedReader<'_>> {
        let mut state = self.state();
        while state.is_taken {
            if state.is_stuck {
                return Err(hangs());
            }
            let takings = state.takings;
            let waited = self.returned.wait_timeout(state, PATIENCE);
            let (after, waited) = waited.expect("no holder of this lock panics");
            state = after;
            state.is_stuck = waited.timed_out() && state.is_taken && state.takings == takings;
        }
        state.is_taken = true;
        state.takings += 1;
        Ok(BorrowedReader {
            shared: self,
            reader: state.reader.take(),
            closings: state.closings,
        })
    }
}

impl Drop for BorrowedReader<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.is_taken = false;
        state.is_stuck = false;
        let reader = self.reader.take();
        let closed = if state.closings == self.closings {
            mem::replace(&mut state.reader, reader)
        } else {
            reader
        };
        drop(state);
        self.shared.returned.notify_all();
        drop(closed);
    }
}

impl fmt::Debug for SharedReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedReader").finish_non_exhaustive()
    }
}

fn hangs() -> EngineError {
    let what = std::io::Error::new(
        std::io::ErrorKind::TimedOut,
        "a read of the store has hung for seconds",
    );
    EngineError::Unavailable(Arc::new(what))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::super::engine::{Beside, Storage as _};
    use super::super::memory::MemoryEngine;
    use super::*;

    fn open() -> EngineResult<Box<dyn Reader>> {
        MemoryEngine::default().reader(Beside::Writer)
    }

    #[test]
    fn a_read_that_hangs_keeps_nobody_else_for_long() {
        let shared = &SharedReader::default();
        let ((begun, begins), (go_on, goes_on)) = (mpsc::sync_channel(1), mpsc::sync_channel(1));
        thread::scope(|scope| {
            let hanging = scope.spawn(move || {
                shared.read(open, |_| {
                    begun.send(()).unwrap();
                    goes_on.recv().unwrap();
                    Ok(1)
                })
            });
            begins.recv().unwrap();
            let others: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| shared.read(open, |_| Ok(2))))
                .collect();
            for other in others {
                let refused = other.join().unwrap();
                assert!(matches!(refused, Err(EngineError::Unavailable(_))));
            }
            // The writer goes on too, and what hangs is not used again.
            shared.close();
            go_on.send(()).unwrap();
            assert_eq!(hanging.join().unwrap().unwrap(), 1);
        });
        assert!(shared.state().reader.is_none());
        assert_eq!(shared.read(open, |_| Ok(3)).unwrap(), 3);
        assert!(shared.state().reader.is_some());
        shared.close();
        assert!(shared.state().reader.is_none());
    }

    #[tokio::test]
    async fn searches_that_hang_leave_a_turn_to_commands() {
        let turns = Arc::new(ReadTurns::default());
        let (go_on, goes_on) = mpsc::sync_channel(3);
        let goes_on = Arc::new(Mutex::new(goes_on));
        let mut searches = tokio::task::JoinSet::new();
        for _ in 0..3 {
            let (turns, goes_on) = (Arc::clone(&turns), Arc::clone(&goes_on));
            searches.spawn(async move {
                let hang = move || goes_on.lock().unwrap().recv().unwrap();
                turns.search(hang).await.unwrap();
            });
        }
        tokio::task::yield_now().await;
        for number in 0..10 {
            assert_eq!(turns.perform(move || number).await.unwrap(), number);
        }
        for _ in 0..3 {
            go_on.send(()).unwrap();
        }
        while let Some(ended) = searches.join_next().await {
            ended.unwrap();
        }
    }

    #[test]
    fn after_an_error_or_a_panic_the_reader_is_opened_anew() {
        let shared = SharedReader::default();
        assert!(shared.read(open, |_| Err::<(), _>(hangs())).is_err());
        assert!(shared.state().reader.is_none());
        let panics = || {
            shared.read(open, |_| -> EngineResult<()> {
                panic!("as the test wants it")
            })
        };
        let panicked = thread::scope(|scope| scope.spawn(panics).join().is_err());
        assert!(panicked);
        assert_eq!(shared.read(open, |_| Ok(1)).unwrap(), 1);
    }
}
