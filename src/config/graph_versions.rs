//! The versions of the Graph API, and until when each is served (Meta: Graph API Changelog, Versions).

use std::time::Duration;

use crate::clock::UnixMillis;
use crate::config::ConfigError;

/// How long before its end a version is warned of.
const NOTICE: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// The oldest version that Meta serves.
const OLDEST: u32 = 19;

/// Each version, and the day on which Meta stops serving it, if Meta has named one.
const VERSIONS: [(u32, Option<&str>); 9] = [
    (OLDEST, Some("2026-05-21")),
    (20, Some("2026-09-24")),
    (21, Some("2027-01-21")),
    (22, Some("2027-05-20")),
    (23, Some("2027-10-08")),
    (24, Some("2028-02-18")),
    (25, Some("2028-07-29")),
    (26, None),
    (27, None),
];

/// Warns of a version that is not known, is no longer served, or soon will not be.
pub fn warning(version: &str, now: UnixMillis) -> Option<ConfigError> {
    let number = version.strip_prefix('v')?.strip_suffix(".0");
    let number = number.and_then(|number| number.parse::<u32>().ok());
    let known = VERSIONS.iter().find(|(known, _)| Some(*known) == number);
    let message = match known {
        None if number.is_some_and(|number| number < OLDEST) => {
            format!("Meta no longer serves {version}")
        }
        None => format!(
            "{version} is not among the versions that are known here: does it exist? Meta refuses \
             requests to one that does not"
        ),
        Some((_, None)) => return None,
        Some((_, Some(day))) => {
            let end = UnixMillis::parse(&format!("{day}T00:00:00Z"))?;
            if end <= now {
                format!("Meta has not served {version} since {day}")
            } else if end.since(now) <= NOTICE {
                format!("Meta serves {version} until {day}")
            } else {
                return None;
            }
        }
    };
    let latest = VERSIONS.last().map_or(OLDEST, |(latest, _)| *latest);
    let message = format!("{message}; the latest is v{latest}.0");
    Some(ConfigError::new("meta.api_version", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::config::delivery::MetaConfig;
    use crate::config::schema::{Key, KeyDefault, Table};

    #[test]
    fn a_version_is_known_served_and_not_about_to_end() {
        let warned = |version: &str, day: &str| {
            let now = UnixMillis::parse(&format!("{day}T00:00:00Z")).unwrap();
            warning(version, now).map_or_else(String::new, |warning| warning.message)
        };
        for (version, day, expected) in [
            ("v26.0", "2026-11-30", ""),
            ("v27.0", "2026-11-30", ""),
            ("v22.0", "2026-11-30", ""),
            ("v21.0", "2026-10-22", ""),
            ("v21.0", "2026-10-23", "serves v21.0 until 2027-01-21"),
            ("v21.0", "2027-01-20", "serves v21.0 until 2027-01-21"),
            (
                "v21.0",
                "2027-01-21",
                "has not served v21.0 since 2027-01-21",
            ),
            ("v20.0", "2026-11-30", "has not served v20.0 since"),
            ("v3.2", "2026-11-30", "v3.2 is not among"),
            ("v16.0", "2026-11-30", "no longer serves v16.0"),
            ("v62.0", "2026-11-30", "v62.0 is not among"),
            ("v26.1", "2026-11-30", "v26.1 is not among"),
            ("v99999999999.0", "2026-11-30", "is not among"),
        ] {
            let found = warned(version, day);
            assert!(found.contains(expected), "{version} {day}: {found}");
            assert_eq!(
                found.is_empty(),
                expected.is_empty(),
                "{version} {day}: {found}"
            );
        }
    }

    #[test]
    fn the_default_is_known() {
        let version = |key: &&Key| key.name == "api_version";
        let keys = MetaConfig::section().keys;
        let default = keys.iter().find(version).unwrap().default;
        let known = |(version, _): &(u32, _)| matches!(default, KeyDefault::Value(text) if text == format!("\"v{version}.0\""));
        assert!(VERSIONS.iter().any(known));
    }
}
