//! Click and browser ids: Meta's `fbc` and `fbp`.
//!
//! Both have the form `fb.<index>.<milliseconds>.<id>`, and a fifth part where Meta's parameter
//! builder wrote them. The `fbclid` inside is never altered: its case and its white space stay, and one in a
//! URL is decoded once, as URLs are.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use url::form_urlencoded;

use crate::clock::UnixMillis;
use crate::dropped::DropReason;
use crate::normalize::text;

/// How long a click can lead to events: as long as Meta's cookie lives (Meta: `ClickID` and the fbp and
/// fbc Parameters).
const LASTS_MILLIS: i64 = 90 * 24 * 60 * 60 * 1000;
/// How much later than the event a click may seem to be: clocks differ.
const TOLERANCE_MILLIS: i64 = 60 * 1000;
/// Digits of a moment in seconds.
const SECONDS_DIGITS: usize = 10;

/// What programs write where they have no id. A real id is not a word.
const NOTHING: [&str; 14] = [
    "null",
    "undefined",
    "none",
    "nil",
    "nan",
    "true",
    "false",
    "empty",
    "na",
    "unknown",
    "redacted",
    "not_set",
    "fbclid",
    "fbp",
];

/// Makes an `fbc` of an event of the moment `happened`: of one as it is, of the `fbclid` in a page URL or
/// query, or of a bare `fbclid`. The latter two are dated with that moment. A click that cannot have led to
/// the event is refused.
pub(super) fn click_id<'a>(
    text: &'a str,
    happened: UnixMillis,
    buffer: &'a mut String,
) -> Result<&'a str, DropReason> {
    if let Some(cookie) = MetaCookie::of(text) {
        let Some(fbc) = cookie.click_in_millis(happened)? else {
            return Ok(text);
        };
        *buffer = fbc;
        return Ok(buffer);
    }
    if let Some(decoded) = decoded_cookie(text) {
        let cookie = MetaCookie::of(&decoded).ok_or(DropReason::MalformedClickId)?;
        let fbc = cookie.click_in_millis(happened)?;
        *buffer = fbc.unwrap_or(decoded);
        return Ok(buffer);
    }
    let click = if let Some(value) = in_query(text) {
        value
    } else if text.contains("://") {
        return Err(DropReason::NoClickId);
    } else {
        Cow::Borrowed(text)
    };
    let seen = happened.0;
    if !is_click(click.as_bytes()) || is_nothing(&click) || seen <= 0 {
        return Err(DropReason::MalformedClickId);
    }
    // 1: the cookie would belong to the site's own domain, as Meta asks of servers.
    *buffer = format!("fb.1.{seen}.{click}");
    Ok(buffer)
}

/// Whether an `fbc` can belong to an event of the moment `happened`.
pub fn can_have_led_to(fbc: &str, happened: UnixMillis) -> bool {
    MetaCookie::of(fbc).is_some_and(|cookie| cookie.check_age(happened).is_ok())
}

/// An `fbc` that a wrong clock dated, moved by this many milliseconds; `None` where the result cannot belong
/// to an event of the moment `happened`.
pub fn moved_by(text: &str, millis: i64, happened: UnixMillis) -> Option<String> {
    let text = text::trimmed(text);
    let decoded = decoded_cookie(text);
    let fbc = decoded.as_deref().unwrap_or(text);
    let moved = MetaCookie::of(fbc)?.millis().checked_add(millis)?;
    let moved = with_time(fbc, UnixMillis(moved))?;
    can_have_led_to(&moved, happened).then_some(moved)
}

/// An `fbc` with another moment.
pub fn with_time(fbc: &str, times: UnixMillis) -> Option<String> {
    Some(MetaCookie::of(fbc)?.with_millis(times.0))
}

/// Takes an `fbp` as it is. None is ever made up, since it stands for a browser.
pub(super) fn browser_id<'a>(text: &'a str, buffer: &'a mut String) -> Result<&'a str, DropReason> {
    let is_one = |text: &str| MetaCookie::of(text).is_some_and(|cookie| !is_nothing(cookie.id()));
    if is_one(text) {
        return Ok(text);
    }
    match decoded_cookie(text).filter(|text| is_one(text)) {
        Some(decoded) => {
            *buffer = decoded;
            Ok(buffer)
        }
        None => Err(DropReason::MalformedBrowserId),
    }
}

