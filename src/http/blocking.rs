//! Keeps long work from holding up the requests that share a thread with it.

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Semaphore;
use tokio::task::block_in_place;

/// Work on more bytes takes about two milliseconds or more. To hand over the thread's other tasks costs a
/// tenth of that.
const LONG: usize = 256 << 10;

/// Long pieces of work at a time. Each needs a thread of the runtime, and so must be fewer than those for blocking
/// work: else nothing is left for requests that take no time, as for `/health`.
const AT_A_TIME: usize = 4;

/// What makes work long.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// The number of bytes.
    On(usize),
    /// A disk that it waits for.
    WithDisk,
}

/// Does long work, a few pieces at a time. The others wait for their turn, and no thread waits with them.
#[derive(Debug)]
pub struct LongWork {
    turns: Semaphore,
}

impl Default for LongWork {
    fn default() -> Self {
        Self::new()
    }
}

impl LongWork {
    pub const fn new() -> Self {
        Self {
            turns: Semaphore::const_new(AT_A_TIME),
        }
    }

    /// Does work. If it is long, it waits for its turn, and another thread first takes over the tasks of this one; in
    /// a runtime of one thread they wait.
    pub async fn perform<T>(&self, work: Work, perform: impl FnOnce() -> T) -> T {
        let is_long = match work {
            Work::On(bytes) => bytes > LONG,
            Work::WithDisk => true,
        };
        if !is_long || Handle::current().runtime_flavor() != RuntimeFlavor::MultiThread {
            return perform();
        }
        let turn = self.turns.acquire().await;
        let done = block_in_place(perform);
        drop(turn);
        done
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;
    use std::time::Duration;

    use tokio::task::JoinSet;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn few_pieces_are_done_at_a_time_and_all_in_the_end() {
        let work = Arc::new(LongWork::default());
        let [running, most] = [0, 1].map(|_| Arc::new(AtomicUsize::new(0)));
        let mut pieces = JoinSet::new();
        for _ in 0..20 {
            let (work, running, most) = (work.clone(), running.clone(), most.clone());
            pieces.spawn(async move {
                let perform = || {
                    let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                    most.fetch_max(now, Ordering::SeqCst);
                    thread::sleep(Duration::from_millis(5));
                    running.fetch_sub(1, Ordering::SeqCst);
                };
                work.perform(Work::WithDisk, perform).await;
            });
        }
        assert_eq!(pieces.join_all().await.len(), 20);
        assert!(most.load(Ordering::SeqCst) <= AT_A_TIME);
        // What is short waits for nobody.
        let turns = work.turns.acquire_many(4).await;
        assert_eq!(work.perform(Work::On(LONG), || 7).await, 7);
        drop(turns);
    }
}
