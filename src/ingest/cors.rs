//! Cross-origin requests: which pages may send, and how their browsers are told.
//!
//! A browser asks first (`OPTIONS`), unless the request is as plain as a beacon's. SDKs, and the
//! programs that wrap them, put headers of their own on requests, so an allowed page is granted every
//! header that it asks for: only those that describe the body are read here. A request from an
//! origin that is not listed is refused; it is not enough that the page cannot read the answer.

use axum::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

/// What a browser that names no header may send.
const USUAL_HEADERS: HeaderValue = HeaderValue::from_static("content-type, content-encoding");

/// The methods of these endpoints.
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST");

/// Most headers that are granted, and the longest name of one.
const MOST_HEADERS: usize = 100;
const LONGEST_NAME: usize = 128;

/// A browser asks this for a page of the public network, where the address here is of a private one.
const REQUEST_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-request-private-network");
const ALLOW_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-allow-private-network");

/// The origins that may send.
#[derive(Debug)]
pub(super) enum Cors {
    Any,
    /// These; a star in one stands for one label of a domain.
    Listed(Vec<String>),
}

/// The origin of a request, as its browser names it.
#[derive(Debug)]
pub(super) enum RequestOrigin {
    /// The request names none.
    Absent,
    /// A page that may send; holds the origin that its browser is told.
    Allowed(HeaderValue),
    /// A page that may not send.
    Refused,
}

/// What a browser asked for and is not granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// The page may not send.
    Origin,
    /// No endpoint of SDKs has the method.
    Method,
}

impl Cors {
    /// Takes the origins of the configuration; an empty list, or `*` in it, allows any.
    pub(super) fn new(origins: &[String]) -> Self {
        if origins.is_empty() || origins.iter().any(|origin| origin == "*") {
            return Self::Any;
        }
        Self::Listed(origins.to_vec())
    }

    /// Judges where a request comes from.
    pub(super) fn origin(&self, headers: &HeaderMap) -> RequestOrigin {
        let Some(origin) = headers.get(ORIGIN) else {
            return RequestOrigin::Absent;
        };
        match self {
            Self::Any => RequestOrigin::Allowed(HeaderValue::from_static("*")),
            Self::Listed(listed) => match origin.to_str() {
                Ok(text) if listed.iter().any(|listed| matches_origin(listed, text)) => {
                    RequestOrigin::Allowed(origin.clone())
                }
                _ => RequestOrigin::Refused,
            },
        }
    }

    /// Answers the browser that asks before it sends, and returns what it is not granted.
    pub(super) fn preflight(&self, asked: &HeaderMap) -> (Response, Option<Denied>) {
        let origin = self.origin(asked);
        let mut response = StatusCode::NO_CONTENT.into_response();
        origin.tell(&mut response);
        let headers = response.headers_mut();
        headers.insert(
            VARY,
            HeaderValue::from_static(
                "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
            ),
        );
        if !origin.is_allowed() {
            let denied = matches!(origin, RequestOrigin::Refused).then_some(Denied::Origin);
            return (response, denied);
        }
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, granted(asked));
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
        if asked.contains_key(REQUEST_PRIVATE_NETWORK) {
            headers.insert(ALLOW_PRIVATE_NETWORK, HeaderValue::from_static("true"));
        }
        let method = asked.get(ACCESS_CONTROL_REQUEST_METHOD);
        // HEAD needs no grant where GET has one.
        let has_method =
            method.is_none_or(|method| matches!(method.as_bytes(), b"GET" | b"HEAD" | b"POST"));
        (response, (!has_method).then_some(Denied::Method))
    }
}

fn matches_origin(listed: &str, origin: &str) -> bool {
    let Some((begin, end)) = listed.split_once('*') else {
        return listed == origin;
    };
    let behind = origin.strip_prefix(begin);
    let label = behind.and_then(|behind| behind.strip_suffix(end));
    label.is_some_and(|label| {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        !label.is_empty() && label.bytes().all(is_part)
    })
}

impl RequestOrigin {
    /// Whether a page sends, and may.
    pub(super) const fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed(_))
    }

    /// Lets the page read the answer, if it may. A listed page may send its cookies along.
    pub(super) fn tell(&self, response: &mut Response) {
        let headers = response.headers_mut();
        headers.insert(VARY, HeaderValue::from_static("Origin"));
        let Self::Allowed(origin) = self else {
            return;
        };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        if origin != "*" {
            let yes = HeaderValue::from_static("true");
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
        }
    }
}

