//! One field of `custom_data`: from its source to the JSON that is written, or the reason why not.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::BTreeMap;

use crate::config::expressions::CustomValue;
use crate::dropped::DropReason;
use crate::event::Event;
use crate::event::arena::Arena;
use crate::event::money::fraction_digits;
use crate::event::number::grouped;
use crate::expr::path::Scope;
use crate::expr::path::reads::EventReads;
use crate::expr::value::{FoundValue, ValueExpr};
use crate::json::{Json, write};
use crate::map::record::{Recorder, SentValue, ServerField, Source, note_nothing};

use super::contents::{self, ItemShape, Items};
use super::revenue::SourceResult;
use super::screen::{Screen, Screened};
use super::standard::{FieldKind, kind_of};
use super::typed::{self, CurrencyCode, Guard};
use super::values::{Listing, rule_of, write_id, write_values};
use super::{Setting, number, revenue};

/// A field, compiled.
#[derive(Debug)]
pub(super) struct CustomField {
    /// Meta's name, or the operator's own.
    pub(super) name: Box<str>,
    /// The name as it is written.
    pub(super) key: Box<str>,
    /// What Meta takes; `None` for the operator's own field.
    pub(super) kind: Option<FieldKind>,
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
        (Some(FieldKind::Contents | FieldKind::Ids), CustomValue::Each { members, .. }) => {
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
pub(super) struct FieldWriter<'w, 'e, R> {
    /// The server event as far as it is written.
    pub(super) out: &'w mut Vec<u8>,
    /// The event that is mapped.
    pub(super) event: &'w Event<'e>,
    /// What the fields depend on besides.
    pub(super) setting: Setting,
    /// Is told of each field.
    pub(super) recorder: &'w mut R,
}

impl<'w, 'e, R: Recorder> FieldWriter<'w, 'e, R> {
    /// Writes `currency`, and gives its code.
    pub(super) fn currency(
        &mut self,
        field: &CustomField,
        expr: &ValueExpr,
    ) -> Option<CurrencyCode> {
        // Another currency would make an amount in hundredths a hundredfold of it.
        let read = |value| match typed::code(value) {
            None if typed::names_subunit(value) => Some(None),
            code => code.map(Some),
        };
        let read = |value| read(value).ok_or(DropReason::UnknownCurrency);
        let fallback = |event| {
            let found = revenue::currency(event).and_then(|source| Some((source, source.value?)));
            let read = found.map(|(source, value)| (source, read(value)));
            read.into_iter().collect()
        };
        let (source, code) = self.usable(field, expr, read, fallback)?;
        let code = code.and_then(|code| code.ok_or(DropReason::UnknownCurrency));
        self.put(field, source, |out| {
            write::text(out, typed::code_text(&code?));
            Ok(rule_of(field.kind, false))
        });
        code.ok()
    }

    /// Writes `value`, and says whether it did, or else found a number with grouped thousands. What cannot
    /// be read is as absent wherever something else can.
    pub(super) fn value(
        &mut self,
        field: &CustomField,
        expr: &ValueExpr,
        currency: Option<CurrencyCode>,
    ) -> (bool, bool) {
        let is_whole =
            || currency.is_some_and(|code| fraction_digits(typed::code_text(&code)) == Some(0));
        let read = |value| match number::number(value) {
            Err(DropReason::AmbiguousNumber) if is_whole() => grouped(value)
                .map(Cow::Owned)
                .ok_or(DropReason::AmbiguousNumber),
            amount => amount,
        };
        let Some((source, amount)) = self.usable(field, expr, read, |event| revenue::amount(event))
        else {
            return (false, false);
        };
        let is_grouped = matches!(amount, Err(DropReason::AmbiguousNumber));
        // A Purchase without a currency is refused as a whole, and its dead letter shows the value.
        let withheld = currency.is_none() && !self.setting.purchase;
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
        (written, is_grouped)
    }

    /// The first value that can be read, of what the expression finds, of what Amplitude's revenue properties
    /// say where they may stand in, and of the default, which knows nothing of the event. Where one stands in
    /// for others that cannot be read, that is told; where none does, the first is given with the reason.
    fn usable<'o, T>(
        &mut self,
        field: &CustomField,
        expr: &'o ValueExpr,
        read: impl Fn(Json<'o>) -> Result<T, DropReason>,
        fallback: impl FnOnce(&'w Event<'e>) -> Vec<SourceResult<'o, T>>,
    ) -> Option<SourceResult<'o, T>>
    where
        'w: 'o,
    {
        let event = self.event;
        let is_default = |found: &FoundValue<'_>| !expr.sources.is_empty() && found.is_fixed();
        let (mut used, mut refused, mut default) = (None, Vec::new(), None);
        expr.visit(event.into(), &mut |found| {
            if found.value.is_absent() {
                return false;
            }
            if used.is_some() || default.is_some() {
                return true;
            }
            if is_default(&found) {
                default = Some(found);
                return true;
            }
            match (Source::found(&found), read(found.value)) {
                (source, Ok(value)) => used = Some((source, value)),
                (source, Err(reason)) => refused.push((source, reason)),
            }
            used.is_some()
        });
        if used.is_none() && self.setting.revenue {
            for (source, value) in fallback(event) {
                match value {
                    Ok(value) => used = Some((source, value)),
                    Err(reason) => refused.push((source, reason)),
                }
            }
        }
        let used = used.map(|(source, value)| (source, Ok(value)));
        let of_default = |found: FoundValue<'o>| (Source::found(&found), read(found.value));
        let mut refused = refused.into_iter();
        let given = used.or_else(|| default.map(of_default)).or_else(|| {
            let (source, reason) = refused.next()?;
            Some((source, Err(reason)))
        });
        if given.is_none() {
            self.note_absent(field, expr);
        }
        for (source, reason) in refused {
            let name = ServerField::CustomData(&field.name);
            self.recorder.dropped(name, source, reason);
        }
        given
    }

    /// Writes a field from an expression.
    pub(super) fn expression(&mut self, field: &CustomField, expr: &ValueExpr) -> Items {
        if field.kind.is_some_and(FieldKind::is_single) {
            let Some(found) = expr.first(self.event) else {
                self.note_absent(field, expr);
                return Items::default();
            };
            if field.kind == Some(FieldKind::Count) && gives_several(expr, &found) {
                self.total(field, expr);
                return Items::default();
            }
            let (source, arena) = (Source::found(&found), self.event.arena());
            let screened = field.screen.screened(arena, &found);
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
        } else if gives_several(expr, first) {
            Listing::Each
        } else {
            Listing::Single
        };
        let arena = self.event.arena();
        let screened: Vec<Screened<'_>> = found
            .iter()
            .map(|found| field.screen.screened(arena, found))
            .collect();
        let values: Vec<Json<'_>> = screened.iter().filter_map(Screened::json).collect();
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

    /// Writes the sum of the counts that an expression finds.
    fn total(&mut self, field: &CustomField, expr: &ValueExpr) {
        let event = self.event;
        let (mut total, mut is_rounded) = (None, false);
        let mut refused = None;
        let mut first = None;
        for found in expr.all(event) {
            let source = Source::found(&found);
            first.get_or_insert(source);
            let screened = field.screen.screened(event.arena(), &found);
            let count = screened
                .json()
                .ok_or(DropReason::HashedSource)
                .and_then(typed::whole)
                .and_then(|count| {
                    let sum = total.unwrap_or(0_i64).checked_add(count.whole);
                    Ok((sum.ok_or(DropReason::NotANumber)?, count.is_rounded))
                });
            match count {
                Ok((sum, rounded)) => {
                    total = Some(sum);
                    is_rounded |= rounded;
                }
                Err(reason) => {
                    refused.get_or_insert((source, reason));
                }
            }
        }
        if let (Some(total), Some(source)) = (total, first) {
            self.put(field, source, |out| {
                write::integer(out, total);
                Ok(if is_rounded {
                    "sum of whole numbers, rounded up"
                } else {
                    "sum of whole numbers"
                })
            });
        }
        if let Some((source, reason)) = refused {
            self.recorder
                .dropped(ServerField::CustomData(&field.name), source, reason);
        }
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
        let reads = OnceCell::new();
        let read = || EventReads::of(event, members.values().flat_map(ValueExpr::all_paths));
        let start = self.out.len();
        let before = write::key(self.out, &field.key);
        self.out.push(b'[');
        let mut source = None;
        let mut items = Items::default();
        lists.visit(event.into(), &mut |found| {
            if found.value.is_absent() {
                return false;
            }
            source.get_or_insert_with(|| Source::found(&found));
            let arena = event.arena();
            let reads = reads.get_or_init(read);
            let shape = ItemShape {
                members,
                event,
                reads,
                screen,
            };
            arena.each_element(found.value, &mut |element| match field.kind {
                Some(FieldKind::Contents) => {
                    let shape = Some(shape);
                    contents::write_content(
                        self.out,
                        arena.opened(element),
                        shape,
                        field.guard,
                        &mut items,
                    );
                }
                Some(FieldKind::Ids) => {
                    let element = arena.opened(element);
                    let own = element.all_members();
                    let scope = Scope::element(event, element, &own, reads);
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
        let before = write::key(self.out, &field.key);
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
        let name = ServerField::CustomData(&field.name);
        match written {
            Ok(rule) => {
                let sent = SentValue::plain(self.out, value, rule);
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
            self.recorder.dropped(
                ServerField::CustomData(&field.name),
                source,
                DropReason::BadItem,
            );
        }
        let name = ServerField::CustomData(&field.name);
        note_lost(name, &field.name, source, items, self.recorder);
    }

    /// Tells that something was left out of what was found, because a hashed field is made from it.
    fn note_hashed_source(&mut self, field: &CustomField, source: Source<'_>) {
        let name = ServerField::CustomData(&field.name);
        self.recorder
            .dropped(name, source, DropReason::HashedSource);
    }

    fn note_absent(&mut self, field: &CustomField, expr: &ValueExpr) {
        if !expr.is_empty() {
            let name = ServerField::CustomData(&field.name);
            note_nothing(self.recorder, name, expr, self.event);
        }
    }
}

/// Whether an expression may give several values where it found this one.
fn gives_several(expr: &ValueExpr, found: &FoundValue<'_>) -> bool {
    expr.gathers() || found.path.is_some_and(|path| path.as_str().contains("[*]"))
}

/// Tells of what a field was sent without: members of the items of a list, and numbers.
pub(super) fn note_lost(
    field: ServerField<'_>,
    list: &str,
    source: Source<'_>,
    items: &Items,
    recorder: &mut impl Recorder,
) {
    for (member, reason) in &items.lost {
        recorder.dropped(ServerField::Item { list, member }, source, *reason);
    }
    if items.lacks_number {
        recorder.dropped(field, source, DropReason::NotANumber);
    }
}
