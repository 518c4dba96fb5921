//! Click and browser ids: Meta's `fbc` and `fbp`.
//!
//! Both have the form `fb.<index>.<milliseconds>.<id>`, and a fifth part where Meta's parameter
//! builder wrote them. The `fbclid` inside is never altered, so nothing here decodes, trims inside or
//! changes case.

use std::ops::RangeInclusive;

use crate::clock::UnixMillis;
use crate::map::dropped::DropReason;

/// Makes an `fbc`: of one as it is, of the `fbclid` in a page URL or query, or of a bare `fbclid`.
/// The latter two are dated with the moment when the click was first `seen`.
pub(super) fn click_id<'a>(
    text: &'a str,
    seen: UnixMillis,
    buffer: &'a mut String,
) -> Result<&'a str, DropReason> {
    if is_cookie(text) {
        return Ok(text);
    }
    let click = if let Some(value) = in_query(text) {
        value
    } else if text.contains("://") {
        return Err(DropReason::NoClickId);
    } else {
        text
    };
    let seen = seen.0;
    if !is_click(click.as_bytes()) || seen <= 0 {
        return Err(DropReason::MalformedClickId);
    }
    // 1: the cookie would belong to the site's own domain, as Meta asks of servers.
    *buffer = format!("fb.1.{seen}.{click}");
    Ok(buffer)
}

/// Takes an `fbp` as it is. One is never made up: it stands for a browser.
pub(super) fn browser_id(text: &str) -> Result<&str, DropReason> {
    if is_cookie(text) {
        Ok(text)
    } else {
        Err(DropReason::MalformedBrowserId)
    }
}

fn is_cookie(text: &str) -> bool {
    let is_number = |part: &[u8], lengths: RangeInclusive<usize>| {
        lengths.contains(&part.len()) && part.iter().all(u8::is_ascii_digit)
    };
    let mut parts = text.as_bytes().split(|byte| *byte == b'.');
    parts.next() == Some(b"fb")
        && parts.next().is_some_and(|index| is_number(index, 1..=3))
        && parts
            .next()
            .is_some_and(|millis| is_number(millis, 10..=13))
        && parts.next().is_some_and(is_click)
        && parts.next().is_none_or(is_click)
        && parts.next().is_none()
}

/// The characters of an `fbclid`: of URL-safe Base64, and what a URL may hold in their place.
fn is_click(text: &[u8]) -> bool {
    let is_part =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'%' | b'~');
    !text.is_empty() && text.iter().all(is_part)
}

/// The value of `fbclid` in a URL or a query string.
fn in_query(text: &str) -> Option<&str> {
    text.split(['?', '&', '#', ';'])
        .find_map(|pair| pair.strip_prefix("fbclid="))
        .filter(|value| !value.is_empty())
}
