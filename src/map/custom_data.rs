//! `custom_data`: Meta's standard fields, typed and checked, and the properties that are passed on.
//!
//! A field of the configuration's table goes before a property of the same name. Absent values are
//! left out. What a hashed field is made from does not go out in clear as well, whatever way leads to it.
//! An e-mail address, or the number of a phone or card, withholds the field that holds it; what the table
//! names aloud may be such a number.
//!
//! `value` and `currency` of a Purchase, and of Amplitude's own revenue events, fall back to the
//! revenue properties that Amplitude's SDKs send where no path of the mapping finds anything usable: `$price`
//! times `$quantity`, else `$revenue`, and `$currency`. A `value` without a currency is withheld, since Meta
//! refuses the event that carries one.

use std::collections::{BTreeMap, HashSet};

use crate::config::expressions::{CustomValue, PassedProperties};
use crate::config::sync::SyncConfig;
use crate::dropped::DropReason;
use crate::event::Event;
use crate::expr::path::Path;
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
use values::{Listing, rule_of, write_values};

pub(super) use field::{Fit, fit, is_standard};
pub(super) use screen::{Covers, covers_of};

/// The section whose members are the event's own properties.
const SECTION: &str = "event_properties";

/// The count of items.
const COUNT: &str = "num_items";

/// What one row of the event table sends as `custom_data`.
#[derive(Debug)]
pub(super) struct CustomData {
    /// `currency` stands first and `value` second: the one decides about the other.
    fields: Vec<CustomField>,
    names: HashSet<Box<str>>,
    all_properties: bool,
    allow_personal: HashSet<Box<str>>,
    /// What of the event's own properties may not go out in clear.
    covered: BTreeMap<Box<str>, Cover>,
    page_parameters: KeptParameters,
}

/// What was written that decides about the whole event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Worth {
    /// A usable `value`.
    pub(super) value: bool,
    /// A usable `currency`.
    pub(super) currency: bool,
    /// No usable `value`, for what was found is a number with grouped thousands.
    pub(super) grouped: bool,
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
        if let Some(code) = &sync.currency {
            set_default_currency(&mut sources, code);
        }
        let named: HashSet<&str> = tables
            .iter()
            .flat_map(|table| table.keys())
            .map(String::as_str)
            .collect();
        let page_parameters = KeptParameters::new(&sync.page_url_parameters);
        let allow_personal: HashSet<Box<str>> = sync
            .allow_personal_data
            .iter()
            .map(|name| name.as_str().into())
            .collect();
        let mut fields: Vec<CustomField> = sources
            .into_iter()
            .map(|(name, source)| {
                let guard = guard_of(name, &source, named.contains(name), &allow_personal);
                CustomField {
                    name: name.into(),
                    key: write::encoded_key(name),
                    kind: kind_of(name),
                    screen: Screen {
                        covers: match guard {
                            _ if allow_personal.contains(name) => Covers::default(),
                            _ => covers_of(name, &source, sources_of_hashes, named.contains(name)),
                        },
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

    /// Passes on every property that is not a field already, and says whether the count of items was
    /// among them.
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
            let guard = Guard::of(name, false, is_allowed);
            let screened = screen::screened(
                event.arena(),
                value,
                self.covered.get(name).unwrap_or(&Cover::Free),
                (!is_allowed).then_some(&self.page_parameters),
            );
            let source = Source::at(name, value);
            let sent = screened.json();
            let written = sent.ok_or(DropReason::HashedSource).and_then(|value| {
                guard.check(&"".into(), name)?;
                let (kind, values) = (kind_of(name), [value]);
                write_values(
                    out,
                    event.arena(),
                    name,
                    kind,
                    guard,
                    &values,
                    Listing::Single,
                )
            });
            if sent.is_some() && screened.is_part() {
                recorder.dropped(
                    ServerField::Property(name),
                    source,
                    DropReason::HashedSource,
                );
            }
            match written {
                Ok(items) => {
                    has_count |= name == COUNT;
                    let sent = SentValue::plain(out, before, rule_of(kind_of(name), items.rounded));
                    recorder.sent(ServerField::Property(name), source, sent);
                    note_lost(ServerField::Property(name), name, source, &items, recorder);
                }
                // Nothing else was in it.
                Err(DropReason::Empty) if screened.is_part() => out.truncate(start),
                Err(reason) => {
                    out.truncate(start);
                    recorder.dropped(ServerField::Property(name), source, reason);
                }
            }
        }
        has_count
    }
}

/// Puts the sync's currency behind whatever else may name one, Amplitude's own property included.
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

/// The path of an event property, whatever its name holds.
fn property_path(name: &str) -> Path {
    let quoted = name.replace('\\', "\\\\").replace('"', "\\\"");
    Path::parse(&format!("{SECTION}[\"{quoted}\"]")).expect("a quoted name is a path")
}

/// Personal data is allowed in a field of an allowed name, and in one made from such a property.
fn guard_of(
    name: &str,
    source: &CustomValue,
    is_named: bool,
    allow_personal: &HashSet<Box<str>>,
) -> Guard {
    let allowed = |name: &str| allow_personal.contains(name);
    let from_allowed = match source {
        CustomValue::Value(expr) => expr.paths().into_iter().any(|path| {
            path.property()
                .is_some_and(|(_, property)| allowed(property))
        }),
        CustomValue::Each { .. } => false,
    };
    Guard::of(name, is_named, allowed(name) || from_allowed)
}

#[cfg(test)]
mod tests;
