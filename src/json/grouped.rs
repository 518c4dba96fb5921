//! Finds numbers such as `1,396,381`, which `FreeMarker` prints where a template lacks `?c`.

use crate::json::split::Cursor;

/// Whether the value of a member is a number such as `1,396,381`.
pub(crate) fn holds_grouped_number(bytes: &[u8]) -> bool {
    let mut cursor = Cursor::new(bytes);
    while cursor.next_colon() {
        cursor.skip_space();
        if begins_with_grouped_number(cursor.rest()) {
            return true;
        }
    }
    false
}

fn begins_with_grouped_number(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_prefix(b"-").unwrap_or(bytes);
    let digits = |bytes: &[u8]| {
        bytes
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count()
    };
    let first = digits(bytes);
    (1..=3).contains(&first)
        && bytes.get(first) == Some(&b',')
        && digits(bytes.get(first + 1..).unwrap_or_default()) == 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grouped_number_is_told_from_a_list_and_from_text() {
        for (text, grouped) in [
            (r#"{"a":1,396}"#, true),
            (r#"{"a": -12,396,381}"#, true),
            (r#"{"a":1,"b":396}"#, false),
            (r#"{"a":[1,396]}"#, false),
            (r#"{"a":"1,396"}"#, false),
            (r#"{"a":1234,567}"#, false),
            (r#"{"a":1,39}"#, false),
            (r#"{"a":"\":1,396"#, false),
        ] {
            assert_eq!(holds_grouped_number(text.as_bytes()), grouped, "{text}");
        }
    }
}
