//! The forms that hold expressions and conditions.

use crate::config::expressions::{self, ActionSource, CONDITIONS, PassedProperties, VALUE, print};
use crate::config::schema::Codec;
use crate::expr::condition::Condition;
use crate::expr::value::ValueExpr;

pub(in crate::config) fn value() -> Codec<ValueExpr> {
    Codec::new(VALUE, expressions::value, print::expression)
}

/// What becomes an event's name: a text is the name itself, anything else a value.
pub(in crate::config) fn event_name() -> Codec<ValueExpr> {
    Codec::new(
        "Meta's event name as a text, or a value in a list or table",
        expressions::event_name,
        print::event_name,
    )
}

/// Conditions, all of which must hold.
pub(in crate::config) fn conditions() -> Codec<Vec<Condition>> {
    Codec::new(CONDITIONS, expressions::conditions, |held| {
        print::conditions(held)
    })
}

/// The names of the properties to send.
pub(in crate::config) fn properties() -> Codec<PassedProperties> {
    Codec::new(
        "a list of names of event properties, or [\"*\"]",
        expressions::properties,
        print::properties,
    )
}

/// Where conversions take place.
pub(in crate::config) fn action_source() -> Codec<ActionSource> {
    Codec::new(
        "\"auto\", one of Meta's values such as \"website\", or { from = …, default = … }",
        expressions::action_source,
        print::action_source,
    )
}
