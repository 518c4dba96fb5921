//! Amplitude's revenue properties: `$price`, `$quantity`, `$revenue` and `$currency`, or the same
//! without the `$` at the top level of an event that came from an SDK.

use std::borrow::Cow;

use crate::event::{Event, Json};
use crate::map::dropped::DropReason;
use crate::map::record::Source;

use super::number;

type Amount<'e> = (Source<'e>, Result<Cow<'e, str>, DropReason>);

/// What was paid: `$price` times `$quantity` (by default one) where there is a price, else
/// `$revenue`. Negative for a refund.
pub(super) fn amount<'e>(event: &'e Event<'_>) -> Option<Amount<'e>> {
    if let Some(price) = find(event, "$price", "price") {
        let quantity = find(event, "$quantity", "quantity");
        return Some((
            Source::at("$price × $quantity", price),
            times(price, quantity),
        ));
    }
    let revenue = find(event, "$revenue", "revenue")?;
    let amount = number::number(revenue);
    Some((Source::at("$revenue", revenue), amount))
}

/// The currency it was paid in.
pub(super) fn currency<'e>(event: &'e Event<'_>) -> Option<Source<'e>> {
    find(event, "$currency", "currency").map(|value| Source::at("$currency", value))
}

fn times<'e>(price: Json<'e>, quantity: Option<Json<'e>>) -> Result<Cow<'e, str>, DropReason> {
    let price = number::number(price)?;
    let Some(quantity) = quantity else {
        return Ok(price);
    };
    let quantity = number::number(quantity)?;
    number::product(&price, &quantity)
        .map(Cow::Owned)
        .ok_or(DropReason::NotANumber)
}

fn find<'e>(event: &'e Event<'_>, property: &str, field: &str) -> Option<Json<'e>> {
    let present = |value: &Json<'e>| !value.is_absent();
    event
        .member(super::SECTION, property)
        .filter(present)
        .or_else(|| event.field(field).filter(present))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::arena::Arena;

    #[track_caller]
    fn check(properties: &str, expected: Option<Result<&str, DropReason>>) {
        let text = format!("{{\"event_properties\":{properties}}}");
        let arena = Arena::default();
        let event = Event::decode(text.as_bytes(), &arena).unwrap();
        let amount = amount(&event).map(|(_, amount)| amount);
        assert_eq!(
            amount
                .as_ref()
                .map(|amount| amount.as_deref().map_err(|why| *why)),
            expected,
            "{properties}"
        );
    }

    #[test]
    fn price_goes_before_revenue() {
        check(
            r#"{"$price":19.99,"$quantity":3,"$revenue":1}"#,
            Some(Ok("59.97")),
        );
        check(r#"{"$price":"19.90"}"#, Some(Ok("19.90")));
        check(r#"{"$revenue":"5"}"#, Some(Ok("5")));
        check(r#"{"$revenue":-5}"#, Some(Ok("-5")));
        check(r#"{"$revenue":null,"$price":""}"#, None);
        check(r#"{"$price":"cheap"}"#, Some(Err(DropReason::NotANumber)));
    }

    #[test]
    fn an_sdk_writes_them_at_the_top() {
        let arena = Arena::default();
        let event = Event::decode(br#"{"price":5,"quantity":2,"currency":"EUR"}"#, &arena).unwrap();
        assert_eq!(amount(&event).unwrap().1.unwrap(), "10");
        assert_eq!(currency(&event).unwrap().value.unwrap().raw(), "\"EUR\"");
    }
}
