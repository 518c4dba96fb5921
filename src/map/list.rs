//! Lists, in the forms that Amplitude gives them.

use crate::json::Json;

/// Calls `each` with every element of an array, of a text that holds a JSON array (Amplitude forwards
/// lists as texts), or with the value itself where it is no list.
pub(super) fn each_element(value: Json<'_>, each: &mut dyn FnMut(Json<'_>)) {
    if let Some(elements) = value.elements() {
        elements.for_each(each);
        return;
    }
    // Most texts begin like no list, and are not looked at any further.
    if let [b'"', b'[' | b' ' | b'\\', ..] = value.raw().as_bytes()
        && let Some(text) = value.as_str()
        && text.trim_ascii_start().starts_with('[')
        // Every part is read, so that no number out of range slips in by this door.
        && serde_json::from_str::<Vec<serde_json::Value>>(&text).is_ok()
    {
        let elements = Json::of_valid_text(text.trim_ascii()).elements();
        elements.into_iter().flatten().for_each(each);
        return;
    }
    each(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_elements_of_every_form() {
        for (text, expected) in [
            ("[1,\"a\",null]", vec!["1", "\"a\"", "null"]),
            ("\" [\\\"a\\\", 2] \"", vec!["\"a\"", "2"]),
            ("\"[1e400]\"", vec!["\"[1e400]\""]),
            ("\"[x]\"", vec!["\"[x]\""]),
            ("\"a\"", vec!["\"a\""]),
            ("{\"a\":1}", vec!["{\"a\":1}"]),
            ("[]", vec![]),
        ] {
            let mut found = Vec::new();
            each_element(Json::of_valid_text(text), &mut |element| {
                found.push(element.raw().to_owned());
            });
            assert_eq!(found, expected, "{text}");
        }
    }
}
