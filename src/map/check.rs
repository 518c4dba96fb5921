//! Finds what is wrong, or looks wrong, in the rules of a sync before the first event arrives.

use std::borrow::Cow;

use crate::config::expressions::{ActionSource, MetaActionSource, PassedProperties};
use crate::config::fields::WebsiteField;
use crate::config::mapping::MappingConfig;
use crate::config::sync::{LimitedDataUsePlace, SyncConfig};
use crate::config::{ConfigError, SyncName, key_of};
use crate::expr::condition::Condition;
use crate::expr::path::Path;
use crate::expr::value::ValueExpr;
use crate::json::text::is_absent_text;
use crate::map::REVENUE_EVENTS;
use crate::map::action_source::can_be_mapped;
use crate::map::custom_data::{self, Fit};
use crate::map::data_use::is_state;
use crate::map::hashed_sources::HashedSources;
use crate::map::rule;
use crate::normalize::field::UserDataField;
use crate::normalize::identifier::ExternalIdCase;
use crate::payload::PURCHASE;

mod hints;
mod sources;
mod standard_event;

/// The rules of a sync, or those of a row of its event table, while they are checked.
struct Rules<'c> {
    sync: &'c SyncConfig,
    /// The row's event type; `None` for the rules of the sync.
    event_type: Option<&'c str>,
    /// Where they are in the configuration.
    key: String,
    send_as: Option<&'c ValueExpr>,
    conditions: &'c [Condition],
    properties: &'c PassedProperties,
    mapping: &'c MappingConfig,
    found: Vec<ConfigError>,
}

impl<'c> Rules<'c> {
    fn of_sync(name: &SyncName, sync: &'c SyncConfig) -> Self {
        Self {
            sync,
            event_type: None,
            key: format!("sync.{name}"),
            send_as: None,
            conditions: &sync.conditions,
            properties: &sync.properties,
            mapping: &sync.mapping,
            found: Vec::new(),
        }
    }

    /// The rules of each row of the sync's event table.
    fn rows(&self) -> impl Iterator<Item = Self> + use<'c> {
        let (sync, key) = (self.sync, self.key.clone());
        let rows = sync.events.iter().flatten();
        rows.map(move |(event_type, row)| Self {
            sync,
            event_type: Some(event_type),
            key: format!("{key}.events.{}", key_of(&[event_type])),
            send_as: row.send_as.as_ref(),
            conditions: &row.conditions,
            properties: &row.properties,
            mapping: &row.mapping,
            found: Vec::new(),
        })
    }

    /// Notes what was found at a key below these rules.
    fn note(&mut self, key: &str, message: impl Into<String>) {
        let key = format!("{}.{key}", self.key);
        self.found.push(ConfigError::new(key, message));
    }

    /// Whether a table or a property may give a field of `custom_data`. `"*"` may give any.
    fn has_source(&self, field: &str) -> bool {
        let passes = |properties: &PassedProperties| match properties {
            PassedProperties::All => true,
            PassedProperties::Named(names) => names.iter().any(|name| name == field),
        };
        field == "currency" && self.sync.currency.is_some()
            || self.sync.mapping.custom_data.contains_key(field)
            || self.mapping.custom_data.contains_key(field)
            || passes(&self.sync.properties)
            || passes(self.properties)
    }

    /// Whether an event of these rules may go out as a Purchase, as far as the configuration says.
    fn may_be_purchase(&self) -> bool {
        let keeps_name = self.send_as.is_none_or(|expr| !expr.always_gives());
        let mut names = self.send_as.into_iter().flat_map(texts);
        names.any(|name| name == PURCHASE) || keeps_name && self.event_type == Some(PURCHASE)
    }
}

/// Finds what would cost every event, or every event of a row.
pub fn errors(name: &SyncName, sync: &SyncConfig) -> Vec<ConfigError> {
    let mut rules = Rules::of_sync(name, sync);
    check_mapping(&mut rules);
    if let LimitedDataUsePlace::Code(state) = sync.limited_data_use.state
        && !is_state(state)
    {
        let message = format!("found {state}, expected 0 or a state of Meta's, 1000 to 1013");
        rules.note("limited_data_use.state", message);
    }
    let rows = rules.rows().flat_map(|mut row| {
        check_mapping(&mut row);
        check_purchase(&mut row);
        row.found
    });
    let rows: Vec<ConfigError> = rows.collect();
    rules.found.extend(rows);
    rules.found
}

