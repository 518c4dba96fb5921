//! Bounds the members of an event: what an event costs, in time and memory, must not depend on how many
//! members its sender can press into a body.
//!
//! All members of objects and items of lists count, at any depth, also those of a list or object that comes as
//! JSON text. Where there are more than [`MOST`], what lies beyond is left out, so that it is absent for
//! whatever reads the event. The largest give way: an event's own fields go first, a field that holds no more
//! than each can have stays whole, and so does, in a larger one, each property. Of what is larger still the
//! first members stay.

use std::borrow::Cow;

use super::arena::{DEEPEST, decoded};
use crate::json::Json;
use crate::json::scan::{Scanner, skipped_space, string_end};

/// Most members and items of one event.
pub const MOST: usize = 10_000;

/// The text of an event without the members beyond the bound; `None` where all are within. The text must be a
/// JSON object.
pub(super) fn bounded(text: &str) -> Option<String> {
    // A member is at least two bytes long: itself, and what separates it from the next.
    if text.len() <= 2 * MOST || !may_have_more(text) {
        return None;
    }
    let mut scanner = Scanner::behind_bracket(text);
    let mut spelt = std::iter::from_fn(|| scanner.spelt_member());
    let fields: Vec<SpeltField<'_>> = spelt.by_ref().take(MOST).map(SpeltField::new).collect();
    let lacks_field = spelt.next().is_some();
    let weights: Vec<usize> = fields.iter().map(|field| field.weight).collect();
    let heaviest = largest(&weights, MOST - fields.len());
    if !lacks_field && weights.iter().all(|weight| *weight <= heaviest) {
        return None;
    }
    let mut out = String::from("{");
    for field in fields {
        separate(&mut out);
        if field.weight <= heaviest {
            out.push_str(field.part.spelt);
        } else {
            out.push_str(field.part.key());
            let value = field.shortened(heaviest);
            match field.value {
                Cow::Borrowed(_) => out.push_str(&value),
                Cow::Owned(_) => out.push_str(&serde_json::Value::from(value).to_string()),
            }
        }
    }
    out.push('}');
    Some(out)
}

/// Whether a text may have more than [`MOST`] members, by the bytes that stand before them. In a JSON text
/// within, an escape may stand for one of these.
fn may_have_more(text: &str) -> bool {
    let may_be_before = |byte: &u8| matches!(byte, b',' | b'{' | b'[' | b'\\');
    text.as_bytes()
        .iter()
        .filter(|byte| may_be_before(byte))
        .count()
        > MOST
}

/// A field of an event.
struct SpeltField<'t> {
    part: SpeltPart<'t>,
    /// Its value, without the quotes of a JSON text.
    value: Cow<'t, str>,
    /// How many members each of its parts is and holds; empty where there are more parts than [`MOST`].
    weights: Vec<usize>,
    /// How many its value holds.
    weight: usize,
}

/// A member of an object or an item of a list.
struct SpeltPart<'t> {
    /// All of it, as it is spelt.
    spelt: &'t str,
    value: Json<'t>,
}

impl<'t> SpeltField<'t> {
    fn new((spelt, value): (&'t str, Json<'t>)) -> Self {
        let text = opened(value).map_or(Cow::Borrowed(value.raw()), Cow::Owned);
        let mut field = Self {
            part: SpeltPart { spelt, value },
            value: text,
            weights: Vec::new(),
            weight: 0,
        };
        if field.parts().nth(MOST).is_some() {
            // No sum of two of these is out of range.
            field.weight = field.value.len();
        } else {
            let weights = field.parts().map(|part| 1 + weight(part.value.raw()));
            field.weights = weights.collect();
            field.weight = field.weights.iter().sum();
        }
        field
    }

    /// The members or items of its value; none where it can have none.
    fn parts(&self) -> impl Iterator<Item = SpeltPart<'_>> {
        let value = Json::of_valid_text(&self.value);
        let mut scanner = Scanner::behind_bracket(&self.value);
        std::iter::from_fn(move || {
            if value.is_object() {
                let (spelt, value) = scanner.spelt_member()?;
                return Some(SpeltPart { spelt, value });
            }
            if !value.is_array() || !scanner.has_element() {
                return None;
            }
            let value = scanner.value()?;
            let spelt = value.raw();
            Some(SpeltPart { spelt, value })
        })
    }

    /// What is left of its value with at most so many members, of which it has more.
    fn shortened(&self, most: usize) -> String {
        if self.weights.is_empty() || self.weights.len() > most {
            return shortened(&self.value, most);
        }
        let heaviest = largest(&self.weights, most);
        let closing = if self.value.starts_with('{') {
            '}'
        } else {
            ']'
        };
        let mut value = String::from(if closing == '}' { "{" } else { "[" });
        for (part, weight) in self.parts().zip(&self.weights) {
            separate(&mut value);
            if *weight <= heaviest {
                value.push_str(part.spelt);
            } else {
                value.push_str(part.key());
                value.push_str(&shortened(part.value.raw(), heaviest.saturating_sub(1)));
            }
        }
        value.push(closing);
        value
    }
}

