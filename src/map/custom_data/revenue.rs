//! Amplitude's revenue properties: `$price`, `$quantity`, `$revenue` and `$currency`, or the same
//! without the `$` at the top level of an event that came from an SDK.

use std::borrow::Cow;

use crate::dropped::DropReason;
use crate::event::Event;
use crate::json::Json;
use crate::map::record::Source;

use super::number;

/// A value that was found: what it says, or why it cannot be read.
pub(super) type SourceResult<'e, T> = (Source<'e>, Result<T, DropReason>);

/// What was paid: `$price` times `$quantity` (by default one) where there is a price, else
/// `$revenue`. Negative for a refund. A value that cannot be read counts as absent, and comes before the one
/// that can.
pub(super) fn amount<'e>(event: &'e Event<'_>) -> Vec<SourceResult<'e, Cow<'e, str>>> {
    let mut found = Vec::new();
    if let Some((value, price)) = read(&mut found, event, "$price", "price") {
        let source = Source::at("$price × $quantity", value);
        let amount = match read(&mut found, event, "$quantity", "quantity") {
            Some((_, quantity)) => number::product(&price, &quantity).map(Cow::Owned),
            None => Some(price),
        };
        let is_one = amount.is_some();
        found.push((source, amount.ok_or(DropReason::NotANumber)));
        if is_one {
            return found;
        }
    }
    if let Some((value, amount)) = read(&mut found, event, "$revenue", "revenue") {
        found.push((Source::at("$revenue", value), Ok(amount)));
    }
    found
}

/// The currency it was paid in.
pub(super) fn currency<'e>(event: &'e Event<'_>) -> Option<Source<'e>> {
    let mut places = places(event, "$currency", "currency");
    places.next().map(|value| Source::at("$currency", value))
}

/// The first number in the two places of a property; a value that is not a number goes to `found`.
fn read<'e>(
    found: &mut Vec<SourceResult<'e, Cow<'e, str>>>,
    event: &'e Event<'_>,
    property: &'static str,
    field: &str,
) -> Option<(Json<'e>, Cow<'e, str>)> {
    places(event, property, field).find_map(|value| match number::number(value) {
        Ok(number) => Some((value, number)),
        Err(reason) => {
            found.push((Source::at(property, value), Err(reason)));
            None
        }
    })
}

/// What is present of a property and of the field that has it in events of SDKs.
fn places<'e>(event: &'e Event<'_>, property: &str, field: &str) -> impl Iterator<Item = Json<'e>> {
    let property = event.member(super::SECTION, property);
    // Where there is no property, the event gives the field for it.
    let field = event.field(field).filter(|field| property != Some(*field));
    let places = property.into_iter().chain(field);
    places.filter(|value| !value.is_absent())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::arena::Arena;

    #[track_caller]
    fn check(event: &str, expected: Option<&str>, unreadable: &[&str]) {
        let arena = Arena::default();
        let event_of = Event::decode(event.as_bytes(), &arena).unwrap();
        let (mut read, mut lost) = (None, Vec::new());
        for (source, amount) in amount(&event_of) {
            match amount {
                Ok(amount) => assert_eq!(read.replace(amount), None, "{event}"),
                Err(_) => lost.extend(source.path),
            }
        }
        assert_eq!(read.as_deref(), expected, "{event}");
        assert_eq!(lost, unreadable, "{event}");
    }

    #[track_caller]
    fn check_properties(properties: &str, expected: Option<&str>, unreadable: &[&str]) {
        let event = format!("{{\"event_properties\":{properties}}}");
        check(&event, expected, unreadable);
    }

    #[test]
    fn price_goes_before_revenue() {
        check_properties(
            r#"{"$price":19.99,"$quantity":3,"$revenue":1}"#,
            Some("59.97"),
            &[],
        );
        check_properties(r#"{"$price":"19.90"}"#, Some("19.90"), &[]);
        check_properties(r#"{"$revenue":"5"}"#, Some("5"), &[]);
        check_properties(r#"{"$revenue":-5}"#, Some("-5"), &[]);
        check_properties(r#"{"$revenue":null,"$price":""}"#, None, &[]);
    }

    #[test]
    fn what_cannot_be_read_is_as_absent() {
        for broken in ["\"N/A\"", "1e400", "{}", "true", "[19.9]", "\"1,234\""] {
            let price = format!("{{\"$price\":{broken},\"$quantity\":2,\"$revenue\":5}}");
            check_properties(&price, Some("5"), &["$price"]);
            let quantity = format!("{{\"$price\":19.9,\"$quantity\":{broken},\"$revenue\":5}}");
            check_properties(&quantity, Some("19.9"), &["$quantity"]);
            let both = format!("{{\"$price\":{broken},\"$revenue\":{broken}}}");
            check_properties(&both, None, &["$price", "$revenue"]);
            let elsewhere = format!("{{\"event_properties\":{{\"$price\":{broken}}},\"price\":7}}");
            check(&elsewhere, Some("7"), &["$price"]);
            let at_the_top =
                format!("{{\"event_properties\":{{\"$revenue\":5}},\"price\":{broken}}}");
            check(&at_the_top, Some("5"), &["$price"]);
        }
        check_properties(
            r#"{"$price":1e200,"$quantity":1e200,"$revenue":5}"#,
            Some("5"),
            &["$price × $quantity"],
        );
    }

    #[test]
    fn an_sdk_writes_them_at_the_top() {
        let event = r#"{"price":5,"quantity":2,"currency":"EUR"}"#;
        check(event, Some("10"), &[]);
        let arena = Arena::default();
        let event = Event::decode(event.as_bytes(), &arena).unwrap();
        assert_eq!(currency(&event).unwrap().value.unwrap().raw(), "\"EUR\"");
    }
}
