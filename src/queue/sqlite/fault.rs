//! Tells damage from what only keeps the file from being read or written now.

use std::sync::Arc;

use rusqlite::{ErrorCode, ffi};

use crate::queue::OpenError;
use crate::queue::engine::EngineError;

impl From<rusqlite::Error> for EngineError {
    fn from(error: rusqlite::Error) -> Self {
        if is_damage(&error) {
            Self::Damaged(Arc::new(error))
        } else {
            Self::Unavailable(Arc::new(error))
        }
    }
}

impl From<rusqlite::Error> for OpenError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Engine(error.into())
    }
}

/// Whether an error means that the file is damaged or cut off, rather than that it cannot be read now.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    match error {
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::Utf8Error(..) => true,
        rusqlite::Error::SqliteFailure(failure, message) => {
            matches!(
                failure.code,
                ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase
            ) || matches!(
                failure.extended_code,
                ffi::SQLITE_IOERR_SHORT_READ
                    // No statement of ours adds what is there, unless an index names what is not.
                    | ffi::SQLITE_CONSTRAINT_PRIMARYKEY
                    | ffi::SQLITE_CONSTRAINT_ROWID
                    | ffi::SQLITE_CONSTRAINT_UNIQUE
            ) || message.as_deref().is_some_and(is_of_description)
        }
        rusqlite::Error::SqlInputError { error, msg, .. } => {
            matches!(
                error.code,
                ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase
            ) || is_of_description(msg)
        }
        _ => false,
    }
}

/// Whether an error's message says that the tables are not as described: our statements fit our tables.
fn is_of_description(message: &str) -> bool {
    [
        "malformed database schema",
        "no such table",
        "no such column",
        "no such index",
        "has no column named",
        "duplicate column name",
        "already exists",
        "unsupported file format",
        "ON CONFLICT clause does not match",
    ]
    .iter()
    .any(|part| message.contains(part))
}
