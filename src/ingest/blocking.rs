//! Keeps long work from holding up the requests that share a thread with it.

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;

/// Work on more bytes than this takes about a millisecond or more.
const LONG: usize = 64 << 10;

/// Does work that grows with a number of bytes, or waits for a disk (`usize::MAX`). Where it is long, the thread's other tasks are first
/// handed to another one; a runtime of one thread has none, and they wait.
pub fn without_blocking_others<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    let long = bytes > LONG
        && Handle::try_current()
            .is_ok_and(|handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread);
    if long { block_in_place(work) } else { work() }
}
