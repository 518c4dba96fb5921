//! Countries: from a code or an English name to the ISO 3166-1 alpha-2 code in lower case.

use crate::dropped::DropReason;
use crate::normalize::countries::{COUNTRIES, NAMES};
use crate::normalize::text::{TableKey, trimmed};

/// Normalises a country. `named` is a text whose code is known.
pub(super) fn normalize(
    text: &str,
    named: Option<(&str, &'static str)>,
) -> Result<&'static str, DropReason> {
    let known = named.filter(|(named, _)| trimmed(named) == text);
    let code = known.map_or_else(|| code(text), |(_, code)| Some(code));
    code.ok_or(DropReason::UnknownCountry)
}

/// The alpha-2 code of a country written as alpha-2, alpha-3 or English name. Nothing is guessed.
pub fn code(text: &str) -> Option<&'static str> {
    of_written(text).or_else(|| {
        // As in `United States (US)`.
        let (name, _) = text.split_once('(')?;
        of_written(name)
    })
}

/// The code of a text that is written as one or as a name.
fn of_written(text: &str) -> Option<&'static str> {
    let key = TableKey::of(text);
    // `NA` is Namibia; with signs in it, as in `N/A`, it means that there is no country.
    if key.as_str() == "na" && trimmed(text).len() != 2 {
        return None;
    }
    of_key(key.as_str())
}

/// The calling code of a country given as its lower-case alpha-2 code.
pub fn calling_code(country: &str) -> Option<&'static str> {
    row(country).map(|(_, calling_code)| *calling_code)
}

fn of_key(key: &str) -> Option<&'static str> {
    if key.len() == 2 {
        // `uk` is reserved for the United Kingdom, but is not its code.
        let code = if key == "uk" { "gb" } else { key };
        return row(code).map(|(code, _)| *code);
    }
    look_up(NAMES, key)
}

fn row(code: &str) -> Option<&'static (&'static str, &'static str)> {
    let found = COUNTRIES
        .binary_search_by_key(&code, |country| country.0)
        .ok()?;
    COUNTRIES.get(found)
}

/// Finds a name in a table that is in order.
pub(super) fn look_up(table: &[(&str, &'static str)], name: &str) -> Option<&'static str> {
    // Most rows differ in the first letter.
    let first = |name: &str| name.as_bytes().first().copied();
    let compare = |row: &(&str, _)| first(row.0).cmp(&first(name)).then_with(|| row.0.cmp(name));
    let found = table.binary_search_by(compare).ok()?;
    table.get(found).map(|row| row.1)
}