/// Finds what looks wrong but may be meant.
pub fn warnings(name: &SyncName, sync: &SyncConfig) -> Vec<ConfigError> {
    let sources = rule::hashed_sources(sync, &sync.allow_personal_data);
    let mut rules = Rules::of_sync(name, sync);
    if sync.external_id_case == ExternalIdCase::Keep {
        let message = "found \"keep\", but Meta's Pixel always hashes ids in lower case: an id with a \
                       capital letter never equals the Pixel's";
        rules.note("external_id_case", message);
    }
    warn_of_rules(&mut rules, &sources);
    warn_of_incomplete_websites(&mut rules);
    sources::warn_of_sync(&mut rules, &sources);
    let rows = rules.rows().flat_map(|mut row| {
        warn_of_rules(&mut row, &sources);
        hints::warn_of_event_names(&mut row);
        row.found
    });
    let rows: Vec<ConfigError> = rows.collect();
    rules.found.extend(rows);
    hints::warn_of_action_source(&mut rules);
    rules.found
}

/// Warns of what can look wrong in the rules of a sync and in those of a row.
fn warn_of_rules(rules: &mut Rules<'_>, sources: &HashedSources) {
    check_custom_names(rules);
    hints::warn_of_near_names(rules);
    hints::warn_of_numbers_in_clear(rules);
    sources::warn_of_rules(rules, sources);
    warn_of_forgotten_conditions(rules);
    let has_value = rules.mapping.custom_data.contains_key("value")
        || rules.event_type.is_none() && rules.has_source("value");
    if has_value && !rules.has_source("currency") && !rules.may_be_purchase() {
        let message = "missing beside value; a value without a currency is not sent";
        rules.note("custom_data.currency", message);
    }
}

fn check_mapping(rules: &mut Rules<'_>) {
    let (sync, mapping) = (rules.sync, rules.mapping);
    for source in mapping.action_source.iter().flat_map(named_sources) {
        let message = match source {
            MetaActionSource::App if sync.app.is_none() => {
                "found \"app\", which needs the table [sync.<name>.app]".to_owned()
            }
            source if !can_be_mapped(source) => format!(
                "found \"{}\", whose page and conversation ids have no place in an Amplitude event",
                source.as_str()
            ),
            _ => continue,
        };
        rules.note("action_source", message);
    }
    for (name, source) in &mapping.custom_data {
        let message = match custom_data::fit(name, source) {
            Fit::Well => continue,
            Fit::NoList => "found a list of objects, expected a single value".to_owned(),
            Fit::NoId => "an item needs an id, expected a path as `id`".to_owned(),
            Fit::Constant(reason) => format!("the fixed value cannot be sent: {reason}"),
        };
        rules.note(&field_key(name), message);
    }
}

/// Notes where a row has an empty name, or lacks a field that Meta asks for in a Purchase.
fn check_purchase(row: &mut Rules<'_>) {
    let mut names = row.send_as.into_iter().flat_map(texts);
    if names.any(|name| is_absent_text(&name)) {
        let message = "found a name that stands for nothing, expected Meta's event name";
        row.note("send_as", message);
    }
    let has_revenue = row
        .event_type
        .is_some_and(|event_type| REVENUE_EVENTS.contains(&event_type));
    if has_revenue || !row.may_be_purchase() {
        return;
    }
    for (field, example) in [
        ("value", "\"event_properties.total\""),
        (
            "currency",
            "{ from = \"event_properties.currency\", default = \"USD\" }, or currency = \"USD\" for the whole sync",
        ),
    ] {
        if !row.has_source(field) {
            let message = format!(
                "missing, Meta refuses a Purchase without it; expected, for example, {example}"
            );
            row.note(&field_key(field), message);
        }
    }
}

/// Warns of fields that Meta reads in another place.
fn check_custom_names(rules: &mut Rules<'_>) {
    for name in rules.mapping.custom_data.keys() {
        let message = if name == "event_id" {
            "Meta recognises duplicates by the event's own event_id, not by one in custom_data"
        } else if !custom_data::is_standard(name) && UserDataField::parse(name).is_some() {
            "this is a customer information parameter, expected under user_data, where it is hashed"
        } else {
            continue;
        };
        rules.note(&field_key(name), message);
    }
}

