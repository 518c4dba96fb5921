//! Writes one value in the type that Meta's field takes, or says why it cannot be used.

use crate::dropped::DropReason;
use crate::event::decimal::{is_in_range, whole_digits};
use crate::event::money::{is_currency, is_subunit};
use crate::event::number;
use crate::json::{Json, write};
use crate::map::copy::copy_value;
use crate::map::event_time;
use crate::map::personal::{self, Name};

use super::number as plain;
use super::standard::{FieldKind, TEXTS_THAT_ARE_IDS, kind_of};

/// Whether personal data in clear text is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guard {
    /// It is withheld.
    Personal,
    /// The table names the value explicitly: addresses alone are withheld from it, and all personal data from
    /// those of its members that the table does not name.
    Named,
    /// Addresses alone are withheld: the field takes ids, which may look like any number.
    Addresses,
    /// The operator allows it in this field.
    Nothing,
}

impl Guard {
    /// The guard of a field, or of a property of its name.
    pub(super) fn of(name: &str, is_named: bool, is_allowed: bool) -> Self {
        match kind_of(name) {
            _ if is_allowed => Self::Nothing,
            Some(FieldKind::Ids | FieldKind::IdsByName(_)) => Self::Addresses,
            _ if TEXTS_THAT_ARE_IDS.contains(&name) => Self::Addresses,
            _ if is_named => Self::Named,
            _ => Self::Personal,
        }
    }

    /// The guard of an id in what it guards.
    pub(super) const fn of_id(self) -> Self {
        match self {
            Self::Personal | Self::Named | Self::Addresses => Self::Addresses,
            Self::Nothing => Self::Nothing,
        }
    }

    /// The guard of members that nobody named.
    pub(super) const fn of_unnamed(self) -> Self {
        match self {
            Self::Named => Self::Personal,
            guard => guard,
        }
    }

    /// Refuses personal data where it is looked for.
    pub(super) fn check(self, name: &Name<'_>, text: &str) -> Result<(), DropReason> {
        let is_personal = match self {
            // JSON in a text has members too.
            Self::Named if !name.is_of_member() && !text.trim_start().starts_with(['{', '[']) => {
                personal::holds_email(text)
            }
            Self::Personal | Self::Named => personal::is_personal(name, text),
            Self::Addresses => personal::holds_email(text),
            Self::Nothing => false,
        };
        if is_personal {
            return Err(DropReason::PersonalData);
        }
        Ok(())
    }
}

type FieldResult = Result<(), DropReason>;

