//! Addresses of pages: the event's own, its referrer, and any in properties, also within a text, of an app
//! (`myapp://…`), or without the part before the path.
//!
//! A page's query holds what the site needs: session tokens, search terms, the answers of a form. So only
//! the parameters that the configuration names go out, by default the click ids of advertising platforms
//! and `utm_…`, and none that holds personal data. The part behind `#` is treated in the same way, since
//! single-page apps have routes and queries there. A user name and password before the host never go out.

use std::borrow::Cow;

use url::form_urlencoded;

use crate::dropped::DropReason;
use crate::json::Json;
use crate::json::any_byte::any_byte;
use crate::map::personal;

mod in_text;

pub(super) use in_text::cut_text;

/// The parameters that stay in the address of a page.
#[derive(Clone, Debug)]
pub(super) struct KeptParameters {
    patterns: Vec<Pattern>,
    all: bool,
}

/// A name in lower case, in which `*` stands for any characters. A name's case does not count.
#[derive(Clone, Debug)]
struct Pattern {
    /// The part before the first star.
    first: String,
    /// The part behind it; `None` where there is no star.
    rest: Option<String>,
}

impl KeptParameters {
    /// Keeps the parameters of these names.
    pub(super) fn new(patterns: &[String]) -> Self {
        Self {
            patterns: patterns.iter().map(|text| Pattern::new(text)).collect(),
            all: patterns.iter().any(|pattern| pattern == "*"),
        }
    }

    /// Keeps all parameters.
    pub(super) const ALL: &'static Self = &Self {
        patterns: Vec::new(),
        all: true,
    };

    fn keeps(&self, parameter: &str) -> bool {
        let name = parameter
            .split_once('=')
            .map_or(parameter, |(name, _)| name);
        (self.all || self.names(name)) && !is_personal(parameter)
    }

    /// Whether a parameter is named, also where its name is written with percent signs.
    fn names(&self, name: &str) -> bool {
        let is_named = |name: &str| self.patterns.iter().any(|pattern| pattern.matches(name));
        if any_byte(name, |byte| byte == b'%') {
            return form_urlencoded::parse(name.as_bytes()).any(|(name, _)| is_named(&name));
        }
        is_named(name)
    }

    /// Where one parameter ends and the next begins.
    fn separators(&self) -> &'static [char] {
        if self.all { &['&'] } else { &['&', ';'] }
    }
}

impl Pattern {
    fn new(text: &str) -> Self {
        let text = text.to_ascii_lowercase();
        let mut parts = text.splitn(2, '*').map(str::to_owned);
        Self {
            first: parts.next().unwrap_or_default(),
            rest: parts.next(),
        }
    }

    /// Whether a name matches. Each part between two stars is searched for once, so no pattern is expensive.
    fn matches(&self, name: &str) -> bool {
        let Some(rest) = &self.rest else {
            return self.first.eq_ignore_ascii_case(name);
        };
        let Some((start, end)) = name.split_at_checked(self.first.len()) else {
            return false;
        };
        if !start.eq_ignore_ascii_case(&self.first) || rest.is_empty() {
            return start.eq_ignore_ascii_case(&self.first);
        }
        let end = end.to_ascii_lowercase();
        let mut name = &*end;
        let (between, last) = rest.rsplit_once('*').unwrap_or(("", rest));
        for part in between.split('*') {
            let Some(at) = name.find(part) else {
                return false;
            };
            name = name.get(at + part.len()..).unwrap_or_default();
        }
        name.ends_with(last)
    }
}

/// Reads the address of a page, without the parameters that are not kept.
pub(super) fn url<'v>(value: Json<'v>, kept: &KeptParameters) -> Result<Cow<'v, str>, DropReason> {
    let text = personal::trimmed(value.as_str().ok_or(DropReason::NotAUrl)?);
    if !is_address(&text) || any_byte(&text, |byte| byte.is_ascii_control()) {
        return Err(DropReason::NotAUrl);
    }
    let clean = cut(&text, kept).map_or(text, Cow::Owned);
    if personal::holds_email(&clean) {
        return Err(DropReason::PersonalData);
    }
    Ok(clean)
}

/// Whether a text is an address of the web.
fn is_address(text: &str) -> bool {
    ["https://", "http://"].iter().any(|scheme| {
        text.split_at_checked(scheme.len())
            .is_some_and(|(start, rest)| start.eq_ignore_ascii_case(scheme) && !rest.is_empty())
    })
}

