//! What a sync maps, and what its event table lays over that.

use std::collections::BTreeMap;

use config::ValueKind;

use crate::config::codecs::{self, map};
use crate::config::expressions::{
    ActionSource, CUSTOM_VALUE, CustomValue, PassedProperties, VALUE, action_source, custom_value,
    event_name, print, value,
};
use crate::config::node::{LoadContext, Node};
use crate::config::print::Page;
use crate::config::schema::KeyDefault::{Example, Table as Below, Value};
use crate::config::schema::{Codec, Key, KnownTable, Section, Table, keys, section};
use crate::expr::condition::Condition;
use crate::expr::value::ValueExpr;
use crate::normalize::field::{FieldSample, UserDataField};

const ACTION_SOURCE: &str =
    r#""auto", one of Meta's values such as "website", or { from = …, default = … }"#;

section! {
    /// What the fields of a server event are made from. An event's own table is laid over its sync's.
    #[derive(Clone, Debug, Default)]
    pub struct MappingConfig = Section::new("", "");

    user_data: BTreeMap<UserDataField, ValueExpr> = map(read_user_data, |field| field.mapping_name(), print::expression), Below,
        "Meta's customer information parameters.";
    custom_data: BTreeMap<String, CustomValue> = map(read_custom_data, String::as_str, print::custom_value), Below,
        "Meta's standard fields, and custom ones, by Meta's name.";
    original_event_data: BTreeMap<String, ValueExpr> = map(read_original_event_data, String::as_str, print::expression), Below,
        "The event that this one adds to, by Meta's names.";
    action_source: Option<ActionSource> = Codec::new(ACTION_SOURCE, action_source, print::action_source).optional(), Value(r#""auto""#),
        "Where conversions took place. `auto`: `website` for platform Web or where a page URL \
         was found, `app` where `[sync.<name>.app]` is there and the system's version is \
         known, else `other`."
        in_event r#""website""#;
    event_id: Option<ValueExpr> = Codec::new(VALUE, read_event_id, print::expression).optional(), Value(r#"["$insert_id", "insert_id", "uuid"]"#),
        "What becomes the `event_id`. Amplitude's own `event_id` counts per device and is \
         refused."
        in_event r#""event_properties.order_id""#;
    event_source_url: Option<ValueExpr> = codecs::value().optional(),
        Value(r#"['event_properties["[Amplitude] Page Location"]', 'event_properties["[Amplitude] Page URL"]']"#),
        "The page's URL."
        in_event r#""event_properties.page""#;
    referrer_url: Option<ValueExpr> = codecs::value().optional(), Example(r#""event_properties.referrer""#),
        "The page's referrer."
        in_event r#""event_properties.referrer""#;
    opt_out: Option<ValueExpr> = codecs::value().optional(), Example(r#""user_properties.ads_opt_out""#),
        "Where true, Meta uses the event for attribution only."
        in_event "{ constant = true }";
}

section! {
    /// One row of "Select and filter events".
    #[derive(Clone, Debug, Default)]
    pub struct EventConfig = Section::by_presence(
        "sync.<name>.events.\"<event>\"",
        "One row of Amplitude's \"Select and filter events\", by Amplitude's event type; `\"*\"` \
         stands for every other. What is mapped here is laid over the sync's mapping.",
    );

    send_as: Option<ValueExpr> = Codec::new("Meta's event name as a text, or a value in a list or table", event_name, print::event_name).optional(),
        Example(r#""Purchase""#),
        "Meta's event name. Absent, or a value that finds nothing: Amplitude's.";
    conditions as "where": Vec<Condition> = codecs::conditions().or_default(),
        Example(r#"[{ property = "event_properties.total", op = "greater", value = 0 }]"#),
        "Conditions that the event must meet." else Vec::new();
    properties: PassedProperties = codecs::properties().or_default(), Example(r#"["coupon"]"#),
        "Event properties to send, added to the sync's." else PassedProperties::All;
    mapping: MappingConfig = mapping_of_event(), Below, "What differs from the sync's mapping.";
}

/// The keys of a sync that its events share.
pub(super) fn mapping_of_sync() -> Codec<MappingConfig> {
    mapping_of(MappingConfig::section().keys, |table| {
        let mut mapping = MappingConfig::read(table)?;
        add_default_user_data(&mut mapping.user_data, table.node.context);
        Some(mapping)
    })
}

/// The keys of an event that its sync shares, without their defaults.
fn mapping_of_event() -> Codec<MappingConfig> {
    let mut keys = MappingConfig::section().keys;
    for key in &mut keys {
        key.default = key.in_event.map_or(key.default, Example);
        key.doc = "In place of the sync's.";
    }
    mapping_of(keys, MappingConfig::read)
}

fn mapping_of(
    keys: Vec<Key>,
    read: fn(&KnownTable<'_>) -> Option<MappingConfig>,
) -> Codec<MappingConfig> {
    let read = move |table: &KnownTable<'_>, _| read(table);
    Codec::of_table(None, keys, read, |mapping, _, page| mapping.print(page))
}

fn read_user_data(node: &Node<'_>) -> Option<BTreeMap<UserDataField, ValueExpr>> {
    let mut fields = BTreeMap::new();
    let mut names = BTreeMap::new();
    for (name, node) in node.members()? {
        let Some(field) = UserDataField::parse(name) else {
            let known = UserDataField::ALL.iter().map(|field| field.mapping_name());
            node.unknown_key(name, known);
            continue;
        };
        let value = match node.kind() {
            // Switches off a default, or what the sync maps.
            ValueKind::Array(paths) if paths.is_empty() => Some(ValueExpr::default()),
            _ => value(&node),
        };
        fields.extend(value.map(|value| (field, value)));
        if let Some(other) = names.insert(field, name) {
            node.note(format!(
                "found beside `{other}`, which is the same field; expected one of the two"
            ));
        }
    }
    Some(fields)
}

/// Adds the defaults of what the sync does not map.
fn add_default_user_data(fields: &mut BTreeMap<UserDataField, ValueExpr>, context: &LoadContext) {
    for field in UserDataField::ALL.iter().copied() {
        if let Some(default) = user_data_key(field).default_value()
            && !fields.contains_key(&field)
        {
            let value = value(&Node::new(String::new(), &default, context));
            fields.extend(value.map(|value| (field, value)));
        }
    }
}

fn read_custom_data(node: &Node<'_>) -> Option<BTreeMap<String, CustomValue>> {
    // What could not be read is there all the same: the rules must not miss it too.
    let unreadable = || CustomValue::Value(ValueExpr::default());
    node.each_member(|_, node| Some(custom_value(node).unwrap_or_else(unreadable)))
}

fn read_original_event_data(node: &Node<'_>) -> Option<BTreeMap<String, ValueExpr>> {
    let keys = original_event_data_section().keys;
    let table = KnownTable::open(node, keys.clone())?;
    let read = |key: Key| Some((key.name.to_owned(), value(&table.get(key.name)?)?));
    Some(keys.into_iter().filter_map(read).collect())
}

/// What becomes the `event_id`: something that differs between events and stays with each.
fn read_event_id(node: &Node<'_>) -> Option<ValueExpr> {
    let value = value(node)?;
    let paths = value.paths();
    if paths.iter().any(|path| path.root() == Some("event_id")) {
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

/// The event table; where it is absent, all events are sent.
pub(super) fn events() -> Codec<Option<BTreeMap<String, EventConfig>>> {
    let print =
        |events: &Option<BTreeMap<String, EventConfig>>, name: &'static str, page: &mut Page| {
            for (event_type, event) in events.iter().flatten() {
                page.table(&[name, event_type], |page| event.print(page));
            }
            if events.is_none() {
                page.no_table(
                    name,
                    "all events but bookkeeping and autocaptured ones ([Amplitude] …).",
                );
            }
        };
    Codec::on_page("a table", |node| read_events(node).map(Some), print).or(|| None)
}

fn read_events(node: &Node<'_>) -> Option<BTreeMap<String, EventConfig>> {
    let members = node.members()?;
    if members.is_empty() {
        return node.refuse(
            "the table is empty, so no event would be sent; expected event types, or no table for \
             all events",
        );
    }
    let mut events = BTreeMap::new();
    for (name, node) in members {
        if name.trim().is_empty() {
            node.note("found a blank event type");
        }
        let event = read_event(&node.expecting(EVENT_ROW));
        events.extend(event.map(|event| (name.to_owned(), event)));
    }
    Some(events)
}

fn read_event(node: &Node<'_>) -> Option<EventConfig> {
    if let ValueKind::String(_) = node.kind() {
        return Some(EventConfig {
            send_as: Some(event_name(node)?),
            ..EventConfig::default()
        });
    }
    EventConfig::read_node(node)
}

/// What a row of the event table looks like.
const EVENT_ROW: &str = "Meta's event name as a text, or a table ({} keeps the name)";

pub(super) fn user_data_section() -> Section {
    Section::new(
        "sync.<name>.user_data",
        "Amplitude's \"Mappings\": what Meta matches people by. Meta's short keys are accepted too; an \
         empty list switches a field off.",
    )
    .with(UserDataField::ALL.iter().copied().map(user_data_key))
}

fn user_data_key(field: UserDataField) -> Key {
    let default = match field.sample() {
        FieldSample::Default(path) => Value(path),
        FieldSample::Example(path) => Example(path),
    };
    Key::new(field.mapping_name(), default, field.doc()).expecting(VALUE)
}

pub(super) fn custom_data_section() -> Section {
    Section::new(
        "sync.<name>.custom_data",
        "What happened, for every event of the sync. These are the commonest of Meta's standard \
         fields, typed and checked (docs/CONFIG.md lists all of them); any other name becomes a \
         custom property.",
    )
    .with(keys! {
        "value": CUSTOM_VALUE, Example(r#""event_properties.total""#),
            "The amount of money. Purchase needs it.";
        "currency": CUSTOM_VALUE,
            Example(r#"{ from = "event_properties.currency", default = "USD" }"#),
            "Its currency, by ISO 4217. Purchase needs it.";
        "content_ids": CUSTOM_VALUE, Example(r#""event_properties.products[*].sku""#),
            "Ids of the products.";
        "content_type": CUSTOM_VALUE, Example(r#"{ constant = "product" }"#),
            "`product` or `product_group`.";
        "contents": CUSTOM_VALUE,
            Example(r#"{ each = "event_properties.products", id = "sku", quantity = "qty", item_price = "price" }"#),
            "The products, one object each: the other paths begin at the product, and read the event \
             where they are absent there and begin like `event_properties.…`. `each` may be a list \
             of paths, of which the first present one counts.";
        "content_name": CUSTOM_VALUE, Example(r#""event_properties.product""#),
            "Name of the page or product.";
        "content_category": CUSTOM_VALUE, Example(r#""event_properties.category""#),
            "Category of the page or product.";
        "order_id": CUSTOM_VALUE, Example(r#""event_properties.order_id""#),
            "Id of the order.";
        "num_items": CUSTOM_VALUE, Example(r#""event_properties.items""#),
            "How many items.";
        "search_string": CUSTOM_VALUE, Example(r#""event_properties.query""#),
            "What was searched for.";
        "status": CUSTOM_VALUE, Example(r#""event_properties.status""#),
            "Status of a registration.";
        "predicted_ltv": CUSTOM_VALUE, Example(r#""user_properties.predicted_ltv""#),
            "Predicted lifetime value.";
        "net_revenue": CUSTOM_VALUE, Example(r#""event_properties.margin""#),
            "The margin on the value.";
        "delivery_category": CUSTOM_VALUE, Example(r#"{ constant = "home_delivery" }"#),
            "`in_store`, `curbside` or `home_delivery`.";
    })
}

pub(super) fn original_event_data_section() -> Section {
    Section::by_presence(
        "sync.<name>.original_event_data",
        "Ties a late or enriched event to the one it adds to.",
    )
    .with(keys! {
        "event_name": VALUE, Example(r#"{ constant = "Purchase" }"#), "Its event name.";
        "event_time": VALUE, Example(r#""event_properties.ordered_at""#), "Its time.";
        "order_id": VALUE, Example(r#""event_properties.order_id""#), "Its order id.";
        "event_id": VALUE, Example(r#""event_properties.first_event_id""#), "Its event id.";
    })
}

pub(super) fn events_section() -> Section {
    Section::by_presence(
        "sync.<name>.events",
        "Amplitude's \"Select and filter events\", by Amplitude's event type. Table absent: all \
         events, under their own names, without Amplitude's bookkeeping (sessions, identifies) and \
         what it captures by itself (`[Amplitude] …`, `[Experiment] …`, heartbeats).",
    )
    .with(keys! {
        "Sign Up": EVENT_ROW, Example(r#""CompleteRegistration""#),
            "Selected, and sent as another event.";
        "Trial Started": EVENT_ROW, Example("{}"), "Selected, keeps its name.";
        "*": EVENT_ROW, Example("{}"), "Everything else too.";
    })
}

pub(super) fn event_user_data_section() -> Section {
    Section::by_presence(
        "sync.<name>.events.\"<event>\".user_data",
        "What differs for this event from `[sync.<name>.user_data]`: any of its keys, such as these. \
         An empty list switches a field off.",
    )
    .with(keys! {
        "external_id": VALUE, Example(r#""event_properties.customer_id""#),
            "In place of the sync's.";
        "lead_id": VALUE, Example(r#""event_properties.lead_id""#), "For this event alone.";
        "phone": VALUE, Example("[]"), "Not sent with this event.";
    })
}

pub(super) fn event_custom_data_section() -> Section {
    Section::by_presence(
        "sync.<name>.events.\"<event>\".custom_data",
        "What this event holds beside, or in place of, `[sync.<name>.custom_data]`: any of its keys, \
         such as these, and custom ones.",
    )
    .with(keys! {
        "value": CUSTOM_VALUE, Example(r#""event_properties.total""#),
            "The amount of money. Purchase needs it.";
        "contents": CUSTOM_VALUE,
            Example(r#"{ each = "event_properties.products", id = "sku", quantity = "quantity", item_price = "price" }"#),
            "The products, one object each.";
    })
}

pub(super) fn event_original_event_data_section() -> Section {
    Section::by_presence(
        "sync.<name>.events.\"<event>\".original_event_data",
        "Ties this event to the one it adds to, by the keys of `[sync.<name>.original_event_data]`.",
    )
    .with(keys! {
        "event_name": VALUE, Example(r#"{ constant = "Purchase" }"#),
            "The event name of the other.";
        "order_id": VALUE, Example(r#""event_properties.order_id""#),
            "The order id of the other.";
    })
}