/// A cookie whose dots were percent-encoded, decoded once; one that was encoded twice stays unreadable.
fn decoded_cookie(text: &str) -> Option<String> {
    const BEGINNING: &str = "fb%2";
    let beginning = text.get(..BEGINNING.len())?;
    if !beginning.eq_ignore_ascii_case(BEGINNING) {
        return None;
    }
    Some(url_decoded(text))
}

/// The parts of an `fbc` or `fbp`.
struct MetaCookie<'t> {
    index: &'t str,
    time: &'t str,
    /// The id, and a fifth part where there is one.
    rest: &'t str,
}

impl<'t> MetaCookie<'t> {
    fn of(text: &'t str) -> Option<Self> {
        let is_number = |part: &str, lengths: RangeInclusive<usize>| {
            lengths.contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
        };
        let (index, behind) = text.strip_prefix("fb.")?.split_once('.')?;
        let (time, rest) = behind.split_once('.')?;
        let mut ids = rest.split('.');
        let is_whole = is_number(index, 1..=3)
            && is_number(time, SECONDS_DIGITS..=13)
            && ids.next().is_some_and(|id| is_click(id.as_bytes()))
            && ids.next().is_none_or(|id| is_click(id.as_bytes()))
            && ids.next().is_none();
        is_whole.then_some(Self { index, time, rest })
    }

    fn id(&self) -> &'t str {
        self.rest.split('.').next().unwrap_or(self.rest)
    }

    /// The moment of the click. Ten digits would be a day in 1970: they are seconds.
    fn millis(&self) -> i64 {
        let number: i64 = self.time.parse().unwrap_or(0);
        if self.is_in_seconds() {
            number.saturating_mul(1000)
        } else {
            number
        }
    }

    const fn is_in_seconds(&self) -> bool {
        self.time.len() == SECONDS_DIGITS
    }

    fn check_age(&self, happened: UnixMillis) -> Result<(), DropReason> {
        let age = happened.0.saturating_sub(self.millis());
        if age < -TOLERANCE_MILLIS {
            Err(DropReason::ClickAfterEvent)
        } else if age > LASTS_MILLIS {
            Err(DropReason::ClickTooOld)
        } else {
            Ok(())
        }
    }

    /// Checks an `fbc`, and rewrites one whose time is in seconds.
    fn click_in_millis(&self, happened: UnixMillis) -> Result<Option<String>, DropReason> {
        if is_nothing(self.id()) {
            return Err(DropReason::MalformedClickId);
        }
        self.check_age(happened)?;
        let is_in_seconds = self.is_in_seconds();
        Ok(is_in_seconds.then(|| self.with_millis(self.millis())))
    }

    fn with_millis(&self, millis: i64) -> String {
        format!("fb.{}.{millis}.{}", self.index, self.rest)
    }
}

/// Whether an id stands for none: a word, an unfilled template, or only zeros and signs.
fn is_nothing(id: &str) -> bool {
    let is_template = || url_decoded(id).contains(['{', '}', '[', ']', '<', '>', '$', '(']);
    NOTHING.iter().any(|word| word.eq_ignore_ascii_case(id))
        || id
            .bytes()
            .all(|byte| byte == b'0' || !byte.is_ascii_alphanumeric())
        || (id.contains('%') && is_template())
}

/// The characters of an `fbclid`: of URL-safe Base64, and what a URL may hold in their place.
fn is_click(text: &[u8]) -> bool {
    let is_part =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'%' | b'~');
    !text.is_empty() && text.iter().all(is_part)
}

/// The value of `fbclid` in a URL or a query string, decoded.
fn in_query(text: &str) -> Option<Cow<'_, str>> {
    let value = text
        .split(['?', '&', '#', ';'])
        .find_map(|pair| pair.strip_prefix("fbclid="))
        .filter(|value| !value.is_empty())?;
    if !value.contains(['%', '+']) {
        return Some(Cow::Borrowed(value));
    }
    Some(Cow::Owned(url_decoded(value)))
}

fn url_decoded(value: &str) -> String {
    let pair = format!("x={value}");
    let decoded = form_urlencoded::parse(pair.as_bytes()).next();
    decoded.map_or_else(String::new, |(_, value)| value.into_owned())
}