/// Whether a JSON text can hold an address from which something may be cut.
pub(super) fn may_hold_address(json: &str) -> bool {
    // An escape can stand for one of the signs, but only with its code point.
    any_byte(json, |byte| is_sign(byte) || byte == b'\\')
        && (any_byte(json, is_sign) || json.contains("\\u"))
}

/// Whether a byte is one of those that every address has from which something may be cut.
const fn is_sign(byte: u8) -> bool {
    matches!(byte, b'?' | b'#' | b'@')
}

/// An address without the parts that must not go out; `None` where all may.
fn cut(address: &str, kept: &KeptParameters) -> Option<String> {
    if !any_byte(address, is_sign) {
        return None;
    }
    let (page, fragment) = address.split_once('#').unwrap_or((address, ""));
    let (page, query) = page.split_once('?').unwrap_or((page, ""));
    let mut clean = without_user(page).into_owned();
    put_parameters(&mut clean, '?', query, kept);
    put_fragment(&mut clean, fragment, kept);
    (clean != address).then_some(clean)
}

/// Removes the user's name and password before the host.
fn without_user(page: &str) -> Cow<'_, str> {
    if !any_byte(page, |byte| byte == b'@') {
        return Cow::Borrowed(page);
    }
    let begin = match page.find("://") {
        Some(end) => end + "://".len(),
        None if page.starts_with("//") => "//".len(),
        None => return Cow::Borrowed(page),
    };
    let (scheme, rest) = page.split_at(begin);
    let end = rest.find(['/', '\\']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    match authority.rsplit_once('@') {
        Some((_, host)) => Cow::Owned(format!("{scheme}{host}{path}")),
        None => Cow::Borrowed(page),
    }
}

fn put_parameters(clean: &mut String, before: char, query: &str, kept: &KeptParameters) {
    let mut next = before;
    for parameter in query.split(kept.separators()) {
        if !parameter.is_empty() && kept.keeps(parameter) {
            clean.push(next);
            clean.push_str(parameter);
            next = '&';
        }
    }
}

/// The part behind `#` is a place in the page or a route, a list of parameters, or the one before the other.
fn put_fragment(clean: &mut String, fragment: &str, kept: &KeptParameters) {
    let end = fragment.find(['?', '&', ';']).unwrap_or(fragment.len());
    let (route, parameters) = fragment.split_at(end);
    if route.contains('=') {
        return put_parameters(clean, '#', fragment, kept);
    }
    if personal::holds_email(route) {
        return;
    }
    if !fragment.is_empty() {
        clean.push('#');
        clean.push_str(route);
    }
    let mut parameters = parameters.chars();
    if let Some(before) = parameters.next() {
        put_parameters(clean, before, parameters.as_str(), kept);
    }
}

