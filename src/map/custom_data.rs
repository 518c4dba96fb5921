//! `custom_data`: Meta's standard fields, typed and checked, and the properties that are passed on.
//!
//! A field of the configuration's table goes before a property of the same name. Absent values are
//! left out. The source of a hashed field is not sent in clear as well, whichever path leads to it. A field
//! that holds an e-mail address, or the number of a phone or card, is withheld; a value that the table names
//! explicitly may be such a number.
//!
//! `value` and `currency` of a Purchase, and of Amplitude's own revenue events, fall back to the
//! revenue properties that Amplitude's SDKs send where no path of the mapping finds anything usable: `$price`
//! times `$quantity`, else `$revenue`, and `$currency`. A `value` without a currency is withheld, since Meta
//! refuses an event that carries one.

use std::collections::{BTreeMap, HashSet};

use crate::config::expressions::{CustomValue, PassedProperties};
use crate::config::sync::SyncConfig;
use crate::dropped::DropReason;
use crate::event::Event;
use crate::expr::path::{Path, PathStep};
use crate::expr::value::{Constant, ValueExpr};
use crate::json::write;
use crate::map::hashed_sources::{Cover, HashedSources};
use crate::map::page::KeptParameters;
use crate::map::record::{Recorder, SentValue, ServerField, Source};

mod contents;
mod field;
mod number;
mod revenue;
mod screen;
pub(super) mod standard;
mod typed;
mod values;

use field::{CustomField, FieldWriter, note_lost};
use screen::Screen;
use standard::{FieldKind, kind_of};
use typed::Guard;
use values::{FieldFormat, Listing, rule_of};

pub(super) use field::{Fit, fit, is_standard};
pub(super) use screen::{Covers, covers_of};

/// The section whose members are the event's own properties.
const SECTION: &str = "event_properties";

/// The count of items.
const COUNT: &str = "num_items";

/// What one row of the event table sends as `custom_data`.
#[derive(Debug)]
pub(super) struct CustomData {
    /// `currency` comes first and `value` second, since `value` depends on the currency.
    fields: Vec<CustomField>,
    names: HashSet<Box<str>>,
    all_properties: bool,
    allow_personal: HashSet<String>,
    /// What of the event's own properties may not be sent in clear.
    covered: BTreeMap<Box<str>, Cover>,
    page_parameters: KeptParameters,
}

/// The parts of what was written that decide about the whole event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Worth {
    /// A usable `value`.
    pub(super) value: bool,
    /// A usable `currency`.
    pub(super) currency: bool,
    /// No usable `value`: the number that was found has grouped thousands.
    pub(super) grouped: bool,
}

/// What the fields of one event depend on, besides the event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    /// The event goes out as Purchase.
    pub(super) purchase: bool,
    /// Amplitude's revenue properties are used where the mapping finds nothing.
    pub(super) revenue: bool,
}

