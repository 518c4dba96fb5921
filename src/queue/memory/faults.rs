//! What goes wrong with the calls of the engine in memory.

use std::fmt;

/// What happens instead of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreFault {
    /// Every commit fails, until the fault is taken back; nothing is stored.
    Unavailable,
    /// The same, but only of commits that note a request.
    NoAttempts,
    /// The same, but only of commits that note an answer.
    NoAnswers,
    /// The next commit is stored, but reports an unknown outcome.
    UnknownAndStored,
    /// The next commit is lost, and reports an unknown outcome.
    UnknownAndLost,
    /// The call finds that what is stored makes no sense.
    Damaged,
}

/// What the engine is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineCall {
    /// To open.
    Open,
    /// To read batches.
    Read,
    /// To commit a transaction.
    Commit,
}

/// Decides on each call.
#[derive(Default)]
pub(super) struct FaultSource(pub(super) Option<DecideFault>);

pub(super) type DecideFault = Box<dyn FnMut(EngineCall) -> Option<StoreFault> + Send>;

impl fmt::Debug for FaultSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultSource({})", self.0.is_some())
    }
}
