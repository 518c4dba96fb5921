//! States and provinces: the two-letter code in the USA and Canada, the plain name elsewhere.

use crate::normalize::Normalized;
use crate::normalize::country::look_up;
use crate::normalize::states::{CANADA, UNITED_STATES};
use crate::normalize::text::{TableKey, as_joined_and_as_written, is_dash, is_letter, lower_kept};

/// Normalises a state. The tables of the USA and Canada are used where the event's country is one of them
/// or is unknown. A state of another country keeps its whole name.
pub(super) fn normalize<'a>(
    text: &'a str,
    country: Option<&str>,
    buffers: [&'a mut String; 2],
) -> Normalized<'a> {
    let tables: &[(&str, StateTable)] = match country {
        None => &[("us", UNITED_STATES), ("ca", CANADA)],
        Some("us") => &[("us", UNITED_STATES)],
        Some("ca") => &[("ca", CANADA)],
        Some(country) => return whole(without_country(text, country), buffers),
    };
    let text = without_named_country(text);
    let key = TableKey::of(text);
    let key = key.as_str();
    if key.len() > 2
        && let Some(code) = tables
            .iter()
            .find_map(|(country, table)| code(country, table, key))
    {
        return Normalized::to_hash(code);
    }
    whole(text, buffers)
}

/// A name that has no code.
fn whole<'a>(text: &'a str, [first, second]: [&'a mut String; 2]) -> Normalized<'a> {
    as_joined_and_as_written(lower_kept(text, is_letter, first), text, second)
}

/// The names of the USA and Canada that may follow a state. `CA` is not one: it may mean California.
const COUNTRIES: [&str; 5] = [
    "us",
    "usa",
    "unitedstates",
    "unitedstatesofamerica",
    "canada",
];

type StateTable = &'static [(&'static str, &'static str)];

fn code(country: &str, table: StateTable, key: &str) -> Option<&'static str> {
    look_up(table, key)
        // `US-CA`, `CA-ON`: the codes of ISO 3166-2.
        .or_else(|| {
            let code = key.strip_prefix(country)?;
            table.iter().find(|row| row.1 == code).map(|row| row.1)
        })
        // `State of Georgia`, `Washington State`.
        .or_else(|| {
            let name = ["stateof", "commonwealthof", "provinceof"]
                .iter()
                .find_map(|form| key.strip_prefix(form))
                .or_else(|| {
                    ["state", "province"]
                        .iter()
                        .find_map(|form| key.strip_suffix(form))
                })?;
            look_up(table, name)
        })
}

/// Cuts the country off a state that it is written behind, as in `Texas, USA`.
fn without_named_country(text: &str) -> &str {
    match text.rsplit_once(',') {
        Some((state, country)) if COUNTRIES.contains(&TableKey::of(country).as_str()) => state,
        _ => text,
    }
}

/// Cuts the country off a code of ISO 3166-2, such as `AU-NSW`.
fn without_country<'a>(text: &'a str, country: &str) -> &'a str {
    match text.split_once(|character| character == '-' || is_dash(character)) {
        Some((prefix, state)) if prefix.eq_ignore_ascii_case(country) => state,
        _ => text,
    }
}
