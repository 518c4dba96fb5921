//! Reads what mappings and filters are made of: value expressions, conditions, lists of properties.
//!
//! Paths are compiled here, once. `map` checks what only the rules know, such as whether a Purchase has
//! a value.

use std::collections::BTreeMap;

use config::ValueKind;

use crate::config::node::Node;
use crate::config::schema::{Key, KnownTable};
use crate::expr::condition::{Condition, Op, Operand};
use crate::expr::path::Path;
use crate::expr::value::{Constant, ReplacementTable, ValueExpr, ValueSource};
use crate::words::words;

pub(super) mod print;

const PATH: &str =
    "a path such as \"event_properties.total\" or 'event_properties[\"Order Value\"]'";
const PATHS: &str = "a path such as \"event_properties.products\", or a list of paths";
pub(super) const VALUE: &str = "a path such as \"user_properties.email\", a list of paths, \
     { from = …, default = … } or { constant = … }";
pub(super) const CUSTOM_VALUE: &str = "a path such as \"event_properties.total\", a list of paths, \
     { from = …, default = … }, { constant = … } or { each = …, id = … }";
pub(super) const CONDITIONS: &str = "a list of conditions such as { property = \"user_properties.plan\", op = \"is\", value = \"pro\" }";

/// Which event properties are passed on as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PassedProperties {
    /// `["*"]`.
    All,
    /// Literal names.
    Named(Vec<String>),
}

impl Default for PassedProperties {
    fn default() -> Self {
        Self::Named(Vec::new())
    }
}

/// What a field of `custom_data` is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CustomValue {
    /// A value expression.
    Value(ValueExpr),
    /// One object per element of a list; an object in place of the list counts as a list of one.
    Each {
        /// Where the list is.
        lists: ValueExpr,
        /// Meta's name of each member, and where it is in the element.
        members: BTreeMap<String, ValueExpr>,
    },
}

/// Where a conversion took place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActionSource {
    /// `website` for platform Web or where a page URL was found; `app` where `[sync.<name>.app]` is
    /// set and the version tag and OS version are known; otherwise `other`.
    Auto,
    /// One of Meta's values, for every event.
    Fixed(MetaActionSource),
    /// One of Meta's values, from the event.
    From(ValueExpr),
}

words! {
    /// Meta's values of `action_source`.
    pub enum MetaActionSource {
        Email = "email",
        Website = "website",
        App = "app",
        PhoneCall = "phone_call",
        Chat = "chat",
        PhysicalStore = "physical_store",
        SystemGenerated = "system_generated",
        BusinessMessaging = "business_messaging",
        Other = "other",
    }
}

/// The keys of a value that is a table; the reference explains them in prose.
const EXPRESSION: [Key; 7] = [
    Key::part("from", VALUE),
    Key::part("all", VALUE),
    Key::part("constant", "a value"),
    Key::part("split", "a text such as \",\""),
    Key::part("map", "a table of values and what replaces them"),
    Key::part("default", "a value"),
    Key::part("when", CONDITIONS),
];

const CONDITION: [Key; 4] = [
    Key::part("property", PATH),
    Key::part("op", "an operator such as \"is\""),
    Key::part("value", "a text, a number, true or false"),
    Key::part("values", "a list of texts, numbers or booleans"),
];

/// Reads a value expression.
pub(super) fn value(node: &Node<'_>) -> Option<ValueExpr> {
    value_of(&node.expecting(VALUE))
}

/// Reads what a field of `custom_data` is made from.
pub(super) fn custom_value(node: &Node<'_>) -> Option<CustomValue> {
    let node = node.expecting(CUSTOM_VALUE);
    if let ValueKind::Table(members) = node.kind()
        && members.contains_key("each")
    {
        return each(&node);
    }
    value_of(&node).map(CustomValue::Value)
}

/// Reads conditions, all of which must hold.
pub(super) fn conditions(node: &Node<'_>) -> Option<Vec<Condition>> {
    if node.is_from_environment() {
        return node.refuse("conditions cannot come from the environment, write them in the file");
    }
    node.each(condition)
}

/// Reads at least one condition; all of them must hold.
pub(super) fn some_conditions(node: &Node<'_>) -> Option<Vec<Condition>> {
    let conditions = conditions(node)?;
    if conditions.is_empty() {
        return node.refuse("found an empty list, expected conditions");
    }
    Some(conditions)
}

/// Reads the names of the properties to send.
pub(super) fn properties(node: &Node<'_>) -> Option<PassedProperties> {
    let names = node.list(|node| {
        let name = node.text()?;
        if let Some(literal) = name.strip_prefix("event_properties.") {
            return node.refuse(format!(
                "found a path, expected the name alone: {literal:?}"
            ));
        }
        if name.starts_with("user_properties.") {
            return node.refuse(
                "found a user property, expected the name of an event property; user properties \
                 are sent through the custom_data table",
            );
        }
        Some(name.to_owned())
    })?;
    if !names.iter().any(|name| name == "*") {
        return Some(PassedProperties::Named(names));
    }
    if names.len() > 1 {
        return node
            .refuse("\"*\" stands for all event properties, expected no other name beside it");
    }
    Some(PassedProperties::All)
}

