//! `custom_data`: Meta's standard fields, typed and checked, and the properties that are passed on.
//!
//! A field of the configuration's table goes before a property of the same name. Absent values are
//! left out. An e-mail address or phone number in clear text withholds the field that holds it.
//!
//! `value` and `currency` of a Purchase, and of Amplitude's own revenue events, fall back to the
//! revenue properties that Amplitude's SDKs send where no path of the mapping finds anything: `$price`
//! times `$quantity`, else `$revenue`, and `$currency`. A `value` without a currency is withheld, since Meta
//! refuses the event that carries one.

use std::collections::{BTreeMap, HashSet};

use crate::config::{CustomValue, Properties};
use crate::event::Event;
use crate::map::json;
use crate::map::record::{Field, Recorder, Sent, Source};
use crate::path::{Path, ValueExpr};

mod contents;
mod field;
mod number;
mod revenue;
mod standard;
mod typed;

use field::{CustomField, Writer, note_lost, rule_of, write_values};
use standard::{Kind, kind_of};
use typed::Guard;

pub(super) use field::{Fit, fit, is_standard};

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
                guard: guard_of(name, &source, &allow_personal),
                source,
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
        let mut has_count = false;
        for field in &self.fields {
            let before = out.len();
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
                (_, CustomValue::Each { lists, members }) => writer.each(field, lists, members),
            };
            if field.kind == Some(Kind::Contents) {
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
        let mut seen: HashSet<&str> = HashSet::new();
        for (name, value) in event.section(SECTION) {
            if self.names.contains(&**name) || !seen.insert(name) || value.is_absent() {
                continue;
            }
            let start = out.len();
            json::member(out, name);
            let before = out.len();
            let guard = if self.allow_personal.contains(&**name) {
                Guard::Nothing
            } else {
                Guard::Personal
            };
            let written = guard
                .check("", name)
                .and_then(|()| write_values(out, name, kind_of(name), guard, &[*value], false));
            let source = Source::at(name, *value);
            match written {
                Ok(items) => {
                    has_count |= name == COUNT;
                    let sent = Sent::plain(out, before, rule_of(kind_of(name)));
                    recorder.sent(Field::Property(name), source, sent);
                    note_lost(name, source, &items, recorder);
                }
                Err(reason) => {
                    out.truncate(start);
                    recorder.dropped(Field::Property(name), source, reason);
                }
            }
        }
        has_count
    }
}