impl CustomData {
    /// Compiles the tables and properties of a sync and one of its events.
    pub(super) fn compile(
        tables: [&BTreeMap<String, CustomValue>; 2],
        properties: [&PassedProperties; 2],
        sync: &SyncConfig,
        sources_of_hashes: &HashedSources,
    ) -> Self {
        let mut sources: BTreeMap<&str, CustomValue> = BTreeMap::new();
        let mut all_properties = false;
        for properties in properties {
            match properties {
                PassedProperties::All => all_properties = true,
                PassedProperties::Named(names) => {
                    for name in names {
                        sources.insert(name, property(name));
                    }
                }
            }
        }
        // These two still have a property or a fallback where no table names them.
        for name in ["currency", "value"] {
            sources.entry(name).or_insert_with(|| {
                if all_properties {
                    property(name)
                } else {
                    CustomValue::Value(ValueExpr::default())
                }
            });
        }
        for table in tables {
            for (name, source) in table {
                sources.insert(name, source.clone());
            }
        }
        if let Some(code) = &sync.currency {
            set_default_currency(&mut sources, code);
        }
        let page_parameters = KeptParameters::new(&sync.page_url_parameters);
        let allow_personal: HashSet<String> = sync.allow_personal_data.iter().cloned().collect();
        let mut fields: Vec<CustomField> = sources
            .into_iter()
            .map(|(name, source)| {
                let is_named = tables.iter().any(|table| table.contains_key(name));
                let guard = guard_of(name, &source, is_named, &allow_personal);
                let covers = if allow_personal.contains(name) {
                    Covers::default()
                } else {
                    covers_of(name, &source, sources_of_hashes, is_named)
                };
                CustomField {
                    name: name.into(),
                    key: write::encoded_key(name),
                    kind: kind_of(name),
                    screen: Screen {
                        covers,
                        pages: (guard != Guard::Nothing).then(|| page_parameters.clone()),
                    },
                    guard,
                    source,
                }
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
            covered: screen::covers_of_section(SECTION, sources_of_hashes),
            allow_personal,
            page_parameters,
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
        write::key(out, "\"custom_data\":{");
        let empty = out.len();
        let mut worth = Worth::default();
        let mut currency = None;
        let mut quantity = None;
        let mut has_count = false;
        for field in &self.fields {
            let before = out.len();
            let mut writer = FieldWriter {
                out,
                event,
                setting,
                recorder,
            };
            let items = match (&*field.name, &field.source) {
                ("currency", CustomValue::Value(expr)) => {
                    currency = writer.currency(field, expr);
                    worth.currency = currency.is_some();
                    continue;
                }
                ("value", CustomValue::Value(expr)) => {
                    (worth.value, worth.grouped) = writer.value(field, expr, currency);
                    continue;
                }
                (_, CustomValue::Value(expr)) => writer.expression(field, expr),
                (_, CustomValue::Each { lists, members }) => writer.each(field, lists, members),
            };
            if field.kind == Some(FieldKind::Contents) {
                quantity = items.quantity;
            }
            has_count |= &*field.name == COUNT && out.len() > before;
        }
        if self.all_properties {
            has_count |= self.write_properties(out, event, recorder);
        }
        if let Some(quantity) = quantity.filter(|_| !has_count) {
            write_quantity(out, quantity, recorder);
        }
        if out.len() == empty {
            out.truncate(start);
        } else {
            out.push(b'}');
        }
        worth
    }

    /// Passes on every property that is not a field already; true where the count of items was one of them.
    fn write_properties(
        &self,
        out: &mut Vec<u8>,
        event: &Event<'_>,
        recorder: &mut impl Recorder,
    ) -> bool {
        let mut has_count = false;
        for (name, value) in event.section(SECTION) {
            if self.names.contains(name) || value.is_absent() {
                continue;
            }
            let start = out.len();
            write::member(out, name);
            let before = out.len();
            let is_allowed = self.allow_personal.contains(name);
            let format = FieldFormat {
                name,
                kind: kind_of(name),
                guard: Guard::of(name, false, is_allowed),
            };
            let screened = screen::screened(
                event.arena(),
                value,
                self.covered.get(name).unwrap_or(&Cover::Free),
                (!is_allowed).then_some(&self.page_parameters),
            );
            let (field, source) = (ServerField::Property(name), Source::at(name, value));
            let sent = screened.json().ok_or(DropReason::HashedSource);
            let written = sent.and_then(|value| {
                format.guard.check(&"".into(), name)?;
                format.write(out, event.arena(), &[value], Listing::Single)
            });
            if screened.is_part() {
                recorder.dropped(field, source, DropReason::HashedSource);
            }
            match written {
                Ok(items) => {
                    has_count |= name == COUNT;
                    let rule = rule_of(format.kind, items.rounded);
                    recorder.sent(field, source, SentValue::plain(out, before, rule));
                    note_lost(field, name, source, &items, recorder);
                }
                // The hashed source was all of it.
                Err(DropReason::Empty) if screened.is_part() => out.truncate(start),
                Err(reason) => {
                    out.truncate(start);
                    recorder.dropped(field, source, reason);
                }
            }
        }
        has_count
    }
}

/// Adds the sync's currency as the default, after any path and after Amplitude's own property.
fn set_default_currency(sources: &mut BTreeMap<&str, CustomValue>, code: &str) {
    let Some(CustomValue::Value(expr)) = sources.get_mut("currency") else {
        return;
    };
    if expr.is_empty() {
        *expr = ValueExpr::path(property_path("$currency"));
    }
    let default = || Constant::new(&code.into());
    expr.default.get_or_insert_with(default);
}

/// Writes the sum of the quantities in `contents`, where nothing else gave a count of items.
fn write_quantity(out: &mut Vec<u8>, quantity: i64, recorder: &mut impl Recorder) {
    write::plain_key(out, COUNT);
    let before = out.len();
    write::integer(out, quantity);
    recorder.sent(
        ServerField::CustomData(COUNT),
        Source::made(),
        SentValue::plain(out, before, "sum of the quantities in contents"),
    );
}

fn property(name: &str) -> CustomValue {
    CustomValue::Value(ValueExpr::path(property_path(name)))
}

/// The path of an event property.
fn property_path(name: &str) -> Path {
    let step = PathStep::Key(name.into());
    Path::parse(&format!("{SECTION}{step}")).expect("a quoted name is a path")
}

/// Personal data is allowed in a field of an allowed name, and in one made from such a property.
fn guard_of(
    name: &str,
    source: &CustomValue,
    is_named: bool,
    allow_personal: &HashSet<String>,
) -> Guard {
    let is_allowed = |name: &str| allow_personal.contains(name);
    let is_from_allowed = match source {
        CustomValue::Value(expr) => {
            let mut properties = expr.paths().into_iter().filter_map(Path::property);
            properties.any(|(_, name)| is_allowed(name))
        }
        CustomValue::Each { .. } => false,
    };
    Guard::of(name, is_named, is_allowed(name) || is_from_allowed)
}

#[cfg(test)]
mod tests;
