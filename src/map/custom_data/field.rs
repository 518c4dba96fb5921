//! One field of `custom_data`: from its source to the JSON that is written, or the reason why not.

use std::collections::BTreeMap;

use crate::config::CustomValue;
use crate::event::arena::Arena;
use crate::event::{Event, Json};
use crate::map::dropped::DropReason;
use crate::map::json;
use crate::map::record::{Field, Recorder, Sent, Source, note_nothing};
use crate::path::Scope;
use crate::value::{Found, ValueExpr};

use super::contents::{self, Items, Shape};
use super::screen::{Screen, Screened};
use super::standard::{Kind, kind_of};
use super::typed::{self, Guard};
use super::{Setting, number, revenue};

/// A field, compiled.
#[derive(Debug)]
pub(super) struct CustomField {
    /// Meta's name, or the operator's own.
    pub(super) name: Box<str>,
    /// The name as it is written.
    pub(super) key: Box<str>,
    /// What Meta takes; `None` for the operator's own field.
    pub(super) kind: Option<Kind>,
    /// What it is made from.
    pub(super) source: CustomValue,
    /// Whether personal data is looked for.
    pub(super) guard: Guard,
    /// What of the values may go out.
    pub(super) screen: Screen,
}

/// Whether a field is one of Meta's.
pub(in crate::map) fn is_standard(name: &str) -> bool {
    kind_of(name).is_some()
}

/// Whether a field can be made from its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::map) enum Fit {
    /// As far as can be known.
    Well,
    /// A list of objects for a field that takes a single value.
    NoList,
    /// A list of objects without `id` for a field whose items need one.
    NoId,
    /// A fixed value that the field does not take.
    Constant(DropReason),
}

/// Judges the source of a field.
pub(in crate::map) fn fit(name: &str, source: &CustomValue) -> Fit {
    match (kind_of(name), source) {
        (Some(Kind::Contents | Kind::Ids), CustomValue::Each { members, .. }) => {
            if members.contains_key("id") {
                Fit::Well
            } else {
                Fit::NoId
            }
        }
        (Some(_), CustomValue::Each { .. }) => Fit::NoList,
        (None, CustomValue::Each { .. }) => Fit::Well,
        (kind, CustomValue::Value(expr)) => {
            let refused = expr.constants().into_iter().find_map(|constant| {
                let (mut out, value) = (Vec::new(), constant.json());
                write_values(
                    &mut out,
                    &Arena::default(),
                    name,
                    kind,
                    Guard::Nothing,
                    &[value],
                    Listing::Single,
                )
                .err()
            });
            refused.map_or(Fit::Well, Fit::Constant)
        }
    }
}

/// Writes the fields of one event.
pub(super) struct Writer<'w, 'e, R> {
    /// The server event as far as it is written.
    pub(super) out: &'w mut Vec<u8>,
    /// The event that is mapped.
    pub(super) event: &'w Event<'e>,
    /// What the fields depend on besides.
    pub(super) setting: Setting,
    /// Is told of each field.
    pub(super) recorder: &'w mut R,
}

impl<'w, 'e, R: Recorder> Writer<'w, 'e, R> {
    /// Writes `currency`, and says whether it did.
    pub(super) fn currency(&mut self, field: &CustomField, expr: &ValueExpr) -> bool {
        let source = match self.found(expr, revenue::currency) {
            Some(Ok(found)) => Some(Source::found(&found)),
            Some(Err(source)) => Some(source),
            None => None,
        };
        let Some((source, value)) = source.and_then(|source| Some((source, source.value?))) else {
            self.note_absent(field, expr);
            return false;
        };
        self.put(field, source, |out| {
            typed::currency(out, value)?;
            Ok(rule_of(field.kind, false))
        })
    }

