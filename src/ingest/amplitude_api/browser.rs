//! What the headers of a browser's request tell, besides the events in its body.
//!
//! Cookies come along where the endpoint is on the page's own site and the request carries credentials: a
//! beacon always does, Amplitude's SDK does on the page's own origin.

use axum::http::HeaderMap;
use axum::http::header::{COOKIE, USER_AGENT};

use crate::event::request::{BrowserRequest, Cookie, Cookies};

/// `1`: the person asks not to be sold or shared (Global Privacy Control).
const GPC: &str = "sec-gpc";

/// Reads only what paths may ask for.
pub(super) fn request(headers: &HeaderMap) -> BrowserRequest {
    let user_agent = headers.get(USER_AGENT);
    BrowserRequest {
        user_agent: user_agent.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()),
        cookies: Cookies {
            browser: cookie(headers, "_fbp"),
            click: cookie(headers, "_fbc"),
        },
        gpc: headers
            .get(GPC)
            .filter(|value| value.as_bytes().trim_ascii() == b"1")
            .map(|_| true),
    }
}

/// Most values of one cookie.
const MOST_OF_A_NAME: usize = 4;

/// The cookies of a name that are not empty. Of several, browsers send the one with the longest path first,
/// which may be the wrong one.
fn cookie(headers: &HeaderMap, name: &str) -> Option<Cookie> {
    let mut values: Vec<String> = Vec::new();
    for line in headers.get_all(COOKIE) {
        let line = String::from_utf8_lossy(line.as_bytes());
        for (found, value) in line
            .split(';')
            .filter_map(|pair| pair.trim().split_once('='))
        {
            let value = value.trim_matches('"');
            let is_new = !value.is_empty() && values.iter().all(|known| known != value);
            if found == name && is_new && values.len() < MOST_OF_A_NAME {
                values.push(value.to_owned());
            }
        }
    }
    match values.len() {
        0 => None,
        1 => values.pop().map(Cookie::One),
        _ => Some(Cookie::Several(values)),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    #[track_caller]
    fn check(headers: &[(&'static str, &[u8])], expected: &str) {
        let headers = headers.iter().map(|(name, value)| {
            let value = HeaderValue::from_bytes(value).unwrap();
            (HeaderName::from_static(name), value)
        });
        let told = request(&headers.collect());
        assert_eq!(told.to_json(), expected);
    }

    #[test]
    fn reads_user_agent_cookies_and_privacy_control() {
        check(&[], r#"{"cookies":{}}"#);
        check(
            &[
                ("user-agent", b"Mozilla/5.0 \"x\""),
                ("cookie", b"a=b; _fbp=fb.1.2.3;_fbc=\"fb.1.2.Ab=c\"; x"),
                ("sec-gpc", b"1"),
            ],
            r#"{"user_agent":"Mozilla/5.0 \"x\"","cookies":{"_fbp":"fb.1.2.3","_fbc":"fb.1.2.Ab=c"},"gpc":true}"#,
        );
        // HTTP/2 splits the header, other cookies are anything, and of one name there may be several.
        check(
            &[
                ("cookie", b"name=M\xfcller; x_fbp=1; _fbp="),
                (
                    "cookie",
                    b"_FBP=2; _fbp=fb.1.2.3; _fbp=fb.9.9.9; _fbc=\"\"; _fbp=fb.1.2.3; _fbc=a",
                ),
                ("sec-gpc", b"0"),
            ],
            r#"{"cookies":{"_fbp":["fb.1.2.3","fb.9.9.9"],"_fbc":"a"}}"#,
        );
    }
}
