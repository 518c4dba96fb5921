//! `custom_data`: Meta's standard fields, typed and checked, and the properties that are passed on.
//!
//! A field of the configuration's table goes before a property of the same name. Absent values are
//! left out. An e-mail address or phone number in clear text withholds the field that holds it.
//!
//! `value` and `currency` of a Purchase, and of Amplitude's own revenue events, fall back to the
//! revenue properties that Amplitude's SDKs send where the mapping finds nothing: `$price` times
//! `$quantity`, else `$revenue`, and `$currency`. A `value` without a currency is withheld, since Meta
//! refuses the event that carries one.

use std::collections::{BTreeMap, HashSet};

use crate::config::{CustomValue, Properties};
use crate::event::{Event, Json};
use crate::map::dropped::DropReason;
use crate::map::json;
use crate::map::list;
use crate::map::record::{Field, Recorder, Sent, Source};
use crate::path::{Path, ValueExpr};

mod contents;
mod number;
mod revenue;
mod standard;
mod typed;

use contents::Items;
use standard::{Kind, kind_of};
use typed::Guard;

/// The section whose members are the event's own properties.
const SECTION: &str = "event_properties";

/// What one row of the event table sends as `custom_data`.
#[derive(Debug)]
pub(super) struct CustomData {
    /// `currency` stands first and `value` second: the one decides about the other.
    fields: Vec<CustomField>,
    names: HashSet<Box<str>>,
    all_properties: bool,
    allow_personal: HashSet<Box<str>>,
}

#[derive(Debug)]
struct CustomField {
    name: Box<str>,
    key: Box<str>,
    kind: Option<Kind>,
    source: CustomValue,
    guard: Guard,
}

/// What was written that decides about the whole event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Worth {
    /// A usable `value`.
    pub(super) value: bool,
    /// A usable `currency`.
    pub(super) currency: bool,
}

/// What the fields of one event depend on, besides the event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    /// The event goes out as Purchase.
    pub(super) purchase: bool,
    /// Amplitude's revenue properties stand in where the mapping finds nothing.
    pub(super) revenue: bool,
}

impl CustomData {
    /// Compiles the tables and properties of a sync and one of its events.
    pub(super) fn compile(
        tables: [&BTreeMap<String, CustomValue>; 2],
        properties: [&Properties; 2],
        allow_personal_data: &[String],
    ) -> Self {
        let mut sources: BTreeMap<&str, CustomValue> = BTreeMap::new();
        let mut all_properties = false;
        for properties in properties {
            match properties {
                Properties::All => all_properties = true,
                Properties::Named(names) => {
                    for name in names {
                        sources.insert(name, property(name));
                    }
                }
            }
        }
        // Where a table is silent about these two, they still have a property or a fallback.
        for name in ["currency", "value"] {
            if all_properties {
                sources.insert(name, property(name));
            } else {
                sources
                    .entry(name)
                    .or_insert_with(|| CustomValue::Value(ValueExpr::default()));
            }
        }
        for table in tables {
            for (name, source) in table {
                sources.insert(name, source.clone());
            }
        }
        let allow_personal: HashSet<Box<str>> = allow_personal_data
            .iter()
            .map(|name| name.as_str().into())
            .collect();
        let mut fields: Vec<CustomField> = sources
            .into_iter()
            .map(|(name, source)| CustomField {
                name: name.into(),
                key: json::encoded_key(name),
                kind: kind_of(name),
                source,
                guard: guard_of(name, &allow_personal),
            })
            .collect();
        fields.sort_by_key(|field| match &*field.name {
            "currency" => 0,
            "value" => 1,
            _ => 2,
        });
        let names = fields.iter().map(|field| field.name.clone()).collect();
        Self {
            fields,
            names,
            all_properties,
            allow_personal,
        }
    }

    /// Writes `custom_data`, unless there is nothing in it.
    pub(super) fn write(
        &self,
        out: &mut Vec<u8>,
        event: &Event<'_>,
        setting: Setting,
        recorder: &mut impl Recorder,
    ) -> Worth {
        let start = out.len();
        json::key(out, "\"custom_data\":{");
        let empty = out.len();
        let mut worth = Worth::default();
        let mut quantity = None;
        for field in &self.fields {
            let mut writer = Writer {
                out,
                event,
                setting,
                recorder,
            };
            let items = match (&*field.name, &field.source) {
                ("currency", CustomValue::Value(expr)) => {
                    worth.currency = writer.currency(field, expr);
                    continue;
                }
                ("value", CustomValue::Value(expr)) => {
                    worth.value = writer.value(field, expr, worth.currency);
                    continue;
                }
                (_, CustomValue::Value(expr)) => writer.expression(field, expr),
                (_, CustomValue::Each { list, members }) => writer.each(field, list, members),
            };
            if field.kind == Some(Kind::Contents) {
                quantity = items.quantity;
            }
        }
        if self.all_properties {
            self.write_properties(out, event, recorder);
        }
        if let Some(quantity) = quantity {
            self.write_quantity(out, event, quantity, recorder);
        }
        if out.len() == empty {
            out.truncate(start);
        } else {
            out.push(b'}');
        }
        worth
    }