    /// Writes `value`, and says whether it did, or else found a number with grouped thousands.
    pub(super) fn value(
        &mut self,
        field: &CustomField,
        expr: &ValueExpr,
        has_currency: bool,
    ) -> (bool, bool) {
        let (source, amount) = match self.found(expr, revenue::amount) {
            Some(Ok(found)) => {
                let amount = number::number(found.value);
                (Source::found(&found), amount)
            }
            Some(Err(fallback)) => fallback,
            None => {
                self.note_absent(field, expr);
                return (false, false);
            }
        };
        let grouped = matches!(amount, Err(DropReason::AmbiguousNumber));
        // A Purchase without a currency is refused as a whole, and its dead letter shows the value.
        let withheld = !has_currency && !self.setting.purchase;
        let written = self.put(field, source, |out| {
            let amount = amount?;
            if amount.starts_with('-') {
                return Err(DropReason::Negative);
            }
            if withheld {
                return Err(DropReason::ValueWithoutCurrency);
            }
            out.extend_from_slice(amount.as_bytes());
            Ok(rule_of(field.kind, false))
        });
        (written, grouped)
    }

    /// What the expression finds, or else what Amplitude's revenue properties say where they may
    /// stand in. They go before a default, which knows nothing of the event.
    fn found<'o, T>(
        &self,
        expr: &'o ValueExpr,
        fallback: impl FnOnce(&'w Event<'e>) -> Option<T>,
    ) -> Option<Result<Found<'o>, T>>
    where
        'w: 'o,
    {
        let found = expr.first(self.event);
        let is_default = !expr.sources.is_empty() && found.is_some_and(|found| found.is_fixed());
        if self.setting.revenue
            && (found.is_none() || is_default)
            && let Some(fallback) = fallback(self.event)
        {
            return Some(Err(fallback));
        }
        found.map(Ok)
    }

    /// Writes a field from an expression.
    pub(super) fn expression(&mut self, field: &CustomField, expr: &ValueExpr) -> Items {
        if field.kind.is_some_and(Kind::is_single) {
            let Some(found) = expr.first(self.event) else {
                self.note_absent(field, expr);
                return Items::default();
            };
            let (source, arena) = (Source::found(&found), self.event.arena());
            let screened = field.screen.screened(&found);
            self.put(field, source, |out| {
                let value = screened.json().ok_or(DropReason::HashedSource)?;
                write_values(
                    out,
                    arena,
                    &field.name,
                    field.kind,
                    field.guard,
                    &[value],
                    Listing::Single,
                )
                .map(|items| rule_of(field.kind, items.rounded))
            });
            if screened.is_part() {
                self.note_hashed_source(field, source);
            }
            return Items::default();
        }
        let found = expr.all(self.event);
        let Some(first) = found.first() else {
            self.note_absent(field, expr);
            return Items::default();
        };
        let source = Source::found(first);
        let listing = if expr.gathers() {
            Listing::Flat
        } else if first.path.is_some_and(|path| path.as_str().contains("[*]")) {
            Listing::Each
        } else {
            Listing::Single
        };
        let screened: Vec<Screened<'_>> = found
            .iter()
            .map(|found| field.screen.screened(found))
            .collect();
        let values: Vec<Json<'_>> = screened.iter().filter_map(Screened::json).collect();
        let arena = self.event.arena();
        let mut items = Items::default();
        self.put(field, source, |out| {
            if values.is_empty() {
                return Err(DropReason::HashedSource);
            }
            items = write_values(
                out,
                arena,
                &field.name,
                field.kind,
                field.guard,
                &values,
                listing,
            )?;
            Ok(rule_of(field.kind, items.rounded))
        });
        if !values.is_empty() && screened.iter().any(Screened::lacks_source) {
            self.note_hashed_source(field, source);
        }
        self.note_refused(field, source, &items);
        items
    }

    /// Writes a field from the first list of objects that is present.
    pub(super) fn each(
        &mut self,
        field: &CustomField,
        lists: &ValueExpr,
        members: &BTreeMap<String, ValueExpr>,
    ) -> Items {
        let event = self.event;
        let screen = &field.screen;
        let shape = Shape {
            members,
            event,
            screen,
        };
        let start = self.out.len();
        let before = json::key(self.out, &field.key);
        self.out.push(b'[');
        let mut source = None;
        let mut items = Items::default();
        lists.visit(event.into(), &mut |found| {
            if found.value.is_absent() {
                return false;
            }
            source.get_or_insert_with(|| Source::found(&found));
            let arena = event.arena();
            arena.each_element(found.value, &mut |element| match field.kind {
                Some(Kind::Contents) => {
                    let shape = Some(shape);
                    contents::write_content(
                        self.out,
                        arena.opened(element),
                        shape,
                        field.guard,
                        &mut items,
                    );
                }
                Some(Kind::Ids) => {
                    let element = arena.opened(element);
                    let own = element.all_members();
                    let scope = Scope::element(event, element, &own);
                    let id = members.get("id").and_then(|expr| expr.first(scope));
                    let id = id.filter(|id| screen.is_free(id)).map(|id| id.value);
                    write_id(self.out, &field.name, id, field.guard, &mut items);
                }
                _ => {
                    let element = arena.opened(element);
                    contents::write_object(self.out, element, shape, field.guard, &mut items);
                }
            });
            true
        });
        let Some(source) = source else {
            self.out.truncate(start);
            self.note_absent(field, lists);
            return Items::default();
        };
        self.out.push(b']');
        let written = match items.written {
            0 => Err(DropReason::NoItems),
            _ => Ok(rule_of(field.kind, items.rounded)),
        };
        self.note(field, source, [start, before], written);
        self.note_refused(field, source, &items);
        items
    }

    /// Writes a member, or takes it back where its value cannot be used. `write` gives the rule that made it.
    fn put(
        &mut self,
        field: &CustomField,
        source: Source<'_>,
        write: impl FnOnce(&mut Vec<u8>) -> Result<&'static str, DropReason>,
    ) -> bool {
        let start = self.out.len();
        let before = json::key(self.out, &field.key);
        let written = write(self.out);
        self.note(field, source, [start, before], written);
        written.is_ok()
    }

    /// Tells what became of a member, and takes back one that could not be written. It begins at the one
    /// place, and its value at the other.
    fn note(
        &mut self,
        field: &CustomField,
        source: Source<'_>,
        [start, value]: [usize; 2],
        written: Result<&'static str, DropReason>,
    ) {
        let name = Field::CustomData(&field.name);
        match written {
            Ok(rule) => {
                let sent = Sent::plain(self.out, value, rule);
                self.recorder.sent(name, source, sent);
            }
            Err(reason) => {
                self.out.truncate(start);
                self.recorder.dropped(name, source, reason);
            }
        }
    }

    /// Counts what a list was sent without: items, and members of items.
    fn note_refused(&mut self, field: &CustomField, source: Source<'_>, items: &Items) {
        if items.refused > 0 && items.written > 0 {
            self.recorder
                .dropped(Field::CustomData(&field.name), source, DropReason::BadItem);
        }
        note_lost(&field.name, source, items, self.recorder);
    }

    /// Tells that something was left out of what was found, because a hashed field is made from it.
    fn note_hashed_source(&mut self, field: &CustomField, source: Source<'_>) {
        let name = Field::CustomData(&field.name);
        self.recorder
            .dropped(name, source, DropReason::HashedSource);
    }

    fn note_absent(&mut self, field: &CustomField, expr: &ValueExpr) {
        if !expr.is_empty() {
            let name = Field::CustomData(&field.name);
            note_nothing(self.recorder, name, expr, self.event);
        }
    }
}

