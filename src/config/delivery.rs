//! `[meta]` and `[sync.<name>.delivery]`: where events go, and how requests are made.

use std::num::NonZeroUsize;
use std::time::Duration;

use url::Url;

use crate::config::codecs::{count, duration, https_url, memory, rate, text};
use crate::config::schema::KeyDefault::Value;
use crate::config::schema::section;
use crate::config::units::Rate;

section! {
    /// `[meta]`.
    #[derive(Clone, Debug)]
    pub struct MetaConfig = Section::new("meta", "Where events go.");

    url: Url = https_url(r#"an https URL such as "https://graph.facebook.com" (http only for a loopback address)"#),
        Value(r#""https://graph.facebook.com""#), "Base URL of the Graph API.";
    api_version: String = text(r#"a version such as "v26.0""#, is_api_version),
        Value(r#""v26.0""#), "Version of the Graph API.";
}

section! {
    /// `[sync.<name>.delivery]`.
    #[derive(Clone, Debug)]
    pub struct DeliveryConfig = Section::new("sync.<name>.delivery", "How requests are made.");

    max_batch_events: NonZeroUsize = count(1000), Value("1000"),
        "Most events in one request; Meta takes up to 1000." else NonZeroUsize::MIN;
    max_batch_bytes: NonZeroUsize = memory(16 << 20), Value(r#""1MiB""#),
        "Most bytes in one request." else NonZeroUsize::MIN;
    max_batch_delay: Duration = duration(Duration::ZERO..=Duration::from_secs(60 * 60)),
        Value(r#""1s""#), "Longest wait for a batch to fill." else Duration::ZERO;
    max_in_flight: NonZeroUsize = count(256), Value("4"),
        "Most requests under way." else NonZeroUsize::MIN;
    requests_per_second: Option<Rate> = rate(), Value("10"),
        "Most requests per second." else None;
    events_per_second: Option<Rate> = rate(), Value(r#""unlimited""#),
        "Most events per second." else None;
    timeout: Duration = duration(Duration::from_millis(100)..=Duration::from_secs(600)),
        Value(r#""15s""#), "Longest wait for an answer." else Duration::ZERO;
}

fn is_api_version(text: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.strip_prefix('v')
        .and_then(|version| version.split_once('.'))
        .is_some_and(|(major, minor)| number(major) && number(minor))
}