impl<'t> SpeltPart<'t> {
    /// The key with its colon, as it is spelt; empty for an item.
    fn key(&self) -> &'t str {
        let length = self.spelt.len() - self.value.raw().len();
        self.spelt.get(..length).unwrap_or_default()
    }
}

/// The list or object that a JSON text holds.
fn opened(value: Json<'_>) -> Option<String> {
    /// `"[1]"`; anything shorter has no member.
    const SHORTEST: usize = 5;
    if value.raw().len() < SHORTEST || !value.may_hold_json() {
        return None;
    }
    decoded(&value.as_str()?).filter(|text| text.starts_with(['[', '{']))
}

/// The largest count that fits: with every larger one cut to it, the sum is at most `left`. Without limit where
/// all fit as they are.
fn largest(counts: &[usize], left: usize) -> usize {
    let fits = |most: usize| counts.iter().map(|count| *count.min(&most)).sum::<usize>() <= left;
    if fits(usize::MAX) {
        return usize::MAX;
    }
    let (mut fitting, mut excessive) = (0, left + 1);
    while excessive - fitting > 1 {
        let most = usize::midpoint(fitting, excessive);
        *(if fits(most) {
            &mut fitting
        } else {
            &mut excessive
        }) = most;
    }
    fitting
}

/// How many members and items a value holds, at any depth.
fn weight(value: &str) -> usize {
    match cut(value, usize::MAX, 0) {
        Shortening::Whole(weight) => weight,
        Shortening::Shortened(_) => usize::MAX,
    }
}

/// The first members of a value.
fn shortened(value: &str, most: usize) -> String {
    match cut(value, most, 0) {
        Shortening::Whole(_) => value.to_owned(),
        Shortening::Shortened(left) => left,
    }
}

/// A value with at most so many members and items.
enum Shortening {
    /// It has no more, but this many.
    Whole(usize),
    /// What is left of it.
    Shortened(String),
}

/// Counts the members and items of a value, up to the first of more than `most`, and closes what is open
/// there. JSON in a text counts with it, as long as no more than [`DEEPEST`] such texts lie in each other.
fn cut(text: &str, most: usize, depth: usize) -> Shortening {
    let bytes = text.as_bytes();
    let mut open: Vec<char> = Vec::new();
    let mut count = 0;
    let mut at = 0;
    let closed = |end: usize, more: &str, open: &[char]| {
        let mut kept = text.get(..end).unwrap_or_default().to_owned();
        kept.push_str(more);
        kept.extend(open.iter().rev());
        Shortening::Shortened(kept)
    };
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'{' | b'[' => {
                let closing = if *byte == b'{' { '}' } else { ']' };
                open.push(closing);
                at += 1;
                at += skipped_space(bytes, at);
                if !matches!(bytes.get(at), Some(b'}' | b']')) {
                    if count == most {
                        return closed(at, "", &open);
                    }
                    count += 1;
                }
            }
            b',' => {
                if count == most {
                    return closed(at, "", &open);
                }
                count += 1;
                at += 1;
            }
            b'}' | b']' => {
                open.pop();
                at += 1;
            }
            b'"' => {
                let (end, _) = string_end(bytes, at);
                let behind = end + skipped_space(bytes, end);
                if bytes.get(behind) == Some(&b':') {
                    at = behind + 1;
                    continue;
                }
                let value = Json::of_valid_text(text.get(at..end).unwrap_or_default());
                if depth < DEEPEST
                    && let Some(inner) = opened(value)
                {
                    match cut(&inner, most - count, depth + 1) {
                        Shortening::Whole(inner) => count += inner,
                        Shortening::Shortened(inner) => {
                            let encoded = serde_json::Value::from(inner).to_string();
                            return closed(at, &encoded, &open);
                        }
                    }
                }
                at = end;
            }
            _ => at += 1,
        }
    }
    Shortening::Whole(count)
}

/// Writes the comma before a member or item, unless it is the first.
fn separate(out: &mut String) {
    if !out.ends_with(['{', '[']) {
        out.push(',');
    }
}

#[cfg(test)]
mod tests;
