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
use crate::expr::path::reads::EventReads;
use crate::expr::value::{FoundValue, ValueExpr};
use crate::json::{Json, write};
use crate::map::record::{Recorder, SentValue, ServerField, Source, record_absent};

use super::contents::{self, ItemShape, Items, WrittenMembers};
use super::number::{self, Count};
use super::revenue::SourceResult;
use super::screen::{Screen, Screened};
use super::standard::{FieldKind, kind_of};
use super::typed::{self, CurrencyCode, Guard};
use super::values::{FieldFormat, Listing, rule_of};
use super::{Setting, revenue};

/// Most bytes of a list of objects, and how many times those of the event they may be: items that take a text
/// from the event multiply it.
const MOST_LIST_BYTES: usize = 32 << 10;
const MOST_GROWTH: usize = 8;

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

impl CustomField {
    fn format(&self) -> FieldFormat<'_> {
        FieldFormat {
            name: &self.name,
            kind: self.kind,
            guard: self.guard,
        }
    }
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
            let format = FieldFormat {
                name,
                kind,
                guard: Guard::Nothing,
            };
            let refused = expr.constants().into_iter().find_map(|constant| {
                let (mut out, arena) = (Vec::new(), Arena::default());
                let written = format.write(&mut out, &arena, &[constant.json()], Listing::Single);
                written.err()
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
        // A subunit, such as pence, ends the search: in another currency the amount would count a hundredfold.
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

    /// Writes `value`. Says whether it did, and whether what it refused is a number with grouped thousands. A
    /// value that cannot be read counts as absent where another one can.
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
        // A Purchase without a currency is refused as a whole, and then its dead letter shows the value.
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

    /// The first value that can be read: of what the expression finds, then of Amplitude's revenue properties
    /// where the setting allows them, then the default. Values that cannot be read are recorded where a later one
    /// replaces them; where none does, the first is returned with the reason.
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
            self.note_dropped(field, source, reason);
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
            let screened = field.screen.screened(self.event.arena(), &found);
            let (source, value) = (Source::found(&found), screened.json());
            return self.put_values(
                field,
                source,
                value.as_slice(),
                Listing::Single,
                screened.lacks_source,
            );
        }
        let (event, screen) = (self.event, &field.screen);
        let (mut first, mut screened) = (None, Vec::new());
        // There may be as many as an event has members: of each, only what may go out is kept.
        expr.visit(event.into(), &mut |found| {
            let is_present = !found.value.is_absent();
            if is_present {
                first.get_or_insert(found);
                screened.push(screen.screened(event.arena(), &found));
            }
            is_present
        });
        let Some(first) = first else {
            self.note_absent(field, expr);
            return Items::default();
        };
        let source = Source::found(&first);
        let listing = if expr.gathers() {
            Listing::Flat
        } else if gives_several(expr, &first) {
            Listing::Each
        } else {
            Listing::Single
        };
        let mut values = Vec::with_capacity(screened.len());
        values.extend(screened.iter().filter_map(Screened::json));
        let lacks_source = screened.iter().any(|screened| screened.lacks_source);
        self.put_values(field, source, &values, listing, lacks_source)
    }

    /// Writes what may go out of the values that were found. `lacks_source`: a source of a hashed field was
    /// left out.
    fn put_values(
        &mut self,
        field: &CustomField,
        source: Source<'_>,
        values: &[Json<'_>],
        listing: Listing,
        lacks_source: bool,
    ) -> Items {
        let arena = self.event.arena();
        let mut items = Items::default();
        self.put(field, source, |out| {
            if values.is_empty() {
                return Err(DropReason::HashedSource);
            }
            items = field.format().write(out, arena, values, listing)?;
            Ok(rule_of(field.kind, items.rounded))
        });
        if lacks_source && !values.is_empty() {
            self.note_dropped(field, source, DropReason::HashedSource);
        }
        self.note_refused(field, source, &items);
        items
    }

    /// Writes the sum of the counts that an expression finds.
    fn total(&mut self, field: &CustomField, expr: &ValueExpr) {
        let event = self.event;
        let mut total: Option<Count> = None;
        let mut refused = None;
        let mut first = None;
        // There may be as many as an event has members: none is kept.
        expr.visit(event.into(), &mut |found| {
            if found.value.is_absent() {
                return false;
            }
            let source = Source::found(&found);
            first.get_or_insert(source);
            let screened = field.screen.screened(event.arena(), &found);
            let value = screened.json().ok_or(DropReason::HashedSource);
            let sum = value.and_then(number::count).and_then(|count| match total {
                Some(total) => total.plus(count).ok_or(DropReason::NotANumber),
                None => Ok(count),
            });
            match sum {
                Ok(sum) => total = Some(sum),
                Err(reason) => {
                    refused.get_or_insert((source, reason));
                }
            }
            true
        });
        if let (Some(total), Some(source)) = (total, first) {
            self.put(field, source, |out| {
                write::integer(out, total.whole);
                Ok(if total.is_rounded {
                    "sum of whole numbers, rounded up"
                } else {
                    "sum of whole numbers"
                })
            });
        }
        if let Some((source, reason)) = refused {
            self.note_dropped(field, source, reason);
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
        let written = WrittenMembers::default();
        let read = || {
            let mut reads = EventReads::default();
            for expr in members.values() {
                expr.note_in_event(event, &mut reads);
            }
            reads
        };
        // Each item may take as much as it likes from the event, but not all together.
        let most = MOST_LIST_BYTES.max(event.raw().len().saturating_mul(MOST_GROWTH));
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
                written: &written,
            };
            arena.each_element(found.value, &mut |element| {
                let (out, guard) = (&mut *self.out, field.guard);
                if out.len() - before > most {
                    items.are_too_many = true;
                    return;
                }
                let element = arena.opened(element);
                match field.kind {
                    Some(FieldKind::Contents) => {
                        contents::write_content(out, element, Some(shape), guard, &mut items);
                    }
                    Some(FieldKind::Ids) => {
                        let name = &field.name;
                        contents::write_shaped_id(out, name, element, shape, guard, &mut items);
                    }
                    _ => contents::write_object(out, element, shape, guard, &mut items),
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

    /// Records what became of a member, and takes back one that could not be written. `start` is where the
    /// member begins, `value` where its value does.
    fn note(
        &mut self,
        field: &CustomField,
        source: Source<'_>,
        [start, value]: [usize; 2],
        written: Result<&'static str, DropReason>,
    ) {
        match written {
            Ok(rule) => {
                let sent = SentValue::plain(self.out, value, rule);
                self.recorder
                    .sent(ServerField::CustomData(&field.name), source, sent);
            }
            Err(reason) => {
                self.out.truncate(start);
                self.note_dropped(field, source, reason);
            }
        }
    }

    /// Counts what a list was sent without: items, and members of items.
    fn note_refused(&mut self, field: &CustomField, source: Source<'_>, items: &Items) {
        if items.refused > 0 && items.written > 0 {
            self.note_dropped(field, source, DropReason::BadItem);
        }
        if items.are_too_many {
            self.note_dropped(field, source, DropReason::TooMany);
        }
        let name = ServerField::CustomData(&field.name);
        note_lost(name, &field.name, source, items, self.recorder);
    }

    fn note_dropped(&mut self, field: &CustomField, source: Source<'_>, reason: DropReason) {
        let name = ServerField::CustomData(&field.name);
        self.recorder.dropped(name, source, reason);
    }

    fn note_absent(&mut self, field: &CustomField, expr: &ValueExpr) {
        if !expr.is_empty() {
            let name = ServerField::CustomData(&field.name);
            record_absent(self.recorder, name, expr, self.event);
        }
    }
}

/// Whether an expression may give several values where it found this one.
fn gives_several(expr: &ValueExpr, found: &FoundValue<'_>) -> bool {
    expr.gathers() || found.path.is_some_and(|path| path.as_str().contains("[*]"))
}

/// Records what a field was sent without: members of the items of a list, and numbers.
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
