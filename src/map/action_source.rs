//! Where a conversion took place, and how long Meta accepts it.

use crate::clock::UnixMillis;
use crate::config::expressions::{ActionSource, MetaActionSource};
use crate::config::sync::AppConfig;
use crate::dropped::DropReason;
use crate::event::Event;
use crate::json::Json;
use crate::map::app_data::Device;
use crate::map::record::{Recorder, ServerField, Source};
use crate::outcome::Reason;

const DAY: i64 = 24 * 60 * 60;

/// How long Meta pairs an event with the one that its Pixel sent from the browser, in seconds (Meta:
/// Deduplicate Pixel and Server Events).
const PAIRED: i64 = 2 * DAY;

/// How long after an event it may be sent, in seconds: as long as Meta accepts it (Meta: Server Event
/// Parameters), and pairs it with the Pixel's where there is a Pixel.
pub(super) const fn window(source: MetaActionSource, browser_pixel: Option<bool>) -> i64 {
    match (source, browser_pixel) {
        (MetaActionSource::PhysicalStore, _) => 62 * DAY,
        (MetaActionSource::Website, Some(true)) => PAIRED,
        _ => 7 * DAY,
    }
}

/// Whether Meta may count an event twice: it is too old to be paired, and the configuration does not say
/// whether there is a Pixel.
pub(super) const fn may_count_twice(
    seconds: i64,
    source: MetaActionSource,
    browser_pixel: Option<bool>,
    now: UnixMillis,
) -> bool {
    matches!(source, MetaActionSource::Website)
        && browser_pixel.is_none()
        && seconds < now.seconds() - PAIRED
}

/// What was decided about one event.
pub(super) struct Decided<'a> {
    pub(super) source: MetaActionSource,
    /// The device of the app event; only for `app`.
    pub(super) device: Option<Device>,
    pub(super) from: Source<'a>,
    pub(super) rule: &'static str,
}

/// Decides where an event took place.
///
/// An expression that finds nothing, or nothing that Meta knows, takes its default, and without one
/// leaves the choice to `auto`. So does `app` for an event whose device is not known well enough: Meta
/// would refuse it for its incomplete `extinfo`.
pub(super) fn decide<'a>(
    wanted: &'a ActionSource,
    event: &'a Event<'_>,
    app: Option<&AppConfig>,
    has_page: bool,
    recorder: &mut impl Recorder,
) -> Decided<'a> {
    let device = || app.and_then(|app| Device::of(event, app));
    let (source, from) = match wanted {
        ActionSource::Auto => (None, Source::made()),
        ActionSource::Fixed(source) => (Some(*source), Source::made()),
        ActionSource::From(expr) => {
            let found = expr.first(event);
            match found.map(|found| (known(found.value), Source::found(&found))) {
                None => (None, Source::made()),
                Some((Some(source), from)) => (Some(source), from),
                Some((None, from)) => {
                    let field = ServerField::Event("action_source");
                    recorder.dropped(field, from, DropReason::UnknownWord);
                    let default = expr.default.as_ref();
                    let source = default.and_then(|default| known(default.json()));
                    (source, Source::made())
                }
            }
        }
    };
    match source {
        Some(MetaActionSource::App) | None => Decided {
            from,
            ..automatic(event, device(), has_page, source.is_some())
        },
        Some(source) => Decided {
            source,
            device: None,
            from,
            rule: AS_CONFIGURED,
        },
    }
}

/// The rule of a source that the configuration names or finds.
const AS_CONFIGURED: &str = "as configured";

/// Reads one of Meta's words.
fn known(value: Json<'_>) -> Option<MetaActionSource> {
    let text = value.text()?;
    let source = MetaActionSource::parse(&text.trim().to_ascii_lowercase());
    source.filter(|source| can_be_mapped(*source))
}

/// Whether the fields that Meta requires of a source can be mapped. A business message needs the ids
/// of a page and of a conversation, which have no place in an Amplitude event.
pub(super) fn can_be_mapped(source: MetaActionSource) -> bool {
    source != MetaActionSource::BusinessMessaging
}

