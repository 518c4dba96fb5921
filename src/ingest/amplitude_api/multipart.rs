//! Finds parts of a `multipart/form-data` body: short texts, not files.

use std::borrow::Cow;

use memchr::memmem;

/// The boundary that a content type names.
pub(super) fn boundary(content_type: &str) -> Option<&str> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let boundary = parameters
        .split(';')
        .filter_map(|parameter| parameter.trim().split_once('='))
        .find(|(name, _)| name.eq_ignore_ascii_case("boundary"))?
        .1
        .trim_matches('"');
    (!boundary.is_empty()).then_some(boundary)
}

/// The content of the first part of a name.
pub(super) fn part<'a>(body: &'a [u8], boundary: &str, name: &str) -> Option<Cow<'a, str>> {
    let delimiter = format!("--{boundary}");
    let wanted = format!("name=\"{name}\"");
    let mut rest = body;
    while let Some(at) = memmem::find(rest, delimiter.as_bytes()) {
        rest = rest.get(at + delimiter.len()..)?;
        let end = memmem::find(rest, delimiter.as_bytes()).unwrap_or(rest.len());
        let part = rest.get(..end)?;
        let Some(blank) = memmem::find(part, b"\r\n\r\n") else {
            continue;
        };
        let (head, content) = part.split_at_checked(blank + 4)?;
        let is_wanted = String::from_utf8_lossy(head)
            .split([';', '\r', '\n'])
            .any(|piece| piece.trim() == wanted);
        if is_wanted {
            let content = content.strip_suffix(b"\r\n").unwrap_or(content);
            return Some(String::from_utf8_lossy(content));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_boundary() {
        for (content_type, expected) in [
            ("multipart/form-data; boundary=xyz", Some("xyz")),
            (
                "Multipart/Form-Data; charset=utf-8; Boundary=\"x z\"",
                Some("x z"),
            ),
            ("multipart/form-data; boundary=", None),
            ("multipart/form-data", None),
            ("application/x-www-form-urlencoded; boundary=x", None),
        ] {
            assert_eq!(boundary(content_type), expected, "{content_type}");
        }
    }

    #[test]
    fn finds_a_part_by_its_name() {
        let body = b"--xyz\r\nContent-Disposition: form-data; name=\"api_key\"\r\n\r\nk\r\n\
            --xyz\r\ncontent-type: text/plain\r\nContent-Disposition: form-data; name=\"identification\"; x=\"y\"\
            \r\n\r\n[{\r\n\r\n}]\r\n--xyz--\r\n";
        assert_eq!(part(body, "xyz", "api_key").as_deref(), Some("k"));
        let identification = part(body, "xyz", "identification");
        assert_eq!(identification.as_deref(), Some("[{\r\n\r\n}]"));
        assert_eq!(part(body, "xyz", "key"), None);
        assert_eq!(part(b"--xyz\r\n", "xyz", "key"), None);
        assert_eq!(part(b"", "xyz", "key"), None);
    }
}
