//! Codecs of expressions and conditions.

use crate::config::expressions::{self, CONDITIONS, PassedProperties, VALUE, print};
use crate::config::schema::Codec;
use crate::expr::condition::Condition;
use crate::expr::value::ValueExpr;

pub(in crate::config) fn value() -> Codec<ValueExpr> {
    Codec::new(VALUE, expressions::value, print::expression)
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