fn automatic(
    event: &Event<'_>,
    device: Option<Device>,
    has_page: bool,
    wants_app: bool,
) -> Decided<'static> {
    let is_web = || {
        let platform = event.field("platform").and_then(Json::as_str);
        platform.is_some_and(|name| name.trim().eq_ignore_ascii_case("web"))
    };
    let (source, rule) = match device {
        Some(_) if wants_app => (MetaActionSource::App, AS_CONFIGURED),
        _ if has_page => (
            MetaActionSource::Website,
            "automatic: the URL of a page was found",
        ),
        _ if is_web() => (MetaActionSource::Website, "automatic: the platform is Web"),
        Some(_) => (
            MetaActionSource::App,
            "automatic: neither platform Web nor the URL of a page, and an app's device",
        ),
        None => (
            MetaActionSource::Other,
            "automatic: neither platform Web, nor the URL of a page, nor an app's device",
        ),
    };
    Decided {
        source,
        device: device.filter(|_| source == MetaActionSource::App),
        from: Source::made(),
        rule,
    }
}

/// How far an event may be in the future, since clocks differ.
const TOLERANCE_MILLIS: i64 = 60 * 1000;

/// How long an event with a time hours ahead may take to arrive.
const DELAY_MILLIS: i64 = 15 * 60 * 1000;

