//! What can be known to be wrong, or to look wrong, before the first event arrives.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::config::expressions::{ActionSource, CustomValue, MetaActionSource, PassedProperties};
use crate::config::fields::WebsiteField;
use crate::config::mapping::{EventConfig, MappingConfig};
use crate::config::sync::{LimitedDataUsePlace, SyncConfig, UserMemory};
use crate::config::{ConfigError, SyncName, key_of};
use crate::expr::path::Path;
use crate::expr::value::ValueExpr;
use crate::json::text::is_absent_text;
use crate::map::action_source::can_be_mapped;
use crate::map::custom_data::{self, Fit};
use crate::map::data_use::is_state;
use crate::map::{REVENUE_EVENTS, check_sources, standard_event};
use crate::normalize::field::UserDataField;
use crate::normalize::identifier::ExternalIdCase;
use crate::payload::PURCHASE;

mod hints;

/// Events that Amplitude's pages show under another name than they arrive with.
const DISPLAY_NAMES: &[(&str, &str)] = &[
    ("[Amplitude] Start Session", "session_start"),
    ("[Amplitude] End Session", "session_end"),
    ("[Amplitude] Revenue", "revenue_amount"),
    ("[Amplitude] Revenue (Verified)", "verified_revenue"),
    ("[Amplitude] Revenue (Unverified)", "unverified_revenue"),
];

/// Notes what would cost every event, or every event of a row.
pub(super) fn mistakes(name: &SyncName, sync: &SyncConfig, mistakes: &mut Vec<ConfigError>) {
    let key = format!("sync.{name}");
    check_mapping(&key, sync, &sync.mapping, mistakes);
    if let LimitedDataUsePlace::Code(state) = sync.limited_data_use.state
        && !is_state(state)
    {
        let message = format!("found {state}, expected 0 or a state of Meta's, 1000 to 1013");
        mistakes.push(ConfigError::new(
            format!("{key}.limited_data_use.state"),
            message,
        ));
    }
    for (event_type, row) in rows(sync) {
        let key = event_key(&key, event_type);
        check_mapping(&key, sync, &row.mapping, mistakes);
        if let Some(expr) = &row.send_as
            && texts(expr).any(|name| is_absent_text(&name))
        {
            let message = "found a name that stands for nothing, expected Meta's event name";
            mistakes.push(ConfigError::new(format!("{key}.send_as"), message));
        }
        let purchase = may_be_purchase(event_type, row);
        if !purchase || REVENUE_EVENTS.contains(&&**event_type) {
            continue;
        }
        for (field, example) in [
            ("value", "\"event_properties.total\""),
            (
                "currency",
                "{ from = \"event_properties.currency\", default = \"USD\" }, or currency = \"USD\" for the whole sync",
            ),
        ] {
            if !has_source(field, sync, row) {
                let message = format!(
                    "missing, Meta refuses a Purchase without it; expected, for example, {example}"
                );
                mistakes.push(ConfigError::new(
                    format!("{key}.custom_data.{field}"),
                    message,
                ));
            }
        }
    }
}

