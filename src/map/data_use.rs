//! Meta's Limited Data Use: `data_processing_options`, with the country and state it applies to.
//!
//! Meta lists a state from the day its privacy law takes effect. Any other place is 0, which leaves it
//! to Meta to geolocate the person by IP address (Meta: Data Processing Options).

use crate::config::sync::{LimitedDataUse, LimitedDataUsePlace};
use crate::event::Event;
use crate::event::number;
use crate::expr::value::ValueExpr;
use crate::json::{Json, write};
use crate::map::record::{Recorder, ServerField, Source, write_member};
use crate::normalize;

/// Meta's number for the United States.
const UNITED_STATES: u32 = 1;

/// Meta's number for a place that Meta finds itself.
const GEOLOCATE: u32 = 0;

/// Meta's number, postal code and name of each state with its own privacy law.
const STATES: &[(u32, &str, &str)] = &[
    (1000, "CA", "California"),
    (1001, "CO", "Colorado"),
    (1002, "CT", "Connecticut"),
    (1003, "FL", "Florida"),
    (1004, "OR", "Oregon"),
    (1005, "TX", "Texas"),
    (1006, "MT", "Montana"),
    (1007, "DE", "Delaware"),
    (1008, "NE", "Nebraska"),
    (1009, "NH", "New Hampshire"),
    (1010, "NJ", "New Jersey"),
    (1011, "MN", "Minnesota"),
    (1012, "MD", "Maryland"),
    (1013, "RI", "Rhode Island"),
];

/// Whether Meta lists this number as a state, or it leaves the state to Meta.
pub(super) fn is_state(number: u32) -> bool {
    number == GEOLOCATE || STATES.iter().any(|(known, _, _)| *known == number)
}

/// Writes the options that limit the use of this event.
pub(super) fn write(
    out: &mut Vec<u8>,
    limit: &LimitedDataUse,
    event: &Event<'_>,
    recorder: &mut impl Recorder,
) {
    let (country, state) = place(limit, event);
    write::key(out, "\"data_processing_options\":[\"LDU\"]");
    for (name, number) in [
        ("data_processing_options_country", country),
        ("data_processing_options_state", state),
    ] {
        let field = ServerField::Event(name);
        write_member(recorder, out, name, field, Source::made(), |out| {
            write::integer(out, number);
            Ok("limited data use")
        });
    }
}

fn place(limit: &LimitedDataUse, event: &Event<'_>) -> (u32, u32) {
    let is_country = |number: u32| number <= UNITED_STATES;
    let of_event = country_of(event.field("country"));
    let country = match &limit.country {
        LimitedDataUsePlace::Code(code) => *code,
        LimitedDataUsePlace::FromEvent => of_event,
        LimitedDataUsePlace::From(expr) => found(expr, event, is_country, country_of),
    };
    // `Florida` is also a department of Uruguay.
    let in_the_states = match &limit.country {
        LimitedDataUsePlace::From(_) => country == UNITED_STATES,
        _ => of_event == UNITED_STATES,
    };
    let state_of = |value: Option<Json<'_>>| {
        if in_the_states {
            state_of(value)
        } else {
            GEOLOCATE
        }
    };
    let state = match &limit.state {
        LimitedDataUsePlace::Code(code) => *code,
        LimitedDataUsePlace::FromEvent => state_of(event.field("region")),
        LimitedDataUsePlace::From(expr) => found(expr, event, is_state, state_of),
    };
    (country, state)
}

/// Reads the place that an expression finds: one of Meta's numbers, as a number or as text, else a name.
fn found(
    expr: &ValueExpr,
    event: &Event<'_>,
    is_known: fn(u32) -> bool,
    of_name: impl Fn(Option<Json<'_>>) -> u32,
) -> u32 {
    let value = expr.first(event).map(|found| found.value);
    let number = value.and_then(|value| number::text_of(value)?.trim().parse().ok());
    number
        .filter(|number| is_known(*number))
        .unwrap_or_else(|| of_name(value))
}

fn country_of(value: Option<Json<'_>>) -> u32 {
    let name = value.and_then(Json::as_str);
    match name.and_then(|name| normalize::country::code(&name)) {
        Some("us") => UNITED_STATES,
        _ => GEOLOCATE,
    }
}

fn state_of(value: Option<Json<'_>>) -> u32 {
    let region = value.and_then(Json::as_str).unwrap_or_default();
    let is_region = |name: &str| name.eq_ignore_ascii_case(region.trim());
    let mut states = STATES.iter();
    states
        .find(|(_, code, name)| is_region(code) || is_region(name))
        .map_or(GEOLOCATE, |(number, _, _)| *number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::arena::Arena;
    use crate::expr::path::Path;

    #[track_caller]
    fn check(country: &str, region: &str, expected: (u32, u32)) {
        let text = format!("{{\"country\":\"{country}\",\"region\":\"{region}\"}}");
        let arena = Arena::default();
        let event = Event::decode(text.as_bytes(), &arena).unwrap();
        let limit = LimitedDataUse {
            country: LimitedDataUsePlace::FromEvent,
            state: LimitedDataUsePlace::FromEvent,
            ..LimitedDataUse::default()
        };
        assert_eq!(place(&limit, &event), expected, "{region}, {country}");
    }

    #[test]
    fn finds_metas_number_of_a_state() {
        check("United States", "California", (1, 1000));
        check("US", "or", (1, 1004));
        check("United States", "rhode island", (1, 1013));
        check("United States", "Ohio", (1, 0));
        check("Uruguay", "Florida", (0, 0));
        check("", "California", (0, 0));
    }

    #[test]
    fn a_path_may_give_metas_number_or_a_name() {
        let at = |name: &str| {
            let path = Path::parse(&format!("event_properties.{name}")).unwrap();
            LimitedDataUsePlace::From(ValueExpr::path(path))
        };
        let limit = LimitedDataUse {
            country: at("c"),
            state: at("s"),
            ..LimitedDataUse::default()
        };
        for (properties, expected) in [
            (r#"{"c":1,"s":1000}"#, (1, 1000)),
            (r#"{"c":"1","s":1004.0}"#, (1, 1004)),
            (r#"{"c":"US","s":"Texas"}"#, (1, 1005)),
            (r#"{"c":0,"s":0}"#, (0, 0)),
            (r#"{"c":2,"s":999}"#, (0, 0)),
            (r#"{"c":"Uruguay","s":"Florida"}"#, (0, 0)),
            ("{}", (0, 0)),
        ] {
            let text = format!("{{\"country\":\"US\",\"event_properties\":{properties}}}");
            let arena = Arena::default();
            let event = Event::decode(text.as_bytes(), &arena).unwrap();
            assert_eq!(place(&limit, &event), expected, "{properties}");
        }
    }

    #[test]
    fn a_fixed_place_is_kept() {
        let arena = Arena::default();
        let event = Event::decode(b"{}", &arena).unwrap();
        let limit = LimitedDataUse {
            country: LimitedDataUsePlace::Code(1),
            state: LimitedDataUsePlace::Code(1000),
            ..LimitedDataUse::default()
        };
        assert_eq!(place(&limit, &event), (1, 1000));
        assert_eq!(place(&LimitedDataUse::default(), &event), (0, 0));
    }
}
