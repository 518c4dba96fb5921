//! `app_data` of an app event: the tracking flags, and the sixteen slots of `extinfo`.
//!
//! Meta refuses an `extinfo` without version tag or OS version, so only a [`Device`] that has both can
//! be written. Slots that the configuration does not fill take what Amplitude knows of the device;
//! what nobody knows is an empty text, as Meta asks (Meta: App Data Parameters).

use std::borrow::Cow;

use crate::config::fields::AppField;
use crate::config::sync::AppConfig;
use crate::dropped::DropReason;
use crate::event::Event;
use crate::expr::value::{FoundValue, ValueExpr};
use crate::json::{Json, write};
use crate::map::personal;
use crate::map::record::{Recorder, SentValue, ServerField, Source, note_nothing};

/// The slots of `extinfo` after the version tag, and Amplitude's fields that fill them.
const SLOTS: [(AppField, &[&str]); 15] = [
    (AppField::BundleId, &[]),
    (AppField::ShortVersion, &["version_name", "app_version"]),
    (AppField::LongVersion, &["version_name", "app_version"]),
    (AppField::OsVersion, OS_VERSION),
    (AppField::DeviceModel, &["device_model", "device_type"]),
    (AppField::Locale, &[]),
    (AppField::TimeZone, &[]),
    (AppField::Carrier, &["device_carrier", "carrier"]),
    (AppField::ScreenWidth, &[]),
    (AppField::ScreenHeight, &[]),
    (AppField::ScreenDensity, &[]),
    (AppField::CpuCores, &[]),
    (AppField::StorageSize, &[]),
    (AppField::FreeStorage, &[]),
    (AppField::DeviceTimeZone, &[]),
];

const OS_VERSION: &[&str] = &["os_version"];

/// The other members of `app_data`, which are texts.
const TEXTS: [AppField; 5] = [
    AppField::VendorId,
    AppField::CampaignIds,
    AppField::InstallReferrer,
    AppField::InstallerPackage,
    AppField::WindowsAttributionId,
];

/// A device that Meta can be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Device {
    /// `a2` for Android, `i2` for iOS.
    version_tag: &'static str,
}

impl Device {
    /// The device of an event, where its platform and OS version are known.
    pub(super) fn of(event: &Event<'_>, app: &AppConfig) -> Option<Self> {
        let version_tag = configured_platform(event, app)
            .and_then(|found| version_tag(found.value))
            .or_else(|| {
                ["platform", "os_name"]
                    .into_iter()
                    .find_map(|field| version_tag(event.field(field)?))
            })?;
        find(event, app, AppField::OsVersion, OS_VERSION)?;
        Some(Self { version_tag })
    }

    /// Writes `app_data`.
    pub(super) fn write(
        self,
        out: &mut Vec<u8>,
        event: &Event<'_>,
        app: &AppConfig,
        recorder: &mut impl Recorder,
    ) {
        write::key(out, "\"app_data\":{");
        // Without the person's answer, iOS means no; Android asks nobody.
        let advertiser = self.version_tag == "a2";
        for (field, default) in [
            (AppField::AdvertiserTrackingEnabled, advertiser),
            (AppField::ApplicationTrackingEnabled, true),
        ] {
            flag(out, event, app, field, default, recorder);
        }
        write::key(out, "\"extinfo\":[");
        self.write_version_tag(out, event, app, recorder);
        for (field, fields) in SLOTS {
            slot(out, event, app, (field, fields), recorder);
        }
        out.push(b']');
        for field in TEXTS {
            if let Some(expr) = app.fields.get(&field) {
                text(out, event, expr, field, recorder);
            }
        }
        if let Some(expr) = app.fields.get(&AppField::UrlSchemes) {
            texts(out, event, expr, AppField::UrlSchemes, recorder);
        }
        out.push(b'}');
    }

    fn write_version_tag(
        self,
        out: &mut Vec<u8>,
        event: &Event<'_>,
        app: &AppConfig,
        recorder: &mut impl Recorder,
    ) {
        let before = out.len();
        write::text(out, self.version_tag);
        let Some(found) = configured_platform(event, app) else {
            return;
        };
        let (name, source) = (
            ServerField::AppData(AppField::Platform.meta_key()),
            Source::found(&found),
        );
        if version_tag(found.value).is_some() {
            recorder.sent(name, source, SentValue::plain(out, before, "version tag"));
        } else {
            recorder.dropped(name, source, DropReason::UnknownWord);
        }
    }
}

fn configured_platform<'f>(event: &'f Event<'_>, app: &'f AppConfig) -> Option<FoundValue<'f>> {
    app.fields.get(&AppField::Platform)?.first(event)
}