/// Gives what looks wrong and may still be meant.
pub(super) fn warnings(name: &SyncName, sync: &SyncConfig) -> Vec<ConfigError> {
    let key = format!("sync.{name}");
    let mut warnings = Vec::new();
    check_custom_names(&key, &sync.mapping.custom_data, &mut warnings);
    if sync.external_id_case == ExternalIdCase::Keep {
        let message = "found \"keep\": Meta's Pixel hashes ids in lower case, always, so that an id with a \
                       capital letter never equals the Pixel's";
        warnings.push(ConfigError::new(format!("{key}.external_id_case"), message));
    }
    let whole_sync = EventConfig::default();
    hints::near_names(&key, sync, None, &mut warnings);
    hints::numbers_in_clear(&key, sync, &sync.mapping.custom_data, &mut warnings);
    warn_of_incomplete_websites(&key, sync, &mut warnings);
    if has_source("value", sync, &whole_sync) && !has_source("currency", sync, &whole_sync) {
        let message = "missing beside value; a value without a currency is not sent";
        warnings.push(ConfigError::new(
            format!("{key}.custom_data.currency"),
            message,
        ));
    }
    check_sources::of_sync(&key, sync, &mut warnings);
    if let Some(memory) = &sync.user_memory {
        check_memory(&key, sync, memory, &mut warnings);
    }
    for (event_type, row) in rows(sync) {
        let key = event_key(&key, event_type);
        check_custom_names(&key, &row.mapping.custom_data, &mut warnings);
        check_sources::of_row(&key, sync, row, &mut warnings);
        hints::near_names(&key, sync, Some(row), &mut warnings);
        hints::numbers_in_clear(&key, sync, &row.mapping.custom_data, &mut warnings);
        if let Some((_, wire)) = DISPLAY_NAMES.iter().find(|(shown, _)| shown == event_type) {
            let message =
                format!("this is the name on Amplitude's pages; the event arrives as {wire:?}");
            warnings.push(ConfigError::new(&key, message));
        }
        let near: Vec<(String, String, &str)> = match &row.send_as {
            Some(expr) => texts(expr)
                .filter_map(|name| {
                    let near = standard_event::near(&name)?;
                    Some((format!("{key}.send_as"), name.into_owned(), near))
                })
                .collect(),
            None => standard_event::same_words(event_type)
                .map(|near| (key.clone(), event_type.clone(), near))
                .into_iter()
                .collect(),
        };
        for (key, name, near) in near {
            let message = format!(
                "found {name:?}, which is a custom event; is Meta's standard event {near:?} meant?"
            );
            warnings.push(ConfigError::new(key, message));
        }
        let own_value = row.mapping.custom_data.contains_key("value");
        if own_value && !has_source("currency", sync, row) && !may_be_purchase(event_type, row) {
            let message = "missing beside value; a value without a currency is not sent";
            warnings.push(ConfigError::new(
                format!("{key}.custom_data.currency"),
                message,
            ));
        }
    }
    hints::action_source(&key, sync, &mut warnings);
    warnings
}

fn check_mapping(
    key: &str,
    sync: &SyncConfig,
    mapping: &MappingConfig,
    mistakes: &mut Vec<ConfigError>,
) {
    let fixed: Vec<MetaActionSource> = match &mapping.action_source {
        Some(ActionSource::Fixed(source)) => vec![*source],
        Some(ActionSource::From(expr)) => texts(expr)
            .filter_map(|text| MetaActionSource::parse(&text))
            .collect(),
        Some(ActionSource::Auto) | None => Vec::new(),
    };
    for source in fixed {
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
        mistakes.push(ConfigError::new(format!("{key}.action_source"), message));
    }
    for (name, source) in &mapping.custom_data {
        let message = match custom_data::fit(name, source) {
            Fit::Well => continue,
            Fit::NoList => "found a list of objects, expected a single value".to_owned(),
            Fit::NoId => "an item needs an id, expected a path as `id`".to_owned(),
            Fit::Constant(reason) => format!("the fixed value cannot be sent: {reason}"),
        };
        mistakes.push(ConfigError::new(field_key(key, name), message));
    }
}

/// Warns of fields that Meta reads in another place.
fn check_custom_names(
    key: &str,
    table: &BTreeMap<String, CustomValue>,
    warnings: &mut Vec<ConfigError>,
) {
    for name in table.keys() {
        let message = if name == "event_id" {
            "Meta looks for duplicates by the event's own event_id, not by one in custom_data"
                .to_owned()
        } else if !custom_data::is_standard(name) && UserDataField::parse(name).is_some() {
            "this is a customer information parameter, expected under user_data, where it is hashed"
                .to_owned()
        } else {
            continue;
        };
        warnings.push(ConfigError::new(field_key(key, name), message));
    }
}

