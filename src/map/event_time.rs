//! Reads the time of an event, in every form that Amplitude and its templates produce.
//!
//! `2026-11-20 18:04:09.412000`, with a space or a `T`, none to nine digits of fraction behind a point or
//! a comma, an optional `Z`, `UTC`, `GMT` or offset (none means UTC); `Fri, 20 Nov 2026 18:04:09 GMT`, as
//! HTTP and mail write it; or the time since the epoch in seconds, milliseconds, microseconds or
//! nanoseconds, as a number or a text. What is not a real date and time is refused.

use time::{Date, Month};

use crate::clock::UnixMillis;
use crate::event::Event;
use crate::json::Json;

/// From this number on, a time since the epoch is in milliseconds: as seconds it would be in the
/// year 5138, as milliseconds it is in 1973.
const FIRST_MILLIS: f64 = 1e11;

/// The last time that is accepted: the end of the year 9999. A larger number is in microseconds, and one
/// that is too large for those in nanoseconds.
const LAST_MILLIS: f64 = 253_402_300_799_999.0;

/// Amplitude's names for the time of an event, the best first. The last is the time by the device's clock.
pub const NAMES: [&str; 3] = ["event_time", "time", "client_event_time"];

/// The time of an event, by the first of the names under which one can be read.
pub fn of(event: &Event<'_>) -> Option<UnixMillis> {
    NAMES
        .into_iter()
        .find_map(|field| parse(event.field(field)?))
}

/// Reads a time; `None` where the value is none.
pub fn parse(value: Json<'_>) -> Option<UnixMillis> {
    if value.is_number() {
        return since_epoch(value.raw());
    }
    parse_text(&value.as_str()?)
}

pub(super) fn parse_text(text: &str) -> Option<UnixMillis> {
    let text = text.trim();
    since_epoch(text)
        .or_else(|| date_and_time(text))
        .or_else(|| named_date_and_time(text))
}

/// Reads the time at which a device sends, by its own clock. A clock that was never set began to count at
/// 1970, and a small number is its milliseconds: as seconds it would be before 2001.
pub fn of_upload(text: &str) -> Option<UnixMillis> {
    let millis = millis_of(text.trim()).filter(|millis| millis.0 < 1_000_000_000);
    millis.or_else(|| parse_text(text))
}

/// Whether a time is so early that its milliseconds would be read as seconds.
pub fn is_near_1970(time: UnixMillis) -> bool {
    time.seconds() < 100_000_000
}

/// Reads a number as milliseconds since 1970, however small.
pub fn millis(value: Json<'_>) -> Option<UnixMillis> {
    value.is_number().then(|| millis_of(value.raw())).flatten()
}

fn millis_of(number: &str) -> Option<UnixMillis> {
    in_range(number.parse().ok()?)
}

/// Whether a text is a number with thousands separators, as a template prints it for some locales.
pub(super) fn is_grouped(value: Json<'_>) -> bool {
    let Some(text) = value.as_str() else {
        return false;
    };
    let mut groups = text
        .trim()
        .split([',', '.', '\'', ' ', '\u{a0}', '\u{202f}', '\u{2019}']);
    let is_number = |group: &str| group.bytes().all(|byte| byte.is_ascii_digit());
    let first = groups.next().unwrap_or_default();
    let others: Vec<&str> = groups.collect();
    let is_thousand = |group: &&str| group.len() == 3 && is_number(group);
    let begins_well = (1..=3).contains(&first.len()) && is_number(first);
    begins_well && others.len() >= 2 && others.iter().all(is_thousand)
}

fn since_epoch(text: &str) -> Option<UnixMillis> {
    if !text.starts_with(|c: char| c.is_ascii_digit()) || text.contains(':') {
        return None;
    }
    let number: f64 = text.parse().ok()?;
    in_range(if number < FIRST_MILLIS {
        number * 1000.0
    } else if number <= LAST_MILLIS {
        number
    } else if number <= LAST_MILLIS * 1e3 {
        number / 1e3
    } else {
        number / 1e6
    })
}

fn in_range(millis: f64) -> Option<UnixMillis> {
    if !(1.0..=LAST_MILLIS).contains(&millis) {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "within the range checked above, the fraction of a millisecond is cut off"
    )]
    Some(UnixMillis(millis.round() as i64))
}

fn date_and_time(text: &str) -> Option<UnixMillis> {
    let mut rest = text.as_bytes();
    let year = digits(&mut rest, 4)?;
    take(&mut rest, b"-")?;
    let month = digits(&mut rest, 2)?;
    take(&mut rest, b"-")?;
    let day = digits(&mut rest, 2)?;
    take(&mut rest, b" Tt")?;
    with_time_of_day([year, month, day], rest)
}