    /// Passes on every property that is not a field already.
    fn write_properties(&self, out: &mut Vec<u8>, event: &Event<'_>, recorder: &mut impl Recorder) {
        let mut seen: HashSet<&str> = HashSet::new();
        for (name, value) in event.section(SECTION) {
            if self.names.contains(&**name) || !seen.insert(name) || value.is_absent() {
                continue;
            }
            let start = out.len();
            json::key(out, &json::encoded_key(name));
            let before = out.len();
            let guard = guard_of(name, &self.allow_personal);
            let written = guard
                .check("", name)
                .and_then(|()| write_values(out, name, kind_of(name), guard, &[*value], false));
            let source = Source::at(name, *value);
            match written {
                Ok(_) => recorder.sent(
                    Field::Property(name),
                    source,
                    Sent::plain(out, before, rule_of(kind_of(name))),
                ),
                Err(reason) => {
                    out.truncate(start);
                    recorder.dropped(Field::Property(name), source, reason);
                }
            }
        }
    }

    /// Writes the sum of the quantities in `contents` as `num_items`, unless that has a source.
    fn write_quantity(
        &self,
        out: &mut Vec<u8>,
        event: &Event<'_>,
        quantity: i64,
        recorder: &mut impl Recorder,
    ) {
        let passed_on = self.all_properties && event.member(SECTION, "num_items").is_some();
        if self.names.contains("num_items") || passed_on {
            return;
        }
        json::key(out, "\"num_items\":");
        let before = out.len();
        json::integer(out, quantity);
        recorder.sent(
            Field::CustomData("num_items"),
            Source::made(),
            Sent::plain(out, before, "sum of the quantities in contents"),
        );
    }
}

/// Whether a field is one of Meta's.
pub(super) fn is_standard(name: &str) -> bool {
    kind_of(name).is_some()
}

/// Whether a field can be made from its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
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
pub(super) fn fit(name: &str, source: &CustomValue) -> Fit {
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
            let Some(constant) = &expr.default else {
                return Fit::Well;
            };
            let mut out = Vec::new();
            let value = constant.json();
            match write_values(&mut out, name, kind, Guard::Nothing, &[value], false) {
                Ok(_) => Fit::Well,
                Err(reason) => Fit::Constant(reason),
            }
        }
    }
}

struct Writer<'w, 'e, R> {
    out: &'w mut Vec<u8>,
    event: &'w Event<'e>,
    setting: Setting,
    recorder: &'w mut R,
}

impl<R: Recorder> Writer<'_, '_, R> {
    fn currency(&mut self, field: &CustomField, expr: &ValueExpr) -> bool {
        let fallback = || {
            self.setting
                .revenue
                .then(|| revenue::currency(self.event))
                .flatten()
        };
        let found = expr.first(self.event);
        let source = match &found {
            Some(found) => Some(Source::found(found)),
            None => fallback(),
        };
        let Some((source, value)) = source.and_then(|source| Some((source, source.value?))) else {
            self.note_absent(field, expr);
            return false;
        };
        self.put(field, source, |out| typed::currency(out, value))
    }

    fn value(&mut self, field: &CustomField, expr: &ValueExpr, has_currency: bool) -> bool {
        let amount = match expr.first(self.event) {
            Some(found) => {
                let source = Source::found(&found);
                let text = number::number(found.value);
                Some((source, text.ok_or(DropReason::NotANumber)))
            }
            None if self.setting.revenue => revenue::amount(self.event),
            None => None,
        };
        let Some((source, amount)) = amount else {
            self.note_absent(field, expr);
            return false;
        };
        // A Purchase without a currency is refused as a whole, and its dead letter shows the value.
        let withheld = !has_currency && !self.setting.purchase;
        self.put(field, source, |out| {
            let amount = amount?;
            if amount.starts_with('-') {
                return Err(DropReason::Negative);
            }
            if withheld {
                return Err(DropReason::ValueWithoutCurrency);
            }
            out.extend_from_slice(amount.as_bytes());
            Ok(())
        })
    }

    fn expression(&mut self, field: &CustomField, expr: &ValueExpr) -> Items {
        let found = expr.all(self.event);
        let Some(first) = found.first() else {
            self.note_absent(field, expr);
            return Items::default();
        };
        let source = Source::found(first);
        let is_list = first.path.is_some_and(|path| path.as_str().contains("[*]"));
        let values: Vec<Json<'_>> = found.iter().map(|found| found.value).collect();
        let mut items = Items::default();
        self.put(field, source, |out| {
            items = write_values(out, &field.name, field.kind, field.guard, &values, is_list)?;
            Ok(())
        });
        self.note_refused(field, source, &items);
        items
    }

