//! What a browser's request says of itself: the user agent, Meta's cookies, the wish for privacy. It is not
//! part of an event's text, so that no sender of events can write it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a browser's request says of itself, beside the events in it.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BrowserRequest {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    #[serde(default)]
    pub cookies: Cookies,
    /// Whether the person asks not to be sold or shared (Global Privacy Control).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpc: Option<bool>,
}

/// The cookies that Meta's Pixel sets.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Cookies {
    /// Identifies the browser.
    #[serde(rename = "_fbp", default, skip_serializing_if = "Option::is_none")]
    pub browser: Option<Cookie>,
    /// Identifies a click on an ad.
    #[serde(rename = "_fbc", default, skip_serializing_if = "Option::is_none")]
    pub click: Option<Cookie>,
}

/// The values of one cookie: a browser has several of a name if they belong to several paths or domains.
#[derive(Clone, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Cookie {
    One(String),
    /// In the browser's order.
    Several(Vec<String>),
}

/// The paths into the JSON of a request.
pub const PATHS: [&str; 4] = [
    "request.user_agent",
    "request.cookies._fbp",
    "request.cookies._fbc",
    "request.gpc",
];

/// The name that they begin with.
pub const ROOT: &str = "request";

impl BrowserRequest {
    /// The JSON that paths are read in.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl fmt::Debug for BrowserRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What it holds is personal data.
        f.write_str("BrowserRequest(..)")
    }
}

impl fmt::Debug for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Its value identifies a person.
        f.write_str("Cookie(..)")
    }
}