/// Warns, once for each place where it can be mended, of events of a website that would go without what
/// Meta asks for.
fn warn_of_incomplete_websites(key: &str, sync: &SyncConfig, warnings: &mut Vec<ConfigError>) {
    let whole_sync = EventConfig::default();
    let rows: Vec<(String, &EventConfig)> = match &sync.events {
        Some(events) => events
            .iter()
            .map(|(event_type, row)| (event_key(key, event_type), row))
            .collect(),
        None => vec![(key.to_owned(), &whole_sync)],
    };
    for (row_key, row) in rows {
        let of_row = row.mapping.action_source.as_ref();
        let Some(source) = of_row.or(sync.mapping.action_source.as_ref()) else {
            continue;
        };
        if !may_be_website(source) {
            continue;
        }
        for field in WebsiteField::ALL {
            // What the place gives no source for; `None` where it says nothing of the field.
            let lacks = |mapping: &MappingConfig| match field {
                WebsiteField::ClientUserAgent => mapping
                    .user_data
                    .get(&UserDataField::ClientUserAgent)
                    .map(ValueExpr::is_empty),
                WebsiteField::EventSourceUrl => {
                    mapping.event_source_url.as_ref().map(only_browsers_say)
                }
            };
            let lacking = lacks(&row.mapping).or_else(|| lacks(&sync.mapping));
            if lacking == Some(false) {
                continue;
            }
            let at = match (of_row, lacks(&row.mapping)) {
                (None, None) => key,
                _ => &row_key,
            };
            let (place, message) = match field {
                WebsiteField::ClientUserAgent => (
                    format!("{at}.user_data.client_user_agent"),
                    "missing, Meta asks for it with action_source = \"website\"",
                ),
                WebsiteField::EventSourceUrl => (
                    format!("{at}.event_source_url"),
                    "missing, Meta asks for it with action_source = \"website\", and only browsers say \
                     it by themselves; for what a server reports, expected, for example, { from = \
                     'event_properties[\"[Amplitude] Page Location\"]', default = \
                     \"https://shop.example.com/\" }",
                ),
            };
            if warnings.iter().all(|warned| warned.key != place) {
                warnings.push(ConfigError::new(place, message));
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

/// Whether the configuration itself says that events are of a website.
fn may_be_website(source: &ActionSource) -> bool {
    match source {
        ActionSource::Fixed(source) => *source == MetaActionSource::Website,
        ActionSource::From(expr) => texts(expr)
            .any(|text| MetaActionSource::parse(&text) == Some(MetaActionSource::Website)),
        ActionSource::Auto => false,
    }
}

/// Whether an event of a row may go out as a Purchase, as far as the configuration says.
fn may_be_purchase(event_type: &str, row: &EventConfig) -> bool {
    let keeps_name = row.send_as.as_ref().is_none_or(|expr| !expr.always_gives());
    let names = row.send_as.iter().flat_map(texts);
    names.into_iter().any(|name| name == PURCHASE) || keeps_name && event_type == PURCHASE
}

/// The constants of an expression that are texts.
fn texts(expr: &ValueExpr) -> impl Iterator<Item = Cow<'_, str>> {
    let constants = expr.constants().into_iter();
    constants.filter_map(|constant| constant.json().text())
}

/// Warns of conditions on user properties that no later event carries: they would hold, or not, by the
/// event that sets the property alone.
fn check_memory(
    key: &str,
    sync: &SyncConfig,
    memory: &UserMemory,
    warnings: &mut Vec<ConfigError>,
) {
    let of_rows = rows(sync).flat_map(|(event_type, row)| {
        let key = event_key(key, event_type);
        row.conditions.iter().map(move |one| (key.clone(), one))
    });
    let of_sync = sync.conditions.iter().map(|one| (key.to_owned(), one));
    for (key, condition) in of_sync.chain(of_rows) {
        if let Some(name) = condition.property.user_property()
            && !memory.keep_as_is.iter().any(|kept| kept == name)
        {
            warnings.push(ConfigError::new(
                format!("{key}.where"),
                format!(
                    "{} is not remembered: events of SDKs carry it only where they set it; to remember \
                     it as it came, name {name:?} in user_memory.keep_as_is",
                    condition.property
                ),
            ));
        }
    }
}

fn rows(sync: &SyncConfig) -> impl Iterator<Item = (&String, &EventConfig)> {
    sync.events.iter().flatten()
}

/// Whether a table or a property may give a field. `"*"` may give any.
fn has_source(field: &str, sync: &SyncConfig, row: &EventConfig) -> bool {
    let in_table = |table: &BTreeMap<String, CustomValue>| table.contains_key(field);
    let in_properties = |properties: &PassedProperties| match properties {
        PassedProperties::All => true,
        PassedProperties::Named(names) => names.iter().any(|name| name == field),
    };
    field == "currency" && sync.currency.is_some()
        || in_table(&sync.mapping.custom_data)
        || in_table(&row.mapping.custom_data)
        || in_properties(&sync.properties)
        || in_properties(&row.properties)
}

fn event_key(sync: &str, event_type: &str) -> String {
    format!("{sync}.events.{}", key_of(&[event_type]))
}

fn field_key(at: &str, name: &str) -> String {
    format!("{at}.custom_data.{}", key_of(&[name]))
}

#[cfg(test)]
mod tests;
