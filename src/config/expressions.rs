//! Reads what mappings and filters are made of: value expressions, conditions, lists of properties.
//!
//! Paths are compiled here, once. What an expression is good for (whether a Purchase has a value,
//! say) is not known here: `map` checks that.

use std::collections::BTreeMap;

use config::ValueKind;

use crate::config::node::Node;
use crate::config::schema::KeyDefault::Example;
use crate::config::schema::{Key, KnownTable, keys};
use crate::expr::condition::{Condition, Op, Operand};
use crate::expr::path::{Path, PathError};
use crate::expr::value::{Constant, ReplacementTable, ValueExpr, ValueSource};

pub(super) mod codecs;
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

macro_rules! action_sources {
    ($($name:ident = $text:literal,)+) => {
        /// Meta's values of `action_source`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "Meta's own names")]
        pub enum MetaActionSource { $($name,)+ }

        impl MetaActionSource {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Meta's spelling.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// Finds a value by Meta's spelling.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$name),)+ _ => None }
            }
        }
    };
}

action_sources! {
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

const EXPRESSION: [Key; 7] = keys! {
    "from": VALUE, Example(""), "Where it comes from; the first present value wins.";
    "all": VALUE, Example(""), "Several, all of whose values are taken.";
    "constant": "a value", Example(""), "A fixed value.";
    "split": r#"a text such as ",""#, Example(""),
        "What stands between the parts of a text; each part is a value.";
    "map": "a table of values and what replaces them", Example(""),
        "What replaces a value; one that is not in it counts as not found.";
    "default": "a value", Example(""), "Taken where nothing is found.";
    "when": CONDITIONS, Example(""), "Conditions under which it applies at all.";
};

const CONDITION: [Key; 4] = keys! {
    "property": PATH, Example(""), "What is looked at.";
    "op": r#"an operator such as "is""#, Example(""), "How it is compared.";
    "value": "a text, a number, true or false", Example(""), "What it is compared with.";
    "values": "a list of texts, numbers or booleans", Example(""), "Several, as alternatives.";
};

/// How a path is compiled: into an event, or into an element of a list.
type Compile = fn(&str) -> Result<Path, PathError>;

/// Reads a value expression.
pub(super) fn value(node: &Node<'_>) -> Option<ValueExpr> {
    value_with(&node.expecting(VALUE), Path::parse)
}

/// Reads what a field of `custom_data` is made from.
pub(super) fn custom_value(node: &Node<'_>) -> Option<CustomValue> {
    let node = node.expecting(CUSTOM_VALUE);
    if let ValueKind::Table(members) = node.kind()
        && members.contains_key("each")
    {
        return each(&node);
    }
    value_with(&node, Path::parse).map(CustomValue::Value)
}

/// Reads conditions, all of which must hold.
pub(super) fn conditions(node: &Node<'_>) -> Option<Vec<Condition>> {
    conditions_with(node, Path::parse)
}

fn conditions_with(node: &Node<'_>, compile: Compile) -> Option<Vec<Condition>> {
    if node.is_from_environment() {
        return node.refuse("conditions cannot come from the environment, write them in the file");
    }
    node.each(|node| condition(node, compile))
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
    let value = value_with(node, Path::parse)?;
    for constant in value.constants() {
        meta_action_source(node, &constant.json().text().unwrap_or_default())?;
    }
    if value.sources.is_empty()
        && let Some(constant) = &value.default
    {
        let text = constant.json().text().unwrap_or_default();
        return MetaActionSource::parse(&text).map(ActionSource::Fixed);
    }
    Some(ActionSource::From(value))
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
        let known: Vec<&str> = MetaActionSource::ALL
            .iter()
            .map(|source| source.as_str())
            .collect();
        node.refuse(format!(
            "found {text:?}, expected auto, one of {}, or {{ from = …, default = … }}",
            known.join(", ")
        ))
    })
}

fn value_with(node: &Node<'_>, compile: Compile) -> Option<ValueExpr> {
    match node.kind() {
        ValueKind::String(_) => path(node, compile).map(ValueExpr::path),
        ValueKind::Array(_) => alternatives(node, compile),
        ValueKind::Table(_) => expression(node, compile),
        fixed => node.refuse(format!(
            "found {fixed}, expected a path; a fixed value is written {{ constant = {fixed} }}"
        )),
    }
}