/// Meta's tag of a platform: that of the system, or of a device that runs nothing else.
fn version_tag(platform: Json<'_>) -> Option<&'static str> {
    let platform = platform.as_str()?;
    match &*platform.trim().to_ascii_lowercase() {
        "ios" | "ipados" | "iphone" | "ipad" => Some("i2"),
        "android" => Some("a2"),
        _ => None,
    }
}

/// Writes a flag as 0 or 1. An answer that cannot be read counts as a no.
fn flag(
    out: &mut Vec<u8>,
    event: &Event<'_>,
    app: &AppConfig,
    field: AppField,
    default: bool,
    recorder: &mut impl Recorder,
) {
    let name = ServerField::AppData(field.meta_key());
    let found = app.fields.get(&field).and_then(|expr| expr.first(event));
    let source = found.as_ref().map_or_else(Source::made, Source::found);
    let allowed = match &found {
        None => default,
        Some(found) => tracking_allowed(found.value).unwrap_or_else(|| {
            recorder.dropped(name, source, DropReason::NotABoolean);
            false
        }),
    };
    write::plain_key(out, field.meta_key());
    let before = out.len();
    write::integer(out, u8::from(allowed));
    let sent = SentValue::plain(out, before, "flag");
    recorder.sent(name, source, sent);
}

/// Reads a flag, or one of the words of Apple's App Tracking Transparency.
fn tracking_allowed(value: Json<'_>) -> Option<bool> {
    let text = value.text()?;
    let text: String = text
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect::<String>()
        .to_ascii_lowercase();
    match &*text {
        "authorized" | "allowed" | "granted" => Some(true),
        "denied" | "restricted" | "notdetermined" => Some(false),
        _ => boolean(value),
    }
}

/// Reads a boolean in the forms in which one may arrive.
pub(super) fn boolean(value: Json<'_>) -> Option<bool> {
    let text = value.text()?;
    match &*text.trim().to_ascii_lowercase() {
        "true" | "1" | "yes" => Some(true),
        "false" | "0" | "no" => Some(false),
        _ => None,
    }
}

fn slot(
    out: &mut Vec<u8>,
    event: &Event<'_>,
    app: &AppConfig,
    (field, fields): (AppField, &'static [&'static str]),
    recorder: &mut impl Recorder,
) {
    write::separate(out);
    let before = out.len();
    let Some((source, value)) = find(event, app, field, fields) else {
        write::text(out, "");
        if let Some(expr) = app.fields.get(&field) {
            note_nothing(
                recorder,
                ServerField::AppData(field.meta_key()),
                expr,
                event,
            );
        }
        return;
    };
    write::text(out, value.trim());
    let sent = SentValue::plain(out, before, "text");
    recorder.sent(ServerField::AppData(field.meta_key()), source, sent);
}

/// What the configuration finds for a slot, else what Amplitude says.
fn find<'f>(
    event: &'f Event<'_>,
    app: &'f AppConfig,
    field: AppField,
    fields: &'static [&'static str],
) -> Option<(Source<'f>, Cow<'f, str>)> {
    let configured = app.fields.get(&field).and_then(|expr| expr.first(event));
    if let Some(found) = configured
        && let Ok(text) = personal::clean_text(found.value)
    {
        return Some((Source::found(&found), text));
    }
    fields.iter().find_map(|name| {
        let value = event.field(name).filter(|value| !value.is_absent())?;
        let text = personal::clean_text(value).ok()?;
        Some((Source::at(name, value), text))
    })
}

fn text(
    out: &mut Vec<u8>,
    event: &Event<'_>,
    expr: &ValueExpr,
    field: AppField,
    recorder: &mut impl Recorder,
) {
    let name = ServerField::AppData(field.meta_key());
    let Some(found) = expr.first(event) else {
        return note_nothing(recorder, name, expr, event);
    };
    let source = Source::found(&found);
    let text = match personal::clean_text(found.value) {
        Ok(text) => text,
        Err(reason) => return recorder.dropped(name, source, reason),
    };
    write::plain_key(out, field.meta_key());
    let before = out.len();
    write::text(out, text.trim());
    let sent = SentValue::plain(out, before, "text");
    recorder.sent(name, source, sent);
}

