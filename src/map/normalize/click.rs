//! Click and browser ids: Meta's `fbc` and `fbp`.
//!
//! Both have the form `fb.<index>.<milliseconds>.<id>`, and a fifth part where Meta's parameter
//! builder wrote them. The `fbclid` inside is never altered, so nothing here decodes, trims inside or
//! changes case.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use crate::clock::UnixMillis;
use crate::map::dropped::DropReason;

/// Makes an `fbc`: of one as it is, of the `fbclid` in a page URL or query, or of a bare `fbclid`.
/// The latter two are dated with the moment when the click was first `seen`.
pub(super) fn click_id(text: &str, seen: UnixMillis) -> Result<Cow<'_, str>, DropReason> {
    if is_cookie(text) {
        return Ok(Cow::Borrowed(text));
    }
    let click = if let Some(value) = in_query(text) {
        value
    } else if text.contains("://") {
        return Err(DropReason::NoClickId);
    } else {
        text
    };
    let seen = seen.0;
    if !is_click(click) || seen <= 0 {
        return Err(DropReason::MalformedClickId);
    }
    // 1: the cookie would belong to the site's own domain, as Meta asks of servers.
    Ok(Cow::Owned(format!("fb.1.{seen}.{click}")))
}

/// Takes an `fbp` as it is. One is never made up: it stands for a browser.
pub(super) fn browser_id(text: &str) -> Result<Cow<'_, str>, DropReason> {
    if is_cookie(text) {
        Ok(Cow::Borrowed(text))
    } else {
        Err(DropReason::MalformedBrowserId)
    }
}

fn is_cookie(text: &str) -> bool {
    let is_number = |part: &str, lengths: RangeInclusive<usize>| {
        lengths.contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    let mut parts = text.split('.');
    parts.next() == Some("fb")
        && parts.next().is_some_and(|index| is_number(index, 1..=3))
        && parts
            .next()
            .is_some_and(|millis| is_number(millis, 10..=13))
        && parts.next().is_some_and(is_click)
        && parts.next().is_none_or(is_click)
        && parts.next().is_none()
}

/// The characters of an `fbclid`: of URL-safe Base64, and what a URL may hold in their place.
fn is_click(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'%' | b'~'))
}

/// The value of `fbclid` in a URL or a query string.
fn in_query(text: &str) -> Option<&str> {
    text.split(['?', '&', '#', ';'])
        .find_map(|pair| pair.strip_prefix("fbclid="))
        .filter(|value| !value.is_empty())
}