/// Reads a list, of which the first that gives anything wins.
fn alternatives(node: &Node<'_>, compile: Compile) -> Option<ValueExpr> {
    let items = node.items();
    if items.is_empty() {
        return node.refuse("found an empty list, expected at least one path");
    }
    let read: Vec<Option<ValueExpr>> = items
        .iter()
        .map(|item| match item.kind() {
            ValueKind::Array(_) => {
                item.refuse("found a list in a list, expected a path or a table")
            }
            _ => value_with(item, compile),
        })
        .collect();
    let values = read.into_iter().collect::<Option<Vec<_>>>()?;
    let mut whole = ValueExpr::default();
    for (item, value) in items.iter().zip(values) {
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

fn expression(node: &Node<'_>, compile: Compile) -> Option<ValueExpr> {
    let table = KnownTable::open(node, EXPRESSION)?;
    let when = table.get("when").map(|node| {
        let conditions = conditions_with(&node, compile)?;
        if conditions.is_empty() {
            return node.refuse("found an empty list, expected conditions");
        }
        Some(conditions)
    });
    let value = if let Some(fixed) = table.get("constant") {
        fixed_value(node, &table, &fixed)
    } else {
        found_value(node, &table, compile)
    };
    Some(match when {
        Some(conditions) => ValueExpr {
            sources: vec![ValueSource::When(conditions?, value?)],
            default: None,
        },
        None => value?,
    })
}

fn fixed_value(node: &Node<'_>, table: &KnownTable<'_>, fixed: &Node<'_>) -> Option<ValueExpr> {
    let beside = ["from", "all", "split", "map", "default"]
        .into_iter()
        .find(|key| table.get(key).is_some());
    if let Some(key) = beside {
        return node.refuse(format!(
            "a constant stands alone, expected no `{key}` beside it"
        ));
    }
    constant(fixed).map(ValueExpr::constant)
}

fn found_value(node: &Node<'_>, table: &KnownTable<'_>, compile: Compile) -> Option<ValueExpr> {
    let separator = table.get("split").map(|node| separator(&node));
    let translation = table.get("map").map(|node| translation(&node));
    let default = table.get("default").map(|node| constant(&node));
    let found = match (table.get("from"), table.get("all")) {
        (Some(from), None) => value_with(&from, compile),
        (None, Some(all)) => gathered(&all, compile),
        (Some(_), Some(_)) => node.refuse("found both `from` and `all`, expected one of them"),
        (None, None) => node.refuse(
            "found neither `from`, `all` nor `constant`, expected { from = …, default = … }, \
             { all = […] } or { constant = … }",
        ),
    };
    let mut value = found?;
    if let Some(separator) = separator {
        value = ValueExpr {
            sources: vec![ValueSource::Split(value, separator?)],
            default: None,
        };
    }
    if let Some(translation) = translation {
        value = ValueExpr {
            sources: vec![ValueSource::Translated(value, translation?)],
            default: None,
        };
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

/// Reads `split`: what stands between the parts of a text.
fn separator(node: &Node<'_>) -> Option<Box<str>> {
    match node.kind() {
        ValueKind::String(text) if !text.is_empty() => Some(text.as_str().into()),
        _ => node.refuse("expected what stands between the parts of a text, such as \",\""),
    }
}

/// Reads `all`: the values of each expression, as one list.
fn gathered(node: &Node<'_>, compile: Compile) -> Option<ValueExpr> {
    let ValueKind::Array(items) = node.kind() else {
        return node.refuse("expected a list of paths or values, all of which are taken");
    };
    if items.is_empty() {
        return node.refuse("found an empty list, expected at least one path");
    }
    let values = node.each(|item| value_with(item, compile))?;
    Some(ValueExpr {
        sources: vec![ValueSource::All(values)],
        default: None,
    })
}

/// Reads `map`: what stands in the place of which value.
fn translation(node: &Node<'_>) -> Option<ReplacementTable> {
    let members = node.members()?;
    if members.is_empty() {
        return node.refuse("found an empty table, expected values and what replaces them");
    }
    let read: Vec<_> = members
        .iter()
        .map(|member| Some((member.name.to_owned(), constant(&member.node)?)))
        .collect();
    read.into_iter()
        .collect::<Option<_>>()
        .map(ReplacementTable)
}

fn path(node: &Node<'_>, compile: Compile) -> Option<Path> {
    let text = node.text()?;
    compile(text).map_or_else(
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
            let members = node.members()?;
            let read: Vec<Option<(String, serde_json::Value)>> = members
                .iter()
                .map(|member| Some((member.name.to_owned(), json(&member.node)?)))
                .collect();
            let members: Option<serde_json::Map<_, _>> = read.into_iter().collect();
            members.map(serde_json::Value::Object)
        }
        _ => node.unexpected(),
    }
}

/// Reads `{ each = "…", id = "…" }`: every other key is a member of the objects that are made.
fn each(node: &Node<'_>) -> Option<CustomValue> {
    let mut lists = None;
    let mut members = BTreeMap::new();
    let mut whole = true;
    for member in node.members()? {
        if member.name == "each" {
            lists = value_with(&member.node.expecting(PATHS), Path::parse);
        } else if let Some(value) =
            value_with(&member.node.expecting(VALUE), Path::parse_in_element)
        {
            members.insert(member.name.to_owned(), value);
        } else {
            whole = false;
        }
    }
    if whole && members.is_empty() {
        return node.refuse(
            "expected, beside `each`, the members to make, as in { each = \"event_properties.products\", id = \"sku\" }",
        );
    }
    Some(CustomValue::Each {
        lists: lists?,
        members,
    })
}

fn condition(node: &Node<'_>, compile: Compile) -> Option<Condition> {
    let table = KnownTable::open(node, CONDITION)?;
    let property = table
        .require("property")
        .and_then(|node| path(&node, compile));
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
    if takes_values && values.is_empty() {
        table.refuse(
            "value",
            format!("missing, expected what \"{}\" compares with", op.as_str()),
        );
    } else if !takes_values && !values.is_empty() {
        table.refuse(
            "value",
            format!(
                "\"{}\" compares with nothing, expected no value",
                op.as_str()
            ),
        );
    }
    Some(Condition {
        property,
        op,
        values,
    })
}

fn op(node: &Node<'_>) -> Option<Op> {
    let text = node.text()?;
    Op::parse(text).or_else(|| {
        let known: Vec<&str> = Op::ALL.iter().map(|op| op.as_str()).collect();
        node.refuse(format!(
            "found {text:?}, expected one of {}",
            known.join(", ")
        ))
    })
}

fn condition_value(node: &Node<'_>) -> Option<Operand> {
    let text = match node.kind() {
        ValueKind::String(text) => Some(text.clone()),
        ValueKind::Boolean(_) | ValueKind::I64(_) | ValueKind::Float(_) => {
            json(node).map(|value| value.to_string())
        }
        _ => node.unexpected(),
    }?;
    Some(Operand {
        text,
        is_number: matches!(node.kind(), ValueKind::I64(_) | ValueKind::Float(_)),
    })
}