/// The seconds to send of an event of this time, or why Meta would not accept it.
pub(super) fn check_time(
    happened: UnixMillis,
    source: MetaActionSource,
    browser_pixel: Option<bool>,
    now: UnixMillis,
) -> Result<i64, Reason> {
    const HOUR: i64 = 60 * 60 * 1000;
    let ahead = happened.0.saturating_sub(now.0);
    // A template that reads UTC as US Pacific time puts an event 8 h ahead, 7 h in summer, less the
    // time that it took to arrive.
    let is_trap = |hours| {
        let trap = hours * HOUR;
        (trap - DELAY_MILLIS..=trap + TOLERANCE_MILLIS).contains(&ahead)
    };
    if is_trap(7) || is_trap(8) {
        return Err(Reason::TimeZoneTrap);
    }
    if ahead > TOLERANCE_MILLIS {
        return Err(Reason::InFuture);
    }
    let seconds = happened.seconds().min(now.seconds());
    if seconds < now.seconds() - window(source, None) {
        return Err(Reason::TooOld);
    }
    if seconds < now.seconds() - window(source, browser_pixel) {
        return Err(Reason::TooOldForPixel);
    }
    Ok(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fields::AppField;
    use crate::event::arena::Arena;
    use crate::expr::path::Path;
    use crate::expr::value::{Constant, ValueExpr};
    use crate::map::record::FieldStats;

    #[track_caller]
    fn check(wanted: &ActionSource, event: &str, page: bool, expected: &str) -> FieldStats {
        let arena = Arena::default();
        let event = Event::decode(event.as_bytes(), &arena).unwrap();
        let app = AppConfig {
            fields: [(
                AppField::BundleId,
                ValueExpr::constant(Constant::new(&"com.example".into())),
            )]
            .into(),
        };
        let mut stats = FieldStats::default();
        let decided = decide(wanted, &event, Some(&app), page, &mut stats);
        assert_eq!(decided.device.is_some(), expected == "app");
        assert_eq!(decided.source.as_str(), expected);
        stats
    }

    const PHONE: &str = r#"{"platform":"iOS","os_version":"17.4"}"#;

    #[test]
    fn auto_goes_by_page_platform_and_device() {
        let auto = ActionSource::Auto;
        check(&auto, r#"{"platform":"Web"}"#, false, "website");
        check(&auto, "{}", true, "website");
        check(&auto, PHONE, false, "app");
        check(&auto, PHONE, true, "website");
        check(&auto, r#"{"platform":"iOS"}"#, false, "other");
        check(&auto, "{}", false, "other");
        let arena = Arena::default();
        let event = Event::decode(PHONE.as_bytes(), &arena).unwrap();
        let decided = decide(&auto, &event, None, false, &mut FieldStats::default());
        assert_eq!(decided.source, MetaActionSource::Other);
    }

    #[test]
    fn an_app_event_without_a_device_falls_back() {
        let app = ActionSource::Fixed(MetaActionSource::App);
        check(&app, PHONE, true, "app");
        check(&app, "{}", true, "website");
        check(&app, "{}", false, "other");
    }

    #[test]
    fn an_expression_names_one_of_metas_values() {
        let from = ActionSource::From(ValueExpr::path(
            Path::parse("event_properties.channel").unwrap(),
        ));
        for (channel, expected) in [
            ("physical_store", "physical_store"),
            (" Phone_Call ", "phone_call"),
            ("(none)", "other"),
        ] {
            let event = format!("{{\"event_properties\":{{\"channel\":\"{channel}\"}}}}");
            check(&from, &event, false, expected);
        }
    }

    #[test]
    fn an_unknown_word_gives_way_to_the_default() {
        let path = || Path::parse("event_properties.channel").unwrap();
        let with_default = |default: Option<&str>| {
            ActionSource::From(ValueExpr {
                default: default.map(|word| Constant::new(&word.into())),
                ..ValueExpr::path(path())
            })
        };
        for channel in ["\"carrier pigeon\"", "\"business_messaging\"", "[1]"] {
            let event = format!("{{\"event_properties\":{{\"channel\":{channel}}}}}");
            for (wanted, expected) in [
                (with_default(Some("chat")), "chat"),
                (with_default(None), "other"),
            ] {
                let stats = check(&wanted, &event, false, expected);
                let dropped: Vec<_> = stats.dropped().collect();
                assert_eq!(dropped, [("action_source", DropReason::UnknownWord)]);
            }
        }
    }

    #[test]
    fn the_window_depends_on_the_source() {
        let now = UnixMillis(1_795_197_849_412);
        let check = |millis_ago: i64, source, expected: Result<i64, Reason>| {
            let happened = UnixMillis(now.0 - millis_ago);
            let sent = check_time(happened, source, None, now);
            assert_eq!(sent, expected, "{millis_ago} ms ago");
        };
        let web = MetaActionSource::Website;
        let store = MetaActionSource::PhysicalStore;
        let day = DAY * 1000;
        let hour = 60 * 60 * 1000;
        check(0, web, Ok(1_795_197_849));
        check(7 * day, web, Ok(1_795_197_849 - 7 * DAY));
        check(7 * day + 1000, web, Err(Reason::TooOld));
        check(7 * day + 1000, store, Ok(1_795_197_849 - 7 * DAY - 1));
        check(62 * day + 1000, store, Err(Reason::TooOld));
        check(-1, web, Ok(1_795_197_849));
        check(-60_000, web, Ok(1_795_197_849));
        check(-60_001, web, Err(Reason::InFuture));
        check(-8 * hour, web, Err(Reason::TimeZoneTrap));
        check(-7 * hour, web, Err(Reason::TimeZoneTrap));
        check(-8 * hour + 15 * 60_000, web, Err(Reason::TimeZoneTrap));
        check(-8 * hour - 60_000, web, Err(Reason::TimeZoneTrap));
        check(-8 * hour + 16 * 60_000, web, Err(Reason::InFuture));
        check(-9 * hour, web, Err(Reason::InFuture));
        check(i64::MIN + now.0 + 1, web, Err(Reason::InFuture));
    }

    #[test]
    fn beside_a_pixel_website_events_are_sent_only_while_meta_pairs_them() {
        let now = UnixMillis(1_795_197_849_412);
        let (web, other) = (MetaActionSource::Website, MetaActionSource::Other);
        let paired = now.seconds() - PAIRED;
        for (seconds, source, pixel, expected, twice) in [
            (paired, web, Some(true), Ok(paired), false),
            (paired, web, None, Ok(paired), false),
            (
                paired - 1,
                web,
                Some(true),
                Err(Reason::TooOldForPixel),
                false,
            ),
            (paired - 1, web, Some(false), Ok(paired - 1), false),
            (paired - 1, web, None, Ok(paired - 1), true),
            (paired - 1, other, Some(true), Ok(paired - 1), false),
            (paired - 1, other, None, Ok(paired - 1), false),
            (
                paired - 6 * DAY,
                web,
                Some(true),
                Err(Reason::TooOld),
                false,
            ),
        ] {
            let happened = UnixMillis(seconds * 1000);
            assert_eq!(check_time(happened, source, pixel, now), expected);
            assert_eq!(may_count_twice(seconds, source, pixel, now), twice);
        }
        assert_eq!(window(web, Some(true)), PAIRED);
        assert_eq!(window(web, Some(false)), 7 * DAY);
        assert_eq!(window(other, Some(true)), 7 * DAY);
    }
}
