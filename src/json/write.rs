//! Writes JSON on one line, straight into the bytes of the request to Meta.

use crate::json::any_byte::any_byte;

/// Encodes a member's name once, to be written many times.
pub(crate) fn encoded_key(name: &str) -> Box<str> {
    let mut key = serde_json::Value::from(name).to_string();
    key.push(':');
    key.into()
}

/// Begins a member with an encoded name, after a comma if one is needed. Returns the place of its value.
pub(crate) fn key(out: &mut Vec<u8>, encoded: &str) -> usize {
    separate(out);
    out.extend_from_slice(encoded.as_bytes());
    out.len()
}

/// Begins a member whose name may need escapes.
pub(crate) fn member(out: &mut Vec<u8>, name: &str) {
    separate(out);
    text(out, name);
    out.push(b':');
}

/// Begins a member whose name needs no escape.
pub(crate) fn plain_key(out: &mut Vec<u8>, name: &str) {
    separate(out);
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

/// Writes the comma before an element or a member, unless it is the first.
pub(crate) fn separate(out: &mut Vec<u8>) {
    // A string ends with a quote, so that one of these two bytes opens a list or an object.
    if !matches!(out.last(), Some(b'{' | b'[') | None) {
        out.push(b',');
    }
}

/// Writes a string.
pub(crate) fn text(out: &mut Vec<u8>, text: &str) {
    // This moves the quote beside the control characters, so that two comparisons are enough.
    let needs_escape = |byte: u8| byte ^ 0x02 <= 0x20 || byte == b'\\';
    if !any_byte(text, needs_escape) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
        return;
    }
    serde_json::to_writer(&mut *out, text).expect("writing to memory does not fail");
}

/// Writes a whole number.
pub(crate) fn integer(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}