/// Writes the sum of the quantities in `contents`, where nothing else gave a count of items.
fn write_quantity(out: &mut Vec<u8>, quantity: i64, recorder: &mut impl Recorder) {
    json::plain_key(out, COUNT);
    let before = out.len();
    json::integer(out, quantity);
    recorder.sent(
        Field::CustomData(COUNT),
        Source::made(),
        Sent::plain(out, before, "sum of the quantities in contents"),
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
fn guard_of(name: &str, source: &CustomValue, allow_personal: &HashSet<Box<str>>) -> Guard {
    let allowed = |name: &str| allow_personal.contains(name);
    let from_allowed = match source {
        CustomValue::Value(expr) => expr.paths.iter().any(|path| {
            path.property()
                .is_some_and(|(_, property)| allowed(property))
        }),
        CustomValue::Each { .. } => false,
    };
    if allowed(name) || from_allowed {
        Guard::Nothing
    } else {
        Guard::Personal
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::from_toml;
    use crate::map::record::Notes;

    /// Maps the properties of an event of the given name, and gives the JSON and what was lost.
    #[track_caller]
    fn written(rules: &str, name: &str, properties: &str) -> (String, Vec<String>) {
        let text = format!(
            "[ingest]\nallow_unauthenticated = true\n[sync.web]\npixel_id = \"1\"\naccess_token = \"t\"\n{rules}"
        );
        let config = from_toml(&text, &[]).unwrap();
        let sync = config.syncs.values().next().unwrap();
        let custom_data = CustomData::compile(
            [&sync.mapping.custom_data, &BTreeMap::new()],
            [&sync.properties, &Properties::default()],
            &sync.allow_personal_data,
        );
        let event = format!("{{\"event_properties\":{properties}}}");
        let event = Event::decode(event.as_bytes()).unwrap();
        let setting = Setting {
            purchase: name == "Purchase",
            revenue: name == "Purchase",
        };
        let (mut out, mut notes) = (Vec::new(), Notes::default());
        custom_data.write(&mut out, &event, setting, &mut notes);
        let lost = notes
            .dropped()
            .map(|(field, why)| format!("{field}: {why}"))
            .collect();
        (String::from_utf8(out).unwrap(), lost)
    }

    #[track_caller]
    fn check(rules: &str, properties: &str, expected: &str, lost: &[&str]) {
        let (json, dropped) = written(rules, "Any", properties);
        assert_eq!(json, expected);
        assert_eq!(dropped, lost);
    }

    #[track_caller]
    fn check_purchase(rules: &str, properties: &str, expected: &str, lost: &[&str]) {
        let (json, dropped) = written(rules, "Purchase", properties);
        assert_eq!(json, expected);
        assert_eq!(dropped, lost);
    }

    #[test]
    fn named_properties_are_passed_as_they_are() {
        check(
            "properties = [\"coupon\", \"a \\\"b\\\\\", \"deep\", \"none\", \"missing\"]",
            r#"{"coupon":"X","a \"b\\":1.50,"deep":{"x":[1,null]},"none":"(none)","other":1}"#,
            r#""custom_data":{"a \"b\\":1.50,"coupon":"X","deep":{"x":[1]}}"#,
            &[],
        );
        check("", r#"{"coupon":"X","value":1,"currency":"USD"}"#, "", &[]);
    }

    #[test]
    fn a_standard_name_is_typed_by_either_route() {
        let properties = r#"{"value":"19.90","currency":"eur","num_items":"2","status":true,"predicted_ltv":"-1","net_revenue":"1,5"}"#;
        let expected = r#""custom_data":{"currency":"EUR","value":19.90,"num_items":2,"#;
        let named = "properties = [\"value\", \"currency\", \"num_items\", \"predicted_ltv\", \"status\", \"net_revenue\"]";
        let lost = &["custom_data.net_revenue: not_a_number"];
        check(
            named,
            properties,
            &format!("{expected}\"predicted_ltv\":-1,\"status\":true}}"),
            lost,
        );
        check(
            "properties = [\"*\"]",
            properties,
            &format!("{expected}\"status\":true,\"predicted_ltv\":-1}}"),
            &["custom_data.*: not_a_number"],
        );
    }

    #[test]
    fn a_table_goes_before_a_property() {
        check(
            "properties = [\"*\"]\n[sync.web.custom_data]\norder_id = \"event_properties.id\"",
            r#"{"id":7,"order_id":"no","x":1}"#,
            r#""custom_data":{"order_id":"7","id":7,"x":1}"#,
            &[],
        );
    }

    #[test]
    fn a_value_needs_a_currency() {
        let rules = "[sync.web.custom_data]\nvalue = \"event_properties.total\"\ncurrency = \"event_properties.currency\"";
        let lost = &["custom_data.value: value_without_currency"];
        check(rules, r#"{"total":5}"#, "", lost);
        check(
            rules,
            r#"{"total":5,"currency":"EUR"}"#,
            r#""custom_data":{"currency":"EUR","value":5}"#,
            &[],
        );
        check(
            rules,
            r#"{"total":-5,"currency":"EUR"}"#,
            r#""custom_data":{"currency":"EUR"}"#,
            &["custom_data.value: negative"],
        );
    }

    #[test]
    fn a_purchase_falls_back_to_amplitudes_revenue() {
        let rules = "[sync.web.custom_data]\nvalue = \"event_properties.total\"\ncurrency = { from = \"event_properties.currency\", default = \"USD\" }";
        let revenue = r#"{"$price":"9.95","$quantity":2,"$currency":"GBP"}"#;
        check_purchase(
            rules,
            revenue,
            r#""custom_data":{"currency":"GBP","value":19.90}"#,
            &[],
        );
        check(rules, revenue, r#""custom_data":{"currency":"USD"}"#, &[]);
        check_purchase(
            rules,
            r#"{"$revenue":1,"total":2,"currency":"CHF","$currency":"GBP"}"#,
            r#""custom_data":{"currency":"CHF","value":2}"#,
            &[],
        );
        check_purchase(
            rules,
            r#"{"$revenue":1,"total":-2}"#,
            r#""custom_data":{"currency":"USD"}"#,
            &["custom_data.value: negative"],
        );
        let fixed = "[sync.web.custom_data]\ncurrency = { constant = \"USD\" }";
        check_purchase(
            fixed,
            revenue,
            r#""custom_data":{"currency":"USD","value":19.90}"#,
            &[],
        );
    }

    #[test]
    fn contents_need_ids_and_quantities() {
        let rules = "[sync.web.custom_data]\ncontents = { each = \"event_properties.p\", id = [\"sku\", \"id\"], quantity = \"n\", item_price = \"price\", delivery_category = \"way\", size = \"s\" }";
        check(
            rules,
            r#"{"p":[{"sku":"A","n":"2","price":"9.50","s":"L"},{"id":7,"price":-1,"way":"CURBSIDE"},{"n":1},{"sku":"B","n":0},{"sku":"C","n":1.5},"x"]}"#,
            concat!(
                r#""custom_data":{"contents":[{"id":"A","quantity":2,"item_price":9.50,"size":"L"},"#,
                r#"{"id":7,"quantity":1,"delivery_category":"curbside"}],"num_items":3}"#
            ),
            &[
                "custom_data.contents: bad_item",
                "custom_data.contents: negative",
            ],
        );
        check(
            rules,
            r#"{"p":{"sku":"A"}}"#,
            r#""custom_data":{"contents":[{"id":"A","quantity":1}],"num_items":1}"#,
            &[],
        );
        check(
            rules,
            r#"{"p":[{"n":1}]}"#,
            "",
            &["custom_data.contents: no_items"],
        );
        check(
            rules,
            r#"{"p":[]}"#,
            "",
            &["custom_data.contents: no_items"],
        );
        check(rules, "{}", "", &[]);
    }

    #[test]
    fn members_that_an_item_goes_without_are_noted() {
        let lost = &["custom_data.contents: not_a_text"];
        let properties = r#"{"p":[{"id":"A","size":{"eu":42},"tags":["a"]}]}"#;
        let expected = r#""custom_data":{"contents":[{"id":"A","quantity":1}],"num_items":1}"#;
        let table = "[sync.web.custom_data]\ncontents = ";
        for source in [
            "\"event_properties.p\"",
            "{ each = \"event_properties.p\", id = \"id\", size = \"size\" }",
        ] {
            check(&format!("{table}{source}"), properties, expected, lost);
        }
        check(
            "[sync.web.custom_data]\nseats = { each = \"event_properties.s\", no = \"n\", who = \"w\" }",
            r#"{"s":[{"n":1,"w":"pat@example.com"}]}"#,
            r#""custom_data":{"seats":[{"no":1}]}"#,
            &["custom_data.seats: personal_data"],
        );
    }

    #[test]
    fn an_item_may_read_its_event() {
        check(
            "[sync.web.custom_data]\ncontents = { each = \"event_properties.p\", id = \"sku\", brand = \"event_properties.brand\", item_price = \"price\" }",
            r#"{"brand":"X","price":1,"p":[{"sku":"A"},{"sku":"B","event_properties":{"brand":"Y"}}]}"#,
            r#""custom_data":{"contents":[{"id":"A","quantity":1,"brand":"X"},{"id":"B","quantity":1,"brand":"Y"}],"num_items":2}"#,
            &[],
        );
    }

    #[test]
    fn the_first_list_that_is_there_counts() {
        let rules = "[sync.web.custom_data]\ncontents = { each = [\"event_properties.p\", \"event_properties\"], id = \"sku\" }";
        for (properties, id) in [
            (r#"{"p":[{"sku":"A"}],"sku":"B"}"#, "A"),
            (r#"{"sku":"B"}"#, "B"),
            (r#"{"p":null,"sku":"B"}"#, "B"),
        ] {
            let expected = format!(
                "\"custom_data\":{{\"contents\":[{{\"id\":\"{id}\",\"quantity\":1}}],\"num_items\":1}}"
            );
            check(rules, properties, &expected, &[]);
        }
    }

    #[test]
    fn the_contents_count_the_items_where_nothing_else_does() {
        let table = "[sync.web.custom_data]\ncontents = \"event_properties.p\"\nnum_items = \"event_properties.n\"";
        let all = "properties = [\"*\"]\n[sync.web.custom_data]\ncontents = \"event_properties.p\"";
        let items = r#""p":[{"id":"A","quantity":2}]"#;
        let contents = r#""custom_data":{"contents":[{"id":"A","quantity":2}]"#;
        for (properties, count, lost) in [
            (format!("{{{items},\"n\":5}}"), 5, None),
            (format!("{{{items}}}"), 2, None),
            (format!("{{{items},\"n\":\"\"}}"), 2, None),
            (
                format!("{{{items},\"n\":\"many\"}}"),
                2,
                Some("custom_data.num_items: not_a_number"),
            ),
        ] {
            let expected = format!("{contents},\"num_items\":{count}}}");
            let (json, dropped) = written(table, "Any", &properties);
            assert_eq!(
                (json, dropped.first().map(String::as_str)),
                (expected, lost)
            );
        }
        let (json, _) = written(all, "Any", &format!("{{{items},\"num_items\":null}}"));
        assert!(json.ends_with(",\"num_items\":2}"), "{json}");
        let (json, _) = written(all, "Any", &format!("{{{items},\"num_items\":5}}"));
        assert!(json.ends_with(",\"num_items\":5}"), "{json}");
    }

    #[test]
    fn contents_in_metas_own_form_are_checked_too() {
        check(
            "properties = [\"contents\", \"content_ids\", \"num_items\"]",
            r#"{"contents":"[{\"quantity\":\"3\",\"id\":\"A\",\"id\":\"B\",\"brand\":\"X\",\"colour\":null}]","content_ids":["A",7,null,1.5],"num_items":9}"#,
            r#""custom_data":{"content_ids":["A",7],"contents":[{"id":"A","quantity":3,"brand":"X"}],"num_items":9}"#,
            &["custom_data.content_ids: bad_item"],
        );
    }

    #[test]
    fn lists_of_the_operators_own_shape_are_free() {
        check(
            "[sync.web.custom_data]\nseats = { each = \"event_properties.s[*].seat\", row = \"r\", no = \"n\" }\nskus = \"event_properties.s[*].sku\"\ncontent_ids = { each = \"event_properties.s\", id = \"sku\" }",
            r#"{"s":[{"seat":{"r":"A","n":1},"sku":"x"},{"seat":{"r":null}}]}"#,
            r#""custom_data":{"content_ids":["x"],"seats":[{"no":1,"row":"A"}],"skus":["x"]}"#,
            &[
                "custom_data.content_ids: bad_item",
                "custom_data.seats: bad_item",
            ],
        );
    }

    #[test]
    fn personal_data_is_withheld_unless_allowed_by_name() {
        let properties = r#"{"q":"pat@example.com","form":{"mobile":"015112345678"},"tel":"+1 503 555 0100","note":"ok"}"#;
        let lost = ["q", "tel", "form"].map(|name| format!("custom_data.{name}: personal_data"));
        check(
            "properties = [\"q\", \"tel\", \"note\"]\n[sync.web.custom_data]\nform = \"event_properties.form\"",
            properties,
            r#""custom_data":{"note":"ok"}"#,
            &[&lost[2], &lost[0], &lost[1]].map(String::as_str),
        );
        check(
            "allow_personal_data = [\"q\", \"tel\"]\nproperties = [\"q\"]\n[sync.web.custom_data]\nhotline = \"event_properties.tel\"",
            properties,
            r#""custom_data":{"hotline":"+1 503 555 0100","q":"pat@example.com"}"#,
            &[],
        );
        check(
            "properties = [\"*\"]",
            properties,
            r#""custom_data":{"note":"ok"}"#,
            &["custom_data.*: personal_data"],
        );
    }

    #[test]
    fn absent_values_are_left_out() {
        check(
            "properties = [\"*\"]",
            r#"{"value":null,"currency":"","order_id":"EMPTY","contents":[],"x":[null,""],"y":{}}"#,
            "",
            &["custom_data.*: no_items", "custom_data.*: empty"],
        );
    }
}
