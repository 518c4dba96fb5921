//! What the headers of an answer say about rate limits.
//!
//! Pure. Meta's usage headers hold JSON (Marketing API: Rate Limiting). Percentages are of a limit
//! at which calls are refused; `estimated_time_to_regain_access` is in minutes, and
//! `reset_time_duration` in seconds. `Retry-After` is a number of seconds, or a moment that is compared
//! with the answer's own `Date`: the clocks of two machines differ. What cannot be read counts as absent.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Map, Value};

use crate::clock::UnixMillis;

/// The longest wait that Meta may ask for: a longer one counts as this.
pub const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// Limits of `x-business-use-case-usage` that do not bind this program's calls.
const OTHER_USE_CASES: [&str; 6] = [
    "ads_insights",
    "instagram",
    "leadgen",
    "messenger",
    "pages",
    "whatsapp",
];

/// How much of each limit is used up, and how long to wait.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RateUsage {
    /// Percent of the app's limit.
    pub app: Option<f64>,
    /// Percent of the business use case's limit.
    pub business: Option<f64>,
    /// Percent of the ad account's limit.
    pub ad_account: Option<f64>,
    /// Until access is regained or a limit is reset; not zero.
    pub regain: Option<Duration>,
    /// `Retry-After`; not zero.
    pub retry_after: Option<Duration>,
}

impl RateUsage {
    /// Reads the headers that `get` gives. `now` stands in for a missing `Date`.
    pub fn read<'a>(get: impl Fn(&str) -> Option<&'a str>, now: UnixMillis) -> Self {
        let json = |name| serde_json::from_str(get(name)?).ok();
        let mut usage = Self {
            app: json("x-app-usage").as_ref().and_then(highest_figure),
            ..Self::default()
        };
        if let Some(Value::Object(accounts)) = json("x-business-use-case-usage") {
            usage.read_business(&accounts);
        }
        if let Some(account) = json("x-ad-account-usage") {
            usage.ad_account = account.get("acc_id_util_pct").and_then(number);
            usage.regain_in(account.get("reset_time_duration").and_then(number));
        }
        let sent = get("date").and_then(moment).unwrap_or(now);
        usage.retry_after = get("retry-after")
            .and_then(|value| match value.trim().parse() {
                Ok(seconds) => Some(Duration::from_secs(seconds)),
                Err(_) => Some(moment(value)?.since(sent)),
            })
            .map(|wait| wait.min(LONGEST_WAIT))
            .filter(|wait| !wait.is_zero());
        usage
    }

    /// How much of each limit is used up, in percent.
    pub fn shares(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let shares = [
            ("app", self.app),
            ("business", self.business),
            ("ad_account", self.ad_account),
        ];
        (shares.into_iter()).filter_map(|(kind, percent)| Some((kind, percent?)))
    }

    /// The largest share of a limit that is used up, in percent.
    pub fn highest(&self) -> f64 {
        self.shares()
            .map(|(_, percent)| percent)
            .fold(0.0, f64::max)
    }

    /// The longest wait that a header asks for; `None` where none does.
    pub fn wait(&self) -> Option<Duration> {
        self.regain.max(self.retry_after)
    }

    fn read_business(&mut self, accounts: &Map<String, Value>) {
        for entry in accounts.values().filter_map(Value::as_array).flatten() {
            let use_case = entry.get("type").and_then(Value::as_str);
            if use_case.is_some_and(|name| OTHER_USE_CASES.contains(&name)) {
                continue;
            }
            let figures = [self.business, highest_figure(entry)];
            self.business = figures.into_iter().flatten().reduce(f64::max);
            let minutes = entry
                .get("estimated_time_to_regain_access")
                .and_then(number);
            self.regain_in(minutes.map(|minutes| minutes * 60.0));
        }
    }

    fn regain_in(&mut self, seconds: Option<f64>) {
        let wait = seconds
            .map(|seconds| seconds.min(LONGEST_WAIT.as_secs_f64()))
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .filter(|wait| !wait.is_zero());
        self.regain = self.regain.max(wait);
    }
}

/// Reads a moment in any form that HTTP has ever had.
pub fn moment(text: &str) -> Option<UnixMillis> {
    let moment = httpdate::parse_http_date(text.trim()).ok()?;
    let since_epoch = moment.duration_since(UNIX_EPOCH).ok()?;
    Some(UnixMillis::default().plus(since_epoch))
}

/// The largest of the three figures that Meta keeps for an app or a use case.
fn highest_figure(figures: &Value) -> Option<f64> {
    ["call_count", "total_cputime", "total_time"]
        .into_iter()
        .filter_map(|name| figures.get(name).and_then(number))
        .reduce(f64::max)
}

