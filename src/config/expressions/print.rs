//! Writes expressions, conditions and what is made of them, as the configuration reads them.

use serde_json::Value;

use crate::config::expressions::{ActionSource, CustomValue, PassedProperties, only};
use crate::config::print::{list, table, text, texts};
use crate::expr::condition::{Condition, Operand};
use crate::expr::value::{Constant, ReplacementTable, ValueExpr, ValueSource};

pub(in crate::config) fn expression(value: &ValueExpr) -> String {
    match (&*value.sources, &value.default) {
        ([ValueSource::Path(path)], None) => text(path.as_str()),
        ([ValueSource::When(conditions, _)], None) if conditions.is_empty() => {
            list(value.sources.iter().map(source))
        }
        ([_], None) | (_, Some(_)) => table(members(value)),
        (several, None) => list(several.iter().map(source)),
    }
}

/// Writes a value where a text has a meaning of its own.
fn apart_from_text(value: &ValueExpr) -> String {
    match &*value.sources {
        [ValueSource::Path(_)] if value.default.is_none() => table([("from", expression(value))]),
        _ => expression(value),
    }
}

/// Writes an event's name: a fixed one as a text.
pub(in crate::config) fn event_name(value: &ValueExpr) -> String {
    match (&value.default, &*value.sources) {
        (Some(name), []) => fixed(name),
        _ => apart_from_text(value),
    }
}

fn source(source: &ValueSource) -> String {
    match source {
        ValueSource::When(conditions, value) if conditions.is_empty() => expression(value),
        other => expression(&only(other.clone())),
    }
}

/// The members of a value that is written as a table.
fn members(value: &ValueExpr) -> Vec<(&'static str, String)> {
    let mut members = match (&*value.sources, &value.default) {
        ([], Some(constant)) => return vec![("constant", fixed(constant))],
        ([ValueSource::All(values)], _) => vec![("all", list(values.iter().map(expression)))],
        ([ValueSource::Translated(value, table)], _) => {
            let is_beside =
                |source: &_| matches!(source, ValueSource::All(_) | ValueSource::Split(..));
            let mut members = members_within(value, is_beside);
            members.push(("map", translation(table)));
            members
        }
        ([ValueSource::Split(value, separator)], _) => {
            let mut members = members_within(value, |source| matches!(source, ValueSource::All(_)));
            members.push(("split", text(&**separator)));
            members
        }
        ([ValueSource::When(conditions, inner)], None) if !conditions.is_empty() => {
            let mut members = match &*inner.sources {
                [ValueSource::When(..)] => vec![("from", expression(inner))],
                _ => self::members(inner),
            };
            members.push(("when", self::conditions(conditions)));
            members
        }
        ([one], _) => vec![("from", source(one))],
        (several, _) => vec![("from", list(several.iter().map(source)))],
    };
    if let Some(default) = &value.default {
        members.push(("default", fixed(default)));
    }
    members
}

/// The members of a value beside `split` or `map`: its own where they may stand in the same table, else
/// `from`.
fn members_within(
    value: &ValueExpr,
    may_stand: fn(&ValueSource) -> bool,
) -> Vec<(&'static str, String)> {
    match &*value.sources {
        [one] if value.default.is_none() && may_stand(one) => members(value),
        _ => vec![("from", expression(value))],
    }
}

fn translation(translation: &ReplacementTable) -> String {
    let members = translation.0.iter();
    table(members.map(|(value, constant)| (value.as_str(), fixed(constant))))
}

/// Writes a constant: valid JSON, which was made from TOML.
fn fixed(value: &Constant) -> String {
    constant(&serde_json::from_str(value.json().raw()).unwrap_or_default())
}

pub(in crate::config) fn custom_value(value: &CustomValue) -> String {
    match value {
        CustomValue::Value(value) => expression(value),
        CustomValue::Each { lists, members } => {
            let members = members
                .iter()
                .map(|(name, value)| (name.as_str(), expression(value)));
            table([("each", expression(lists))].into_iter().chain(members))
        }
    }
}

pub(in crate::config) fn action_source(source: &ActionSource) -> String {
    match source {
        ActionSource::Auto => text("auto"),
        ActionSource::Fixed(fixed) => text(fixed.as_str()),
        // A text alone is one of Meta's values.
        ActionSource::From(value) => apart_from_text(value),
    }
}

pub(in crate::config) fn conditions(conditions: &[Condition]) -> String {
    list(conditions.iter().map(|condition| {
        let property = ("property", text(condition.property.as_str()));
        let op = ("op", text(condition.op.as_str()));
        match &*condition.values {
            [] => table([property, op]),
            [one] => table([property, op, ("value", operand(one))]),
            several => table([property, op, ("values", list(several.iter().map(operand)))]),
        }
    }))
}

fn operand(operand: &Operand) -> String {
    if operand.is_number {
        operand.text.clone()
    } else {
        text(&operand.text)
    }
}

pub(in crate::config) fn properties(properties: &PassedProperties) -> String {
    match properties {
        PassedProperties::All => texts(&["*"]),
        PassedProperties::Named(names) => texts(names),
    }
}

/// Writes a constant on one line.
fn constant(value: &Value) -> String {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(content) => text(content),
        Value::Array(items) => list(items.iter().map(constant)),
        Value::Object(members) => table(
            members
                .iter()
                .map(|(name, value)| (name.as_str(), constant(value))),
        ),
    }
}
