//! Meta's Limited Data Use: `data_processing_options`, with the country and state it applies to.
//!
//! Meta lists a state from the day its privacy law takes effect. Any other place is 0, which leaves it
//! to Meta to geolocate the person by IP address (Meta: Data Processing Options).

use crate::config::sync::{LimitedDataUse, LimitedDataUsePlace};
use crate::event::Event;
use crate::event::decimal;
use crate::json::{Json, write};
use crate::map::record::{Recorder, SentValue, ServerField, Source};
use crate::normalize;

/// Meta's number for the United States.
const UNITED_STATES: u32 = 1;

/// Meta's number for a place that it finds out itself.
const GEOLOCATE: u32 = 0;

/// Meta's number, postal code and name of each state with a law of its own.
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

/// Whether Meta lists this number as a state, or it is 0, which leaves the state to Meta.
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
    for (key, name, number) in [
        (
            "\"data_processing_options_country\":",
            "data_processing_options_country",
            country,
        ),
        (
            "\"data_processing_options_state\":",
            "data_processing_options_state",
            state,
        ),
    ] {
        write::key(out, key);
        let before = out.len();
        write::integer(out, number);
        let sent = SentValue::plain(out, before, "limited data use");
        recorder.sent(ServerField::Event(name), Source::made(), sent);
    }
}

fn place(limit: &LimitedDataUse, event: &Event<'_>) -> (u32, u32) {
    let country = match &limit.country {
        LimitedDataUsePlace::Code(code) => *code,
        LimitedDataUsePlace::FromEvent => country_of(event.field("country")),
        LimitedDataUsePlace::From(expr) => {
            let value = expr.first(event).map(|found| found.value);
            code(value)
                .filter(|code| *code <= UNITED_STATES)
                .unwrap_or_else(|| country_of(value))
        }
    };
    // `Florida` is also a department of Uruguay.
    let in_the_states = match &limit.country {
        LimitedDataUsePlace::From(_) => country == UNITED_STATES,
        _ => country_of(event.field("country")) == UNITED_STATES,
    };
    let state_of = |value| {
        if in_the_states {
            state_of(value)
        } else {
            GEOLOCATE
        }
    };
    let state = match &limit.state {
        LimitedDataUsePlace::Code(code) => *code,
        LimitedDataUsePlace::FromEvent => state_of(event.field("region")),
        LimitedDataUsePlace::From(expr) => {
            let value = expr.first(event).map(|found| found.value);
            code(value)
                .filter(|code| is_state(*code))
                .unwrap_or_else(|| state_of(value))
        }
    };
    (country, state)
}

/// One of Meta's numbers, as a number or as text.
fn code(value: Option<Json<'_>>) -> Option<u32> {
    decimal::text_of(value?)?.trim().parse().ok()
}

fn country_of(value: Option<Json<'_>>) -> u32 {
    match text(value).and_then(|text| normalize::country::code(&text)) {
        Some("us") => UNITED_STATES,
        _ => GEOLOCATE,
    }
}

fn state_of(value: Option<Json<'_>>) -> u32 {
    let Some(region) = text(value) else {
        return GEOLOCATE;
    };
    let region = region.trim();
    STATES
        .iter()
        .find(|(_, code, name)| {
            code.eq_ignore_ascii_case(region) || name.eq_ignore_ascii_case(region)
        })
        .map_or(GEOLOCATE, |(number, _, _)| *number)
}

fn text(value: Option<Json<'_>>) -> Option<std::borrow::Cow<'_, str>> {
    value?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::arena::Arena;
    use crate::expr::path::Path;
    use crate::expr::value::ValueExpr;

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