/// Reads `Fri, 20 Nov 2026 18:04:09 GMT`, whatever the day of the week.
fn named_date_and_time(text: &str) -> Option<UnixMillis> {
    const MONTHS: [&str; 12] = [
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ];
    let date = match text.split_once(',') {
        Some((weekday, date)) if weekday.bytes().all(|b| b.is_ascii_alphabetic()) => date,
        Some(_) => return None,
        None => text,
    };
    let (day, rest) = date.trim_start().split_once([' ', '-'])?;
    let (month, rest) = rest.split_once([' ', '-'])?;
    let (year, time) = rest.split_once(' ')?;
    let number = |text: &str, most: usize| {
        let is_number = text.len() <= most && text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<u16>().ok().filter(|_| is_number)
    };
    let is_month = |name: &&str| name.eq_ignore_ascii_case(month);
    let (place, _) = (1..).zip(&MONTHS).find(|(_, name)| is_month(name))?;
    let year = number(year, 4)?;
    with_time_of_day([year, place, number(day, 2)?], time.as_bytes())
}

/// The time of a date and the time of day behind it.
fn with_time_of_day([year, month, day]: [u16; 3], mut rest: &[u8]) -> Option<UnixMillis> {
    let hour = digits(&mut rest, 2)?;
    take(&mut rest, b":")?;
    let minute = digits(&mut rest, 2)?;
    take(&mut rest, b":")?;
    let second = digits(&mut rest, 2)?;
    let millis = fraction(&mut rest)?;
    let offset = offset_minutes(rest)?;
    let [month, day, hour, minute, second] =
        [month, day, hour, minute, second].map(|number| u8::try_from(number).unwrap_or(u8::MAX));
    let month = Month::try_from(month).ok()?;
    let date = Date::from_calendar_date(year.into(), month, day).ok()?;
    let time = date.with_hms(hour, minute, second).ok()?.assume_utc();
    let seconds = time.unix_timestamp() - offset * 60;
    (year >= 1970).then_some(UnixMillis(seconds * 1000 + millis))
}

/// Takes this many digits as a number.
fn digits(rest: &mut &[u8], count: usize) -> Option<u16> {
    let (digits, after) = rest.split_at_checked(count)?;
    let mut number = 0;
    for byte in digits {
        if !byte.is_ascii_digit() {
            return None;
        }
        number = number * 10 + u16::from(byte - b'0');
    }
    *rest = after;
    Some(number)
}

/// Takes one of some bytes.
fn take(rest: &mut &[u8], allowed: &[u8]) -> Option<()> {
    let (first, after) = rest.split_first()?;
    *rest = after;
    allowed.contains(first).then_some(())
}

/// Takes a fraction of a second, if there is one, as milliseconds.
fn fraction(rest: &mut &[u8]) -> Option<i64> {
    let Some(after) = rest.strip_prefix(b".").or_else(|| rest.strip_prefix(b",")) else {
        return Some(0);
    };
    let is_digit = |byte: &&u8| byte.is_ascii_digit();
    let count = after.iter().take_while(is_digit).count();
    let (digits, after) = after.split_at_checked(count).filter(|_| count <= 9)?;
    *rest = after;
    let millis = digits.iter().chain(b"000").take(3);
    Some(millis.fold(0, |number, digit| number * 10 + i64::from(digit - b'0')))
}

