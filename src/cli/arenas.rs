//! Keeps the memory that glibc holds on to in bounds.
//!
//! What a thread frees stays with its arena, for the next who asks there. By default there are up to eight arenas for
//! each processor, and in each as much stays as the largest bodies took: on two processors 80 of 100 MB, some minutes
//! after large requests came, on any thread. With fewer arenas than threads, threads share what stays.
//!
//! glibc reads the number once, when a program begins, from the environment (mallopt(3)). So the daemon begins anew,
//! in the same process, before it has done anything else.

use std::env;
use std::num::NonZero;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::thread;

/// Its value is the operator's, if there is one.
const NUMBER: &str = "MALLOC_ARENA_MAX";

/// Has the program begin anew with few arenas. Where that is not possible it goes on as it is.
#[expect(
    clippy::disallowed_methods,
    reason = "the variable is glibc's, and no part of the configuration"
)]
pub(super) fn keep_few() {
    if !cfg!(target_env = "gnu") || env::var_os(NUMBER).is_some() {
        return;
    }
    let Ok(program) = env::current_exe() else {
        return;
    };
    let mut arguments = env::args_os();
    let mut again = Command::new(program);
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    // One for each processor is busy at a time, and one for whoever waits for a disk meanwhile.
    let arenas = thread::available_parallelism().map_or(1, NonZero::get) + 1;
    // It returns only where it has failed.
    drop(again.args(arguments).env(NUMBER, arenas.to_string()).exec());
}