/// Reads where conversions take place.
pub(super) fn action_source(node: &Node<'_>) -> Option<ActionSource> {
    if let ValueKind::String(text) = node.kind() {
        if text == "auto" {
            return Some(ActionSource::Auto);
        }
        return meta_action_source(node, text).map(ActionSource::Fixed);
    }
    let value = value_of(node)?;
    let mut fixed = None;
    for constant in value.constants() {
        let text = constant.json().text().unwrap_or_default();
        fixed = Some(meta_action_source(node, &text)?);
    }
    match fixed {
        Some(fixed) if value.sources.is_empty() => Some(ActionSource::Fixed(fixed)),
        _ => Some(ActionSource::From(value)),
    }
}

/// What becomes the event's name: a text is the name itself, anything else a value.
pub(super) fn event_name(node: &Node<'_>) -> Option<ValueExpr> {
    if let ValueKind::String(_) = node.kind() {
        let name = node.text()?.into();
        return Some(ValueExpr::constant(Constant::new(&name)));
    }
    value(node)
}

fn meta_action_source(node: &Node<'_>, text: &str) -> Option<MetaActionSource> {
    MetaActionSource::parse(text).or_else(|| {
        let known = MetaActionSource::ALL.iter().map(|source| source.as_str());
        let known = known.collect::<Vec<_>>().join(", ");
        node.refuse(format!(
            "found {text:?}, expected auto, one of {known}, or {{ from = …, default = … }}"
        ))
    })
}

fn value_of(node: &Node<'_>) -> Option<ValueExpr> {
    match node.kind() {
        ValueKind::String(_) => path(node).map(ValueExpr::path),
        ValueKind::Array(_) => alternatives(node),
        ValueKind::Table(_) => expression(node),
        fixed => node.refuse(format!(
            "found {fixed}, expected a path; a fixed value is written {{ constant = {fixed} }}"
        )),
    }
}

/// Reads a list of which the first present value wins.
fn alternatives(node: &Node<'_>) -> Option<ValueExpr> {
    let values = at_least_one(node, |item| match item.kind() {
        ValueKind::Array(_) => item.refuse("found a list in a list, expected a path or a table"),
        _ => value_of(item),
    })?;
    let mut whole = ValueExpr::default();
    for (item, value) in node.items().iter().zip(values) {
        if whole.always_gives() {
            return item.refuse("never comes into play: the one before it always gives a value");
        }
        // Only the last one may end in a constant, which is then the default of the whole.
        match value.default {
            Some(_) if !value.sources.is_empty() => {
                whole.sources.push(ValueSource::When(Vec::new(), value));
            }
            default => {
                whole.sources.extend(value.sources);
                whole.default = default;
            }
        }
    }
    Some(whole)
}

fn expression(node: &Node<'_>) -> Option<ValueExpr> {
    let table = KnownTable::open(node, EXPRESSION)?;
    let when = table.get("when");
    let when = when.map(|node| some_conditions(&node));
    let value = match table.get("constant") {
        Some(fixed) => fixed_value(&table, &fixed),
        None => found_value(&table),
    };
    match when {
        Some(conditions) => Some(only(ValueSource::When(conditions?, value?))),
        None => value,
    }
}

fn only(source: ValueSource) -> ValueExpr {
    ValueExpr {
        sources: vec![source],
        default: None,
    }
}

fn fixed_value(table: &KnownTable<'_>, fixed: &Node<'_>) -> Option<ValueExpr> {
    let beside = ["from", "all", "split", "map", "default"];
    if let Some(key) = beside.into_iter().find(|key| table.get(key).is_some()) {
        return table.node.refuse(format!(
            "a constant stands alone, expected no `{key}` beside it"
        ));
    }
    constant(fixed).map(ValueExpr::constant)
}

fn found_value(table: &KnownTable<'_>) -> Option<ValueExpr> {
    let node = &table.node;
    let separator = table.get("split").map(|node| separator(&node));
    let translation = table.get("map").map(|node| translation(&node));
    let default = table.get("default").map(|node| constant(&node));
    let found = match (table.get("from"), table.get("all")) {
        (Some(from), None) => value_of(&from),
        (None, Some(all)) => gathered(&all),
        (Some(_), Some(_)) => node.refuse("found both `from` and `all`, expected one of them"),
        (None, None) => node.refuse(
            "found neither `from`, `all` nor `constant`, expected { from = …, default = … }, \
             { all = […] } or { constant = … }",
        ),
    };
    let mut value = found?;
    if let Some(separator) = separator {
        value = only(ValueSource::Split(value, separator?));
    }
    if let Some(translation) = translation {
        value = only(ValueSource::Translated(value, translation?));
    }
    let Some(default) = default else {
        return Some(value);
    };
    if value.always_gives() {
        return node.refuse("found a `default` that never comes into play, expected none");
    }
    value.default = default?.into();
    Some(value)
}

