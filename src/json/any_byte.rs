//! Looks for bytes of a kind in texts as short as most values are.
//!
//! It looks at many bytes at once, even if the first one is of the kind. In a short text that is cheaper
//! than a search that stops at the first.

/// Whether any byte of a text is of a kind.
pub(crate) fn any_byte(text: &str, is: impl Fn(u8) -> bool) -> bool {
    let text = text.as_bytes();
    let among = |bytes: &[u8]| bytes.iter().fold(false, |any, byte| any | is(*byte));
    // The last part overlaps the one before, so that no byte is left over.
    if let Some(end) = text.last_chunk::<16>() {
        return text.as_chunks::<16>().0.iter().any(|part| among(part)) || among(end);
    }
    match (text.first_chunk::<8>(), text.last_chunk::<8>()) {
        (Some(begin), Some(end)) => among(begin) | among(end),
        _ => among(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_byte_at_every_place_of_a_text_of_every_length() {
        for length in 0..=50 {
            let text = "a".repeat(length);
            assert!(!any_byte(&text, |byte| byte == b'b'), "{length}");
            for place in 0..length {
                let mut text = text.clone();
                text.replace_range(place..=place, "b");
                assert!(any_byte(&text, |byte| byte == b'b'), "{place} of {length}");
            }
        }
    }
}
