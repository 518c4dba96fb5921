//! Why a command failed.

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::queue::{PushError, StoreError};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// For programs.
    pub code: ProblemCode,
    /// For people.
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemCode {
    /// The request cannot be understood.
    BadRequest,
    /// The daemon does not know the request; one of another version may.
    OtherVersion,
    UnknownSync,
    /// The sync takes events, and force was not used.
    SyncInUse,
    /// A sync's part of the queue is used up.
    Full,
    /// The disk is nearly full.
    DiskLow,
    /// The store cannot be read or written.
    Storage,
    /// The daemon is still opening the store.
    Starting,
    /// The daemon has other work, and did not begin with the command.
    Busy,
    /// The command got no further.
    Stuck,
    /// A fault of the program ended the command.
    Internal,
    /// The daemon is stopping.
    Closed,
}

impl Problem {
    pub fn new(code: ProblemCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

impl ProblemCode {
    pub(super) const fn status(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::OtherVersion | Self::UnknownSync => StatusCode::NOT_FOUND,
            Self::SyncInUse => StatusCode::CONFLICT,
            Self::Full | Self::DiskLow => StatusCode::INSUFFICIENT_STORAGE,
            Self::Storage | Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Starting | Self::Busy | Self::Closed | Self::Stuck => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Storage(cause) => {
                Self::new(ProblemCode::Storage, format!("{error}: {cause}"))
            }
            StoreError::Closed => Self::new(ProblemCode::Closed, "the store is being closed"),
        }
    }
}

impl From<PushError> for Problem {
    fn from(error: PushError) -> Self {
        match error {
            PushError::Full { .. } => Self::new(ProblemCode::Full, error.to_string()),
            PushError::DiskLow => Self::new(ProblemCode::DiskLow, error.to_string()),
            PushError::Store(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use super::*;
    use crate::queue::engine::EngineError;

    #[test]
    fn a_store_that_fails_is_not_said_to_fail_at_writing_alone() {
        let error = || {
            let cause = io::Error::other("disk I/O error");
            StoreError::Storage(EngineError::Unavailable(Arc::new(cause)))
        };
        // A trace, for example, only reads.
        for problem in [Problem::from(error()), PushError::from(error()).into()] {
            assert_eq!(problem.code, ProblemCode::Storage);
            assert_eq!(
                problem.message,
                "the store cannot be read or written: disk I/O error"
            );
        }
    }
}
