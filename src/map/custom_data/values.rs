//! Writes the values that were found for a field, in the type that the field takes.

use crate::dropped::DropReason;
use crate::event::arena::Arena;
use crate::json::{Json, write};

use super::contents::{self, Items};
use super::standard::FieldKind;
use super::typed::{self, Guard};

/// How values become a field of the operator's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listing {
    /// The first is the field.
    Single,
    /// Each is an element of a list.
    Each,
    /// Each, and each element of a list, is an element of one list.
    Flat,
}

/// How a field or a property is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct FieldFormat<'n> {
    pub(super) name: &'n str,
    /// What Meta takes; `None` for the operator's own field.
    pub(super) kind: Option<FieldKind>,
    /// Whether personal data is looked for.
    pub(super) guard: Guard,
}

impl FieldFormat<'_> {
    /// Writes the values that were found.
    pub(super) fn write(
        self,
        out: &mut Vec<u8>,
        arena: &Arena,
        values: &[Json<'_>],
        listing: Listing,
    ) -> Result<Items, DropReason> {
        let Self { name, kind, guard } = self;
        let mut items = Items::default();
        let Some(&value) = values.first() else {
            return Err(DropReason::Empty);
        };
        match kind {
            Some(FieldKind::Amount) => typed::number(out, value, true)?,
            Some(FieldKind::Number) => typed::number(out, value, false)?,
            Some(FieldKind::Count) => items.rounded = typed::count(out, value)?,
            Some(FieldKind::Currency) => typed::currency(out, value)?,
            Some(FieldKind::TextOrBoolean) if value.as_bool().is_some() => {
                typed::scalar(out, name, value, guard)?;
            }
            Some(FieldKind::Text | FieldKind::TextOrBoolean) => {
                typed::text(out, name, value, guard)?;
            }
            Some(FieldKind::Word(words)) => typed::word(out, value, words)?,
            Some(FieldKind::Scalar) => typed::scalar(out, name, value, guard)?,
            Some(FieldKind::Date) => typed::date(out, value)?,
            Some(FieldKind::IdsByName(known)) => {
                typed::ids_by_name(out, arena.opened(value), known, guard)?;
            }
            Some(FieldKind::Ids | FieldKind::Contents) => {
                out.push(b'[');
                for value in values {
                    arena.each_element(*value, &mut |element| {
                        if kind == Some(FieldKind::Ids) {
                            write_id(out, name, Some(element), guard, &mut items);
                        } else {
                            let element = arena.opened(element);
                            contents::write_content(out, element, None, guard, &mut items);
                        }
                    });
                }
                out.push(b']');
                if items.written == 0 {
                    return Err(DropReason::NoItems);
                }
            }
            None if listing == Listing::Single => {
                items.lacks_number = typed::any(out, name, value, guard)?;
            }
            None => items.lacks_number = self.write_list(out, arena, values, listing)?,
        }
        Ok(items)
    }

    /// Writes several values, or the elements of several lists, as one list; true where numbers that are
    /// out of range were left out of it.
    fn write_list(
        self,
        out: &mut Vec<u8>,
        arena: &Arena,
        values: &[Json<'_>],
        listing: Listing,
    ) -> Result<bool, DropReason> {
        out.push(b'[');
        let empty = out.len();
        let (mut refused, mut lacks_number) = (None, false);
        let mut write = |element| {
            let before = out.len();
            write::separate(out);
            match typed::any(out, self.name, element, self.guard) {
                Ok(lacks) => lacks_number |= lacks,
                Err(reason @ (DropReason::Empty | DropReason::NotANumber)) => {
                    out.truncate(before);
                    lacks_number |= reason == DropReason::NotANumber;
                }
                Err(reason) => refused = Some(reason),
            }
        };
        for value in values {
            if listing == Listing::Flat {
                arena.each_element(*value, &mut write);
            } else {
                write(*value);
            }
        }
        if let Some(reason) = refused {
            return Err(reason);
        }
        match (out.len() == empty, lacks_number) {
            (true, true) => return Err(DropReason::NotANumber),
            (true, false) => return Err(DropReason::Empty),
            _ => out.push(b']'),
        }
        Ok(lacks_number)
    }
}

/// Writes an id of a list, or counts it as refused.
fn write_id(
    out: &mut Vec<u8>,
    name: &str,
    value: Option<Json<'_>>,
    guard: Guard,
    items: &mut Items,
) {
    let start = out.len();
    write::separate(out);
    let value = value.filter(|value| !value.is_absent());
    let written = value.is_some_and(|value| typed::id(out, name, value, guard).is_ok());
    if written {
        items.written += 1;
    } else {
        out.truncate(start);
        items.refused += 1;
    }
}

/// The rule by which a kind of field is written. `rounded`: a fraction in it was rounded up.
pub(super) const fn rule_of(kind: Option<FieldKind>, rounded: bool) -> &'static str {
    match kind {
        Some(FieldKind::Count) if rounded => "whole number, rounded up",
        Some(FieldKind::Contents) if rounded => {
            "list of items with id and quantity, which is rounded up"
        }
        Some(FieldKind::Amount | FieldKind::Number) => "number",
        Some(FieldKind::Count) => "whole number",
        Some(FieldKind::Currency) => "currency of ISO 4217",
        Some(FieldKind::Text) => "text",
        Some(FieldKind::Word(_)) => "one of Meta's words",
        Some(FieldKind::Scalar) => "text, number or boolean",
        Some(FieldKind::TextOrBoolean) => "text or boolean",
        Some(FieldKind::Date) => "date",
        Some(FieldKind::Ids) => "list of ids",
        Some(FieldKind::Contents) => "list of items with id and quantity",
        Some(FieldKind::IdsByName(_)) => "object of ids",
        None => "as it is",
    }
}