/// A number.
pub(super) fn number(out: &mut Vec<u8>, value: Json<'_>, negative_refused: bool) -> FieldResult {
    let text = plain::number(value)?;
    if negative_refused && text.starts_with('-') {
        return Err(DropReason::Negative);
    }
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

/// A whole number from zero on; true where it was a fraction that is rounded up.
pub(super) fn count(out: &mut Vec<u8>, value: Json<'_>) -> Result<bool, DropReason> {
    let count = plain::count(value)?;
    write::integer(out, count.whole);
    Ok(count.is_rounded)
}

/// The currencies that most is paid in, and that need no search.
const FREQUENT: [&str; 4] = ["USD", "EUR", "GBP", "JPY"];

/// The code of a currency, in upper case.
pub(super) type CurrencyCode = [u8; 3];

/// A currency of ISO 4217, in upper case.
pub(super) fn currency(out: &mut Vec<u8>, value: Json<'_>) -> FieldResult {
    let code = code(value).ok_or(DropReason::UnknownCurrency)?;
    write::text(out, code_text(&code));
    Ok(())
}

/// The code of a currency of ISO 4217.
pub(super) fn code(value: Json<'_>) -> Option<CurrencyCode> {
    let text = value.as_str()?;
    let letters: CurrencyCode = text.trim().as_bytes().try_into().ok()?;
    let upper = letters.map(|letter| letter.to_ascii_uppercase());
    let code = code_text(&upper);
    let is_known = FREQUENT.contains(&code) || is_currency(code);
    (is_known && !is_subunit(text.trim())).then_some(upper)
}

/// The text of a code; a code is ASCII.
pub(super) fn code_text(code: &CurrencyCode) -> &str {
    str::from_utf8(code).unwrap_or_default()
}

/// Whether a value names the hundredth of a currency.
pub(super) fn names_subunit(value: Json<'_>) -> bool {
    value.as_str().is_some_and(|text| is_subunit(text.trim()))
}

/// A text.
pub(super) fn text(out: &mut Vec<u8>, name: &str, value: Json<'_>, guard: Guard) -> FieldResult {
    let text = number::text_of(value).ok_or(DropReason::NotAText)?;
    guard.check(&name.into(), &text)?;
    write::text(out, text.trim());
    Ok(())
}

/// One of a few words, in Meta's spelling.
pub(super) fn word(out: &mut Vec<u8>, value: Json<'_>, words: &[&str]) -> FieldResult {
    let text = value.text().ok_or(DropReason::UnknownWord)?;
    let text = text.trim();
    let word = words
        .iter()
        .find(|word| word.eq_ignore_ascii_case(text))
        .ok_or(DropReason::UnknownWord)?;
    write::text(out, word);
    Ok(())
}

/// A text, number or boolean.
pub(super) fn scalar(out: &mut Vec<u8>, name: &str, value: Json<'_>, guard: Guard) -> FieldResult {
    if value.is_string() {
        return text(out, name, value, guard);
    }
    let text = value.text().ok_or(DropReason::NotAText)?;
    if value.is_number() && !is_in_range(&text) {
        return Err(DropReason::NotANumber);
    }
    guard.check(&name.into(), &text)?;
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

/// An id: a text, or a whole number.
pub(super) fn id(out: &mut Vec<u8>, name: &str, value: Json<'_>, guard: Guard) -> FieldResult {
    if value.is_number() {
        let digits = whole_digits(value.raw())
            .filter(|digits| is_in_range(digits))
            .ok_or(DropReason::NotAText)?;
        guard.check(&name.into(), &digits)?;
        out.extend_from_slice(digits.as_bytes());
        return Ok(());
    }
    if value.as_bool().is_some() {
        return Err(DropReason::NotAText);
    }
    scalar(out, name, value, guard)
}

/// A day, with or without a time.
pub(super) fn date(out: &mut Vec<u8>, value: Json<'_>) -> FieldResult {
    let text = value.text().ok_or(DropReason::NotADate)?;
    let text = text.trim();
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let day = match text.len() {
        8 if digits(text) => {
            let (year, rest) = text.split_at(4);
            let (month, day) = rest.split_at(2);
            Some(format!("{year}-{month}-{day}"))
        }
        10 => Some(text.to_owned()),
        _ => None,
    };
    let times = day.map_or_else(|| text.to_owned(), |day| format!("{day}T00:00:00"));
    if event_time::parse_text(&times).is_none() {
        return Err(DropReason::NotADate);
    }
    write::text(out, text);
    Ok(())
}

/// Any value, as it is. Says whether numbers that are out of range were left out of it.
pub(super) fn any(
    out: &mut Vec<u8>,
    name: &str,
    value: Json<'_>,
    guard: Guard,
) -> Result<bool, DropReason> {
    copy_value(out, name, value, &|name, text| {
        guard.check(name, text).is_err()
    })
}

/// An object of ids, with those of its members that Meta knows: any other would be refused.
pub(super) fn ids_by_name(
    out: &mut Vec<u8>,
    value: Json<'_>,
    known: &[&str],
    guard: Guard,
) -> FieldResult {
    if !value.is_object() {
        return Err(DropReason::NotAnObject);
    }
    let begin = out.len();
    for (name, member) in value.all_members() {
        if !known.contains(&name.as_ref()) || member.is_absent() {
            continue;
        }
        let before = out.len();
        out.push(if before == begin { b'{' } else { b',' });
        write::text(out, &name);
        out.push(b':');
        if id(out, &name, member, guard).is_err() {
            out.truncate(before);
        }
    }
    if out.len() == begin {
        return Err(DropReason::NoItems);
    }
    out.push(b'}');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(
        write: impl Fn(&mut Vec<u8>, Json<'_>) -> FieldResult,
        input: &str,
        expected: Result<&str, DropReason>,
    ) {
        let mut out = Vec::new();
        let written = write(&mut out, Json::of_valid_text(input));
        let text = String::from_utf8(out).unwrap();
        assert_eq!(written.map(|()| text.as_str()), expected, "{input}");
    }

    #[test]
    fn amounts_are_plain_and_not_negative() {
        let amount = |out: &mut Vec<u8>, value: Json<'_>| number(out, value, true);
        check(amount, "\"19.90\"", Ok("19.90"));
        check(amount, "0", Ok("0"));
        check(amount, "-0.00", Ok("0"));
        check(amount, "-0.01", Err(DropReason::Negative));
        check(amount, "\"-5\"", Err(DropReason::Negative));
        check(amount, "\"1,000\"", Err(DropReason::AmbiguousNumber));
    }

    #[test]
    fn an_object_of_ids_keeps_what_meta_knows() {
        let ids = |out: &mut Vec<u8>, value: Json<'_>| {
            ids_by_name(
                out,
                value,
                &["store_code", "store_page_id"],
                Guard::Personal,
            )
        };
        let store = r#"{"email":"a","store_code":"","store_page_id":7,"store_code":"S1"}"#;
        check(ids, store, Ok(r#"{"store_page_id":7,"store_code":"S1"}"#));
        check(ids, r#"{"store_code":true}"#, Err(DropReason::NoItems));
        check(ids, "[]", Err(DropReason::NotAnObject));
    }

    #[test]
    fn currencies_are_those_of_the_standard() {
        check(currency, "\"usd\"", Ok("\"USD\""));
        check(currency, "\" eur \"", Ok("\"EUR\""));
        check(currency, "\"XYZ\"", Err(DropReason::UnknownCurrency));
        check(currency, "\"€\"", Err(DropReason::UnknownCurrency));
        check(currency, "978", Err(DropReason::UnknownCurrency));
    }

    #[test]
    fn words_take_metas_spelling() {
        let words = |out: &mut Vec<u8>, value: Json<'_>| word(out, value, &["SUV", "OTHER"]);
        check(words, "\"suv\"", Ok("\"SUV\""));
        check(words, "\"bike\"", Err(DropReason::UnknownWord));
    }

    #[test]
    fn dates_are_real() {
        check(date, "\"2026-11-20\"", Ok("\"2026-11-20\""));
        check(date, "20261120", Ok("\"20261120\""));
        check(
            date,
            "\"2026-11-20T10:00:00+01:00\"",
            Ok("\"2026-11-20T10:00:00+01:00\""),
        );
        check(date, "\"2026-02-30\"", Err(DropReason::NotADate));
        check(date, "\"soon\"", Err(DropReason::NotADate));
        check(date, "\"ééééé\"", Err(DropReason::NotADate));
        check(date, "\"20é1é\"", Err(DropReason::NotADate));
    }

    #[test]
    fn ids_are_texts_or_whole_numbers() {
        let ids = |out: &mut Vec<u8>, value: Json<'_>| id(out, "id", value, Guard::Personal);
        check(ids, "7", Ok("7"));
        check(ids, "12345.0", Ok("12345"));
        check(ids, "1e3", Ok("1000"));
        check(ids, "\" A \"", Ok("\"A\""));
        check(ids, "1.5", Err(DropReason::NotAText));
        check(ids, "true", Err(DropReason::NotAText));
        check(ids, "{}", Err(DropReason::NotAText));
        check(ids, "\"a@b.de\"", Err(DropReason::PersonalData));
    }
}
