//! Keeps long work from holding up the requests that share a thread with it.

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;

/// Work on more bytes than this takes about two milliseconds or more. Handing the thread's other tasks over
/// costs a tenth of that, and a thread with memory of its own for every request that does so at once.
const LONG: usize = 256 << 10;

/// Work, by what makes it long.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// It grows with this many bytes.
    On(usize),
    /// It may wait for a disk.
    WithDisk,
}

/// Does work. Where it is long, the thread's other tasks are first handed to another one; a runtime
/// of one thread has none, and they wait.
pub fn block_in_place_if_long<T>(work: Work, perform: impl FnOnce() -> T) -> T {
    let is_long = match work {
        Work::On(bytes) => bytes > LONG,
        Work::WithDisk => true,
    };
    let can_hand_over = || {
        Handle::try_current()
            .is_ok_and(|handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread)
    };
    if is_long && can_hand_over() {
        block_in_place(perform)
    } else {
        perform()
    }
}