/// Warns of events of a website that would lack a field that Meta asks for, once for each place where the
/// field can be added.
fn warn_of_incomplete_websites(rules: &mut Rules<'_>) {
    let of_sync = rules.mapping;
    let mut rows: Vec<(String, &MappingConfig)> =
        rules.rows().map(|row| (row.key, row.mapping)).collect();
    if rules.sync.events.is_none() {
        rows.push((rules.key.clone(), of_sync));
    }
    for (row_key, of_row) in rows {
        let own_source = of_row.action_source.as_ref();
        let source = own_source.or(of_sync.action_source.as_ref());
        let mut sources = source.into_iter().flat_map(named_sources);
        if !sources.any(|source| source == MetaActionSource::Website) {
            continue;
        }
        for field in WebsiteField::ALL {
            // Whether a table gives no source of the field; `None` where it does not mention the field.
            let lacks = |mapping: &MappingConfig| match field {
                WebsiteField::ClientUserAgent => mapping
                    .user_data
                    .get(&UserDataField::ClientUserAgent)
                    .map(ValueExpr::is_empty),
                WebsiteField::EventSourceUrl => {
                    mapping.event_source_url.as_ref().map(only_browsers_say)
                }
            };
            if lacks(of_row).or_else(|| lacks(of_sync)) == Some(false) {
                continue;
            }
            let at = match (own_source, lacks(of_row)) {
                (None, None) => &rules.key,
                _ => &row_key,
            };
            let (place, message) = match field {
                WebsiteField::ClientUserAgent => (
                    format!("{at}.user_data.client_user_agent"),
                    "missing, Meta asks for it with action_source = \"website\"",
                ),
                WebsiteField::EventSourceUrl => (
                    format!("{at}.event_source_url"),
                    "missing, Meta asks for it with action_source = \"website\", and only browsers send \
                     it by themselves; for what a server reports, expected, for example, { from = \
                     'event_properties[\"[Amplitude] Page Location\"]', default = \
                     \"https://shop.example.com/\" }",
                ),
            };
            if rules.found.iter().all(|warned| warned.key != place) {
                rules.found.push(ConfigError::new(place, message));
            }
        }
    }
}

/// Whether an expression reads nothing but the page properties of Amplitude's browser SDK.
fn only_browsers_say(page: &ValueExpr) -> bool {
    let is_browsers = |path: &Path| {
        path.property().is_some_and(|(section, name)| {
            section == "event_properties" && name.starts_with("[Amplitude] Page ")
        })
    };
    !page.always_gives() && page.paths().into_iter().all(is_browsers)
}

/// The sources that the configuration itself names.
fn named_sources(source: &ActionSource) -> Vec<MetaActionSource> {
    match source {
        ActionSource::Fixed(source) => vec![*source],
        ActionSource::From(expr) => texts(expr)
            .filter_map(|text| MetaActionSource::parse(&text))
            .collect(),
        ActionSource::Auto => Vec::new(),
    }
}

/// The constants of an expression that are texts.
fn texts(expr: &ValueExpr) -> impl Iterator<Item = Cow<'_, str>> {
    let constants = expr.constants().into_iter();
    constants.filter_map(|constant| constant.json().text())
}

/// Warns of conditions on user properties that are not remembered: they are judged only by the events that
/// set the property.
fn warn_of_forgotten_conditions(rules: &mut Rules<'_>) {
    let Some(memory) = &rules.sync.user_memory else {
        return;
    };
    for condition in rules.conditions {
        if let Some(name) = condition.property.user_property()
            && !memory.keep_as_is.iter().any(|kept| kept == name)
        {
            let message = format!(
                "{} is not remembered: events of SDKs carry it only where they set it; to remember it \
                 as it came, name {name:?} in user_memory.keep_as_is",
                condition.property
            );
            rules.note("where", message);
        }
    }
}

/// The key of a field of `custom_data`, below its rules.
fn field_key(name: &str) -> String {
    format!("custom_data.{}", key_of(&[name]))
}

#[cfg(test)]
mod tests;
