//! Dates of birth: `YYYYMMDD`, of a day that exists, from 1900 to today.

use time::{Date, Month, OffsetDateTime};

use crate::clock::UnixMillis;
use crate::dropped::DropReason;
use crate::normalize::text::digit;

/// The order of day and month in a numeric date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DateOrder {
    /// `mdy`.
    #[default]
    MonthFirst,
    /// `dmy`.
    DayFirst,
}

/// Normalises a date in any form that holds day, month and a year of four digits.
///
/// What follows the date, such as a time, is ignored. A year of two digits is not guessed at.
pub(super) fn normalize<'a>(
    text: &str,
    order: DateOrder,
    now: UnixMillis,
    buffer: &'a mut String,
) -> Result<&'a str, DropReason> {
    let date = read(text, order).ok_or(DropReason::NotADate)?;
    let today =
        OffsetDateTime::from_unix_timestamp(now.seconds()).map_or(Date::MAX, OffsetDateTime::date);
    if date.year() < 1900 || date > today {
        return Err(DropReason::DateOutOfRange);
    }
    buffer.clear();
    buffer.push_str(itoa::Buffer::new().format(eight_digits(date)));
    Ok(buffer)
}

fn eight_digits(date: Date) -> i32 {
    let (month, day) = (u8::from(date.month()), date.day());
    date.year() * 10_000 + i32::from(month) * 100 + i32::from(day)
}

fn read(text: &str, order: DateOrder) -> Option<Date> {
    let mut numbers = text
        .split(|character| digit(character).is_none())
        .filter(|digits| !digits.is_empty())
        .map(DateNumber::of);
    let first = numbers.next()?;
    if first.digits == 8 {
        let value = first.value;
        let (high, middle, low) = (value / 10_000, value / 100 % 100, value % 100);
        return date(high, middle, low)
            .or_else(|| in_order(high / 100, high % 100, value % 10_000, order));
    }
    let (first, second) = (first.value, numbers.next()?.value);
    match month_word(text) {
        Some(month) if first <= 31 && second > 31 => date(second, month, first),
        Some(month) if first > 31 => date(first, month, second),
        _ => in_order(first, second, numbers.next()?.value, order),
    }
}

/// Reads three numbers: the year is the one that can be no day, and a number beyond 12 is no month.
fn in_order(first: u32, second: u32, third: u32, order: DateOrder) -> Option<Date> {
    let (year, month, day) = if first > 31 {
        (first, second, third)
    } else if second > 31 {
        (second, third, first)
    } else {
        match order {
            DateOrder::MonthFirst => (third, first, second),
            DateOrder::DayFirst => (third, second, first),
        }
    };
    if month > 12 {
        date(year, day, month)
    } else {
        date(year, month, day)
    }
}

fn date(year: u32, month: u32, day: u32) -> Option<Date> {
    if year < 1000 {
        return None;
    }
    let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
    Date::from_calendar_date(i32::try_from(year).ok()?, month, u8::try_from(day).ok()?).ok()
}

/// The first English month name, whole or in its usual short form.
fn month_word(text: &str) -> Option<u32> {
    const MONTHS: [&str; 12] = [
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
    ];
    if !text.bytes().any(|byte| byte.is_ascii_alphabetic()) {
        return None;
    }
    text.split(|character: char| !character.is_ascii_alphabetic())
        .filter(|word| word.len() >= 3)
        .find_map(|word| {
            let is_month = |name: &&str| {
                name.eq_ignore_ascii_case(word)
                    || name
                        .get(..3)
                        .is_some_and(|short| short.eq_ignore_ascii_case(word))
                    || (word.eq_ignore_ascii_case("sept") && name.starts_with("sept"))
            };
            (1..)
                .zip(MONTHS)
                .find_map(|(number, name)| is_month(&name).then_some(number))
        })
}

struct DateNumber {
    value: u32,
    digits: usize,
}

impl DateNumber {
    /// Reads digits of any script.
    fn of(text: &str) -> Self {
        let digits = text.chars().filter_map(digit);
        Self {
            value: digits.fold(0_u32, |value, digit| {
                value.saturating_mul(10).saturating_add(digit.into())
            }),
            digits: text.chars().count(),
        }
    }
}
