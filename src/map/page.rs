//! The page's URL and its referrer.

use std::borrow::Cow;

use url::form_urlencoded;

use crate::event::Json;
use crate::event::any_byte::any_byte;
use crate::map::dropped::DropReason;
use crate::map::personal;

/// Reads an address of the web. Parameters of its query that hold an e-mail address or a phone number in
/// clear text are taken out; the rest, `fbclid` among it, stays as it is.
pub(super) fn url(value: Json<'_>) -> Result<Cow<'_, str>, DropReason> {
    let text = value.as_str().ok_or(DropReason::NotAUrl)?;
    let text = match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
        Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
    };
    let has_scheme = ["https://", "http://"].iter().any(|scheme| {
        text.get(..scheme.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
            && text.len() > scheme.len()
    });
    if !has_scheme || any_byte(&text, |byte| byte.is_ascii_control()) {
        return Err(DropReason::NotAUrl);
    }
    if !personal::holds_email(&text) && !parameters(&text).any(is_personal) {
        return Ok(text);
    }
    let clean = without_personal_parameters(&text);
    if personal::holds_email(&clean) {
        return Err(DropReason::PersonalData);
    }
    Ok(Cow::Owned(clean))
}

fn without_personal_parameters(url: &str) -> String {
    let (url, fragment) = match url.split_once('#') {
        Some((url, fragment)) if !personal::holds_email(fragment) => (url, Some(fragment)),
        Some((url, _)) => (url, None),
        None => (url, None),
    };
    let (address, query) = url.split_once('?').unwrap_or((url, ""));
    let mut clean = address.to_owned();
    let mut next = '?';
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        if !is_personal(parameter) {
            clean.push(next);
            clean.push_str(parameter);
            next = '&';
        }
    }
    if let Some(fragment) = fragment {
        clean.push('#');
        clean.push_str(fragment);
    }
    clean
}

/// The parameters of an address's query.
fn parameters(url: &str) -> impl Iterator<Item = &str> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    query.split(['&', '#'])
}

/// Whether a parameter holds personal data, as it is written or as it is meant.
fn is_personal(parameter: &str) -> bool {
    let (name, value) = parameter.split_once('=').unwrap_or(("", parameter));
    personal::holds_email(parameter)
        || personal::is_personal(name, value)
        || (any_byte(value, |byte| byte == b'%')
            && form_urlencoded::parse(parameter.as_bytes())
                .any(|(name, value)| personal::is_personal(&name, &value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, DropReason>) {
        let json = serde_json::Value::from(text).to_string();
        let url = url(Json::of_valid_text(&json));
        assert_eq!(url.as_deref().map_err(|why| *why), expected, "{text}");
    }

    #[test]
    fn keeps_addresses_of_the_web_as_they_are() {
        for text in [
            "https://shop.example.com/thanks?order=A-1009&fbclid=IwAR0_AbC#top",
            "HTTP://example.com",
        ] {
            check(text, Ok(text));
        }
        check(" https://example.com/ ", Ok("https://example.com/"));
    }

    #[test]
    fn refuses_anything_else() {
        for text in [
            "https://",
            "example.com",
            "android-app://com.example",
            "javascript:alert(1)",
            "/thanks",
            "https://a\u{0}b",
        ] {
            check(text, Err(DropReason::NotAUrl));
        }
    }

    #[test]
    fn takes_addresses_and_numbers_out() {
        check(
            "https://example.com/?a=1&e=pat%40example.com&fbclid=X#y",
            Ok("https://example.com/?a=1&fbclid=X#y"),
        );
        check(
            "https://example.com/?tel=%2B49%201525%207774443&a=1&phone=015257774443&order=16505551212",
            Ok("https://example.com/?a=1&order=16505551212"),
        );
        check(
            "https://example.com/?e=pat@example.com",
            Ok("https://example.com/"),
        );
        check(
            "https://example.com/#pat@example.com",
            Ok("https://example.com/"),
        );
        check(
            "https://example.com/pat@example.com",
            Err(DropReason::PersonalData),
        );
    }
}