/// Whether a parameter holds personal data, encoded or decoded.
fn is_personal(parameter: &str) -> bool {
    let (name, value) = parameter.split_once('=').unwrap_or(("", parameter));
    personal::holds_email(parameter)
        || personal::is_personal(&name.into(), value)
        || (any_byte(parameter, |byte| matches!(byte, b'%' | b'+'))
            && form_urlencoded::parse(parameter.as_bytes())
                .any(|(name, value)| personal::is_personal(&(&*name).into(), &value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_kept(patterns: &[&str], text: &str, expected: Result<&str, DropReason>) {
        let json = serde_json::Value::from(text).to_string();
        let patterns: Vec<String> = patterns.iter().map(ToString::to_string).collect();
        let url = url(Json::of_valid_text(&json), &KeptParameters::new(&patterns));
        assert_eq!(url.as_deref().map_err(|why| *why), expected, "{text}");
    }

    #[track_caller]
    fn check(text: &str, expected: Result<&str, DropReason>) {
        check_kept(&["*"], text, expected);
    }

    #[test]
    fn keeps_addresses_of_the_web_as_they_are() {
        for text in [
            "https://shop.example.com/thanks?order=A-1009&fbclid=IwAR0_AbC#top",
            "HTTP://example.com",
            "https://example.com/?a=1;b=2#x=1",
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
            "https://example.com/?note=call+650-253-0000+now&a=1",
            Ok("https://example.com/?a=1"),
        );
        check(
            "https://example.com/?e=pat@example.com",
            Ok("https://example.com/"),
        );
        check(
            "https://example.com/#pat@example.com",
            Ok("https://example.com/"),
        );
        for fragment in ["tel=+16502530000", "tel=0151%202345678", "phone=6502530000"] {
            check(
                &format!("https://example.com/?a=1#{fragment}"),
                Ok("https://example.com/?a=1"),
            );
            check(
                &format!("https://example.com/#a=1&{fragment}&b=2"),
                Ok("https://example.com/#a=1&b=2"),
            );
            check(
                &format!("https://example.com/#/u?{fragment}"),
                Ok("https://example.com/#/u"),
            );
        }
        check(
            "https://example.com/pat@example.com",
            Err(DropReason::PersonalData),
        );
        check_kept(
            &["utm_*"],
            "https://example.com/?utm_term=pat@example.com&utm_id=7",
            Ok("https://example.com/?utm_id=7"),
        );
    }

    #[test]
    fn keeps_the_parameters_that_are_named() {
        for (text, expected) in [
            (
                "https://example.com/a?token=x&fbclid=IwAR0_%2D&utm_source=ig&UTM_Medium=y&order=7",
                "https://example.com/a?fbclid=IwAR0_%2D&utm_source=ig&UTM_Medium=y",
            ),
            (
                "https://example.com/a?token=x#top",
                "https://example.com/a#top",
            ),
            (
                "https://example.com/a?token=x;utm_id=1",
                "https://example.com/a?utm_id=1",
            ),
            (
                "https://example.com/a?t=1&amp;utm_id=1",
                "https://example.com/a?utm_id=1",
            ),
            (
                "https://example.com/a?a=1?fbclid=X",
                "https://example.com/a",
            ),
            ("https://example.com?q", "https://example.com"),
            (
                "https://example.com/?xfbclid=1&fbclid2=1&utm=1",
                "https://example.com/",
            ),
            // Routes and queries behind the number sign.
            (
                "https://example.com/#/cart?step=2&utm_id=1",
                "https://example.com/#/cart?utm_id=1",
            ),
            (
                "https://example.com/#/cart&fbclid=X&t=1",
                "https://example.com/#/cart&fbclid=X",
            ),
            (
                "https://example.com/?t=1#fbclid=X&state=1",
                "https://example.com/#fbclid=X",
            ),
            (
                "https://example.com/#access_token=1&state=2",
                "https://example.com/",
            ),
            ("https://example.com/#?t=1", "https://example.com/#"),
            (
                "https://example.com/#:~:text=John%20Doe",
                "https://example.com/",
            ),
        ] {
            check_kept(&["fbclid", "utm_*"], text, Ok(expected));
        }
        check_kept(
            &[],
            "https://example.com/?a=1&b",
            Ok("https://example.com/"),
        );
    }

    #[test]
    fn a_name_counts_as_it_is_decoded() {
        for (text, expected) in [
            ("https://a.de/?%66bclid=Ab&t=1", "https://a.de/?%66bclid=Ab"),
            (
                "https://a.de/?utm%5Fsource=x&%74=1",
                "https://a.de/?utm%5Fsource=x",
            ),
            ("https://a.de/?utm%5Fphone=015257774443", "https://a.de/"),
            ("https://a.de/?%=1&%zz=1", "https://a.de/"),
        ] {
            check_kept(&["fbclid", "utm_*"], text, Ok(expected));
        }
    }

    #[test]
    fn takes_user_names_and_passwords_out() {
        for (text, expected) in [
            (
                "https://pat:secret@example.com/a?b=1",
                "https://example.com/a?b=1",
            ),
            ("https://pat@example.com", "https://example.com"),
            (
                "https://a@b:c@example.com:8080/@x",
                "https://example.com:8080/@x",
            ),
        ] {
            check(text, Ok(expected));
        }
    }

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, name, expected) in [
            ("utm_*", "utm_", true),
            ("utm_*", "utm", false),
            ("*clid", "msclkid", false),
            ("*clid", "GCLID", true),
            ("*_id", "li_fat_id", true),
            ("li_*_id", "li_fat_id", true),
            ("li_*_id", "li_id", false),
            ("a*b*c", "aXbYc", true),
            ("é*", "a", false),
            ("a*b*c", "abbc", true),
            ("a*bc*c", "abc", false),
            ("a*a", "a", false),
            ("**", "x", true),
        ] {
            let found = Pattern::new(pattern).matches(name);
            assert_eq!(found, expected, "{pattern} {name}");
        }
    }
}