/// The headers that a browser asks to send; text that cannot name a header is left out.
fn granted(asked: &HeaderMap) -> HeaderValue {
    let names: Vec<HeaderName> = asked
        .get_all(ACCESS_CONTROL_REQUEST_HEADERS)
        .iter()
        .flat_map(|list| list.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|name| name.len() <= LONGEST_NAME)
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        .take(MOST_HEADERS)
        .collect();
    let names: Vec<&str> = names.iter().map(HeaderName::as_str).collect();
    if names.is_empty() {
        return USUAL_HEADERS;
    }
    HeaderValue::from_str(&names.join(", ")).unwrap_or(USUAL_HEADERS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOP: &str = "https://shop.example.com";

    fn cors(listed: &[&str]) -> Cors {
        let listed: Vec<String> = listed.iter().map(|&origin| origin.to_owned()).collect();
        Cors::new(&listed)
    }

    fn asked(headers: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        map
    }

    #[track_caller]
    fn grants(headers: &[(&'static str, &str)], expected: &str) {
        let mut headers = headers.to_vec();
        headers.push(("origin", SHOP));
        let (response, denied) = cors(&[]).preflight(&asked(&headers));
        assert_eq!(response.status(), 204);
        assert_eq!(
            response.headers()[ACCESS_CONTROL_ALLOW_HEADERS],
            expected,
            "{headers:?}"
        );
        assert_eq!(denied, None);
    }

    #[test]
    fn a_welcome_page_is_granted_the_headers_that_it_asks_for() {
        const ASKED: &str = "access-control-request-headers";
        grants(&[], "content-type, content-encoding");
        grants(&[(ASKED, "")], "content-type, content-encoding");
        grants(
            &[(ASKED, "cross-origin-resource-policy")],
            "cross-origin-resource-policy",
        );
        grants(
            &[(ASKED, "Authorization ,x-b3,*"), (ASKED, "traceparent")],
            "authorization, x-b3, *, traceparent",
        );
        let long = "x".repeat(LONGEST_NAME + 1);
        grants(&[(ASKED, &format!("a b,(x),x-ok,{long},:x,"))], "x-ok");
        let many = vec!["x"; 2 * MOST_HEADERS].join(",");
        grants(&[(ASKED, &many)], &vec!["x"; MOST_HEADERS].join(", "));
    }

    #[test]
    fn only_a_listed_page_may_send_cookies() {
        for (listed, origin, credentials) in [
            (&[][..], "*", None),
            (&["*", SHOP], "*", None),
            (&[SHOP], SHOP, Some("true")),
        ] {
            let (response, denied) = cors(listed).preflight(&asked(&[("origin", SHOP)]));
            let headers = response.headers();
            assert_eq!(headers[ACCESS_CONTROL_ALLOW_ORIGIN], origin);
            let told = headers.get(ACCESS_CONTROL_ALLOW_CREDENTIALS);
            assert_eq!(told.map(|told| told.to_str().unwrap()), credentials);
            assert_eq!(denied, None);
        }
    }

    #[test]
    fn a_star_is_one_label() {
        let cors = cors(&[
            "https://*.example.com",
            "http://*.localhost:3000",
            "capacitor://localhost",
        ]);
        for (origin, expected) in [
            (SHOP, true),
            ("https://x-1.example.com", true),
            ("http://app.localhost:3000", true),
            ("capacitor://localhost", true),
            ("https://example.com", false),
            ("https://.example.com", false),
            ("https://a.b.example.com", false),
            ("https://evil.net/.example.com", false),
            ("https://u@.example.com", false),
            ("https://shop.example.com:8443", false),
            ("http://shop.example.com", false),
            ("https://shop.example.com.evil.net", false),
            ("https://evilexample.com", false),
            ("capacitor://localhost.evil", false),
            ("ionic://localhost", false),
        ] {
            let found = cors.origin(&asked(&[("origin", origin)]));
            assert_eq!(found.is_allowed(), expected, "{origin}");
            assert_eq!(
                matches!(found, RequestOrigin::Allowed(told) if told == origin),
                expected
            );
        }
    }

    #[test]
    fn says_what_is_not_granted() {
        let method = "access-control-request-method";
        for (headers, expected) in [
            (&[][..], None),
            (&[("origin", SHOP), (method, "POST")], None),
            (&[("origin", SHOP), (method, "PUT")], Some(Denied::Method)),
            (
                &[("origin", "https://evil.example.net"), (method, "POST")],
                Some(Denied::Origin),
            ),
            (&[("origin", "null")], Some(Denied::Origin)),
        ] {
            let (response, denied) = cors(&[SHOP]).preflight(&asked(headers));
            assert_eq!(denied, expected, "{headers:?}");
            let welcome = response.headers().contains_key(ACCESS_CONTROL_ALLOW_ORIGIN);
            let is_page = !headers.is_empty() && denied != Some(Denied::Origin);
            assert_eq!(welcome, is_page, "{headers:?}");
        }
    }

    #[test]
    fn a_public_page_may_send_to_a_private_network() {
        let headers = [
            ("origin", SHOP),
            ("access-control-request-private-network", "true"),
        ];
        let (response, _) = cors(&[]).preflight(&asked(&headers));
        assert_eq!(response.headers()[ALLOW_PRIVATE_NETWORK], "true");
        let (response, _) = cors(&["https://other.example.com"]).preflight(&asked(&headers));
        assert!(!response.headers().contains_key(ALLOW_PRIVATE_NETWORK));
    }
}