    fn each(
        &mut self,
        field: &CustomField,
        list: &Path,
        members: &BTreeMap<String, ValueExpr>,
    ) -> Items {
        let found = list.all(self.event);
        let Some(first) = found.first() else {
            self.note_absent(field, &ValueExpr::path(list.clone()));
            return Items::default();
        };
        let source = Source::at(list.as_str(), *first);
        let mut items = Items::default();
        self.put(field, source, |out| {
            out.push(b'[');
            for value in &found {
                list::each_element(*value, &mut |element| match field.kind {
                    Some(Kind::Contents) => contents::write_content(
                        out,
                        element,
                        Some(members),
                        field.guard,
                        &mut items,
                    ),
                    Some(Kind::Ids) => {
                        let id = members.get("id").and_then(|expr| expr.first_in(element));
                        write_id(
                            out,
                            &field.name,
                            id.map(|id| id.value),
                            field.guard,
                            &mut items,
                        );
                    }
                    _ => contents::write_object(out, element, members, field.guard, &mut items),
                });
            }
            out.push(b']');
            if items.written == 0 {
                Err(DropReason::NoItems)
            } else {
                Ok(())
            }
        });
        self.note_refused(field, source, &items);
        items
    }

    /// Writes a member, or takes it back where its value cannot be used.
    fn put(
        &mut self,
        field: &CustomField,
        source: Source<'_>,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), DropReason>,
    ) -> bool {
        let start = self.out.len();
        json::key(self.out, &field.key);
        let before = self.out.len();
        let written = write(self.out);
        let name = Field::CustomData(&field.name);
        match written {
            Ok(()) => {
                let sent = Sent::plain(self.out, before, rule_of(field.kind));
                self.recorder.sent(name, source, sent);
            }
            Err(reason) => {
                self.out.truncate(start);
                self.recorder.dropped(name, source, reason);
            }
        }
        written.is_ok()
    }

    /// Counts items that were left out of a list that was sent all the same.
    fn note_refused(&mut self, field: &CustomField, source: Source<'_>, items: &Items) {
        if items.refused > 0 && items.written > 0 {
            self.recorder
                .dropped(Field::CustomData(&field.name), source, DropReason::BadItem);
        }
    }

    fn note_absent(&mut self, field: &CustomField, expr: &ValueExpr) {
        if !expr.paths.is_empty() {
            self.recorder.absent(Field::CustomData(&field.name), expr);
        }
    }
}

/// Writes the values that were found for a field.
fn write_values(
    out: &mut Vec<u8>,
    name: &str,
    kind: Option<Kind>,
    guard: Guard,
    values: &[Json<'_>],
    is_list: bool,
) -> Result<Items, DropReason> {
    let mut items = Items::default();
    let Some(&value) = values.first() else {
        return Err(DropReason::Empty);
    };
    match kind {
        Some(Kind::Number { negative_refused }) => typed::number(out, value, negative_refused)?,
        Some(Kind::Count) => typed::count(out, value)?,
        Some(Kind::Currency) => typed::currency(out, value)?,
        Some(Kind::Text) => typed::text(out, name, value, guard)?,
        Some(Kind::Word(words)) => typed::word(out, value, words)?,
        Some(Kind::Scalar) => typed::scalar(out, name, value, guard)?,
        Some(Kind::Date) => typed::date(out, value)?,
        Some(Kind::Object) => typed::object(out, name, value, guard)?,
        Some(Kind::Ids | Kind::Contents) => {
            out.push(b'[');
            for value in values {
                list::each_element(*value, &mut |element| {
                    if kind == Some(Kind::Ids) {
                        write_id(out, name, Some(element), guard, &mut items);
                    } else {
                        contents::write_content(out, element, None, guard, &mut items);
                    }
                });
            }
            out.push(b']');
            if items.written == 0 {
                return Err(DropReason::NoItems);
            }
        }
        None if is_list => {
            out.push(b'[');
            for value in values {
                json::separate(out);
                typed::any(out, name, *value, guard)?;
            }
            out.push(b']');
        }
        None => typed::any(out, name, value, guard)?,
    }
    Ok(items)
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

fn property(name: &str) -> CustomValue {
    CustomValue::Value(ValueExpr::path(property_path(name)))
}

/// The path of an event property, whatever its name holds.
fn property_path(name: &str) -> Path {
    let quoted = name.replace('\\', "\\\\").replace('"', "\\\"");
    Path::parse(&format!("{SECTION}[\"{quoted}\"]")).expect("a quoted name is a path")
}

fn guard_of(name: &str, allow_personal: &HashSet<Box<str>>) -> Guard {
    if allow_personal.contains(name) {
        Guard::Nothing
    } else {
        Guard::Personal
    }
}

const fn rule_of(kind: Option<Kind>) -> &'static str {
    match kind {
        Some(Kind::Number { .. }) => "number",
        Some(Kind::Count) => "whole number",
        Some(Kind::Currency) => "currency of ISO 4217",
        Some(Kind::Text) => "text",
        Some(Kind::Word(_)) => "one of Meta's words",
        Some(Kind::Scalar) => "text, number or boolean",
        Some(Kind::Date) => "date",
        Some(Kind::Ids) => "list of ids",
        Some(Kind::Contents) => "list of items with id and quantity",
        Some(Kind::Object) => "object",
        None => "as it is",
    }
}
