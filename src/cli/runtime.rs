//! The runtimes of commands, with all the threads that they will ever need.
//!
//! A machine may refuse a new thread at any moment: a limit of the container is reached, or memory is short. So all
//! threads are started at the start, and none ends before the program. Blocking work that finds no thread idle waits
//! for its turn.

use std::io;
use std::num::NonZero;
use std::sync::{Arc, RwLock, mpsc};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

/// Threads for blocking work of a command that serves. Whoever gives them work has a bound of its own: 4 for long work on
/// bodies, 4 for that on commands (`http::LongWork`), 2 for reads of the store (`queue::shared_reader`); and each key with
/// files of secrets has a thread more. So whatever hangs, some are left to take over what `/health` and delivery need.
const OF_A_SERVER: usize = 16;
/// Threads for asynchronous work, at least: one may wait for a disk that hangs.
const LEAST_WORKERS: usize = 2;
/// Those of a command that reads the store itself.
const OF_A_COMMAND: usize = 1;
/// An idle thread ends after this: never, but within what every system can count.
const KEPT: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
/// The longest wait for a thread that was started.
const STARTS_WITHIN: Duration = Duration::from_secs(10);

/// The longest wait for blocking work, once all else has ended.
const ENDS_WITHIN: Duration = Duration::from_secs(1);

/// Runs a command that serves to its end. `keys_in_files` is the number of keys whose secrets stand in files.
pub(super) fn serve<E: From<io::Error>>(
    keys_in_files: usize,
    run: impl Future<Output = Result<(), E>>,
) -> Result<(), E> {
    let runtime = of_server(keys_in_files)?;
    let ended = runtime.block_on(run);
    runtime.shutdown_timeout(ENDS_WITHIN);
    ended
}

fn of_server(keys_in_files: usize) -> io::Result<Runtime> {
    let workers = thread::available_parallelism().map_or(LEAST_WORKERS, NonZero::get);
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(workers.max(LEAST_WORKERS));
    with_threads(&mut builder, OF_A_SERVER + keys_in_files)
}

/// Runs the tasks of a command that works on a store.
pub(super) fn of_command() -> io::Result<Runtime> {
    with_threads(&mut Builder::new_current_thread(), OF_A_COMMAND)
}

fn with_threads(builder: &mut Builder, blocking: usize) -> io::Result<Runtime> {
    // Where not a single thread can be had, building a runtime would panic.
    let spare = thread::Builder::new().spawn(|| ())?;
    spare
        .join()
        .map_err(|_| io::Error::other("a thread failed"))?;
    let runtime = builder
        .enable_all()
        .max_blocking_threads(blocking)
        .thread_keep_alive(KEPT)
        .build()?;
    let started = start_all(&runtime, blocking);
    if started < blocking {
        // Its threads may wait for ever.
        runtime.shutdown_background();
        return Err(io::Error::other(format!(
            "only {started} of {blocking} threads for blocking work could be started; look at the limits on \
             processes and threads of this user and this container"
        )));
    }
    Ok(runtime)
}

/// Starts all threads for blocking work; gives how many there are.
fn start_all(runtime: &Runtime, threads: usize) -> usize {
    let (started, starts) = mpsc::sync_channel(threads);
    let gate = Arc::new(RwLock::new(()));
    // None becomes idle, and so takes the work of another, before all are there.
    let closed = gate.write();
    for _ in 0..threads {
        let (started, gate) = (started.clone(), Arc::clone(&gate));
        runtime.spawn_blocking(move || {
            started.send(()).ok();
            drop(gate.read());
        });
    }
    let count = (0..threads)
        .take_while(|_| starts.recv_timeout(STARTS_WITHIN).is_ok())
        .count();
    drop(closed);
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The threads of this process that belong to a runtime and do nothing.
    fn threads() -> usize {
        std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
    }

    #[test]
    fn blocking_work_starts_no_thread_however_much_there_is() {
        let runtime = of_server(3).unwrap();
        let before = threads();
        let work: Vec<_> = (0..100).map(|_| runtime.spawn_blocking(|| ())).collect();
        runtime.block_on(async {
            for work in work {
                work.await.unwrap();
            }
        });
        // Other tests of this process start and end threads meanwhile; a hundred would show.
        assert!(threads() < before + 50, "{before} threads before");
    }
}