fn texts(
    out: &mut Vec<u8>,
    event: &Event<'_>,
    expr: &ValueExpr,
    field: AppField,
    recorder: &mut impl Recorder,
) {
    let name = ServerField::AppData(field.meta_key());
    let found = expr.all(event);
    let Some(first) = found.first() else {
        return note_nothing(recorder, name, expr, event);
    };
    let source = Source::found(first);
    let start = out.len();
    write::plain_key(out, field.meta_key());
    let before = out.len();
    out.push(b'[');
    for found in &found {
        event.arena().each_element(found.value, &mut |element| {
            if !element.is_absent()
                && let Ok(text) = personal::clean_text(element)
            {
                write::separate(out);
                write::text(out, text.trim());
            }
        });
    }
    if out.len() == before + 1 {
        out.truncate(start);
        return recorder.dropped(name, source, DropReason::NotAText);
    }
    out.push(b']');
    let sent = SentValue::plain(out, before, "list of texts");
    recorder.sent(name, source, sent);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::arena::Arena;
    use crate::expr::path::Path;
    use crate::map::record::FieldStats;

    fn app(fields: &[(AppField, &str)]) -> AppConfig {
        let expr = |path: &str| ValueExpr::path(Path::parse(path).unwrap());
        AppConfig {
            fields: fields
                .iter()
                .map(|(field, path)| (*field, expr(path)))
                .collect(),
        }
    }

    fn written(event: &str, app: &AppConfig) -> Option<String> {
        let arena = Arena::default();
        let event = Event::decode(event.as_bytes(), &arena).unwrap();
        let mut out = Vec::new();
        Device::of(&event, app)?.write(&mut out, &event, app, &mut FieldStats::default());
        Some(String::from_utf8(out).unwrap())
    }

    #[test]
    fn fills_sixteen_slots_from_the_device() {
        let event = r#"{"platform":"iOS","os_version":"17.4","version_name":"7.7.1","device_model":null,
            "device_type":"Apple iPhone 12","device_carrier":"TMobile",
            "user_properties":{"att":"authorized","locale":"en_US","bundle":"com.example.shop"}}"#;
        let app = app(&[
            (AppField::AdvertiserTrackingEnabled, "user_properties.att"),
            (AppField::Locale, "user_properties.locale"),
            (AppField::BundleId, "user_properties.bundle"),
        ]);
        assert_eq!(
            written(event, &app).unwrap(),
            concat!(
                r#""app_data":{"advertiser_tracking_enabled":1,"application_tracking_enabled":1,"#,
                r#""extinfo":["i2","com.example.shop","7.7.1","7.7.1","17.4","Apple iPhone 12","#,
                r#""en_US","","TMobile","","","","","","",""]}"#
            )
        );
    }

    #[test]
    fn an_incomplete_device_is_none() {
        for event in [
            r#"{"platform":"iOS"}"#,
            r#"{"platform":"iOS","os_version":" "}"#,
            r#"{"platform":"Web","os_version":"142"}"#,
            r#"{"os_version":"14"}"#,
        ] {
            assert_eq!(written(event, &app(&[])), None, "{event}");
        }
    }

    #[test]
    fn the_platform_may_be_configured() {
        let app = app(&[(AppField::Platform, "event_properties.p")]);
        for (platform, own, expected) in [
            ("Web", "\"iPhone\"", Some("i2")),
            ("iOS", "\"android\"", Some("a2")),
            ("iOS", "\"toaster\"", Some("i2")),
            ("iOS", "null", Some("i2")),
            ("Web", "\"toaster\"", None),
        ] {
            let event = format!(
                "{{\"platform\":\"{platform}\",\"os_version\":\"17\",\"event_properties\":{{\"p\":{own}}}}}"
            );
            let written = written(&event, &app);
            let tag = expected.map(|tag| format!("\"extinfo\":[\"{tag}\","));
            assert_eq!(written.is_some(), tag.is_some(), "{event}");
            let holds = |tag: String| written.unwrap_or_default().contains(&tag);
            assert!(tag.is_none_or(holds), "{event}");
        }
    }

    #[test]
    fn an_answer_about_tracking_is_never_guessed_to_be_a_yes() {
        for (answer, expected) in [
            ("\"authorized\"", 1),
            ("\"ATTrackingManager.denied\"", 0),
            ("\"notDetermined\"", 0),
            ("\"not_determined\"", 0),
            ("true", 1),
            ("\"1\"", 1),
            ("0", 0),
            ("\"perhaps\"", 0),
            ("null", 0),
        ] {
            let event = format!(
                "{{\"platform\":\"ios\",\"os_version\":\"17\",\"user_properties\":{{\"att\":{answer}}}}}"
            );
            let app = app(&[(AppField::AdvertiserTrackingEnabled, "user_properties.att")]);
            let flag = format!("\"advertiser_tracking_enabled\":{expected},");
            assert!(written(&event, &app).unwrap().contains(&flag), "{answer}");
        }
    }

    #[test]
    fn lists_stay_lists() {
        let event = r#"{"platform":"Android","os_version":"14","user_properties":{"s":"[\"a\",\"\",\"b\"]","v":7}}"#;
        let app = app(&[
            (AppField::UrlSchemes, "user_properties.s"),
            (AppField::VendorId, "user_properties.v"),
        ]);
        let text = written(event, &app).unwrap();
        assert!(
            text.ends_with(r#","vendor_id":"7","url_schemes":["a","b"]}"#),
            "{text}"
        );
    }
}
