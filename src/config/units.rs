//! Reads and writes sizes and durations as people write them.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::Quota;

/// A positive number of things per second; fractions are allowed.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Rate(f64);

impl Rate {
    /// Takes a finite, positive number; `None` for any other.
    pub fn new(per_second: f64) -> Option<Self> {
        (per_second.is_finite() && per_second >= 0.001).then_some(Self(per_second))
    }

    /// Things per second.
    pub const fn per_second(self) -> f64 {
        self.0
    }

    /// Things in this many seconds: at least one, and at most what fits.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the cast saturates, and a rate is positive"
    )]
    pub fn within(self, seconds: f64) -> NonZeroU32 {
        NonZeroU32::new((self.0 * seconds) as u32).unwrap_or(NonZeroU32::MIN)
    }

    /// This rate for a limiter, with a burst after a pause; `None` if it is too high to limit anything.
    pub fn quota(self, burst: NonZeroU32) -> Option<Quota> {
        let period = Duration::from_secs_f64(self.0.recip());
        Some(Quota::with_period(period)?.allow_burst(burst))
    }
}

/// Units of size, the four that sizes are written in first. A name comes before those that it ends
/// with.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// Parses `2MiB`, `500 kB` or `1024`.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    for (unit, bytes) in UNITS {
        if let Some(number) = text.strip_suffix(&unit.to_ascii_lowercase()) {
            return digits(number.trim_end())?.checked_mul(bytes);
        }
    }
    digits(&text)
}

/// Formats a number of bytes with the largest unit that divides it.
pub(super) fn format_size(bytes: u64) -> String {
    let divides = |(_, unit): &(&str, u64)| bytes >= *unit && bytes.is_multiple_of(*unit);
    let (name, unit) = UNITS.into_iter().take(4).find(divides).unwrap_or(("B", 1));
    format!("{}{name}", bytes / unit)
}

/// Formats a duration in its largest whole unit.
pub(super) fn format_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if duration.subsec_nanos() != 0 || seconds == 0 {
        return humantime::format_duration(duration).to_string();
    }
    let units = [(86_400, 'd'), (3600, 'h'), (60, 'm')];
    let largest = units
        .into_iter()
        .find(|(unit, _)| seconds.is_multiple_of(*unit));
    let (unit, name) = largest.unwrap_or((1, 's'));
    format!("{}{name}", seconds / unit)
}

/// Parses digits, which may be grouped with underscores as in TOML.
pub(super) fn digits(text: &str) -> Option<u64> {
    let plain = text.replace('_', "");
    let all_digits = plain.bytes().all(|byte| byte.is_ascii_digit());
    plain.parse().ok().filter(|_| all_digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_or_without_a_unit() {
        for (text, expected) in [
            ("0", Some(0)),
            ("1_024", Some(1024)),
            ("7B", Some(7)),
            ("64KiB", Some(65_536)),
            ("2 MiB", Some(2 << 20)),
            ("10gib", Some(10 << 30)),
            ("1TiB", Some(1 << 40)),
            ("5kB", Some(5_000)),
            ("5MB", Some(5_000_000)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("16777216TiB", None),
            ("1.5GiB", None),
            ("-1", None),
            ("+1", None),
            ("MiB", None),
            ("", None),
            ("2 megs", None),
            ("1GiB 1MiB", None),
        ] {
            assert_eq!(parse_size(text), expected, "{text}");
        }
    }

    #[test]
    fn durations_are_read_in_these_forms_and_no_others() {
        const DAY: u64 = 86_400;
        for (text, seconds) in [
            ("30s", 30),
            ("30 sec", 30),
            (" 30secs ", 30),
            ("1second", 1),
            ("30 seconds", 30),
            ("1 000s", 1000),
            ("1m", 60),
            ("5min", 300),
            ("2mins", 120),
            ("1minute", 60),
            ("2minutes", 120),
            ("1h", 3600),
            ("1hr", 3600),
            ("2hrs", 7200),
            ("1hour", 3600),
            ("2hours", 7200),
            ("1.5h", 5400),
            ("2h 5min", 7500),
            ("2h5m", 7500),
            ("5min 2h", 7500),
            ("30s 30s", 60),
            ("1d", DAY),
            ("1day", DAY),
            ("30days", 30 * DAY),
            ("1w", 7 * DAY),
            ("1wk", 7 * DAY),
            ("2wks", 14 * DAY),
            ("1week", 7 * DAY),
            ("2weeks", 14 * DAY),
            ("1M", 2_630_016),
            ("1month", 2_630_016),
            ("2months", 5_260_032),
            ("1y", 31_557_600),
            ("1yr", 31_557_600),
            ("2yrs", 63_115_200),
            ("1year", 31_557_600),
            ("2years", 63_115_200),
            ("0", 0),
            ("0s", 0),
        ] {
            let expected = Ok(Duration::from_secs(seconds));
            assert_eq!(humantime::parse_duration(text), expected, "{text:?}");
        }
        for (text, nanos) in [
            ("1500ms", 1_500_000_000),
            ("1msec", 1_000_000),
            ("1millis", 1_000_000),
            ("1us", 1_000),
            ("1µs", 1_000),
            ("1usec", 1_000),
            ("1ns", 1),
            ("1nsec", 1),
            ("1nanos", 1),
            ("1.5s", 1_500_000_000),
        ] {
            let expected = Ok(Duration::from_nanos(nanos));
            assert_eq!(humantime::parse_duration(text), expected, "{text:?}");
        }
        for text in [
            "",
            " ",
            "s",
            "5",
            "1h 30",
            "5x",
            "30S",
            "1H",
            "1Min",
            "1_000s",
            "1,5s",
            "1h, 30m",
            "1e3s",
            "-5s",
            "+5s",
            "5s ago",
            "PT5S",
            "P1D",
            "1:30",
            "01:30:00",
            "0.5ns",
            "٣s",
            "18446744073709551616s",
        ] {
            assert!(humantime::parse_duration(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_is_written_is_read_as_the_same() {
        for bytes in [
            0,
            1,
            1023,
            1024,
            1500,
            2 << 20,
            10 << 30,
            (1 << 30) + 1,
            3 << 40,
        ] {
            assert_eq!(parse_size(&format_size(bytes)), Some(bytes));
        }
        for millis in [
            0,
            1,
            999,
            1000,
            1500,
            60_000,
            61_000,
            3_600_000,
            172_800_000,
        ] {
            let duration = Duration::from_millis(millis);
            let written = format_duration(duration);
            assert_eq!(
                humantime::parse_duration(&written).unwrap(),
                duration,
                "{written}"
            );
        }
        assert_eq!(format_duration(Duration::from_secs(30 * 86_400)), "30d");
        assert_eq!(format_duration(Duration::from_secs(90)), "90s");
    }
}
