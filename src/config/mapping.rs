//! What a sync maps, and what its event table lays over that.

use std::collections::BTreeMap;

use config::ValueKind;

use crate::config::expressions::ActionSource;
use crate::config::expressions::{CustomValue, PassedProperties};
use crate::config::expressions::{action_source, conditions, custom_value, properties, value};
use crate::config::fields::UserDataField;
use crate::config::keys::sync::{EVENT, EVENT_ROW, ORIGINAL_EVENT_DATA};
use crate::config::values::{KnownTable, Node};
use crate::expr::condition::Condition;
use crate::expr::value::{Constant, ValueExpr};

/// What the fields of a server event are made from. An event's own table is laid over its sync's.
#[derive(Clone, Debug, Default)]
pub struct MappingConfig {
    /// Meta's customer information parameters.
    pub user_data: BTreeMap<UserDataField, ValueExpr>,
    /// Meta's standard fields, and custom ones, by Meta's name.
    pub custom_data: BTreeMap<String, CustomValue>,
    /// Default [`ActionSource::Auto`].
    pub action_source: Option<ActionSource>,
    /// The first present one becomes the `event_id`.
    pub event_id: Option<ValueExpr>,
    /// The page's URL.
    pub event_source_url: Option<ValueExpr>,
    /// The page's referrer.
    pub referrer_url: Option<ValueExpr>,
    /// True: for attribution only, no delivery optimisation.
    pub opt_out: Option<ValueExpr>,
    /// `original_event_data`, by Meta's names (`event_name`, `event_time`, `order_id`, `event_id`).
    pub original_event_data: BTreeMap<String, ValueExpr>,
}

/// One row of "Select and filter events".
#[derive(Clone, Debug, Default)]
pub struct EventConfig {
    /// Meta's event name; Amplitude's where it is `None` or finds nothing.
    pub send_as: Option<ValueExpr>,
    /// Conditions that the event must meet. Default none.
    pub conditions: Vec<Condition>,
    /// Event properties to send, added to the sync's.
    pub properties: PassedProperties,
    /// What differs from the sync's mapping.
    pub mapping: MappingConfig,
}

/// Reads the keys that a sync and an event of it share.
pub(super) fn mapping(table: &KnownTable<'_>) -> Option<MappingConfig> {
    let user_data = optional(table, "user_data", user_data);
    let custom_data = optional(table, "custom_data", custom_data);
    let original_event_data = optional(table, "original_event_data", original_event_data);
    let source = table
        .get("action_source")
        .and_then(|node| action_source(&node));
    let event_id = table.get("event_id").and_then(|node| event_id(&node));
    let event_source_url = table.get("event_source_url").and_then(|node| value(&node));
    let referrer_url = table.get("referrer_url").and_then(|node| value(&node));
    let opt_out = table.get("opt_out").and_then(|node| value(&node));
    Some(MappingConfig {
        user_data: user_data?,
        custom_data: custom_data?,
        action_source: source,
        event_id,
        event_source_url,
        referrer_url,
        opt_out,
        original_event_data: original_event_data?,
    })
}

/// A table that is empty where it is absent.
fn optional<T: Default>(
    table: &KnownTable<'_>,
    name: &'static str,
    read: impl FnOnce(&Node<'_>) -> Option<T>,
) -> Option<T> {
    table
        .get(name)
        .map_or_else(|| Some(T::default()), |node| read(&node))
}

fn user_data(node: &Node<'_>) -> Option<BTreeMap<UserDataField, ValueExpr>> {
    let mut fields: BTreeMap<UserDataField, (&str, ValueExpr)> = BTreeMap::new();
    for member in node.members()? {
        let Some(field) = UserDataField::parse(member.name) else {
            let names = UserDataField::ALL.iter().map(|field| field.mapping_name());
            member.node.unknown_key(member.name, names, None);
            continue;
        };
        let value = match member.node.kind() {
            // Switches off a default, or what the sync maps.
            ValueKind::Array(paths) if paths.is_empty() => Some(ValueExpr::default()),
            _ => value(&member.node),
        };
        let Some(value) = value else {
            continue;
        };
        if let Some((other, _)) = fields.insert(field, (member.name, value)) {
            member.node.note(format!(
                "found beside `{other}`, which is the same field; expected one of the two"
            ));
        }
    }
    let fields = fields.into_iter().map(|(field, (_, value))| (field, value));
    Some(fields.collect())
}

fn custom_data(node: &Node<'_>) -> Option<BTreeMap<String, CustomValue>> {
    let mut fields = BTreeMap::new();
    for member in node.members()? {
        // What could not be read is there all the same: the rules must not miss it too.
        let value =
            custom_value(&member.node).unwrap_or_else(|| CustomValue::Value(ValueExpr::default()));
        fields.insert(member.name.to_owned(), value);
    }
    Some(fields)
}

fn original_event_data(node: &Node<'_>) -> Option<BTreeMap<String, ValueExpr>> {
    let table = node.table(&ORIGINAL_EVENT_DATA)?;
    let mut fields = BTreeMap::new();
    for key in ORIGINAL_EVENT_DATA.keys {
        if let Some(value) = table.get(key.name).and_then(|node| value(&node)) {
            fields.insert(key.name.to_owned(), value);
        }
    }
    Some(fields)
}

/// What becomes the `event_id`: something that differs between events and stays with each.
fn event_id(node: &Node<'_>) -> Option<ValueExpr> {
    let value = value(node)?;
    if value
        .paths()
        .iter()
        .any(|path| path.root() == Some("event_id"))
    {
        return node.refuse(
            "found event_id, which is Amplitude's counter per device and repeats; expected an id \
             of the event, such as \"$insert_id\"",
        );
    }
    if !value.constants().is_empty() {
        return node
            .refuse("found a fixed value, which all events would share; expected paths alone");
    }
    Some(value)
}

/// Reads the event table.
pub(super) fn events(node: &Node<'_>) -> Option<BTreeMap<String, EventConfig>> {
    let members = node.members()?;
    if members.is_empty() {
        return node.refuse(
            "the table is empty, so no event would be sent; expected event types, or no table for \
             all events",
        );
    }
    let mut events = BTreeMap::new();
    for member in members {
        if member.name.trim().is_empty() {
            member.node.note("found a blank event type");
        }
        if let Some(event) = event(&member.node.expecting(EVENT_ROW)) {
            events.insert(member.name.to_owned(), event);
        }
    }
    Some(events)
}

/// What becomes the event's name: a text is the name itself, anything else a value.
fn event_name(node: &Node<'_>) -> Option<ValueExpr> {
    if let ValueKind::String(_) = node.kind() {
        let name = node.text()?.into();
        return Some(ValueExpr::constant(Constant::new(&name)));
    }
    value(node)
}

fn event(node: &Node<'_>) -> Option<EventConfig> {
    if let ValueKind::String(_) = node.kind() {
        return Some(EventConfig {
            send_as: Some(event_name(node)?),
            ..EventConfig::default()
        });
    }
    let table = node.table(&EVENT)?;
    let send_as = table.get("send_as").and_then(|node| event_name(&node));
    let conditions = optional(&table, "where", conditions);
    let properties = optional(&table, "properties", properties);
    let mapping = mapping(&table);
    // Beside a mistake, stand-ins keep the rules readable, and miss nothing that may be meant.
    Some(EventConfig {
        send_as,
        conditions: conditions.unwrap_or_default(),
        properties: properties.unwrap_or(PassedProperties::All),
        mapping: mapping?,
    })
}