/// Reads `split`: the separator of a text's parts.
fn separator(node: &Node<'_>) -> Option<Box<str>> {
    match node.kind() {
        ValueKind::String(text) if !text.is_empty() => Some(text.as_str().into()),
        _ => node.refuse("expected what stands between the parts of a text, such as \",\""),
    }
}

/// Reads `all`: the values of each expression, as one list.
fn gathered(node: &Node<'_>) -> Option<ValueExpr> {
    if !matches!(node.kind(), ValueKind::Array(_)) {
        return node.refuse("expected a list of paths or values, all of which are taken");
    }
    at_least_one(node, value_of).map(|values| only(ValueSource::All(values)))
}

fn at_least_one(
    node: &Node<'_>,
    read: fn(&Node<'_>) -> Option<ValueExpr>,
) -> Option<Vec<ValueExpr>> {
    let values = node.each(read)?;
    if values.is_empty() {
        return node.refuse("found an empty list, expected at least one path");
    }
    Some(values)
}

/// Reads `map`: values and what replaces them.
fn translation(node: &Node<'_>) -> Option<ReplacementTable> {
    let replacements = node.each_member(|_, node| constant(node))?;
    if replacements.is_empty() {
        return node.refuse("found an empty table, expected values and what replaces them");
    }
    Some(ReplacementTable(replacements))
}

fn path(node: &Node<'_>) -> Option<Path> {
    let text = node.text()?;
    let path = if node.in_element {
        Path::parse_in_element(text)
    } else {
        Path::parse(text)
    };
    path.map_or_else(
        |error| node.refuse(format!("found {text:?}: {error}")),
        Some,
    )
}

fn constant(node: &Node<'_>) -> Option<Constant> {
    json(node).as_ref().map(Constant::new)
}

/// Reads any value as JSON.
pub(super) fn json(node: &Node<'_>) -> Option<serde_json::Value> {
    match node.kind() {
        ValueKind::Boolean(value) => Some((*value).into()),
        ValueKind::I64(value) => Some((*value).into()),
        ValueKind::Float(value) => serde_json::Number::from_f64(*value)
            .map(serde_json::Value::Number)
            .or_else(|| node.refuse("found a number that is not finite")),
        ValueKind::String(value) => Some(value.clone().into()),
        ValueKind::Array(_) => node.each(json).map(serde_json::Value::Array),
        ValueKind::Table(_) => {
            let members = node.each_member(|_, node| json(node))?;
            Some(serde_json::Value::Object(members.into_iter().collect()))
        }
        _ => node.unexpected(),
    }
}

/// Reads `{ each = "…", id = "…" }`: every key but `each` is a member of the objects.
fn each(node: &Node<'_>) -> Option<CustomValue> {
    let mut members = node.each_member(|name, node| match name {
        "each" => value_of(&node.expecting(PATHS)),
        _ => value(&Node {
            in_element: true,
            ..node.clone()
        }),
    })?;
    let lists = members.remove("each")?;
    if members.is_empty() {
        return node.refuse(
            "expected, beside `each`, the members to make, as in { each = \"event_properties.products\", id = \"sku\" }",
        );
    }
    Some(CustomValue::Each { lists, members })
}

fn condition(node: &Node<'_>) -> Option<Condition> {
    let table = KnownTable::open(node, CONDITION)?;
    let property = table.require("property").and_then(|node| path(&node));
    let op = table.require("op").and_then(|node| op(&node));
    let values = match (table.get("value"), table.get("values")) {
        (Some(_), Some(_)) => node.refuse("found both `value` and `values`, expected one of them"),
        (Some(one), None) => match one.kind() {
            ValueKind::Array(_) => {
                one.refuse("found a list, expected one value; a list is written `values`")
            }
            _ => condition_value(&one).map(|value| vec![value]),
        },
        (None, Some(several)) => several.each(condition_value),
        (None, None) => Some(Vec::new()),
    };
    let (property, op, values) = (property?, op?, values?);
    let takes_values = !matches!(op, Op::IsSet | Op::IsNotSet);
    let name = op.as_str();
    if takes_values && values.is_empty() {
        let message = format!("missing, expected what \"{name}\" compares with");
        table.refuse("value", message);
    } else if !takes_values && !values.is_empty() {
        let message = format!("\"{name}\" compares with nothing, expected no value");
        table.refuse("value", message);
    }
    Some(Condition::new(property, op, values))
}

fn op(node: &Node<'_>) -> Option<Op> {
    let text = node.text()?;
    let known = Op::ALL.iter().map(|op| op.as_str());
    Op::parse(text).or_else(|| node.unknown_word(text, known))
}

fn condition_value(node: &Node<'_>) -> Option<Operand> {
    let text = match node.kind() {
        ValueKind::String(text) => Some(text.clone()),
        ValueKind::Boolean(_) | ValueKind::I64(_) | ValueKind::Float(_) => {
            json(node).map(|value| value.to_string())
        }
        _ => node.unexpected(),
    }?;
    let is_number = matches!(node.kind(), ValueKind::I64(_) | ValueKind::Float(_));
    Some(Operand::new(text, is_number))
}