/// Reads the rest as an offset from UTC: nothing, `Z`, `UTC`, `GMT`, `+02`, `+0200` or `+02:00`, with or
/// without a space before it.
fn offset_minutes(rest: &[u8]) -> Option<i64> {
    let rest = rest.strip_prefix(b" ").unwrap_or(rest);
    if rest.eq_ignore_ascii_case(b"UTC") || rest.eq_ignore_ascii_case(b"GMT") {
        return Some(0);
    }
    let (sign, mut rest) = match rest.split_first() {
        None | Some((b'Z' | b'z', [])) => return Some(0),
        Some((b'+', rest)) => (1, rest),
        Some((b'-', rest)) => (-1, rest),
        Some(_) => return None,
    };
    let hours = digits(&mut rest, 2)?;
    rest = rest.strip_prefix(b":").unwrap_or(rest);
    let minutes = match rest {
        [] => 0,
        _ => digits(&mut rest, 2)?,
    };
    (rest.is_empty() && hours < 24 && minutes < 60)
        .then_some(sign * i64::from(hours * 60 + minutes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<i64>) {
        let value = Json::of_valid_text(text);
        assert_eq!(parse(value).map(|times| times.0), expected, "{text}");
    }

    #[test]
    fn reads_every_documented_form() {
        let expected = Some(1_795_197_849_412);
        check("\"2026-11-20 18:04:09.412000\"", expected);
        check("\"2026-11-20T18:04:09.412\"", expected);
        check("\"2026-11-20T18:04:09.412Z\"", expected);
        check("\"2026-11-20T18:04:09.412999999z\"", expected);
        check("\" 2026-11-20T19:04:09.412+01:00 \"", expected);
        check("\"2026-11-20 10:04:09.412-0800\"", expected);
        check("\"2026-11-20 20:04:09.412+02\"", expected);
        check("\"2026-11-20 20:04:09.412 +0200\"", expected);
        check("\"2026-11-20 18:04:09.412 Z\"", expected);
        check("1795197849412", expected);
        check("\"1795197849412\"", expected);
        check("1795197849.412", expected);
        check("1.795197849412e12", expected);
        check("\"2026-11-20 18:04:09\"", Some(1_795_197_849_000));
        check("\"2026-11-20 18:04:09.4\"", Some(1_795_197_849_400));
        check("1795197849", Some(1_795_197_849_000));
        check("\"1795197849\"", Some(1_795_197_849_000));
        check("1795197849412000", expected);
        check("\"1795197849412345\"", expected);
        check("1795197849412345678", expected);
        check("253402300799999", Some(253_402_300_799_999));
        check("253402300800000", Some(253_402_300_800));
    }

    #[test]
    fn reads_what_other_programs_write() {
        let expected = Some(1_795_197_849_412);
        // BigQuery, Python's logging, dates with a comma of their language.
        check("\"2026-11-20 18:04:09.412000 UTC\"", expected);
        check("\"2026-11-20T18:04:09.412GMT\"", expected);
        check("\"2026-11-20T18:04:09,412Z\"", expected);
        check("\"2026-11-20 18:04:09,412000\"", expected);
        check("1795197849412000", expected);
        check("\"1795197849412999\"", Some(1_795_197_849_413));
        check("1795197849412000123", expected);
        let whole = Some(1_795_197_849_000);
        check("\"Fri, 20 Nov 2026 18:04:09 GMT\"", whole);
        check("\"Fri, 20 Nov 2026 19:04:09 +0100\"", whole);
        check("\"20 Nov 2026 18:04:09 UTC\"", whole);
        check("\"Fri, 20-NOV-2026 18:04:09 GMT\"", whole);
        check("\"Sun, 1 Nov 2026 18:04:09 GMT\"", Some(1_793_556_249_000));
    }

    #[test]
    fn knows_a_number_that_a_template_grouped() {
        for (text, expected) in [
            ("\"1,795,197,849,412\"", true),
            ("\"1.795.197.849\"", true),
            ("\" 1\u{202f}795\u{a0}197 849 \"", true),
            ("\"1’795’197’849’412\"", true),
            ("\"1795197849.412\"", false),
            ("\"1,795\"", false),
            ("\"1,,795,197\"", false),
            ("\",795,197\"", false),
            ("\"yesterday\"", false),
            ("1795197849412", false),
        ] {
            assert_eq!(is_grouped(Json::of_valid_text(text)), expected, "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_moment() {
        for text in [
            "\"\"",
            "\"yesterday\"",
            "\"2026-11-20\"",
            "\"2026-02-29 00:00:00\"",
            "\"2026-13-01 00:00:00\"",
            "\"2026-00-01 00:00:00\"",
            "\"2026-11-31 00:00:00\"",
            "\"2026-11-20 24:00:00\"",
            "\"2026-11-20 18:04:60\"",
            "\"2026-11-20 18:04:09.1234567890\"",
            "\"2026-11-20 18:04:09 PST\"",
            "\"Fri, 31 Nov 2026 18:04:09 GMT\"",
            "\"Fri, 20 Noe 2026 18:04:09 GMT\"",
            "\"Fri, 20 Nov 26 18:04:09 GMT\"",
            "\"Fri, 20 Nov 2026\"",
            "\"18, 20 Nov 2026 18:04:09\"",
            "\"2026-11-20 18:04:09+25:00\"",
            "\"2026-11-20 18:04:09  +02:00\"",
            "\"1,795,197,849,412\"",
            "\"１７９５１９７８４９\"",
            "0",
            "-1",
            "1e300",
            "1e21",
            "true",
            "{}",
            "[1795197849]",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn agrees_with_the_calendar_over_four_centuries() {
        let mut day = Date::from_calendar_date(1970, Month::January, 1).unwrap();
        let mut expected = 0;
        while day.year() < 2401 {
            check(&format!("\"{day} 00:00:00.001\""), Some(expected + 1));
            day = day.next_day().unwrap();
            expected += 86_400_000;
        }
        for (day, expected) in [
            ("2000-02-29", Some(951_782_400_000)),
            ("2100-02-29", None),
            ("2400-02-29", Some(13_574_563_200_000)),
            ("9999-12-31", Some(253_402_214_400_000)),
            ("1969-12-31", None),
        ] {
            check(&format!("\"{day} 00:00:00\""), expected);
        }
    }
}