/// A number that is not negative, or one in a text.
pub fn number(value: &Value) -> Option<f64> {
    value
        .as_f64()
        .or_else(|| value.as_str()?.trim().parse().ok())
        .filter(|number: &f64| number.is_finite() && *number >= 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 21 October 2026, 07:28:30.
    const NOW: UnixMillis = UnixMillis::from_seconds(1_792_567_710);
    const APP: &str = r#"{"call_count":28,"total_cputime":25,"total_time":31}"#;
    const BUSINESS: &str = r#"{"1":[{"type":"ads_insights","call_count":99,
        "estimated_time_to_regain_access":50},{"type":"ads_management","call_count":95,
        "total_cputime":20,"total_time":20,"estimated_time_to_regain_access":19}]}"#;
    const ACCOUNT: &str =
        r#"{"acc_id_util_pct":9.67,"reset_time_duration":100,"ads_api_access_tier":"x"}"#;

    fn read(headers: &[(&str, &str)]) -> RateUsage {
        let value = |name: &str| headers.iter().find(|header| header.0 == name);
        RateUsage::read(|name| value(name).map(|header| header.1), NOW)
    }

    #[test]
    fn each_header_is_read_in_its_own_unit() {
        let usage = read(&[
            ("x-app-usage", APP),
            ("x-business-use-case-usage", BUSINESS),
            ("x-ad-account-usage", ACCOUNT),
            ("retry-after", " 7 "),
        ]);
        assert_eq!(usage.app, Some(31.0));
        assert_eq!(usage.business, Some(95.0));
        assert_eq!(usage.ad_account, Some(9.67));
        assert_eq!(usage.regain, Some(Duration::from_secs(19 * 60)));
        assert_eq!(usage.retry_after, Some(Duration::from_secs(7)));
        assert_eq!(usage.wait(), Some(Duration::from_secs(19 * 60)));
        assert!((usage.highest() - 95.0).abs() < f64::EPSILON);
    }

    #[test]
    fn the_longest_wait_that_is_not_zero_counts() {
        let account = |seconds: u32| format!(r#"{{"reset_time_duration":{seconds}}}"#);
        let cases = [
            (account(100), "7", Some(100)),
            (account(0), "7", Some(7)),
            (account(5), "7", Some(7)),
            (account(0), "0", None),
            (account(0), "99999999999", Some(24 * 3600)),
            (account(u32::MAX), "7", Some(24 * 3600)),
            ("nonsense".to_owned(), "soon", None),
        ];
        for (account, retry_after, seconds) in cases {
            let headers = [
                ("x-ad-account-usage", account.as_str()),
                ("retry-after", retry_after),
            ];
            let wait = read(&headers).wait();
            assert_eq!(wait, seconds.map(Duration::from_secs), "{headers:?}");
        }
    }

    #[test]
    fn a_moment_is_a_wait_from_the_answers_own() {
        // By our own clock it is half a minute later than by the other end's.
        let date = Some("Wed, 21 Oct 2026 07:28:00 GMT");
        for (retry_after, date, seconds) in [
            ("Wed, 21 Oct 2026 07:30:00 GMT", date, Some(120)),
            ("Wed, 21 Oct 2026 07:30:00 GMT", None, Some(90)),
            ("Wed, 21 Oct 2026 07:30:00 GMT", Some("today"), Some(90)),
            ("Wednesday, 21-Oct-26 07:30:00 GMT", date, Some(120)),
            ("Wed Oct 21 07:30:00 2026", date, Some(120)),
            ("Fri, 23 Oct 2026 07:30:00 GMT", date, Some(24 * 3600)),
            ("Wed, 21 Oct 2026 07:28:00 GMT", date, None),
            ("Wed, 21 Oct 2026 07:27:00 GMT", date, None),
            ("21 Oct 2026", date, None),
            ("-7", date, None),
            ("7", date, Some(7)),
        ] {
            let mut headers = vec![("retry-after", retry_after)];
            headers.extend(date.map(|date| ("date", date)));
            let wait = read(&headers).wait();
            assert_eq!(wait, seconds.map(Duration::from_secs), "{retry_after}");
        }
    }

    #[test]
    fn what_cannot_be_read_counts_as_absent() {
        let values = [
            "",
            "null",
            "[]",
            "{}",
            "7",
            r#"{"1":{"call_count":9}}"#,
            r#"{"1":[null,7]}"#,
            r#"{"call_count":"many","acc_id_util_pct":-3,"reset_time_duration":"soon"}"#,
        ];
        for value in values {
            let usage = RateUsage::read(|name| name.starts_with("x-").then_some(value), NOW);
            assert_eq!(usage, RateUsage::default(), "{value}");
        }
    }
}