/// Tells of members that the items of a list were sent without.
pub(super) fn note_lost(
    list: &str,
    source: Source<'_>,
    items: &Items,
    recorder: &mut impl Recorder,
) {
    for (member, reason) in &items.lost {
        recorder.dropped(Field::Item { list, member }, source, *reason);
    }
}

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

/// Writes the values that were found for a field.
pub(super) fn write_values(
    out: &mut Vec<u8>,
    arena: &Arena,
    name: &str,
    kind: Option<Kind>,
    guard: Guard,
    values: &[Json<'_>],
    listing: Listing,
) -> Result<Items, DropReason> {
    let mut items = Items::default();
    let Some(&value) = values.first() else {
        return Err(DropReason::Empty);
    };
    match kind {
        Some(Kind::Number { negative_refused }) => typed::number(out, value, negative_refused)?,
        Some(Kind::Count) => items.rounded = typed::count(out, value)?,
        Some(Kind::Currency) => typed::currency(out, value)?,
        Some(Kind::Text) => typed::text(out, name, value, guard)?,
        Some(Kind::Word(words)) => typed::word(out, value, words)?,
        Some(Kind::Scalar) => typed::scalar(out, name, value, guard)?,
        Some(Kind::TextOrBoolean) => typed::text_or_boolean(out, name, value, guard)?,
        Some(Kind::Date) => typed::date(out, value)?,
        Some(Kind::IdsByName(known)) => typed::ids_by_name(out, arena.opened(value), known, guard)?,
        Some(Kind::Ids | Kind::Contents) => {
            out.push(b'[');
            for value in values {
                arena.each_element(*value, &mut |element| {
                    if kind == Some(Kind::Ids) {
                        write_id(out, name, Some(element), guard, &mut items);
                    } else {
                        contents::write_content(
                            out,
                            arena.opened(element),
                            None,
                            guard,
                            &mut items,
                        );
                    }
                });
            }
            out.push(b']');
            if items.written == 0 {
                return Err(DropReason::NoItems);
            }
        }
        None if listing == Listing::Each => {
            out.push(b'[');
            for value in values {
                json::separate(out);
                typed::any(out, name, *value, guard)?;
            }
            out.push(b']');
        }
        None if listing == Listing::Flat => write_flat(out, arena, name, values, guard)?,
        None => typed::any(out, name, value, guard)?,
    }
    Ok(items)
}

/// Writes the elements of several lists as one list.
fn write_flat(
    out: &mut Vec<u8>,
    arena: &Arena,
    name: &str,
    values: &[Json<'_>],
    guard: Guard,
) -> Result<(), DropReason> {
    out.push(b'[');
    let empty = out.len();
    let mut refused = None;
    for value in values {
        arena.each_element(*value, &mut |element| {
            let before = out.len();
            json::separate(out);
            match typed::any(out, name, element, guard) {
                Ok(()) => {}
                Err(DropReason::Empty) => out.truncate(before),
                Err(reason) => refused = Some(reason),
            }
        });
    }
    if out.len() == empty {
        refused = refused.or(Some(DropReason::Empty));
    }
    out.push(b']');
    refused.map_or(Ok(()), Err)
}

fn write_id(
    out: &mut Vec<u8>,
    name: &str,
    value: Option<Json<'_>>,
    guard: Guard,
    items: &mut Items,
) {
    let start = out.len();
    json::separate(out);
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
pub(super) const fn rule_of(kind: Option<Kind>, rounded: bool) -> &'static str {
    match kind {
        Some(Kind::Count) if rounded => "whole number, rounded up",
        Some(Kind::Contents) if rounded => {
            "list of items with id and quantity, which is rounded up"
        }
        Some(Kind::Number { .. }) => "number",
        Some(Kind::Count) => "whole number",
        Some(Kind::Currency) => "currency of ISO 4217",
        Some(Kind::Text) => "text",
        Some(Kind::Word(_)) => "one of Meta's words",
        Some(Kind::Scalar) => "text, number or boolean",
        Some(Kind::TextOrBoolean) => "text or boolean",
        Some(Kind::Date) => "date",
        Some(Kind::Ids) => "list of ids",
        Some(Kind::Contents) => "list of items with id and quantity",
        Some(Kind::IdsByName(_)) => "object of ids",
        None => "as it is",
    }
}
