//! Keeps long work from holding up the requests that share a thread with it.

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;

/// Work on more bytes takes about two milliseconds or more. To hand over the thread's other tasks costs a
/// tenth of that, and another thread for each request that does so at the same time.
const LONG: usize = 256 << 10;

/// What makes work long.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// The number of bytes.
    On(usize),
    /// A disk that it waits for.
    WithDisk,
}

/// Does work. If it is long, another thread first takes over the tasks of this one; in a runtime of one
/// thread they wait.
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
